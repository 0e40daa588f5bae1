"""A chip's fuses and flash through esptool's packages: the one behind a serial port, or a virtual one to practise on.

The virtual one is espefuse's own emulation of the fuse controller, kept in a folder, with a file for a flash. Decides
nothing: `harden.py` does. esptool talks a lot; only its errors are passed on, one line each.
"""

import abc
import contextlib
import hashlib
import io
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from . import sources
from .errors import PortError, UsageError
from .harden import BOOT_KEY, BURNED, CHIPS, ERASED, FLASH_KEY, FOREIGN, PARTIAL, Part

SECTOR_BYTES = 4096
_CHUNK_BYTES = 0x10000
_PURPOSES = {FLASH_KEY: "XTS_AES_128_KEY", BOOT_KEY: "SECURE_BOOT_DIGEST0"}
_ESP32_BLOCKS = {FLASH_KEY: ("BLOCK1", "flash_encryption"), BOOT_KEY: ("BLOCK2", "secure_boot_v2")}
_FREE_BLOCKS = [f"BLOCK_KEY{number}" for number in range(5)]  # the sixth holds no flash key (ESP-IDF: BLOCK9 quirk)
_VIRTUAL_MAC = 0x24_0A_C4_A1_B2_C3


class FuseBoard(abc.ABC):
    """`harden.Board` by espefuse. `_open` gives its commands, `_flash` the flash."""

    def __init__(self, commands: Any):
        self._commands = commands
        self.chip: str = commands.esp.CHIP_NAME.lower().replace("-", "")
        self.revision: int = commands.esp.get_chip_revision()
        raw = commands.efuses["MAC"].get_raw()
        self.mac = ":".join(f"{byte:02x}" for byte in raw)

    def fuse(self, name: str) -> int:
        return int(self._commands.efuses[name].get_raw())

    def fixed(self, name: str) -> bool:
        return not self._commands.efuses[name].is_writeable()

    def coding(self) -> int:
        return int(self._commands.efuses.coding_scheme) if self.chip == "esp32" else 0

    def key_state(self, kind: str, key: bytes) -> str:
        block = self._block_of(kind, key)
        if block is None:
            return FOREIGN  # no block is free
        efuse = self._commands.efuses[block]
        if not efuse.is_readable():
            return BURNED if not efuse.is_writeable() else PARTIAL
        content = self._content(block)
        if not any(content):
            return ERASED
        if not key and kind == BOOT_KEY and not efuse.is_writeable() and self._purpose_is(block, kind):
            return BURNED  # asked without a key: there is one, whosever it is
        if not key or content != self._as_burned(kind, key):
            return FOREIGN
        whole = not efuse.is_writeable() and kind == BOOT_KEY and self._purpose_is(block, kind)
        return BURNED if whole else PARTIAL

    def burn(self, fuses: Sequence[tuple[str, int]]) -> None:
        # Only bits that are not set: a fuse that is burned may be protected, and espefuse refuses to write those.
        missing = {name: value for name, value in fuses if self.fuse(name) & value != value}
        self._talk(lambda: self._commands.burn_efuse(missing))
        for name, value in fuses:
            if self.fuse(name) & value != value:
                raise PortError(f"{name} is {self.fuse(name)} after it was burned to {value}: the chip is damaged")

    def burn_key(self, kind: str, key: bytes) -> None:
        block = self._block_of(kind, key)
        if len(key) != 32 or block is None:
            raise UsageError(f"{kind}: no key of 256 bits, or no place for it")
        file = io.BytesIO(key)
        if not self._commands.efuses[block].is_readable():
            # Cut between two bits of its protection: burning the key again, unseen, could only spoil it.
            self._talk(lambda: self._commands.write_protect_efuse([block]))
        elif self.chip == "esp32":
            self._talk(lambda: self._commands.burn_key([_ESP32_BLOCKS[kind][1]], [file]))
        else:
            self._talk(lambda: self._commands.burn_key([block], [file], [_PURPOSES[kind]]))
        if self.key_state(kind, key) != BURNED:
            raise PortError(f"{kind}: the chip does not show the key as burned: run the same command again")

    def write_protect(self, name: str) -> None:
        self._talk(lambda: self._commands.write_protect_efuse([name]))
        if not self.fixed(name):
            raise PortError(f"{name} can be written after it was protected: the chip is damaged")

    def holds(self, parts: Sequence[Part], flash_key: bytes) -> bool:
        with self._flash() as flash:
            return all(
                flash.md5(part.offset, len(data)) == hashlib.md5(data).hexdigest()
                for part, data in self._as_written(parts, flash_key)
            )

    def write(self, parts: Sequence[Part], erase: Sequence[tuple[int, int]], flash_key: bytes) -> None:
        with self._flash() as flash:
            for offset, size in erase:
                flash.erase(offset, size)
            for part, data in self._as_written(parts, flash_key):
                for at in range(0, len(data), _CHUNK_BYTES):
                    chunk = data[at : at + _CHUNK_BYTES]
                    if flash.md5(part.offset + at, len(chunk)) != hashlib.md5(chunk).hexdigest():
                        flash.write(part.offset + at, chunk)
        if not self.holds(parts, flash_key):
            raise PortError("the flash does not hold what was written: run the same command again")

    def close(self) -> None:  # noqa: B027  # virtual fuses hold nothing open
        """Let go of the port."""

    @abc.abstractmethod
    def _flash(self) -> contextlib.AbstractContextManager[Any]:
        """The board's flash, open for as long as the context lasts."""

    def _as_written(self, parts: Sequence[Part], flash_key: bytes) -> Iterator[tuple[Part, bytes]]:
        for part in parts:
            data = part.data + b"\xff" * (-len(part.data) % SECTOR_BYTES)
            yield part, encrypt(self.chip, flash_key, part.offset, data) if part.encrypted else data

    def _block_of(self, kind: str, key: bytes) -> str | None:
        """Where the key is or would go: a block of that purpose, else one a cut burning began, else a free one."""
        if self.chip == "esp32":
            return _ESP32_BLOCKS[kind][0]
        for block in _FREE_BLOCKS:
            if self._purpose_is(block, kind):
                return block
        unused = [block for block in _FREE_BLOCKS if self._purpose(block) == "USER"]
        for wanted in (self._as_burned(kind, key) if key else None, bytes(32)):
            for block in unused:
                efuse = self._commands.efuses[block]
                if efuse.is_readable() and self._content(block) == wanted and (key or efuse.is_writeable()):
                    return block
        return None

    def _purpose(self, block: str) -> str:
        return str(self._commands.efuses[block.replace("BLOCK_KEY", "KEY_PURPOSE_")].get())

    def _purpose_is(self, block: str, kind: str) -> bool:
        return self.chip == "esp32" or self._purpose(block) == _PURPOSES[kind]

    def _content(self, block: str) -> bytes:
        return bytes(self._commands.efuses[block].get_raw())

    @staticmethod
    def _as_burned(kind: str, key: bytes) -> bytes:
        # espefuse shows a block last byte first, and flash keys are burned in that order, too.
        return key if kind == FLASH_KEY else key[::-1]

    @staticmethod
    def _talk(action: Any) -> None:
        with _complaining("the chip did not do it"), contextlib.redirect_stdout(io.StringIO()):
            action()


