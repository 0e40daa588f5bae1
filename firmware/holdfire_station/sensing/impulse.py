"""What is measured on one impulse in the look-back ring: onset to the sample, peak, zero crossings, octave bands.

The ring holds 64 hops of 1 ms; when an event is 40 hops old it reaches from 24 ms before the trigger to 40 ms after.
Nothing here decides that there is an impulse (`acoustic.py` does), nor what made it.
"""

import micropython
from micropython import const

from . import levels

HOPS_AFTER_TRIGGER = const(40)
RING_HOPS = const(64)
EPOCH_HOPS = const(0x1000000)  # a sample's index is kept as an epoch and a rest, which is a small int on the ESP32
RING_BIAS = const(0x02000000)  # the ring holds offset-free samples, |h| <= 2^24, as positive numbers

# The octave filter bank in the work array: a level has seven taps and a parity; then sum and number of |v| in each band
_BANDS = const(7)
_SUMS = const(48)
_COUNTS = const(55)
_BANK_SIZE = const(62)
# Results, in samples since the oldest in the ring
_ONSET = const(62)
_EARLIEST = const(63)
_LATEST = const(64)
_PEAK = const(65)
_PEAK_AT = const(66)
_CROSSINGS = const(67)
_SCALE = const(68)  # bits that the samples were shifted down for the filter bank
_LOUDEST = const(69)
WORK_SIZE = const(70)

_BIAS = const(0x02000000)
_FILTER_DELAY = const(2)  # at every level the first two outputs are about the time before the onset
_AIC_NEAR = const(17700)  # 3 nats in 1/4096 bit


@micropython.viper
def _pick(ring_buf, work_buf, at: int, hop: int, search: int, end: int, floor: int):
    """The onset: the split into noise and signal that two Laplace distributions explain best (Maeda's AIC picker with
    |y| in place of squares, which would not fit 32 bits). The signal part ends with the loudest of [search, end). Every
    split whose log likelihood is within `_AIC_NEAR` of the best is a possible onset.

    Far above the noise the split finds the ringing that a digital microphone's decimation filter puts before a shock.
    So where 24 dB below the loudest is still well above the floor, the onset is where |y| first reaches that.
    """
    work = ptr32(work_buf)
    ring = ptr32(ring_buf)
    mask = (hop << 6) - 1
    low_shift = 4 if hop == 16 else 3
    most = 0
    shift = 0
    length = 0
    all_ = 0
    best = 0
    rise = 0
    work[_ONSET] = 0
    work[_EARLIEST] = 0
    sweep = 0
    while sweep < 4:  # loudest; sum; best split; splits nearly as good
        # y is computed again in every sweep: a copy would cost 1.6 KB. The first hop is run-in of the high-pass.
        low = (ring[at] - _BIAS) << low_shift
        lower = 0
        before = 0
        loudest_at = search
        p = 0
        while p < end:
            y = ring[(at + p) & mask] - _BIAS
            y -= low >> low_shift
            low += y
            y -= lower >> low_shift
            lower += y
            if y < 0:
                y = 0 - y
            if sweep == 0:
                if p >= search and y > most:
                    most = y
                    loudest_at = p
            elif p >= hop:
                if sweep == 3 and rise == 0 and p >= work[_ONSET] and y >= most >> 4:
                    rise = p
                y = (y >> shift) + 1
                if sweep == 1:
                    all_ += y
                else:
                    k = p - hop
                    if k >= 8 and (sweep == 2 or p - work[_ONSET] < 64 and work[_ONSET] - p < 64):
                        aic = 0
                        part = 0
                        while part < 4:  # k log(before / k) + (length - k) log(after / (length - k))
                            weight = k if part < 2 else length - k
                            value = weight
                            if part == 0:
                                value = before
                            elif part == 2:
                                value = all_ - before
                            # log2 in 1/4096ths, as levels.log2_q12 does it
                            log2 = 0
                            step = 16
                            while step:
                                if value >> (log2 + step):
                                    log2 += step
                                step >>= 1
                            f = (value >> (log2 - 12) if log2 > 12 else value << (12 - log2)) - 4096
                            g = 1813 - ((f * (1013 - ((f * 341) >> 12))) >> 12)
                            log2 = (log2 << 12) + f + ((((f * (4096 - f)) >> 12) * g) >> 12)
                            if part & 1:
                                log2 = 0 - log2
                            aic += weight * log2
                            part += 1
                        if sweep == 2:
                            if work[_ONSET] == 0 or aic < best:
                                best = aic
                                work[_ONSET] = p
                        elif aic - best < _AIC_NEAR:
                            if work[_EARLIEST] == 0:
                                work[_EARLIEST] = p
                            work[_LATEST] = p
                    before += y
            p += 1
        if sweep == 0:
            end = loudest_at + 1
            length = end - hop
            work[_LOUDEST] = loudest_at
            while most >> (shift + 20):
                shift += 1
        sweep += 1
    if most >> 4 > floor << 2:
        work[_ONSET] = rise


