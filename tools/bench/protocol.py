"""What the protocol package costs on the chip: size of the compiled files, heap, and records a second.

Baselines: the 160 KiB heap of an ESP32 without PSRAM for memory, and cbor2 on this machine's CPython for speed. The
unix port has 64-bit objects, so heap figures are up to twice those of the chip; speed on the chip is not measured here.

example: .venv/bin/python tools/bench protocol --seconds 2
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import time

import cbor2
from tests.mpy import REPO, find_tool, run_micropython

from generate import samples
from holdfire_protocol import cose, record

HELP = "size, heap and speed of the protocol package under MicroPython"
HEAP_BYTES = 160 * 1024
SCRIPT = pathlib.Path(__file__).with_name("_protocol_chip.py")
STEPS = ("encode a record", "decode a record", "frame to line", "line to message")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=int, default=1, help="how long to run each measurement (default 1)")


def main(args: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        compiled = pathlib.Path(folder)
        sizes = compile_all(compiled)
        print(f"compiled (.mpy, xtensawin): {sum(sizes.values())} bytes in {len(sizes)} files")
        for name, size in sorted(sizes.items(), key=lambda pair: -pair[1]):
            print(f"  {name:<12} {size:>6}")
        heap = int(run_micropython(SCRIPT, "import", path=(compiled,)).stdout)
        print(f"heap after import: {heap} bytes, {heap / HEAP_BYTES:.1%} of {HEAP_BYTES} (64-bit objects)")
        signed = compiled / "record"  # as a file: MicroPython dies of an argument of more than 255 characters
        signed.write_bytes(samples.ALERT_MESSAGE)
        out = run_micropython(SCRIPT, "run", signed, samples.NETWORK.hex(), args.seconds, path=(compiled,)).stdout
    rows = [tuple(map(int, text.split())) for text in out.splitlines()]
    empty = rows.pop(0)[0]
    baseline = cbor2_rate(args.seconds)
    print(f"an alert of {len(samples.ALERT_MESSAGE)} bytes; baseline: cbor2 {cbor2_version()} on CPython "
          f"{sys.version.split()[0]}, decode and encode of its payload: {baseline:.0f} a second = 1")
    for name, (rate, allocated) in zip(STEPS, rows, strict=True):
        net = 1 / (1 / rate - 1 / empty)
        print(f"  MicroPython, {name:<16} {net / baseline:.4f} (with a collection each: {rate / baseline:.4f}); "
              f"allocates {allocated} bytes, {allocated / HEAP_BYTES:.1%} of the heap")
    payload = cose.parse(samples.ALERT_MESSAGE).payload
    ours = calls_a_second(lambda: record.encode_record(record.decode_record(payload)), args.seconds)
    print(f"  CPython, decode and encode with every field checked {ours / baseline:.4f}")
    return 0


def compile_all(folder: pathlib.Path) -> dict[str, int]:
    """Compile the package into `folder`; sizes by module. It holds no native code, so the unix port runs it."""
    mpy_cross = find_tool("mpy-cross", "MPY_CROSS")
    (folder / "holdfire_protocol").mkdir()
    sizes = {}
    for path in sorted((REPO / "protocol" / "holdfire_protocol").glob("*.py")):
        target = folder / "holdfire_protocol" / f"{path.stem}.mpy"
        subprocess.run([mpy_cross, "-march=xtensawin", "-o", str(target), str(path)], check=True)
        sizes[path.stem] = target.stat().st_size
    return sizes


def cbor2_rate(seconds: int) -> float:
    payload = cose.parse(samples.ALERT_MESSAGE).payload
    return calls_a_second(lambda: cbor2.dumps(cbor2.loads(payload), canonical=True), seconds)


def calls_a_second(step, seconds: int) -> float:
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for _ in range(100):
            step()
        done += 100
    return done / (time.perf_counter() - start)


def cbor2_version() -> str:
    from importlib.metadata import version

    return version("cbor2")
