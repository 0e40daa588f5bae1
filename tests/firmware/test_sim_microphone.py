"""The simulated microphone and the I2S receiver behave as data sheet and ESP32 port say."""

import json
import math
import struct
from array import array

import pytest

from tests.firmware.sim_probe import probe

CLOCK = """
import asyncio, json, time
from machine import I2S, Pin
mic = I2S(0, sck=Pin(26), ws=Pin(25), sd=Pin(%(sd)s), mode=I2S.RX, bits=32, format=I2S.MONO, rate=16000, ibuf=%(ibuf)d)
reader = asyncio.StreamReader(mic)
"""

# Prints `count` samples from number `first` on, each as the four bytes of its slot.
SLOTS = CLOCK + """
async def main():
    part, number = bytearray(1024), 0
    view = memoryview(part)
    first, end = %(first)d, %(first)d + %(count)d
    while number < end:
        got = await reader.readinto(view) // 4
        begin, stop = max(0, first - number), min(got, end - number)
        if begin < stop:
            print("slots", view[4 * begin : 4 * stop].hex())
        number += got
    print("end")
asyncio.run(main())
"""


def slots(console) -> array:
    console.read_until("end")
    return array("i", bytes.fromhex("".join(line[6:] for line in console.lines if line.startswith("slots "))))


def take(tmp_path, first, count, script=None, sd=33, **options):
    source = SLOTS % {"sd": sd, "ibuf": 16384, "first": first, "count": count}
    with probe(tmp_path, source, script=script, **options) as (_, console):
        return slots(console)


def raw(path, samples_24_bit):
    path.write_bytes(array("i", [sample << 8 for sample in samples_24_bit]).tobytes())
    return path


@pytest.fixture
def silence(tmp_path):
    """A sound field of nothing at all: what is played can be compared bit by bit."""
    return {name: raw(tmp_path / "nothing.raw", [0] * 4096) for name in ("noise", "muffled")}


def rms(values):
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))


def test_samples_are_24_bits_left_justified(tmp_path):
    samples = take(tmp_path, 40000, 2000)
    assert len(samples) == 2000
    assert all(sample & 0xFF == 0 for sample in samples)
    assert len({sample >> 8 & 0xFF for sample in samples}) > 200  # all 24 bits are alive


def test_nothing_comes_out_for_two_to_the_18_clocks_then_the_offset_settles(tmp_path):
    samples = take(tmp_path, 4000, 36000)
    assert not any(samples[:96]) and any(samples[96:100])
    early = sum(samples[96:596]) / 500 / 256
    late = sum(samples[-2000:]) / 2000 / 256
    assert early > 100_000 > 5000 > abs(late)


def test_the_noise_floor_is_the_data_sheets(tmp_path):
    """INMP441: -87 dBFS A-weighted, full scale being a sine; 8 kHz without weighting may differ by a decibel or two."""
    samples = [sample >> 8 for sample in take(tmp_path, 40000, 4000, ambient_db_spl=-60)]
    assert 20 * math.log10(rms(samples) / ((1 << 23) / math.sqrt(2))) == pytest.approx(-87, abs=2)


def test_a_played_sound_arrives_bit_by_bit_one_group_delay_after_its_time(tmp_path, silence):
    sound = [(i * 2654435761 >> 7) % (1 << 24) - (1 << 23) for i in range(700)]
    script = f"3000 play {raw(tmp_path / 'sound.raw', sound)} 256\n"
    samples = take(tmp_path, 48000 - 256, 1200, script, **silence)
    start = next(i for i, sample in enumerate(samples) if sample)
    assert [sample >> 8 for sample in samples[start : start + 700]] == sound
    assert not any(samples[:start]) and not any(samples[start + 700 :])
    # I2S began some microseconds of virtual time after power-on; 17.2 / fs is the data sheet's group delay.
    assert start - 256 in (16, 17)


def test_loud_sounds_clip_at_full_scale_and_overlap(tmp_path, silence):
    path = raw(tmp_path / "sound.raw", [4_400_000] * 300 + [-4_400_000] * 300)
    script = f"3000 play {path} 256\n3000 play {path} 256\n3100 play {path} 64\n"
    samples = [sample >> 8 for sample in take(tmp_path, 48000, 2400, script, **silence)]
    assert max(samples) == 0x7FFFFF and min(samples) == -0x800000
    assert samples.count(0x7FFFFF) == samples.count(-0x800000) == 300
    assert samples.count(1_100_000) == samples.count(-1_100_000) == 300


def test_a_cut_wire_is_zeros_and_a_muffled_microphone_is_quieter(tmp_path):
    loud = raw(tmp_path / "sound.raw", [2_000_000, -2_000_000] * 400)
    levels = {}
    for condition in ("ok", "muffled", "cut"):
        folder = tmp_path / condition
        folder.mkdir()
        script = f"0 mic {condition}\n3000 play {loud} 256\n"
        samples = [sample >> 8 for sample in take(folder, 47000, 2000, script, ambient_db_spl=60)]
        levels[condition] = rms(samples[:900]), max(samples[1000:])
    assert levels["cut"] == (0, 0)
    assert levels["muffled"][0] < levels["ok"][0] / 10
    assert levels["muffled"][1] < levels["ok"][1] / 20


