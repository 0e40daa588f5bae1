"""Small files that are replaced whole or not at all."""

import contextlib
import errno
import os
import pathlib
import tempfile


def why(error: OSError) -> str:
    """The system's reason, and what to do about the one that needs nothing but room."""
    hint = "; make room, then run the same command again" if error.errno == errno.ENOSPC else ""
    return f"{error.strerror}{hint}"


def sync(fd: int) -> None:
    """On the disk, where there is one: /dev/null and a pipe have none."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def write_atomically(path: pathlib.Path, data: bytes, mode: int, new: bool) -> None:
    """Temporary file, fsync, rename, fsync of the directory. `new` raises FileExistsError instead of replacing."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if new:
            os.link(temporary, path)  # unlike rename, this fails when the name is taken
        else:
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
