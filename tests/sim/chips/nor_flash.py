"""A serial NOR flash chip kept in a file: what it holds, and what a power cut leaves in it. Runs under MicroPython.

To the bit: programming only clears bits (a 1 over a 0 leaves 0), a sector of 4096 bytes erases to 0xFF. Each program
and erase reaches the operating system before it returns, so kill -9 of the process is a fair power cut. `PATH.wear`
beside the image holds the erase count of each sector and the cells that a cut left unsettled, so both outlive the
process.

Faults come on request: class Faults, or the environment (HOLDFIRE_FLASH_CUT=OPERATION:HOW:SEED). A cut is
`not_applied`, `torn` or `unreported`. A torn program has done some bytes and part of the next, or a ragged part of
its page; cells of one byte then read as 0 or 1 by chance until programmed again or erased. A torn erase leaves a mix
of old bytes, 0xFF and noise, and the sector reads differently each time until it is erased in full. The cut kills the
process; or it raises PowerCut and this object refuses everything from then on, so that no handler or finaliser
reaches the dead device.

Not modelled: SPI commands and status polling (the IDF driver owns them), write protection, failure by wear.
"""

import os
import struct

SECTOR_BYTES = 4096
PAGE_BYTES = 256

# Typical values of the Winbond W25Q family, table "AC electrical characteristics": tBP1 30 us for the first byte of a
# program, tBP2 2.5 us for each further one, tPP 0.7 ms a page; tSE 45 ms (400 ms at worst). Reads: 80 MHz, two lines.
FIRST_BYTE_NS = 30_000
NEXT_BYTE_NS = 2_500
PAGE_NS = 700_000
ERASE_NS = 45_000_000
READ_COMMAND_NS = 500
READ_BYTE_NS = 50

_WEAR = "<IHBB"  # a sector's line in PATH.wear: erases; offset and bits of a half-programmed byte; noise if half-erased
_WEAR_BYTES = 8


class PowerCut(BaseException):
    """The supply failed. Not an Exception, so that no handler of the firmware catches it."""


class Faults:
    """One power cut: at the `operation`-th program or erase from now (0: the next), or after `at_byte` more bytes."""

    def __init__(self, operation=-1, how="torn", seed=1, at_byte=-1, kill=False):
        if how not in ("not_applied", "torn", "unreported"):
            raise ValueError("how: not_applied, torn or unreported")
        self.operation = operation
        self.how = how
        self.at_byte = at_byte
        self.kill = kill
        self._noise = (seed * 2654435761 + 88172645463325252) & 0xFFFFFFFFFFFFFFF or 1

    def random(self, below):
        """xorshift64: the firmware's own use of `random` must not change where the cells fall."""
        x = self._noise
        x ^= (x << 13) & 0xFFFFFFFFFFFFFFF
        x ^= x >> 7
        x ^= (x << 17) & 0xFFFFFFFFFFFFFFF
        self._noise = x
        return (x >> 20) % below


def faults_from_environment():
    setting = os.getenv("HOLDFIRE_FLASH_CUT")
    if not setting:
        return Faults()
    operation, how, seed = setting.split(":")
    return Faults(int(operation), how, int(seed), kill=True)


