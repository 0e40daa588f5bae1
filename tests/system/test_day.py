"""Minutes of a station's day in virtual time, in the least heap that README states: nothing lost, nothing failing."""

import pytest

from bench.day import Day
from simulate.device import native_code_works
from tests.mpy import find_tool

HEAP_KIB = 160  # of an ESP32 without PSRAM; `bench heap` says where it goes


def test_the_station_runs_in_the_heap_that_the_readme_states():
    find_tool("micropython", "MICROPYTHON")
    if not native_code_works():
        pytest.skip("no machine code from viper on this platform: what replaces it lies in the heap and is not counted")
    day = Day(hours=0.1, detections=5, seed=3, heap_kib=HEAP_KIB)
    day.run()
    assert day.faults == []
    assert day.impulses == 5
    assert day.receipted == day.records
    assert min(status["heap_free"] for status in day.statuses) > 8_000
