"""Named fields to CBOR and back, by the tables in `fields.py`.

`pack` is used before signing, `unpack` after decoding; both apply the same rules, so nothing is signed that would be
refused. Knows nothing of what a field means.
"""

from . import fields
from .shape import Shape

TYPE_CHECKING = False  # MicroPython has no typing; mypy takes this name for true
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class FieldError(ValueError):
    """A field is missing, unknown, of the wrong type or out of range. `field` is its dotted name."""

    def __init__(self, field: str, reason: str):
        super().__init__("%s: %s" % (field, reason))
        self.field = field
        self.reason = reason

    def within(self, outer: str) -> "FieldError":
        """The same, named from outside. Names are joined only on the way out of an error: a right record costs none."""
        joint = "" if not self.field or self.field[0] == "[" else "."
        return FieldError(outer + joint + self.field, self.reason)


def pack(shape: Shape, named: "dict[str, Any]") -> "dict[int, Any]":
    """Map with integer keys from a dict of named fields. Raises FieldError."""
    return _from_outside(shape, _pack, named)  # type: ignore[no-any-return]


def unpack(shape: Shape, packed: "Any") -> "dict[str, Any]":
    """Dict of named fields from a decoded map with integer keys. Raises FieldError."""
    return _from_outside(shape, _unpack, packed)  # type: ignore[no-any-return]


def _from_outside(shape: Shape, convert: "Callable[[Shape, Any], Any]", value: "Any") -> "Any":
    try:
        return convert(shape, value)
    except FieldError as error:
        raise error if error.field else error.within(shape.name)


def _pack(shape: Shape, named: "Any") -> "dict[int, Any]":
    if not isinstance(named, dict):
        raise FieldError("", "not a dict of fields")
    shape = _variant(shape, named.get("kind") if shape.variants else None)
    packed = {}
    for row in shape.rows:
        if row[1] in named:
            packed[row[0]] = _convert(row, named[row[1]], _pack)
        elif row[5]:
            raise FieldError(row[1], "missing")
    if len(packed) != len(named):
        known = [row[1] for row in shape.rows]
        raise FieldError(sorted([str(name) for name in named if name not in known])[0], "no such field")
    return packed


def _unpack(shape: Shape, packed: "Any") -> "dict[str, Any]":
    if not isinstance(packed, dict):
        raise FieldError("", "not a map")
    shape = _variant(shape, packed.get(1) if shape.variants else None)
    named = {}
    for row in shape.rows:
        if row[0] in packed:
            named[row[1]] = _convert(row, packed[row[0]], _unpack)
        elif row[5]:
            raise FieldError(row[1], "missing")
    # By type too: a host's decoder may offer a key that only equals one of ours, as True and 1.0 equal 1.
    known = [row[0] for row in shape.rows]
    unknown = [key for key in packed if not _is_int(key) or key not in known]
    if unknown:
        raise FieldError("", "unknown key %s" % sorted([str(key) for key in unknown])[0])
    return named


def _variant(shape: Shape, kind: "Any") -> Shape:
    if not shape.variants:
        return shape
    for value, variant in shape.variants:
        if value == kind and _is_int(kind):
            return variant  # type: ignore[no-any-return]
    raise FieldError("kind", "unknown kind")


def _convert(row: "Any", value: "Any", convert_map: "Callable[[Shape, Any], Any]") -> "Any":
    """`value` checked against its row, its inner maps packed or unpacked by `convert_map`."""
    kind = row[2]
    try:
        if kind <= fields.BYTES:
            _check_scalar(row, value)
            return value
        if kind == fields.MAP:
            return convert_map(row[6], value)
        if kind == fields.TUPLE:
            return _check_tuple(row[6], value)
        return _convert_list(row, value, convert_map)
    except FieldError as error:
        raise error.within(row[1])


def _convert_list(row: "Any", value: "Any", convert_map: "Callable[[Shape, Any], Any]") -> "Any":
    _check_array(value)
    if not row[3] <= len(value) <= row[4]:
        raise FieldError("", "%d elements, allowed %d to %d" % (len(value), row[3], row[4]))
    shape = row[6]
    items: list[Any] = []
    for item in value:
        try:
            items.append(_check_tuple(shape, item) if shape.is_tuple else convert_map(shape, item))
        except FieldError as error:
            raise error.within("[%d]" % len(items))
    return items


def _check_tuple(shape: Shape, value: "Any") -> "Any":
    _check_array(value)
    rows = list(shape.rows)
    if len(value) != len(rows):
        raise FieldError("", "%d elements, not %d" % (len(value), len(rows)))
    for row, item in zip(rows, value):
        try:
            _check_scalar(row, item)
        except FieldError as error:
            raise error.within(row[1])
    return tuple(value)


def _check_array(value: "Any") -> None:
    if not isinstance(value, (list, tuple)):
        raise FieldError("", "not an array")


def _check_scalar(row: "Any", value: "Any") -> None:
    if row[2] == fields.BYTES:
        if not isinstance(value, bytes):
            raise FieldError("", "not a byte string")
        if not row[3] <= len(value) <= row[4]:
            raise FieldError("", "%d bytes, allowed %d to %d" % (len(value), row[3], row[4]))
    else:
        if not _is_int(value):
            raise FieldError("", "not an integer")
        if not row[3] <= value <= row[4]:
            raise FieldError("", "%d is outside %d to %d" % (value, row[3], row[4]))


def _is_int(value: "Any") -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
