"""The last three seconds of sound, so far reduced that no word can be made out, in 1.9 KB.

    history = History(detector)
    history.feed(256)                      # after each detector.feed of so many samples
    history.copy(first_block, count)       # bytes of blocks of 32 ms

What is kept. From the detector's own look-back ring (offset-free samples) a filter of 16 ms makes 1,000 samples a
second: flat to about 150 Hz, -6 dB at 330 Hz, and from 500 Hz on at least 60 dB down. A boom, a launch, an engine keep
their shape; of speech the voice's pitch and part of the first formant stay. ANSI S3.5-1997 gives the octave at 250 Hz
6 % of what makes words intelligible, those above the rest: that someone spoke can be heard, and how high the voice is,
but not what was said.

Then IMA ADPCM, 4 bits a sample, in blocks of 32 samples that each begin anew with predictor (i16), step index and a
zero, so any block can be read without those before. Lossless coding would take twice the room and, being of no fixed
size, could not be kept in a ring (tools/bench clips measures both).

Not here: which piece is worth keeping, and where to (`clips.py`).
"""

import math
from array import array

import micropython
from micropython import const

BLOCK_SAMPLES = const(32)
BLOCK_BYTES = const(20)
BLOCKS = const(96)  # 3.07 s
RATE_HZ = const(1000)
_CUT_HZ = const(330)
_FILTER_HOPS = const(16)  # of 1 ms: with the 32 that one feed may bring still inside the detector's ring of 64
_BIAS = const(0x02000000)  # of the detector's ring
_COEF_BIAS = const(8192)
_PREDICTED = const(0)  # places in the state; the predictor has a bias of 32768
_INDEX = const(1)
_AT = const(2)  # place of the next sample in the ring of blocks

# Numbers (viper ints are 32 bits on Xtensa; all bounds for the detector's |h| <= 2^24):
#     pair of samples >> 9         <= 2^16
#     sum with half the filter     2^16 * 22,400 (sum of its magnitudes, checked below) < 2^31
#     sample = sum >> 14           saturated to 16 bits: 2^15 is full scale


@micropython.viper
def _reduce(state_buf, ring_buf, coefs_buf, steps_buf, out_buf, at: int, hop: int, hops: int):
    """Filter, decimate and encode the newest `hops` of the detector's ring, whose next place is `at`."""
    state = ptr32(state_buf)
    ring = ptr32(ring_buf)
    coefs = ptr16(coefs_buf)
    steps = ptr16(steps_buf)
    out = ptr8(out_buf)
    mask = (hop << 6) - 1
    half = hop << 3
    predicted = state[_PREDICTED] - 32768
    index = state[_INDEX]
    place = state[_AT]
    end = at - (hops - 1) * hop
    while hops > 0:
        low = end - (half << 1)
        high = end - 1
        total = 0
        i = 0
        while i < half:
            pair = ring[(low + i) & mask] + ring[(high - i) & mask] - (_BIAS << 1)
            total += (pair >> 9) * (coefs[i] - _COEF_BIAS)
            i += 1
        y = total >> 14
        if y > 32767:
            y = 32767
        elif y < -32767:
            y = -32767
        base = (place >> 5) * BLOCK_BYTES
        within = place & 31
        if within == 0:
            out[base] = predicted & 0xFF
            out[base + 1] = (predicted >> 8) & 0xFF
            out[base + 2] = index
            out[base + 3] = 0
        step = steps[index]
        code = 0
        difference = y - predicted
        if difference < 0:
            code = 8
            difference = 0 - difference
        change = step >> 3
        if difference >= step:
            code |= 4
            difference -= step
            change += step
        step >>= 1
        if difference >= step:
            code |= 2
            difference -= step
            change += step
        step >>= 1
        if difference >= step:
            code |= 1
            change += step
        if code & 8:
            predicted -= change
        else:
            predicted += change
        if predicted > 32767:
            predicted = 32767
        elif predicted < -32768:
            predicted = -32768
        magnitude = code & 7
        if magnitude < 4:
            index -= 1
        else:
            index += (magnitude - 3) << 1
        if index < 0:
            index = 0
        elif index > 88:
            index = 88
        byte = base + 4 + (within >> 1)
        if within & 1:
            out[byte] = out[byte] | (code << 4)
        else:
            out[byte] = code
        place += 1
        if place == BLOCKS * BLOCK_SAMPLES:
            place = 0
        end += hop
        hops -= 1
    state[_PREDICTED] = predicted + 32768
    state[_INDEX] = index
    state[_AT] = place


class History:
    """`blocks`: how many were begun since the start; the newest BLOCKS less one of them can be copied."""

    def __init__(self, detector):
        self._detector = detector
        self.hop = detector.hop
        self._coefs = _filter(self.hop)
        self._state = array("i", [32768, 0, 0])
        self._ring = bytearray(BLOCKS * BLOCK_BYTES)
        self._samples = 0  # of the block that is being filled
        self.blocks = 0  # whole ones

    def feed(self, samples: int) -> None:
        """Take the samples that the detector was fed last; whole hops, 32 at most."""
        hops = samples // self.hop
        detector = self._detector
        _reduce(self._state, detector.ring, self._coefs, _STEPS, self._ring, detector.ring_at, self.hop, hops)
        self._samples += hops
        while self._samples >= BLOCK_SAMPLES:
            self._samples -= BLOCK_SAMPLES
            self.blocks += 1

    def holds(self, first: int) -> bool:
        """Whether block number `first` (from 0) was not overwritten yet."""
        return first > self.blocks - BLOCKS

    def copy(self, first: int, count: int) -> bytearray:
        """Bytes of so many blocks from number `first`; the caller has asked `holds`."""
        found = bytearray(count * BLOCK_BYTES)
        for i in range(count):
            at = (first + i) % BLOCKS * BLOCK_BYTES
            found[i * BLOCK_BYTES : (i + 1) * BLOCK_BYTES] = self._ring[at : at + BLOCK_BYTES]
        return found


def _filter(hop: int):
    """One half of a symmetric low-pass of 16 hops (sinc, Blackman window), in 1/32768, with a bias."""
    length = _FILTER_HOPS * hop
    taps = []
    for i in range(length // 2):
        t = i - (length - 1) / 2
        phase = 2 * math.pi * (i + 0.5) / length
        window = 0.42 - 0.5 * math.cos(phase) + 0.08 * math.cos(2 * phase)
        taps.append(math.sin(2 * math.pi * _CUT_HZ / (RATE_HZ * hop) * t) / t * window)
    scale = 16384 / sum(taps)
    half = array("H", [int(tap * scale + _COEF_BIAS + 0.5) for tap in taps])
    # Rounding must not change the gain: the loudest tap takes what is left over.
    half[-1] += 16384 + _COEF_BIAS * len(half) - sum(half)
    return half


_STEPS = array("H", (
    7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 19, 21, 23, 25, 28, 31, 34, 37, 41, 45, 50, 55, 60, 66, 73, 80, 88, 97, 107,
    118, 130, 143, 157, 173, 190, 209, 230, 253, 279, 307, 337, 371, 408, 449, 494, 544, 598, 658, 724, 796, 876, 963,
    1060, 1166, 1282, 1411, 1552, 1707, 1878, 2066, 2272, 2499, 2749, 3024, 3327, 3660, 4026, 4428, 4871, 5358, 5894,
    6484, 7132, 7845, 8630, 9493, 10442, 11487, 12635, 13899, 15289, 16818, 18500, 20350, 22385, 24623, 27086, 29794,
    32767,
))  # fmt: skip
