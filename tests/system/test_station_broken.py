"""A station comes up whatever is missing, says what, and signs records all the same; and when its program itself is
broken, it ends in safe mode within a few resets and signs that."""

import shutil

import pytest

from holdfire_protocol import fields
from shrink import Shrinker, chip_sources
from simulate.device import prepare_device_tree
from simulate.station import SimulatedStation
from tests.mpy import REPO, find_tool
from tests.system.cabled import Place

UTC_US = 1_795_478_400_000_000
BOARD = REPO / "boards" / "esp32-devkit.toml"


@pytest.fixture
def start(tmp_path):
    """A function that starts the one station of a test, again and again on the same flash; gives it and its cable."""
    find_tool("micropython", "MICROPYTHON")
    place = Place()

    def start(clock="virtual", without=(), cut=None, app_folder=None, **extra):
        place.clear()
        station = SimulatedStation(BOARD, tmp_path / "station", "broken", clock, baud=None, app_folder=app_folder,
                                   utc_us=UTC_US if clock == "virtual" else None, **extra)
        station.board["status_interval_s"] = 30
        rows = station.board["flash"]["partitions"]
        rows[:] = [row for row in rows if row["label"] not in without]
        for row in rows:
            if row["label"] == cut:
                row["size"] = 0x2000
        return place.put(station)

    yield start
    place.clear()


def is_status(named):
    return "status" in named


def test_a_station_without_converter_microphone_and_receiver_says_so_and_signs(start):
    station, cabled = start(broken="adc+i2s+uart", fix_s=1)
    for part in ("microphone", "gnss", "battery"):
        assert cabled.read_until(f"MISSING {part}: OSError")
    cabled.enrol()
    status = cabled.record_with(is_status)["status"]
    assert status["selftest"] == fields.SELFTEST_MIC_STUCK | fields.SELFTEST_GNSS | fields.SELFTEST_PART
    assert status["fault"].startswith(b"battery: OSError: ") and len(status["fault"]) == fields.FAULT_BYTES
    assert "battery_mv" not in status and "satellites" not in status and status["heard_ms"] == 0
    station.control("tamper open")
    assert cabled.record_with(lambda named: "observations" in named)["observations"][0]["open"] == 1
    said = cabled.ask("selftest", "MISSING    battery")
    assert "ESP_ERR_NOT_FOUND" in said
    for command in ("mic", "gnss", "status"):
        cabled.ask(command, "MISSING")
    assert station.resets == 0


def test_a_microphone_that_never_speaks_is_missing_and_no_reason_for_a_reset(start):
    station, cabled = start(broken="mute+adc_read")
    cabled.read_until("MISSING battery")
    cabled.read_until("MISSING microphone: OSError: no samples come")
    cabled.enrol()
    dumb = cabled.record_with(lambda named: is_status(named) and named["uptime_ms"] > 60_000)["status"]
    assert dumb["selftest"] & fields.SELFTEST_MIC_STUCK and dumb["heard_ms"] == 0
    assert station.resets == 0


@pytest.mark.parametrize("label", ["counters", "journal", "keys"])
def test_without_a_partition_the_console_answers_and_names_it(start, label):
    _, cabled = start(without=(label,))
    cabled.read_until("MISSING")
    assert f"no partition {label}" in cabled.ask("status", "MISSING")
    cabled.ask("journal", "records" if label == "keys" else "MISSING" if label == "journal" else "counters")


def test_no_prompt_opens_where_no_record_of_it_can_be_made(start):
    _, cabled = start()
    cabled.enrol()
    _, cabled = start(without=("journal",))
    cabled.read_until("Holdfire station")
    cabled.port.write(b"\rmaintenance prompt\r")
    cabled.read_until("no prompt: no record of it could be made")
    assert cabled.ask("status", "tasks").split()[1:] == ["status", "failed", "1", "times"]


def test_a_boot_counter_that_cannot_be_read_is_replaced_by_the_newest_record(start):
    _, cabled = start()
    cabled.enrol()
    assert cabled.record_with(is_status)["boot"] == 1
    _, cabled = start(cut="counters")
    cabled.read_until("MISSING boot counter: OSError")
    second = cabled.record_with(lambda named: is_status(named) and named["seq"] > 1)
    assert second["boot"] == 2 and second["status"]["fault"].startswith(b"boot counter: OSError")


