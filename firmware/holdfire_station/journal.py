"""The station's memory of records: a log on a raw NOR flash partition that survives a power cut at any byte.

What it promises. append() returns after the whole record was read back from flash. recover() trusts no half-written
entry and loses no whole one. An entry is given up only after its receipt, or by thinning.py. A receipt is never taken
back.

Layout. Sectors of 4096 bytes. A sector in use belongs to one lane, ROUTINE or ALERT, and holds a header and then
entries in order of sequence number (little endian):

    header  "HFJ1" | erases u32 | CRC-32 of both                      written once the sector is erased
            first seq u32 | receipted u32 | entries in the lane's sector before u16 | lane u8 | done u8 |
            CRC-32 of these but done                                  written when the lane takes the sector
    entry   seq u32 | length u16 | check u8 | mark u8 | CRC-32 of seq, length, check and record | record
            check is the low byte of the CRC-32 of seq, length and a zero; entries start at multiples of 4

`done` is 0 once the whole sector is receipted, `mark` is 0 in the lane's last receipted entry, so a receipt programs
two bytes. The record is programmed first and its entry header last. The lane's half of a sector's header is zeroed
before the sector is erased: nothing that an interrupted erase leaves looks like a sector in use. Boot reads the
headers and the newest sector of each lane, zeroes what follows the last whole entry, and programs that entry and the
sector's header once more, because a cut can leave cells that read right today and wrong tomorrow. It goes on in the
next page, out of reach of a program that left no trace yet. Bits are cleared in place, so the partition cannot be an
encrypted one.

When it is full. Routine records stop three sectors before the end, alerts one; the last sector is for records that
declare a gap (last_resort). Nothing is dropped unasked: append raises JournalFull. Once it is `tight`, the station
gives up the oldest sector of routine records, quiet hours of long ago; its alerts stay, and so does room for new ones.
How, and what is declared before it is done, is thinning.py's. Alerts without a receipt are never given up: when only
they are left, new ones are refused. Receipted records stay readable until their sector is needed.

Not here: what a record means, who signed a receipt (the caller has verified it), where sequence numbers come from.
"""

import struct
from array import array
from binascii import crc32

from micropython import const

from . import overlay

ROUTINE = const(2)
ALERT = const(3)
LANES = (ALERT, ROUTINE)

# States of a sector in RAM; a lane's number means "in use by that lane".
DIRTY = const(0)
_READY = const(1)  # erased since power came
DONE = const(4)  # added to the lane: wholly receipted, may be erased

SECTOR = const(4096)
HEADER = const(28)
OPEN_AT = const(12)
DONE_AT = const(23)
ENTRY = const(12)
MARK_AT = const(7)
MAGIC = const(0x314A4648)
_ERASE = const(6)  # block device ioctl
CHUNK = const(64)
PAGE = const(256)
_READY_AHEAD = const(2)
MAX_RECORD_BYTES = const(SECTOR - HEADER - ENTRY)
_ZERO_WORD = bytes(4)
BLANK_CHUNK = b"\xff" * CHUNK


class JournalFull(Exception):
    """No room for this record; the message says what would make room. Nothing was written."""


