"""The microphone's driver on the modelled I2S receiver: what was missed is known, and what was heard keeps its time."""

import pytest

from shrink import Shrinker, chip_sources
from tests.firmware.sim_probe import probe

RING_MS = 128  # 16384 bytes of 8 a frame at 16 kHz; one of its eight buffers is being filled
# Reads two seconds, is away for a while, and reads on; says where sample 40000 is thought to be.
AWAY = """
import asyncio, time
from holdfire_station.microphone import Microphone

class Monotonic:
    def us(self):
        return time.ticks_us()

class Deaf:
    blocks = 0
    def feed(self, samples, count):
        self.blocks += 1
        if self.blocks == 126:
            at_once.extend([microphone.moment_us(n * 256) - began for n in (124, 126)] + [microphone.late_us])
        if self.blocks == 125:
            time.sleep_ms(%d)
        return 0

settings = {"sample_rate_hz": 16000, "group_delay_us": 0, "dma_bytes": 16384, "i2s_id": 0, "sck_pin": 26,
            "ws_pin": 25, "sd_pin": 33}

at_once = []

async def main():
    global began, microphone
    deaf = Deaf()
    microphone = Microphone(settings, Monotonic(), deaf, None)
    began = time.ticks_us()
    task = asyncio.create_task(microphone.run())
    while deaf.blocks < 190:
        await asyncio.sleep_ms(5)
    print("missed", microphone.lost_samples, microphone.moment_us(40000) - began, *at_once)
asyncio.run(main())
"""


@pytest.mark.parametrize("away_ms", [0, 100, 131, 147, 163, 1000])
def test_sound_that_the_ring_could_not_hold_is_counted_and_the_rest_keeps_its_time(tmp_path, away_ms):
    source = Shrinker(chip_sources()).shrink("main.py", AWAY % away_ms)
    with probe(tmp_path, source) as (station, console):
        missed, moment_us, before_us, after_us, late_us = map(int, console.read_until("missed").split())
    lost = sum(int(event[2]) for event in station.events if event[:2] == ["i2s", "lost"])
    assert (lost > 0) == (away_ms >= RING_MS)
    assert lost <= missed <= lost + 256, (lost, missed)
    assert moment_us == pytest.approx((40000 + lost) * 1_000_000 / 16000, abs=1500)
    # In the very next block, before the ring is empty: what came after the gap, and what began before it.
    assert after_us == pytest.approx((126 * 256 + lost) * 1_000_000 / 16000, abs=16_000 + 1500)
    assert abs(before_us - 124 * 256 * 1_000_000 // 16000) <= late_us + 1500
