"""Numbers that never repeat: a counter in NOR flash, kept apart so that nothing done to the journal turns it back.

A counter owns two sectors and uses one at a time. A sector is a row of 16-byte cells; cell i stands for the value
`base + i` whether or not it can still be read: a cell that is not blank has burnt its number. So a torn or rotten
cell skips a number and cannot repeat one. Every cell also spells out its value, so any one whole cell tells the base.

    cell    value u32 | "HFct" | cell index u32 | CRC-32 of these      (little endian)

When the last cell is used the other sector is erased, its cell 0 repeats the last value, and counting goes on in cell
1. A sector is erased in the same power session as its cell 0 is written: what an interrupted erase leaves never
counts. On an encrypted partition a blank cell cannot be told from a torn one; there the value jumps to the end of the
sector at each start, which costs an erase and repeats nothing.

Not here: what the numbers mean, and which one the journal holds last (see advance_to).
"""

import struct
from binascii import crc32

SEQUENCE_SECTOR = 0  # of partition "counters": numbers of records
BOOT_SECTOR = 2  # boots

_CELL_BYTES = 16
_CELLS = 256
_CHUNK_BYTES = 256
_TAG = 0x74634648  # "HFct"
_ERASE = 6  # block device ioctl
_ERASE_AHEAD_FROM = 240  # a crash loop counts one a boot: it erases ahead at most 16 times in 256 boots
_ATTEMPTS = 32


class Counter:
    """value: the highest number ever returned, or burnt by a cut just before it was; 0 at first."""

    def __init__(self, partition, first_sector):
        self._partition = partition
        self._first = first_sector
        self._cell = bytearray(_CELL_BYTES)
        self._checked = memoryview(self._cell)[:12]
        self._kept = bytearray(_CELL_BYTES)
        self._other_is_clean = False
        self._active = 0
        self._used = _CELLS  # cells of the active sector; full also means "none active yet"
        self.value = 0
        newest = -1
        for sector in (0, 1):
            base, used = self._scan(sector)
            if base > newest:  # the older sector may be half erased: nothing in it counts
                newest = base
                self._active, self._used, self.value = sector, used, base + used - 1

    def next(self) -> int:
        """The next number, durable before it is returned."""
        for _ in range(_ATTEMPTS):
            if self._used == _CELLS:
                self._turn(self.value)
            self.value += 1
            self._used += 1
            if self._write(self._used - 1, self.value):
                return self.value
        raise OSError("counter: flash sector %d no longer keeps what is programmed; replace the board" % self._sector())

    def advance_to(self, value: int) -> None:
        """Never return `value` or less again: for a counter that was wiped while records with higher numbers exist.

        Burns one number more, so that two cells hold the new base and one may rot.
        """
        if value > self.value:
            self._turn(value)
            self.value = value
            self.next()

    def maintain(self) -> bool:
        """From an idle task: erase the other sector ahead of need (45 ms), so that next() does not. True if it did."""
        if self._other_is_clean or self._used < _ERASE_AHEAD_FROM:
            return False
        self._erase_other()
        return True

    def _sector(self):
        return self._first + self._active

    def _erase_other(self):
        self._partition.ioctl(_ERASE, self._first + 1 - self._active)
        self._other_is_clean = True

    def _turn(self, base):
        """Go on in the other sector, from `base`."""
        if not self._other_is_clean:
            self._erase_other()
        self._other_is_clean = False
        self._active = 1 - self._active
        self._used = 1
        self._write(0, base)

    def _write(self, index, value):
        cell = self._cell
        struct.pack_into("<III", cell, 0, value, _TAG, index)
        struct.pack_into("<I", cell, 12, crc32(self._checked))
        self._partition.writeblocks(self._sector(), cell, index * _CELL_BYTES)
        self._partition.readblocks(self._sector(), self._kept, index * _CELL_BYTES)
        return self._kept == cell

    def _scan(self, sector):
        """(value of cell 0, number of cells that are not blank); base -1 where no cell is whole."""
        chunk = bytearray(_CHUNK_BYTES)
        blank = b"\xff" * _CHUNK_BYTES
        base = -1
        used = 0
        for start in range(0, _CELLS * _CELL_BYTES, _CHUNK_BYTES):
            self._partition.readblocks(self._first + sector, chunk, start)
            if chunk == blank:
                continue
            for at in range(0, _CHUNK_BYTES, _CELL_BYTES):
                index = (start + at) // _CELL_BYTES
                value, tag, stated, check = struct.unpack_from("<IIII", chunk, at)
                if value & tag & stated & check == 0xFFFFFFFF:
                    continue
                used = index + 1
                if tag == _TAG and stated == index and check == crc32(chunk[at : at + 12]):
                    base = max(base, value - index)
        return base, used
