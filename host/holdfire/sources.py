"""Serial ports that come and go: found, opened, read, written, closed and opened again.

A thread a port reads, and one writes, because pyserial has no asyncio that works on pseudo-terminals and macOS (kqueue
does not serve every tty), while a blocking read with a timeout works wherever pyserial does. Every port has a bounded
inbox; when it is full the port is not read, the driver's buffer fills, and the station keeps what no receipt covers: so
nothing is lost and one noisy port cannot push out another. Knows nothing of lines, frames or records.
"""

import errno
import glob
import grp
import os
import stat
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence

import serial

from .errors import PortError
from .events import Event

READ_BYTES = 4096
READ_TIMEOUT_S = 0.2  # how soon a reader notices that it should stop where cancel_read does not reach
WRITE_TIMEOUT_S = 2.0
END = b""  # in the inbox: the port closed; what comes after it is of another life of the port
OUTBOX_LINES = 64  # beacons waiting for a port; the oldest gives way, since a later beacon says all that it said


class Inbox:
    """Bytes on their way from the ports' threads to the collector, bounded for each port."""

    def __init__(self, port_bytes: int, on_data: Callable[[], None]):
        self._port_bytes = port_bytes
        self._on_data = on_data  # called on the port's thread
        self._waiting: dict[str, deque[bytes]] = {}
        self._sizes: dict[str, int] = {}
        self._changed = threading.Condition()
        self._closed = False

    def put(self, port: str, data: bytes) -> None:
        """Blocks while the port has no room; after `close` drops, and the station sends it again."""
        with self._changed:
            while self._sizes.get(port, 0) + len(data) > self._port_bytes and not self._closed:
                self._changed.wait()
            if self._closed:
                return
            self._waiting.setdefault(port, deque()).append(data)
            self._sizes[port] = self._sizes.get(port, 0) + len(data)
        self._on_data()

    def take(self, max_bytes: int) -> list[tuple[str, bytes]]:
        """What waits, at most about `max_bytes`, ports in turn."""
        taken: list[tuple[str, bytes]] = []
        size = 0
        with self._changed:
            while self._waiting and size < max_bytes:
                for port in list(self._waiting):
                    data = self._waiting[port].popleft()
                    self._sizes[port] -= len(data)
                    size += len(data)
                    taken.append((port, data))
                    if not self._waiting[port]:
                        del self._waiting[port], self._sizes[port]
            if taken:
                self._changed.notify_all()
        return taken

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Port:
    """One open serial port and its two threads. `fault` says why it ended, once it has."""

    def __init__(self, path: str, baud: int, inbox: Inbox):
        self.path = path
        self.real_path = os.path.realpath(path)
        self.fault = ""
        self._inbox = inbox
        self._serial = open_serial(path, baud)
        self._stopping = False
        self._lines: deque[bytes] = deque(maxlen=OUTBOX_LINES)
        self._wake = threading.Condition()
        self._reader = threading.Thread(target=self._read, name=f"read {path}", daemon=True)
        self._writer = threading.Thread(target=self._write, name=f"write {path}", daemon=True)
        self._reader.start()
        self._writer.start()

    def send(self, line: bytes) -> None:
        """Queue one line; never blocks."""
        with self._wake:
            self._lines.append(line)
            self._wake.notify()

    def close(self) -> None:
        """Ends both threads and the port. The inbox must be taken from or closed meanwhile."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        for cancel in (self._serial.cancel_read, self._serial.cancel_write):
            try:
                cancel()
            except (OSError, TypeError):  # TypeError: pyserial on a port that failed already
                pass
        self._writer.join()
        self._reader.join()
        try:
            self._serial.close()
        except OSError:
            pass

    def _read(self) -> None:
        try:
            while not self._stopping:
                data = self._serial.read(min(READ_BYTES, self._serial.in_waiting or 1))
                if data:
                    self._inbox.put(self.path, data)
        except (OSError, TypeError) as error:  # serial.SerialException is an OSError
            self._fail(error)

    def _write(self) -> None:
        while True:
            with self._wake:
                while not self._lines and not self._stopping:
                    self._wake.wait()
                if self._stopping:
                    return
                line = self._lines.popleft()
            try:
                self._serial.write(line)
            except serial.SerialTimeoutException:
                pass  # the station is not reading; the next beacon says the same and more
            except (OSError, TypeError) as error:
                self._fail(error)
                return

    def _fail(self, error: Exception) -> None:
        if not self._stopping and not self.fault:
            code = getattr(error, "errno", None)
            self.fault = os.strerror(code) if isinstance(code, int) else "the device is gone"


class Ports:
    """Keeps the wanted ports open: `scan` again and again, on any thread; `close` waits for a scan and is the last."""

    def __init__(
        self,
        patterns: Sequence[str],
        baud: int,
        inbox: Inbox,
        tell: Callable[[Event], None],
    ):
        self._patterns = patterns
        self._baud = baud
        self._inbox = inbox
        self._tell = tell
        self._said: dict[str, str] = {}  # what was last said of a path that is not open, so that it is said once
        self.open: dict[str, Port] = {}
        self._lock = threading.Lock()
        self._closed = False

    def scan(self) -> None:
        """Close what went away, open what came."""
        with self._lock:
            if not self._closed:
                self._scan()

    def _scan(self) -> None:
        wanted, missing = find_ports(self._patterns)
        for path, port in list(self.open.items()):
            if port.fault or path not in wanted or os.path.realpath(path) != port.real_path:
                self._close(port, port.fault or "unplugged")
        self._said = {path: said for path, said in self._said.items() if path in wanted or path in missing}
        for path in missing:
            self._say(path, Event("port-missing", f"{path} does not exist; waiting for it", path))
        for path in wanted:
            if path not in self.open:
                try:
                    self.open[path] = Port(path, self._baud, self._inbox)
                except PortError as error:
                    self._say(path, Event("port-failed", str(error), path))
                else:
                    self._said.pop(path, None)
                    self._tell(Event("port-opened", f"{path} is open", path))

    def send(self, path: str, line: bytes) -> None:
        """Write a line to a port, if it is open."""
        port = self.open.get(path)
        if port is not None:
            port.send(line)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for port in list(self.open.values()):
                del self.open[port.path]
                port.close()

    def _close(self, port: Port, why: str) -> None:
        del self.open[port.path]
        port.close()
        self._inbox.put(port.path, END)
        self._tell(Event("port-lost", f"{port.path}: {why}; waiting for it to come back", port.path))

    def _say(self, path: str, event: Event) -> None:
        if self._said.get(path) != event.text:
            self._said[path] = event.text
            self._tell(event)


def find_ports(patterns: Sequence[str]) -> tuple[list[str], list[str]]:
    """(paths that exist, each device once; plain paths that do not exist)."""
    found: dict[str, str] = {}  # device -> the first path that leads to it
    missing = []
    for pattern in patterns:
        if glob.has_magic(pattern):
            paths = sorted(path for path in glob.glob(pattern) if os.path.exists(path))
        elif os.path.exists(pattern):
            paths = [pattern]
        else:
            missing.append(pattern)
            continue
        for path in paths:
            found.setdefault(os.path.realpath(path), path)
    return list(found.values()), missing


def open_serial(path: str, baud: int) -> serial.Serial:
    """Open for us alone, and without resetting the board. Raises PortError that says what to do.

    DTR and RTS both asserted is what the kernel does at open, and on ESP32 boards with the usual two-transistor circuit
    (NodeMCU and the DevKits) neither EN nor GPIO0 is pulled then; changing them one after the other would pass through
    the state that resets the chip. USB-CDC consoles also send only while DTR is asserted.
    """
    try:
        if not stat.S_ISCHR(os.stat(path).st_mode):
            raise PortError(f"{path} is not a serial port: name the device, such as /dev/ttyUSB0")
        port = serial.Serial()
        port.port = path
        port.baudrate = baud
        port.exclusive = True
        port.timeout = READ_TIMEOUT_S
        port.write_timeout = WRITE_TIMEOUT_S
        port.dtr = True
        port.rts = True
        port.open()
    except (OSError, ValueError) as error:
        raise PortError(_advise(path, error)) from None
    return port


def _advise(path: str, error: Exception) -> str:
    code = getattr(error, "errno", None)
    if code in (errno.EACCES, errno.EPERM):
        return f"{path}: permission denied; {_how_to_get_access(path)}"
    if code in (errno.EBUSY, errno.EAGAIN):
        return f"{path}: another program is using it (holdfire collect? a console? a terminal?); close that program"
    if code == errno.ENOENT:
        return f"{path}: no such port; is the station plugged in? (ls /dev/tty* shows the ports)"
    if code in (errno.ENXIO, errno.ENODEV, errno.EIO):
        return f"{path}: nothing answers there; is the cable in and the board powered?"
    if code in (errno.ENOTTY, errno.EINVAL) or code is None:
        return f"{path} is not a serial port that can be set to this speed; name another device"
    return f"{path}: {os.strerror(code)}"


def _how_to_get_access(path: str) -> str:
    if sys.platform.startswith("linux"):
        try:
            group = grp.getgrgid(os.stat(path).st_gid).gr_name
        except (KeyError, OSError):
            group = "dialout"
        if group != "root":
            return f"run: sudo usermod -aG {group} $USER, then log in again"
    return "make it readable and writable for this user"
