"""List stored records, newest first, with filters; or follow them as they arrive.

The time shown is the station's own, with its uncertainty; --since and --until go by when the base received the record,
which is known even for a station without a clock.
"""

import argparse
import math
import time
from collections.abc import Iterator
from typing import Any

from holdfire_protocol import fields

from .. import show, times
from ..errors import UsageError
from ..output import BAD, DIM, GOOD, WARN, Cell, clean, is_terminal, print_json, print_table
from ..registry import Registry
from ..store import BROKEN, CONTIGUOUS, HAS_IMPULSE, HAS_STATUS, HAS_TAMPER, LINKS
from ..views import View, as_json, named_of, time_of
from . import common

HELP = "list stored records, with filters"
EXAMPLES = (
    "holdfire records",
    "holdfire records --kind impulse --min-peak -20 --since 2h",
    "holdfire records --station 'Ridge north' --json | jq .hash",
    "holdfire records --follow",
)
COLUMNS = ("time", "±", "station", "seq", "what", "chain", "hash")
OPTIONAL = ("±",)
FOLDING = ("what", "chain")
KINDS = {"impulse": HAS_IMPULSE, "tamper": HAS_TAMPER, "status": HAS_STATUS, "restart": 0}
LINK_STYLES = {CONTIGUOUS: GOOD, BROKEN: BAD}
_POLL_S = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--station", metavar="NAME", help="only this station, by name or kid: --station 'Ridge north'")
    common.add_period(parser, "records received")
    parser.add_argument(
        "--kind", choices=sorted(KINDS), metavar="KIND",
        help=f"only records that carry this, of {', '.join(sorted(KINDS))}: --kind impulse",
    )  # fmt: skip
    parser.add_argument(
        "--min-peak", type=float, metavar="DBFS",
        help="only impulses at least this loud, in decibels relative to full scale: --min-peak -20",
    )  # fmt: skip
    parser.add_argument("--problem", action="store_true", help="only records stored with a problem: --problem --json")
    parser.add_argument(
        "--limit", type=int, default=50, metavar="N", help="at most N records, 0 for all: --limit 500 (default: 50)"
    )
    parser.add_argument("--follow", action="store_true", help="then wait for more, oldest first; Ctrl-C ends: --follow")
    common.add_json(parser, ".hash")
    common.add_directory(parser)


def run(args: argparse.Namespace) -> int:
    registry, view = common.open_view(args)
    if args.limit < 0:
        raise UsageError("--limit: must be 0 (all) or more")
    found = list(_matching(args, registry, view, after_id=0, newest_first=True, limit=args.limit or -1))
    if not args.follow:
        if args.json:
            print_json(as_json(row, named, registry) for row, named in found)
        else:
            rows = (cells(row, named, registry) for row, named in found)
            print_table(COLUMNS, rows, "no such record", OPTIONAL, FOLDING)
        return 0
    last_id = 0
    for row, named in reversed(found):
        last_id = max(last_id, row["id"])
        _print_line(args, row, named, registry)
    while True:
        for row, named in _matching(args, registry, view, after_id=last_id, newest_first=False, limit=-1):
            last_id = row["id"]
            _print_line(args, row, named, registry)
        time.sleep(_POLL_S)


def cells(row: Any, named: dict[str, Any], registry: Registry) -> list[Cell]:
    """One record as a line of the table."""
    source, utc_us, uncertainty_us = time_of(row)
    station = registry.stations.get(row["kid"])
    link = LINKS[row["link"]] + (f", {row['problem']}" if row["problem"] else "")
    loud = "impulse" in show.kinds(named)
    return [
        Cell(times.text(utc_us, 3))
        if source
        else Cell(f"unknown (received {times.text(row['received_at_us'], 0)})", WARN),
        Cell(show.span(uncertainty_us) if source else "-", DIM),
        Cell(station.name if station else row["kid"].hex(), "bold"),
        Cell(str(row["seq"])),
        Cell(show.headline(named), WARN if loud else BAD if "tamper" in show.kinds(named) else ""),
        Cell(link, BAD if row["problem"] else LINK_STYLES.get(row["link"], WARN)),
        Cell(row["hash"].hex()[:12]),
    ]


def _matching(
    args: argparse.Namespace, registry: Registry, view: View, after_id: int, newest_first: bool, limit: int
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Rows with their fields; what SQL cannot see is filtered here."""
    now_us = times.now_us()
    least = None if args.min_peak is None else 10 ** (args.min_peak / 20) * show.FULL_SCALE
    if least is not None and not math.isfinite(least):
        raise UsageError("--min-peak: decibels relative to full scale, as in --min-peak -20")
    rows = view.records(
        kid=registry.find(args.station).kid if args.station else None,
        kinds=HAS_IMPULSE if least is not None else KINDS.get(args.kind, 0),
        since_us=common.moment(args.since, now_us),
        until_us=common.moment(args.until, now_us),
        problem=args.problem,
        after_id=after_id,
        limit=-1,
        newest_first=newest_first,
    )
    for row in rows:
        if limit == 0:
            return
        if args.kind == "restart" and row["restart"] is None:
            continue
        named = named_of(row["message"])
        if args.kind and args.kind not in show.kinds(named):
            continue
        if least is not None and not any(
            o["kind"] == fields.KIND_IMPULSE and o["peak"] >= least for o in named.get("observations", ())
        ):
            continue
        limit -= 1
        yield row, named


def _print_line(args: argparse.Namespace, row: Any, named: dict[str, Any], registry: Registry) -> None:
    if args.json:
        print_json([as_json(row, named, registry)])
    else:
        separator = "  " if is_terminal() else "\t"
        print(separator.join(clean(cell.text) for cell in cells(row, named, registry)), flush=True)
