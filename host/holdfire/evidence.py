"""Files of signed messages: what `holdfire export` writes and `holdfire verify` reads.

An export is a CBOR sequence (RFC 8742) of signed records, byte for byte as the stations made them. A serial log is text
with frame lines in it, as any terminal program captures it. Nothing is believed here: this only finds the messages and
says where the rest is damaged.
"""

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from holdfire_protocol import cose, fields, frame, line

from .errors import UsageError

MAX_FILE_BYTES = 1 << 30
# Tag, array, protected header, label of the kid: the same in every message.
_RECORD_START = cose.join(bytes(fields.KID_BYTES), b"", bytes(fields.SIGNATURE_BYTES))[:9]

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
    """A place in the file that holds no message, and why."""

    where: str
    reason: str


@dataclass(frozen=True)
class Evidence:
    """A file taken apart. `form` says in words what kind of file it is; nothing is verified."""

    name: str
    form: str
    sha256: str
    messages: list[Message]
    damages: list[Damage]


def read(name: str, network: bytes, collector_kid: bytes) -> Evidence:
    """Take a file apart (`-`: standard input). Raises UsageError when it cannot be read."""
    try:
        if name == "-":
            data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with open(name, "rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"{name}: larger than {MAX_FILE_BYTES >> 20} MiB; export a shorter period, or split the log")
    digest = hashlib.sha256(data).hexdigest()
    if line.MARK in data and not data.startswith(_RECORD_START):
        messages, damages = _from_log(data, network)
        return Evidence(name, "serial log with frame lines", digest, messages, damages)
    messages, damages = _from_sequence(data, collector_kid)
    return Evidence(name, "CBOR sequence of signed records", digest, messages, damages)


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


def _from_sequence(data: bytes, collector_kid: bytes) -> tuple[list[Message], list[Damage]]:
    messages: list[Message] = []
    damages: list[Damage] = []
    at = 0
    while at < len(data):
        where = f"byte {at}"
        end = _message_end(data, at)
        if end is not None:
            message = data[at:end]
            kid = message[len(_RECORD_START) : len(_RECORD_START) + fields.KID_BYTES]
            messages.append(Message(where, BEACON if kid == collector_kid else RECORD, message))
            at = end
            continue
        # Whatever this is, go on at the next place that begins like a message, so one damaged byte hides one record.
        after = data.find(_RECORD_START, at + 1)
        after = len(data) if after < 0 else after
        damages.append(Damage(where, f"{after - at} bytes that are not a signed record"))
        at = after
    return messages, damages


def _message_end(data: bytes, at: int) -> int | None:
    """Where the message that begins at `at` ends, going by its own lengths; None when it is no message."""
    size_at = at + len(_RECORD_START) + fields.KID_BYTES
    if not data.startswith(_RECORD_START, at) or size_at + 3 > len(data):
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


def _from_log(data: bytes, network: bytes) -> tuple[list[Message], list[Damage]]:
    messages: list[Message] = []
    damages: list[Damage] = []
    reader = line.LineReader()
    for number, text in enumerate(data.split(b"\n"), 1):
        where = f"line {number}"
        for kind, content in reader.feed(text + b"\n"):
            if kind == line.BAD:
                damages.append(Damage(where, content))
            elif kind == line.FRAME:
                try:
                    frame_kind, body = frame.decode(content, network)
                except frame.FrameError as error:
                    damages.append(Damage(where, str(error)))
                else:
                    messages.append(Message(where, BEACON if frame_kind == fields.FRAME_BEACON else RECORD, body))
    return messages, damages
