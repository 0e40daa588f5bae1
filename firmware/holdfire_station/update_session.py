"""Takes the pieces of an update that was believed, and has it tried. In memory until it is in or the laptop gone."""

import asyncio
import binascii
import hashlib

from esp32 import NVS, Partition
from slots import HEARD, ONE, TRIAL

from . import overlay

SPACE = "hf-station"  # as slots.py has these two
STATE = "slot"
PIECE_BYTES = 128  # as base64 in one line that the chip's UART buffer of 260 bytes holds while a record is signed
SECTOR_BYTES = 4096
SUMS = 8  # in an answer of 80 columns
IDLE_MS = 600_000  # then the laptop is gone, and this is forgotten; it may offer again


def begin(station, named: dict) -> None:
    """From now on; in place of a session that was."""
    Session(station, named)


class Session:
    """Stands between console and station until the programs are in, or nothing came for ten minutes."""

    def __init__(self, station, named: dict):
        self._station = station
        self._named = named
        self._partition = Partition.find(Partition.TYPE_DATA, label="programs")[0]
        self._sectors = self._partition.ioctl(4, 0) // 2
        self._first = 0 if _state() & ONE else self._sectors
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
        station, nvs = self._station, NVS(SPACE)
        heard = HEARD if station.microphone is not None and station.microphone.blocks else 0
        overlay.with_module("holdfire_station.crash", "settled")  # its fault, if one is kept, is not the new programs'
        nvs.set_i32("offered", self._named["number"])
        nvs.set_i32(STATE, _state() & ONE | TRIAL | heard)
        nvs.commit()
        self._end()
        station.leaving = "reboot"
        return ["update installed: starts anew, on trial for three minutes"]


def _state() -> int:
    try:
        return NVS(SPACE).get_i32(STATE)
    except OSError:
        return 0
