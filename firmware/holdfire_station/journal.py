"""The station's memory of records: a log on a raw NOR flash partition that survives a power cut at any byte.

What it promises. append() returns after the whole record was read back from flash. recover() trusts no half-written
entry and loses no whole one. An entry is given up only after its receipt, or by thin(). A receipt is never taken
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

When it is full. Routine records stop two sectors before the end, alerts one; the last sector is for records that
declare a gap (last_resort). Nothing is dropped unasked: append raises JournalFull. The station may then give up the
oldest sector of routine records, quiet hours of long ago; its alerts stay:

    gap = journal.thinnable()           # (first_seq, last_seq, count), or None when nothing is left to thin
    journal.append(seq, a signed record of gap, True, last_resort=True)
    journal.thin(gap)

A cut between the two leaves a gap that is declared and not made, never the reverse. Alerts without a receipt are
never given up: when only they are left, new ones are refused. Receipted records stay readable until their sector is
needed.

Not here: what a record means, who signed a receipt (the caller has verified it), where sequence numbers come from.
"""

import struct
from array import array
from binascii import crc32

from micropython import const

ROUTINE = const(2)
ALERT = const(3)
LANES = (ALERT, ROUTINE)

# States of a sector in RAM; a lane's number means "in use by that lane".
_DIRTY = const(0)
_READY = const(1)  # erased since power came
_DONE = const(4)  # added to the lane: wholly receipted, may be erased

_SECTOR = const(4096)
_HEADER = const(28)
_OPEN_AT = const(12)
_DONE_AT = const(23)
_ENTRY = const(12)
_MARK_AT = const(7)
_MAGIC = const(0x314A4648)
_ERASE = const(6)  # block device ioctl
_CHUNK = const(64)
_PAGE = const(256)
_READY_AHEAD = const(2)
MAX_RECORD_BYTES = const(_SECTOR - _HEADER - _ENTRY)
_ZERO_WORD = bytes(4)
_BLANK_CHUNK = b"\xff" * _CHUNK


class JournalFull(Exception):
    """No room for this record; the message says what would make room. Nothing was written."""


