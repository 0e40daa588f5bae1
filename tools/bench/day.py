"""A station's day in virtual time: heartbeats, detections, a base that answers; what its heap does meanwhile.

The real firmware under MicroPython with the heap of an ESP32 without PSRAM, on modelled chips, hears a day of noise
with gunshots in it. Every record is verified and answered with a signed beacon. Printed: what was heard and receipted,
the free heap that the station itself states in each status record, and how much faster than the day this ran.
"""

import argparse
import contextlib
import os
import pathlib
import random
import select
import tempfile
import time

import serial
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holdfire import ed25519_strict
from holdfire_protocol import cose, fields, frame, line, record
from simulate.station import SimulatedStation, synthetic_sound

HELP = "a simulated day: records, receipts and heap of one station"
REPO = pathlib.Path(__file__).resolve().parent.parent.parent
UTC_START_US = 1_795_478_400_000_000  # 2026-11-24T00:00:00Z
WARM_UP_S = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hours", type=float, default=24.0, help="length of the day: --hours 24")
    parser.add_argument("--detections", type=int, default=500, help="gunshots in it: --detections 500")
    parser.add_argument("--heap", type=int, default=160, help="KiB of heap for the firmware: --heap 160")
    parser.add_argument("--seed", type=int, default=1, help="when the shots fall: --seed 1")
    parser.epilog = "example: .venv/bin/python tools/bench day --hours 24 --detections 500"


