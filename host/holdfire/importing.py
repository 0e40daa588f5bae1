"""Records out of files into the database, through the door that they would have come in by from the air.

Every message becomes a frame on a port named `import:FILE` and passes the collector's own `Ingest`: nothing is believed
because of where it comes from, what is stored already is a repeat, and what is refused is kept with its reason. When a
call returns, all of it is committed. Opens no port and signs no receipt: that is the next `holdfire collect`'s.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from holdfire_protocol import fields, frame, line

from . import config, times
from .collector import check_clock, only_one
from .config import Settings
from .errors import (
    BAD_SIGNATURE,
    DAMAGED,
    NOT_CANONICAL,
    REPLAY,
    UNKNOWN_STATION,
    WRONG_NETWORK,
    UsageError,
)
from .evidence import BEACON, Damage, Message, Source
from .ingest import Ingest
from .registry import Deployment, Registry
from .store import IMPORT_PORT, Store

NOT_STORED = (DAMAGED, WRONG_NETWORK, UNKNOWN_STATION, NOT_CANONICAL, BAD_SIGNATURE)


@dataclass
class Imported:
    """What became of one file. `refused` is by reason, those stored with a problem among them, repeats not."""

    name: str
    form: str = ""
    stored: int = 0
    repeated: int = 0
    beacons: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    read_bytes: int = 0
    size_bytes: int = 0  # 0 where it is not known

    @property
    def not_stored(self) -> int:
        return sum(self.refused[reason] for reason in NOT_STORED)


def run(
    deployment: Deployment, names: list[str], on_progress: Callable[[Imported], object] = lambda _: None
) -> list[Imported]:
    """Take in the files, one after the other (`-`: standard input), while no collector works on the directory."""
    settings = config.load(deployment.config_path)
    registry = Registry.load(deployment.registry_path)
    check_clock(registry, times.now_us(), settings.future_tolerance_s * 1_000_000)
    for name in names:  # before the first is taken in
        _check_readable(name)
    with only_one(deployment.directory):
        store = Store(deployment.database_path, settings.refusal_rows)
        try:
            ingest = Ingest(registry, store, settings, times.now_us)
            return [_take_in(name, ingest, settings, on_progress) for name in names]
        finally:
            store.close()


def _check_readable(name: str) -> None:
    if name == "-":
        return
    try:
        with open(name, "rb"):
            pass
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}; nothing was taken in") from None


def _take_in(name: str, ingest: Ingest, settings: Settings, on_progress: Callable[[Imported], object]) -> Imported:
    source = Source(name, ingest.registry.network, ingest.registry.collector_kids)
    found = Imported(name)
    batch = _Batch(IMPORT_PORT + Path(name).name, ingest, found)
    for each in source:
        batch.add(each)
        if batch.size_bytes >= settings.batch_bytes:
            batch.commit()
            found.read_bytes, found.size_bytes = source.taken_bytes, source.size_bytes
            on_progress(found)
    batch.commit()
    found.form, found.read_bytes, found.size_bytes = source.form, source.taken_bytes, source.size_bytes
    on_progress(found)
    return found


class _Batch:
    """Lines and damage on their way to one commit."""

    def __init__(self, port: str, ingest: Ingest, found: Imported):
        self.size_bytes = 0
        self._port = port
        self._ingest = ingest
        self._found = found
        self._lines: list[bytes] = []
        self._damages: list[tuple[str, bytes]] = []

    def add(self, each: Message | Damage) -> None:
        if isinstance(each, Damage) and not each.framed:
            self._add_damage(each.where, each.reason, each.data)
        elif isinstance(each, Damage):  # a whole frame that is not for us: Ingest says so in its own words
            self._add_frame(each.data)
        elif len(each.data) > fields.MAX_RECORD_BYTES:
            self._add_damage(each.where, f"a message of {len(each.data)} bytes", each.data)
        else:
            kind = fields.FRAME_BEACON if each.kind == BEACON else fields.FRAME_RECORD
            self._add_frame(frame.encode(kind, self._ingest.registry.network, each.data))

    def _add_frame(self, data: bytes) -> None:
        self._lines.append(line.encode(data))
        self.size_bytes += len(self._lines[-1])

    def _add_damage(self, where: str, reason: str, data: bytes) -> None:
        self._damages.append((f"{reason} ({where})", data))
        self.size_bytes += len(data)

    def commit(self) -> None:
        judged = self._ingest.judge([(self._port, b"".join(self._lines))])
        for reason, data in self._damages:
            judged.add_damage(self._port, reason, data)
        outcome = self._ingest.keep(judged)
        self._lines, self._damages, self.size_bytes = [], [], 0
        self._found.stored += outcome.stored
        self._found.beacons += len(judged.beacons)
        self._found.repeated += outcome.refused.pop(REPLAY, 0)
        self._found.refused += outcome.refused
