"""Count the instructions of one signature for many random keys, with messages of one length, and print the spread.

Constant time means that neither branches nor memory addresses depend on a secret. A branch that did would change the
count of instructions for some key: valgrind counts them, exactly, on the PC's MicroPython, from the call of
sign_into() to its return, interpreter included. tests/firmware/test_crypto_xtensa.py goes further, on the chip's own
machine code: every block entered and every address read or written, in order, is the same for different keys.
"""

import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile

REPO = pathlib.Path(__file__).resolve().parents[2]
HELP = "instructions of a signature over many keys, and their spread (valgrind)"
# max() calls sign() once, and is what valgrind cuts its counts at.
SCRIPT = """
import gc, sys
from binascii import unhexlify
from holdfire_station.crypto import PrivateKey
signature = bytearray(64)
for line in open(sys.argv[1]):
    seed, message = [unhexlify(part) for part in line.strip().split(":")]
    key = PrivateKey.from_seed(seed)
    def sign(_):
        key.sign_into(message, signature)
        return 0
    gc.collect()
    max([0], key=sign)
"""


def counts(keys: int, length: int) -> list[tuple[int, int]]:
    """Per key: all instructions of a signature, and those of them in the machine code of viper functions."""
    chance = random.SystemRandom()
    micropython = pathlib.Path(sys.executable).parent / "micropython"
    # The same environment and hash seed each time: the PC's MicroPython is a CPython extension, which starts before it.
    environment = {"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0", "MICROPYPATH": f"{REPO / 'firmware'}:.frozen"}
    with tempfile.TemporaryDirectory() as folder:
        cut, script = "mp_builtin_max", pathlib.Path(folder, "sign.py")
        script.write_text(SCRIPT)
        cases = pathlib.Path(folder, "cases")
        # One more than asked for, to be left out: during it the interpreter fills its cache of name look-ups (140
        # instructions).
        pairs = [(chance.randbytes(32), chance.randbytes(length)) for _ in range(keys + 1)]
        cases.write_text("".join(f"{seed.hex()}:{message.hex()}\n" for seed, message in pairs))
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", f"--dump-before={cut}",
             f"--dump-after={cut}", micropython, "-X", "heapsize=400K", script, cases],
            env=environment, check=False, capture_output=True, text=True,
        )
        if done.returncode:
            raise RuntimeError(f"valgrind: exit {done.returncode}\n{done.stderr[-1500:]}")
        parts = sorted(pathlib.Path(folder).glob("out.*"), key=lambda path: int(path.suffix[1:]))
        found = [part.read_text() for part in parts]
    return [(int(re.search(r"^totals: (\d+)", text, re.M)[1]), machine_code(text)) for text in found
            if "Trigger: --dump-after" in text][1:]


def machine_code(profile: str) -> int:
    """Instructions outside of every known object file in a callgrind profile: code that was compiled in memory."""
    names, total, at, skip = {}, 0, "", False
    for line in profile.splitlines():
        if found := re.match(r"c?ob=\((\d+)\)(?: (.*))?", line):
            if found[2]:
                names[found[1]] = found[2]
            if line.startswith("ob="):
                at = names[found[1]]
        elif line.startswith("calls="):
            skip = True
        elif found := re.match(r"[+\-*\d]\S* (\d+)$", line):
            if not skip and at == "???":
                total += int(found[1])
            skip = False
    return total


def add_arguments(parser) -> None:
    parser.add_argument("--keys", type=int, default=20, help="how many random keys (default 20)")
    parser.add_argument("--length", type=int, default=128, help="bytes of each random message (default 128)")
    parser.epilog = "example: .venv/bin/python tools/bench sign_spread --keys 20 --length 128"


def main(args) -> int:
    if not shutil.which("valgrind"):
        print("valgrind is missing: apt-get install valgrind", file=sys.stderr)
        return 1
    found = counts(args.keys, args.length)
    whole, inside = [all_ for all_, _ in found], [code for _, code in found]
    print(f"{len(found)} random keys, random messages of {args.length} bytes; instructions on this PC")
    for name, values in (("one signature", whole), ("of these in viper code", inside)):
        print(f"{name:24} least {min(values):,}  most {max(values):,}  spread {max(values) - min(values)}")
    return 0 if len(found) == args.keys and max(whole) == min(whole) else 1
