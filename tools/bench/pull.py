"""How long `holdfire pull` takes over a 115200 baud cable, and whether the station goes on listening.

A simulated station (modelled chips, cable paced at the baud rate) is filled with records by its case switch, in virtual
time; then it runs in real time and is pulled from. The baseline, in the same run, is what the cable alone needs for the
bytes of these records' lines. What the chip itself takes to find records in its flash is not in it: a PC runs the
firmware tens of times faster.
"""

import argparse
import pathlib
import re
import tempfile
import time

from tests.host.made import COLLECTOR, NETWORK, START_US, Base
from tests.system.cabled import Cabled, Place

from holdfire import pull, times
from holdfire.registry import Station
from holdfire_protocol import cose, fields, frame, line
from simulate.station import SimulatedStation

HELP = "pulling records over the cable, against what the cable alone needs; sound missed meanwhile"
REPO = pathlib.Path(__file__).resolve().parent.parent.parent
BAUD = 115_200
BITS_A_BYTE = 10
HOUR_US = 3_600_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--records", type=int, default=1000, help="to pull: --records 1000")
    parser.epilog = "example: .venv/bin/python tools/bench pull --records 300"


def main(args: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        base = Base(folder / "base")
        begin_us = times.now_us() - 100 * HOUR_US
        fill(folder, base, begin_us, args.records)
        station = station_in(folder, "real", begin_us + 99 * HOUR_US)
        station.start()
        try:
            lost_before = lost_samples(station)
            puller = pull.Pull(str(station.port), base.registry, lambda _: folder / "pulled.cbor", False, 60,
                               pull.Watch(print, lambda _: None))  # fmt: skip
            start_s = time.monotonic()
            puller.run()
            took_s = time.monotonic() - start_s
            puller.close()
            lost = lost_samples(station) - lost_before
        finally:
            station.stop()
        found = puller.outcome.file.evidence()
    wire_bytes = sum(len(line.encode(frame.encode(fields.FRAME_RECORD, NETWORK, m.data))) for m in found.messages)
    least_s = wire_bytes * BITS_A_BYTE / BAUD
    print(f"records                      {len(found.messages):8,}")
    print(f"the cable alone              {least_s:8.1f} s     {BAUD} baud, {wire_bytes:,} bytes of lines; the baseline")
    print(f"holdfire pull                {took_s:8.1f} s     {took_s / least_s:.2f} times that")
    print(f"sound missed meanwhile       {lost:8} samples")
    return 0


def station_in(folder: pathlib.Path, clock: str, utc_us: int) -> SimulatedStation:
    return SimulatedStation(REPO / "boards" / "esp32-devkit.toml", folder / "station", "pulled", clock, fix_s=1,
                            utc_us=utc_us, baud=BAUD)  # fmt: skip


def fill(folder: pathlib.Path, base: Base, utc_us: int, count: int) -> None:
    """A life of so many records, and the station enrolled."""
    place = Place()
    station, cabled = place.put(station_in(folder, "virtual", utc_us))
    try:
        cabled.network = NETWORK
        words = (NETWORK.hex(), COLLECTOR.public_key().public_bytes_raw().hex(), bytes(range(32)).hex())
        answer = cabled.ask("enrol " + " ".join(words), "enrolled public=")
        cabled.public = bytes.fromhex(answer.split("public=")[1].split()[0])
        base.registry.add(Station(cose.key_id(cabled.public), cabled.public, "Ridge", START_US))
        cabled.record_with(lambda named: "status" in named)
        while max(cabled.records) < count:
            last = max(cabled.records)
            station.control(f"tamper {'closed' if last % 2 else 'open'}")
            cabled.record_with(lambda _, last=last: max(cabled.records) > last)
    finally:
        place.clear()


def lost_samples(station: SimulatedStation) -> int:
    cabled = Cabled(station)
    try:
        cabled._keep = lambda data: None
        return int(re.search(r"(\d+) samples lost", cabled.ask("status", "microphone"))[1])
    finally:
        cabled.close()
