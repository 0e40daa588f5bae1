"""New programs over the cable, for `holdfire update`: believed when the deployment's authority signed them, written
into the half that does not run, read back, hashed, and tried at the next start (slots.py). In memory only meanwhile.

The half in use, the key, the journal and the counters are never written. Cut anywhere, what ran before runs again.
"""

import asyncio
import binascii
import hashlib
import os
import sys

from esp32 import NVS, Partition
from holdfire_protocol import cose, record
from holdfire_protocol import update as signed
from slots import HEARD, ONE, TRIAL

from . import crash, crypto, identity

SPACE = "hf-station"
STATE = "slot"  # as slots.py has it
NUMBER = "number"  # of the newest update that was a good one: an older one is refused
OFFERED = "offered"  # of the one on trial
AUTHORITY = identity.FOLDER + "/authority"
PIECE_BYTES = 128  # as base64 in one line that the chip's UART buffer of 260 bytes holds while a record is signed
SECTOR_BYTES = 4096
SUMS = 8  # in an answer of 80 columns
MPY_MASK = 0x3FFF  # version and processor; the bits above are extensions that programs do not use
IDLE_MS = 600_000  # then the laptop is gone, and this is forgotten; it may offer again


def update(station, words) -> list:
    """The console's answer. Raises ValueError with what was wrong."""
    if station.recorder is None:
        raise ValueError("not enrolled: whom to believe is not known; `holdfire provision` first")
    nvs = NVS(SPACE)
    if not words:
        return [_state_line(nvs)]
    if len(words) != 2 or words[0] not in ("trust", "offer"):
        raise ValueError("`holdfire update` on the laptop sends what follows this word")
    if crypto.at_work.locked():
        return ["busy signing: ask again"]  # its buffers are taken, and 8 KB for others may not be free
    if words[0] == "trust":
        return _trust(words[1])
    if _kept(nvs, STATE) & TRIAL:
        raise ValueError("an update is on trial: ask again three minutes after its start")
    named = _believed(station, nvs, binascii.a2b_base64(words[1]))
    Session(station, nvs, named)
    return ["update accepted %s" % named["firmware"].hex()]


def _state_line(nvs) -> str:
    known = _authority()
    return "update board=%s mpy=%d size=%d number=%d trial=%d authority=%s" % (
        _board_name(), sys.implementation._mpy & MPY_MASK, _partition().ioctl(4, 0) // 2 * SECTOR_BYTES,
        _kept(nvs, NUMBER), 1 if _kept(nvs, STATE) & TRIAL else 0, cose.key_id(known).hex() if known else "none",
    )  # fmt: skip


def _trust(text: str) -> list:
    """Keep the authority's key, once."""
    public = bytes.fromhex(text)
    crypto.check_public_key(public)
    known = _authority()
    if known and known != public:
        raise ValueError("another authority is known: flash with ERASE=1 and provision anew")
    if not known:
        with open(AUTHORITY + ".new", "wb") as file:
            file.write(public)
        os.rename(AUTHORITY + ".new", AUTHORITY)
    return ["update trusts %s" % cose.key_id(public).hex()]


def _authority():
    try:
        with open(AUTHORITY, "rb") as file:
            return file.read(32)
    except OSError:
        return None


def _believed(station, nvs, message: bytes) -> dict:
    """What was offered. Raises ValueError unless it is the authority's, for this board, and newer than what was."""
    public = _authority()
    if not public:
        raise ValueError("no authority is known: `holdfire update` sends its key")
    payload = record.verify1(message, public, signed.AAD_UPDATE, station.identity.network, crypto.verify)
    named = signed.decode(payload)
    if named["board"] != _board_name().encode():
        raise ValueError("board: for %s, this is %s" % (named["board"].decode(), _board_name()))
    if named["mpy"] != sys.implementation._mpy & MPY_MASK:
        raise ValueError("mpy: other MicroPython or processor than this: `make flash` brings both")
    if named["size"] != _partition().ioctl(4, 0) // 2 * SECTOR_BYTES:
        raise ValueError("size: for another partition table: `make flash`")
    if named["number"] <= _kept(nvs, NUMBER):
        raise ValueError("number: signed before the update that runs: a replay? sign anew")
    return named