def main(args: argparse.Namespace) -> int:
    started = time.monotonic()
    day = Day(args.hours, args.detections, args.seed, args.heap)
    day.run(lambda share: print(f"\r{share:4.0%} of the day", end="", flush=True))
    took_s = time.monotonic() - started
    free = [status["heap_free"] for status in day.statuses]
    third = max(len(free) // 3, 1)
    print(f"\r{args.hours:g} h of station time in {took_s:.0f} s: {args.hours * 3600 / took_s:.0f} times real time")
    print(f"heap given to the firmware     {args.heap} KiB")
    print(f"records verified and receipted {day.receipted} of {day.records}, {len(day.statuses)} with status")
    print(f"impulses played                {args.detections}")
    print(f"impulses in verified records   {day.impulses}")
    print(f"heap free after collection     first third {min(free[:third])} to {max(free[:third])} bytes, "
          f"last third {min(free[-third:])} to {max(free[-third:])}")
    print(f"sound missed                   {sum(status['lost_ms'] for status in day.statuses)} ms")
    print(f"said of faults                 {day.faults or 'nothing'}")
    return 1 if day.faults or day.receipted < day.records else 0


class Day:
    """`run` plays it; then `records`, `receipted`, `impulses`, `statuses` and `faults` tell."""

    def __init__(self, hours: float, detections: int, seed: int, heap_kib: int):
        self.length_s = hours * 3600
        self.detections, self.seed, self.heap_kib = detections, seed, heap_kib
        self.key = Ed25519PrivateKey.generate()
        self.network = os.urandom(16)
        self.public = b""
        self.previous = b""
        self.previous_seq = 0
        self.records = self.receipted = self.impulses = self.beacons = 0
        self.statuses: list[dict] = []
        self.faults: list[str] = []

    def run(self, progress=lambda share: None) -> None:
        with tempfile.TemporaryDirectory() as folder:
            script = pathlib.Path(folder) / "script"
            script.write_text(self.script())
            station = SimulatedStation(
                REPO / "boards" / "esp32-devkit.toml", pathlib.Path(folder) / "station", "day", clock="virtual",
                utc_us=UTC_START_US, ppm=12, script=script, heap_bytes=self.heap_kib << 10)
            station.start()
            with contextlib.closing(serial.Serial(str(station.port), 115200, timeout=0)) as port:
                try:
                    self.enrol(port)
                    self.answer(port, station, progress)
                finally:
                    station.stop()

    def script(self) -> str:
        """Shots at random moments, at least five seconds apart so that each is one."""
        rng = random.Random(self.seed)
        slots = range(WARM_UP_S, int(self.length_s) - 10, 5)
        times_s = sorted(rng.sample(slots, min(self.detections, len(slots))))
        sounds = [synthetic_sound("gunshot", distance_m) for distance_m in (100, 200, 400)]
        return "".join(f"{second * 1000 + rng.randrange(1000)} play {rng.choice(sounds)} 256\n" for second in times_s)

    def enrol(self, port: serial.Serial) -> None:
        values = (self.network, self.key.public_key().public_bytes_raw(), os.urandom(32))
        port.write(f"enrol {' '.join(value.hex() for value in values)}\r\n".encode())
        reader, end = line.LineReader(), time.monotonic() + 20
        while not self.public:
            if time.monotonic() > end:
                raise TimeoutError("the station did not answer `enrol`")
            for kind, content in self.take(port, reader):
                if kind == line.TEXT and content.startswith(b"enrolled public="):
                    self.public = bytes.fromhex(content.split()[1].partition(b"=")[2].decode())
        self.previous = record.genesis(self.network, self.public)

    def take(self, port: serial.Serial, reader: line.LineReader) -> list:
        select.select([port.fileno()], [], [], 0.2)
        return reader.feed(port.read(65536))

    def answer(self, port: serial.Serial, station: SimulatedStation, progress) -> None:
        reader, uptime_s = line.LineReader(), 0.0
        while uptime_s < self.length_s:
            if not station.running:
                raise RuntimeError(f"the station ended: {list(station.events)}")
            for kind, content in self.take(port, reader):
                if kind == line.BAD:
                    self.faults.append(content)
                elif kind == line.FRAME:
                    named = self.read(frame.decode(content, self.network)[1])
                    port.write(self.beacon(named))
                    uptime_s = named["uptime_ms"] / 1000
                    progress(min(uptime_s / self.length_s, 1.0))
                elif content.startswith(b"receipt:"):
                    self.receipted = max(self.receipted, int(content.split()[5]))
                elif b"failed" in content or b"Error" in content or b"refused" in content:
                    self.faults.append(content.decode())
        end = time.monotonic() + 5
        while self.receipted < self.records and time.monotonic() < end:
            for kind, content in self.take(port, reader):
                if kind == line.TEXT and content.startswith(b"receipt:"):
                    self.receipted = max(self.receipted, int(content.split()[5]))
                elif kind == line.FRAME:
                    port.write(self.beacon(self.read(frame.decode(content, self.network)[1])))

    def read(self, message: bytes) -> dict:
        """Verify a record and its place in the chain; one sent again is only answered again."""
        payload = record.verify1(message, self.public, fields.AAD_RECORD, self.network, ed25519_strict.verify)
        named = record.decode_record(payload)
        if named["seq"] > self.previous_seq:
            if named["prev"] != self.previous or named["seq"] != self.previous_seq + 1:
                self.faults.append(f"record {named['seq']} does not follow record {self.previous_seq}")
            self.previous, self.previous_seq = record.record_hash(message), named["seq"]
            self.records += 1
            self.impulses += sum(o["kind"] == fields.KIND_IMPULSE for o in named.get("observations", ()))
            if "status" in named:
                self.statuses.append(named["status"])
        return named

    def beacon(self, named: dict) -> bytes:
        self.beacons += 1
        _, utc_us, _ = named["time"]
        payload = record.encode_beacon({
            "number": self.beacons,
            "time": (fields.TIME_HOST, utc_us or UTC_START_US, 1_000_000),
            "receipts": [(cose.key_id(self.public), self.previous_seq, self.previous)],
        })
        kid = cose.key_id(self.key.public_key().public_bytes_raw())
        message = record.sign1(payload, kid, fields.AAD_BEACON, self.network, self.key.sign)
        return line.encode(frame.encode(fields.FRAME_BEACON, self.network, message))
