"""A person and a base on a simulated station's cable: asks the console, and checks every record as a collector does."""

import os
import time
from collections import deque

import serial
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holdfire import ed25519_strict
from holdfire_protocol import fields, frame, line, record

# for programs, not for people
WIDE = ("identity ", "enrolled ", "update board=", "pull ", "clip ", "Traceback", "  File")
COLLECTOR = Ed25519PrivateKey.generate()


class Place:
    """Where the one station of a test stands, started again and again: each new one has the identity of the last."""

    def __init__(self):
        self._running, self._standing = None, False

    def put(self, station):
        """Start it in the place of the last; gives it and its cable."""
        last = self._running
        cabled = Cabled(station)
        if last:
            cabled.network, cabled.public = last[1].network, last[1].public
        self._running, self._standing = (station, cabled), True
        station.start()
        return self._running

    def clear(self):
        """Take it away; the flash stays."""
        if self._standing:
            self._standing = False
            station, cabled = self._running
            cabled.close()
            station.stop()


class Cabled:
    """`ask` and `read_until` give lines; every record that comes by is verified, chained, and kept in `records`."""

    def __init__(self, station):
        self.port = serial.Serial(str(station.port), 115200, timeout=0.05, write_timeout=10)
        self.network = os.urandom(16)
        self.public = b""
        self.records: dict[int, dict] = {}  # by sequence number
        self.hashes: dict[int, bytes] = {}
        self.lines: list[str] = []
        self._reader = line.LineReader()
        self._items: deque = deque()  # read from the port, not yet looked at

    def close(self):
        self.port.close()

    def enrol(self):
        values = (self.network, COLLECTOR.public_key().public_bytes_raw(), os.urandom(32))
        answer = self.ask("enrol " + " ".join(value.hex() for value in values), "enrolled public=")
        self.public = bytes.fromhex(answer.split("public=")[1].split()[0])

    def ask(self, command: str, start: str, timeout: float = 60.0) -> str:
        """The first line after the command that begins so; asked again when a reset swallowed it."""
        end = time.monotonic() + timeout
        while True:
            self.port.write(b"\r" + command.encode() + b"\r")
            try:
                return self.read_until(start, min(5.0, max(end - time.monotonic(), 0.1)))
            except TimeoutError:
                if time.monotonic() >= end:
                    raise

    def read_until(self, start: str, timeout: float = 60.0) -> str:
        """The next line that begins so."""
        return self._until(lambda text: text.startswith(start), repr(start), timeout)

    def record_with(self, wanted, timeout: float = 60.0) -> dict:
        """The first record, of those that came and those that come, of which `wanted(record)` holds."""
        for seq in sorted(self.records):
            if wanted(self.records[seq]):
                return self.records[seq]
        self._until(lambda _: self.records and wanted(list(self.records.values())[-1]), "such a record", timeout)
        return list(self.records.values())[-1]

    def _until(self, enough, what: str, timeout: float) -> str:
        end = time.monotonic() + timeout
        while True:
            self._items.extend(self._reader.feed(self.port.read(512)))
            while self._items:
                kind, content = self._items.popleft()
                text = content.decode(errors="replace") if kind == line.TEXT else ""
                if kind == line.FRAME:
                    self._keep(content)
                elif kind == line.TEXT:
                    assert len(text) <= 79 or text.startswith(WIDE), text
                    self.lines.append(text)
                if enough(text):
                    return text
            if time.monotonic() > end:
                raise TimeoutError(f"no {what} within {timeout:g} s; had\n" + "\n".join(self.lines[-25:]))

    def _keep(self, data: bytes) -> None:
        kind, message = frame.decode(data, self.network)
        assert kind == fields.FRAME_RECORD
        payload = record.verify1(message, self.public, fields.AAD_RECORD, self.network, ed25519_strict.verify)
        named = record.decode_record(payload)
        seq = named["seq"]
        before = self.hashes.get(seq - 1, record.genesis(self.network, self.public) if seq == 1 else None)
        assert before is None or before == named["prev"]
        assert self.hashes.setdefault(seq, record.record_hash(message)) == record.record_hash(message)
        self.records[seq] = named