@micropython.viper
def _describe(ring_buf, work_buf, at: int, hop: int, gate: int):
    """Peak, zero crossings beyond +-gate and octave bands, from the onset to the end of the ring (at most 40 hops)."""
    ring = ptr32(ring_buf)
    work = ptr32(work_buf)
    mask = (hop << 6) - 1
    first = work[_ONSET]
    end = first + HOPS_AFTER_TRIGGER * hop
    if end > mask + 1:
        end = mask + 1
    most = 0
    p = first
    while p <= mask:
        x = ring[(at + p) & mask] - _BIAS
        if x < 0:
            x = 0 - x
        if x > most:
            most = x
            work[_PEAK_AT] = p
        p += 1
    work[_PEAK] = most
    # Scaled to 2^20: the half-band filter's gain is at most 36/32 a level, so |v| < 2^21.1 and 320 of them sum < 2^30.
    shift = 0
    while most >> (shift + 20):
        shift += 1
    work[_SCALE] = shift
    p = 0
    while p < _BANK_SIZE:
        work[p] = _BIAS if p < _SUMS else 0
        p += 1
    crossings = 0
    side = 0
    p = first
    while p < end:
        v = ring[(at + p) & mask] - _BIAS
        if v > gate:
            if side < 0:
                crossings += 1
            side = 1
        elif v < 0 - gate:
            if side > 0:
                crossings += 1
            side = 0 - 1
        v >>= shift
        level = 0
        while level < _BANDS - 1:
            line = level << 3
            work[line + 6] = work[line + 5]
            work[line + 5] = work[line + 4]
            work[line + 4] = work[line + 3]
            work[line + 3] = work[line + 2]
            work[line + 2] = work[line + 1]
            work[line + 1] = work[line]
            work[line] = v + _BIAS
            work[line + 7] = work[line + 7] ^ 1
            if work[line + 7] & 1:
                break
            # Half-band low-pass (-1 0 9 16 9 0 -1)/32 and what it leaves
            v = work[line + 3] - _BIAS
            near = work[line + 2] + work[line + 4] - _BIAS - _BIAS
            far = work[line] + work[line + 6] - _BIAS - _BIAS
            low = ((v << 4) + 9 * near - far) >> 5
            v -= low
            if work[_COUNTS + level] >= _FILTER_DELAY:
                work[_SUMS + level] = work[_SUMS + level] + (v if v >= 0 else 0 - v)
            work[_COUNTS + level] = work[_COUNTS + level] + 1
            v = low
            level += 1
        if level == _BANDS - 1:
            if work[_COUNTS + level] >= _FILTER_DELAY:
                work[_SUMS + level] = work[_SUMS + level] + (v if v >= 0 else 0 - v)
            work[_COUNTS + level] = work[_COUNTS + level] + 1
        p += 1
    work[_CROSSINGS] = crossings


class Impulse:
    """One event. Field names are those on the wire; `peak` is in 24-bit counts, `_db10` in tenths of a decibel.

    Levels are mean rectified amplitudes relative to 2^23; the rms of Gaussian noise reads 2.0 dB higher. `bands` are
    the first 40 ms in octaves downwards from half the sampling rate, the last one everything below: at 16 kHz 4-8 kHz,
    2-4 kHz ... 125-250 Hz, 40-125 Hz; each a byte, half-decibels below full scale, 255 for nothing.
    """

    def __init__(self, rate_hz: int):
        self._rate_hz = rate_hz
        self.bands = bytearray(_BANDS)
        self.onset_uncertainty_us = 0
        self.peak = 0
        self.duration_ms = 0
        self.snr_db10 = 0
        self.floor_db10 = 0
        self.zero_crossings = 0
        self.clipped = 0
        self._epoch = 0
        self._start = 0  # first sample of the look-back, in its epoch
        self._onset_at = 0  # onset and peak from there
        self._peak_at = 0

    @property
    def onset_sample(self) -> int:
        """Index since the start of sampling."""
        return self._epoch * EPOCH_HOPS * (self._rate_hz // 1000) + self._start + self._onset_at

    @property
    def peak_sample(self) -> int:
        return self.onset_sample + self._peak_at - self._onset_at

    @property
    def rise_us(self) -> int:
        """From onset to peak."""
        return (self._peak_at - self._onset_at) * 1000 // (self._rate_hz // 1000)

    def measure(self, ring, work, at: int, epoch: int, start: int, sta_hops: int, floor_counts: int):
        """Fill in what the ring tells, `HOPS_AFTER_TRIGGER` hops after the trigger; the oldest sample is `at` there."""
        hop = self._rate_hz // 1000
        trigger = (RING_HOPS - HOPS_AFTER_TRIGGER) * hop
        _pick(ring, work, at, hop, trigger - (sta_hops + 1) * hop, trigger + 2 * hop, floor_counts)
        # A crossing counts between swings beyond four times the mean floor, 3.2 sigma of Gaussian noise.
        _describe(ring, work, at, hop, 4 * floor_counts)
        onset = work[_ONSET]
        self._epoch = epoch
        self._start = start
        self._onset_at = onset
        self._peak_at = work[_PEAK_AT]
        self.peak = work[_PEAK]
        self.zero_crossings = work[_CROSSINGS]
        # A slow rise drowns its beginning: half of it is uncertain whatever the noise.
        width = max(onset - work[_EARLIEST], work[_LATEST] - onset, (work[_LOUDEST] - onset) >> 1) + 1
        self.onset_uncertainty_us = width * 1000 // hop
        scale_db10 = (work[_SCALE] - 23) * 6021 // 100  # from counts of the scaled sample to full scale, 2^23
        for i in range(_BANDS):
            if work[_SUMS + i]:
                level = levels.db10(work[_SUMS + i], work[_COUNTS + i] - _FILTER_DELAY) + scale_db10
                self.bands[i] = levels.half_decibels_below(level)
            else:
                self.bands[i] = 255

    def close(self, loud_hops: int, later_peak: int, later_peak_at: int):
        """The event is over: loud until `loud_hops` after the trigger; a higher peak may have come after `measure`."""
        hop = self._rate_hz // 1000
        trigger = (RING_HOPS - HOPS_AFTER_TRIGGER) * hop
        self.duration_ms = (trigger + loud_hops * hop - self._onset_at) // hop
        if later_peak > self.peak:
            self.peak = later_peak
            self._peak_at = trigger + later_peak_at
