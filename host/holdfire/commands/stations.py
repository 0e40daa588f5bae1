"""How every enrolled station is: one line each.

`last` is the highest sequence number stored, `chain to` up to which nothing is missing, `missing` what is. A station
that is late by its own stated interval is marked OVERDUE; that is itself a finding.
"""

import argparse
from typing import Any

from .. import show, times
from ..output import BAD, DIM, GOOD, WARN, Cell, age, ago, print_json, print_table, ranges
from ..views import StationView, plain
from . import common

HELP = "how every station is, a line each"
EXAMPLES = (
    "holdfire stations",
    "holdfire stations --json | jq 'select(.overdue_s > 0) | .name'",
)
COLUMNS = ("station", "kid", "heard", "last", "chain to", "missing", "boot", "self-test", "battery", "floor", "clock",
           "refusals")  # fmt: skip
OPTIONAL = ("kid", "boot", "clock", "floor", "battery")
FOLDING = ("heard", "missing", "self-test", "refusals")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_json(parser, ".name")
    common.add_directory(parser)


def run(args: argparse.Namespace) -> int:
    registry, view = common.open_view(args)
    now_us = times.now_us()
    found = view.station_views(registry)
    if args.json:
        print_json(_json(station, now_us) for station in found)
    else:
        rows = (row(station, now_us) for station in found)
        print_table(COLUMNS, rows, "no station is enrolled: holdfire enrol PORT", OPTIONAL, FOLDING)
    return 0


def row(view: StationView, now_us: int) -> list[Cell]:
    """One station as a line of the table."""
    start = [Cell(view.station.name, "bold"), Cell(view.station.kid.hex(), DIM)]
    refusals = Cell(", ".join(f"{n} {reason}" for reason, n in sorted(view.refusals.items())) or "none")
    if set(view.refusals) - {"replay"}:  # a repeat is a lost beacon; anything else wants a person
        refusals = Cell(refusals.text, BAD)
    if not view.records:
        return [*start, Cell("never", WARN), *[Cell("-")] * (len(COLUMNS) - 4), refusals]
    late_s = view.overdue_s(now_us)
    heard = ago((now_us - view.received_at_us) / 1e6)
    whole = view.contiguous_seq == view.last_seq
    missing = Cell(ranges(view.missing), BAD) if view.missing else Cell("none", GOOD)
    assert view.time is not None
    return [
        *start,
        Cell(f"{heard}, OVERDUE by {age(late_s)}", BAD) if late_s else Cell(heard),
        Cell(str(view.last_seq)),
        Cell(str(view.contiguous_seq) if view.contiguous_seq else "not yet", GOOD if whole else WARN),
        missing,
        Cell(str(view.boot)),
        *_status_cells(view.status),
        Cell(show.TIME_SOURCE_SHORT[view.time[0]], WARN if view.time[0] == 0 else ""),
        refusals,
    ]


def _status_cells(status: dict[str, Any] | None) -> list[Cell]:
    """Self-test, battery, noise floor."""
    if status is None:
        return [Cell("no status yet", WARN), Cell("-"), Cell("-")]
    return [
        Cell(show.selftest_words(status["selftest"]), BAD if status["selftest"] else GOOD),
        Cell(f"{status['battery_mv'] / 1000:.2f} V" if "battery_mv" in status else "-"),
        Cell(f"{show.tenths(status['floor_db10'])} dBFS"),
    ]


def _json(view: StationView, now_us: int) -> dict[str, Any]:
    return {
        "name": view.station.name,
        "kid": view.station.kid.hex(),
        "enrolled_at": times.text(view.station.enrolled_at_us),
        "records": view.records,
        "last_seq": view.last_seq,
        "contiguous_seq": view.contiguous_seq,
        "missing": view.missing,
        "waiting": view.waiting,
        "boot": view.boot,
        "received_at": times.text(view.received_at_us) if view.records else None,
        "overdue_s": view.overdue_s(now_us),
        "time": plain(view.time, "time") if view.time else None,
        "status": plain(view.status),
        "refusals": view.refusals,
    }
