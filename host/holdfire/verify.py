"""Is one record what it claims to be? Form, station, signature, content; and whether its time is plausible.

Everything here judges one record by itself and raises Refused. What needs other records is chain.py's (replay,
sequence, chain) and clocks.py's; nothing is stored here.

The order is deliberate: the signature is checked before the payload is decoded, so that only a station's own key can
bring bytes to the CBOR decoder. The payload is decoded by cbor2 and checked by a table made from `fields.py`; whatever
that fast path is not sure to accept is put to the protocol's own `decode_record`, whose verdict and words are final.
"""

import hashlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import cbor2

from holdfire_protocol import cbor, cose, fields, record, schema
from holdfire_protocol.shape import Shape

from . import ed25519_strict, times
from .errors import BAD_SIGNATURE, NOT_CANONICAL, UNKNOWN_STATION, Refused
from .registry import Registry, Station

_KEY = {row[1]: row[0] for row in fields.RECORD.rows}
_SEQ, _PREV, _BOOT, _TIME = _KEY["seq"], _KEY["prev"], _KEY["boot"], _KEY["time"]
_UPTIME_MS, _RESTART = _KEY["uptime_ms"], _KEY["restart"]
_OBSERVATIONS, _STATUS, _THINNED = _KEY["observations"], _KEY["status"], _KEY["thinned"]
_KIND = fields.IMPULSE_ROWS[0][0]


class Verified:
    """A record whose form, station, signature and content hold. `packed` is its payload: integer keys, as signed."""

    __slots__ = ("boot", "hash", "kid", "message", "packed", "prev", "restart", "seq", "station", "time", "uptime_ms")

    def __init__(self, message: bytes, station: Station, packed: dict[int, Any]):
        self.message = message
        self.hash = hashlib.sha256(message).digest()
        self.station = station
        self.kid = station.kid
        self.packed = packed
        self.seq: int = packed[_SEQ]
        self.prev: bytes = packed[_PREV]
        self.boot: int = packed[_BOOT]
        self.time: tuple[int, int, int] = tuple(packed[_TIME])
        self.uptime_ms: int = packed[_UPTIME_MS]
        self.restart: int | None = packed.get(_RESTART)

    def observation_kinds(self) -> list[int]:
        return [observation[_KIND] for observation in self.packed.get(_OBSERVATIONS, ())]

    def thinned(self) -> list[tuple[int, int]]:
        """Runs of numbers, both ends included, that the station gave up by this record's word."""
        return [(first, last) for first, last in self.packed.get(_THINNED, ())]

    def has_status(self) -> bool:
        return _STATUS in self.packed


class Verifier:
    """Checks records of one deployment. Holds a decoder and an encoder, so: one thread at a time."""

    def __init__(self, registry: Registry, verify: Callable[[bytes, bytes, bytes], Any] = ed25519_strict.verify):
        self.registry = registry
        self._aad = fields.AAD_RECORD + registry.network
        self._verify = verify
        self._payloads = PayloadDecoder()

    def check(self, message: bytes) -> Verified:
        """The verified record. Raises Refused with the reason."""
        try:
            parts = cose.parse(message)
        except cose.CoseError as error:
            raise Refused(NOT_CANONICAL, str(error), str(error).partition(":")[0]) from None
        station = self.registry.stations.get(parts.kid)
        if station is None:
            raise Refused(UNKNOWN_STATION, f"no station {parts.kid.hex()} is enrolled here", "kid", parts.kid)
        try:
            self._verify(station.public_key, cose.sig_structure(self._aad, parts.payload), parts.signature)
        except ValueError:
            text = f"not what {station.name} signed for this network, or altered since"
            raise Refused(BAD_SIGNATURE, text, "signature", parts.kid) from None
        try:
            packed = self._payloads.decode(parts.payload)
        except schema.FieldError as error:
            raise Refused(NOT_CANONICAL, f"signed by {station.name}, but {error}", error.field, parts.kid) from None
        except cbor.CborError as error:
            raise Refused(NOT_CANONICAL, f"signed by {station.name}, but {error}", "payload", parts.kid) from None
        return Verified(message, station, packed)


class PayloadDecoder:
    """Record payloads to checked maps with integer keys. Accepts exactly what `record.decode_record` accepts."""

    def __init__(self) -> None:
        self._renew()

    def decode(self, payload: bytes) -> dict[int, Any]:
        """Raises CborError or FieldError, as `record.decode_record` words it."""
        packed = self._decode_fast(payload)
        if packed is None:
            named = record.decode_record(payload)  # raises, unless the fast path was too careful
            packed = schema.pack(fields.RECORD, named)
        return packed

    def _decode_fast(self, payload: bytes) -> dict[int, Any] | None:
        """The map when it is certain to be right, else None."""
        try:
            packed: Any = self._decoder.decode_from_bytes(payload)
            # One encoding a value: cbor2 writes shortest heads and keeps the order of keys, which _fits has checked.
            if _fits(_RECORD, packed) and self._encoder.encode_to_bytes(packed) == payload:
                _check_rules(packed)
                found: dict[int, Any] = packed
                return found
        except Exception:  # cbor2 on hostile bytes raises half of the built-in exceptions; see the tests
            pass
        self._renew()  # after maps nested too deep, cbor2 5.9 makes every later list a tuple, as if it were a map key
        return None

    def _renew(self) -> None:
        # One of each for many payloads: making them costs as much as their work.
        self._decoder = cbor2.CBORDecoder(BytesIO())
        self._encoder = cbor2.CBOREncoder(BytesIO())


