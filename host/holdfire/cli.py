"""The command `holdfire`: finds the command, runs it, and turns what goes wrong into one line.

Each module in `commands/` is one command; none of them knows the others.
"""

import argparse
import contextlib
import importlib
import os
import sqlite3
import sys
from collections.abc import Sequence

from .commands import COMMANDS
from .errors import HoldfireError, StorageError
from .output import clean
from .store import RESTORE

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def build_parser() -> argparse.ArgumentParser:
    """The whole command line, from the modules in `commands/`."""
    parser = argparse.ArgumentParser(
        prog="holdfire",
        description="The base of a Holdfire deployment: collect what stations signed, look at it, hand it to others.",
        epilog="example: holdfire init --name 'Valley line'    (then `holdfire COMMAND --help`)",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f".commands.{name}", __package__)
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.__doc__,
            epilog="\n".join(["examples:", *(f"  {example}" for example in module.EXAMPLES)]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. 0: done, 1: a check failed, 2 and above: see `errors.py`."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal without the sign for micro still gets the rest
    try:
        args = build_parser().parse_args(argv)
        with contextlib.ExitStack() as args.opened:
            code: int = args.run(args)
        sys.stdout.flush()
        return code
    except HoldfireError as error:
        return _complain(str(error), error.exit_code)
    except sqlite3.Error as error:
        return _complain(
            f"the database cannot be read ({error}): {RESTORE}",
            StorageError.exit_code,
        )
    except BrokenPipeError:  # `holdfire records | head`: nobody reads on, and that is fine
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED


def _complain(text: str, code: int) -> int:
    print(f"holdfire: {clean(text)}", file=sys.stderr)
    return code
