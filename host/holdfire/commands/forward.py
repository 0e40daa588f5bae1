"""Where stored records are sent on to, and how far each destination is; or have parked records sent again.

A record that a destination will not take is parked and the rest go on; --retry asks a collector, running or started
later, to send the parked ones again.
"""

import argparse

from .. import times
from ..output import BAD, GOOD, WARN, Cell, counted, print_json, print_table
from ..store import retry_parked
from . import common

HELP = "how far forwarding is; retry what was parked"
EXAMPLES = (
    "holdfire forward",
    "holdfire forward --parked",
    "holdfire forward --retry",
)
COLUMNS = ("destination", "delivered", "waiting", "parked", "last delivery", "state")
PARKED_COLUMNS = ("destination", "station", "seq", "parked", "why", "hash")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--parked", action="store_true", help="list the parked records, as in --parked --json")
    parser.add_argument("--retry", action="store_true", help="have all parked records sent again, as in --retry")
    common.add_json(parser, ".name")
    common.add_directory(parser)


def run(args: argparse.Namespace) -> int:
    registry, view = common.open_view(args)
    if args.retry:
        print(f"{counted(retry_parked(common.deployment(args).database_path), 'parked record')} will be sent again")
    elif args.parked:
        rows = view.parked(limit=1000)
        if args.json:
            print_json({key: v.hex() if isinstance(v, bytes) else v for key, v in dict(row).items()} for row in rows)
            return 0
        names = {kid: station.name for kid, station in registry.stations.items()}
        print_table(
            PARKED_COLUMNS,
            (
                [row["destination"], names.get(row["kid"], row["kid"].hex()), str(row["seq"]),
                 times.text(row["parked_at_us"], 0), row["reason"], row["hash"].hex()[:12]]
                for row in rows
            ),
            "nothing is parked",
        )  # fmt: skip
    elif args.json:
        print_json(dict(row) for row in view.destinations())
    else:
        print_table(
            COLUMNS,
            (
                [
                    row["name"],
                    str(row["delivered"]),
                    Cell(str(row["waiting"]), WARN if row["waiting"] else ""),
                    Cell(str(row["parked"]), WARN if row["parked"] else ""),
                    times.text(row["delivered_at_us"], 0) if row["delivered_at_us"] else "never",
                    Cell(f"stalled: {row['error']}", BAD) if row["error"] else Cell("well", GOOD),
                ]
                for row in view.destinations()
            ),
            "nothing is forwarded yet",
        )
    return 0
