"""What is remembered of failed starts, and the clock speed: the small things of a start, each by itself."""

import pytest

from tests.mpy import DEVICE_PATH, REPO, run_micropython

SIM_PATH = (*DEVICE_PATH, REPO / "tests" / "sim")

START = """
from chips import world
world.begin(True, 0, 0)
import esp32, json, machine, os
from chips.nor_flash import NorFlash
esp32.attach(NorFlash(IMAGE, 4096), [])
from holdfire_station import crash

def start(cause):
    machine._cause = cause
    return crash.starting()

commits = 0
real_commit = esp32.NVS.commit
def commit(nvs):
    global commits
    commits += 1
    real_commit(nvs)
esp32.NVS.commit = commit
POWER, HARD, WATCHDOG, SOFT = 1, 2, 3, 5
"""


def run(tmp_path, source):
    run_micropython(f"IMAGE = {str(tmp_path / 'flash.bin')!r}\n{START}{source}", path=SIM_PATH, heap="400K")


def test_a_station_that_runs_well_never_writes_whatever_is_plugged_and_unplugged(tmp_path):
    run(tmp_path, """
for _ in range(20):
    assert start(POWER) == (0, None)
assert commits == 0
""")


@pytest.mark.parametrize("cause", ["WATCHDOG", "SOFT", "HARD", "0"])
def test_three_failed_starts_in_a_row_are_counted_and_a_crash_loop_wears_no_flash(tmp_path, cause):
    run(tmp_path, f"""
assert [start(c)[0] for c in (POWER, {cause}, {cause}, {cause})] == [0, 1, 2, 3]
assert commits == 3
for _ in range(100):
    assert start({cause}) == (3, None)
assert commits == 3
assert start(POWER)[0] == 2  # one try for whoever came with a power supply
assert start({cause})[0] == 3
crash.try_again()
assert start({cause})[0] == 2 and start({cause})[0] == 3
crash.settled()
assert start({cause})[0] == 1
""")


def test_an_exception_is_counted_even_where_every_reset_looks_like_a_power_on(tmp_path):
    run(tmp_path, """
for crashes in (1, 2, 3):
    crash.note(ValueError("b\\x07d \\u20ac" + "x" * 100))
    assert start(POWER) == (crashes, "ValueError: bd " + "x" * (64 - 19))
crash.settled()
assert start(POWER) == (0, None)
""")


def test_where_nothing_can_be_remembered_a_station_starts_all_the_same(tmp_path):
    run(tmp_path, """
esp32._nvs_values = None
assert start(WATCHDOG) == (0, None)
try:
    crash.note(ValueError())
    raise SystemExit("remembered")  # main.py goes into safe mode at once, because this raises
except OSError:
    pass
""")


def test_the_chip_runs_as_fast_as_it_can_and_a_refusal_is_named(tmp_path):
    run(tmp_path, """
from holdfire_station import startup
for fastest_hz in (160000000, 240000000):
    machine._fastest_hz = fastest_hz
    startup._speed(None, None)
    assert machine.freq() == fastest_hz
machine._fastest_hz = 80000000
try:
    startup._speed(None, None)
    raise SystemExit("no fault told")
except ValueError as error:
    assert str(error) == "runs at 240 MHz only", error
""")
