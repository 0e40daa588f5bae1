"""What a station says of itself when it is enrolled: a signed message like a record, with a purpose of its own.

A module apart from `fields.py`, because a station needs it once in its life and RAM is short. Whether the registry
takes the station in is the host's to decide.
"""

from . import cbor, fields, schema
from .shape import Shape

TYPE_CHECKING = False  # MicroPython has no typing; mypy takes this name for true
if TYPE_CHECKING:
    from typing import Any

AAD_ENROLMENT = b"holdfire.enrolment.1\x00"
REGISTRY = b"holdfire.registry.1\x00"  # signed before network id and entry, by the authority
CHALLENGE_BYTES = 16  # drawn by whoever asks a station to state its enrolment

ENROLMENT = Shape("enrolment", (
    (1, "public_key", fields.BYTES, 32, 32, True),  # the station's; its secret half signs this
    (2, "collector", fields.BYTES, 32, 32, True),  # public key of the collector whose beacons the station believes
    (3, "chip", fields.BYTES, 6, 16, True),  # the chip's own id; on an ESP32 its factory MAC address
    (4, "board", fields.BYTES, 1, 32, True),  # name of the board file it was built for, ASCII
    (5, "firmware", fields.BYTES, 8, 8, True),  # first bytes of SHA-256 over the station's program files
    (6, "challenge", fields.BYTES, 16, 16, True),  # what the asker drew: an old statement cannot pass for a new one
))


def encode(named: "dict[str, Any]") -> bytes:
    """Payload of an enrolment from its fields. Raises FieldError."""
    return cbor.encode(schema.pack(ENROLMENT, named))


def decode(payload: bytes) -> "dict[str, Any]":
    """Fields of an enrolment from its payload. Raises CborError or FieldError."""
    named = schema.unpack(ENROLMENT, cbor.decode(payload))
    if not all(0x21 <= byte <= 0x7E for byte in named["board"]):
        raise schema.FieldError("board", "not printable ASCII without blanks")
    return named
