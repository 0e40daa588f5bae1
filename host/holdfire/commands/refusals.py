"""List what the base refused, and why: last seen first. Nothing that arrives is dropped without a trace.

`holdfire show HASH` tells everything about one of them. Refusals are kept up to a bound; --totals counts them all.
"""

import argparse
from typing import Any

from .. import times
from ..errors import REASONS
from ..output import BAD, DIM, Cell, print_json, print_table
from ..registry import Registry
from . import common

HELP = "list what was refused, and why"
EXAMPLES = (
    "holdfire refusals",
    "holdfire refusals --reason sequence-reuse --json",
    "holdfire refusals --station Bridge",
    "holdfire refusals --totals",
)
COLUMNS = ("last seen", "times", "reason", "station", "seq", "port", "why", "hash")
OPTIONAL = ("seq", "port", "times")
FOLDING = ("why",)
HARMLESS = ("replay", "damaged")  # a lost beacon, a noisy line: expected, and counted all the same


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--reason", choices=REASONS, metavar="REASON",
        help=f"only this reason, as in --reason bad-signature; there are: {', '.join(REASONS)}",
    )  # fmt: skip
    parser.add_argument("--station", metavar="NAME", help="only what claims to be this station: --station Bridge")
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="at most N, as in --limit 500 (default: 50)")
    parser.add_argument("--totals", action="store_true", help="only how many of each reason, ever: --totals")
    common.add_json(parser, ".reason")
    common.add_directory(parser)


def run(args: argparse.Namespace) -> int:
    registry, view = common.open_view(args)
    if args.totals:
        totals = view.refusal_totals()
        if args.json:
            print_json({"reason": r, "total": t, "not_kept": n} for r, (t, n) in sorted(totals.items()))
        else:
            rows = ([r, str(t), str(n)] for r, (t, n) in sorted(totals.items()))
            print_table(("reason", "total", "only counted"), rows, "nothing was ever refused")
        return 0
    kid = registry.find(args.station).kid if args.station else None
    found = view.refusals_of(kid, args.reason, args.limit)
    if args.json:
        print_json(_json(row, registry) for row in found)
    else:
        print_table(COLUMNS, (_cells(row, registry) for row in found), "nothing was refused", OPTIONAL, FOLDING)
    return 0


def _station_name(row: Any, registry: Registry) -> str:
    if row["kid"] is None:
        return "-"
    station = registry.stations.get(row["kid"])
    return station.name if station else row["kid"].hex()


def _cells(row: Any, registry: Registry) -> list[Cell]:
    return [
        Cell(times.text(row["last_seen_us"], 0)),
        Cell(str(row["count"])),
        Cell(row["reason"], DIM if row["reason"] in HARMLESS else BAD),
        Cell(_station_name(row, registry)),
        Cell("-" if row["seq"] is None else str(row["seq"])),
        Cell(row["port"]),
        Cell(row["text"]),
        Cell(row["sha256"].hex()[:12]),
    ]


def _json(row: Any, registry: Registry) -> dict[str, Any]:
    return {
        "reason": row["reason"],
        "sha256": row["sha256"].hex(),
        "first_seen": times.text(row["first_seen_us"]),
        "last_seen": times.text(row["last_seen_us"]),
        "count": row["count"],
        "port": row["port"],
        "station": _station_name(row, registry) if row["kid"] is not None else None,
        "kid": row["kid"].hex() if row["kid"] is not None else None,
        "seq": row["seq"],
        "field": row["field"],
        "text": row["text"],
        "bytes": row["bytes"].hex() if row["bytes"] is not None else None,
    }
