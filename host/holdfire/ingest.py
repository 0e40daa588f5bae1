"""Bytes of serial ports in; committed records, refusals and the answers due to stations out. A batch is a transaction.

Two steps, each a straight program on a thread of its own: `judge` (lines, frames, signatures; no disk) and `keep`
(time, chain, store, commit). While one batch waits for the disk the next is judged, which is why they are two. Opens no
port and sends nothing.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from holdfire_protocol import cbor, cose, fields, frame, line, schema

from . import ed25519_strict, offices
from .chain import Chains
from .config import Settings
from .errors import BAD_SIGNATURE, DAMAGED, NOT_CANONICAL, REPLAY, WRONG_NETWORK, Refused
from .events import Event, harmless
from .registry import Registry
from .store import IMPORT_PORT, KEPT_BYTES, Store
from .times import now_us
from .verify import Verified, Verifier, check_date

EVENTS_EACH = 50  # of a kind in one batch; what is beyond is stored and counted all the same, and told as a sum


class Outcome:
    """What one batch did; durable once `keep` has returned it. `answers`: port -> stations heard, to be receipted."""

    def __init__(self) -> None:
        self.answers: dict[str, set[bytes]] = {}
        self.events: list[Event] = []
        self.stored = 0
        self.refused: Counter[str] = Counter()  # by reason; those stored with a problem are in it, too
        self._shown: dict[str, int] = {}

    def tell(self, *event: Any, **named: Any) -> None:
        """Event(...), unless there were enough of its kind."""
        kind = event[0]
        shown = self._shown[kind] = self._shown.get(kind, 0) + 1
        if shown <= EVENTS_EACH:
            self.events.append(Event(*event, **named))

    def sum_up(self) -> None:
        for kind, shown in self._shown.items():
            if shown > EVENTS_EACH:
                self.events.append(Event(kind, f"and {shown - EVENTS_EACH} more like these"))


class Judged:
    """A batch after `judge`, in order of arrival: (port, record or refusal, SHA-256 and bytes of what was refused)."""

    def __init__(self) -> None:
        self.items: list[tuple[str, Verified | Refused, bytes, bytes | None]] = []
        self.beacons: list[tuple[bytes, dict[str, Any]]] = []  # our own, out of files
        self.outcome = Outcome()

    def add_damage(self, port: str, reason: str, data: bytes) -> None:
        """Bytes that hold no frame."""
        refused = Refused(DAMAGED, reason, reason.partition(":")[0])
        self.items.append((port, refused, hashlib.sha256(data).digest(), data[:KEPT_BYTES]))


class _Reader(line.LineReader):
    """Gives (BAD, (reason, bytes of the line)). Here and not in `LineReader`, since a chip has no memory for them."""

    def _keep(self, part: bytes, items: list[tuple[int, Any]]) -> None:
        before, held = self.bad, self._buffer
        super()._keep(part, items)
        if self.bad != before:
            _add_bytes(items, self.bad - before, held, part)

    def _finish(self, items: list[tuple[int, Any]]) -> None:
        before, held = self.bad, self._buffer
        super()._finish(items)
        if self.bad != before:
            _add_bytes(items, self.bad - before, held, b"")


def _add_bytes(items: list[tuple[int, Any]], count: int, held: bytearray, part: bytes) -> None:
    """To the last `count` items that are BAD."""
    at = len(items)
    while count:
        at -= 1
        if items[at][0] == line.BAD:
            items[at] = (line.BAD, (items[at][1], bytes(held) + part[:KEPT_BYTES]))
            count -= 1


class Ingest:
    """Takes batches. `judge` belongs to one thread; `keep` and the rest to the thread that owns the store."""

    def __init__(
        self,
        registry: Registry,
        store: Store,
        settings: Settings,
        clock: Callable[[], int] = now_us,
        verify: Callable[[bytes, bytes, bytes], Any] = ed25519_strict.verify,
    ):
        self._store = store
        self._tolerances_us = (
            settings.clock_uncertainty_ms * 1000,
            settings.future_tolerance_s * 1_000_000,
            settings.past_tolerance_s * 1_000_000,
        )
        self._clock = clock
        self._verify = verify
        self.chains = Chains(store, registry.network)
        self.use_registry(registry)
        self._readers: dict[str, line.LineReader] = {}
        self._outcome = Outcome()
        self._now_us = 0

    def use_registry(self, registry: Registry) -> None:
        """From now on these stations are enrolled. The deployment stays the same."""
        self.registry = registry
        self._verifier = Verifier(registry, self._verify)
        # Of a record frame up to the length, for a body of 24 to 255 bytes.
        self._usual_head = frame.encode(fields.FRAME_RECORD, registry.network, bytes(24))[:-25]

    def take(self, chunks: Iterable[tuple[str, bytes]]) -> Outcome:
        """Both steps. When this returns, everything in the outcome is committed."""
        return self.keep(self.judge(chunks))

    def judge(self, chunks: Iterable[tuple[str, bytes]]) -> Judged:
        """What each record is by itself. Touches nothing that `keep` does."""
        judged = Judged()
        for port, data in chunks:
            if not data:  # sources.END: half a line from before must not be joined to what comes after
                self._readers.pop(port, None)
                continue
            reader = self._readers.get(port)
            if reader is None:
                reader = self._readers[port] = _Reader()
            for kind, content in reader.feed(data):
                if kind == line.FRAME:
                    self._judge_frame(port, content, judged)
                elif kind == line.TEXT:
                    judged.outcome.tell("text", harmless(content), port)
                else:
                    judged.add_damage(port, *content)
        return judged

    def keep(self, judged: Judged, on_kept: Callable[[], object] = lambda: None) -> Outcome:
        """Store a batch. When this returns, everything in the outcome is committed; `on_kept` is called when only the
        commit is left to do."""
        outcome = self._outcome = judged.outcome
        self._now_us = self._clock()
        if judged.items or judged.beacons:
            self._store.begin()
            for port, found, sha256, kept in judged.items:
                if isinstance(found, Verified):
                    self._keep_record(port, found)
                else:
                    self._keep_refusal(port, found, sha256, kept)
            for message, named in judged.beacons:
                self._store.note_beacon(named["number"], named["time"][1], message, named["receipts"], thin=False)
            on_kept()
            self._store.commit()
        outcome.sum_up()
        return outcome

    def receipts(self, kids: Iterable[bytes]) -> list[tuple[bytes, int, bytes]]:
        """(kid, seq, hash) that may be promised to these stations now; between batches, so all of it is committed."""
        found = []
        for kid in sorted(kids):
            station = self.registry.stations.get(kid)
            receipt = self.chains.head(kid, station.public_key).receipt if station else None
            if receipt is not None:
                found.append((kid, *receipt))
        return found

    def _judge_frame(self, port: str, data: bytes, judged: Judged) -> None:
        try:
            kind, message = self._open_frame(data)
        except frame.FrameError as error:
            reason = WRONG_NETWORK if error.foreign else DAMAGED
            refused = Refused(reason, str(error), str(error).partition(":")[0])
            judged.items.append((port, refused, hashlib.sha256(data).digest(), data))
            return
        if kind != fields.FRAME_RECORD:
            if port.startswith(IMPORT_PORT):  # a console that echoes sends them back, too
                self._judge_beacon(port, message, judged)
            return
        try:
            judged.items.append((port, self._verifier.check(message), b"", None))
        except Refused as refused:
            judged.items.append((port, refused, hashlib.sha256(message).digest(), message))

    def _judge_beacon(self, port: str, message: bytes, judged: Judged) -> None:
        """A receipt that this base signed before it lost its database."""
        try:
            named = offices.open_beacon(message, self.registry.collectors, self.registry.network, self._verify)
            judged.beacons.append((message, named))
            return
        except offices.NotInOffice as error:
            refused = Refused(BAD_SIGNATURE, f"a beacon {error}", "beacon")
        except (cose.CoseError, cbor.CborError, schema.FieldError) as error:
            refused = Refused(NOT_CANONICAL, f"a beacon, but {error}", "beacon")
        except ValueError:
            refused = Refused(BAD_SIGNATURE, "a beacon that this base's key did not sign, or altered since", "beacon")
        judged.items.append((port, refused, hashlib.sha256(message).digest(), message))

    def _open_frame(self, data: bytes) -> tuple[int, bytes]:
        """As `frame.decode`, with a short cut for the one form that nearly every frame has."""
        at = len(self._usual_head)
        if data.startswith(self._usual_head) and len(data) > at + 24 and len(data) == at + 1 + data[at]:
            return fields.FRAME_RECORD, data[at + 1 :]
        return frame.decode(data, self.registry.network)

    def _keep_record(self, port: str, new: Verified) -> None:
        station = new.station
        date_problem = check_date(new, self._now_us, *self._tolerances_us)
        clock_problem = self.chains.head(new.kid, station.public_key).clocks.judge(new, date_problem is None)
        problems = self.chains.add(new, date_problem or clock_problem, self._now_us, port)
        heard = self._outcome.answers.get(port)
        if heard is None:
            heard = self._outcome.answers[port] = set()
        heard.add(new.kid)
        if problems is None:
            again = Refused(REPLAY, f"record {new.seq} of {station.name} came again", "", new.kid, new.seq)
            self._keep_refusal(port, again, new.hash, None)
            return
        self._outcome.stored += 1
        text = f"{station.name} {new.seq} stored"
        self._outcome.tell("record", text, port, station.name, new.kid, new.seq, new.hash, "", new.message)
        for problem in problems:
            refused = Refused(problem.reason, problem.text, "", new.kid, problem.seq)
            self._keep_refusal(port, refused, problem.record_hash, None)

    def _keep_refusal(self, port: str, refused: Refused, sha256: bytes, kept: bytes | None) -> None:
        text = refused.text[:500]
        self._outcome.refused[refused.reason] += 1
        self._store.insert_refusal(
            refused.reason, sha256, self._now_us, port, text, refused.field, refused.kid, refused.seq, kept
        )
        station = self.registry.stations.get(refused.kid) if refused.kid else None
        name = station.name if station else ""
        self._outcome.tell("refused", text, port, name, refused.kid or b"", refused.seq or 0, sha256, refused.reason)