class Journal:
    def __init__(self, partition):
        self._partition = partition
        n = self._sectors = partition.info()[3] // SECTOR
        if n < 6:
            raise ValueError("journal partition: needs 6 sectors of 4096 bytes or more")
        self._state = bytearray(n)
        self._first = array("I", [0] * n)  # sequence number of the sector's first entry
        self._count = bytearray(n)  # whole entries: of 16 bytes at least, so 254 at most
        self._most_erased = 0  # of any sector at boot: what a lost erase count is taken for
        self._head = [-1] * 4  # by lane: the sector that takes new entries
        self._fill = [SECTOR] * 4  # by lane: where the next entry goes
        self._resumed = [False] * 4  # by lane: the head is from before this start, and has no entry since
        self._passed = [0] * 4  # by lane: receipted entries in the oldest sector that is not done
        self._entry = bytearray(ENTRY)
        self._checked = memoryview(self._entry)[:MARK_AT]
        self._stamp = memoryview(self._entry)[:8]  # when it holds the half of a sector's header that an erase writes
        self._chunk = bytearray(CHUNK)
        self._last_sector = -1
        self._last_at = 0
        self._sought = 0
        self.last_seq = 0
        self.receipted = 0  # every entry up to this sequence number is receipted
        self.whole = bytes  # makes a record of what was appended, where the caller appends less

    # Boot

    def recover(self) -> None:
        """Learn from flash what is there. Never raises on its content, whatever that is."""
        overlay.with_module("holdfire_station.recovery", "recover", self)

    # Records

    def append(self, seq: int, record: bytes, alert: bool, last_resort: bool = False) -> None:
        """Keep a record. Returns when it is whole in flash; raises JournalFull when there is no room for its kind."""
        length = len(record)
        if not 0 < length <= MAX_RECORD_BYTES:
            raise ValueError("record: 1 to %d bytes fit a sector" % MAX_RECORD_BYTES)
        if seq <= self.last_seq:
            raise ValueError("seq: must be above %d, the last one" % self.last_seq)
        lane = ALERT if alert else ROUTINE
        size = (ENTRY + length + 3) & ~3
        for attempt in range(6):
            if self._fill[lane] + size > SECTOR:
                self._open(lane, seq, last_resort)
            sector = self._head[lane]
            at = self._fill[lane]
            self._fill[lane] = at + size
            if self._resumed[lane]:  # should this record leave no trace, the next start must still see it began
                self._resumed[lane] = False
                self._partition.writeblocks(sector, _ZERO_WORD, at - 4)
            self._partition.writeblocks(sector, record, at + ENTRY)
            self._make_entry(seq, record)
            self._partition.writeblocks(sector, self._entry, at)
            if self._holds(sector, at, record):
                self._count[sector] += 1
                self.last_seq, self._last_sector, self._last_at = seq, sector, at
                return
            self._program(sector, at, bytes(size))
            if attempt % 2:  # leave this sector
                self._fill[lane] = SECTOR
        raise OSError("journal: flash sector %d no longer keeps what is programmed" % sector)

    def read(self, seq: int) -> bytes | None:
        """The record with this sequence number, or None if it is not here or not whole."""
        for lane in LANES:
            sector = self._before(lane, seq)
            if sector >= 0:
                at = self._seek(sector, seq)
                if at and self._entry_seq() == seq:
                    return self._whole(sector, at)
        return None

    @property
    def last(self):
        """(seq, record) of the newest whole entry, or None: where the chain goes on."""
        if self._last_sector < 0:
            return None
        self._partition.readblocks(self._last_sector, self._entry, self._last_at)
        return self.last_seq, self._whole(self._last_sector, self._last_at)

    def pending(self, limit: int = 0xFFFFFFFF):
        """Sequence numbers without a receipt: alerts first, each lane from old to new.

        Memory is constant, whatever the backlog. Any other call may come between two steps.
        """
        for lane in LANES:
            sector = self._oldest(lane)
            while sector >= 0:
                first = self._first[sector]
                seq = self.receipted
                at = self._next(sector, HEADER, seq, self.last_seq)
                while at:
                    seq = self._entry_seq()
                    at += self._entry_size()
                    yield seq
                    limit -= 1
                    if limit <= 0:
                        return
                    if self._state[sector] != lane or self._first[sector] != first:
                        break  # receipted meanwhile, or thinned, and perhaps erased
                    at = self._next(sector, at, max(seq, self.receipted), self.last_seq)
                sector = self._after(lane, first)

    # Receipts and room

    def receipt(self, seq: int) -> None:
        """Every entry up to seq is stored elsewhere. Durable when it returns, and never taken back."""
        seq = min(seq, self.last_seq)
        if seq <= self.receipted:
            return
        self.receipted = seq
        for lane in LANES:
            self._pass_sectors(lane)
        for lane in LANES:
            self._write_mark(lane)

    def drop_oldest(self) -> None:
        """Let go of the oldest sector of alerts, receipted or not: for a ring of what may be lost."""
        sector = self._oldest(ALERT)
        following = self._after(ALERT, self._first[sector]) if sector >= 0 else -1
        if following >= 0:
            self.receipt(self._first[following] - 1)

    def maintain(self) -> bool:
        """From an idle task: erase one sector ahead of need (45 ms typical, stalls the chip). True if it did."""
        ready = 0
        for state in self._state:
            if state == _READY:
                ready += 1
        sector = -1 if ready >= _READY_AHEAD else self._spare()
        if sector < 0:
            return False
        self._erase_sector(sector)
        return True

    @property
    def capacity_bytes(self):
        return self._sectors * (SECTOR - HEADER)

    @property
    def used_bytes(self):
        """Bytes of the sectors that hold records without receipt, as far as they are filled."""
        used = 0
        for sector in range(self._sectors):
            if self._state[sector] in LANES:
                head = sector == self._head[self._state[sector]]
                used += min(self._fill[self._state[sector]] if head else SECTOR, SECTOR) - HEADER
        return used

    @property
    def pending_count(self):
        count = -self._passed[ALERT] - self._passed[ROUTINE]
        for sector in range(self._sectors):
            if self._state[sector] in LANES:
                count += self._count[sector]
        return count

    @property
    def tight(self):
        """True when alerts have one sector left, and what is open, and thinning could help: time to thin.

        Routine records find no room then.
        """
        return self._free() < 3 and self.thinnable() >= 0

    def thinnable(self) -> int:
        """The sector of routine records to give up next, or -1."""
        sector = self._oldest(ROUTINE)
        return -1 if sector in (self._head[ROUTINE], self._last_sector) else sector

    # Entries

    def _make_entry(self, seq, record):
        entry = self._entry
        struct.pack_into("<IHBB", entry, 0, seq, len(record), 0, 0xFF)
        entry[6] = crc32(self._checked) & 0xFF
        struct.pack_into("<I", entry, 8, crc32(record, crc32(self._checked)))

    def _next(self, sector, at, above, up_to):
        """Offset of the first entry from `at` on with above < seq <= up_to, its header left in self._entry; 0 if none.

        Only the entry's header is checked. What is zeroed or rotten is stepped over word by word.
        """
        entry = self._entry
        limit = max(up_to, self.last_seq)
        while at <= SECTOR - ENTRY:
            self._partition.readblocks(sector, entry, at)
            seq = self._entry_seq()
            if 0 < seq <= limit and 0 < (entry[4] | entry[5] << 8) <= SECTOR - ENTRY - at:
                check = entry[6]
                entry[6] = 0
                right = crc32(self._checked) & 0xFF == check
                entry[6] = check
                if right:
                    if seq > up_to:
                        return 0
                    if seq > above:
                        return at
                    at += self._entry_size()
                    continue
            at += 4
            while seq == 0xFFFFFFFF and at <= SECTOR - CHUNK:  # blank flash: take longer steps
                self._partition.readblocks(sector, self._chunk, at)
                if self._chunk != BLANK_CHUNK:
                    break
                at += CHUNK
        return 0

    def _entry_seq(self):
        return struct.unpack_from("<I", self._entry, 0)[0]

    def _entry_size(self):
        return (ENTRY + struct.unpack_from("<H", self._entry, 4)[0] + 3) & ~3

    def _record(self, sector, at):
        """The record whose header is in self._entry, or None if it is not whole."""
        length, _, _, check = struct.unpack_from("<HBBI", self._entry, 4)
        record = bytearray(min(length, MAX_RECORD_BYTES))
        self._partition.readblocks(sector, record, at + ENTRY)
        return bytes(record) if crc32(record, crc32(self._checked)) == check else None

    def _whole(self, sector, at):
        kept = self._record(sector, at)
        return None if kept is None else self.whole(kept)

    def _holds(self, sector, at, record):
        """Read back without allocating: the entry in self._entry, then the record."""
        chunk = self._chunk
        start = at
        end = at + ENTRY + len(record)
        base = at & ~(CHUNK - 1)
        while base < end:
            self._partition.readblocks(sector, chunk, base)
            for i in range(max(start - base, 0), min(end - base, CHUNK)):
                offset = base + i - at
                if chunk[i] != (self._entry[offset] if offset < ENTRY else record[offset - ENTRY]):
                    return False
            base += CHUNK
        return True

    def _seek(self, sector, seq):
        """Offset of the sector's last entry up to seq (header left in self._entry), or 0; self._sought counts them."""
        found = last = self._sought = 0
        at = self._next(sector, HEADER, 0, seq)
        while at:
            self._sought += 1
            found, last = at, self._entry_seq()
            at = self._next(sector, at + self._entry_size(), last, seq)
        if found:
            self._partition.readblocks(sector, self._entry, found)
        return found

    def _program(self, sector, at, data):
        if data:
            self._partition.writeblocks(sector, data, at)

    # Sectors

    def _after(self, lane, seq):
        """The lane's oldest sector whose first entry is above seq, or -1."""
        best = -1
        for sector in range(self._sectors):
            if self._state[sector] & 3 == lane and self._first[sector] > seq:
                if best < 0 or self._first[sector] < self._first[best]:
                    best = sector
        return best

    def _before(self, lane, seq):
        """The lane's newest sector whose first entry is not above seq, or -1."""
        best = -1
        for sector in range(self._sectors):
            if self._state[sector] & 3 == lane and self._first[sector] <= seq:
                if best < 0 or self._first[sector] > self._first[best]:
                    best = sector
        return best

    def _oldest(self, lane):
        """The lane's oldest sector that is not done, or -1."""
        best = -1
        for sector in range(self._sectors):
            if self._state[sector] == lane and (best < 0 or self._first[sector] < self._first[best]):
                best = sector
        return best

    def _pass_sectors(self, lane):
        """Close the lane's sectors whose entries are all receipted."""
        sector = self._oldest(lane)
        while sector >= 0 and sector != self._head[lane]:
            following = self._after(lane, self._first[sector])
            if self._first[following] - 1 > self.receipted:
                return
            self._set_done(sector)
            sector = self._oldest(lane)

    def _newest_done(self, lane):
        sector = self._oldest(lane)
        return self._before(lane, self._first[sector] - 1 if sector >= 0 else 0xFFFFFFFF)

    def _set_done(self, sector):
        self._partition.writeblocks(sector, b"\x00", DONE_AT)
        self._state[sector] |= DONE

    def _write_mark(self, lane):
        sector = self._oldest(lane)
        at = self._seek(sector, self.receipted) if sector >= 0 else 0
        self._passed[lane] = self._sought if at else 0
        if at:
            self._partition.writeblocks(sector, b"\x00", at + MARK_AT)

    def _spare(self):
        """A sector to erase: a dirty one, else the one whose receipted records are oldest; -1 if there is none."""
        best = -1
        fewest = 0xFFFFFFFF
        for sector in range(self._sectors):
            state = self._state[sector]
            if state == DIRTY and fewest:
                erases = self.erases(sector)
                if erases < fewest:
                    best, fewest = sector, erases
            elif state & DONE and fewest == 0xFFFFFFFF and sector != self._last_sector:
                if best < 0 or self._first[sector] < self._first[best]:
                    best = sector
        return best

    def erases(self, sector: int) -> int:
        """How often a sector was erased, as it says itself; the most of any where an interrupted erase took that."""
        self._partition.readblocks(sector, self._entry, 0)
        magic, erases, check = struct.unpack_from("<III", self._entry, 0)
        return erases if magic == MAGIC and check == crc32(self._stamp) else self._most_erased

    def has_room(self, length: int, alert: bool, last_resort: bool = False) -> bool:
        """Whether a record of that length would find room now, so that no sequence number is spent in vain."""
        lane = ALERT if alert else ROUTINE
        return self._fill[lane] + ((ENTRY + length + 3) & ~3) <= SECTOR or self._free() >= _least(lane, last_resort)

    def _free(self):
        free = 0
        for sector in range(self._sectors):
            state = self._state[sector]
            if state in (DIRTY, _READY) or state & DONE and sector != self._last_sector:
                free += 1
        return free

    def _retire(self, sector):
        """No lane's any more, whatever its cells may read tomorrow. Its erase count stays readable."""
        self._program(sector, OPEN_AT, bytes(HEADER - OPEN_AT))
        self._state[sector] = DIRTY
        self._count[sector] = 0

    def _erase_sector(self, sector):
        erases = self.erases(sector) + 1
        self._retire(sector)
        self._partition.ioctl(_ERASE, sector)
        header = struct.pack("<II", MAGIC, erases)
        self._program(sector, 0, header + struct.pack("<I", crc32(header)))
        self._state[sector] = _READY
        self._first[sector] = self.last_seq  # the one that has been ready longest is used first

    def _open(self, lane, seq, last_resort):
        """Give the lane a new head."""
        head = self._head[lane]
        if head >= 0 and not self._count[head]:  # no two sectors of a lane may begin with the same number
            self._retire(head)
            head = self._before(lane, seq)
            if head >= 0 and self._state[head] & DONE:
                head = -1
            self._head[lane] = head
            self._fill[lane] = SECTOR
        free = self._free()
        if free < _least(lane, last_resort):
            raise JournalFull("journal: no room for %s record; records wait for a receipt"
                              % ("an alert" if lane == ALERT else "a routine"))
        sector = -1
        for candidate in range(self._sectors):
            if self._state[candidate] == _READY and (sector < 0 or self._first[candidate] < self._first[sector]):
                sector = candidate
        if sector < 0:
            sector = self._spare()
            self._erase_sector(sector)
        before = self._count[head] if head >= 0 else 0
        opened = struct.pack("<IIHB", seq, self.receipted, before, lane)
        self._state[sector] = DIRTY
        self._program(sector, OPEN_AT, opened + struct.pack("<BI", 0xFF, crc32(opened)))
        self._state[sector] = lane
        self._first[sector] = seq
        self._count[sector] = 0
        self._head[lane] = sector
        self._fill[lane] = HEADER
        self._resumed[lane] = False


def _least(lane, last_resort):
    """Sectors that must be free for the lane to take one."""
    return 1 if last_resort else 2 if lane == ALERT else 4
