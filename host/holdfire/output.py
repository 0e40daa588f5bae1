"""What commands print: tables and reports, coloured on a terminal, plain text when piped, JSON lines on request.

Everything that came over a wire or out of a file passes `clean` on its way to the screen, so no record, port name or
refusal can move the cursor, ring the bell or forge a line.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

GOOD = "green"
BAD = "bold red"
WARN = "yellow"
DIM = "dim"
_GAP = 2  # between columns
_FOLDED = 12  # the least width of a column that folds


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


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Cell | str]],
    empty: str,
    optional: Sequence[str] = (),
    folding: Sequence[str] = (),
) -> None:
    """A Rich table on a terminal, or `empty`; a header and tab-separated lines when piped.

    On a narrow terminal the `optional` columns go, first ones first, then the `folding` ones take more lines. A pipe
    gets everything.
    """
    listed = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
    if not is_terminal():
        print("\t".join(columns))
        for row in listed:
            print("\t".join(clean(cell.text) for cell in row))
        return
    console = console_for()
    if not listed:
        console.print(Text(empty, style=DIM))
        return
    widths = {
        column: max(cell_len(column), *(cell_len(clean(row[i].text)) for row in listed)) + _GAP
        for i, column in enumerate(columns)
    }
    hidden = _too_wide(widths, optional, console.width + _GAP)
    shown = [column for column in columns if column not in hidden]
    # Times and hashes are copied by hand: they stay whole where the folding columns leave them room.
    whole = sum(min(widths[c], _FOLDED) if c in folding else widths[c] for c in shown) <= console.width + _GAP
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
    for column in shown:
        table.add_column(Text(column), overflow="fold", no_wrap=whole and column not in folding)
    for row in listed:
        cells = [cell for column, cell in zip(columns, row, strict=True) if column in shown]
        table.add_row(*(Text(clean(cell.text), style=cell.style) for cell in cells))
    console.print(table, soft_wrap=False)
    if hidden:
        console.print(Text(f"not shown on this narrow terminal: {', '.join(hidden)}", style=DIM))


def _too_wide(widths: dict[str, int], optional: Sequence[str], room: int) -> Sequence[str]:
    """As many of `optional`, from its beginning, as must go for the rest to fit."""
    for count in range(len(optional)):
        if sum(widths.values()) - sum(widths[column] for column in optional[:count]) <= room:
            return optional[:count]
    return optional


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


def ago(seconds: float) -> str:
    """How long ago, in one unit: for tables, where the order of magnitude tells."""
    whole = int(seconds)
    if whole < 0:
        return "in the future"
    unit, size = next(((u, s) for u, s in (("d", 86400), ("h", 3600), ("min", 60)) if whole >= s), ("s", 1))
    return f"{whole // size} {unit} ago"


def age(seconds: float) -> str:
    """A span of time in one or two units, as people say it."""
    whole = int(seconds)
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
