"""The README's way from a board in a box to a first verified record, command by command."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

from tests.host.test_flash_station import Station
from tests.host.test_flash_station import flashed as flashed
from tests.mpy import REPO

PORT = "/dev/ttyUSB0"
README = (REPO / "README.md").read_text(encoding="utf-8")
PATIENCE_S = 120


def commands() -> list[list[str]]:
    """The words of each command in the section's block, comments left out."""
    section = README.split("## From a box to a first record", 1)[1]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)[1]
    return [words for line in block.splitlines() if (words := shlex.split(line, comments=True))]


def run(words, environment):
    done = subprocess.run(words, env=environment, cwd=REPO, capture_output=True, text=True, timeout=PATIENCE_S,
                          check=False)  # fmt: skip
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_readme_leads_from_a_box_to_a_first_verified_record(flashed, tmp_path):
    """`make image` and `make flash` are looked at with `make -n`, then run as the tools behind them, with the real
    esptool against a mock boot loader; the rest is run as it stands, but for the name of the port."""
    steps = commands()
    assert len(steps) <= 7
    environment = {**os.environ, "HOLDFIRE_DIR": str(tmp_path / "base"), "HOLDFIRE_PASSPHRASE": "a walk in the hills"}
    station, told = None, ""
    try:
        for words in steps:
            if words[:2] == ["make", "image"]:
                assert "tools/image" in run(["make", "-n", *words[1:]], environment)
            elif words[:2] == ["make", "flash"]:
                assert f"--port {PORT}" in run(["make", "-n", *words[1:]], environment)
                flash, _ = flashed(None)
                station = Station(tmp_path / "station", flash)
                station.read("(not enrolled)", PATIENCE_S)
                os.close(station._fd)
            else:
                assert words[0] == ".venv/bin/holdfire"
                real = [sys.executable, "-m", "holdfire", *words[1:]]
                real = [str(station._station.port) if word == PORT else word for word in real]
                if words[1] == "collect":
                    collect(real, environment)
                else:
                    told = run(real, environment)
    finally:
        if station is not None:
            station._station.stop()
    assert "Ridge north" in told and "status" in told


def collect(words, environment):
    """Until a record is stored."""
    process = subprocess.Popen(words, env=environment, cwd=REPO, stdout=subprocess.DEVNULL)
    try:
        end, last = time.monotonic() + PATIENCE_S, 0
        while not last:
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.5)
            shown = subprocess.run([sys.executable, "-m", "holdfire", "stations", "--json"], env=environment, cwd=REPO,
                                   capture_output=True, text=True, check=False).stdout
            last = max((json.loads(line)["last_seq"] or 0 for line in shown.splitlines()), default=0)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE_S)
