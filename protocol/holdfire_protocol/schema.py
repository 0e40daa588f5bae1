"""Named fields to CBOR and back, by the tables in `fields.py`.

`pack` is used before signing, `unpack` after decoding; both apply the same rules, so nothing is signed that would be
refused. Knows nothing of what a field means.
"""

from . import fields

TYPE_CHECKING = False  # MicroPython has no typing; mypy takes this name for true
if TYPE_CHECKING:
    from typing import Any


class FieldError(ValueError):
    """A field is missing, unknown, of the wrong type or out of range. `field` is its dotted name."""

    def __init__(self, field: str, reason: str):
        super().__init__("%s: %s" % (field, reason))
        self.field = field


def pack(shape: fields.Shape, named: "dict[str, Any]", where: str = "") -> "dict[int, Any]":
    """Map with integer keys from a dict of named fields. Raises FieldError."""
    rows = _rows(shape, named.get("kind") if shape.variants else None, where)
    packed = {}
    used = 0
    for row in rows:
        name = row[1]
        if name in named:
            packed[row[0]] = _pack_value(row, named[name], where + name)
            used += 1
        elif row[5]:
            raise FieldError(where + name, "missing")
    if used != len(named):
        known = [row[1] for row in rows]
        raise FieldError(where + str(sorted(n for n in named if n not in known)[0]), "no such field")
    return packed


def unpack(shape: fields.Shape, packed: "Any", where: str = "") -> "dict[str, Any]":
    """Dict of named fields from a decoded map with integer keys. Raises FieldError."""
    if not isinstance(packed, dict):
        raise FieldError((where or shape.name + ".")[:-1], "not a map")
    rows = _rows(shape, packed.get(1) if shape.variants else None, where)
    known = [row[0] for row in rows]
    named = {}
    for row in rows:
        key = row[0]
        if key in packed:
            named[row[1]] = _unpack_value(row, packed[key], where + row[1])
        elif row[5]:
            raise FieldError(where + row[1], "missing")
    # By type too: a host's decoder may offer a key that only equals one of ours, as True and 1.0 equal 1.
    unknown = [k for k in packed if not _is_int(k) or k not in known]
    if unknown:
        raise FieldError((where or shape.name + ".")[:-1], "unknown key %s" % sorted([str(k) for k in unknown])[0])
    return named


def _rows(shape: fields.Shape, kind: "Any", where: str) -> "Any":
    if not shape.variants:
        return shape.rows
    for variant in shape.variants:
        if variant[0] == kind and _is_int(kind):
            return variant[2]
    raise FieldError(where + "kind", "unknown kind")


def _pack_value(row: "Any", value: "Any", where: str) -> "Any":
    kind = row[2]
    if kind == fields.MAP:
        if not isinstance(value, dict):
            raise FieldError(where, "not a dict of fields")
        return pack(row[6], value, where + ".")
    if kind == fields.LIST:
        _check_count(row, value, where)
        return [_pack_element(row[6], item, "%s[%d]" % (where, i)) for i, item in enumerate(value)]
    if kind == fields.TUPLE:
        return _pack_element(row[6], value, where)
    _check_scalar(row, value, where)
    return value


def _unpack_value(row: "Any", value: "Any", where: str) -> "Any":
    kind = row[2]
    if kind <= fields.BYTES:
        _check_scalar(row, value, where)
        return value
    if kind == fields.MAP:
        return unpack(row[6], value, where + ".")
    if kind == fields.LIST:
        _check_count(row, value, where)
        return [_unpack_element(row[6], item, "%s[%d]" % (where, i)) for i, item in enumerate(value)]
    return _unpack_element(row[6], value, where)


def _pack_element(shape: fields.Shape, value: "Any", where: str) -> "Any":
    if not shape.is_tuple:
        if not isinstance(value, dict):
            raise FieldError(where, "not a dict of fields")
        return pack(shape, value, where + ".")
    if not isinstance(value, (list, tuple)):
        raise FieldError(where, "not an array")
    if len(value) != len(shape.rows):
        raise FieldError(where, "%d elements, not %d" % (len(value), len(shape.rows)))
    for row, item in zip(shape.rows, value):
        _check_scalar(row, item, where + "." + row[1])
    return list(value)


def _unpack_element(shape: fields.Shape, value: "Any", where: str) -> "Any":
    if not shape.is_tuple:
        return unpack(shape, value, where + ".")
    return tuple(_pack_element(shape, value, where))


def _check_count(row: "Any", value: "Any", where: str) -> None:
    if not isinstance(value, (list, tuple)):
        raise FieldError(where, "not an array")
    if not row[3] <= len(value) <= row[4]:
        raise FieldError(where, "%d elements, allowed %d to %d" % (len(value), row[3], row[4]))


def _check_scalar(row: "Any", value: "Any", where: str) -> None:
    if row[2] == fields.BYTES:
        if not isinstance(value, bytes):
            raise FieldError(where, "not a byte string")
        if not row[3] <= len(value) <= row[4]:
            raise FieldError(where, "%d bytes, allowed %d to %d" % (len(value), row[3], row[4]))
    else:
        if not _is_int(value):
            raise FieldError(where, "not an integer")
        if not row[3] <= value <= row[4]:
            raise FieldError(where, "%d is outside %d to %d" % (value, row[3], row[4]))


def _is_int(value: "Any") -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