class RealBoard(FuseBoard):
    """The chip at a serial port, in its ROM's download mode."""

    def __init__(self, port: str):
        self._port = port
        super().__init__(self._connect())

    def _connect(self) -> Any:
        if "://" not in self._port:
            sources.open_serial(self._port, 115_200).close()  # esptool does not say why it could not
        from espefuse import init_commands

        what = (
            f"{self._port}: no chip answers in its download mode: end what uses the port, hold BOOT, press RESET, let "
            "BOOT go; a board at level 3 never answers"
        )
        quiet = io.StringIO()
        with _complaining(what), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            commands = init_commands(port=self._port, do_not_confirm=True)
        commands.efuses.postpone = True
        return commands

    def close(self) -> None:
        """Let the board start; or try to, for it may be gone."""
        from esptool import cmds

        with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
            cmds.reset_chip(self._commands.esp, "hard-reset")
        self._commands.esp._port.close()

    @contextlib.contextmanager
    def _flash(self) -> Iterator[Any]:
        """The fuse commands' connection makes way for one with esptool's helper, and comes back afterwards."""
        from esptool import cmds

        self._commands.esp._port.close()
        lost = f"{self._port}: lost the board half way (unplugged? loose cable?)"
        with _complaining(lost), contextlib.redirect_stdout(io.StringIO()):
            loader = cmds.detect_chip(self._port)
            try:
                loader = cmds.run_stub(loader)
                cmds.attach_flash(loader)
                yield _LoaderFlash(loader)
            finally:
                loader._port.close()
        self._commands = self._connect()


class _LoaderFlash:
    def __init__(self, loader: Any):
        self._loader = loader

    def md5(self, offset: int, size: int) -> str:
        return str(self._loader.flash_md5sum(offset, size))

    def write(self, offset: int, data: bytes) -> None:
        from esptool import cmds

        cmds.write_flash(self._loader, [(offset, data)], no_progress=True)

    def erase(self, offset: int, size: int) -> None:
        from esptool import cmds

        cmds.erase_region(self._loader, offset, size)