def test_the_first_record_of_a_boot_tells_the_reset_whatever_was_heard_before(start, tmp_path):
    _, cabled = start()
    cabled.enrol()
    cabled.record_with(is_status)
    (tmp_path / "script").write_text("500 tamper open\n")
    _, cabled = start(script=tmp_path / "script")
    seen = cabled.record_with(lambda named: "observations" in named)
    first = min((named for named in cabled.records.values() if named["boot"] == 2), key=lambda named: named["seq"])
    assert first["status"]["reset_cause"] == 1 and seen["seq"] == first["seq"] + 1
    assert first["uptime_ms"] < 1500  # it did not keep the observation waiting


def broken_app(folder, module, content):
    """The firmware with one module replaced."""
    tree = next(path for path in prepare_device_tree() if path.name == "firmware")
    app = folder / "app"
    shutil.copytree(tree, app)
    found = next(app.rglob(module + ".*py"))
    found.unlink()
    found.with_suffix(".py").write_text(content)
    return app


@pytest.mark.parametrize(("module", "content", "why"), [
    ("station", "def broken(:\n", b"SyntaxError: "),
    ("outbox", "raise MemoryError('of 4096 bytes')\n", b"MemoryError: of 4096 bytes"),
])  # fmt: skip
def test_a_damaged_program_ends_in_safe_mode_and_a_signed_record_says_why(start, tmp_path, module, content, why):
    _, cabled = start()
    cabled.enrol()
    station, cabled = start("real", app_folder=broken_app(tmp_path, module, content))
    cabled.read_until("SAFE MODE: ")
    assert station.resets == 3
    safe = cabled.record_with(lambda named: is_status(named) and named["status"]["selftest"] & fields.SELFTEST_SAFE)
    assert safe["status"]["fault"].startswith(why)
    assert cabled.ask("status", "because  ").startswith("because    " + why.decode())
    assert cabled.ask("mic", "error: ") == "error: mic: not in safe mode; `help` lists what is"
    assert station.resets == 3
    _, cabled = start()  # mended: an ordinary start, which owes an account of the failed ones
    status = cabled.record_with(lambda named: is_status(named) and named["boot"] > safe["boot"])["status"]
    assert not status["selftest"] & fields.SELFTEST_SAFE and status["fault"].startswith(why)


def test_a_start_that_hangs_ends_in_safe_mode_and_is_tried_again_after_an_hour(start, tmp_path):
    _, cabled = start()
    cabled.enrol()
    cabled.record_with(is_status)
    app = broken_app(tmp_path, "gnss", "import time\ntime.sleep(10000)\n")
    _, cabled = start(app_folder=app)
    cabled.read_until("SAFE MODE: 3 starts ended in a reset")
    safe = cabled.record_with(lambda named: is_status(named) and named["status"]["selftest"] & fields.SELFTEST_SAFE)
    assert safe["status"]["reset_cause"] == 3 and safe["boot"] == 5
    cabled.read_until("SAFE MODE: 3 starts ended in a reset")
    assert cabled.record_with(lambda named: named["boot"] == 7)["status"]["selftest"] & fields.SELFTEST_SAFE


EACH_TASK_FAILS_TWICE = """
import gc

gc.threshold(4096)  # as main.py does
from holdfire_protocol import line
from holdfire_station import microphone, outbox, recorder
from holdfire_station.sensing import tamper

calls = {}


def breaks(what, first):
    calls[what] = calls.get(what, 0) + 1
    if calls[what] in (first, first + 1):
        raise RuntimeError("broken " + what)


def note_arrival(self, now_us, real=microphone.Microphone._note_arrival):
    breaks("sound", 500)
    real(self, now_us)


def next_record(self, now_ms, real=outbox.Outbox.next):
    breaks("sending", 9)
    return real(self, now_ms)


def interval_s(self, interval_s, real=recorder.Recorder.status_interval_s):
    breaks("recording", 3)  # the first status record asks twice
    return real(self, interval_s)


def feed(self, data, real=line.LineReader.feed):
    breaks("console", 1)
    return real(self, data)


def poll(self, real=tamper.Tamper.poll):
    breaks("main", 300)
    real(self)


microphone.Microphone._note_arrival = note_arrival
outbox.Outbox.next = next_record
recorder.Recorder.status_interval_s = interval_s
line.LineReader.feed = feed
tamper.Tamper.poll = poll
import holdfire_station.start
"""


