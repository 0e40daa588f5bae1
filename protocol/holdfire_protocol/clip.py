"""The sound round a detection, as a station keeps it for whoever comes with a cable. Not signed: a signed status record
holds its hash, or that of a clip which leads back to it.

A module apart from `fields.py`, because a station needs it for a moment at a time and RAM is short.
"""

from . import cbor, fields, schema
from .shape import Shape

TYPE_CHECKING = False  # MicroPython has no typing; mypy takes this name for true
if TYPE_CHECKING:
    from typing import Any

BLOCK_BYTES = 33  # a block of a clip: an exponent, and 32 signed bytes
_EXPONENT_MOST = 8

CLIP = Shape("clip", (
    (1, "number", fields.UINT, 1, fields.U32, True),  # one more with each clip; from 1 when the ring was lost
    (2, "prev", fields.BYTES, 32, 32, True),  # SHA-256 of the clip before; zeros in the first
    (3, "boot", fields.UINT, 1, fields.U32, True),  # of the station, as in its records of that time
    (4, "start_us", fields.UINT, 0, 1 << 58, True),  # the first sample; since boot, as uptime_ms counts
    (5, "rate_hz", fields.UINT, 1000, 1000, True),  # samples a second
    (6, "data", fields.BYTES, 33, 2640, True),  # whole blocks of 33 bytes
))


def encode(named: "dict[str, Any]") -> bytes:
    """The bytes of a clip from its fields. Raises FieldError."""
    _check(named)
    return cbor.encode(schema.pack(CLIP, named))


def decode(data: bytes) -> "dict[str, Any]":
    """Fields of a clip from its bytes. Raises CborError or FieldError."""
    named = schema.unpack(CLIP, cbor.decode(data))
    _check(named)
    return named


def _check(named: "dict[str, Any]") -> None:
    data = named["data"]
    if len(data) % BLOCK_BYTES:
        raise schema.FieldError("data", "not whole blocks of %d bytes" % BLOCK_BYTES)
    for at in range(0, len(data), BLOCK_BYTES):
        if data[at] > _EXPONENT_MOST:
            raise schema.FieldError("data", "block at %d: exponent %d, allowed 0 to 8" % (at, data[at]))
