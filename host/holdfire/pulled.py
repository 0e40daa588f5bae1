"""What `holdfire pull` leaves on the disk: records in one file, refused bytes beside it, clips in a folder beside it.

The file is a CBOR sequence of one station's records in the order of their numbers, as `holdfire export` writes it. It
only grows, by whole records; a pull that was killed leaves a torn one at the end at worst, which the next cuts off.
Judges nothing but whether a file is one that it may go on with.
"""

import base64
import fcntl
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterable
from pathlib import Path

from holdfire_protocol import fields

from . import clips, evidence, files, sound, times
from .errors import Refused, StorageError, UsageError
from .registry import Station
from .verify import Verified, Verifier

SYNC_S = 1.0
MAX_BYTES = 1 << 28  # more than any station's flash


class RecordFile:
    """Records of one station, appended. `last_seq`: the newest in it, or 0; `cut_bytes`: what a torn end had."""

    def __init__(self, path: Path, station: Station, verifier: Verifier):
        self.path = path
        self.last_seq = 0
        self.last: Verified | None = None
        self.count = 0
        self.cut_bytes = 0
        self.clips: list[Verified] = []  # the records that name another clip than the one before
        self._hashes: dict[int, bytes] = {}
        self._unsynced_since = 0.0
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise UsageError(f"{path} cannot be written ({error.strerror}): name another file with -o") from None
        try:
            self._load(station, verifier)
        except BaseException:
            os.close(self._fd)
            raise

    def close(self) -> None:
        try:
            self.sync(at_once=True)
        finally:
            os.close(self._fd)

    def hash_of(self, seq: int) -> bytes | None:
        """SHA-256 of the record with that number, if it is here."""
        return self._hashes.get(seq)

    def evidence(self) -> evidence.Evidence:
        """All of it, read again from the disk, to be judged."""
        with open(self.path, "rb") as file:
            data = file.read()
        messages, at = [], 0
        while (end := evidence.message_end(data, at)) is not None:
            messages.append(evidence.Message(f"byte {at}", evidence.RECORD, data[at:end]))
            at = end
        damages = [evidence.Damage(f"byte {at}", "not a signed record", data[at:])] if at < len(data) else []
        form = "CBOR sequence of signed messages"
        return evidence.Evidence(str(self.path), form, hashlib.sha256(data).hexdigest(), messages, damages)

    def append(self, new: Iterable[Verified]) -> None:
        """Raises StorageError when the disk takes no more; what was whole before stays whole."""
        records = list(new)
        size = os.lseek(self._fd, 0, os.SEEK_END)
        try:
            view = memoryview(b"".join(record.message for record in records))
            while view:
                view = view[os.write(self._fd, view) :]
            self._unsynced_since = self._unsynced_since or time.monotonic()
            self.sync()
        except OSError as error:
            try:
                os.ftruncate(self._fd, size)
            except OSError:
                pass  # the next start cuts the torn end off
            raise _full(self.path, error) from None
        for record in records:
            self._note(record)

    def sync(self, at_once: bool = False) -> None:
        """On the disk, if it was written a second ago or more."""
        if self._unsynced_since and (at_once or time.monotonic() - self._unsynced_since >= SYNC_S):
            try:
                files.sync(self._fd)
            except OSError as error:
                raise _full(self.path, error) from None
            self._unsynced_since = 0.0

    def _note(self, record: Verified) -> None:
        self._hashes[record.seq] = record.hash
        named = clips.head(record)
        if named is not None and (not self.clips or named != clips.head(self.clips[-1])):
            self.clips.append(record)
        self.last, self.last_seq = record, record.seq
        self.count += 1

    def _load(self, station: Station, verifier: Verifier) -> None:
        """Take up where the file ends. Raises UsageError for one that is not ours to go on with."""
        other = "name another file with -o"
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{self.path} is being written by another program (holdfire pull?): {other}") from None
        except OSError:
            pass  # a file system that knows no locks
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            raise UsageError(f"{self.path} is no file, or larger than any station's memory: {other}")
        with open(self.path, "rb") as file:
            data = file.read()
        at = 0
        while (end := evidence.message_end(data, at)) is not None:
            try:
                record = verifier.check(data[at:end])
            except Refused as error:
                what = f"what stands at byte {at} does not hold ({error})"
                raise UsageError(f"{self.path} is not a file of `holdfire pull`: {what}; {other}") from None
            if record.kid != station.kid:
                whose = f"holds records of {record.station.name}, and {station.name} is on the port"
                raise UsageError(f"{self.path} {whose}: {other}")
            if record.seq <= self.last_seq:
                what = f"record {record.seq} at byte {at} follows record {self.last_seq}"
                raise UsageError(f"{self.path} is not a file of `holdfire pull`: {what}; {other}")
            self._note(record)
            at = end
        self._cut(data, at)

    def _cut(self, data: bytes, at: int) -> None:
        rest = data[at:]
        if not rest:
            return
        # What a kill, or a laptop that lost its power, leaves of a last write; anything else is somebody's data.
        torn = rest.startswith(evidence.MESSAGE_START[: len(rest)]) and len(rest) <= fields.MAX_RECORD_BYTES
        torn = torn and evidence.MESSAGE_START not in rest[1:]  # else records follow: a whole one was damaged
        if not torn and rest.strip(b"\0"):
            what = f"what stands at byte {at} is no signed record"
            raise UsageError(f"{self.path} is not a file of `holdfire pull`, or damaged: {what}; name another with -o")
        try:
            os.ftruncate(self._fd, at)
        except OSError as error:
            raise _full(self.path, error) from None
        self.cut_bytes = len(rest)


