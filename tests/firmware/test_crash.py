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


RUN = """
from holdfire_station import trial

class Running:
    recorder = None

    def __init__(self, minutes, fault=None):
        self.fault = fault
        self.monotonic = self
        self.ms = lambda: minutes * 60000 + 1
"""


def test_only_a_run_of_an_hour_makes_earlier_failures_forgotten(tmp_path):
    run(tmp_path, RUN + """
crash.note(ValueError("x"))
assert start(SOFT) == (1, "ValueError: x")
again_ms = trial.settled(Running(3))
assert start(WATCHDOG) == (2, None)  # told once, counted on
assert trial.settled(Running(3)) == again_ms == 60 * 60000
assert start(WATCHDOG) == (3, None)
assert trial.settled(Running(60)) == 0
assert start(WATCHDOG) == (1, None)
trial.settled(Running(60))
assert trial.settled(Running(3)) == 0  # nothing to forget: not asked again
""")


def test_a_power_cut_after_the_failure_was_told_is_a_mere_one(tmp_path):
    run(tmp_path, RUN + """
crash.note(ValueError("x"))
assert start(SOFT)[0] == 1 and start(POWER)[0] == 2  # nobody may know of it yet
trial.settled(Running(3))
assert start(POWER) == (0, None)
""")


def test_why_the_last_run_failed_is_kept_until_a_record_says_it(tmp_path):
    """Where none can be made, the memory being full, a power cut must not make it forgotten."""
    run(tmp_path, RUN + """
crash.note(ValueError("x"))
assert start(SOFT)[0] == 1
station = Running(3, "ValueError: x")
station.recorder = "enrolled"
assert trial.settled(station) == 4 * 60000 + 1  # asks again in a minute
assert start(POWER) == (2, "ValueError: x")
station.fault = None  # a status record has it
assert trial.settled(station) == 60 * 60000
assert start(POWER) == (0, None)
station = Running(60, "ValueError: x")
station.recorder = "enrolled"
assert trial.settled(station) == 0
""")


SET_BY_SET = """
class PowerCut(BaseException):
    pass

REAL = {name: getattr(esp32.NVS, name) for name in ("set_i32", "set_blob", "erase_key")}

def power(cut_after, done):
    '''What is set is on flash at once, as IDF does it; power fails in a later write, which is then done or not.'''
    left = [cut_after]
    def wrap(real):
        def write(nvs, *args):
            left[0] -= 1
            if left[0] >= 0 or done:
                real(nvs, *args)
                real_commit(nvs)
            if left[0] < 0:
                raise PowerCut()
        return write
    for name in REAL:
        setattr(esp32.NVS, name, wrap(REAL[name]))
"""


def test_a_cut_in_any_write_of_what_is_remembered_leaves_a_station_that_starts(tmp_path):
    """A failure too many or too few may be counted; none makes the others forgotten, and why is told whole or not."""
    run(tmp_path, RUN + SET_BY_SET + """
def fails():
    crash.note(ValueError("x"))

def starts():
    start(SOFT)

cuts = 0
for failures in range(5):
    for act in (fails, starts, crash.told, crash.settled, crash.try_again):
        for cut_after, done in [(n // 2, n % 2) for n in range(6)]:
            esp32._nvs_values.clear()
            power(1000, True)
            for _ in range(failures):
                fails()
                starts()
            before = min(failures, 3)
            power(cut_after, done)
            try:
                act()
            except PowerCut:
                cuts += 1
            power(1000, True)
            count, why = start(SOFT)
            assert 1 <= count <= min(before + 2, 3), (act, failures, cut_after, done, count)
            assert act in (crash.settled, crash.try_again) or count >= before, (act, failures, cut_after, done, count)
            assert why in (None, "ValueError: x"), why
assert cuts > 40, cuts
""")


def test_no_record_after_a_start_waits_for_an_erase(tmp_path):
    run(tmp_path, """
from holdfire_station import startup
SIZE = 16 * 4096
flash = NorFlash(IMAGE + "2", SIZE + 4 * 4096)
esp32.attach(flash, [("journal", 1, 0x41, 0, SIZE), ("counters", 1, 0x40, SIZE, 4 * 4096)])

class Parts:
    console = monotonic = clock = journal = sequence = None

parts = Parts()
for records in (245, 50, 50):  # both lanes need a sector soon after each start, and the counter after the first
    startup._journal(parts, None)
    startup._sequence(parts, None)
    journal, sequence = parts.journal, parts.sequence
    flash.reset_counts()
    for i in range(30):
        journal.append(sequence.next(), bytes(200), i % 2 == 0)
    assert flash.erases == 0
    for _ in range(30, records):
        sequence.next()
    journal.receipt(journal.last_seq)
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
