"""The simulated board itself: how fast virtual time passes, what real time costs, what heap the models take.

A probe reads every audio sample and every GNSS sentence through asyncio and does nothing with them. Baseline of the
first two figures is the clock on the wall; of the heap, the 160 KiB of an ESP32 without PSRAM. Other programs running
at the same time make the first two worse.
"""

import argparse
import pathlib
import resource
import tempfile
import time

from simulate.station import SimulatedStation

HELP = "virtual time against real time, cost of real time, heap of the chip models"
REPO = pathlib.Path(__file__).resolve().parent.parent.parent
CHIP_HEAP_BYTES = 160 << 10
PROBE = """
import asyncio
from machine import I2S, UART, Pin
Pin(34, Pin.IN).irq(lambda pin: None, Pin.IRQ_RISING)
mic = asyncio.StreamReader(I2S(0, sck=Pin(26), ws=Pin(25), sd=Pin(33), mode=I2S.RX, bits=32, format=I2S.MONO,
                               rate=16000, ibuf=16384))
gnss = asyncio.StreamReader(UART(2, 9600, tx=Pin(17), rx=Pin(16), rxbuf=512))
async def listen():
    while True:
        await gnss.readline()
async def main():
    asyncio.create_task(listen())
    buffer, samples = bytearray(4096), 0
    while samples < %d:
        samples += await mic.readinto(buffer) // 4
asyncio.run(main())
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=int, default=20, help="of virtual time: --minutes 60")
    parser.add_argument("--seconds", type=int, default=6, help="of real time: --seconds 10")


def run(clock: str, seconds: int) -> tuple[float, float, int]:
    """Seconds on the wall from the firmware's first instruction to its last, CPU seconds, heap of the models."""
    with tempfile.TemporaryDirectory() as folder:
        app = pathlib.Path(folder, "app")
        app.mkdir()
        (app / "main.py").write_text(PROBE % (seconds * 16000))
        station = SimulatedStation(REPO / "boards" / "esp32-devkit.toml", pathlib.Path(folder, "station"), "bench",
                                   clock, app_folder=app, fix_s=2)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            station.start()
            models = int(station.wait_for("models", timeout=60)[1])
            began = time.monotonic()
            station.wait_for("ended", timeout=3600)
            took = time.monotonic() - began
        finally:
            station.stop()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, models


def main(args: argparse.Namespace) -> int:
    took, cpu, models = run("virtual", args.minutes * 60)
    print(f"virtual time: {args.minutes} min with all audio read took {took:.1f} s: "
          f"{args.minutes * 60 / took:.0f} times real time")
    took, cpu, models = run("real", args.seconds)
    print(f"real time: {cpu / took:.2f} of one core for {took:.1f} s, starting included")
    print(f"heap: chip models, flash and board file take {models} bytes, "
          f"{models / CHIP_HEAP_BYTES:.2f} of {CHIP_HEAP_BYTES}")
    return 0