class Session:
    """Stands between console and station until the programs are in, or nothing came for ten minutes."""

    def __init__(self, station, nvs, named: dict):
        self._station = station
        self._nvs = nvs
        self._named = named
        self._partition = _partition()
        self._sectors = self._partition.ioctl(4, 0) // 2
        self._first = 0 if _kept(nvs, STATE) & ONE else self._sectors
        self._read = memoryview(bytearray(PIECE_BYTES))
        self._heard_ms = station.monotonic.ms()
        self._before = station.console._on_command
        if isinstance(self._before, Session):
            self._before = self._before._end()
        station.console._on_command = self._on_command
        asyncio.create_task(self._expire())

    async def _expire(self) -> None:
        while self._before is not None:
            await asyncio.sleep_ms(1000)
            if self._station.monotonic.ms() - self._heard_ms > IDLE_MS:
                self._end()

    def _end(self):
        before, self._before = self._before, None
        if before is not None:
            self._station.console._on_command = before
        return before

    def _on_command(self, words) -> list:
        word = words[0]
        if word not in ("=", "sums", "install"):
            return self._before(words)  # type: ignore[misc]  # until the end there is one
        self._heard_ms = self._station.monotonic.ms()
        if word == "=":
            return self._put(words[1:])
        if word == "sums":
            return self._sums(int(words[1]))
        return self._install()

    def _put(self, words) -> list:
        """Write a piece; the first of a sector erases it."""
        sector, offset, text, sum_hex = words
        data = binascii.a2b_base64(text)
        said = b"%s %s " % (sector.encode(), offset.encode())
        if binascii.crc32(data, binascii.crc32(said)) != int(sum_hex, 16):
            raise ValueError("damaged on the line: send it again")
        at = int(offset)
        if not 0 <= int(sector) < self._sectors or at % PIECE_BYTES or at >= SECTOR_BYTES or len(data) != PIECE_BYTES:
            raise ValueError("outside of the partition")
        block = self._first + int(sector)
        if at == 0:
            self._partition.ioctl(6, block)
        self._partition.writeblocks(block, data, at)
        self._partition.readblocks(block, self._read, at)
        if self._read != data:
            raise ValueError("flash: does not hold what was written: send the sector again")
        return ["= %s %s" % (sector, offset)]

    def _sums(self, start: int) -> list:
        """CRC-32 of some sectors, for the laptop to see which are right already."""
        sums = []
        for sector in range(start, min(start + SUMS, self._sectors)):
            total = 0
            for at in range(0, SECTOR_BYTES, PIECE_BYTES):
                self._partition.readblocks(self._first + sector, self._read, at)
                total = binascii.crc32(self._read, total)
            sums.append("%08x" % total)
        return ["sums %d %s" % (start, "".join(sums))]

    def _install(self) -> list:
        """Have the new half tried, when all of it is as signed. The number that says so is written last."""
        total = hashlib.sha256()
        for sector in range(self._sectors):
            for at in range(0, SECTOR_BYTES, PIECE_BYTES):
                self._partition.readblocks(self._first + sector, self._read, at)
                total.update(self._read)
        if total.digest() != self._named["image"]:
            raise ValueError("image: is not what was signed: send it again")
        station, nvs = self._station, self._nvs
        heard = HEARD if station.microphone is not None and station.microphone.blocks else 0
        crash.settled()  # its fault, if one is kept, is not the new programs'
        nvs.set_i32(OFFERED, self._named["number"])
        nvs.set_i32(STATE, _kept(nvs, STATE) & ONE | TRIAL | heard)
        nvs.commit()
        self._end()
        station.leaving = "reboot"
        return ["update installed: starts anew, on trial for three minutes"]


def _kept(nvs, name: str) -> int:
    try:
        return nvs.get_i32(name)
    except OSError:
        return 0


def _partition():
    found = Partition.find(Partition.TYPE_DATA, label="programs")
    if not found:
        raise ValueError("no partition programs: flash this board anew")
    return found[0]


def _board_name() -> str:
    from board import BOARD

    del sys.modules["board"]
    return BOARD["name"]
