"""Which clips of sound are authentic: those that a signed status record names, and all that lead back from one.

Written from the text of SPEC.md section 10. A clip is not signed; what proves it is a record, so this takes records
that were verified by others.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfire_protocol import cbor, clip, fields, schema

from . import times
from .errors import UsageError
from .output import BAD, GOOD, WARN, Section, clean, counted
from .verify import Verified

_STATUS = next(row[0] for row in fields.RECORD.rows if row[1] == "status")
_CLIPS = next(row[0] for row in fields.STATUS.rows if row[1] == "clips")
LISTED = 20
MOST_BYTES = 4096  # a flash sector, which one has to fit
BEHIND_US = 10_000_000  # a clip is in the status record that is made so long after its beginning


@dataclass(frozen=True)
class Clip:
    """A clip whose form holds."""

    data: bytes
    named: dict[str, Any]
    hash: bytes

    @property
    def number(self) -> int:
        number: int = self.named["number"]
        return number

    @property
    def order(self) -> tuple[int, int]:
        """Sorts a station's clips as they were made."""
        return self.named["boot"], self.named["start_us"]

    @property
    def seconds(self) -> float:
        return len(self.named["data"]) // clip.BLOCK_BYTES * 32 / int(self.named["rate_hz"])


@dataclass(frozen=True)
class Judged:
    """A clip and the first record that proves it, or None; `began_us`: UTC of its first sample, where records tell."""

    clip: Clip
    proof: Verified | None
    began_us: int | None
    too_new: bool  # no status record that names a clip was made since


def read(data: bytes) -> Clip:
    """Raises ValueError with what is wrong."""
    try:
        return Clip(data, clip.decode(data), hashlib.sha256(data).digest())
    except (cbor.CborError, schema.FieldError) as error:
        raise ValueError(str(error)) from None


def read_folder(folder: Path) -> tuple[list[Clip], list[tuple[str, str]]]:
    """The clips in a folder, and (name, reason) of files that are none. Raises UsageError."""
    found: dict[bytes, Clip] = {}
    wrong: list[tuple[str, str]] = []
    try:
        for path in sorted(folder.iterdir()):
            if path.suffix != ".cbor":
                continue
            try:
                one = read(content(path))
                found[one.hash] = one
            except ValueError as error:
                wrong.append((path.name, str(error)))
    except OSError as error:
        raise UsageError(f"cannot read {error.filename or folder}: {error.strerror}") from None
    return list(found.values()), wrong


def content(path: Path) -> bytes:
    """The bytes of a file, if it is one; no more of it than a clip has. Raises OSError or ValueError."""
    if not path.is_file():
        raise ValueError("not a file")
    with open(path, "rb") as file:
        return file.read(MOST_BYTES + 1)


def head(record: Verified) -> bytes | None:
    """The hash of the newest clip, as a status record names it."""
    named: bytes | None = record.packed.get(_STATUS, {}).get(_CLIPS)
    return named


def proofs(by_hash: Mapping[bytes, Clip], ordered: Iterable[Verified]) -> dict[bytes, Verified]:
    """The first record that proves it, for each clip that one proves."""
    found: dict[bytes, Verified] = {}
    for record in ordered:
        at = head(record)
        while at is not None and at in by_hash and at not in found:
            found[at] = record
            at = by_hash[at].named["prev"]
    return found


def judge(found: Iterable[Clip], records: Iterable[Verified]) -> list[Judged]:
    """Each clip, in the order in which they were made. `records`: verified ones, of one station."""
    by_hash = {one.hash: one for one in found}
    ordered = sorted(records, key=lambda record: record.seq)
    proven = proofs(by_hash, ordered)
    newest = [by_hash[digest].order for digest in proven]
    newest += [(r.boot, r.uptime_ms * 1000 - BEHIND_US) for r in ordered if head(r) is not None]
    told = max(newest, default=(0, 0))
    return [
        Judged(one, proven.get(one.hash), _began_us(one, ordered), one.order > told)
        for one in sorted(by_hash.values(), key=lambda one: one.order)
    ]


def _began_us(one: Clip, ordered: list[Verified]) -> int | None:
    """By the record of the same boot that was made nearest to it and knew the time."""
    start_ms = one.named["start_us"] // 1000
    same = [r for r in ordered if r.boot == one.named["boot"] and r.time[0] != fields.TIME_NONE]
    if not same:
        return None
    nearest = min(same, key=lambda record: abs(record.uptime_ms - start_ms))
    began_us: int = nearest.time[1] + (start_ms - nearest.uptime_ms) * 1000
    return began_us


def section(judged: list[Judged], wrong: list[tuple[str, str]]) -> Section:
    """What became of them, in words."""
    found = Section("Clips")
    proven = sum(1 for one in judged if one.proof is not None)
    waiting = sum(1 for one in judged if one.proof is None and one.too_new)
    doubtful = len(judged) - proven - waiting
    found.add("proven", f"{proven} of {counted(len(judged), 'clip')}, by hashes in signed status records",
              GOOD if proven == len(judged) else "")  # fmt: skip
    if waiting:
        found.add("not yet", f"{counted(waiting, 'clip')}: no status record in this file was made since", WARN)
    if doubtful:
        found.add("NOT PROVEN", f"{counted(doubtful, 'clip')}: altered, or what proves them is not in this file", BAD)
    for name, reason in wrong[:LISTED]:
        found.add("NO CLIP", f"{clean(name)}: {reason}", BAD)
    for one in judged[-LISTED:]:
        when = times.text(one.began_us, 1) if one.began_us is not None else "time not known"
        by = f"proven by record {one.proof.seq}" if one.proof else "not yet" if one.too_new else "NOT PROVEN"
        found.add(f"{one.clip.number}", f"{when}, {one.clip.seconds:.1f} s, {by}", "" if one.proof else WARN)
    return found


def as_json(one: Judged) -> dict[str, object]:
    """What is known of a clip, for programs."""
    return {
        "number": one.clip.number,
        "sha256": one.clip.hash.hex(),
        "began": None if one.began_us is None else times.text(one.began_us, 3),
        "seconds": one.clip.seconds,
        "proven_by": None if one.proof is None else {"seq": one.proof.seq, "hash": one.proof.hash.hex()},
        "too_new": one.proof is None and one.too_new,
    }


def held(judged: list[Judged], wrong: list[tuple[str, str]]) -> bool:
    """False when a clip is there that something speaks against."""
    return not wrong and all(one.proof is not None or one.too_new for one in judged)
