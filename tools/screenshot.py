"""A picture of a terminal: runs a command on a terminal of its own and writes what stands there at the end as SVG.

    .venv/bin/python tools/screenshot.py -o docs/run.svg --seconds 40 --rows 40 -- make run

The command really runs; nothing is drawn by hand. After --seconds it gets Ctrl-C, as a person would end it. Understands
what our programs send: text, colours, carriage return, cursor up, erase line. No other cursor movement.
"""

import argparse
import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

from rich.console import Console
from rich.text import Text

_MOVE = re.compile(r"\r|\n|\x1b\[(\d*)([AK])|\x1b\[\?25[hl]")


def capture(command: list[str], columns: int, rows: int, seconds: float | None) -> bytes:
    """Everything the command wrote to its terminal."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    size = {"COLUMNS": str(columns), "LINES": str(rows)}
    env = {**os.environ, **size, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    process = subprocess.Popen(command, stdin=side, stdout=side, stderr=side, env=env, start_new_session=True)
    os.close(side)
    end = None if seconds is None else time.monotonic() + seconds
    written = bytearray()
    while True:
        if end is not None and time.monotonic() > end:
            os.killpg(process.pid, signal.SIGINT)
            end = None
        if not select.select([main], [], [], 0.2)[0]:
            continue
        try:
            part = os.read(main, 65536)
        except OSError:  # Linux: the last writer closed the terminal
            part = b""
        if not part:
            break
        written += part
    os.close(main)
    process.wait()
    return bytes(written)


def screen(written: bytes) -> list[str]:
    """The lines that stand on the terminal, colours still in them."""
    text = written.decode("utf-8", "replace")
    lines, at, done = [""], 0, 0
    for found in _MOVE.finditer(text):
        lines[at] += text[done : found.start()]
        done = found.end()
        if found[0] == "\n":
            at += 1
            if at == len(lines):
                lines.append("")
        elif found[2] == "A":
            at = max(0, at - int(found[1] or 1))
        elif found[2] == "K":
            lines[at] = ""
    lines[at] += text[done:]
    return lines


def svg(lines: list[str], columns: int, title: str) -> str:
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in lines:
        console.print(Text.from_ansi(line), soft_wrap=False, overflow="fold")
    return console.export_svg(title=title)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", help="SVG to write, as in -o docs/run.svg; without it the text is printed")
    parser.add_argument("--columns", type=int, default=120, help="width of the terminal, as in --columns 120")
    parser.add_argument("--rows", type=int, default=48, help="at most so many lines, the last ones, as in --rows 30")
    parser.add_argument("--seconds", type=float, help="press Ctrl-C after this long, as in --seconds 40")
    parser.add_argument("--title", help="in the window's bar (default: the command), as in --title 'make run'")
    parser.add_argument("command", nargs="+", help="what to run, after --, as in -- make run")
    args = parser.parse_args()
    lines = screen(capture(args.command, args.columns, args.rows, args.seconds))
    while lines and not lines[-1].strip():
        lines.pop()
    lines = lines[-args.rows :]
    if args.output:
        with open(args.output, "w", encoding="utf-8") as file:
            file.write(svg(lines, args.columns, args.title or " ".join(args.command)))
    else:
        print("\n".join(Text.from_ansi(line).plain for line in lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
