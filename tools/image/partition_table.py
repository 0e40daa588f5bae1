"""ESP-IDF partition tables: the bytes at 0x8000 of the flash.

Rows of 32 bytes: "AA 50", type, subtype, offset u32, size u32, label of 16 bytes, flags u32; then a row with the MD5 of
those before it; the rest of the 3 KiB is blank (ESP-IDF programming guide, "Partition Tables", binary format).
"""

import hashlib
import struct
from typing import Any

from image.errors import ImageError

OFFSET = 0x8000
SIZE = 0xC00
_ROW = struct.Struct("<2sBBII16sI")
_MAGIC, _MD5_MAGIC = b"\xaa\x50", b"\xeb\xeb" + b"\xff" * 14
_BLANK = b"\xff" * _ROW.size


def encode(rows: list[dict[str, Any]]) -> bytes:
    """Rows as in a board file; SIZE bytes."""
    if len(rows) > SIZE // _ROW.size - 2:
        raise ImageError(f"a partition table has room for {SIZE // _ROW.size - 2} rows, not {len(rows)}")
    table = b"".join(
        _ROW.pack(_MAGIC, row["type"], row["subtype"], row["offset"], row["size"], row["label"].encode(), 0)
        for row in rows
    )
    return (table + _MD5_MAGIC + hashlib.md5(table).digest()).ljust(SIZE, b"\xff")


def decode(data: bytes) -> list[dict[str, Any]]:
    """Rows of a table. Raises ImageError when this is none, or a damaged one."""
    rows: list[dict[str, Any]] = []
    for at in range(0, min(len(data), SIZE), _ROW.size):
        entry = data[at : at + _ROW.size]
        if entry.startswith(_MAGIC) and len(entry) == _ROW.size:
            _, kind, subtype, offset, size, label, _ = _ROW.unpack(entry)
            name = label.rstrip(b"\0").decode(errors="replace")
            rows.append({"label": name, "type": kind, "subtype": subtype, "offset": offset, "size": size})
        elif entry.startswith(_MD5_MAGIC):
            if entry[16:] != hashlib.md5(data[:at]).digest():
                raise ImageError("the partition table is damaged: its MD5 does not match its rows")
            if data[at + _ROW.size : at + 2 * _ROW.size] != _BLANK:
                raise ImageError("the partition table is damaged: rows after its MD5")
            return rows
        else:
            break
    raise ImageError("there is no partition table with an MD5 at 0x8000")
