"""Real bytes for the reader of SPEC.md: a signed message in hex, one item a line, with what each says."""

from holdfire_protocol import cbor, cose, fields

WIDTH = 48  # characters of hex before the note


def message(data: bytes, shape, kind: str) -> list[str]:
    """Lines of a signed message whose payload is a map of `shape`."""
    parts = cose.parse(data)
    payload_at = data.index(parts.payload)
    protected_at, kid_at = 3, 9
    lines = [
        _line(data[:1], 0, "tag 18: COSE_Sign1"),
        _line(data[1:2], 1, "array of 4"),
        _line(data[2:protected_at], 2, "protected header, 3 bytes:"),
        _line(data[protected_at:6], 3, "{1: -19}: algorithm Ed25519"),
        _line(data[6:kid_at], 2, "unprotected header {4: kid of 8 bytes}"),
        _line(data[kid_at : kid_at + fields.KID_BYTES], 3, "kid: who signed"),
        _line(data[kid_at + fields.KID_BYTES : payload_at], 2, f"payload, {len(parts.payload)} bytes: the {kind}"),
    ]
    lines += _map(parts.payload, 3, shape.rows)
    end = payload_at + len(parts.payload)
    lines += [_line(data[end : end + 2], 2, "signature, 64 bytes: R, then s")]
    return lines + _long(data[end + 2 :], 3)


def _map(data: bytes, depth: int, rows) -> list[str]:
    """Lines of the encoded map `data`, fields named by `rows`."""
    value = cbor.decode(data)
    lines = [_line(cbor.head(5, len(value)), depth, f"map of {len(value)}")]
    for row in rows:
        if row[0] in value:
            lines += _member(cbor.encode(row[0]), row, value[row[0]], depth + 1)
    return lines


def _member(key: bytes, row, value, depth: int) -> list[str]:
    name, kind, shape = row[1], row[2], row[-1]  # the last is a shape where the value is made of fields
    if kind == fields.MAP:
        return [_line(key, depth, f"{name}:"), *_map(cbor.encode(value), depth + 1, shape.rows)]
    if kind == fields.LIST:
        lines = [_line(key + cbor.head(4, len(value)), depth, f"{name}: {len(value)}")]
        for item in value:
            lines += _tuple(b"", shape, item, depth + 1) if shape.is_tuple else _variant(shape, item, depth + 1)
        return lines
    if kind == fields.TUPLE:
        return _tuple(key, shape, value, depth, name)
    if kind == fields.BYTES:
        head = key + cbor.head(2, len(value))
        return [_line(head, depth, f"{name}: {len(value)} bytes"), *_long(value, depth + 1)]
    return [_line(key + cbor.encode(value), depth, f"{name}: {value}")]


def _tuple(key: bytes, shape, value, depth: int, name: str = "") -> list[str]:
    lines = [_line(key + cbor.head(4, len(value)), depth, f"{name or shape.name}:")]
    for row, item in zip(shape.rows, value, strict=True):
        lines += _member(b"", row, item, depth + 1)
    return lines


def _variant(shape, item, depth: int) -> list[str]:
    rows = next(variant.rows for kind, variant in shape.variants if kind == item[1])
    return _map(cbor.encode(item), depth, rows)


def _long(data: bytes, depth: int) -> list[str]:
    return [_line(data[i : i + 16], depth, "") for i in range(0, len(data), 16)]


def _line(data: bytes, depth: int, note: str) -> str:
    text = "  " * depth + data.hex()
    return f"{text:<{WIDTH}}  # {note}" if note else text
