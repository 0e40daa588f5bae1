"""Pins, converter, clock, reset, watchdog and asyncio of the simulated chip; and that it dies with its launcher."""

import ast
import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from simulate.station import synthetic_sound
from tests.firmware.sim_probe import BOARD, probe
from tests.mpy import REPO

SWITCH = """
import time
from machine import Pin
edges = []
lid = Pin(27, Pin.IN%s)
lid.irq(lambda pin: edges.append((pin.value(), time.ticks_us())), Pin.IRQ_RISING | Pin.IRQ_FALLING)
for _ in range(20):
    time.sleep_ms(100)
print("edges", edges)
print("level", lid.value(), lid.value(), lid.value(), lid.value())
"""


def test_the_lid_switch_bounces_and_then_rests(tmp_path):
    with probe(tmp_path, SWITCH % ", Pin.PULL_UP", script="500 tamper open\n1000 tamper closed\n") as (_, console):
        edges = ast.literal_eval(console.read_until("edges"))
        assert console.read_until("level") == "0 0 0 0"
    assert [level for level, _ in edges] == [1, 0, 1, 0, 1, 0, 1, 0, 1, 0]
    assert all(0 <= us - 500_000 < 3100 for _, us in edges[:5])
    assert all(0 <= us - 1_000_000 < 3100 for _, us in edges[5:])


def test_an_open_switch_without_a_pull_up_floats(tmp_path):
    with probe(tmp_path, SWITCH % "", script="500 tamper open\n") as (_, console):
        assert set(console.read_until("level").split()) == {"0", "1"}


def test_the_battery_is_read_through_its_divider(tmp_path):
    source = """
import time
from machine import ADC, Pin
battery = ADC(Pin(35), atten=ADC.ATTN_11DB)
fine = ADC(Pin(35), atten=ADC.ATTN_0DB)
for ms in (500, 1000, 1000):
    time.sleep_ms(ms)
    print("uv", battery.read_uv(), fine.read_uv(), ADC(Pin(32), atten=ADC.ATTN_11DB).read_uv())
"""
    with probe(tmp_path, source, script="1000 battery 3600\n2000 battery 9000\n") as (_, console):
        readings = [[int(word) for word in console.read_until("uv").split()] for _ in range(3)]
    for (pin_uv, _, _), battery_mv in zip(readings, (3900, 3600), strict=False):
        assert pin_uv == pytest.approx(battery_mv * 500, abs=4000)
    assert readings[2][0] == 3_100_000  # the converter's end
    assert {fine for _, fine, _ in readings} == {950_000}
    assert all(other < 200_000 for _, _, other in readings)  # a pin on which nothing hangs


def test_pins_that_the_chip_lacks_are_refused(tmp_path):
    source = """
from machine import ADC, Pin, UART
def attempt(what):
    try:
        what()
        print("took")
    except ValueError as error:
        print("refused", error)
attempt(lambda: Pin(20))
attempt(lambda: Pin(6))
attempt(lambda: Pin(40))
attempt(lambda: Pin(34, Pin.OUT))
attempt(lambda: ADC(Pin(21)))
attempt(lambda: UART(3, 9600))
print("same", Pin(13) is Pin(13, Pin.OUT), Pin(Pin(13)) is Pin(13))
led = Pin(13, Pin.OUT, value=1)
print("led", led.value(), led.value(0), led.value())
print("end")
"""
    with probe(tmp_path, source) as (_, console):
        assert console.read_until("same") == "True True"
        assert console.read_until("led") == "1 None 0"
    assert [line.split()[0] for line in console.lines if line.startswith(("took", "refused"))] == ["refused"] * 6


def test_ticks_wrap_as_on_the_chip_and_time_knows_no_date(tmp_path):
    source = """
import time
last = time.ticks_us()
for _ in range(5):
    time.sleep(300)
    now = time.ticks_us()
    print("tick", now, time.ticks_diff(now, last), time.ticks_diff(last, now), time.time(),
          time.ticks_add(now, -now - 1))
    last = now
"""
    with probe(tmp_path, source) as (_, console):
        rows = [[int(word) for word in console.read_until("tick").split()] for _ in range(5)]
    assert [row[4] for row in rows] == [0x3FFFFFFF] * 5
    assert rows[3][0] < rows[2][0] < 1 << 30  # 2**30 microseconds are 1073.7 s
    for number, row in enumerate(rows, 1):
        assert row[1] == pytest.approx(300_000_000, abs=1000) and row[2] == -row[1] and row[3] == 300 * number


