"""Which program is running: SHA-256 over the program files themselves, read back from where they are run."""

import hashlib
import os

import holdfire_protocol

CHUNK = 512


def of_programs() -> bytes:
    """First 8 bytes of SHA-256 over name, length and content of every program file, in order of name."""
    total = hashlib.sha256()
    buffer = memoryview(bytearray(CHUNK))
    _add_folder(total, buffer, _folder(__file__), "holdfire_station")
    _add_folder(total, buffer, _folder(holdfire_protocol.__file__), "holdfire_protocol")
    return total.digest()[:8]


def _folder(path: str) -> str:
    return path.rsplit("/", 1)[0] if "/" in path else "."


def _add_folder(total, buffer, folder: str, name: str) -> None:
    for entry in sorted([row[0] for row in os.ilistdir(folder)]):
        path = folder + "/" + entry
        if os.stat(path)[0] & 0x4000:
            if entry != "__pycache__":
                _add_folder(total, buffer, path, name + "/" + entry)
        elif entry.endswith((".py", ".mpy")):
            total.update(("%s/%s %d\n" % (name, entry, os.stat(path)[6])).encode())
            with open(path, "rb") as file:
                while True:
                    size = file.readinto(buffer)
                    if not size:
                        break
                    total.update(buffer[:size])
