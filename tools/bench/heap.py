"""Where the station's heap goes: bytes each module takes, and what stays in use at each stage of a start.

Runs the real firmware under MicroPython on the simulated board with a heap far larger than the chip's, so that nothing
fails for want of it, and prints what is in use after a collection. The baseline is the heap of an ESP32 without PSRAM
(160 KiB); what the chip models take is not counted.
"""

import argparse
import pathlib
import tempfile
import time

from holdfire import times
from shrink import Shrinker, chip_sources
from simulate.station import SimulatedStation

HELP = "heap that each module and each stage of the station keeps"
REPO = pathlib.Path(__file__).resolve().parent.parent.parent
CHIP_BYTES = 160 << 10
ROOMY_BYTES = 400 << 10
MODULES = (
    "asyncio holdfire_protocol.fields holdfire_protocol.cbor holdfire_protocol.schema holdfire_protocol.cose "
    "holdfire_protocol.record holdfire_protocol.frame holdfire_protocol.line holdfire_station.sensing.acoustic "
    "holdfire_station.crypto holdfire_station.journal holdfire_station.counters holdfire_station.clock "
    "holdfire_station.nmea holdfire_station.outbox holdfire_station.recorder holdfire_station.beacon "
    "holdfire_station.identity holdfire_station.console holdfire_station.microphone holdfire_station.gnss "
    "holdfire_station.station"
)
PROBE = """
import gc, sys
gc.threshold(4096)
import machine
gc.collect()
start = last = gc.mem_alloc()

def told(name):
    global last
    gc.collect()
    now = gc.mem_alloc()
    print("~ heap", name.replace(" ", "_"), now - last, now - start, file=sys.stderr)
    last = now

import asyncio
for name in %r.split():
    __import__(name)
    told(name)
from board import BOARD
from holdfire_station import overlay
from holdfire_station.station import Station
station = Station(BOARD)
del BOARD, sys.modules["board"]  # as start.py does
overlay.forget("holdfire_protocol.fields")
told("station made")

async def go():
    task = asyncio.create_task(station.run())
    await asyncio.sleep_ms(1500)
    told("tasks running")
    collector = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    station._on_command(["enrol", "11" * 16, collector, "33" * 32])
    told("enrolled")
    await asyncio.sleep_ms(4000)
    told("records made")

asyncio.run(go())
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: .venv/bin/python tools/bench heap"


def main(args: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        app = pathlib.Path(folder) / "app"
        app.mkdir()
        (app / "main.py").write_text(Shrinker(chip_sources()).shrink("main.py", PROBE % MODULES))
        station = SimulatedStation(REPO / "boards" / "esp32-devkit.toml", pathlib.Path(folder) / "station", "heap",
                                   utc_us=times.now_us(), fix_s=3, heap_bytes=ROOMY_BYTES, app_folder=app)
        station.start()
        try:
            rows, end = [], time.monotonic() + 60
            while not rows or rows[-1][0] != "records_made":
                rows.append(station.wait_for("heap", timeout=end - time.monotonic())[1:])
        finally:
            station.stop()
    print(f"{'':36}{'bytes':>8}{'in all':>9}   of the chip's {CHIP_BYTES}")
    for name, own, whole in rows:
        shown = name if "." in name else name.replace("_", " ")
        print(f"{shown:36}{own:>8}{whole:>9}   {int(whole) / CHIP_BYTES:.2f}")
    return 0