def test_an_exception_in_any_task_is_told_and_counted_and_all_go_on(start, tmp_path):
    _, cabled = start()
    cabled.enrol()
    app = tmp_path / "app"
    app.mkdir()
    (app / "main.py").write_text(Shrinker(chip_sources()).shrink("main.py", EACH_TASK_FAILS_TWICE))
    station, cabled = start(app_folder=app, heap_bytes=224 << 10)  # with what breaks them
    for _ in range(2):
        cabled.port.write(b"\r")
        cabled.read_until("FAILED, goes on: console")
    for task in ("console", "main", "recording", "sending", "sound"):
        cabled.ask("status", f"tasks      {task} failed 2 times")
        assert [text for text in cabled.lines if text == f"FAILED, goes on: {task}: RuntimeError: broken {task}"]
    told = cabled.record_with(lambda named: is_status(named) and named["status"]["selftest"] & fields.SELFTEST_TASK)
    assert b"RuntimeError: broken " in told["status"]["fault"]
    well = cabled.record_with(lambda named: is_status(named) and named["seq"] > told["seq"]
                              and not named["status"]["selftest"] & fields.SELFTEST_TASK)  # fmt: skip
    well = cabled.record_with(lambda named: named["seq"] == well["seq"] + 1)["status"]
    assert 29_000 <= well["heard_ms"] <= 31_000 and not well["selftest"]
    station.control("tamper open")
    assert cabled.record_with(lambda named: "observations" in named)["observations"]
    assert station.resets == 0


SECOND_STATUS_FAILS = """
from holdfire_station.sensing import power

calls = 0


def read_mv(self, real=power.Battery.read_mv):
    global calls
    calls += 1
    if calls == 4:  # once at the start, twice for each status record
        raise RuntimeError("broken battery")
    return real(self)


power.Battery.read_mv = read_mv
import holdfire_station.start
"""


def test_a_status_record_that_failed_is_tried_again_within_what_the_last_one_promised(start, tmp_path):
    app = tmp_path / "app"
    app.mkdir()
    (app / "main.py").write_text(Shrinker(chip_sources()).shrink("main.py", SECOND_STATUS_FAILS))
    # Time that became known would make one more; with what breaks it the start wants room.
    _, cabled = start(app_folder=app, fix_s=100_000, heap_bytes=224 << 10)
    cabled.enrol()
    first = cabled.record_with(is_status)
    again = cabled.record_with(lambda named: is_status(named) and named["seq"] > first["seq"])
    assert b"status: RuntimeError: broken battery" in again["status"]["fault"]
    assert 15_000 < again["uptime_ms"] - first["uptime_ms"] - 30_000 < 25_000
    assert again["uptime_ms"] - first["uptime_ms"] < 1000 * first["status"]["interval_s"]


CRASHES_LATER = """
import asyncio
import time

try:
    with open("/flash/runs") as file:
        run = int(file.read())
except OSError:
    run = 0
with open("/flash/runs", "w") as file:
    file.write(str(run + 1))


async def hang():
    await asyncio.sleep(4000 if run == 2 else 300)
    time.sleep(10000)


asyncio.create_task(hang())
raise OSError("none here")
"""


def test_a_station_that_hangs_each_five_minutes_ends_in_safe_mode_unless_it_ran_for_an_hour_between(start, tmp_path):
    _, cabled = start()
    cabled.enrol()
    cabled.record_with(is_status)
    app = broken_app(tmp_path, "gnss", CRASHES_LATER)
    station, cabled = start(app_folder=app, broken="i2s")  # without sound an hour takes a moment
    cabled.read_until("SAFE MODE: 3 starts ended in a reset", timeout=120)
    assert station.resets == 5  # two, the hour, and then three in a row: the hang after the hour is the first of them
    safe = cabled.record_with(lambda named: is_status(named) and named["status"]["selftest"] & fields.SELFTEST_SAFE)
    assert safe["status"]["reset_cause"] == 3 and safe["boot"] == 7
    told = {named["boot"]: named["status"]["reset_cause"] for _, named in sorted(cabled.records.items(), reverse=True)}
    assert told == {1: 1, 2: 1, 3: 3, 4: 3, 5: 3, 6: 3, 7: 3}  # by the first record of each boot


@pytest.mark.parametrize(("sentences", "believed"), [(8, True), (12, False)])
def test_time_from_a_line_that_is_never_idle_is_not_believed(start, sentences, believed):
    """Nine sentences more fill 9600 baud: from then on they queue, and a second is named seconds later."""
    _, cabled = start(sentences=sentences, fix_s=1)
    cabled.enrol()
    status = cabled.record_with(lambda named: is_status(named) and named["uptime_ms"] > 60_000)
    assert (status["time"][0] == fields.TIME_GNSS_PPS) == believed
    if not believed:
        assert status["time"][0] == fields.TIME_NONE
        assert cabled.ask("gnss", "           TOO FULL")
    else:
        true_us = UTC_US + status["uptime_ms"] * 1000
        assert abs(status["time"][1] - true_us) < 100_000
