"""Impulsive sounds in a stream of samples: STA/LTA over an adaptive noise floor, integers only, nothing allocated.

    detector = Detector()
    while True:
        n = await microphone.readinto(buf) // 4
        if detector.feed(buf, n):
            impulse = detector.take()

It says that something rose sharply above the noise, when, and what it looked like. A slammed door and a barking dog do
that too: what made the sound is for others to judge, from the features and from other stations.

Samples lose their offset (high-pass at 40 Hz: h) and, for the trigger only, their rumble (two more at 160 Hz: y). Each
hop of 1 ms gives one mean |y|. STA is the mean of the last `sta_ms` hops, LTA follows the hops outside events, so an
event does not raise the floor it is measured against. An event begins when STA stands out from LTA, by a ratio that
grows with the spread of the noise itself, and from the last 64 ms. It is over when STA/LTA has stayed below `thr_off`
for `quiet_ms`. Names after obspy's `trigger_onset`.
"""

from array import array

import micropython
from micropython import const

from . import levels
from .impulse import EPOCH_HOPS, HOPS_AFTER_TRIGGER, RING_HOPS, WORK_SIZE, Impulse

# Reasons that `self_test` gives
OK = const(0)
LISTENING = const(1)  # too short a time since the start to know the floor
STUCK = const(2)  # the same sample over and over: cut, unpowered or wrongly wired
TOO_QUIET = const(3)  # floor below what a live microphone's own noise gives: muffled or failing
TOO_LOUD = const(4)  # floor so high that distant impulses cannot stand out
CLIPPING = const(5)  # more than one sample in a hundred at full scale

# Where things are in the state array
_DC = const(0)
_LOW = const(1)
_LOWER = const(2)
_PREVIOUS = const(3)
_FILL = const(4)
_HOP_SUM = const(5)
_HOP_CHANGED = const(6)
_HOP_CLIPPED = const(7)
_HOP_PEAK = const(8)
_HOP_PEAK_AT = const(9)
_RING_AT = const(10)
_HOPS = const(11)  # since the start of the epoch
_SETTLE = const(12)  # hops still to ignore after the start
_STA_SUM = const(13)
_STA = const(14)
_MTA = const(15)  # 16 * mean over about 64 hops: how the last round decays, how a gust grows
_LTA = const(16)
_LTA_SUM = const(17)
_DEV = const(18)  # mean of |STA - LTA|
_DEV_SUM = const(19)
_RATIO_Q4 = const(20)  # STA over LTA that triggers, in sixteenths
_BLOCKS = const(21)  # of 64 hops that went into LTA and DEV so far
_BLOCK_HOPS = const(22)
_BLOCK_SUM = const(23)
_BLOCK_DEV = const(24)
_ACTION = const(25)  # why `_scan` stopped
_IN_EVENT = const(26)
_AGE = const(27)  # hops since the trigger
_LOUD_AGE = const(28)  # age of the last hop above the off threshold
_EVENT_STA = const(29)
_EVENT_PEAK = const(30)
_EVENT_PEAK_AT = const(31)  # samples since the trigger
_EVENT_CLIPPED = const(32)
_LAST_CLIPPED = const(33)  # full-scale samples in the last whole hop
_FLAT_HOPS = const(34)
_CLIPPED = const(35)
_FLOOR_LEAST = const(36)
_FLOOR_MOST = const(37)
_STATISTICS_HOPS = const(38)
# Settings, written once
_HOP = const(39)  # samples in a hop
_HOP_SHIFT = const(40)
_DC_SHIFT = const(41)
_STA_SHIFT = const(42)
_LTA_LENGTH = const(43)
_ON_Q4 = const(44)
_OFF_Q4 = const(45)
_DEVIATIONS_Q4 = const(46)
_LEVEL_LEAST = const(47)
_REARM_HOPS = const(48)
_QUIET_HOPS = const(49)
_LONGEST_HOPS = const(50)
_STA_RING = const(51)  # up to 16 hops
_STATE_SIZE = const(67)

# What `_scan` stopped for
_TRIGGERED = const(1)
_ANALYSE = const(2)
_ENDED = const(3)
_NEXT_ROUND = const(4)
_TOO_LONG = const(5)
_LEARN = const(6)

