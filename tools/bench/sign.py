"""What a signature costs the station, against Ed25519 in big integers (tools/bench/sign_baseline.py) in the same run.

Times are of this PC's MicroPython: the best of several, one interpreter, both implementations. Instructions are those
of the machine code that mpy-cross emits for the ESP32, executed one by one (tools/bench sign_xtensa), and for the
interpreter's share an estimate from those that valgrind counts on this PC, where it is installed.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

from . import sign_spread, sign_xtensa

REPO = pathlib.Path(__file__).resolve().parents[2]
# A step of a bytecode loop was counted at 300 to 460 instructions on an emulated ESP32; valgrind has 255 to 272 here.
CHIP_TO_PC = 1.5
HELP = "speed, size and memory of the station's signatures, as ratios to a big-integer baseline"
TIMES = """
import sys, time
from holdfire_station.crypto import PrivateKey, verify
seed, message = bytes(range(32)), bytes(128)
key = PrivateKey.from_seed(seed)
signature = key.sign(message)
sys.path.append(sys.argv[1])
import sign_baseline as baseline
baseline.products = 0
assert baseline.sign(seed, key.public_bytes, message) == signature
print(baseline.products)

def best(*calls):
    # All in turn, so that what else the PC does meets all alike.
    least = [1 << 30] * len(calls)
    for _ in range(int(sys.argv[2])):
        for i in range(len(calls)):
            start = time.ticks_us()
            calls[i]()
            least[i] = min(least[i], time.ticks_diff(time.ticks_us(), start))
    print(*least)

best(lambda: baseline.sign(seed, key.public_bytes, message), lambda: key.sign(message))
signed = (key.public_bytes, message, signature)
best(lambda: baseline.verify(*signed), lambda: verify(*signed))
"""
MEMORY = """
import gc
from array import array

def allocated():
    gc.collect()
    return gc.mem_alloc()

steps = [allocated()]
from holdfire_station.crypto import PrivateKey
steps.append(allocated())
from holdfire_station.crypto import point
from holdfire_station.crypto.signing import Signing
work = Signing()
key = PrivateKey.from_seed(bytes(32))
signature = bytearray(64)
key.sign_into(bytes(128), signature)
steps.append(allocated())
POISON = -0x35014542
for i in range(len(work.w)):
    work.w[i] = POISON
work.w[20 * point.ONE : 20 * point.ONE + 20] = array("i", [1] + 19 * [0])
work.begin(key._secret, bytes(128), signature)
while work.step():
    pass
end = len(work.w)
while work.w[end - 1] == POISON:
    end -= 1
