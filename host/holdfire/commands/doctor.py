"""Is this laptop fit to be a base? Checks Python, libraries, serial ports and the permission to use them, the clock,
the disk, the deployment's files, and what flashing needs. Each line says ok, WARN or FAIL, and what to do. Changes
nothing. Exit code 1 when a line says FAIL.
"""

import argparse
import os
from pathlib import Path

from rich.text import Text

from .. import doctor, facts
from ..output import BAD, DIM, GOOD, WARN, clean, console_for, counted, print_json
from . import common

HELP = "check laptop, ports, clock and deployment, and say what to do"
EXAMPLES = (
    "holdfire doctor",
    "holdfire doctor --ask --dir /srv/holdfire",
    "holdfire doctor --json | jq 'select(.verdict != \"ok\")'",
)
_SHOWN = {doctor.OK: ("ok  ", GOOD), doctor.WARN: ("WARN", WARN), doctor.FAIL: ("FAIL", BAD)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ask", action="store_true", help="also ask every serial port who is there: --ask")
    parser.add_argument(
        "--images", type=Path, default=Path("build/image"), metavar="DIR",
        help="where flash images are, as in --images build/image (default: %(default)s)",
    )  # fmt: skip
    common.add_json(parser, ".verdict")
    common.add_directory(parser)


def run(args: argparse.Namespace) -> int:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "holdfire" / "micropython"
    checks = doctor.examine(facts.gather(common.deployment(args).directory, args.ask, args.images, cache))
    if args.json:
        print_json(vars(check) for check in checks)
    else:
        _print(checks)
    return 0 if doctor.healthy(checks) else 1


def _print(checks: list[doctor.Check]) -> None:
    console = console_for()
    width = max(len(clean(check.name)) for check in checks)
    for check in checks:
        word, style = _SHOWN[check.verdict]
        console.print(Text.assemble((word, style), f"  {clean(check.name):<{width}}  ", clean(check.text)))
        if check.do:
            console.print(Text.assemble(" " * (width + 8), (f"-> {clean(check.do)}", DIM)))
    wrong = [sum(check.verdict == verdict for check in checks) for verdict in (doctor.FAIL, doctor.WARN)]
    if any(wrong):
        console.print(f"{counted(wrong[0], 'failure')}, {counted(wrong[1], 'warning')}")
    else:
        console.print("all well")