_BIAS = const(0x20000000)
_RING_BIAS = const(0x02000000)  # impulse.RING_BIAS
_FULL_SCALE = const(0x7FFF00)  # 16-bit converters and WAV files clip at 32767 << 8
_M_MOST = const(0x3FFFFFF)
_LTA_MOST = const(0x3FFFFF)
_COUNT_MOST = const(0x1FFFFFFF)
_ANALYSE_HOPS = const(40)  # impulse.HOPS_AFTER_TRIGGER
_SETTLE_HOPS = const(250)  # power-on transient of a microphone and of the high-passes
_BLOCKS_TO_ARM = const(16)  # 1 s
_M_FULL_SCALE = const(0x2000000)  # of 4 * mean |y|

# Numbers. Viper ints are 32 bits on Xtensa and 64 on a PC, where `ptr32` also loads without sign. So whatever may be
# negative is stored with a bias, nothing relies on wrap-around, and every value is bounded (for |x| <= 2^23):
#
#     dc   = 64 * running mean: dc += x - dc/64 keeps |dc| <= 2^29        no offset  h = x - dc/64    |h| <= 2^24
#     low  = 16 * running mean of h, likewise |low| <= 2^28, and again                                |lower| <= 2^29
#                                                                         no rumble                   |y| <= 2^26
#     hop  = sum of |y| over 1 ms, at most 16 samples                     <= 2^30
#     m    = 4 * mean |y| over the hop, saturated                         < 2^26, that is 2^24 counts
#     sta  = mean of at most 16 of m                                      sum < 2^30
#     lta  = mean of m, saturated 18 dB under full scale; so dev and mta  < 2^22; sum of 128 < 2^29; * ratio < 2^30
#
# tests/firmware/test_acoustic_bounds.py runs the code with every operation checked against 32 bits.


@micropython.viper
def _scan(state_buf, ring_buf, samples, start: int, n: int) -> int:
    """Process samples[start:n]. Returns n, or earlier the place after a hop that needs the caller (see `_ACTION`)."""
    s = ptr32(state_buf)
    ring = ptr32(ring_buf)
    b = ptr8(samples)
    dc = s[_DC] - _BIAS
    low = s[_LOW] - _BIAS
    lower = s[_LOWER] - _BIAS
    dc_shift = s[_DC_SHIFT]
    low_shift = dc_shift - 2
    hop = s[_HOP]
    mask = (hop << 6) - 1
    at = s[_RING_AT]
    previous = s[_PREVIOUS]
    fill = s[_FILL]
    total = s[_HOP_SUM]
    changed = s[_HOP_CHANGED]
    clipped = s[_HOP_CLIPPED]
    peak = s[_HOP_PEAK]
    peak_at = s[_HOP_PEAK_AT]
    i = start
    action = 0
    while i < n and action == 0:
        stop = i + hop - fill
        if stop > n:
            stop = n
        while i < stop:
            j = i << 2
            raw = b[j + 1] | (b[j + 2] << 8) | (b[j + 3] << 16)
            changed |= raw ^ previous
            previous = raw
            x = (raw ^ 0x800000) - 0x800000
            if x >= _FULL_SCALE or x <= 0 - _FULL_SCALE:
                clipped += 1
            x -= dc >> dc_shift
            dc += x
            ring[at] = x + _RING_BIAS
            at = (at + 1) & mask
            y = x - (low >> low_shift)
            low += y
            y -= lower >> low_shift
            lower += y
            total += y if y >= 0 else 0 - y
            if x < 0:
                x = 0 - x
            if x > peak:
                peak = x
                peak_at = fill
            fill += 1
            i += 1
        if fill == hop:
            m = total >> s[_HOP_SHIFT]
            if m > _M_MOST:
                m = _M_MOST
            hops = s[_HOPS] + 1
            s[_HOPS] = hops
            if s[_STATISTICS_HOPS] < _COUNT_MOST:
                s[_STATISTICS_HOPS] = s[_STATISTICS_HOPS] + 1
            if s[_CLIPPED] < _COUNT_MOST:
                s[_CLIPPED] = s[_CLIPPED] + clipped
            if changed:
                s[_FLAT_HOPS] = 0
            elif s[_FLAT_HOPS] < _COUNT_MOST:
                s[_FLAT_HOPS] = s[_FLAT_HOPS] + 1
            slot = _STA_RING + (hops & ((1 << s[_STA_SHIFT]) - 1))
            sum_ = s[_STA_SUM] + m - s[slot]
            s[slot] = m
            s[_STA_SUM] = sum_
            sta = sum_ >> s[_STA_SHIFT]
            s[_STA] = sta
            lta = s[_LTA]
            mta = s[_MTA] >> 4
            # A sound must stand out from the floor and from what was there just before: from a gust, which grows as
            # much but not within 64 ms, and from the decay of the last round.
            rises = 1 if sta << 4 > (lta if lta > mta else mta) * s[_RATIO_Q4] else 0
            if s[_IN_EVENT]:
                age = s[_AGE] + 1
                s[_AGE] = age
                # A new round inside an event also comes within 6 dB of the loudest; echoes seldom do.
                if rises and age >= s[_REARM_HOPS] and sta << 1 >= s[_EVENT_STA]:
                    action = _NEXT_ROUND
                else:
                    s[_EVENT_CLIPPED] = s[_EVENT_CLIPPED] + clipped
                    if peak > s[_EVENT_PEAK]:
                        s[_EVENT_PEAK] = peak
                        s[_EVENT_PEAK_AT] = (age - 1) * hop + peak_at
                    if sta > s[_EVENT_STA]:
                        s[_EVENT_STA] = sta
                    if sta << 4 >= lta * s[_OFF_Q4]:
                        s[_LOUD_AGE] = age
                    if age == _ANALYSE_HOPS:
                        action = _ANALYSE
                    elif age >= s[_LONGEST_HOPS]:
                        action = _TOO_LONG
                    elif age >= s[_REARM_HOPS] and age - s[_LOUD_AGE] >= s[_QUIET_HOPS]:
                        action = _ENDED
            elif s[_SETTLE]:
                s[_SETTLE] = s[_SETTLE] - 1
            elif rises and s[_BLOCKS] >= _BLOCKS_TO_ARM and sta >= s[_LEVEL_LEAST]:
                action = _TRIGGERED
            else:
                # One loud hop may not lift the floor by itself: it counts at most four times the floor.
                cap = (lta << 2) + 64
                if s[_BLOCKS] == 0 or cap > 0xFFFFFF:
                    cap = 0xFFFFFF
                s[_BLOCK_SUM] = s[_BLOCK_SUM] + (m if m < cap else cap)
                deviation = sta - lta if sta > lta else lta - sta
                s[_BLOCK_DEV] = s[_BLOCK_DEV] + (deviation if deviation < cap else cap)
                s[_BLOCK_HOPS] = s[_BLOCK_HOPS] + 1
                if s[_BLOCK_HOPS] == 64:
                    action = _LEARN
            s[_MTA] = s[_MTA] + ((((m if m < _LTA_MOST else _LTA_MOST) << 4) - s[_MTA]) >> 6)
            s[_LAST_CLIPPED] = clipped
            fill = 0
            total = 0
            changed = 0
            clipped = 0
            peak = 0
    s[_DC] = dc + _BIAS
    s[_LOW] = low + _BIAS
    s[_LOWER] = lower + _BIAS
    s[_RING_AT] = at
    s[_PREVIOUS] = previous
    s[_FILL] = fill
    s[_HOP_SUM] = total
    s[_HOP_CHANGED] = changed
    s[_HOP_CLIPPED] = clipped
    s[_HOP_PEAK] = peak
    s[_HOP_PEAK_AT] = peak_at
    s[_ACTION] = action
    return i


