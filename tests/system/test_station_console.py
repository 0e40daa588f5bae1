"""What a person at the cable can do: look, listen, set, restart, and open the station, which a signed record tells."""

import pytest

from holdfire_protocol import fields
from simulate.station import SimulatedStation
from tests.mpy import REPO, find_tool
from tests.system.cabled import Place

UTC_US = 1_795_478_400_000_000


@pytest.fixture
def start(tmp_path):
    """A function that starts the station in virtual time, or anew; gives it and its cable. Options go to the board."""
    find_tool("micropython", "MICROPYTHON")
    place = Place()

    def start(clock="virtual", **console):
        place.clear()
        station = SimulatedStation(REPO / "boards" / "esp32-devkit.toml", tmp_path / "station", "asked", clock,
                                   baud=None, fix_s=1, utc_us=UTC_US if clock == "virtual" else None)
        station.board["console"].update(console)
        return place.put(station)

    yield start
    place.clear()


def test_every_command_of_help_answers(start):
    station, cabled = start()
    cabled.enrol()
    cabled.record_with(lambda named: "status" in named)
    cabled.ask("help", "  status")
    assert cabled.ask("gnss", "position ").split()[1] != "none"
    assert cabled.ask("gnss", "sentences  last time 20")
    assert cabled.ask("journal", "wear ").startswith("wear       each sector erased 0 to ")
    assert "this cable only" in cabled.ask("radio", "this firmware")
    assert cabled.ask("last", "  status: heard ")
    assert cabled.ask("selftest", "self-test: ").endswith("all well")
    assert "heap" in cabled.ask("status", "heap")
    assert "no such command" in cabled.ask("reset", "error: ")
    assert station.resets == 0


def test_the_level_bar_follows_the_sound_until_a_key_is_pressed(start):
    station, cabled = start("real")
    cabled.read_until("Holdfire station")
    cabled.ask("mic", "level above")
    assert "#####" in cabled.read_until("  ")
    station.control("mic cut")
    cabled.read_until(" -200.0 dB")
    cabled.port.write(b"x")
    cabled.read_until("mic: ended")
    said = len(cabled.lines)
    cabled.ask("\x08status", "heap")
    assert not [text for text in cabled.lines[said:] if "#" in text]


def test_settings_are_bounded_and_hold_from_the_next_start_on(start):
    _, cabled = start()
    cabled.enrol()
    for wrong in ("interval_s 59", "interval_s 3601", "interval_s -60", "interval_s 1e3", "name " + "n" * 21, "power 1",
                  "interval_s", "interval_s 60 60"):
        cabled.ask("set " + wrong, "error: ")
    assert cabled.ask("set interval_s 77", "interval_s is 77")
    assert cabled.ask("set name Ridge", "name is Ridge")
    cabled.ask("reboot", "name: Ridge")
    cabled.read_until("Holdfire station, boot 2")
    assert cabled.record_with(lambda named: named["boot"] == 2)["status"]["interval_s"] == 77 + 60
    assert cabled.ask("set", "interval_s").split()[1] == "77"


def test_the_prompt_opens_only_after_a_signed_record_of_it_and_closes_by_itself(start):
    station, cabled = start()
    cabled.enrol()
    cabled.record_with(lambda named: "status" in named)
    assert "key readable" in cabled.ask("maintenance", "error: ")
    cabled.port.write(b"\rmaintenance prompt\r")
    cabled.read_until("MAINTENANCE: ")
    told = max(cabled.records)
    assert cabled.records[told]["status"]["selftest"] & fields.SELFTEST_MAINTENANCE
    cabled.read_until(">>>")
    cabled.read_until("Holdfire station, boot 2")  # an hour later, by the watchdog
    after = cabled.record_with(lambda named: named["boot"] == 2)
    assert after["seq"] == told + 1 and after["status"]["reset_cause"] == 3
    assert station.resets == 1


def test_a_board_may_forbid_the_prompt(start):
    _, cabled = start(maintenance=0)
    cabled.enrol()
    assert "forbidden by this board" in cabled.ask("maintenance prompt", "error: ")
    assert cabled.ask("status", "tasks").split()[1:] == ["all", "well"]
