"""What the deployment's authority signs so that stations take new programs: a message like a record, with a purpose of
its own.

A module apart from `fields.py`, because a station needs it for minutes in a year and RAM is short. Whether a station
takes the programs is its own to decide; how they reach it is not said here.
"""

from . import cbor, fields, schema
from .shape import Shape

TYPE_CHECKING = False  # MicroPython has no typing; mypy takes this name for true
if TYPE_CHECKING:
    from typing import Any

AAD_UPDATE = b"holdfire.update.1\x00"

UPDATE = Shape("update", (
    (1, "number", fields.UINT, 1, (1 << 31) - 1, True),  # grows: seconds after 2023-11-14T22:13:20Z when signed
    (2, "board", fields.BYTES, 1, 32, True),  # name of the board file the programs were built for, ASCII
    (3, "mpy", fields.UINT, 1, fields.U16, True),  # kind of compiled code: version of MicroPython's, processor
    (4, "firmware", fields.BYTES, 8, 8, True),  # first bytes of SHA-256 over the program files, as in a status
    (5, "size", fields.UINT, 4096, 1 << 24, True),  # bytes of the image: half of the partition "programs"
    (6, "image", fields.BYTES, fields.HASH_BYTES, fields.HASH_BYTES, True),  # SHA-256 of the image
))


def encode(named: "dict[str, Any]") -> bytes:
    """Payload of an update from its fields. Raises FieldError."""
    return cbor.encode(schema.pack(UPDATE, named))


def decode(payload: bytes) -> "dict[str, Any]":
    """Fields of an update from its payload. Raises CborError or FieldError."""
    named = schema.unpack(UPDATE, cbor.decode(payload))
    if min(named["board"]) < 0x21 or max(named["board"]) > 0x7E:
        raise schema.FieldError("board", "not printable ASCII without blanks")
    return named
