"""One chip in its boot loader, by esptool: what it is, checksums of its flash, reading, writing, erasing.

Nothing here decides what to write. esptool's own output is kept quiet; its exceptions pass through.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import serial
from esptool import cmds
from esptool.logger import TemplateLogger, log
from esptool.reset import ResetStrategy
from esptool.util import FatalError, flash_size_bytes

SECTOR_BYTES = 4096
FAST_BAUD = 460800
FAILURES = (FatalError, serial.SerialException, OSError, RuntimeError)  # what a port or a chip that goes away raises


class Chip:
    """`name` is spelled as in board files."""

    def __init__(self, loader: Any):
        self._loader = loader
        self.name = loader.CHIP_NAME.lower().replace("-", "")
        self.title = loader.CHIP_NAME
        self.locked = bool(loader.secure_download_mode or loader.get_flash_encryption_enabled())

    def ready(self) -> None:
        """Load esptool's helper into the chip's RAM, so that checksums and fast transfers are there."""
        self._loader = cmds.run_stub(self._loader)
        self._loader.WRITE_FLASH_ATTEMPTS = 1  # esptool reconnects into a loader of its own and leaves this one stale
        if not self._loader.serial_port.startswith(("socket:", "rfc2217:")):
            self._loader.change_baud(FAST_BAUD)
        cmds.attach_flash(self._loader)

    def flash_bytes(self) -> int | None:
        size = cmds.detect_flash_size(self._loader)
        return flash_size_bytes(size) if size else None

    def mac(self) -> str:
        return ":".join(f"{byte:02x}" for byte in self._loader.read_mac())

    def md5(self, offset: int, size: int) -> str:
        return str(self._loader.flash_md5sum(offset, size))

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self._loader.read_flash(offset, size))

    def write(self, offset: int, data: bytes) -> None:
        """Erase and write whole sectors; esptool compares the chip's MD5 of them afterwards."""
        cmds.write_flash(self._loader, [(offset, data)], no_progress=True)

    def erase(self, offset: int, size: int) -> None:
        cmds.erase_region(self._loader, offset, size)

    def reset(self) -> None:
        cmds.reset_chip(self._loader, "hard-reset")


@contextlib.contextmanager
def connected(port: str) -> Iterator[Chip]:
    """The chip at that port, reset into its boot loader."""
    loader = cmds.detect_chip(port, connect_attempts=3)
    try:
        yield Chip(loader)
    finally:
        loader._port.close()


class _Quiet(TemplateLogger):
    """esptool talks a lot; what matters comes as an exception, and progress is told by us."""

    def print(self, *args: Any, **kwargs: Any) -> None: ...
    def note(self, message: str) -> None: ...
    def warning(self, message: str) -> None: ...
    def error(self, message: str) -> None: ...
    def stage(self, finish: bool = False) -> None: ...
    def progress_bar(self, cur_iter: int, total_iters: int, prefix: str = "", suffix: str = "",
                     bar_length: int = 30) -> None: ...
    def set_verbosity(self, verbosity: str) -> None: ...


log.set_logger(_Quiet())  # once: esptool has one logger a process
ResetStrategy.print_once.already_printed = True  # this one holds on to the logger before
