"""Runs small probe programs as the firmware of a simulated station, for the tests of the simulator itself."""

import contextlib
import os
import pathlib
import select
import time

import pytest

from simulate.device import ToolMissing, find_micropython
from simulate.station import SimulatedStation
from tests.mpy import REPO

BOARD = REPO / "boards" / "esp32-devkit.toml"


class Console:
    """The far end of the cable, read by lines."""

    def __init__(self, port: pathlib.Path):
        self._fd = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self._partial = b""
        self.lines: list[str] = []

    def close(self) -> None:
        os.close(self._fd)

    def send(self, data: bytes) -> None:
        os.write(self._fd, data)

    def read_until(self, start: str, timeout: float = 30.0) -> str:
        """The rest of the first new line that starts so. What came before is in `lines`."""
        end = time.monotonic() + timeout
        while True:
            if any(line.startswith("Traceback") for line in self.lines):
                end = min(end, time.monotonic() + 0.5)  # the rest of it, then give up
            while b"\n" in self._partial:
                line, self._partial = self._partial.split(b"\n", 1)
                text = line.decode(errors="replace").rstrip("\r")
                self.lines.append(text)
                if text.startswith(start):
                    return text[len(start):].strip()
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._fd], [], [], left)[0]:
                raise TimeoutError(f"no line {start!r}; had " + "\n".join([*self.lines[-20:], repr(self._partial)]))
            self._partial += os.read(self._fd, 4096)


@contextlib.contextmanager
def probe(folder: pathlib.Path, source: str, clock: str = "virtual", script: str | None = None, **options):
    """A station that runs `source`, and its console, open before power-on."""
    try:
        find_micropython()
    except ToolMissing as missing:
        pytest.skip(str(missing))
    app = folder / "app"
    app.mkdir(exist_ok=True)
    (app / "main.py").write_text(source)
    if script is not None:
        (folder / "script").write_text(script)
        options["script"] = folder / "script"
    station = SimulatedStation(BOARD, folder / "station", "probe", clock, app_folder=app, **options)
    try:
        console = Console(station.port)
        try:
            station.start()
            yield station, console
        finally:
            console.close()
    finally:
        station.stop()
