"""Deterministic CBOR (RFC 8949 section 4.2.1), the subset Holdfire signs: integers, byte strings, arrays and maps.

`decode` accepts exactly what `encode` can produce and refuses everything else: floats, text, tags, simple values,
indefinite lengths, longer-than-needed heads, unsorted or repeated map keys, trailing bytes. So one value has one
encoding, and a record's hash names one record. Text is left out on purpose: names belong in the registry, not on the
air, and UTF-8 validity is judged differently by different libraries.
"""

TYPE_CHECKING = False  # MicroPython has no typing; mypy takes this name for true
if TYPE_CHECKING:
    from typing import Any


MAX_DEPTH = 6  # record > observations > observation needs 4; more is an attack on the stack

_UINT = 0
_NINT = 1
_BYTES = 2
_ARRAY = 4
_MAP = 5


class CborError(ValueError):
    """The bytes are not the one encoding of a value. The message gives the offset and the reason."""


def encode(value: "Any") -> bytes:
    """The one encoding of `value` (int, bytes, list, tuple, dict). Raises CborError for what it cannot say."""
    out = bytearray()
    _put(out, value, 0)
    return bytes(out)


def decode(data: bytes, max_depth: int = MAX_DEPTH) -> "Any":
    """The value `data` encodes; arrays come back as lists, maps as dicts.

    Raises CborError unless `data` is one whole value in its one deterministic encoding.
    """
    data = bytes(data)
    value, end = _get(data, 0, max_depth)
    if end != len(data):
        raise CborError("offset %d: %d trailing bytes" % (end, len(data) - end))
    return value


def head(major: int, argument: int) -> bytes:
    """The initial bytes of an item: major type and argument in the shortest form (RFC 8949 section 3)."""
    major <<= 5
    if argument < 24:
        return bytes((major | argument,))
    if argument < 0x100:
        return bytes((major | 24, argument))
    if argument < 0x10000:
        return bytes((major | 25,)) + argument.to_bytes(2, "big")
    if argument < 0x100000000:
        return bytes((major | 26,)) + argument.to_bytes(4, "big")
    if argument < 0x10000000000000000:
        return bytes((major | 27,)) + argument.to_bytes(8, "big")
    raise CborError("integer beyond 64 bits")


def byte_string(data: bytes) -> bytes:
    """`data` as a CBOR byte string."""
    return head(_BYTES, len(data)) + data


def _put(out: bytearray, value: "Any", depth: int) -> None:
    if depth > MAX_DEPTH:
        raise CborError("nested deeper than %d" % MAX_DEPTH)
    if isinstance(value, bool):  # before int: True is an int on CPython and is not on MicroPython
        raise CborError("cannot encode a boolean")
    if isinstance(value, int):
        out.extend(head(_UINT, value) if value >= 0 else head(_NINT, -1 - value))
    elif isinstance(value, (bytes, bytearray)):
        out.extend(head(_BYTES, len(value)))
        out.extend(value)
    elif isinstance(value, (list, tuple)):
        out.extend(head(_ARRAY, len(value)))
        for item in value:
            _put(out, item, depth + 1)
    elif isinstance(value, dict):
        out.extend(head(_MAP, len(value)))
        keyed = []
        for key in value:
            if not isinstance(key, (int, bytes)):  # a tuple would do for a dict, and never be read back
                raise CborError("map key is neither an integer nor a byte string")
            encoded = bytearray()
            _put(encoded, key, depth + 1)
            keyed.append((bytes(encoded), key))
        # Bytewise order of the encoded keys (section 4.2.1). Never the dict's own order: MicroPython does not keep it.
        for encoded_key, key in sorted(keyed, key=_encoded_key):
            out.extend(encoded_key)
            _put(out, value[key], depth + 1)
    else:
        raise CborError("cannot encode %s" % type(value))


def _encoded_key(pair: "tuple[bytes, Any]") -> bytes:
    return pair[0]


def _get(data: bytes, at: int, depth: int) -> "tuple[Any, int]":
    """(value, offset after it) of the item at `at`."""
    if depth < 0:
        raise CborError("offset %d: nested too deep" % at)
    major, argument, after = _get_head(data, at)
    if major == _UINT:
        return argument, after
    if major == _NINT:
        return -1 - argument, after
    # Each item below takes at least one byte, so a count beyond what is left is a lie: refuse before allocating.
    if argument > len(data) - after:
        raise CborError("offset %d: claims %d, only %d bytes follow" % (at, argument, len(data) - after))
    if major == _BYTES:
        return data[after : after + argument], after + argument
    if major == _ARRAY:
        items = []
        for _ in range(argument):
            item, after = _get(data, after, depth - 1)
            items.append(item)
        return items, after
    mapping: dict[Any, Any] = {}
    previous = b""
    for _ in range(argument):
        start = after
        if start < len(data) and data[start] >> 5 > _BYTES:
            raise CborError("offset %d: map key is neither an integer nor a byte string" % start)
        key, after = _get(data, start, depth - 1)
        encoded = data[start:after]
        if encoded <= previous:
            raise CborError("offset %d: map key %s" % (start, "repeated" if encoded == previous else "out of order"))
        previous = encoded
        mapping[key], after = _get(data, after, depth - 1)
    return mapping, after


def _get_head(data: bytes, at: int) -> tuple[int, int, int]:
    """(major type, argument, offset after the head)."""
    if at >= len(data):
        raise CborError("offset %d: ends early" % at)
    major = data[at] >> 5
    info = data[at] & 31
    if major not in (_UINT, _NINT, _BYTES, _ARRAY, _MAP):
        kind = "text" if major == 3 else "a tag" if major == 6 else "a float or simple value"
        raise CborError("offset %d: %s is not used here" % (at, kind))
    if info < 24:
        return major, info, at + 1
    if info > 27:
        raise CborError("offset %d: %s" % (at, "indefinite length" if info == 31 else "reserved head"))
    size = 1 << (info - 24)
    end = at + 1 + size
    if end > len(data):
        raise CborError("offset %d: ends early" % at)
    argument = int.from_bytes(data[at + 1 : end], "big")
    if argument < 24 or (size > 1 and argument < 1 << (size * 4)):
        raise CborError("offset %d: head longer than needed" % at)
    return major, argument, end
