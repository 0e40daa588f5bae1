"""A person at a station's serial port: what it says is shown, what is typed goes to it, everything may be logged.

Waits for the port when the cable is pulled and opens it again. The log is the raw bytes as they came, written through
to the kernel with every read, so a killed console loses none; they are forced to the disk at most once a second and at
the end, so a laptop that loses its power loses one second at most. What the lines mean is viewer.py's.
"""

import os
import select
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import serial

from . import config, files, sources
from .errors import PortError, StorageError
from .output import BAD, DIM, GOOD, WARN
from .viewer import NOTE, Shown, Viewer

SYNC_S = 1.0
IDLE_S = 0.4  # a prompt has no end of line: it is shown after this silence
LOOK_AGAIN_S = 0.5  # how soon a port that comes back is noticed
TURN_S = 0.1
_TYPED_BYTES = 4096

Show = Callable[[Shown], object]


class Log:
    """Raw bytes of the station, appended. Raises StorageError that says what to do."""

    def __init__(self, path: Path):
        self._path = path
        self._unsynced = 0.0  # when the oldest byte came that the disk may not have; 0 for none
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise self._failed(error) from None

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            raise self._failed(error) from None
        self._unsynced = self._unsynced or time.monotonic()

    def sync(self, at_once: bool = False) -> None:
        if self._unsynced and (at_once or time.monotonic() - self._unsynced >= SYNC_S):
            try:
                files.sync(self._fd)
            except OSError as error:
                raise self._failed(error) from None
            self._unsynced = 0.0

    def close(self) -> None:
        try:
            self.sync(at_once=True)
        finally:
            os.close(self._fd)

    def _failed(self, error: OSError) -> StorageError:
        what = f"the log {self._path} cannot be written ({error.strerror})"
        return StorageError(f"{what}: make room, or name another --log, and start again")


class Keyboard:
    """Whole lines that were typed, without blocking. After the end of its input it is silent."""

    def __init__(self, fd: int | None):
        self.fd = fd
        self._partial = b""

    def lines(self) -> list[bytes]:
        if self.fd is None:
            return []
        try:
            data = os.read(self.fd, _TYPED_BYTES)
        except OSError:
            data = b""
        if not data:
            self.fd = None
            left, self._partial = self._partial, b""
            return [left] if left else []
        *whole, self._partial = (self._partial + data).split(b"\n")
        return whole


class Session:
    """One port until Ctrl-C or `stop_at`. Raises PortError when the port cannot be used at the start."""

    def __init__(self, port: str, viewer: Viewer, show: Show, log: Log | None, keyboard: Keyboard, baud: int):
        self._port, self._baud = port, baud
        self._viewer, self._show, self._log, self._keyboard = viewer, show, log, keyboard
        self._serial: serial.Serial | None = sources.open_serial(port, baud)
        self._said = ""
        self._look_at = 0.0
        self._heard_at = time.monotonic()
        self._note(f"{port}, {baud} baud; what you type goes to the station, Ctrl-C ends", DIM)

    def run(self, stop_at: float | None = None) -> None:
        """`stop_at` is a monotonic time; without it only an exception (Ctrl-C) ends this."""
        while stop_at is None or time.monotonic() < stop_at:
            self._turn()

    def close(self) -> None:
        if self._serial is not None:
            self._hang_up()

    def _turn(self) -> None:
        if self._serial is None:
            self._look_again()
        fds = [fd for fd in (self._keyboard.fd, self._serial and self._serial.fileno()) if fd is not None]
        try:
            readable = select.select(fds, [], [], TURN_S)[0]
            if self._serial is not None and self._serial.fileno() in readable:
                self._hear()
        except (OSError, TypeError, ValueError) as error:  # TypeError: pyserial on a port that failed already
            self._lost(error)
            return
        if self._keyboard.fd in readable:
            for typed in self._keyboard.lines():
                self._send(typed)
        if self._log:
            self._log.sync()
        if time.monotonic() - self._heard_at > IDLE_S:
            self._display(self._viewer.idle())

    def _hear(self) -> None:
        assert self._serial is not None
        data = self._serial.read(max(1, min(self._serial.in_waiting, sources.READ_BYTES)))
        if not data:
            return
        self._heard_at = time.monotonic()
        if self._log:
            self._log.write(data)
        self._display(self._viewer.feed(data))

    def _send(self, typed: bytes) -> None:
        # Control characters make no sense to a station, and Ctrl-C would stop one whose firmware has not started yet.
        text = bytes(byte for byte in typed if 32 <= byte < 127)
        if self._serial is None:
            self._note("not sent: the station is not there", WARN)
            return
        try:
            self._serial.write(text + b"\r\n")
        except serial.SerialTimeoutException:
            self._note("not sent: the station does not read", WARN)
        except (OSError, TypeError) as error:
            self._lost(error)

    def _lost(self, error: Exception) -> None:
        if self._serial is None:
            raise error
        self._hang_up()
        self._viewer.restart()
        self._said = ""
        if self._log:
            self._log.sync(at_once=True)
        self._note(f"{self._port} IS GONE (unplugged?); waiting for it to come back", BAD)

    def _look_again(self) -> None:
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_AGAIN_S
        try:
            self._serial = sources.open_serial(self._port, self._baud)
        except PortError as error:
            # That nothing is there is known already; no permission, or another program, is news.
            if os.path.exists(self._port) and str(error) != self._said:
                self._said = str(error)
                self._note(self._said, WARN)
            return
        self._heard_at = time.monotonic()
        self._note(f"{self._port} is back", GOOD)

    def _hang_up(self) -> None:
        assert self._serial is not None
        try:
            self._serial.close()
        except OSError:
            pass
        self._serial = None

    def _display(self, items: Sequence[Shown]) -> None:
        for shown in items:
            self._show(shown)

    def _note(self, text: str, style: str) -> None:
        self._show(Shown(NOTE, f"-- {text}", style))


def choose_port(named: str | None, patterns: Sequence[str] | None = None) -> str:
    """The port to open: the one named, or the only one there is. Raises PortError that lists what there is."""
    if named is not None:
        return named
    found, _ = sources.find_ports(config.Settings().ports if patterns is None else patterns)
    if len(found) == 1:
        return found[0]
    if found:
        raise PortError(f"several ports: name one: {', '.join(found)}")
    raise PortError("no serial port found: plug the station in with a data cable (some cables only charge)")


def keyboard() -> Keyboard:
    """Standard input, where there is one."""
    try:
        return Keyboard(sys.stdin.fileno())
    except (AttributeError, ValueError, OSError):
        return Keyboard(None)