class VirtualBoard(FuseBoard):
    """espefuse's emulated controller and a file for the flash, in a folder: to practise on, and for tests."""

    def __init__(self, folder: pathlib.Path, chip: str, revision: int | None = None):
        from espefuse import init_commands

        if chip not in CHIPS:
            raise UsageError(f"no virtual {chip}: there are {', '.join(CHIPS)}")
        folder.mkdir(parents=True, exist_ok=True)
        self._flash_path = folder / f"{chip}.flash"
        path = folder / f"{chip}.fuses"
        new = not path.exists()
        with contextlib.redirect_stdout(io.StringIO()):
            commands = init_commands(chip=chip, virt=True, virt_efuse_file=str(path), do_not_confirm=True)
            commands.efuses.postpone = True
            if new:
                self._leave_the_factory(commands.esp, chip, revision)
                commands.get_efuses(do_not_confirm=True)
                commands.efuses.postpone = True
        super().__init__(commands)

    @staticmethod
    def _leave_the_factory(esp: Any, chip: str, revision: int | None) -> None:
        """A revision and an address, which every chip has."""
        esp.set_chip_revision(revision if revision is not None else 301 if chip == "esp32" else 2)
        block, word = (0, 1) if chip == "esp32" else (1, 0)
        esp.direct_write_efuse(word, _VIRTUAL_MAC & 0xFFFFFFFF, block)
        esp.direct_write_efuse(word + 1, _VIRTUAL_MAC >> 32, block)
        esp.save_to_file()

    @contextlib.contextmanager
    def _flash(self) -> Iterator[Any]:
        yield FileFlash(self._flash_path)


@contextlib.contextmanager
def _complaining(what: str) -> Iterator[None]:
    """What esptool and the port raise, as a PortError of one line."""
    import serial
    from esptool.util import FatalError

    try:
        yield
    except (FatalError, serial.SerialException, OSError, RuntimeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise PortError(f"{what} ({first}): run the same command again, it goes on where it was") from None


class FileFlash:
    """A blank flash in a file. Erases sectors and clears bits, as flash does."""

    def __init__(self, path: pathlib.Path, size: int = 4 << 20):
        self._path, self._size = path, size

    def md5(self, offset: int, size: int) -> str:
        return hashlib.md5(self._read()[offset : offset + size]).hexdigest()

    def erase(self, offset: int, size: int) -> None:
        self._put(offset, b"\xff" * size)

    def write(self, offset: int, data: bytes) -> None:
        """As esptool writes: whole sectors, erased first."""
        self.erase(offset, len(data))
        self._put(offset, data)

    def _read(self) -> bytes:
        return self._path.read_bytes() if self._path.exists() else b"\xff" * self._size

    def _put(self, offset: int, data: bytes) -> None:
        content = bytearray(self._read())
        content[offset : offset + len(data)] = data
        self._path.write_bytes(content)


def encrypt(chip: str, flash_key: bytes, offset: int, data: bytes) -> bytes:
    """As the chip's flash controller would read it back as `data` at this offset."""
    import espsecure

    out = io.BytesIO()
    with contextlib.redirect_stdout(io.StringIO()):
        espsecure.encrypt_flash_data(io.BytesIO(flash_key), out, offset, 0xF, CHIPS[chip].aes_xts, io.BytesIO(data))
    return out.getvalue()


def digest_of(signing_key: pathlib.Path, scratch: pathlib.Path) -> bytes:
    """The digest of a signing key that secure boot V2 burns. Raises UsageError."""
    import espsecure
    from esptool.util import FatalError

    try:
        with open(signing_key, "rb") as file, contextlib.redirect_stdout(io.StringIO()):
            espsecure.digest_sbv2_public_key(file, str(scratch / "digest"))
        return (scratch / "digest").read_bytes()
    except OSError as error:
        raise UsageError(f"{signing_key}: cannot be read: {error.strerror}") from None
    except (FatalError, ValueError, TypeError):
        raise UsageError(f"{signing_key}: no key for secure boot V2 (RSA of 3072 bits, in PEM form)") from None


def is_signed(data: bytes, signing_key: pathlib.Path) -> bool:
    """Whether a program or boot loader ends with a signature by this key, as secure boot V2 wants it."""
    import espsecure
    from esptool.util import FatalError

    try:
        with open(signing_key, "rb") as file, contextlib.redirect_stdout(io.StringIO()):
            espsecure.verify_signature_v2(False, None, file, io.BytesIO(data))
    except (FatalError, AssertionError, ValueError):
        return False
    return True
