"""No value in the detector leaves 32 bits, and the chip's machine code finds the same as plain Python and as a PC.

tests/sim/noviper.py checks every operation; tools/bench/realtime.py executes what mpy-cross emits for Xtensa.
"""

import random

import pytest

from bench import realtime
from tests.mpy import DEVICE_PATH, REPO, find_tool, run_micropython
from tests.sim import noviper

SENSING = REPO / "firmware/holdfire_station/sensing"
RATE_HZ = 8000  # half the work of 16000; the widest values are the same but for sums over a hop, tested at both
FULL = (1 << 23) - 1
FIELDS = ("onset_sample", "onset_uncertainty_us", "peak", "peak_sample", "rise_us", "duration_ms", "snr_db10",
          "floor_db10", "zero_crossings", "clipped")


def checked():
    """The modules acoustic and impulse, every operation of their viper functions checked."""
    return noviper.load(SENSING, "checked_sensing", ("acoustic", "impulse"))


def small(rate_hz, **settings):
    """A detector which, besides, sees that the bytecode meets only what is a small int on the ESP32."""
    acoustic = checked()[0]

    class Small(acoustic.Detector):
        def _learn(self, mean, deviation):
            assert self._state[acoustic._BLOCK_SUM] < 1 << 30 and self._state[acoustic._BLOCK_DEV] < 1 << 30
            super()._learn(mean, deviation)
            assert self._state[acoustic._LTA_SUM] < 1 << 30 and self._state[acoustic._DEV_SUM] < 1 << 30
            assert self._state[acoustic._DEV] * self._state[acoustic._DEVIATIONS_Q4] < 1 << 30

    return Small(rate_hz, **settings)


def within_words(detector):
    return min(detector._state) >= 0 and min(detector._work) >= 0


def slots(samples):
    return bytearray(b"".join((v << 8 & 0xFFFFFFFF).to_bytes(4, "little") for v in samples))


def hear(detector, samples):
    """Feed blocks of 256; every impulse as a tuple."""
    found = []
    data = slots(samples)
    for at in range(0, len(data), 1024):
        block = data[at : at + 1024]
        for _ in range(detector.feed(block, len(block) // 4)):
            impulse = detector.take()
            found.append((*(getattr(impulse, name) for name in FIELDS), bytes(impulse.bands)))
    return found


def noise(n, amplitude, seed=1):
    rng = random.Random(seed)
    return [rng.randint(-amplitude, amplitude) for _ in range(n)]


def square(n, half_period):
    return [FULL if (i // half_period) % 2 == 0 else -FULL - 1 for i in range(n)]


EXTREMES = {
    "square of 2 samples": square(RATE_HZ // 2, 1),
    "square of 100 Hz": square(RATE_HZ // 2, 40),
    "square of 5 Hz": square(RATE_HZ // 2, 800),
    "full-scale noise": noise(RATE_HZ // 2, FULL),
    "full-scale DC": [FULL] * (RATE_HZ // 2),
    "negative DC": [-FULL - 1] * (RATE_HZ // 2),
    "alternating after DC": [FULL] * 2000 + square(RATE_HZ // 4, 1),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_an_extreme_after_quiet_stays_in_32_bits(name):
    detector = small(RATE_HZ, longest_ms=250, sta_ms=16, lta_ms=8192, thr_on_deviations=15)
    found = hear(detector, noise(11000, 300) + EXTREMES[name])
    assert len(found) >= 1
    assert within_words(detector)


FROM_THE_START = {
    "square of 2 samples": square(11000, 1),
    "full-scale noise": noise(11000, FULL, 2),
    "square of 40 Hz": square(11000, 100),
    "silence": [0] * 11000,
    "in and out": (square(800, 1) + [0] * 800) * 8,
}


@pytest.mark.parametrize("name", FROM_THE_START)
@pytest.mark.parametrize("lta_ms", [64, 8192])
def test_an_extreme_from_the_start_stays_in_32_bits(name, lta_ms):
    detector = small(RATE_HZ, longest_ms=250, sta_ms=16, lta_ms=lta_ms, thr_on_db10=240)
    hear(detector, FROM_THE_START[name] + square(2500, 1))
    assert within_words(detector)


def test_the_widest_hop_and_the_loudest_event_of_16_khz_stay_in_32_bits():
    detector = small(16000, longest_ms=100, sta_ms=16)
    hear(detector, [FULL] * 1000 + square(4000, 1) + square(4000, 8))
    assert within_words(detector)
    detector = small(16000, longest_ms=100)
    assert hear(detector, noise(21000, 300) + square(2500, 1))
    assert within_words(detector)


def shots():
    samples = noise(11000, 900)
    for at, peak in ((100, 2000000), (900, 1500000), (4000, 12000)):
        samples += noise(at - at // 2, 900, at)
        samples += [max(-FULL, min(FULL, v + round(peak * (1 - i / 5) * 2.718 ** (-i / 5))))
                    for i, v in enumerate(noise(60, 900, peak))]
        samples += noise(2600, 900, at + 1)
    return samples


def test_chip_and_pc_and_plain_python_find_the_same(tmp_path):
    samples = shots()
    plain = checked()[0].Detector(RATE_HZ)
    expected = hear(plain, samples)
    assert len(expected) == 3
    chip = realtime.Chip(find_tool("mpy-cross", "MPY_CROSS")).acoustic.Detector(RATE_HZ)
    assert hear(chip, samples) == expected
    assert list(chip._state) == list(plain._state)
    (tmp_path / "track").write_bytes(slots(samples))
    # Where MicroPython has no native emitter (macOS on ARM) the files are transformed first, and pointers allocate.
    stripped = tmp_path / "holdfire_station/sensing"
    stripped.mkdir(parents=True)
    for source in SENSING.glob("*.py"):
        (stripped / source.name).write_text(noviper.transform(source.read_text()))
    feed = REPO / "tests/firmware/acoustic_feed.py"
    for path, locked in ((DEVICE_PATH, 1), ((tmp_path,), 0)):
        arguments = (tmp_path / "track", 256, f"rate_hz={RATE_HZ}", f"locked={locked}")
        lines = run_micropython(feed, *arguments, path=path).stdout.splitlines()
        rows = [line.split()[1:] for line in lines if line.startswith("impulse")]
        assert [(*map(int, row[:-1]), bytes.fromhex(row[-1])) for row in rows] == expected


def test_indices_go_on_beyond_a_small_int():
    """After 2^24 hops (4.7 hours) the count starts anew; here after 500."""
    acoustic, impulse = checked()
    samples = shots()
    whole = hear(acoustic.Detector(RATE_HZ), samples)
    acoustic.EPOCH_HOPS = impulse.EPOCH_HOPS = 500
    detector = acoustic.Detector(RATE_HZ)
    assert hear(detector, samples) == whole
    assert detector._epoch >= 3
    assert detector.samples_heard == len(samples)
