"""WAV files and synthesised sounds become samples without anything added or lost."""

import math
import struct
import sys
import wave
from array import array

import pytest

from simulate import sound
from simulate.station import wav_sound


def write_wav(path, rate, width, channels, frames):
    """frames: tuples of signed whole numbers of `width` bytes (the file itself holds 8 bits with an offset)."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        for frame in frames:
            for value in frame:
                file.writeframes(bytes([value + 128]) if width == 1 else value.to_bytes(width, "little", signed=True))
    return path


def counts(raw: bytes) -> list[int]:
    slots = array("i", raw)
    if sys.byteorder == "big":
        slots.byteswap()
    assert all(slot & 0xFF == 0 for slot in slots)
    return [slot >> 8 for slot in slots]


@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_wav_file_at_the_microphones_rate_is_kept_bit_by_bit(tmp_path, width):
    top = 1 << (8 * width - 1)
    values = [0, 1, -1, 5, top - 1, -top, top // 3, -top // 7]
    path = write_wav(tmp_path / "a.wav", 16000, width, 1, [(value,) for value in values])
    assert counts(wav_sound(path).read_bytes()) == [value << (24 - 8 * width) for value in values]


def test_32_bits_are_rounded_to_24(tmp_path):
    values = [0, 256, 127, 129, -127, -129, (1 << 31) - 1, -(1 << 31)]
    path = write_wav(tmp_path / "a.wav", 16000, 4, 1, [(value,) for value in values])
    assert counts(wav_sound(path).read_bytes()) == [0, 1, 0, 1, 0, -1, (1 << 23) - 1, -(1 << 23)]


def test_channels_are_averaged(tmp_path):
    path = write_wav(tmp_path / "a.wav", 16000, 2, 2, [(100, 300), (-32768, -32768), (32767, -32767)])
    assert counts(wav_sound(path).read_bytes()) == [200 * 256, -32768 * 256, 0]


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_a_tone_keeps_its_pitch_level_and_purity_through_resampling(rate):
    count = rate // 4
    tone = [0.5 * math.sin(2 * math.pi * 1000 * n / rate) for n in range(count)]
    out = sound.resample(tone, rate)
    assert len(out) == count * 16000 // rate
    inner = range(200, len(out) - 200)
    error = max(abs(out[n] - 0.5 * math.sin(2 * math.pi * 1000 * n / 16000)) for n in inner)
    assert error < 0.5 * 10 ** (-50 / 20)


def test_what_is_above_half_the_new_rate_is_removed():
    tone = [math.sin(2 * math.pi * 10500 * n / 48000) for n in range(12000)]
    assert max(abs(value) for value in sound.resample(tone, 48000)[200:-200]) < 10 ** (-50 / 20)


def test_a_damaged_wav_file_is_refused(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF" + struct.pack("<I", 100) + b"WAVEjunk")
    with pytest.raises((wave.Error, EOFError)):
        sound.read_wav(path)


@pytest.mark.parametrize("kind", sorted(sound.KINDS))
def test_a_shot_begins_at_once_rises_in_a_sample_or_two_and_falls_with_distance(kind):
    near, far = sound.synthesise(kind, 50), sound.synthesise(kind, 400)
    assert near[0] > 0
    for samples in (near, far):
        top = max(samples)
        assert samples.index(top) < 0.012 * sound.RATE_HZ  # with the echo from the ground behind it
        assert min(samples) < -0.05 * top  # the rarefaction after the blast
        assert abs(samples[-1]) < 0.01 * top
    # 8 is the free field's share; far away the ground's echo comes with the blast, and the air rounds it.
    assert 4 < max(near) / max(far) < 16


def test_kinds_and_distances_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="choose one of artillery, explosion, gunshot"):
        sound.synthesise("thunder", 100)
    with pytest.raises(ValueError, match="distance_m"):
        sound.synthesise("gunshot", 0)


def test_full_scale_is_120_db_spl():
    pascals = 2e-5 * 10 ** (120 / 20) * math.sqrt(2)  # the peak of such a sine
    assert pascals * sound.COUNTS_PER_PASCAL == pytest.approx(sound.FULL_SCALE, rel=0.01)


def test_the_quiet_place_has_the_loudness_asked_for():
    values = counts(sound.noise(7, 60, 2.0))
    mean = sum(values) / len(values)
    rms = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
    assert 20 * math.log10(rms / sound.COUNTS_PER_PASCAL / 2e-5) == pytest.approx(60, abs=1)
    assert mean == pytest.approx(sound.DC_OFFSET_COUNTS, abs=10)
    steps = [abs(b - a) for a, b in zip(values, values[1:], strict=False)]
    assert abs(values[0] - values[-1]) <= max(steps)  # played round and round, it has no seam
