"""The acoustic detector under MicroPython in a 160 KB heap, on sounds made here. Every `feed` has the heap locked."""

import array
import ast
import collections
import math
import pathlib
import random

import pytest

from tests.mpy import REPO, run_micropython

RATE_HZ = 16000
FEED = pathlib.Path(__file__).with_name("acoustic_feed.py")
SOURCE = REPO / "firmware/holdfire_station/sensing/acoustic.py"
OK, LISTENING, STUCK, TOO_QUIET, TOO_LOUD, CLIPPING = range(6)
Impulse = collections.namedtuple("Impulse", "onset uncertainty_us peak peak_at rise_us duration_ms snr_db10 floor_db10"
                                            " crossings clipped bands")
State = collections.namedtuple("State", "heard dropped floor floor_min floor_max clipped stuck reason ok")


def noise(seconds, rms=800.0, seed=1):
    rng = random.Random(seed)
    return [rng.gauss(0, rms) for _ in range(int(seconds * RATE_HZ))]


def add_shot(track, at, peak=400000.0, tau=6.0, tail=0.03, tail_s=0.03):
    """A Friedlander pulse whose shock is the sample `at`, and a little decaying clutter after it."""
    rng = random.Random(at)
    for i in range(min(3000, len(track) - at)):
        clutter = tail * rng.gauss(0, 1) * math.exp(-i / RATE_HZ / tail_s) if i > 16 else 0.0
        track[at + i] += peak * ((1 - i / tau) * math.exp(-i / tau) + clutter)


@pytest.fixture
def listen(tmp_path):
    """What the detector makes of a track: impulses and its state afterwards."""

    def run(track, block=512, **settings):
        slots = [max(-(1 << 23), min((1 << 23) - 1, round(v))) << 8 for v in track]
        (tmp_path / "track").write_bytes(array.array("i", slots).tobytes())
        lines = run_micropython(FEED, tmp_path / "track", block, *(f"{k}={v}" for k, v in settings.items())).stdout
        rows = [line.split() for line in lines.splitlines()]
        impulses = [Impulse(*map(int, row[1:11]), bytes.fromhex(row[11])) for row in rows if row[0] == "impulse"]
        return impulses, State(*map(int, rows[-1][1:]))

    return run


def test_a_shot_is_one_impulse_timed_to_the_sample(listen):
    track = noise(3)
    add_shot(track, 2 * RATE_HZ + 777)
    [shot], state = listen(track)
    assert abs(shot.onset - (2 * RATE_HZ + 777)) <= 1
    assert 62 <= shot.uncertainty_us <= 250
    assert shot.peak == pytest.approx(400000, rel=0.02)
    assert shot.peak_at == 2 * RATE_HZ + 777
    assert shot.rise_us == (shot.peak_at - shot.onset) * 125 // 2
    assert 20 <= shot.duration_ms <= 200
    assert shot.clipped == 0
    # Gaussian noise of 800 counts, mean |x| 638, is -82.4 dB; the high-passes take 0.1 dB.
    assert shot.floor_db10 == pytest.approx(-824, abs=8)
    assert state.ok and state.reason == OK and state.heard == len(track)


def test_quiet_noise_alone_is_no_impulse(listen):
    impulses, state = listen(noise(20, rms=300))
    assert impulses == []
    assert state.floor == pytest.approx(20 * math.log10(300 * 0.798 / (1 << 23)) * 10, abs=8)
    assert -12 <= state.floor_min - state.floor <= 0 <= state.floor_max - state.floor <= 12


def test_a_loud_shot_weak_shot_and_a_dull_one(listen):
    track = noise(8)
    add_shot(track, 2 * RATE_HZ + 5, peak=8e6)
    add_shot(track, 4 * RATE_HZ + 9, peak=30000)
    add_shot(track, 6 * RATE_HZ + 3, peak=100000, tau=160)
    loud, weak, dull = listen(track)[0]
    assert loud.onset == 2 * RATE_HZ + 5 and loud.peak == pytest.approx(8e6, rel=0.01)
    assert abs(weak.onset - (4 * RATE_HZ + 9)) <= 2
    assert abs(dull.onset - (6 * RATE_HZ + 3)) <= 1
    assert loud.snr_db10 > dull.snr_db10 > weak.snr_db10 > 80
    assert min(loud.bands) < min(weak.bands)
    assert dull.crossings < loud.crossings


def test_a_shot_every_three_seconds_and_an_automatic_burst_are_counted(listen):
    track = noise(14)
    shots = [2 * RATE_HZ + 3 * RATE_HZ * i + 11 * i for i in range(3)]
    rounds = [11 * RATE_HZ + 1600 * i + 7 * i for i in range(10)]
    for at in shots + rounds:
        add_shot(track, at)
    found, state = listen(track, pool=16)
    assert len(found) == 13
    assert all(abs(e.onset - at) <= 1 and e.peak_at == at for e, at in zip(found, shots + rounds, strict=True))