def check_date(
    new: Verified, now_us: int, clock_uncertainty_us: int, future_tolerance_us: int, past_tolerance_us: int
) -> str | None:
    """Why the record's time cannot be right on this day, or is one when its key is not believed; or None."""
    source, utc_us, uncertainty_us = new.time
    if source == fields.TIME_NONE:
        return new.station.doubt_at(now_us)
    if utc_us > now_us + uncertainty_us + clock_uncertainty_us + future_tolerance_us:
        return f"{times.text(utc_us, 0)} is {(utc_us - now_us) / 1e6:.0f} s later than the base's clock"
    if utc_us + uncertainty_us < new.station.enrolled_at_us - past_tolerance_us:
        return f"{times.text(utc_us, 0)} is long before {new.station.name} was enrolled"
    return new.station.doubt_at(utc_us, uncertainty_us)


# Held by this module's own names: in a loop that runs for every field of every record, `fields.INT` is two look-ups.
_INT, _BYTES, _LIST, _TUPLE = fields.INT, fields.BYTES, fields.LIST, fields.TUPLE
_SAYS_SOMETHING = frozenset((_OBSERVATIONS, _STATUS, _RESTART, _THINNED))


class _Table:
    """A shape of `fields.py`, arranged for `_fits`: key -> (type, low, high, table of the elements)."""

    def __init__(self, shape: Shape):
        rows = list(shape.rows)
        self.rows = {row[0]: (row[2], row[3], row[4], _element(row[6] if len(row) > 6 else None)) for row in rows}
        self.required = frozenset(row[0] for row in rows if row[5])
        if any(not 0 <= key < 24 for key in self.rows):
            raise AssertionError("keys of one byte: else numeric order is not the order of their encodings")


def _element(shape: Shape | None) -> Any:
    if shape is None:
        return None
    if shape.variants:
        return {kind: _Table(variant) for kind, variant in shape.variants}
    if shape.is_tuple:
        if any(row[2] > fields.INT for row in shape.rows):
            raise AssertionError("tuples of integers only: _tuple_fits compares nothing else")
        return tuple(row[3:5] for row in shape.rows)
    return _Table(shape)


_RECORD = _Table(fields.RECORD)


def _fits(table: Any, packed: Any) -> bool:
    """Whether a decoded map is surely in order: exact types (1.0 and True equal 1 as keys), ranges, sorted keys."""
    if packed.__class__ is not dict:
        return False
    if table.__class__ is dict:
        table = table.get(packed.get(_KIND))
        if table is None:
            return False
    rows = table.rows
    last = -1
    for key, value in packed.items():
        if key.__class__ is not int or key <= last or key not in rows:
            return False
        last = key
        kind, low, high, element = rows[key]
        type_ = value.__class__
        if type_ is int:
            if kind > _INT or not low <= value <= high:
                return False
        elif type_ is bytes:
            if kind != _BYTES or not low <= len(value) <= high:
                return False
        elif kind == _TUPLE:
            if not _tuple_fits(element, value):
                return False
        elif kind == _LIST:
            if type_ is not list or not low <= len(value) <= high:
                return False
            fits = _tuple_fits if element.__class__ is tuple else _fits
            for item in value:
                if not fits(element, item):
                    return False
        elif element is None or not _fits(element, value):
            return False
    return bool(packed.keys() >= table.required)


def _tuple_fits(ranges: Any, value: Any) -> bool:
    if value.__class__ is not list or len(value) != len(ranges):
        return False
    for (low, high), item in zip(ranges, value, strict=True):  # a generator in all() costs twice as much
        if item.__class__ is not int or not low <= item <= high:
            return False
    return True


def _check_rules(packed: dict[int, Any]) -> None:
    """The rules that span fields, as `record.check_record` has them, on a map. Raises FieldError."""
    if packed.keys().isdisjoint(_SAYS_SOMETHING) or packed.get(_RESTART) == fields.RESTART_FIRST:  # never, and once
        record.check_record(schema.unpack(fields.RECORD, packed))
    if _THINNED in packed:
        record.check_thinned(packed[_THINNED], packed[_SEQ])
    record.check_time(packed[_TIME])
