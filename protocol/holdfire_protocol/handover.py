"""What the authority signs so that stations believe another key than before: its own next one, or the collector's.

A module apart from `fields.py`, because a station needs it once in years and RAM is short.
"""

from . import cbor, fields, schema
from .shape import Shape

TYPE_CHECKING = False  # MicroPython has no typing; mypy takes this name for true
if TYPE_CHECKING:
    from typing import Any

AAD_HANDOVER = b"holdfire.handover.1\x00"
AUTHORITY = 1
COLLECTOR = 2

HANDOVER = Shape("handover", (
    (1, "office", fields.UINT, 1, 2, True),  # whose key is replaced: 1 the authority's, 2 the collector's
    (2, "kid", fields.BYTES, fields.KID_BYTES, fields.KID_BYTES, True),  # of the key that is replaced
    (3, "public_key", fields.BYTES, fields.PUBLIC_KEY_BYTES, fields.PUBLIC_KEY_BYTES, True),  # that takes its place
))


def encode(named: "dict[str, Any]") -> bytes:
    """Payload of a handover from its fields. Raises FieldError."""
    return cbor.encode(schema.pack(HANDOVER, named))


def decode(payload: bytes) -> "dict[str, Any]":
    """Fields of a handover from its payload. Raises CborError or FieldError."""
    return schema.unpack(HANDOVER, cbor.decode(payload))
