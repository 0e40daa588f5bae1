"""The last three seconds of sound, so far reduced that no word can be made out, in 3.2 KB.

    history = History(detector)
    history.feed(256)                      # after each detector.feed of so many samples
    history.copy(first_block, count)       # bytes of blocks of 32 ms

What is kept. From the detector's own look-back ring (offset-free samples) a filter of 16 ms makes 1,000 samples a
second: flat to about 150 Hz, -6 dB at 330 Hz, and from 500 Hz on at least 60 dB down. A boom, a launch, an engine keep
their shape; of speech the voice's pitch and part of the first formant stay. ANSI S3.5-1997 gives the octave at 250 Hz
6 % of what makes words intelligible, those above the rest: that someone spoke can be heard, and how high the voice is,
but not what was said.

Then each 32 samples as a common exponent and 32 signed bytes: an error 40 dB below the sound, or less. Coding without
any error takes 0.9 to 1.7 times as much and, being of no fixed size, cannot be kept in a ring. ADPCM, with 4 bits a
sample, takes half, and its error is 5 to 18 dB below the sound only: so few samples a second leave little to predict
from. (tools/bench clips measures all three.)

Not here: which piece is worth keeping, and where to (`clips.py`).
"""

import math
from array import array

import micropython
from micropython import const

BLOCK_SAMPLES = const(32)
BLOCK_BYTES = const(33)
BLOCKS = const(96)  # 3.07 s
RATE_HZ = const(1000)
_CUT_HZ = const(330)
_FILTER_HOPS = const(16)  # of 1 ms: with the 32 that one feed may bring still inside the detector's ring of 64
_TWO_BIASES = const(0x04000000)  # of two values in the detector's ring
_COEF_BIAS = const(8192)

# Numbers (viper ints are 32 bits on Xtensa; all bounds for the detector's |h| <= 2^24):
#     pair of samples >> 9         <= 2^16
#     sum with half the filter     2^16 * 22,400 (sum of its magnitudes, checked below) < 2^31
#     sample = sum >> 14           saturated to 16 bits: 2^15 is full scale


@micropython.viper
def _reduce(state_buf, ring_buf, coefs_buf, out_buf, at: int, hop: int, hops: int):
    """Filter, decimate and encode the newest `hops` of the detector's ring, whose next place is `at`."""
    state = ptr32(state_buf)
    ring = ptr32(ring_buf)
    coefs = ptr16(coefs_buf)
    out = ptr8(out_buf)
    mask = (hop << 6) - 1
    half = hop << 3
    place = state[0]
    end = at - (hops - 1) * hop
    while hops > 0:
        low = end - (half << 1)
        high = end - 1
        total = 0
        i = 0
        while i < half:  # two at a time: the loop itself costs as much as a tap
            total += ((ring[low & mask] + ring[high & mask] - _TWO_BIASES) >> 9) * (coefs[i] - _COEF_BIAS)
            low += 2
            high -= 2
            i += 2
            total += ((ring[(low - 1) & mask] + ring[(high + 1) & mask] - _TWO_BIASES) >> 9) * (
                coefs[i - 1] - _COEF_BIAS
            )
        y = total >> 14
        if y > 32767:
            y = 32767
        elif y < -32767:
            y = -32767
        within = place & 31
        state[1 + within] = y + 32768
        if within == 31:
            peak = 0
            i = 1
            while i <= 32:
                y = state[i] - 32768
                if y < 0:
                    y = 0 - y
                if y > peak:
                    peak = y
                i += 1
            exponent = 0
            while peak >> exponent > 127:
                exponent += 1
            base = (place >> 5) * BLOCK_BYTES
            out[base] = exponent
            i = 1
            while i <= 32:
                y = (state[i] - 32768 + ((1 << exponent) >> 1)) >> exponent
                if y > 127:
                    y = 127
                out[base + i] = y & 0xFF
                i += 1
        place += 1
        if place == BLOCKS * BLOCK_SAMPLES:
            place = 0
        end += hop
        hops -= 1
    state[0] = place


class History:
    """`blocks`: how many were begun since the start; the newest BLOCKS less one of them can be copied."""

    def __init__(self, detector):
        self._detector = detector
        self.hop = detector.hop
        self._coefs = _filter(self.hop)
        self._state = array("i", [0] * (1 + BLOCK_SAMPLES))  # place in the ring; the block that is being filled
        self._ring = bytearray(BLOCKS * BLOCK_BYTES)
        self._samples = 0  # of the block that is being filled
        self.blocks = 0  # whole ones

    def feed(self, samples: int) -> None:
        """Take the samples that the detector was fed last; whole hops, 32 at most."""
        hops = samples // self.hop
        detector = self._detector
        _reduce(self._state, detector.ring, self._coefs, self._ring, detector.ring_at, self.hop, hops)
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