spare = 4 * (len(work.w) - end)
steps.append(allocated())
from holdfire_station.crypto import opening, verifying
steps.append(allocated())
print(steps[1] - steps[0], steps[2] - steps[1] - spare, spare, steps[4] - steps[3])
"""


def micropython(script: str, path, *args) -> list[list[int]]:
    """Lines of numbers that a script prints under MicroPython with 160 KB of heap."""
    command = [pathlib.Path(sys.executable).parent / "micropython", "-X", "heapsize=160K", "-c", script, *args]
    done = subprocess.run(command, env={"MICROPYPATH": f"{path}:.frozen", "PATH": "/usr/bin:/bin"}, check=True,
                          capture_output=True, text=True)
    return [[int(number) for number in line.split()] for line in done.stdout.splitlines()]


def compiled(folder: pathlib.Path, arch: str) -> int:
    """The package as .mpy under this folder; the bytes of all its files."""
    target = folder / "holdfire_station/crypto"
    target.mkdir(parents=True)
    (target.parent / "__init__.py").write_text("")
    total = 0
    for source in sign_xtensa.CRYPTO.glob("*.py"):
        mpy = sign_xtensa.compile_mpy(source, sign_xtensa.find_mpy_cross(), arch)
        (target / f"{source.stem}.mpy").write_bytes(mpy)
        total += len(mpy)
    return total


def products(station) -> int:
    """Field multiplications and squarings of the signature that runs next, counted from the programs executed."""
    field, counted = station.modules["field"], 0
    inner = field.run

    def run(p, c, w, program, end):
        nonlocal counted
        for at in range(0, end, 4):
            counted += {field.MUL: 1, field.SQR: program[at + 3]}.get(program[at], 0)
        return inner(p, c, w, program, end)

    field.run = run
    station.ed25519.PrivateKey.sign(station.key, bytes(128))
    field.run = inner
    return counted


def stretches(machine, step) -> list[int]:
    """Instructions in viper code of each call of step(), until it returns False."""
    out, more = [], True
    machine.counts.clear(), machine.calls.clear()
    while more:
        before = sum(machine.counts.values())
        more = step()
        out.append(sum(machine.counts.values()) - before)
    return out


def chip(station) -> tuple[list[int], int, list[int]]:
    """The stretches of a signature on the chip, its calls of viper functions, and the stretches of a verification."""
    work, signature = station.modules["signing"].Signing(), bytearray(64)
    work.begin(station.key._secret, bytes(128), signature)
    signing = stretches(station.machine, work.step)
    calls = sum(station.machine.calls.values())
    steps = station.ed25519._verification(work, station.key.public_bytes, bytes(128), signature)
    return signing, calls, stretches(station.machine, lambda: next(steps, steps) is not steps)


def add_arguments(parser) -> None:
    parser.add_argument("--repeat", type=int, default=5, help="take the best of so many runs of each (default 5)")
    parser.epilog = "example: .venv/bin/python tools/bench sign"


def main(args) -> int:
    def line(name: str, count: int, remark: str = "") -> None:
        print(f"{name:40}{count:>12,}   {remark}")

    with tempfile.TemporaryDirectory() as folder:
        flash = compiled(pathlib.Path(folder, "chip"), "xtensawin")
        compiled(pathlib.Path(folder, "pc"), "x64")
        here = pathlib.Path(folder, "pc")
        [[plain_products], signs, verifies] = micropython(TIMES, here, str(REPO / "tools/bench"), str(args.repeat))
        [[code, buffers, spare, checking]] = micropython(MEMORY, here)
    station = sign_xtensa.Station()
    station.key = station.ed25519.PrivateKey.from_seed(bytes(range(32)))
    counted = products(station)
    signing, calls, verifying = chip(station)
    total = sum(signing)
    rows = [
        ("sign 128 bytes, this PC", "5 x", *(f"{us:,} us" for us in signs), f"{signs[0] / signs[1]:.1f} x as fast"),
        ("verify 128 bytes, this PC", "4 x", *(f"{us:,} us" for us in verifies),
         f"{verifies[0] / verifies[1]:.1f} x as fast"),
        ("field products a signature", "750", f"{plain_products:,}", f"{counted:,}",
         f"{plain_products / counted:.1f} x fewer"),
        ("flash, code and tables", "32,768", "", f"{flash:,} bytes", f"{flash / 32768:.0%} of the limit"),
        ("RAM, a key and its buffers", "6,144", "", f"{buffers:,} bytes", f"{buffers / 6144:.0%} of it, at 64 bits"),
    ]
    print(f"{'':28}{'aim':>8} {'baseline':>14} {'here':>14}")
    for name, aim, before, after, ratio in rows:
        print(f"{name:28}{aim:>8} {before:>14} {after:>14}   {ratio}")
    print(f"\nheap on this PC, from .mpy: code, tables, one set of buffers {code:,} bytes;\nto verify, {spare:,} bytes "
          f"of buffers that signing never touches, and {checking:,} of code while it runs")
    print("\nESP32 instructions of a signature of 128 bytes")
    line("in viper code, executed", total, f"in {calls} calls")
    interpreter = 0
    if shutil.which("valgrind"):
        [(whole, inside)] = sign_spread.counts(1, 128)
        interpreter = int((whole - inside) * CHIP_TO_PC)
        line("interpreter between calls, estimated", interpreter, f"{CHIP_TO_PC} x {whole - inside:,} on this PC")
        line("together", total + interpreter, f"{(total + interpreter) / 6e6:.0%} of the aim of 6,000,000")
    else:
        print("interpreter between calls: not counted, valgrind is missing (apt-get install valgrind)")
    share = int(max(signing) * (1 + interpreter / total))
    line("longest stretch without giving way", share, f"{share / 240e3:.2f} ms at one a cycle of 240 MHz")
    line("a verification, in viper code", sum(verifying), f"{sum(verifying) / total:.1f} x a signature")
    line("its longest stretch", max(verifying), f"{max(verifying) / 240e3:.2f} ms")
    return 0
