"""A USB serial cable: a simulated station's console on one end, a pseudo-terminal that a collector opens on the other.

It does what cables do: bytes that nobody listens to are gone, a pulled plug hangs up the reader and takes the port's
name away, the line has a baud rate and may have noise. It knows nothing of what the bytes mean.
"""

import errno
import os
import pathlib
import pty
import queue
import random
import select
import threading
import time
import tty
from collections.abc import Callable

_CHUNK_PACED = 64  # 5.6 ms at 115200 baud
_CHUNK_FREE = 4096
_LOOK_AGAIN_S = 0.02  # how soon a host that opens the port is noticed
_LATENESS_S = 0.002
_HOST_TAKES_S = 1.0  # when its driver's buffer has been full for so long, the host is asleep and bytes are lost


class Noise:
    """Damage on the line, the same for the same seed. Probabilities are per byte; `garbage_lines` is per chunk."""

    def __init__(self, seed: int, *, flips: float = 0.0, drops: float = 0.0, garbage_lines: float = 0.0):
        self._random = random.Random(seed)
        self._flips, self._drops, self._garbage_lines = flips, drops, garbage_lines

    def damage(self, data: bytes) -> bytes:
        rng, out = self._random, bytearray()
        for byte in data:
            if rng.random() < self._drops:
                continue
            out.append(byte ^ 1 << rng.randrange(8) if rng.random() < self._flips else byte)
        if rng.random() < self._garbage_lines:
            at = rng.randrange(len(out) + 1)
            out[at:at] = b"\n" + rng.randbytes(rng.randrange(1, 200)) + b"\n"
        return bytes(out)