class Detector:
    """Samples in, impulses out. Settings (defaults reasoned in README.md beside this file):

    `rate_hz`           16000 or 8000
    `sta_ms`            short-term average: 1, 2, 4, 8 or 16
    `lta_ms`            time constant of the noise floor, 64 to 8192
    `thr_on_db10`       STA over LTA that begins an event,
    `thr_on_deviations` and how many mean deviations of STA it must lie above LTA: the more the noise swings, the more
    `thr_off_db10`      STA over LTA below which an event is quiet
    `level_min_db10`    STA that an event needs whatever the floor, re full scale
    `rearm_ms`          shortest time from one onset to the next; at least 41
    `quiet_ms`          below `thr_off` for so long ends the event; echoes within belong to it
    `longest_ms`        then an event is cut and its level becomes the new floor
    `stuck_ms`          so long without any change in the samples is a dead microphone
    `floor_low_db10`, `floor_high_db10`    the floor's band for the self-test, re full scale
    `pool`              impulses that can wait, plus two
    """

    def __init__(self, rate_hz=16000, sta_ms=4, lta_ms=4096, thr_on_db10=80, thr_on_deviations=12, thr_off_db10=50,
                 level_min_db10=-750, rearm_ms=60, quiet_ms=150, longest_ms=2000, stuck_ms=500, floor_low_db10=-1000,
                 floor_high_db10=-300, pool=8):
        if rate_hz not in (8000, 16000):
            raise ValueError("rate_hz must be 8000 or 16000")
        if sta_ms not in (1, 2, 4, 8, 16):
            raise ValueError("sta_ms must be 1, 2, 4, 8 or 16")
        if not 64 <= lta_ms <= 8192:
            raise ValueError("lta_ms must be 64 to 8192")
        if not 0 <= thr_off_db10 <= thr_on_db10 <= 240:
            raise ValueError("thresholds must be 0 <= thr_off_db10 <= thr_on_db10 <= 240")
        if not 0 <= thr_on_deviations <= 15:
            raise ValueError("thr_on_deviations must be 0 to 15")
        if not HOPS_AFTER_TRIGGER < rearm_ms <= longest_ms <= 10000:
            raise ValueError("need 40 < rearm_ms <= longest_ms <= 10000")
        if pool < 3:
            raise ValueError("pool must be at least 3")
        hop = rate_hz // 1000
        self.events_dropped = 0  # impulses found while no place was free
        self._stuck_ms = stuck_ms
        self._floor_low_db10 = floor_low_db10
        self._floor_high_db10 = floor_high_db10
        self._epoch = 0
        self._waiting = 0
        self._next = 0
        self._pool = [Impulse(rate_hz) for _ in range(pool)]
        self._work = array("i", bytes(4 * WORK_SIZE))
        self._ring = array("i", [_RING_BIAS] * (RING_HOPS * hop))
        state = array("i", bytes(4 * _STATE_SIZE))
        state[_DC] = state[_LOW] = state[_LOWER] = _BIAS
        state[_SETTLE] = _SETTLE_HOPS
        state[_HOP] = hop
        state[_HOP_SHIFT] = 2 if hop == 16 else 1
        state[_DC_SHIFT] = 6 if hop == 16 else 5
        while 1 << state[_STA_SHIFT] < sta_ms:
            state[_STA_SHIFT] += 1
        state[_LTA_LENGTH] = lta_ms // 64
        state[_ON_Q4] = levels.amplitude_at(thr_on_db10, 16)
        state[_DEVIATIONS_Q4] = thr_on_deviations << 4
        state[_RATIO_Q4] = state[_ON_Q4]
        state[_OFF_Q4] = levels.amplitude_at(thr_off_db10, 16)
        state[_LEVEL_LEAST] = levels.amplitude_at(level_min_db10, _M_FULL_SCALE)
        state[_REARM_HOPS] = rearm_ms
        state[_QUIET_HOPS] = quiet_ms
        state[_LONGEST_HOPS] = longest_ms
        self._state = state
        self.reset_statistics()

    def feed(self, buf, n: int) -> int:
        """Take n slots of 32 bits, little-endian, the sample in the upper 24, from a bytearray (or memoryview of one),
        as machine.I2S delivers. Returns how many impulses wait for `take`."""
        if len(buf) < 4 * n:
            raise ValueError("buf is shorter than n 32-bit slots: pass a bytearray")
        state = self._state
        i = 0
        while i < n:
            i = _scan(state, self._ring, buf, i, n)
            action = state[_ACTION]
            if action == _TRIGGERED:
                self._begin()
            elif action == _ANALYSE:
                self._measure()
            elif action == _LEARN:
                self._learn(state[_BLOCK_SUM] >> 6, state[_BLOCK_DEV] >> 6)
            elif action:
                self._end(action)
                if action == _NEXT_ROUND:
                    self._begin()
                elif action == _TOO_LONG and state[_MTA] >> 4 > state[_LTA]:
                    # Not an impulse but a new, louder background: take its level as the floor at once.
                    state[_LTA] = state[_MTA] >> 4
                    state[_LTA_SUM] = state[_LTA] * state[_BLOCKS]
        if state[_HOPS] >= EPOCH_HOPS and not state[_IN_EVENT]:
            state[_HOPS] -= EPOCH_HOPS
            self._epoch += 1
        return self._waiting

    def take(self):
        """The oldest waiting Impulse, or None. The object is reused: it is valid until the next `take`."""
        if not self._waiting:
            return None
        self._waiting -= 1
        return self._pool[(self._next - self._waiting - 1) % len(self._pool)]

    def _learn(self, mean: int, deviation: int):
        """Another 64 hops without an event: the floor, how far it swings, and the threshold from both."""
        state = self._state
        mean = min(mean, _LTA_MOST)
        deviation = min(deviation, _LTA_MOST)
        state[_BLOCK_HOPS] = state[_BLOCK_SUM] = state[_BLOCK_DEV] = 0
        if state[_BLOCKS] < state[_LTA_LENGTH]:
            state[_BLOCKS] += 1
        else:
            mean -= state[_LTA]
            deviation -= state[_DEV]
        state[_LTA_SUM] += mean
        state[_DEV_SUM] += deviation
        lta = state[_LTA_SUM] // state[_BLOCKS]
        state[_LTA] = lta
        state[_DEV] = state[_DEV_SUM] // state[_BLOCKS]
        ratio_q4 = 16 + state[_DEV] * state[_DEVIATIONS_Q4] // (lta + 1)
        state[_RATIO_Q4] = min(max(ratio_q4, state[_ON_Q4]), 255)
        state[_FLOOR_LEAST] = min(lta, state[_FLOOR_LEAST])
        state[_FLOOR_MOST] = max(lta, state[_FLOOR_MOST])

    def _begin(self):
        state = self._state
        state[_IN_EVENT] = 1
        state[_AGE] = state[_LOUD_AGE] = 0
        state[_EVENT_STA] = state[_STA]
        state[_EVENT_PEAK] = 0
        state[_EVENT_CLIPPED] = state[_LAST_CLIPPED]

    def _measure(self):
        state = self._state
        self._pool[self._next].measure(
            self._ring, self._work, state[_RING_AT], self._epoch, (state[_HOPS] - RING_HOPS) * state[_HOP],
            1 << state[_STA_SHIFT], state[_LTA] >> 2)

    def _end(self, action: int):
        state = self._state
        state[_IN_EVENT] = 0
        if action == _NEXT_ROUND and state[_EVENT_PEAK_AT] >= (state[_AGE] - (1 << state[_STA_SHIFT])) * state[_HOP]:
            state[_EVENT_PEAK] = 0  # that peak is the next round's: it took some hops to be recognised
        if self._waiting > len(self._pool) - 3:  # one is being written, one may still be read
            self.events_dropped += 1
            return
        impulse = self._pool[self._next]
        impulse.close(state[_LOUD_AGE], state[_EVENT_PEAK], state[_EVENT_PEAK_AT])
        impulse.floor_db10 = self.floor_db10
        impulse.snr_db10 = levels.db10(state[_EVENT_STA], max(state[_LTA], 1))
        impulse.clipped = state[_EVENT_CLIPPED]
        self._next = (self._next + 1) % len(self._pool)
        self._waiting += 1

    # ---- for who keeps the sound itself

    @property
    def ring(self):
        """The last 64 hops, without offset: each sample and 0x02000000."""
        return self._ring

    @property
    def ring_at(self) -> int:
        """Where the next sample goes in `ring`: the oldest is there now."""
        return self._state[_RING_AT]

    @property
    def hop(self) -> int:
        """Samples in a hop of 1 ms."""
        return self._state[_HOP]

    # ---- what the heartbeat reports

    @property
    def samples_heard(self) -> int:
        state = self._state
        return (self._epoch * EPOCH_HOPS + state[_HOPS]) * state[_HOP] + state[_FILL]

    @property
    def floor_db10(self) -> int:
        return levels.db10(max(self._state[_LTA], 1), _M_FULL_SCALE)

    @property
    def floor_min_db10(self) -> int:
        """Lowest floor since `reset_statistics`."""
        return levels.db10(max(self._state[_FLOOR_LEAST], 1), _M_FULL_SCALE)

    @property
    def floor_max_db10(self) -> int:
        return levels.db10(max(self._state[_FLOOR_MOST], 1), _M_FULL_SCALE)

    @property
    def clipped(self) -> int:
        """Full-scale samples since `reset_statistics`."""
        return self._state[_CLIPPED]

    @property
    def stuck(self) -> bool:
        return self._state[_FLAT_HOPS] >= self._stuck_ms

    def reset_statistics(self):
        state = self._state
        state[_FLOOR_LEAST] = state[_LTA] if state[_BLOCKS] else _LTA_MOST
        state[_FLOOR_MOST] = state[_LTA]
        state[_CLIPPED] = state[_STATISTICS_HOPS] = 0

    def self_test(self) -> tuple:
        """(whether this microphone can be trusted to hear, the reason code)."""
        state = self._state
        reason = OK
        if self.stuck:
            reason = STUCK
        elif state[_BLOCKS] < _BLOCKS_TO_ARM:
            reason = LISTENING
        elif state[_CLIPPED] // state[_HOP] * 100 > state[_STATISTICS_HOPS]:
            reason = CLIPPING
        elif self.floor_db10 < self._floor_low_db10:
            reason = TOO_QUIET
        elif self.floor_db10 > self._floor_high_db10:
            reason = TOO_LOUD
        return reason == OK, reason
