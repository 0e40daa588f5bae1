"""Files of signed messages: what `holdfire export` writes, and `holdfire verify` and `holdfire import` read.

An export is a CBOR sequence (RFC 8742) of signed messages, byte for byte as they were made. A serial log is text with
frame lines in it, as any terminal program captures it. The forwarder's files are JSON lines with the signed record in
them. Nothing is believed here: this only finds the messages and says where the rest is damaged. `Source` gives them one
by one in bounded memory, however long the file or a line in it.
"""

import base64
import binascii
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from holdfire_protocol import cose, fields, frame, line

from .errors import UsageError

MAX_FILE_BYTES = 1 << 30
# Tag, array, protected header, label of the kid: the same in every message.
MESSAGE_START = cose.join(bytes(fields.KID_BYTES), b"", bytes(fields.SIGNATURE_BYTES))[:9]

_CHUNK_BYTES = 1 << 16
_JSON_LINE_BYTES = 1 << 17  # the forwarder's longest are some 10 KB

RECORD = "record"
BEACON = "beacon"


@dataclass(frozen=True)
class Message:
    """One signed message and where it stands in the file."""

    where: str
    kind: str
    data: bytes


@dataclass(frozen=True)
class Damage:
    """A place in the file that holds no message, and why; `data` is the beginning of what stands there, `framed` when
    that is a whole frame."""

    where: str
    reason: str
    data: bytes = b""
    framed: bool = False


@dataclass(frozen=True)
class Evidence:
    """A file taken apart. `form` says in words what kind of file it is; nothing is verified."""

    name: str
    form: str
    sha256: str
    messages: list[Message]
    damages: list[Damage]


class Source:
    """A file (`-`: standard input) taken apart while it is iterated over, once: Message and Damage, in their order.

    `form` says in words what kind of file it is; `taken_bytes` how far it is read; `sha256` is known at the end.
    Raises UsageError when it cannot be read.
    """

    def __init__(self, name: str, network: bytes, collector_kids: Collection[bytes]):
        self.name = name
        self.form = ""
        self.taken_bytes = 0
        self.size_bytes = 0  # 0 where it is not known
        self._network = network
        self._collector_kids = collector_kids
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[Message | Damage]:
        try:
            if self.name == "-":
                yield from self._take_apart(sys.stdin.buffer)
            else:
                with open(self.name, "rb") as file:
                    self.size_bytes = os.fstat(file.fileno()).st_size
                    yield from self._take_apart(file)
        except OSError as error:
            raise UsageError(f"cannot read {self.name}: {error.strerror}") from None

    def _take_apart(self, file: BinaryIO) -> Iterator[Message | Damage]:
        first = self._read(file)
        chunks = self._chunks(first, file)
        if first.lstrip().startswith(b"{"):
            self.form = "JSON lines with signed records"
            return _from_json_lines(_lines(chunks, _JSON_LINE_BYTES))
        if line.MARK in first and not first.startswith(MESSAGE_START):
            self.form = "serial log with frame lines"
            return _from_log(_lines(chunks, 2 * fields.MAX_LINE_BYTES), self._network)
        self.form = "CBOR sequence of signed messages"
        return _from_sequence(chunks, self._collector_kids)

    def _chunks(self, first: bytes, file: BinaryIO) -> Iterator[bytes]:
        while first:
            yield first
            first = self._read(file)

    def _read(self, file: BinaryIO) -> bytes:
        data = file.read(_CHUNK_BYTES)
        self._digest.update(data)
        self.taken_bytes += len(data)
        return data


def read(name: str, network: bytes, collector_kids: Collection[bytes]) -> Evidence:
    """All of a file at once. Raises UsageError when it cannot be read or is too large for that."""
    source = Source(name, network, collector_kids)
    messages: list[Message] = []
    damages: list[Damage] = []
    for found in source:
        if source.taken_bytes > MAX_FILE_BYTES:
            limit = f"larger than {MAX_FILE_BYTES >> 20} MiB"
            raise UsageError(f"{name}: {limit}; export a shorter period, or split the log")
        if isinstance(found, Message):
            messages.append(found)
        else:
            damages.append(found)
    return Evidence(name, source.form, source.sha256, messages, damages)


def write(path: Path, messages: Iterable[bytes]) -> int:
    """Write a CBOR sequence, whole or not at all; returns how many messages. Raises UsageError, also for none."""
    count = 0
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            for message in messages:
                file.write(message)
                count += 1
            if not count:
                raise UsageError("no such record, so nothing was written")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    return count


