"""How long from the onset of a sound at the microphone to its record in the base's database, over the serial cable.

A simulated station in real time (modelled chips, cable paced at 115200 baud) and a real collector process. Each shot's
true arrival is known to the simulator; the base's clock at commit is read from the database's own events. The parts:
until the station made the record (its detector waits until the sound is over), and from there until it was committed.
The baseline is what the cable alone needs for that record's line at its baud rate.
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from holdfire import times
from holdfire.views import View, named_of
from holdfire_protocol import fields, frame, line
from simulate.station import SimulatedStation

HELP = "end-to-end latency: onset at the microphone to committed at the base, over serial"
REPO = pathlib.Path(__file__).resolve().parent.parent.parent
BAUD = 115200
BITS_A_BYTE = 10
SPACING_S = 1.5
START_S = 16  # enough for a fix, three sentences that agree, and the detector's floor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--shots", type=int, default=40, help="gunshots to play: --shots 40")
    parser.epilog = "example: .venv/bin/python tools/bench latency --shots 40"


def main(args: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        base, station = pathlib.Path(folder) / "base", None
        holdfire("init", str(base), "--name", "bench")
        station = SimulatedStation(REPO / "boards" / "esp32-devkit.toml", pathlib.Path(folder) / "station", "bench",
                                   utc_us=times.now_us(), fix_s=4, baud=BAUD)
        station.start()
        station.wait_for("watchdog", timeout=30)
        holdfire("provision", str(station.port), "--name", "bench", "--dir", str(base))
        collector = subprocess.Popen(
            [sys.executable, "-m", "holdfire", "collect", str(station.port), "--json", "--dir", str(base)],
            env=environment(), stdout=subprocess.PIPE, text=True)
        try:
            time.sleep(START_S)
            arrivals_us = play(station, args.shots)
            time.sleep(2)
        finally:
            collector.terminate()
            output, _ = collector.communicate(timeout=20)
            station.stop()
        committed_us = {row["hash"]: times.parse(row["at"]) for row in map(json.loads, output.splitlines())
                        if row["kind"] == "record"}
        with contextlib.closing(View(base / "holdfire.sqlite")) as view:
            rows = [dict(row) for row in view.records(limit=10_000)]
    return report(args.shots, arrivals_us, committed_us, rows)


def play(station: SimulatedStation, shots: int) -> list[int]:
    """True UTC of each shot's arrival, as the microphone model reports it."""
    arrivals_us = []
    for shot in range(shots):
        station.play_synth("gunshot", 200)
        arrivals_us.append(int(station.wait_for("play", timeout=10)[1]))
        print(f"\r{shot + 1} of {shots} shots", end="", flush=True)
        time.sleep(SPACING_S)
    print("\r", end="")
    return arrivals_us


def report(shots: int, arrivals_us: list[int], committed_us: dict[str, int], rows: list[dict]) -> int:
    total_ms, made_ms, carried_ms, cable_ms, error_us = [], [], [], [], []
    for row in rows:
        named = named_of(row["message"])
        for observation in named.get("observations", ()):
            if observation["kind"] != fields.KIND_IMPULSE or not named["time"][0]:
                continue
            onset_us = named["time"][1] + observation["onset_us"]
            arrival_us = min(arrivals_us, key=lambda us, onset_us=onset_us: abs(us - onset_us))
            if abs(arrival_us - onset_us) > 200_000:
                continue
            error_us.append(onset_us - arrival_us)
            stored_us = committed_us[row["hash"].hex()]
            total_ms.append((stored_us - arrival_us) / 1000)
            made_ms.append((named["time"][1] - arrival_us) / 1000)
            carried_ms.append((stored_us - named["time"][1]) / 1000)
            text = line.encode(frame.encode(fields.FRAME_RECORD, bytes(16), row["message"]))
            cable_ms.append(len(text) * BITS_A_BYTE * 1000 / BAUD)
    if len(total_ms) < 2:
        print("too few shots were recorded")
        return 1
    baseline_ms = statistics.median(cable_ms)
    print(f"{len(total_ms)} of {shots} shots found in the base's records")
    print(f"{'':38}{'p50':>9}{'p95':>9}   times the cable's {baseline_ms:.1f} ms a record")
    for name, values in (("onset to record made at the station", made_ms),
                         ("record made to committed at the base", carried_ms),
                         ("onset to committed at the base", total_ms)):
        p50, p95 = statistics.median(values), statistics.quantiles(values, n=20)[-1]
        print(f"{name:38}{p50:6.0f} ms{p95:6.0f} ms   {p50 / baseline_ms:.1f} and {p95 / baseline_ms:.1f}")
    print(f"onset as recorded less true arrival: median {statistics.median(error_us):.0f} us, "
          f"{min(error_us)} to {max(error_us)} us")
    return 0


def holdfire(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "holdfire", *arguments], env=environment(), check=True, capture_output=True)


def environment() -> dict[str, str]:
    path = os.pathsep.join(str(REPO / part) for part in ("host", "protocol"))
    return {**os.environ, "PYTHONPATH": path, "HOLDFIRE_PASSPHRASE": "simulated, so no secret"}
