"""A table of fields in little memory: rows are packed when a Shape is made and unpacked one at a time when asked for.

As tuples the tables of `fields.py` would take 9 KB of a chip's heap for good.
"""

import struct

TYPE_CHECKING = False  # MicroPython has no typing; mypy takes this name for true
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_ROW = "<BBhI"  # key; type and flags; low, high
_ROW_BYTES = 8
_WIDE_ROW = "<BBqq"
_WIDE_ROW_BYTES = 18
_TYPE = 7
_REQUIRED = 8
_WIDE = 16


class Shape:
    """A map (or, with `is_tuple`, an array of fixed positions) of rows as `fields.py` explains them.

    `variants`, instead of rows: (kind, Shape) for each value of the field `kind`, key 1.
    """

    def __init__(self, name: str, rows: "Any", is_tuple: bool = False, variants: "Any" = ()):
        self.name = name
        self.is_tuple = is_tuple
        self.variants = variants
        names: list[Any] = []  # each followed by the shape of its inner fields, where it has any
        packed = bytearray()
        for row in rows:
            names.extend((row[1],) + row[6:])
            wide = not (-0x8000 <= row[3] <= 0x7FFF and 0 <= row[4] <= 0xFFFFFFFF)
            flags = row[2] | (_REQUIRED if row[5] else 0) | (_WIDE if wide else 0)
            packed.extend(struct.pack(_WIDE_ROW if wide else _ROW, row[0], flags, row[3], row[4]))
        self._names = tuple(names)
        self._packed = bytes(packed)

    @property
    def rows(self) -> "Iterator[Any]":
        """(key, name, type, low, high, required) of each field, and the shape of its inner ones.

        Made as they are asked for: gone through once, they are gone.
        """
        number = at = 0
        while at < len(self._packed):
            wide = self._packed[at + 1] & _WIDE
            key, flags, low, high = struct.unpack_from(_WIDE_ROW if wide else _ROW, self._packed, at)
            at += _WIDE_ROW_BYTES if wide else _ROW_BYTES
            row = (key, self._names[number], flags & _TYPE, low, high, flags & _REQUIRED != 0)
            number += 1
            if number < len(self._names) and isinstance(self._names[number], Shape):
                row += (self._names[number],)  # type: ignore[assignment]
                number += 1
            yield row
