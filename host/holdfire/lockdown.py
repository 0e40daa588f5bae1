"""What `holdfire harden` needs besides the chip: the image as it is to lie in an encrypted flash, and the keys' files.

Reads what `make image` built and marks what has to be encrypted in its partition table: programs and the station's key.
The journal, the counters and the clips stay as they are, because they clear single bits of what is written already, and
an encrypted flash takes 16 bytes at a time; they hold nothing secret.
"""

import hashlib
import json
import os
import pathlib
import struct
from collections.abc import Callable

from .errors import UsageError
from .harden import Material, Part

TABLE_AT = 0x8000
ENCRYPTED_LABELS = ("vfs", "programs", "keys")  # besides MicroPython, which always is
STATION_S_OWN = ("keys", "counters", "journal", "clips")
SIGNED = ("bootloader", "micropython")  # what secure boot checks
_ROW = struct.Struct("<2sBBII16sI")
_MAGIC, _MD5_MAGIC = b"\xaa\x50", b"\xeb\xeb" + b"\xff" * 14
_FLAG_ENCRYPTED = 1  # ESP-IDF programming guide, "Partition Tables", flags


def load_image(manifest: pathlib.Path, chip: str) -> tuple[list[Part], list[tuple[int, int]]]:
    """(parts, what is the station's own). Raises UsageError when it is no image, or one for another chip."""
    try:
        said = json.loads(manifest.read_text())
        data = (manifest.parent / said["image"]["file"]).read_bytes()
        if hashlib.sha256(data).hexdigest() != said["image"]["sha256"]:
            raise UsageError(f"{manifest}: image and manifest differ: make image BOARD={said['board']}")
        if said["chip"] != chip:
            raise UsageError(f"{manifest}: an image for {said['chip']}, and this chip is {chip}: wrong board?")
        parts = []
        for part in said["parts"]:
            content = data[part["offset"] : part["offset"] + part["size"]]
            if part["offset"] == TABLE_AT:
                content = mark_encrypted(content)
            parts.append(Part(part["name"], part["offset"], content, True))
        own = [(row["offset"], row["size"]) for row in said["kept"] if row["label"] in STATION_S_OWN]
    except OSError as error:
        text = f"{error.filename}: cannot be read: {error.strerror}; make image BOARD=... builds it"
        raise UsageError(text) from None
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{manifest}: not a manifest of an image, such as build/image/esp32-devkit.json") from None
    return parts, own


def mark_encrypted(table: bytes) -> bytes:
    """The partition table with the flag on what has to be encrypted, and its checksum made anew."""
    rows = b""
    for at in range(0, len(table), _ROW.size):
        row = table[at : at + _ROW.size]
        if not row.startswith(_MAGIC):
            break
        magic, kind, subtype, offset, size, label, flags = _ROW.unpack(row)
        if label.rstrip(b"\0").decode(errors="replace") in ENCRYPTED_LABELS:
            flags |= _FLAG_ENCRYPTED
        rows += _ROW.pack(magic, kind, subtype, offset, size, label, flags)
    return (rows + _MD5_MAGIC + hashlib.md5(rows).digest()).ljust(len(table), b"\xff")


def flash_key(folder: pathlib.Path, mac: str, may_make: bool) -> bytes:
    """The chip's flash key from its file; a new one is made, and on the disk before this returns, if `may_make`.

    Empty when there is none. Raises UsageError.
    """
    path = folder / f"{mac.replace(':', '')}.flash-key"
    try:
        if not path.exists() and may_make:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(os.urandom(32))
                file.flush()
                os.fsync(file.fileno())
            directory = os.open(folder, os.O_RDONLY)
            os.fsync(directory)
            os.close(directory)
        key = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}: name a folder of yours that is not shared") from None
    if key and len(key) != 32:
        raise UsageError(f"{path}: {len(key)} bytes, not 32: restore it from a copy")
    return key


def gather(
    board_chip: str,
    key: bytes,
    manifest: pathlib.Path | None,
    signing_key: pathlib.Path | None,
    digest_of: Callable[[pathlib.Path], bytes],
    is_signed: Callable[[bytes, pathlib.Path], bool],
) -> Material:
    """All of it, with the faults that forbid secure boot."""
    parts, own = load_image(manifest, board_chip) if manifest else ([], [])
    faults = []
    digest = digest_of(signing_key) if signing_key else b""
    if signing_key and parts:
        for part in parts:
            if part.name in SIGNED and not is_signed(part.data, signing_key):
                faults.append(
                    f"{part.name} in the image is not signed by {signing_key.name}: it would never start; a stock "
                    "MicroPython never is (docs/lockdown.md)"
                )
    return Material(parts, own, key, digest, faults)
