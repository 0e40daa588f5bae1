"""Watch a station's serial line and talk to it: text as it comes, frames in words, with a note when the cable goes.

What you type goes to the station a line at a time: `help`, `status`, `last`, `selftest`. Records are checked against
the registry of --dir where there is one. What a station writes stands behind a bar, and nothing in it can control your
terminal. Ctrl-C ends it. End `holdfire collect` first if it uses the port: two programs cannot read one port.
"""

import argparse
import re
import time
from pathlib import Path

from rich.text import Text

from .. import console as session
from .. import sources, times
from ..errors import PortError, UsageError
from ..output import DIM, clean, console_for, is_terminal
from ..registry import Registry
from ..viewer import GROUPS, NOTE, Shown, Viewer
from . import common

HELP = "watch a station's serial line and talk to it"
EXAMPLES = (
    "holdfire console",
    "holdfire console /dev/ttyUSB0 --only records",
    "holdfire console /dev/ttyUSB0 --log ridge.log --filter 'impulse|tamper'",
)
BAUD = 115_200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("port", metavar="PORT", nargs="?", help="as in /dev/ttyUSB0 (default: the only one there is)")
    parser.add_argument("--log", metavar="FILE", help="append the raw bytes, for `holdfire verify`: --log ridge.log")
    parser.add_argument("--only", choices=sorted(GROUPS), metavar="WHAT",
                        help=f"only one kind, of {', '.join(sorted(GROUPS))}: --only records")  # fmt: skip
    parser.add_argument("--filter", metavar="REGEX", help="only lines with this in them: --filter 'impulse|tamper'")
    parser.add_argument("--baud", type=int, default=BAUD, help="speed, as in --baud 115200 (default: %(default)s)")
    parser.add_argument("--seconds", type=float, metavar="N", help="end by itself after that long, as in --seconds 30")
    common.add_directory(parser)


def run(args: argparse.Namespace) -> int:
    registry = _registry(args)
    viewer = Viewer(registry, args.only, _pattern(args.filter))
    port = session.choose_port(args.port)
    log = session.Log(Path(args.log)) if args.log else None
    if log:
        args.opened.callback(log.close)
    print_shown = printer()
    if registry is None:
        print_shown(Shown(NOTE, "-- no registry at hand, so signatures are not checked; --dir names a deployment", DIM))
    try:
        watching = session.Session(port, viewer, print_shown, log, session.keyboard(), args.baud)
    except PortError as error:
        raise PortError(_with_ports(str(error), port)) from None
    args.opened.callback(watching.close)
    try:
        watching.run(None if args.seconds is None else time.monotonic() + args.seconds)
    except KeyboardInterrupt:
        pass
    print_shown(Shown(NOTE, f"-- ended; there came {viewer.summary()}", DIM))
    return 0


def printer() -> session.Show:
    """Prints a line with the time of day it came."""
    console = console_for()
    start = 11 if is_terminal() else 0  # of an RFC 3339 time: the date goes into files only

    def show(shown: Shown) -> None:
        when = times.text(times.now_us(), 0)[start:]
        console.print(Text.assemble((f"{when}  ", DIM), (clean(shown.text), shown.style)))

    return show


def _registry(args: argparse.Namespace) -> Registry | None:
    """The deployment's registry when there is one; a damaged one is an error, and a named directory must have one."""
    path = common.deployment(args).registry_path
    return Registry.load(path) if args.dir is not None or path.exists() else None


def _pattern(written: str | None) -> "re.Pattern[str] | None":
    if written is None:
        return None
    try:
        return re.compile(written)
    except re.error as error:
        raise UsageError(f"--filter {written}: not a regular expression: {error}") from None


def _with_ports(text: str, port: str) -> str:
    """The error, and the ports there are when the named one is none of them."""
    from .. import config

    found, _ = sources.find_ports(config.Settings().ports)
    return text if port in found or not found else f"{text} (there is: {', '.join(found)})"