def test_a_microphone_on_other_pins_is_not_heard(tmp_path):
    assert not any(take(tmp_path, 30000, 1000, sd=32))


def test_two_stations_do_not_hear_the_same_noise(tmp_path):
    heard = []
    for uid in ("240ac4000001", "240ac4000a02"):
        folder = tmp_path / uid
        folder.mkdir()
        heard.append(take(folder, 40000, 500, uid=uid))
    assert heard[0] != heard[1]


OVERFLOW = CLOCK + """
async def main():
    part, number = bytearray(2048), 0
    while number < 16000:
        number += await reader.readinto(part) // 4
    began = time.ticks_us()
    time.sleep_ms(1000)
    got = last = 1
    burst = 0
    while got:
        got = mic.readinto(part) // 4
        burst += got
    print(json.dumps({"burst": burst}))
asyncio.run(main())
"""


@pytest.mark.parametrize("ibuf", [16384, 4096])
def test_who_reads_too_late_finds_all_but_one_buffer_and_the_rest_is_lost(tmp_path, ibuf):
    with probe(tmp_path, OVERFLOW % {"sd": 33, "ibuf": ibuf}) as (station, console):
        burst = json.loads(console.read_until("", 20))["burst"]
        lost = int(station.wait_for("i2s", "lost")[2])
    assert burst == ibuf // 8 - 256  # the buffer that is being filled holds nothing to be read
    assert lost + burst == pytest.approx(16000, abs=512)


DRAIN = CLOCK + """
async def main():
    part, number, sizes = bytearray(8192), 0, []
    while number < 20000:
        got = await reader.readinto(part) // 4
        number += got
        sizes.append(got)
        if len(sizes) %% 4 == 0:
            time.sleep_ms(80)
    print("sizes", sizes)
asyncio.run(main())
"""


def test_a_drained_ring_is_not_readable_until_the_next_buffer_is_full(tmp_path):
    with probe(tmp_path, DRAIN % {"sd": 33, "ibuf": 16384}) as (_, console):
        sizes = json.loads(console.read_until("sizes"))
    # The port calls it readable before the first buffer is full; 80 ms are five buffers.
    assert sizes[0] == 0 and set(sizes[1:]) == {256, 1280}


PACE = CLOCK + """
async def main():
    part, number, empty = bytearray(1024), 0, 0
    began = time.ticks_us()
    while number < 24000:
        got = await reader.readinto(part) // 4
        number += got
        ahead = number - time.ticks_diff(time.ticks_us(), began) * 16 // 1000
        assert ahead < 256, ahead  # never a sample before its time
    print("ahead", ahead)
asyncio.run(main())
"""


@pytest.mark.parametrize("clock", ["real", "virtual"])
def test_samples_come_at_the_pace_of_the_crystal(tmp_path, clock):
    with probe(tmp_path, PACE % {"sd": 33, "ibuf": 16384}, clock=clock) as (_, console):
        assert int(console.read_until("ahead")) > -2048  # and within the ring


BLOCKING = CLOCK + """
part = bytearray(40000)
began = time.ticks_ms()
print("got", mic.readinto(part), time.ticks_diff(time.ticks_ms(), began))
for size in (3, 1026):
    try:
        mic.readinto(bytearray(size))
    except ValueError as error:
        print("refused", error)
for arguments in ({"bits": 24}, {"ibuf": 2048}, {"mode": 7}):
    try:
        I2S(0, **dict({"sck": Pin(26), "ws": Pin(25), "sd": Pin(33), "mode": I2S.RX, "bits": 32, "format": I2S.MONO,
                       "rate": 16000, "ibuf": 16384}, **arguments))
    except Exception as error:
        print("refused", type(error).__name__)
print("end")
"""


def test_without_asyncio_readinto_blocks_until_the_buffer_is_full(tmp_path):
    with probe(tmp_path, BLOCKING % {"sd": 33, "ibuf": 16384}) as (_, console):
        got, took_ms = console.read_until("got").split()
        console.read_until("end")
    assert got == "40000"
    assert int(took_ms) == pytest.approx(10240 / 16, abs=1)  # 10,000 samples are in the fortieth DMA buffer
    assert sum(line.startswith("refused") for line in console.lines) == 5


def test_struct_agrees_on_the_byte_order(tmp_path, silence):
    script = f"3000 play {raw(tmp_path / 'sound.raw', [0x123456] * 100)} 256\n"
    samples = take(tmp_path, 48100, 1, script, **silence)
    assert struct.pack("<i", samples[0]) == b"\x00\x56\x34\x12"
