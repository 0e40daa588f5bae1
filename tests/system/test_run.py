"""`make run` does what the README says of it: seen from outside, as a person sees it."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.mpy import REPO, find_tool


def simulate(directory, *arguments, timeout=120):
    find_tool("micropython", "MICROPYTHON")
    return subprocess.run([sys.executable, REPO / "tools" / "simulate", "--dir", directory, *arguments], cwd=REPO,
                          capture_output=True, text=True, timeout=timeout, check=False)


def holdfire(directory, *arguments):
    command = [sys.executable, "-m", "holdfire", *arguments, "--dir", directory / "base"]
    return subprocess.run(command, cwd=REPO / "host", capture_output=True, text=True, timeout=30, check=True,
                          env={**os.environ, "PYTHONPATH": str(REPO / "protocol")}).stdout


def processes_of(directory):
    listed = subprocess.run(["ps", "-ww", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [row for row in listed.splitlines() if str(directory) in row and "ps -ww" not in row]


def test_a_network_runs_shows_what_happens_and_goes_on_from_its_state(tmp_path):
    first = simulate(tmp_path, "--seconds", "32", "--pace", "3", "--seed", "1")
    assert first.returncode == 0, first.stdout + first.stderr
    said = first.stdout
    for name in ("ridge", "mill", "bridge"):
        assert re.search(rf"{name} +power on", said)
        assert re.search(rf"{name} +record 1 ", said)
        assert re.search(rf"{name} +says +receipt: the base holds record \d+ and all before it", said)
    assert re.search(r"record \d+ +1 impulse, peak", said)
    assert re.search(r"REFUSED +bad-signature", said)
    assert "holdfire show HASH" in said and "Ctrl-C" in said
    assert processes_of(tmp_path) == []

    before = [json.loads(row) for row in holdfire(tmp_path, "records", "--json", "--limit", "1000").splitlines()]
    assert {row["link"] for row in before} == {"contiguous"}
    refused = holdfire(tmp_path, "refusals", "--reason", "bad-signature", "--json").splitlines()
    assert refused

    second = simulate(tmp_path, "--seconds", "12", "--pace", "100")
    assert second.returncode == 0, second.stdout + second.stderr
    assert "holdfire init" not in second.stdout and "holdfire provision" not in second.stdout
    after = [json.loads(row) for row in holdfire(tmp_path, "records", "--json", "--limit", "1000").splitlines()]
    assert {row["hash"] for row in before} < {row["hash"] for row in after}
    assert {row["link"] for row in after} == {"contiguous"}
    newest = {row["station"]: row["record"]["boot"] for row in sorted(after, key=lambda row: row["seq"])}
    assert newest == {"ridge": 2, "mill": 2, "bridge": 2}


@pytest.fixture
def running(tmp_path):
    """`make run`, once its collector is at work: itself, the collector and three stations."""
    find_tool("micropython", "MICROPYTHON")
    process = subprocess.Popen([sys.executable, REPO / "tools" / "simulate", "--dir", tmp_path], cwd=REPO,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = []
    for line in process.stdout:
        said.append(line)
        if "started" in line:
            break
    assert len(processes_of(tmp_path)) >= 5, "".join(said)
    yield process
    process.kill()
    process.communicate(timeout=60)


def test_ctrl_c_leaves_no_process_behind(running, tmp_path):
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode == 0
    assert processes_of(tmp_path) == []


def test_kill_9_leaves_no_process_behind_either_and_the_base_ends_in_order(running, tmp_path):
    running.kill()
    deadline = time.monotonic() + 60
    while left := processes_of(tmp_path):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    assert not list((tmp_path / "base").glob("*-wal")), "SQLite closed cleanly"