class NorFlash:
    def __init__(self, path, size_bytes, faults=None):
        if size_bytes % SECTOR_BYTES:
            raise ValueError("flash size: must be whole sectors of %d bytes" % SECTOR_BYTES)
        self.path = path
        self.size_bytes = size_bytes
        self.faults = faults or faults_from_environment()
        self.dead = False
        self._image = _open_filled(path, size_bytes, 0xFF)
        self._wear = _open_filled(path + ".wear", size_bytes // SECTOR_BYTES * _WEAR_BYTES, 0)
        self._page = bytearray(PAGE_BYTES)
        self._wear_line = bytearray(_WEAR_BYTES)
        self._unsettled = {}  # sector: (offset, bits) of a half-programmed byte, or how rarely a half-erased byte flips
        for sector in range(size_bytes // SECTOR_BYTES):
            self._wear.readinto(self._wear_line)
            _, offset, bits, rarity = struct.unpack(_WEAR, self._wear_line)
            if rarity or bits:
                self._unsettled[sector] = rarity or (offset, bits)
        self.reset_counts()

    def reset_counts(self):
        self.read_bytes = self.programmed_bytes = self.programs = self.erases = 0
        self.read_ns = self.program_ns = self.erase_ns = 0

    # What the chip does

    def read(self, address, buf):
        self._check(address, len(buf))
        self._image.seek(address)
        self._image.readinto(buf)
        self.read_bytes += len(buf)
        self.read_ns += READ_COMMAND_NS + READ_BYTE_NS * len(buf)
        if self._unsettled:
            self._blur(address, buf)

    def program(self, address, data):
        length = len(data)
        self._check(address, length)
        cut = self._cut_now(length)
        if cut == "not_applied":
            self._die()
        done = 0
        while done < length:
            size = min(length - done, PAGE_BYTES - (address + done) % PAGE_BYTES)
            if cut == "torn":
                at_byte = self.faults.at_byte
                stop = at_byte - done if at_byte >= 0 else self.faults.random(length - done)
                if stop < size:
                    self._tear(address + done, data, done, size, stop)
                    self._die()
            self._program_page(address + done, data, done, size)
            done += size
        if cut:
            self._die()

    def erase(self, address):
        self._check(address, SECTOR_BYTES)
        if address % SECTOR_BYTES:
            raise ValueError("erase: address must be a whole sector")
        cut = self._cut_now(0)
        if cut == "not_applied":
            self._die()
        sector = address // SECTOR_BYTES
        self._unsettled.pop(sector, None)
        if cut == "torn":
            self._half_erase(address)
            self._unsettled[sector] = 1 << 2 + self.faults.random(6)
        else:
            page = self._page
            for i in range(PAGE_BYTES):
                page[i] = 0xFF
            self._image.seek(address)
            for _ in range(SECTOR_BYTES // PAGE_BYTES):
                self._image.write(page)
        self.erases += 1
        self.erase_ns += ERASE_NS
        self._keep_wear(sector, 1)
        if cut:
            self._die()

    # What a test asks of it

    def erase_count(self, sector):
        self._wear.seek(sector * _WEAR_BYTES)
        self._wear.readinto(self._wear_line)
        return struct.unpack_from("<I", self._wear_line, 0)[0]

    def rot(self, address, bit):
        """One cell changes by itself."""
        self._image.seek(address)
        cell = bytearray(1)
        self._image.readinto(cell)
        cell[0] ^= 1 << bit
        self._image.seek(address)
        self._image.write(cell)

    def close(self):
        self.dead = True
        self._image.close()
        self._wear.close()

    # Inside

    def _check(self, address, length):
        if self.dead:
            raise PowerCut()
        if address < 0 or address + length > self.size_bytes:
            raise ValueError("flash address out of range")

    def _program_page(self, address, data, start, size):
        page = self._page
        self._image.seek(address)
        self._image.readinto(page, size)
        for i in range(size):
            page[i] &= data[start + i]
        self._image.seek(address)
        self._image.write(page, size)
        self.programs += 1
        self.programmed_bytes += size
        self.program_ns += min(PAGE_NS, FIRST_BYTE_NS + NEXT_BYTE_NS * (size - 1))
        if self._unsettled:
            self._settle(address, data, start, size)

    def _cut_now(self, length):
        """How this operation fails, or None. Counts down to the cut."""
        faults = self.faults
        if faults.at_byte >= 0:
            if faults.at_byte < length:
                return "torn"
            faults.at_byte -= length
            return None
        if faults.operation < 0:
            return None
        faults.operation -= 1
        return faults.how if faults.operation < 0 else None

    def _die(self):
        self.dead = True
        if self.faults.kill:
            while True:
                os.system("kill -9 $PPID")  # the only exit of the unix port that runs no finaliser
        raise PowerCut()

    def _tear(self, address, data, start, size, stop):
        chance = self.faults.random
        if self.faults.at_byte < 0 and chance(4) == 0:  # a page is programmed in parallel pulses
            ragged = bytearray(data[start + i] | (chance(256) & chance(256)) for i in range(size))
            self._program_page(address, ragged, 0, size)
            stop = chance(size)
        else:
            if stop:
                self._program_page(address, data, start, stop)
            self._program_page(address + stop, bytes([data[start + stop] | chance(256)]), 0, 1)
        self._image.seek(address + stop)
        self._image.readinto(self._page, 1)
        between = self._page[0] & ~data[start + stop] & 0xFF & (chance(256) | chance(256))
        if between:
            sector = address // SECTOR_BYTES
            if sector not in self._unsettled:
                self._unsettled[sector] = ((address + stop) % SECTOR_BYTES, between)
                self._keep_wear(sector, 0)

    def _half_erase(self, address):
        chance = self.faults.random
        progress = chance(5)  # 0: hardly begun ... 4: all cells read as erased, for now
        page = self._page
        run = fate = 0
        for at in range(address, address + SECTOR_BYTES, PAGE_BYTES):
            self._image.seek(at)
            self._image.readinto(page)
            for i in range(PAGE_BYTES):
                if not run:  # neighbours share their fate
                    run, fate = 1 + chance(24), chance(4) < progress
                run -= 1
                if fate:
                    page[i] = 0xFF
                elif chance(8) == 0:
                    page[i] |= chance(256)
            self._image.seek(at)
            self._image.write(page)

    def _blur(self, address, buf):
        chance = self.faults.random
        for sector, weak in self._unsettled.items():
            base = sector * SECTOR_BYTES
            if isinstance(weak, int):
                for at in range(max(address, base), min(address + len(buf), base + SECTOR_BYTES)):
                    if chance(weak) == 0:
                        buf[at - address] ^= 1 << chance(8)
            elif 0 <= base + weak[0] - address < len(buf):
                buf[base + weak[0] - address] &= ~(weak[1] & chance(256)) & 0xFF

    def _settle(self, address, data, start, size):
        sector = address // SECTOR_BYTES
        weak = self._unsettled.get(sector)
        if weak is None or isinstance(weak, int):
            return
        at = sector * SECTOR_BYTES + weak[0] - address
        if 0 <= at < size:
            bits = weak[1] & data[start + at]  # a cell programmed to 0 in full is 0; one left alone stays between
            if bits != weak[1]:
                if bits:
                    self._unsettled[sector] = (weak[0], bits)
                else:
                    del self._unsettled[sector]
                self._keep_wear(sector, 0)

    def _keep_wear(self, sector, more_erases):
        erases = self.erase_count(sector) + more_erases
        weak = self._unsettled.get(sector, 0)
        (offset, bits), rarity = ((0, 0), weak) if isinstance(weak, int) else (weak, 0)
        struct.pack_into(_WEAR, self._wear_line, 0, erases, offset, bits, rarity)
        self._wear.seek(sector * _WEAR_BYTES)
        self._wear.write(self._wear_line)


def _open_filled(path, size_bytes, value):
    """The file, lengthened with `value` to its full size where it is new or short."""
    try:
        file = open(path, "r+b")
    except OSError:
        file = open(path, "w+b")
    length = file.seek(0, 2)
    filler = bytes([value]) * 256
    while length < size_bytes:
        length += file.write(filler, min(256, size_bytes - length))
    file.seek(0)
    return file