class Cable:
    """One cable and its thread. `path` is a symlink to the pseudo-terminal: there while plugged, gone while not."""

    def __init__(self, path: pathlib.Path, *, baud: int | None = None, noise: Noise | None = None):
        self.path = path
        self.noise = noise
        self.lost_bytes = 0  # sent by the station while nobody listened
        self._seconds_per_byte = 10 / baud if baud else 0.0
        self._chunk = _CHUNK_PACED if baud else _CHUNK_FREE
        self._master: int | None = None
        self._listening = False
        self._look_at = 0.0
        self._to_station: int | None = None
        self._from_station: int | None = None
        self._up_free_at = self._down_free_at = 0.0
        self._pending = b""  # on its way to the host
        self._pending_due = self._pending_until = 0.0
        self._host_asleep = False  # it has the port open and reads nothing
        self._orders: queue.SimpleQueue[tuple[Callable[[], None], threading.Event]] = queue.SimpleQueue()
        self._wake_out, self._wake_in = os.pipe()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=f"cable {path.name}", daemon=True)
        self._thread.start()

    # What others may call; each returns when it is done.

    def plug(self) -> None:
        self._order(self._plug)

    def unplug(self) -> None:
        self._order(self._unplug)

    def attach(self, to_station: int, from_station: int) -> None:
        """Solder it to a station that was just powered on: its stdin and stdout, which the cable owns from here on.
        What the one before had said is still heard."""
        for fd in (to_station, from_station):
            os.set_blocking(fd, False)

        def solder() -> None:
            for _ in range(1000):
                if self._from_station is None:
                    break
                self._from_chip(time.monotonic())
            self._detach()
            self._to_station, self._from_station = to_station, from_station

        self._order(solder)

    def detach(self) -> None:
        self._order(self._detach)

    def close(self) -> None:
        if self._ended:
            return

        def end() -> None:
            self._unplug()
            self._detach()
            self._ended = True

        self._order(end)
        self._thread.join()
        os.close(self._wake_in)
        os.close(self._wake_out)

    @property
    def plugged(self) -> bool:
        return self._master is not None

    # The thread.

    def _order(self, action: Callable[[], None]) -> None:
        done = threading.Event()
        self._orders.put((action, done))
        os.write(self._wake_in, b".")
        done.wait()

    def _run(self) -> None:
        while not self._ended:
            self._turn()

    def _turn(self) -> None:
        now = time.monotonic()
        readers, writers, wake_at = [self._wake_out], [], now + 1.0
        if self._pending and self._pending_due > now:  # still on the wire
            wake_at = min(wake_at, self._pending_due)
        elif self._pending:
            wake_at = min(wake_at, self._pending_until)
            if self._master is not None:
                writers.append(self._master)
        elif self._from_station is not None:
            if self._up_free_at <= now:
                readers.append(self._from_station)
            else:
                wake_at = min(wake_at, self._up_free_at)
        if self._master is not None:
            if not self._listening:
                wake_at = min(wake_at, self._look_at)
            if self._listening and self._down_free_at <= now or not self._listening and self._look_at <= now:
                readers.append(self._master)
            elif self._listening:
                wake_at = min(wake_at, self._down_free_at)
        timeout = 0.0 if self._look_due(now) else max(0.0, wake_at - now)
        readable, writable, _ = select.select(readers, writers, [], timeout)
        now = time.monotonic()
        if self._wake_out in readable:
            os.read(self._wake_out, 64)
            while not self._orders.empty():
                action, done = self._orders.get()
                action()
                done.set()
            return  # the descriptors may have changed
        if self._master is not None and self._master in readers:
            if self._master in readable:
                self._from_host(now)
            elif not self._listening:
                self._listening = True  # no hang-up any more: somebody has opened it
        if self._from_station is not None and self._from_station in readable:
            self._from_chip(now)
        if self._pending and now >= self._pending_due and (writable or now >= self._pending_until):
            self._push(now)

    def _look_due(self, now: float) -> bool:
        return self._master is not None and not self._listening and self._look_at <= now

    def _from_host(self, now: float) -> None:
        assert self._master is not None
        try:
            data = os.read(self._master, self._chunk)
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EAGAIN):
                raise
            data = b""
        if not data:  # nobody has it open (Linux says EIO, macOS an empty read)
            self._listening = False
            self._look_at = now + _LOOK_AGAIN_S
            return
        self._listening = True
        self._down_free_at = now + len(data) * self._seconds_per_byte
        if self.noise:
            data = self.noise.damage(data)
        if self._to_station is not None:
            try:
                os.write(self._to_station, data)
            except BlockingIOError:
                pass  # the chip does not read its UART: overrun
            except BrokenPipeError:
                pass  # it has just stopped; attach() will come

    def _from_chip(self, now: float) -> None:
        assert self._from_station is not None
        try:
            data = os.read(self._from_station, self._chunk)
        except BlockingIOError:  # only before attach(): something still holds the other end
            return
        except ConnectionResetError:
            data = b""
        if not data:
            os.close(self._from_station)
            self._from_station = None
            return
        # A little credit for this thread's own lateness, or a busy host would slow the line down.
        self._up_free_at = max(self._up_free_at, now - _LATENESS_S) + len(data) * self._seconds_per_byte
        self._pending_due = self._up_free_at
        if self.noise:
            data = self.noise.damage(data)
        self._pending += data
        self._pending_until = self._pending_due + (0.0 if self._host_asleep else _HOST_TAKES_S)
        if self._pending_due <= now:
            self._push(now)

    def _push(self, now: float) -> None:
        if self._master is not None and self._listening:
            try:
                self._pending = self._pending[os.write(self._master, self._pending):]
                self._host_asleep = False
            except BlockingIOError:
                self._host_asleep = now >= self._pending_until
            except OSError:  # closed just now
                self._listening = False
        if self._host_asleep or not self._listening:
            self.lost_bytes += len(self._pending)
            self._pending = b""

    def _plug(self) -> None:
        if self._master is not None:
            return
        master, slave = pty.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        name = os.ttyname(slave)
        os.close(slave)
        self._master, self._listening, self._look_at = master, False, 0.0
        beside = self.path.with_name(self.path.name + ".new")
        beside.unlink(missing_ok=True)
        beside.symlink_to(name)
        beside.replace(self.path)

    def _unplug(self) -> None:
        if self._master is None:
            return
        self.path.unlink(missing_ok=True)
        os.close(self._master)
        self._master, self._listening = None, False
        self._push(0.0)  # what was under way is lost

    def _detach(self) -> None:
        for fd in (self._to_station, self._from_station):
            if fd is not None:
                os.close(fd)
        self._to_station = self._from_station = None