def _from_sequence(chunks: Iterator[bytes], collector_kids: Collection[bytes]) -> Iterator[Message | Damage]:
    buffer, place, at, ended = b"", 0, 0, False  # `place`: of the buffer in the file; `at`: in the buffer
    bad_from, bad = -1, b""  # where a damaged stretch began, and its beginning
    while True:
        if not ended and len(buffer) - at < 2 * fields.MAX_RECORD_BYTES:  # a message, and one that begins inside it
            more = next(chunks, b"")
            ended = not more
            buffer, place, at = buffer[at:] + more, place + at, 0
            continue
        end = message_end(buffer, at) if at < len(buffer) else None
        # One damaged byte hides one record: what follows is looked for by how messages begin.
        if bad_from >= 0 and (end is not None or at == len(buffer) or buffer.startswith(MESSAGE_START, at)):
            yield Damage(f"byte {bad_from}", f"{place + at - bad_from} bytes that are not a signed record", bad)
            bad_from, bad = -1, b""
        if end is not None:
            message = buffer[at:end]
            kid = message[len(MESSAGE_START) : len(MESSAGE_START) + fields.KID_BYTES]
            yield Message(f"byte {place + at}", BEACON if kid in collector_kids else RECORD, message)
            # A message cut short ends inside the next one. (None holds a whole one: no field of a record has room.)
            inside = buffer.find(MESSAGE_START, at + 1, end + len(MESSAGE_START) - 1)
            at = inside if inside > 0 and message_end(buffer, inside) is not None else end
            continue
        if at == len(buffer):
            return
        after = buffer.find(MESSAGE_START, at + 1)
        if after < 0:
            after = len(buffer) if ended else len(buffer) - len(MESSAGE_START) + 1
        if bad_from < 0:
            bad_from = place + at
        bad += buffer[at : min(after, at + fields.MAX_RECORD_BYTES - len(bad))]
        at = after


def message_end(data: bytes, at: int) -> int | None:
    """Where the message that begins at `at` ends, going by its own lengths; None when it is no message."""
    size_at = at + len(MESSAGE_START) + fields.KID_BYTES
    if not data.startswith(MESSAGE_START, at) or size_at + 3 > len(data):
        return None
    first = data[size_at]
    if 0x40 <= first < 0x58:
        payload_end = size_at + 1 + first - 0x40
    elif first == 0x58:
        payload_end = size_at + 2 + data[size_at + 1]
    elif first == 0x59:
        payload_end = size_at + 3 + int.from_bytes(data[size_at + 1 : size_at + 3], "big")
    else:
        return None
    end = payload_end + 2 + fields.SIGNATURE_BYTES
    try:
        cose.parse(data[at:end])
    except cose.CoseError:
        return None
    return end


def _lines(chunks: Iterator[bytes], limit: int) -> Iterator[tuple[int, bytes, bool]]:
    """(number, bytes, whether the line ends here) of the lines; of one longer than `limit`, in parts of that length."""
    number, rest = 1, b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for text in whole:
            yield number, text, True
            number += 1
        while len(rest) > limit:
            yield number, rest[:limit], False
            rest = rest[limit:]
    if rest:
        yield number, rest, True


def _from_log(lines: Iterator[tuple[int, bytes, bool]], network: bytes) -> Iterator[Message | Damage]:
    reader = line.LineReader()
    for number, text, ends in lines:
        where = f"line {number}"
        for kind, content in reader.feed(text + b"\n" if ends else text):
            if kind == line.BAD:
                yield Damage(where, content, text)
            elif kind == line.FRAME:
                try:
                    frame_kind, body = frame.decode(content, network)
                except frame.FrameError as error:
                    yield Damage(where, str(error), content, framed=True)
                else:
                    yield Message(where, BEACON if frame_kind == fields.FRAME_BEACON else RECORD, body)


def _from_json_lines(lines: Iterator[tuple[int, bytes, bool]]) -> Iterator[Message | Damage]:
    number_before, whole = 0, True
    for number, text, ends in lines:
        where = f"line {number}"
        if number == number_before and not whole:  # the rest of a line that was too long
            continue
        number_before, whole = number, ends
        if not ends:
            yield Damage(where, f"longer than {_JSON_LINE_BYTES} bytes", text)
        elif text.strip():
            try:
                yield Message(where, RECORD, _signed_record(text))
            except ValueError as error:
                yield Damage(where, str(error), text)


def _signed_record(text: bytes) -> bytes:
    """The record in a line of the forwarder's. Raises ValueError with the reason."""
    try:
        event: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("not a whole JSON object") from None
    data = event.get("data") if isinstance(event, dict) else None
    encoded = data.get("signed_record") if isinstance(data, dict) else None
    if not isinstance(encoded, str):
        raise ValueError("no data.signed_record in it: not written by a Holdfire forwarder")
    try:
        return base64.b64decode(encoded.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError("data.signed_record is not base64") from None
