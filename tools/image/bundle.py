"""One tar for a laptop without internet: this project, the wheels it needs, the MicroPython binary, the built image.

The wheels are for machines like this one: same system, same processor, same minor version of Python.
"""

import io
import os
import pathlib
import platform
import subprocess
import sys
import tarfile
import tempfile

from image.errors import ImageError
from image.programs import REPO

REQUIREMENTS = REPO / "tools" / "requirements-dev.txt"
BUILD_TOOLS = ["setuptools>=77", "wheel"]  # pip needs them to install the project itself

README = """Holdfire for a laptop without internet: board {board}

Made for Python {python} on {system} {machine}. Nothing here needs root or a network. In a terminal, in this folder:

    source offline.sh
    cd holdfire
    make flash BOARD={board}

offline.sh tells pip to take the wheels of this folder. The image is in holdfire/build/image, with the SHA-256 of every
part beside it. To build it anew: make image BOARD={board} FIRMWARE=../micropython/{firmware}
All else works, too: make run, make test, .venv/bin/holdfire. What is on the boards: holdfire/boards/README.md
"""

OFFLINE = 'export PIP_NO_INDEX=1 PIP_FIND_LINKS="$PWD/wheels"\n'


def pack(manifest: pathlib.Path, firmware: pathlib.Path, requirements: pathlib.Path = REQUIREMENTS) -> pathlib.Path:
    """Write holdfire-NAME.tar beside the manifest; returns its path."""
    board = manifest.stem
    path = manifest.with_name(f"holdfire-{board}.tar")
    top = f"holdfire-{board}"
    text = README.format(board=board, firmware=firmware.name, python=".".join(platform.python_version_tuple()[:2]),
                         system=platform.system(), machine=platform.machine())
    with tempfile.TemporaryDirectory() as folder:
        wheels = pathlib.Path(folder)
        _make_wheels(wheels, requirements)
        part = path.with_name(f"{path.name}.{os.getpid()}")
        with tarfile.open(part, "w") as tar:
            _add_text(tar, f"{top}/README", text)
            _add_text(tar, f"{top}/offline.sh", OFFLINE)
            tar.add(firmware, f"{top}/micropython/{firmware.name}")
            for wheel in sorted(wheels.glob("*.whl")):
                tar.add(wheel, f"{top}/wheels/{wheel.name}")
            for name in _own_files():
                tar.add(REPO / name, f"{top}/holdfire/{name}")
            for file in (manifest, manifest.with_suffix(".bin")):
                tar.add(file, f"{top}/holdfire/build/image/{file.name}")
        part.replace(path)
    return path


def _make_wheels(folder: pathlib.Path, requirements: pathlib.Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(folder), "-r", str(requirements)]
    done = subprocess.run([*command, *BUILD_TOOLS], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImageError(f"pip cannot get the wheels (no internet?): {done.stderr.strip().splitlines()[-1]}")


def _own_files() -> list[str]:
    done = subprocess.run(["git", "-C", str(REPO), "ls-files", "-z"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImageError("make bundle works in a git checkout only: its list of files comes from git")
    return [name for name in done.stdout.split("\0") if name and (REPO / name).is_file()]


def _add_text(tar: tarfile.TarFile, name: str, text: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(text.encode())
    tar.addfile(entry, io.BytesIO(text.encode()))
