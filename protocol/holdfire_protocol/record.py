"""Records, the chain they form, and the beacons that answer them.

A record or beacon is made by `encode_*` (fields to payload) and signed by `sign1`; it is verified by `verify1`, which
gives the payload, and read by `decode_*`. What is stored, hashed and chained is always the whole signed message.
"""

import hashlib

from . import cbor, cose, fields, schema
from .fields import BEACON, RECORD
from .schema import FieldError

TYPE_CHECKING = False  # MicroPython has no typing; mypy takes this name for true
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def genesis(network: bytes, public_key: bytes) -> bytes:
    """The `prev` of the first record of a chain: 32 bytes bound to the deployment and to the station's key."""
    return hashlib.sha256(fields.GENESIS + network + public_key).digest()


def record_hash(message: bytes) -> bytes:
    """SHA-256 of a whole signed record: its name everywhere, and the `prev` of the next."""
    return hashlib.sha256(message).digest()


def encode_record(named: "dict[str, Any]") -> bytes:
    """Payload of a record from its fields (`fields.RECORD`). Raises FieldError, by the rules of `decode_record`."""
    packed = schema.pack(RECORD, named)
    check_record(named)
    return _within_limit("record", cbor.encode(packed))


def decode_record(payload: bytes) -> "dict[str, Any]":
    """Fields of a record from its payload. Raises CborError or FieldError."""
    named = schema.unpack(RECORD, cbor.decode(payload))
    check_record(named)
    return named


def encode_beacon(named: "dict[str, Any]") -> bytes:
    """Payload of a beacon from its fields (`fields.BEACON`). Raises FieldError."""
    packed = schema.pack(BEACON, named)
    _check_beacon(named)
    return _within_limit("beacon", cbor.encode(packed))


def decode_beacon(payload: bytes) -> "dict[str, Any]":
    """Fields of a beacon from its payload. Raises CborError or FieldError."""
    named = schema.unpack(BEACON, cbor.decode(payload))
    _check_beacon(named)
    return named


def check_record(named: "dict[str, Any]") -> None:
    """The rules that span fields, for fields that `schema` let through. Raises FieldError."""
    if not ("observations" in named or "status" in named or "restart" in named or "thinned" in named):
        raise FieldError("record", "says nothing: needs observations, status, restart or thinned")
    if named.get("restart") == fields.RESTART_FIRST and named["seq"] != 1:  # it could begin anew and call it the first
        raise FieldError("restart", "1, the first record, yet seq is %d" % named["seq"])
    check_thinned(named.get("thinned", ()), named["seq"])
    check_time(named["time"])


def check_thinned(runs: "Any", seq: int) -> None:
    """Runs rise, do not touch, and speak of records made before. Raises FieldError."""
    end = 0
    for first, last in runs:
        if first <= end or last < first or last >= seq:
            raise FieldError("thinned", "runs must rise, lie apart and end before seq: %d to %d" % (first, last))
        end = last + 1


def _check_beacon(named: "dict[str, Any]") -> None:
    if named["time"][0] == fields.TIME_NONE:  # stations without a fix take theirs from it
        raise FieldError("time.source", "a beacon has a time")
    check_time(named["time"])


def _within_limit(name: str, payload: bytes) -> bytes:
    # Before it is signed: a record too long to be accepted would take a sequence number and hold up the chain.
    if len(payload) > cose.MAX_PAYLOAD_BYTES:
        raise FieldError(name, "%d bytes, allowed %d: say less" % (len(payload), cose.MAX_PAYLOAD_BYTES))
    return payload


def check_time(time: "Any") -> None:
    """A time without a source says nothing more; a time with one is in the age of Holdfire. Raises FieldError."""
    source, utc_us, uncertainty_us = time
    if source == fields.TIME_NONE:
        if utc_us != 0 or uncertainty_us != fields.U32:
            raise FieldError("time", "source is none, so utc_us must be 0 and uncertainty_us 4294967295")
    elif utc_us < fields.UTC_MIN_US:
        raise FieldError("time.utc_us", "%d is before %d" % (utc_us, fields.UTC_MIN_US))


def sign1(payload: bytes, kid: bytes, aad: bytes, network: bytes, sign: "Callable[[bytes], bytes]") -> bytes:
    """Signed message. `aad` is fields.AAD_RECORD or AAD_BEACON; `sign(bytes) -> 64 bytes`."""
    return cose.join(kid, payload, sign(cose.sig_structure(aad + network, payload)))


def verify1(
    message: bytes, public_key: bytes, aad: bytes, network: bytes, verify: "Callable[[bytes, bytes, bytes], object]"
) -> bytes:
    """Payload of a message after its signature held. `verify(public_key, message, signature)` raises when it does not.

    Raises CoseError for a wrong form or a kid that is not this key's.
    """
    parts = cose.parse(message)
    if parts.kid != cose.key_id(public_key):
        raise cose.CoseError("kid: not of this key")
    verify(public_key, cose.sig_structure(aad + network, parts.payload), parts.signature)
    return parts.payload
