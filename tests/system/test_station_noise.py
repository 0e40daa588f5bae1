"""Nothing that arrives at a station's console stops it: noise, endless lines, damaged and forged beacons, commands."""

import os
import random
import time

import pytest
import serial
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holdfire_protocol import cose, fields, frame, line, record
from simulate.station import SimulatedStation
from tests.mpy import REPO, find_tool

NETWORK = bytes(range(16))


@pytest.fixture
def station(tmp_path):
    find_tool("micropython", "MICROPYTHON")
    station = SimulatedStation(REPO / "boards" / "esp32-devkit.toml", tmp_path / "station", "noisy", baud=None)
    station.start()
    yield station
    station.stop()


class Terminal:
    """A port and everything the station said on it."""

    def __init__(self, station):
        self.port = serial.Serial(str(station.port), 115200, timeout=0.05, write_timeout=10)
        self.said = b""

    def ask(self, command: bytes, answer: bytes, timeout_s: float = 15):
        """Everything said from the command on, once `answer` is in it."""
        self.said = b""
        self.port.write(b"\r\n" + command + b"\r\n")
        end = time.monotonic() + timeout_s
        while answer not in self.said:
            assert time.monotonic() < end, f"no {answer!r} to {command!r} in {self.said[-600:]!r}"
            self.said += self.port.read(4096)
        return self.said

    def record(self, seq: int) -> bytes:
        """The signed record of that number, once it was sent."""
        reader, end = line.LineReader(), time.monotonic() + 60
        found = reader.feed(self.said)
        while time.monotonic() < end:
            for kind, content in found:
                if kind == line.FRAME:
                    message = frame.decode(content, NETWORK)[1]
                    if record.decode_record(cose.parse(message).payload)["seq"] == seq:
                        return message
            found = reader.feed(self.port.read(4096))
        raise AssertionError(f"record {seq} was not sent")

    def pour(self, data: bytes):
        """In pieces that a serial port would deliver, so that most of it arrives."""
        for at in range(0, len(data), 64):
            self.port.write(data[at : at + 64])
            self.port.read(4096)
            time.sleep(0.001)


def beacon(key, number, receipts=()):
    payload = record.encode_beacon({"number": number, "time": (fields.TIME_HOST, 1_795_500_000_000_000, 1000),
                                    "receipts": list(receipts)})
    kid = cose.key_id(key.public_key().public_bytes_raw())
    message = record.sign1(payload, kid, fields.AAD_BEACON, NETWORK, key.sign)
    return line.encode(frame.encode(fields.FRAME_BEACON, NETWORK, message))


def test_no_input_stops_a_station(station):
    rng = random.Random(20261124)
    key, stranger = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    station.wait_for("watchdog", timeout=30)
    terminal = Terminal(station)
    values = (NETWORK, key.public_key().public_bytes_raw(), os.urandom(32))
    terminal.ask(b"enrol " + b" ".join(value.hex().encode() for value in values), b"enrolled public=")
    terminal.ask(b"", b"record 1:")
    first = terminal.record(1)
    kid = cose.parse(first).kid

    odd = (b"enrol", b"enrol x y z", b"enrol " + b"00" * 500, b"help " * 40, b"\x1b[A\x1b[2J", b"status " + b"9" * 300)
    for command in odd:
        terminal.pour(b"\r\n" + command + b"\r\n")
    for _ in range(15):
        terminal.pour(rng.randbytes(rng.randrange(1, 800)))
    terminal.pour(b"A" * 8_000)
    terminal.pour(b"\r\n" + bytes(2_000) + b"\r\n")
    good = beacon(key, 1)
    for _ in range(60):
        damaged = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged) - 2)] = rng.randrange(256)
        terminal.pour(bytes(damaged) + (b"" if rng.random() < 0.3 else b"\r\n"))
    terminal.pour(b"\r\n" + beacon(stranger, 5) + line.encode(b"\x83") + line.encode(frame.encode(1, NETWORK, b"")))
    terminal.pour(beacon(key, 2, [(kid, 1, bytes(32))]))

    said = terminal.ask(b"status", b"heap ")
    assert b"boot 1," in said and b"recording" in said and b"all well" in said
    refused = [int(row.split()[1]) for row in said.splitlines() if row.startswith(b"refused  ")]
    assert refused[-1] > 40, said
    assert b"receipted 0" in said
    assert station.resets == 0 and station.running
    # After all that, a true receipt is believed, and frees what it covers.
    terminal.ask(beacon(key, 3, [(kid, 1, record.record_hash(first))]), b"the base holds record 1 ")
    assert b"receipted 1," in terminal.ask(b"status", b"heap ")
