"""What the journal does at power-on: learns from flash what is there, and settles what a cut left half done.

In memory at boot only, which spares the running station some 3 KB. The layout and its promises are journal.py's.
"""

import struct
from binascii import crc32

from .journal import (
    ALERT,
    BLANK_CHUNK,
    CHUNK,
    DIRTY,
    DONE,
    DONE_AT,
    ENTRY,
    HEADER,
    LANES,
    MAGIC,
    MARK_AT,
    OPEN_AT,
    PAGE,
    ROUTINE,
    SECTOR,
)


def recover(journal) -> None:
    """Learn from flash what is there. Never raises on its content, whatever that is."""
    newest_header = _read_headers(journal)
    for lane in LANES:
        _link(journal, lane)
        _scan_newest(journal, lane)
        if journal._head[lane] >= 0:
            journal._program(journal._head[lane], OPEN_AT, newest_header[lane])
    for _ in LANES:  # twice: a mark in one lane can complete a sector of the other
        for lane in LANES:
            _settle(journal, lane)
    for lane in LANES:  # once more on flash: the last receipt may have been cut
        journal._write_mark(lane)
        sector = journal._newest_done(lane)
        if sector >= 0:
            journal._set_done(sector)


def _read_headers(journal):
    header = bytearray(HEADER)
    newest = {ROUTINE: b"", ALERT: b""}
    for sector in range(journal._sectors):
        journal._partition.readblocks(sector, header, 0)
        magic, erases, check = struct.unpack_from("<III", header, 0)
        if magic == MAGIC and check == crc32(header[:8]):
            journal._most_erased = max(journal._most_erased, erases)
        first, receipted, before, lane, done, check = struct.unpack_from("<IIHBBI", header, OPEN_AT)
        opened = header[OPEN_AT:]
        if lane in LANES and check == crc32(header[OPEN_AT:DONE_AT]):
            journal._state[sector] = lane + (DONE if _is_cleared(done) else 0)
            journal._first[sector] = first
            journal._count[sector] = before  # put right by _link
            journal.receipted = max(journal.receipted, receipted)
            if not newest[lane] or first > struct.unpack_from("<I", newest[lane], 0)[0]:
                newest[lane] = bytes(opened)
        else:  # to be erased; blank too, for a lane may have begun to open it and no trace shows yet
            journal._state[sector] = DIRTY
            if opened != BLANK_CHUNK[: HEADER - OPEN_AT]:
                journal._retire(sector)
    return newest


def _link(journal, lane):
    """Entry counts, which each header states for the sector before it, and the head."""
    order = [0] * sum(state & 3 == lane for state in journal._state)  # one piece of heap, and no copies
    at = 0
    for sector in range(journal._sectors):
        if journal._state[sector] & 3 == lane:
            order[at] = sector
            at += 1
    order.sort(key=lambda sector: journal._first[sector])
    for at in range(len(order) - 1):
        journal._count[order[at]] = journal._count[order[at + 1]]
    if order:
        journal._count[order[-1]] = 0
        if not journal._state[order[-1]] & DONE:
            journal._head[lane] = order[-1]


def _scan_newest(journal, lane):
    """Check every entry of the lane's newest sector, and find its last whole entry, further back if need be."""
    sector = journal._before(lane, 0xFFFFFFFF)
    while sector >= 0:
        end = HEADER
        last_at = seq = count = 0
        last = b""
        at = journal._next(sector, HEADER, 0, 0xFFFFFFFF)
        while at:
            record = journal._record(sector, at)
            if record is None:
                at += 4
            else:
                seq = journal._entry_seq()
                count += 1
                last_at, last = at, bytes(journal._entry) + record
                end = at = at + (len(last) + 3 & ~3)
            at = journal._next(sector, at, seq, 0xFFFFFFFF)
        if sector == journal._head[lane]:
            journal._count[sector] = count
            journal._fill[lane] = _zero_tail(journal, sector, end)
            journal._resumed[lane] = True
        if count:
            journal._program(sector, last_at, last)
            if seq > journal.last_seq:
                journal.last_seq, journal._last_sector, journal._last_at = seq, sector, last_at
            return
        sector = journal._before(lane, journal._first[sector] - 1)


def _zero_tail(journal, sector, start):
    """Zero what a cut left after the last whole entry, so that it never reads as an entry.

    Returns where the next one goes: beyond the page in which a program that left no trace may have weakened cells.
    """
    end = start
    for at in range(start & ~(CHUNK - 1), SECTOR, CHUNK):
        journal._partition.readblocks(sector, journal._chunk, at)
        used = len(bytes(journal._chunk).rstrip(b"\xff"))
        if used:
            end = max(end, at + used)
    journal._program(sector, start, bytes(end - start))
    return (end + ENTRY + PAGE) & ~(PAGE - 1)


def _settle(journal, lane):
    """What is receipted, by the lane's newest done sector, its newest mark, and what the other lane proved."""
    done = journal._newest_done(lane)
    if done >= 0 and journal._seek(done, journal.last_seq):
        journal.receipted = max(journal.receipted, journal._entry_seq())
    journal._pass_sectors(lane)
    sector = journal._oldest(lane)
    at = journal._next(sector, HEADER, 0, journal.last_seq) if sector >= 0 else 0
    while at:
        seq = journal._entry_seq()
        if _is_cleared(journal._entry[MARK_AT]):
            journal.receipted = max(journal.receipted, seq)
        at = journal._next(sector, at + journal._entry_size(), seq, journal.last_seq)


def _is_cleared(byte):
    """Programmed to 0, where one cell may have rotted back to 1."""
    return byte & (byte - 1) == 0
