"""Runs one script on CPython and MicroPython and gives both outputs."""

import os
import pathlib
import subprocess
import sys

from tests.mpy import DEVICE_PATH, REPO, run_micropython

HERE = pathlib.Path(__file__).parent
PATH = (*DEVICE_PATH, REPO / "host", HERE)


def on_cpython(script: str, *args) -> str:
    """Output of tests/both/`script` on this interpreter."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PATH))}
    command = [sys.executable, str(HERE / script), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def on_micropython(script: str, *args) -> str:
    """The same on MicroPython, in the heap of an ESP32."""
    return run_micropython(HERE / script, *args, path=(*DEVICE_PATH, HERE)).stdout


def replay(folder: pathlib.Path, inputs: list[tuple[str, bytes]]) -> list[str]:
    """What protocol_replay.py makes of each (operation, bytes): one answer, since both interpreters must agree."""
    listed = folder / "inputs"
    listed.write_text("".join(f"{name} {data.hex()}\n" for name, data in inputs))
    answers = on_cpython("protocol_replay.py", listed).splitlines()
    others = on_micropython("protocol_replay.py", listed).splitlines()
    assert [pair for pair in zip(answers, others, strict=False) if pair[0] != pair[1]] == []
    assert len(answers) == len(others) == len(inputs)
    return answers
