"""The flash image and its manifest: boot loader, partition table, MicroPython, programs, each at its place.

The image begins at flash address 0 and ends with the file system. What a station keeps (keys, counters, journal) lies
behind it; what lies between the parts is blank.
"""

import hashlib
import importlib.metadata
import json
import pathlib
from dataclasses import dataclass
from typing import Any

import boards
from chips import CHIPS
from image import filesystem, micropython, partition_table, program, programs

FORMAT = 1
KEPT = ("nvs", "keys", "counters", "journal", "clips")  # partitions of the station: flashing leaves them alone


@dataclass(frozen=True)
class Part:
    name: str
    offset: int
    data: bytes


def parts_for(board: boards.Board, binary: micropython.MicroPython, files: dict[str, bytes]) -> list[Part]:
    """Everything that has to be in the flash, in the order of its place there."""
    chip = CHIPS[board["chip"]]
    vfs, factory = boards.partition(board, "vfs"), boards.partition(board, "factory")
    both = boards.partition(board, "programs")
    folder = programs.LIBRARY + "/"
    inside = {path.removeprefix(folder): data for path, data in files.items() if path.startswith(folder)}
    outside = {path: data for path, data in files.items() if not path.startswith(folder)}
    first = filesystem.build(inside, both["size"] // 2, filesystem.SMALL_BLOCK_BYTES)
    bootloader = program.with_flash_size(binary.bootloader, board["flash"]["size_bytes"])
    return [
        Part("bootloader", chip.bootloader_offset, bootloader),
        Part("partition table", partition_table.OFFSET, partition_table.encode(board["flash"]["partitions"])),
        Part("micropython", factory["offset"], binary.app),
        Part("main", vfs["offset"], filesystem.build(outside, vfs["size"])),
        # The second set is blank, so that what was flashed runs, whatever ran before (firmware/slots.py).
        Part("programs", both["offset"], first.ljust(both["size"], b"\xff")),
    ]


def join(parts: list[Part]) -> bytes:
    image = bytearray()
    for part in parts:
        image += b"\xff" * (part.offset - len(image)) + part.data
    return bytes(image)


def make(board: boards.Board, firmware: pathlib.Path, folder: pathlib.Path, arch: str | None = None) -> pathlib.Path:
    """Write NAME.bin and NAME.json into `folder`; returns the path of the manifest.

    `arch` is for tests: programs that the simulated chip can run.
    """
    arch = arch or CHIPS[board["chip"]].mpy_arch
    binary = micropython.load(firmware, board)
    files = programs.files_for(board, arch)
    parts = parts_for(board, binary, files)
    image = join(parts)
    name: str = board["name"] + ".bin"
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "board": board["name"],
        "chip": board["chip"],
        "flash_bytes": board["flash"]["size_bytes"],
        "holdfire": importlib.metadata.version("holdfire"),
        "firmware": programs.digest(files),
        "micropython": binary.version,
        "mpy_cross": programs.compiler_version(),
        "arch": arch,
        "mpy": programs.mpy_kind(files),
        "image": {"file": name, "size": len(image), "sha256": _sha256(image)},
        "parts": [
            {"name": part.name, "offset": part.offset, "size": len(part.data), "sha256": _sha256(part.data)}
            for part in parts
        ],
        "kept": [
            {key: row[key] for key in ("label", "offset", "size")}
            for row in board["flash"]["partitions"] if row["label"] in KEPT
        ],
        "files": {path: _sha256(data) for path, data in sorted(files.items())},
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(image)
    path = (folder / name).with_suffix(".json")
    path.write_text(json.dumps(manifest, indent=1) + "\n")
    return path


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
