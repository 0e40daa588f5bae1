"""LittleFS images as MicroPython's VfsLfs2 makes and mounts them: 32-byte reads and programs, blocks of 4 KiB, or of
512 bytes where they are only read."""

import posixpath
from typing import Any

from littlefs import LittleFS, LittleFSError, UserContext

from image.errors import ImageError

BLOCK_BYTES = 4096
SMALL_BLOCK_BYTES = 512
# VfsLfs2(readsize=32, progsize=32, lookahead=32) and its cache of four of them (extmod/vfs_lfsx.c). Names of 255 bytes
# are the library's default, and what MicroPython formats with.
_GEOMETRY: dict[str, Any] = {
    "read_size": 32, "prog_size": 32, "cache_size": 128, "lookahead_size": 32,
}  # fmt: skip


def build(files: dict[str, bytes], size: int, block_bytes: int = BLOCK_BYTES) -> bytes:
    """The image that holds these files, by path; the same bytes for the same files."""
    context = UserContext(size)
    try:
        disk = LittleFS(context, block_size=block_bytes, block_count=size // block_bytes, **_GEOMETRY)
        folders: set[str] = set()
        for path in sorted(files):
            folder = posixpath.dirname(path)
            if folder not in folders and folder:
                disk.makedirs(folder, exist_ok=True)
                folders.add(folder)
            with disk.open(path, "wb") as file:
                file.write(files[path])
        disk.unmount()
    except LittleFSError as error:
        total = sum(map(len, files.values()))
        raise ImageError(f"{len(files)} files of {total} bytes do not fit the partition of {size}: {error}") from None
    return bytes(context.buffer)


def read(image: bytes, block_bytes: int = BLOCK_BYTES) -> dict[str, bytes]:
    """Every file of an image, by path. Raises ImageError when there is no file system in it."""
    context = UserContext(buffer=bytearray(image))
    count = len(image) // block_bytes
    disk = LittleFS(context, mount=False, block_size=block_bytes, block_count=count, **_GEOMETRY)
    try:
        disk.mount()
        files = {}
        for folder, _, names in disk.walk("/"):
            for name in names:
                path = posixpath.join(folder, name)
                with disk.open(path, "rb") as file:
                    files[path.lstrip("/")] = file.read()
    except LittleFSError as error:
        raise ImageError(f"no file system that can be mounted: {error}") from None
    return files
