"""The clock's claims: it believes only what agrees, follows pulses, and its stated uncertainty covers its error."""

import random

from holdfire_station.clock import Clock, Monotonic

UTC0_S = 1_795_000_000


class Crystal:
    """True UTC against a crystal `ppm` fast: what the test knows and the clock must find out."""

    def __init__(self, ppm):
        self.ppm = ppm

    def monotonic_us(self, utc_us):
        since_us = utc_us - UTC0_S * 1_000_000
        return 5_000_000 + since_us + since_us * self.ppm // 1_000_000


def run_pulses(clock, crystal, seconds, start_s=0, jitter_us=lambda: 0):
    for second in range(start_s, start_s + seconds):
        utc_us = (UTC0_S + second) * 1_000_000
        clock.on_pulse(crystal.monotonic_us(utc_us) + jitter_us())
        clock.on_fix(UTC0_S + second, crystal.monotonic_us(utc_us + 250_000))


def error_us(clock, crystal, second):
    utc_us = (UTC0_S + second) * 1_000_000 + 400_000
    source, told_us, uncertainty_us = clock.utc(crystal.monotonic_us(utc_us))
    return source, told_us - utc_us, uncertainty_us


def test_time_is_unknown_until_three_fixes_agree():
    clock, crystal = Clock(), Crystal(0)
    run_pulses(clock, crystal, 3)
    assert clock.utc(10_000_000) == (0, 0, 0xFFFFFFFF)
    run_pulses(clock, crystal, 1, start_s=3)
    assert clock.utc(10_000_000)[0] == 4


def test_stated_uncertainty_covers_the_error_with_pulses_late_at_random():
    for seed in range(20):
        rng = random.Random(seed)
        crystal = Crystal(rng.randint(-35, 35))
        clock = Clock()
        for second in range(300):
            run_pulses(clock, crystal, 1, second, lambda rng=rng: int(rng.expovariate(1 / 300)))
            source, error, uncertainty = error_us(clock, crystal, second)
            assert source == 0 or abs(error) <= uncertainty, (seed, second, error, uncertainty)
        assert uncertainty < 5_000


def test_free_running_says_crystal_and_stays_within_its_claim_for_a_day():
    for ppm in (-30, 0, 30):
        clock, crystal = Clock(), Crystal(ppm)
        run_pulses(clock, crystal, 200)
        for hours in (1, 6, 24):
            source, error, uncertainty = error_us(clock, crystal, 200 + hours * 3600)
            assert source == 1
            assert abs(error) <= uncertainty <= 24 * 3600 * 40


def test_a_rate_learnt_from_pulses_keeps_time_better_than_the_bare_crystal():
    clock, crystal = Clock(), Crystal(20)
    run_pulses(clock, crystal, 400)
    _, error, _ = error_us(clock, crystal, 400 + 3600)
    assert abs(error) < 3600 * 20 // 10  # a tenth of what the crystal alone would miss


def test_sentences_without_pulses_give_half_a_second_of_uncertainty():
    clock, crystal = Clock(), Crystal(0)
    for second in range(6):
        clock.on_fix(UTC0_S + second, crystal.monotonic_us((UTC0_S + second) * 1_000_000 + 180_000))
    source, error, uncertainty = error_us(clock, crystal, 5)
    assert source == 3 and abs(error) <= uncertainty < 600_000


def test_a_leap_of_the_sky_is_refused_and_counted_until_it_persists():
    clock, crystal = Clock(), Crystal(0)
    run_pulses(clock, crystal, 30)
    for second in range(30, 36):  # a spoofer an hour ahead
        clock.on_pulse(crystal.monotonic_us((UTC0_S + second) * 1_000_000))
        clock.on_fix(UTC0_S + second + 3600, crystal.monotonic_us((UTC0_S + second) * 1_000_000 + 250_000))
    source, error, uncertainty = error_us(clock, crystal, 36)
    assert abs(error) <= uncertainty and clock.rejected >= 6


def test_a_time_before_holdfire_existed_is_refused():
    clock, crystal = Clock(), Crystal(0)
    for second in range(20):
        clock.on_fix(946_684_800 + second, crystal.monotonic_us((UTC0_S + second) * 1_000_000))
    assert clock.utc(10_000_000)[0] == 0 and clock.rejected == 20


def test_a_beacon_gives_time_within_its_round_trip_and_never_worsens_gnss():
    clock = Clock()
    true_utc_at_arrival_us = 1_795_000_000_000_000
    for signed_ago_us in (0, 1_000_000, 2_000_000):  # it was signed at any moment of the round trip
        clock = Clock()
        clock.on_beacon(true_utc_at_arrival_us - signed_ago_us, 1000, 10_000_000, 12_000_000)
        source, told_us, uncertainty_us = clock.utc(12_000_000)
        assert source == 2 and abs(told_us - true_utc_at_arrival_us) <= uncertainty_us
    crystal = Crystal(0)
    clock = Clock()
    run_pulses(clock, crystal, 10)
    clock.on_beacon((UTC0_S + 100) * 1_000_000, 1000, 10_000_000, 12_000_000)
    assert clock.utc(12_000_000)[0] == 4


def test_a_time_too_uncertain_to_state_is_not_stated():
    clock = Clock()
    clock.on_beacon(1_795_000_000_000_000, 1000, 0, 36_000_000_000)  # held back ten hours
    assert clock.utc(36_000_000_000) == (0, 0, 0xFFFFFFFF)
    clock.on_beacon(1_795_000_000_000_000, 1000, 36_000_000_000, 36_001_000_000)
    assert clock.utc(36_001_000_000)[0] == 2
    assert clock.utc(36_001_000_000 + 4 * 365 * 86_400_000_000) == (0, 0, 0xFFFFFFFF)


def test_uncertainty_covers_a_beacon_held_back_at_will():
    for held_s in (0, 1, 60, 3600):
        for ppm in (-35, 35):
            clock = Clock()
            sent_us, at_us = 0, held_s * (1_000_000 + ppm)
            signed_utc_us = 1_795_000_000_000_000
            true_utc_us = signed_utc_us + held_s * 1_000_000
            clock.on_beacon(signed_utc_us, 1000, sent_us, at_us)
            _, told_us, uncertainty_us = clock.utc(at_us)
            assert abs(told_us - true_utc_us) <= uncertainty_us


class WrappingTicks:
    """ticks_us as on the chip: wraps at 2**30."""

    def __init__(self):
        self.true_us = 0

    def ticks_us(self):
        return self.true_us & 0x3FFFFFFF

    def ticks_diff(self, end, start):
        return ((end - start + 0x20000000) & 0x3FFFFFFF) - 0x20000000


def test_monotonic_time_does_not_wrap():
    ticks = WrappingTicks()
    monotonic = Monotonic(ticks)
    for _ in range(1000):
        ticks.true_us += 123_456_789
        assert monotonic.us() == ticks.true_us
    earlier = ticks.ticks_us()
    ticks.true_us += 900_000
    assert monotonic.at(earlier) == ticks.true_us - 900_000