def test_an_echo_belongs_to_its_shot(listen):
    track = noise(4)
    add_shot(track, 2 * RATE_HZ)
    add_shot(track, 2 * RATE_HZ + RATE_HZ // 10, peak=400000 * 0.3)
    [shot], _ = listen(track)
    assert 110 <= shot.duration_ms <= 300


def test_a_peak_long_after_the_onset_is_found(listen):
    track = noise(4)
    add_shot(track, 2 * RATE_HZ, peak=200000, tail=0.4, tail_s=1)
    track[2 * RATE_HZ + 1605] = 300000
    [shot], _ = listen(track)
    assert shot.peak_at == 2 * RATE_HZ + 1605
    assert shot.peak == pytest.approx(300000, rel=0.1)
    assert shot.rise_us == 1605 * 125 // 2


def test_the_length_of_blocks_does_not_matter(listen):
    track = noise(3)
    add_shot(track, 2 * RATE_HZ + 77)
    add_shot(track, 2 * RATE_HZ + 1700)
    results = [listen(track, block=block) for block in (512, 1, 7, 1000, 4096)]
    assert all(result == results[0] for result in results)
    assert len(results[0][0]) == 2


@pytest.mark.parametrize("band, frequency_hz", list(enumerate([5657, 2828, 1414, 707, 354, 177, 75])))
def test_a_tone_shows_in_its_own_octave(listen, band, frequency_hz):
    track = noise(1.6, rms=30)
    for i in range(int(1.4 * RATE_HZ), len(track)):
        track[i] += 2e6 * math.sin(2 * math.pi * frequency_hz * i / RATE_HZ)
    bands = listen(track + track[-RATE_HZ // 2:], longest_ms=300)[0][0].bands
    assert min(range(7), key=lambda k: bands[k]) == band
    # The mean of a rectified sine of 2^23 would be -3.9 dB; this one is 12.5 dB less; the filters take 1 to 3 dB in the
    # middle of an octave. Half-decibels.
    assert 2 * (3.9 + 12.5) - 1 <= bands[band] <= 2 * (3.9 + 12.5 + 3) + 1
    # The edge at the start is broad and so leaks; two octaves away at least 12 dB less.
    assert all(bands[k] >= bands[band] + 24 for k in range(7) if abs(k - band) >= 2)


def test_a_step_in_the_noise_is_one_event_and_becomes_the_floor(listen):
    impulses, state = listen(noise(3) + noise(6, rms=16000, seed=2))
    assert len(impulses) == 1
    assert impulses[0].duration_ms >= 1990
    assert state.floor == pytest.approx(-824 + 260, abs=12)


def test_statistics_start_anew_on_reset(listen):
    track = noise(4, rms=3000, seed=3) + noise(12, rms=600)
    _, state = listen(track)
    _, after = listen(track, reset_at=14 * RATE_HZ)
    assert state.floor_max > after.floor_max + 100
    assert state.floor_min == after.floor_min


@pytest.mark.parametrize(
    "track, reason",
    [
        ([0.0] * RATE_HZ, STUCK),
        ([12345.0] * RATE_HZ, STUCK),
        (noise(2) + [-77.0] * RATE_HZ, STUCK),
        (noise(1), LISTENING),
        (noise(2, rms=3), TOO_QUIET),
        (noise(2, rms=800000), TOO_LOUD),
        ([v + (8388607 if i % 20 == 0 else 0) for i, v in enumerate(noise(2))], CLIPPING),
        (noise(2), OK),
    ],
)
def test_the_self_test_says_what_is_wrong(listen, track, reason):
    _, state = listen(track)
    assert state.reason == reason
    assert state.ok == (reason == OK)
    assert state.stuck == (reason == STUCK)


def test_a_shot_beyond_full_scale_counts_its_clipped_samples(listen):
    track = noise(3)
    add_shot(track, 2 * RATE_HZ, peak=3e7, tau=12)
    [shot], state = listen(track)
    expected = sum(abs(v) >= 8388352 for v in track)
    assert expected > 5 and shot.clipped == expected == state.clipped
    assert shot.peak >= 8300000


def test_impulses_that_nobody_takes_are_counted_not_written_over(listen):
    track = noise(3)
    for i in range(7):
        add_shot(track, 2 * RATE_HZ + 1600 * i)
    impulses, state = listen(track, pool=6, take=0)
    assert [abs(e.onset - (2 * RATE_HZ + 1600 * i)) <= 1 for i, e in enumerate(impulses)] == [True] * 4
    assert state.dropped == 3


def test_it_works_at_8_khz(listen):
    track = noise(6)
    add_shot(track, 30000)
    [shot], state = listen(track, rate_hz=8000)
    assert abs(shot.onset - 30000) <= 1
    assert shot.rise_us == (shot.peak_at - shot.onset) * 125
    assert state.ok


@pytest.mark.parametrize(
    "statement, message",
    [
        ("Detector(rate_hz=44100)", "rate_hz"),
        ("Detector(sta_ms=3)", "sta_ms"),
        ("Detector(lta_ms=10000)", "lta_ms"),
        ("Detector(thr_on_db10=30)", "thr_off_db10"),
        ("Detector(thr_on_deviations=16)", "thr_on_deviations"),
        ("Detector(rearm_ms=40)", "rearm_ms"),
        ("Detector(pool=2)", "pool"),
        ("Detector().feed(bytearray(8), 3)", "shorter"),
    ],
)
def test_wrong_settings_are_refused_by_name(statement, message):
    source = "from holdfire_station.sensing.acoustic import Detector\ntry:\n %s\nexcept ValueError as e:\n print(e)"
    assert message in run_micropython(source % statement).stdout


def test_every_setting_is_documented():
    [detector] = [node for node in ast.parse(SOURCE.read_text()).body if getattr(node, "name", "") == "Detector"]
    init = next(node for node in detector.body if getattr(node, "name", "") == "__init__")
    for argument in init.args.args[1:]:
        assert f"`{argument.arg}`" in ast.get_docstring(detector)


def test_state_and_look_back_stay_small():
    source = """
import gc
from holdfire_station.sensing.acoustic import Detector
gc.collect()
before = gc.mem_alloc()
detector = Detector()
gc.collect()
print(gc.mem_alloc() - before, 4 * (len(detector._ring) + len(detector._state) + len(detector._work)))
"""
    on_this_machine, buffers = map(int, run_micropython(source).stdout.split())
    assert buffers <= 6 * 1024
    assert on_this_machine <= 10 * 1024  # the pool of impulses too, with the pointers of a 64-bit PC