def test_a_virtual_day_passes_beat_for_beat(tmp_path):
    source = """
import asyncio, time
from machine import WDT
beats = [0, 0]
async def beat(i, every_s):
    while True:
        await asyncio.sleep(every_s)
        beats[i] += 1
async def main():
    watchdog = WDT(timeout=30000)
    asyncio.create_task(beat(0, 60))
    asyncio.create_task(beat(1, 17))
    for _ in range(86400 // 20):
        await asyncio.sleep(20)
        watchdog.feed()
    print("day", time.ticks_ms(), beats)
asyncio.run(main())
"""
    with probe(tmp_path, source) as (_, console):
        ms, beats = console.read_until("day", 60).split(None, 1)
    assert 86_400_000 <= int(ms) < 86_400_000 + 20_000  # a loop's own time: a microsecond a reading of the clock
    assert json.loads(beats) in ([1439, 5082], [1440, 5082])


def test_a_busy_loop_ends_in_virtual_time(tmp_path):
    source = """
import time
start = time.ticks_us()
while time.ticks_diff(time.ticks_us(), start) < 3000:
    pass
print("end")
"""
    with probe(tmp_path, source) as (_, console):
        console.read_until("end")


CAUSE = """
import machine, os, time
print("cause", machine.reset_cause(), machine.unique_id().hex(), "kept" in os.listdir())
"""


def test_the_watchdog_bites_firmware_that_waits_but_does_not_feed(tmp_path):
    source = CAUSE + """
watchdog = machine.WDT(timeout=3000)
if machine.reset_cause() == machine.PWRON_RESET:
    for _ in range(5):
        time.sleep_ms(2000)
        watchdog.feed()
    open("kept", "w").close()
    try:
        time.sleep(60)
    finally:
        print("finally")
while True:
    time.sleep_ms(1000)
    watchdog.feed()
"""
    with probe(tmp_path, source, utc_us=1_800_000_000_000_000) as (station, console):
        assert console.read_until("cause").split()[0::2] == ["1", "False"]
        assert console.read_until("cause").split()[0::2] == ["3", "True"]
        assert station.resets == 1 and station.running
        bitten_at_us = int(station.wait_for("reset", "3")[2])
        assert 13_000_000 <= bitten_at_us - 1_800_000_000_000_000 < 13_100_000  # three seconds after the last feed
        assert "finally" not in console.lines


def test_the_watchdog_bites_firmware_that_spins(tmp_path):
    source = CAUSE + """
watchdog = machine.WDT(timeout=500)
while machine.reset_cause() == machine.PWRON_RESET:
    pass
print("end")
"""
    with probe(tmp_path, source, clock="real") as (station, console):
        console.read_until("end")
        assert [line.split()[1] for line in console.lines if line.startswith("cause")] == ["1", "3"]


def test_reset_and_the_end_of_main_are_told_apart(tmp_path):
    source = CAUSE + """
if machine.reset_cause() == machine.PWRON_RESET:
    machine.reset()
if machine.reset_cause() == machine.HARD_RESET:
    import sys
    sys.exit()
print("end")
raise KeyError("a fault of the firmware")
"""
    with probe(tmp_path, source) as (station, console):
        console.read_until("KeyError")
        assert [line.split()[1] for line in console.lines if line.startswith("cause")] == ["1", "2", "5"]
        assert station.wait_for("ended") == ["ended", "0"]
        assert not station.running


def test_an_exception_leaves_the_chip_at_its_prompt_until_the_watchdog_bites(tmp_path):
    source = CAUSE + """
machine.WDT(timeout=2000)
if machine.reset_cause() == machine.PWRON_RESET:
    raise KeyError("a fault of the firmware")
print("end")
"""
    with probe(tmp_path, source) as (station, console):
        console.read_until("KeyError")
        console.lines.clear()
        assert console.read_until("cause").startswith("3")


def test_flash_outlives_a_power_cut_and_the_world_outlives_a_reset(tmp_path):
    source = CAUSE + """
print("lid", machine.Pin(27, machine.Pin.IN, machine.Pin.PULL_UP).value())
with open("kept", "a") as file:
    file.write("x")
print("size", os.stat("kept")[6])
while True:
    time.sleep_ms(50)
"""
    with probe(tmp_path, source, clock="real") as (station, console):
        assert console.read_until("size") == "1"
        station.control("tamper open")
        time.sleep(0.2)
        station.kill()
        assert not station.running
        station.start()
        assert console.read_until("cause").split()[::2] == ["1", "True"]
        time.sleep(0.2)
        station.kill()
        station.start()
        assert console.read_until("size") in "23"
        station.control("battery twelve")
        station.wait_for("refused")