class Journal:
    def __init__(self, partition):
        self._partition = partition
        n = self._sectors = partition.info()[3] // _SECTOR
        if n < 6:
            raise ValueError("journal partition: needs 6 sectors of 4096 bytes or more")
        self._state = bytearray(n)
        self._first = array("I", [0] * n)  # sequence number of the sector's first entry
        self._count = array("H", [0] * n)  # whole entries
        self._erases = array("I", [0] * n)
        self._head = [-1] * 4  # by lane: the sector that takes new entries
        self._fill = [_SECTOR] * 4  # by lane: where the next entry goes
        self._resumed = [False] * 4  # by lane: the head is from before this start, and has no entry since
        self._passed = [0] * 4  # by lane: receipted entries in the oldest sector that is not done
        self._entry = bytearray(_ENTRY)
        self._checked = memoryview(self._entry)[:_MARK_AT]
        self._chunk = bytearray(_CHUNK)
        self._last_sector = -1
        self._last_at = 0
        self._sought = 0
        self.last_seq = 0
        self.receipted = 0  # every entry up to this sequence number is receipted

    # Boot

    def recover(self) -> None:
        """Learn from flash what is there. Never raises on its content, whatever that is."""
        newest_header = self._read_headers()
        for lane in LANES:
            self._link(lane)
            self._scan_newest(lane)
            if self._head[lane] >= 0:
                self._program(self._head[lane], _OPEN_AT, newest_header[lane])
        for _ in LANES:  # twice: a mark in one lane can complete a sector of the other
            for lane in LANES:
                self._settle(lane)
        for lane in LANES:  # once more on flash: the last receipt may have been cut
            self._write_mark(lane)
            sector = self._newest_done(lane)
            if sector >= 0:
                self._set_done(sector)

    def _read_headers(self):
        header = bytearray(_HEADER)
        newest = {ROUTINE: b"", ALERT: b""}
        most_erased = 0
        for sector in range(self._sectors):
            self._partition.readblocks(sector, header, 0)
            magic, erases, check = struct.unpack_from("<III", header, 0)
            if magic == _MAGIC and check == crc32(header[:8]):
                self._erases[sector] = erases
                most_erased = max(most_erased, erases)
            first, receipted, before, lane, done, check = struct.unpack_from("<IIHBBI", header, _OPEN_AT)
            opened = header[_OPEN_AT:]
            if lane in LANES and check == crc32(header[_OPEN_AT:_DONE_AT]):
                self._state[sector] = lane + (_DONE if _is_cleared(done) else 0)
                self._first[sector] = first
                self._count[sector] = before  # put right by _link
                self.receipted = max(self.receipted, receipted)
                if not newest[lane] or first > struct.unpack_from("<I", newest[lane], 0)[0]:
                    newest[lane] = bytes(opened)
            else:  # to be erased; blank too, for a lane may have begun to open it and no trace shows yet
                self._state[sector] = _DIRTY
                if opened != _BLANK_CHUNK[: _HEADER - _OPEN_AT]:
                    self._retire(sector)
        for sector in range(self._sectors):
            if not self._erases[sector]:
                self._erases[sector] = most_erased  # lost with its header: assume the worst
        return newest

    def _link(self, lane):
        """Entry counts, which each header states for the sector before it, and the head."""
        order = sorted([s for s in range(self._sectors) if self._state[s] & 3 == lane], key=lambda s: self._first[s])
        for sector, following in zip(order, order[1:]):
            self._count[sector] = self._count[following]
        if order:
            self._count[order[-1]] = 0
            if not self._state[order[-1]] & _DONE:
                self._head[lane] = order[-1]

    def _scan_newest(self, lane):
        """Check every entry of the lane's newest sector, and find its last whole entry, further back if need be."""
        sector = self._before(lane, 0xFFFFFFFF)
        while sector >= 0:
            end = _HEADER
            last_at = seq = count = 0
            last = b""
            at = self._next(sector, _HEADER, 0, 0xFFFFFFFF)
            while at:
                record = self._record(sector, at)
                if record is None:
                    at += 4
                else:
                    seq = self._entry_seq()
                    count += 1
                    last_at, last = at, bytes(self._entry) + record
                    end = at = at + (len(last) + 3 & ~3)
                at = self._next(sector, at, seq, 0xFFFFFFFF)
            if sector == self._head[lane]:
                self._count[sector] = count
                self._fill[lane] = self._zero_tail(sector, end)
                self._resumed[lane] = True
            if count:
                self._program(sector, last_at, last)
                if seq > self.last_seq:
                    self.last_seq, self._last_sector, self._last_at = seq, sector, last_at
                return
            sector = self._before(lane, self._first[sector] - 1)

    def _zero_tail(self, sector, start):
        """Zero what a cut left after the last whole entry, so that it never reads as an entry.

        Returns where the next one goes: beyond the page in which a program that left no trace may have weakened cells.
        """
        end = start
        for at in range(start & ~(_CHUNK - 1), _SECTOR, _CHUNK):
            self._partition.readblocks(sector, self._chunk, at)
            used = len(bytes(self._chunk).rstrip(b"\xff"))
            if used:
                end = max(end, at + used)
        self._program(sector, start, bytes(end - start))
        return (end + _ENTRY + _PAGE) & ~(_PAGE - 1)

    def _settle(self, lane):
        """What is receipted, by the lane's newest done sector, its newest mark, and what the other lane proved."""
        done = self._newest_done(lane)
        if done >= 0 and self._seek(done, self.last_seq):
            self.receipted = max(self.receipted, self._entry_seq())
        self._pass_sectors(lane)
        sector = self._oldest(lane)
        at = self._next(sector, _HEADER, 0, self.last_seq) if sector >= 0 else 0
        while at:
            seq = self._entry_seq()
            if _is_cleared(self._entry[_MARK_AT]):
                self.receipted = max(self.receipted, seq)
            at = self._next(sector, at + self._entry_size(), seq, self.last_seq)

    # Records

    def append(self, seq: int, record: bytes, alert: bool, last_resort: bool = False) -> None:
        """Keep a record. Returns when it is whole in flash; raises JournalFull when there is no room for its kind."""
        length = len(record)
        if not 0 < length <= MAX_RECORD_BYTES:
            raise ValueError("record: 1 to %d bytes fit a sector" % MAX_RECORD_BYTES)
        if seq <= self.last_seq:
            raise ValueError("seq: must be above %d, the last one" % self.last_seq)
        lane = ALERT if alert else ROUTINE
        size = (_ENTRY + length + 3) & ~3
        for attempt in range(6):
            if self._fill[lane] + size > _SECTOR:
                self._open(lane, seq, last_resort)
            sector = self._head[lane]
            at = self._fill[lane]
            self._fill[lane] = at + size
            if self._resumed[lane]:  # should this record leave no trace, the next start must still see it began
                self._resumed[lane] = False
                self._partition.writeblocks(sector, _ZERO_WORD, at - 4)
            self._partition.writeblocks(sector, record, at + _ENTRY)
            self._make_entry(seq, record)
            self._partition.writeblocks(sector, self._entry, at)
            if self._holds(sector, at, record):
                self._count[sector] += 1
                self.last_seq, self._last_sector, self._last_at = seq, sector, at
                return
            self._program(sector, at, bytes(size))
            if attempt % 2:  # leave this sector
                self._fill[lane] = _SECTOR
        raise OSError("journal: flash sector %d no longer keeps what is programmed" % sector)

    def read(self, seq: int) -> bytes | None:
        """The record with this sequence number, or None if it is not here or not whole."""
        for lane in LANES:
            sector = self._before(lane, seq)
            if sector >= 0:
                at = self._seek(sector, seq)
                if at and self._entry_seq() == seq:
                    return self._record(sector, at)
        return None

    @property
    def last(self):
        """(seq, record) of the newest whole entry, or None: where the chain goes on."""
        if self._last_sector < 0:
            return None
        self._partition.readblocks(self._last_sector, self._entry, self._last_at)
        return self.last_seq, self._record(self._last_sector, self._last_at)

    def pending(self, limit: int = 0xFFFFFFFF):
        """Sequence numbers without a receipt: alerts first, each lane from old to new.

        Memory is constant, whatever the backlog. Any other call may come between two steps.
        """
        for lane in LANES:
            sector = self._oldest(lane)
            while sector >= 0:
                first = self._first[sector]
                seq = self.receipted
                at = self._next(sector, _HEADER, seq, self.last_seq)
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

    def thinnable(self):
        """(first_seq, last_seq, count) of the oldest routine records without receipt, one sector of them, or None."""
        sector = self._oldest(ROUTINE)
        if sector < 0 or sector in (self._head[ROUTINE], self._last_sector):
            return None
        first = last = count = 0
        at = self._next(sector, _HEADER, self.receipted, self.last_seq)
        while at:
            last = self._entry_seq()
            first = first or last
            count += 1
            at = self._next(sector, at + self._entry_size(), last, self.last_seq)
        return first, last, count

    def thin(self, gap) -> None:
        """Give up the records that thinnable() named. A record that declares them lost must already be here."""
        if gap != self.thinnable():
            raise ValueError("gap: not what thinnable() says now; ask again")
        self._retire(self._oldest(ROUTINE))
        self._passed[ROUTINE] = 0

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
        return self._sectors * (_SECTOR - _HEADER)

    @property
    def used_bytes(self):
        """Bytes of the sectors that hold records without receipt, as far as they are filled."""
        used = 0
        for sector in range(self._sectors):
            if self._state[sector] in LANES:
                head = sector == self._head[self._state[sector]]
                used += min(self._fill[self._state[sector]] if head else _SECTOR, _SECTOR) - _HEADER
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
        """True when the next sector opened could be refused to some record: time to thin."""
        return self._free() <= 3

    def erase_spread(self):
        """(fewest, most) erases of any sector."""
        return min(self._erases), max(self._erases)

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
        while at <= _SECTOR - _ENTRY:
            self._partition.readblocks(sector, entry, at)
            seq = self._entry_seq()
            if 0 < seq <= limit and 0 < (entry[4] | entry[5] << 8) <= _SECTOR - _ENTRY - at:
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
            while seq == 0xFFFFFFFF and at <= _SECTOR - _CHUNK:  # blank flash: take longer steps
                self._partition.readblocks(sector, self._chunk, at)
                if self._chunk != _BLANK_CHUNK:
                    break
                at += _CHUNK
        return 0

    def _entry_seq(self):
        return struct.unpack_from("<I", self._entry, 0)[0]

    def _entry_size(self):
        return (_ENTRY + struct.unpack_from("<H", self._entry, 4)[0] + 3) & ~3

    def _record(self, sector, at):
        """The record whose header is in self._entry, or None if it is not whole."""
        length, _, _, check = struct.unpack_from("<HBBI", self._entry, 4)
        record = bytearray(min(length, MAX_RECORD_BYTES))
        self._partition.readblocks(sector, record, at + _ENTRY)
        return bytes(record) if crc32(record, crc32(self._checked)) == check else None

    def _holds(self, sector, at, record):
        """Read back without allocating: the entry in self._entry, then the record."""
        chunk = self._chunk
        start = at
        end = at + _ENTRY + len(record)
        base = at & ~(_CHUNK - 1)
        while base < end:
            self._partition.readblocks(sector, chunk, base)
            for i in range(max(start - base, 0), min(end - base, _CHUNK)):
                offset = base + i - at
                if chunk[i] != (self._entry[offset] if offset < _ENTRY else record[offset - _ENTRY]):
                    return False
            base += _CHUNK
        return True

    def _seek(self, sector, seq):
        """Offset of the sector's last entry up to seq (header left in self._entry), or 0; self._sought counts them."""
        found = last = self._sought = 0
        at = self._next(sector, _HEADER, 0, seq)
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
        self._partition.writeblocks(sector, b"\x00", _DONE_AT)
        self._state[sector] |= _DONE

    def _write_mark(self, lane):
        sector = self._oldest(lane)
        at = self._seek(sector, self.receipted) if sector >= 0 else 0
        self._passed[lane] = self._sought if at else 0
        if at:
            self._partition.writeblocks(sector, b"\x00", at + _MARK_AT)

    def _spare(self):
        """A sector to erase: a dirty one, else the one whose receipted records are oldest; -1 if there is none."""
        best = -1
        for sector in range(self._sectors):
            state = self._state[sector]
            if state == _DIRTY:
                if best < 0 or self._state[best] != _DIRTY or self._erases[sector] < self._erases[best]:
                    best = sector
            elif state & _DONE and sector != self._last_sector:
                if best < 0 or self._state[best] != _DIRTY and self._first[sector] < self._first[best]:
                    best = sector
        return best

    def _free(self):
        free = 0
        for sector in range(self._sectors):
            state = self._state[sector]
            if state in (_DIRTY, _READY) or state & _DONE and sector != self._last_sector:
                free += 1
        return free

    def _retire(self, sector):
        """No lane's any more, whatever its cells may read tomorrow. Its erase count stays readable."""
        self._program(sector, _OPEN_AT, bytes(_HEADER - _OPEN_AT))
        self._state[sector] = _DIRTY
        self._count[sector] = 0

    def _erase_sector(self, sector):
        self._retire(sector)
        self._partition.ioctl(_ERASE, sector)
        self._erases[sector] += 1
        header = struct.pack("<II", _MAGIC, self._erases[sector])
        self._program(sector, 0, header + struct.pack("<I", crc32(header)))
        self._state[sector] = _READY
        self._first[sector] = self.last_seq  # the one that has been ready longest is used first

    def _open(self, lane, seq, last_resort):
        """Give the lane a new head."""
        head = self._head[lane]
        if head >= 0 and not self._count[head]:  # no two sectors of a lane may begin with the same number
            self._retire(head)
            head = self._before(lane, seq)
            if head >= 0 and self._state[head] & _DONE:
                head = -1
            self._head[lane] = head
            self._fill[lane] = _SECTOR
        free = self._free()
        if free < (1 if last_resort else 2 if lane == ALERT else 3):
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
        self._state[sector] = _DIRTY
        self._program(sector, _OPEN_AT, opened + struct.pack("<BI", 0xFF, crc32(opened)))
        self._state[sector] = lane
        self._first[sector] = seq
        self._count[sector] = 0
        self._head[lane] = sector
        self._fill[lane] = _HEADER
        self._resumed[lane] = False


def _is_cleared(byte):
    """Programmed to 0, where one cell may have rotted back to 1."""
    return byte & (byte - 1) == 0
