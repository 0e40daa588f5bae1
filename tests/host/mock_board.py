"""A board at a port for the flashing tests: esp32-mock-bootloader's chip, with a flash that obeys NOR rules, keeps its
bytes from one connection to the next, and can lose its power in the middle of a write.
"""

import array
import fcntl
import random
import socket
import struct
import termios
import threading

import esptool.loader
from esp32_mock_bootloader import server
from esp32_mock_bootloader.server import BootloaderConnection, FlashImage, handle_client
from serial.urlhandler import protocol_socket

SECTOR_BYTES = 4096

# Most of a flashing's time went into what proves nothing: the mock took its buffer apart byte by byte, again with every
# piece that came; pyserial reads a socket byte by byte, for it does not ask how many there are; and esptool writes out
# in hex what it would show if it were told to trace.


def _slip_frames(raw: bytes) -> list[bytes]:
    """Whole frames between two END bytes (RFC 1055)."""
    middle = raw.split(b"\xc0")[1:-1]
    return [part.replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb") for part in middle if part]


def _bytes_waiting(self: protocol_socket.Serial) -> int:
    waiting = array.array("i", [0])
    fcntl.ioctl(self._socket, termios.FIONREAD, waiting)
    return waiting[0]


server.slip_decode_frames = _slip_frames
protocol_socket.Serial.in_waiting = property(_bytes_waiting)
esptool.loader.HexFormatter.__str__ = lambda self: ""


class Unplugged(OSError):
    pass


class NorImage(FlashImage):
    """Erases what a write begins with, programs by clearing bits, remembers every sector it touched."""

    def __init__(self) -> None:
        super().__init__()
        self.touched: set[int] = set()
        self.operations = 0
        self.cut_at = -1  # the operation at which the power fails; its work is half done
        self.hold_at = -1  # the operation before which the chip is busy until `go` is set; `held` says that it is
        self.held, self.go = threading.Event(), threading.Event()
        self._chance = random.Random(1)

    def begin_defl(self, payload: bytes) -> None:
        super().begin_defl(payload)
        size, _, _, offset = struct.unpack_from("<IIII", payload)
        self.erase_region(offset, -(-size // SECTOR_BYTES) * SECTOR_BYTES)

    def begin_plain(self, payload: bytes) -> None:
        super().begin_plain(payload)
        size, _, _, offset = struct.unpack_from("<IIII", payload)
        self.erase_region(offset, -(-size // SECTOR_BYTES) * SECTOR_BYTES)

    def write_defl_block(self, payload: bytes) -> None:
        (size,) = struct.unpack_from("<I", payload)
        assert self._decompressor is not None
        data = self._decompressor.decompress(payload[16 : 16 + size])
        self._program(self._defl_offset, data)
        self._defl_offset += len(data)

    def write_plain_block(self, payload: bytes) -> None:
        (size,) = struct.unpack_from("<I", payload)
        self._program(self._plain_offset, payload[16 : 16 + size])
        self._plain_offset += size

    def erase_region(self, offset: int, size: int) -> None:
        assert offset % SECTOR_BYTES == size % SECTOR_BYTES == 0
        cut = self._count()
        if cut:
            size = self._chance.randrange(size // SECTOR_BYTES + 1) * SECTOR_BYTES
        self.touched.update(range(offset // SECTOR_BYTES, (offset + size) // SECTOR_BYTES))
        self.data[offset : offset + size] = b"\xff" * size
        if cut:
            raise Unplugged

    def erase_all(self) -> None:
        self.erase_region(0, len(self.data))

    def _program(self, offset: int, data: bytes) -> None:
        cut = self._count()
        if cut:
            data = data[: self._chance.randrange(len(data) + 1)]
        self.touched.update(range(offset // SECTOR_BYTES, (offset + len(data) + SECTOR_BYTES - 1) // SECTOR_BYTES))
        old = int.from_bytes(self.data[offset : offset + len(data)], "little")
        self.data[offset : offset + len(data)] = (old & int.from_bytes(data, "little")).to_bytes(len(data), "little")
        if cut:
            raise Unplugged

    def _count(self) -> bool:
        if self.operations == self.hold_at:
            self.held.set()
            self.go.wait()
        self.operations += 1
        return self.operations - 1 == self.cut_at


class PatientConnection(BootloaderConnection):
    """Waits longer than the 50 ms after which the mock gives up on an acknowledgement: a test machine may be busy."""

    def set_timeout(self, timeout: float) -> None:
        super().set_timeout(5.0)


class MockBoard:
    """Listens at `port` until closed; one connection after the other, as with a cable."""

    def __init__(self, chip: str):
        self.chip, self.flash = chip, NorImage()
        self._end = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self.port = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._end.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            try:
                handle_client(PatientConnection(sock=connection), self._end, self.chip, exit_on_disconnect=True,
                              flash=self.flash)
            except Unplugged:
                pass

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        self._listener.close()

    def __enter__(self) -> "MockBoard":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
