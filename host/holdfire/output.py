"""What commands print: tables and reports, coloured on a terminal, plain text when piped, JSON lines on request.

Everything that came over a wire or out of a file passes `clean` on its way to the screen, so no record, port name or
refusal can move the cursor, ring the bell or forge a line.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

GOOD = "green"
BAD = "bold red"
WARN = "yellow"
DIM = "dim"


@dataclass(frozen=True)
class Cell:
    """Text with a style that only a terminal shows."""

    text: str
    style: str = ""


@dataclass
class Section:
    """A titled block of a report: (label, value) rows. A label of "" continues the row above."""

    title: str
    rows: list[tuple[str, Cell]] = field(default_factory=list)

    def add(self, label: str, text: str, style: str = "") -> None:
        self.rows.append((label, Cell(text, style)))


def clean(text: str) -> str:
    """`text` on one line, with whatever is not printable shown as an escape."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def console_for(stream: TextIO | None = None) -> Console:
    """Rich, with everything switched off that would read meaning into data."""
    return Console(file=stream or sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True)


def is_terminal(stream: TextIO | None = None) -> bool:
    return (stream or sys.stdout).isatty()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Cell | str]], empty: str) -> None:
    """A Rich table on a terminal, or `empty`; a header and tab-separated lines when piped."""
    listed = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
    if not is_terminal():
        print("\t".join(columns))
        for row in listed:
            print("\t".join(clean(cell.text) for cell in row))
        return
    if not listed:
        console_for().print(Text(empty, style=DIM))
        return
    console_for().print(rich_table(columns, listed), soft_wrap=False)


def rich_table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        table.add_row(*(Text(clean(cell.text), style=cell.style) for cell in row))
    return table


def print_json(rows: Iterable[dict[str, Any]]) -> None:
    """JSON lines: one object a line, so that a stream can be followed and a damaged line spoils only itself."""
    for row in rows:
        print(json.dumps(row, ensure_ascii=True, separators=(",", ":")))


def print_report(sections: Iterable[Section]) -> None:
    """Titled blocks with aligned values; the same words on a terminal and in a file."""
    console = console_for()
    terminal = is_terminal()
    for number, section in enumerate(sections):
        if number:
            print()
        console.print(Text(clean(section.title), style="bold" if terminal else ""))
        width = max((len(label) for label, _ in section.rows), default=0)
        for label, cell in section.rows:
            console.print(Text(f"  {clean(label):<{width}}  ", style=DIM) + Text(clean(cell.text), style=cell.style))


def age(seconds: float) -> str:
    """A span of time in one or two units, as people say it."""
    whole = int(seconds)
    if whole < 0:
        return f"{age(-whole)} ahead"
    for unit, size, below, below_size in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // below_size
            return f"{whole // size} {unit}" + (f" {rest} {below}" if rest else "")
    return f"{whole} s"


def percent(part: int, whole: int) -> str:
    """Cut off, not rounded: 99.999% is not all."""
    hundredths = part * 10_000 // whole
    return f"{hundredths // 100}.{hundredths % 100:02d}%"


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 record`, `2 records`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def numbers(runs: Sequence[tuple[int, int]]) -> str:
    """`number 63`, or `numbers 5, 9 to 12`."""
    return f"number{'' if len(runs) == 1 and runs[0][0] == runs[0][1] else 's'} {ranges(runs)}"


def ranges(runs: Sequence[tuple[int, int]], limit: int = 6) -> str:
    """Runs of numbers: `5, 9 to 12`; after `limit` runs, how many more there are."""
    said = [f"{low}" if low == high else f"{low} to {high}" for low, high in runs[:limit]]
    if len(runs) > limit:
        said.append(f"and {len(runs) - limit} more runs")
    return ", ".join(said)
