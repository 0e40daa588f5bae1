"""Run code under the real MicroPython unix port, as every test does: limited heap, our files on the path."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

REPO = pathlib.Path(__file__).resolve().parent.parent
DATA = pathlib.Path(os.environ.get("HOLDFIRE_DATA", REPO.parent / "shared" / "data"))
DEVICE_PATH = (REPO / "firmware", REPO / "protocol")


def find_tool(name: str, variable: str) -> str:
    """Path of a tool: the environment variable, this interpreter's folder, then PATH; else skip and say how to help."""
    candidates = [os.environ.get(variable), str(pathlib.Path(sys.executable).parent / name), shutil.which(name)]
    for candidate in candidates:
        if candidate and pathlib.Path(candidate).exists():
            return candidate
    pytest.skip(f"no {name} here (PyPI has no wheel for this platform?): set {variable}=path to run this test")


def run_micropython(source, *args, heap="160K", path=DEVICE_PATH, check=True, timeout=120, stdin=None):
    """Run a script (a Path) or source text under MicroPython. Returns CompletedProcess with text stdout and stderr.

    `heap` is the -X heapsize; `path` the folders put on MICROPYPATH; a non-zero exit fails the test with its output.
    """
    command = [find_tool("micropython", "MICROPYTHON"), "-X", f"heapsize={heap}"]
    command += [str(source)] if isinstance(source, pathlib.Path) else ["-c", source]
    command += [str(arg) for arg in args]
    search = ":".join(str(p) for p in (*path, ".frozen"))
    done = subprocess.run(command, env={**os.environ, "MICROPYPATH": search}, capture_output=True, text=True,
                          timeout=timeout, input=stdin, check=False)
    if check and done.returncode:
        pytest.fail(f"MicroPython exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done


def data_path(*parts: str) -> pathlib.Path:
    """A file or folder of the public test material beside the project; skips the test where it is missing."""
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"public test material not here: {path.name} (set HOLDFIRE_DATA to the folder that holds it)")
    return path
