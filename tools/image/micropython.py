"""The MicroPython binary: the pinned official build from the cache or the network, or any file given by its path.

A build without a pinned SHA-256 is not downloaded unless the caller states one.
"""

import hashlib
import os
import pathlib
import re
import tomllib
import urllib.error
import urllib.request
from dataclasses import dataclass

import boards
from chips import CHIPS
from image import partition_table, program
from image.errors import ImageError

PINS = pathlib.Path(__file__).with_name("micropython.toml")
_TIMEOUT_S = 30
_VERSION = re.compile(rb"MicroPython (v\d[^\0;]{3,60})")


@dataclass(frozen=True)
class MicroPython:
    """The two program images of a complete MicroPython binary, and what it says of itself."""

    version: str
    bootloader: bytes
    app: bytes


def cache_folder() -> pathlib.Path:
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "holdfire" / "micropython"


def fetch(board: boards.Board, sha256: str | None = None) -> pathlib.Path:
    """The pinned build for this board, checked; downloaded when the cache has none."""
    pins = tomllib.loads(PINS.read_text())
    build = board["micropython"]
    name = f"{build}-{pins['date']}-{pins['version']}.bin"
    path, url = cache_folder() / name, pins["url"] + name
    wanted = (sha256 or pins["sha256"].get(build, "")).lower()
    if not wanted:
        raise ImageError(f"no SHA-256 is pinned for {name}: get {url} over two networks, compare them, and give "
                         f"SHA256=... (or FIRMWARE=path)")
    if not path.exists():
        _download(url, path, wanted)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != wanted:
        raise ImageError(f"{path} has SHA-256 {found}, not {wanted}: remove it and try again")
    return path


def load(path: pathlib.Path, board: boards.Board) -> MicroPython:
    """Take a complete binary (what micropython.org offers as .bin) apart and check that it suits the board."""
    chip = CHIPS[board["chip"]]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"FIRMWARE={path}: cannot be read: {error.strerror}") from None
    try:
        bootloader = program.cut(data[: partition_table.OFFSET - chip.bootloader_offset], "boot loader")
        if program.chip_id(bootloader) != chip.image_chip_id:
            ids = {known.image_chip_id: known.title for known in CHIPS.values()}
            other = ids.get(program.chip_id(bootloader), f"chip number {program.chip_id(bootloader)}")
            raise ImageError(f"it is for {other}, and {board['name']} has {chip.title}: take {board['micropython']}")
        rows = partition_table.decode(data[partition_table.OFFSET - chip.bootloader_offset :])
        # Builds to 1.25 have a row for the file system, later ones none; only where the program lies matters here.
        start = next((row["offset"] for row in rows if row["type"] == boards.APP), None)
        if start is None:
            raise ImageError("its partition table has no program")
        app = program.cut(data[start - chip.bootloader_offset :], "program")
    except ImageError as error:
        raise ImageError(f"FIRMWARE={path.name}: {error}") from None
    version = _VERSION.search(app)
    if version is None:
        raise ImageError(f"FIRMWARE={path.name}: the program in it is not MicroPython")
    factory = boards.partition(board, "factory")
    if len(app) > factory["size"]:
        raise ImageError(f"FIRMWARE={path.name}: the program has {len(app)} bytes, 'factory' {factory['size']}")
    return MicroPython(version[1].decode(errors="replace").strip(), bootloader, app)


def _download(url: str, path: pathlib.Path, wanted: str) -> None:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:
            data = response.read()
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise ImageError(f"{url} cannot be downloaded ({reason}): get it where there is internet and give FIRMWARE=path"
                         ) from None
    found = hashlib.sha256(data).hexdigest()
    if found != wanted:
        raise ImageError(f"{url} has SHA-256 {found}, not {wanted}: not kept")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_bytes(data)
    part.replace(path)
