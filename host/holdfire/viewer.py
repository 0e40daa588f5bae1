"""What a station's serial line says, item by item, for a person to read: text as it stands, frames in words.

Bytes in, `Shown` out. Nothing that comes over the line reaches the screen as it is: what is not printable is shown as
an escape, and noise only as its length, so no byte of a hostile station can move a cursor or change a colour; and its
text stands behind a bar, so that it cannot pass for a record that was verified. Opens no port and prints nothing.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from holdfire_protocol import cbor, cose, fields, frame, line, record

from . import offices, show, times
from .errors import Refused
from .output import BAD, DIM, GOOD, WARN, clean, counted
from .registry import Registry
from .verify import Verifier

TEXT, RECORD, BEACON, DAMAGED, NOTE = "text", "record", "beacon", "damaged", "note"
GROUPS = {"records": (RECORD,), "beacons": (BEACON,), "text": (TEXT,), "frames": (RECORD, BEACON)}  # what --only takes
MAX_TEXT_CHARS = 500
BAR = "| "
_NOISE_SHARE = 4  # a line with every fourth character or more unprintable is noise, not text
_STATION_COLOURS = re.compile(rb"\x1b\[[0-9;]{0,12}m")  # ESP-IDF colours its own log lines; those are not noise


@dataclass(frozen=True)
class Shown:
    """One line for the screen; `style` only colours it. `verified` is None where there is nothing to verify with."""

    kind: str
    text: str
    style: str = ""
    verified: bool | None = None


class Viewer:
    """Turns what arrives into what is shown. `registry` may be None: frames are then read, and called unverified."""

    def __init__(self, registry: Registry | None, only: str | None = None, pattern: "re.Pattern[str] | None" = None):
        self.counts: dict[str, int] = {}
        self._registry = registry
        self._verifier = Verifier(registry) if registry else None
        self._only = GROUPS[only] if only else None
        self._pattern = pattern
        self.restart()

    def restart(self) -> None:
        """The port was opened anew: half a line from before must not be joined to what comes now."""
        self._reader = line.LineReader()
        self._tail = b""  # of the line under way, to show a prompt that has no end of line
        self._tail_shown = False

    def feed(self, data: bytes) -> list[Shown]:
        """What `data` completes."""
        items = self._reader.feed(data)
        start = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        self._tail = data[start:] if start else (self._tail + data)[: fields.MAX_LINE_BYTES]
        self._tail_shown = self._tail_shown and not start
        return self._pick(self._item(kind, content) for kind, content in items)

    def idle(self) -> list[Shown]:
        """Nothing came for a while: a text line without its end, such as a prompt, is shown as far as it goes."""
        if self._tail_shown or not self._tail.strip() or self._tail.startswith(line.MARK[:1]):
            return []
        self._tail_shown = True
        return self._pick([self._text(self._tail)])

    def summary(self) -> str:
        """What came, in numbers."""
        words = [("record", "record"), ("beacon", "beacon"), ("text", "text line"), ("damaged", "damaged line")]
        return ", ".join(counted(self.counts[kind], word) for kind, word in words if self.counts.get(kind)) or "nothing"

    def _pick(self, items: Iterable[Shown]) -> list[Shown]:
        picked = []
        for shown in items:
            self.counts[shown.kind] = self.counts.get(shown.kind, 0) + 1
            if self._only is not None and shown.kind not in self._only:
                continue
            if self._pattern is not None and not self._pattern.search(shown.text):
                continue
            picked.append(shown)
        return picked

    def _item(self, kind: int, content: "bytes | str") -> Shown:
        if kind == line.BAD:
            return Shown(DAMAGED, f"damaged line: {clean(str(content))}", DIM)
        assert isinstance(content, bytes)
        return self._text(content) if kind == line.TEXT else self._frame(content)

    def _text(self, raw: bytes) -> Shown:
        text = _STATION_COLOURS.sub(b"", raw).decode("utf-8", "replace")
        unprintable = sum(not (c.isprintable() or c == "\t") or c == "\ufffd" for c in text)
        if unprintable * _NOISE_SHARE >= max(len(text), 1):
            return Shown(DAMAGED, f"noise, {counted(len(raw), 'byte')}", DIM)
        text = text.replace("\t", "    ")
        cut = f" ... and {len(text) - MAX_TEXT_CHARS} more" if len(text) > MAX_TEXT_CHARS else ""
        # What a person should not overlook.
        loud = text.startswith(("error", "NOT RECORDED", "Traceback", "task ", "not enrolled"))
        return Shown(TEXT, BAR + clean(text[:MAX_TEXT_CHARS]) + cut, WARN if loud else "")

    def _frame(self, data: bytes) -> Shown:
        try:
            parts = cbor.decode(data, 1)
            tag = parts[1] if isinstance(parts, list) and len(parts) == 3 and isinstance(parts[1], bytes) else b""
            kind, message = frame.decode(data, tag)
        except (ValueError, IndexError) as error:
            return Shown(DAMAGED, f"damaged frame: {clean(str(error))}", DIM)
        ours = self._registry is not None and tag == self._registry.network[: fields.NETWORK_TAG_BYTES]
        if kind == fields.FRAME_RECORD:
            return self._record(message, tag, ours)
        return self._beacon(message, tag, ours)

    def _record(self, message: bytes, tag: bytes, ours: bool) -> Shown:
        try:
            parts = cose.parse(message)
            named = record.decode_record(parts.payload)
        except ValueError as error:
            return Shown(RECORD, f"record that cannot be read: {clean(str(error))}", BAD, False if ours else None)
        who, verdict, verified = f"station {parts.kid.hex()}", self._unverifiable(tag), None
        if ours and self._verifier is not None:
            try:
                station = self._verifier.check(message).station
                who, verdict, verified = station.name, "verified", True
            except Refused as refused:
                verdict, verified = f"NOT VERIFIED: {refused}", False
        kinds = show.kinds(named)
        style = BAD if verified is False or "tamper" in kinds else WARN if "impulse" in kinds else GOOD
        words = [
            f"record {named['seq']}", who, _time(named["time"]), show.headline(named),
            record.record_hash(message).hex()[:12], verdict,
        ]  # fmt: skip
        return Shown(RECORD, clean("  ".join(words)), style, verified)

    def _beacon(self, message: bytes, tag: bytes, ours: bool) -> Shown:
        try:
            parts = cose.parse(message)
            named = record.decode_beacon(parts.payload)
        except ValueError as error:
            return Shown(BEACON, f"beacon that cannot be read: {clean(str(error))}", BAD, False if ours else None)
        verdict, verified = self._unverifiable(tag), None
        if ours and self._registry is not None:
            try:
                offices.open_beacon(message, self._registry.collectors, self._registry.network)
                verdict, verified = "verified", True
            except offices.NotInOffice as error:
                verdict, verified = f"NOT VERIFIED: {error}", False
            except ValueError:
                verdict, verified = "NOT VERIFIED: not signed by the collector's key, or altered", False
        receipts = [f"{self._name(kid)} to {seq}" for kid, seq, _ in named["receipts"]]
        words = [f"beacon {named['number']}", _time(named["time"]),
                 "receipts: " + ", ".join(receipts) if receipts else "no receipts", verdict]  # fmt: skip
        return Shown(BEACON, clean("  ".join(words)), BAD if verified is False else DIM, verified)

    def _name(self, kid: bytes) -> str:
        station = self._registry.stations.get(kid) if self._registry else None
        return station.name if station else kid.hex()

    def _unverifiable(self, tag: bytes) -> str:
        if self._registry is None:
            return "not verified: no registry at hand"
        return f"not verified: of another deployment ({tag.hex()})"


def _time(time: tuple[int, int, int]) -> str:
    source, utc_us, uncertainty_us = time
    if source == fields.TIME_NONE:
        return "time unknown"
    return f"{times.text(utc_us, 3)} ± {show.span(uncertainty_us)} ({show.TIME_SOURCE_SHORT[source]})"
