"""INMP441 microphone, as its data sheet (DS-INMP441-00 rev. 1.1) has it, in front of a sound field kept in files.

On the wire: 24 bits, two's complement, left-justified in a 32-bit slot whose last byte is zero. Sound files hold just
that, little endian, one channel, at the sample rate; the launcher makes them. `noise_path` is the quiet field with the
chip's own noise in it, played round and round; sounds are added to it and clip at full scale.
"""

from array import array

import uctypes
from micropython import const

_SILENT_CLOCKS = const(1 << 18)  # "becomes operational 2^18 clock cycles after power-up"
_CLOCKS_PER_FRAME = const(64)
_GROUP_DELAY = const(17)  # samples: 17.2 / fs
_MUFFLED_GAIN_Q8 = 8  # a hand's breadth of wet cloth: 30 dB
_SETTLING = const(150000)  # start-up offset; the high-pass (1.2 Hz at 16 kHz) halves it every 92 ms
_HALVING_BLOCKS = const(6)
_BLOCK = const(256)


@micropython.viper
def _mix(into: ptr32, sound: ptr32, samples: int, gain_q8: int, offset: int):
    # Loads may be signed or not, depending on where this runs: the sign is taken from bit 23.
    for i in range(samples):
        a = (int(into[i]) >> 8) & 0xFFFFFF
        a -= (a & 0x800000) << 1
        b = (int(sound[i]) >> 8) & 0xFFFFFF
        b -= (b & 0x800000) << 1
        a = a + ((b * gain_q8) >> 8) + offset
        if a > 0x7FFFFF:
            a = 0x7FFFFF
        elif a < -0x800000:
            a = -0x800000
        into[i] = a << 8


class Inmp441:
    def __init__(self, noise_path, muffled_path, noise_offset):
        self._noise_offset = noise_offset  # so that no two stations hear the same noise
        self._files = {"ok": open(noise_path, "rb"), "muffled": open(muffled_path, "rb"), "cut": None}
        self.condition = "ok"
        self._sample_at = None
        self._mixed = array("i", bytes(4 * _BLOCK))
        self._heard = array("i", bytes(4 * _BLOCK))
        self._mixed_bytes = memoryview(uctypes.bytearray_at(uctypes.addressof(self._mixed), 4 * _BLOCK))
        self._sounds = []  # (first sample, file, gain)
        self._position = -1  # where in the noise file the next sample lies, -1: unknown
        self._silent = _SILENT_CLOCKS // _CLOCKS_PER_FRAME

    def clock(self, sample_at):
        """Somebody drives the clock lines; sample_at(true_us) numbers the frames."""
        self._sample_at = sample_at

    def play(self, path, gain_q8, true_us):
        if self._sample_at is None:
            raise RuntimeError("microphone is not clocked")
        self._sounds.append((self._sample_at(true_us) + _GROUP_DELAY, open(path, "rb"), gain_q8))

    def set_condition(self, condition):
        if condition not in self._files:
            raise ValueError("mic " + condition)
        self.condition = condition
        self._position = -1

    def _noise(self, into, first):
        """Fill `into` with the noise of sample `first` on. Reading on is cheap; a jump costs a seek."""
        file = self._files[self.condition]
        if file is None:
            into[:] = bytes(len(into))  # nobody drives the data line: its pull-down makes zeros
            return
        if self._position != first:
            length = file.seek(0, 2)
            file.seek((first + self._noise_offset) * 4 % length)
        got = file.readinto(into)
        while got < len(into):
            file.seek(0)
            got += file.readinto(memoryview(into)[got:])
        self._position = first + len(into) // 4

    def sample(self, into, first):
        """Samples number `first` (the first frame clock's is 0) and following, into a memoryview of whole samples."""
        at = 0
        while at < len(into):
            count = min(_BLOCK, (len(into) - at) // 4)
            part = into[at : at + 4 * count]
            since = first - self._silent
            if since < 0:
                count = min(count, -since)
                part = into[at : at + 4 * count]
                part[:] = bytes(4 * count)
            else:
                offset = 0 if self.condition == "cut" else _SETTLING >> min(62, since // _BLOCK // _HALVING_BLOCKS)
                if offset or self._sounds:
                    self._add_sounds(part, first, count, offset)
                else:
                    self._noise(part, first)
            at += 4 * count
            first += count

    def _add_sounds(self, part, first, count, offset):
        mixed = self._mixed_bytes[: 4 * count]
        self._noise(mixed, first)
        heard = self._heard
        for sound in self._sounds[:]:
            start, file, gain_q8 = sound
            skip = max(0, start - first)  # samples before it begins
            if skip >= count:
                continue
            for i in range(count):
                heard[i] = 0
            file.seek(max(0, first - start) * 4)
            view = memoryview(heard)[skip:count]
            got = file.readinto(view)
            if not got:
                file.close()
                self._sounds.remove(sound)
            elif self.condition != "cut":
                gain_q8 = gain_q8 if self.condition == "ok" else gain_q8 * _MUFFLED_GAIN_Q8 >> 8
                _mix(self._mixed, heard, count, gain_q8, 0)
        if offset:
            for i in range(count):
                heard[i] = 0
            _mix(self._mixed, heard, count, 0, offset)
        part[:] = mixed
