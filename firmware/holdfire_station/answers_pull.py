"""The console's answers to `holdfire pull`: which records and clips are here, and a clip's bytes piece by piece. In
memory only while one is asked for.

A program reads these lines, so each ends with its CRC-32. Records go out as they always do, by the uplink, one a turn:
an answer that wrote several at once would keep sound waiting for longer than the microphone's ring lasts. Nothing is
freed here, whoever asks.
"""

import binascii
import struct

from holdfire_protocol import fields, frame

from .journal import ALERT, ENTRY, HEADER, LANES

RECORDS = 6  # two fewer than the outbox takes, so that what is made meanwhile still goes out at once
PIECE_BYTES = 256  # of a clip: 33 ms of a 115200 baud cable


def pull(station, words) -> list:
    """Have the records from a number on sent again, a few, receipted or not; the line says which."""
    if len(words) != 1:
        raise ValueError("pull takes FIRST; `holdfire pull` on the laptop sends it")
    first = _number(words[0])
    if station.recorder is None:
        raise ValueError("not enrolled, or its memory is broken: there are no records")
    journal = station.journal
    held = []
    for lane in LANES:
        held += _held(journal, lane, first, RECORDS)
    held = sorted(held)[:RECORDS]
    for seq in held:
        if station.uplink is not None:
            station.uplink.made(seq)
        else:  # safe mode, and what sends is broken; nobody listens there, so nobody is kept waiting
            station.console.send(frame.encode(fields.FRAME_RECORD, station.identity.network, journal.read(seq)))
    sent = ",".join([str(seq) for seq in held]) or "none"
    return [_sealed("pull first=%d sent=%s last=%d" % (first, sent, journal.last_seq))]


def clips(station, words) -> list:
    """Without words: the first and the last number. With a number and an offset: a piece of that clip."""
    if len(words) not in (0, 2):
        raise ValueError("clips takes NUMBER OFFSET, or nothing; `holdfire pull` on the laptop sends them")
    if not station.clips:
        return [_sealed("clips none")]
    ring = station.clips.ring
    if not words:
        held = _held(ring, ALERT, 1, 1)
        return [_sealed("clips first=%d last=%d" % (held[0], ring.last_seq) if held else "clips none")]
    number, offset = _number(words[0]), _number(words[1])
    sector = ring._before(ALERT, number)
    at = ring._seek(sector, number) if sector >= 0 else 0
    if not at or ring._entry_seq() != number:
        return [_sealed("clip %d none" % number)]
    total = struct.unpack_from("<H", ring._entry, 4)[0]
    if offset >= total:
        raise ValueError("clips: OFFSET is beyond the clip's %d bytes" % total)
    piece = bytearray(min(PIECE_BYTES, total - offset))
    ring._partition.readblocks(sector, piece, at + ENTRY + offset)
    return [_sealed("clip %d %d %d %s" % (number, offset, total, binascii.b2a_base64(bytes(piece))[:-1].decode()))]


def _held(journal, lane, first: int, limit: int) -> list:
    """The lane's first numbers from `first` on whose entries are whole, receipted and not yet overwritten ones too."""
    found = []
    sector = journal._before(lane, first)
    if sector < 0:
        sector = journal._after(lane, first)
    while sector >= 0:
        at = journal._next(sector, HEADER, first - 1, journal.last_seq)
        while at:
            seq = journal._entry_seq()
            if journal._record(sector, at) is not None:
                found.append(seq)
                if len(found) == limit:
                    return found
            at = journal._next(sector, at + journal._entry_size(), seq, journal.last_seq)
        sector = journal._after(lane, journal._first[sector])
    return found


def _number(text: str) -> int:
    if not text.isdigit() or len(text) > 10:
        raise ValueError("%s: not a whole number" % text[:20])
    return int(text)


def _sealed(text: str) -> str:
    return "%s %08x" % (text, binascii.crc32(text.encode()))