class Refusals:
    """What was not believed, with its reason, a JSON object a line; each bytes once."""

    def __init__(self, records: Path):
        self.path = records.with_name(records.name + ".refused")
        self.count = 0
        self._seen: set[bytes] = set()

    def add(self, reason: str, text: str, data: bytes) -> bool:
        """Keep it; False when it was kept before."""
        digest = hashlib.sha256(data).digest()
        if digest in self._seen:
            return False
        self._seen.add(digest)
        self.count += 1
        row = {"at": times.text(times.now_us(), 0), "reason": reason, "text": text,
               "sha256": digest.hex(), "bytes": base64.b64encode(data).decode()}  # fmt: skip
        try:
            with open(self.path, "a", encoding="ascii") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise _full(self.path, error) from None
        return True


class ClipFolder:
    """Clips as their bytes came, and each as a WAV file to listen to. A number may come again after a station lost its
    clips, so the beginning of the hash is in the name, too."""

    def __init__(self, records: Path):
        self.path = records.with_name(records.stem + "-clips")

    def of_number(self, number: int) -> list[bytes]:
        """What is kept under a number."""
        return [clips.content(path) for path in sorted(self.path.glob(f"{number:06d}-*.cbor")) if path.is_file()]

    def proven(self, records: Iterable[Verified]) -> list[clips.Clip]:
        """Those kept here that these records prove."""
        found, _ = clips.read_folder(self.path) if self.path.exists() else ([], [])
        by_hash = {one.hash: one for one in found}
        return [by_hash[digest] for digest in clips.proofs(by_hash, records)]

    def keep(self, clip: clips.Clip) -> None:
        """Whole or not at all; the bytes last, since they say that it is here."""
        name = f"{clip.number:06d}-{clip.hash.hex()[:12]}"
        self._write(f"{name}.wav", sound.wav(clip.named))
        self._write(f"{name}.cbor", clip.data)

    def _write(self, name: str, data: bytes) -> None:
        # Not files.write_atomically: a stick with FAT refuses its permissions.
        path, new = self.path / name, self.path / f".{name}.new"
        try:
            self.path.mkdir(exist_ok=True)
            with open(new, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, path)
        except OSError as error:
            raise _full(path, error) from None


def _full(path: Path, error: OSError) -> StorageError:
    what = f"{path} cannot be written ({error.strerror}): nothing that was kept is lost"
    return StorageError(f"{what}; make room, and the same command goes on from there")