ASYNCIO = """
import asyncio, time
log = []
async def worker(name, ms, times):
    for i in range(times):
        await asyncio.sleep_ms(ms)
        log.append(name + str(i))
    return name
async def forever():
    try:
        while True:
            await asyncio.sleep_ms(5)
    except asyncio.CancelledError:
        log.append("cancelled")
        raise
    finally:
        log.append("finally")
async def failing():
    await asyncio.sleep_ms(1)
    raise ValueError("no")
async def main():
    log.append(await asyncio.gather(worker("a", 30, 3), worker("b", 45, 2)))
    task = asyncio.create_task(forever())
    await asyncio.sleep_ms(12)
    log.append(task.cancel())
    try:
        await task
    except asyncio.CancelledError:
        log.append("seen")
    log.append((task.done(), task.cancel()))
    try:
        await asyncio.wait_for_ms(worker("c", 50, 9), 120)
    except asyncio.TimeoutError:
        log.append("timeout")
    log.append(await asyncio.wait_for_ms(worker("d", 5, 1), 1000))
    log.append([type(x).__name__ for x in await asyncio.gather(failing(), worker("e", 2, 1), return_exceptions=True)])
    event, lock, flag = asyncio.Event(), asyncio.Lock(), asyncio.ThreadSafeFlag()
    async def waits(name):
        await event.wait()
        async with lock:
            log.append(name)
            await asyncio.sleep_ms(3)
            log.append(name)
    waiting = [asyncio.create_task(waits(n)) for n in "xyz"]
    await asyncio.sleep_ms(1)
    event.set()
    for task in waiting:
        await task
    async def sets():
        await asyncio.sleep_ms(3)
        flag.set()
    asyncio.create_task(sets())
    await flag.wait()
    outer = asyncio.create_task(asyncio.wait_for_ms(forever(), 10000))
    await asyncio.sleep_ms(8)
    outer.cancel()
    try:
        await outer
    except asyncio.CancelledError:
        log.append("outer")
    order = []
    async def now(n):
        order.append(n)
        await asyncio.sleep_ms(0)
        order.append(n)
    await asyncio.gather(*[now(n) for n in range(4)])
    log.append(order)
asyncio.run(main())
print("log", log)
"""


def test_asyncio_on_simulated_time_does_what_the_built_in_one_does(tmp_path):
    """The list is what MicroPython's own tasks give on an idle machine: micropython -c of ASYNCIO."""
    with probe(tmp_path, ASYNCIO) as (_, console):
        assert ast.literal_eval(console.read_until("log")) == [
            "a0", "b0", "a1", "b1", "a2", ["a", "b"], True, "cancelled", "finally", "seen", (True, False), "c0", "c1",
            "timeout", "d0", "d", "e0", ["ValueError", "str"], "x", "x", "y", "y", "z", "z", "cancelled", "finally",
            "outer", [0, 1, 2, 3, 0, 1, 2, 3],
        ]


def test_without_native_code_the_microphone_gives_the_same_samples(tmp_path):
    source = """
import hashlib
from machine import I2S, Pin
mic = I2S(0, sck=Pin(26), ws=Pin(25), sd=Pin(33), mode=I2S.RX, bits=32, format=I2S.MONO, rate=16000, ibuf=16384)
digest, part = hashlib.sha256(), bytearray(4096)
for _ in range(48):
    mic.readinto(part)
    digest.update(part)
print("digest", digest.digest().hex())
"""
    digests = set()
    for native in (None, False):
        folder = tmp_path / str(native)
        folder.mkdir()
        script = f"1500 play {synthetic_sound('gunshot', 100)} 256\n2000 play {synthetic_sound('artillery', 500)} 256\n"
        with probe(folder, source, script=script, native=native) as (_, console):
            digests.add(console.read_until("digest"))
    assert len(digests) == 1


ORPHAN = """
import pathlib, sys, time
sys.path.insert(0, {tools!r})
from simulate.station import SimulatedStation
station = SimulatedStation({board!r}, {folder!r}, "orphan", app_folder={app!r})
station.start()
station.wait_for("models")
time.sleep(0.5)
print(station.pid, flush=True)
time.sleep(60)
"""


def test_a_station_ends_when_its_launcher_is_killed(tmp_path):
    with probe(tmp_path, "import time\nwhile True:\n    time.sleep_ms(10)\n") as _:
        pass  # skips here if there is no MicroPython
    source = ORPHAN.format(tools=str(REPO / "tools"), board=str(BOARD), folder=str(tmp_path / "orphan"),
                           app=str(tmp_path / "app"))
    launcher = subprocess.Popen([sys.executable, "-c", textwrap.dedent(source)], stdout=subprocess.PIPE, text=True)
    try:
        pid = int(launcher.stdout.readline())
        os.kill(pid, 0)
    finally:
        launcher.send_signal(signal.SIGKILL)
        launcher.wait()
        launcher.stdout.close()
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if pathlib.Path(f"/proc/{pid}/stat").exists() and " Z " in pathlib.Path(f"/proc/{pid}/stat").read_text():
            return  # ended; nobody here is its parent to bury it
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the station went on without its launcher")
