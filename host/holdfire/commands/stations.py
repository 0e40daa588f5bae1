"""How every enrolled station is: one line each.

`last` is the highest sequence number stored, `chain to` up to which nothing is missing, `missing` what is. A station
that is late by its own stated interval is marked OVERDUE; that is itself a finding. `key` marks those that are lost,
revoked or replaced. `firmware` is the beginning of its programs' digest. The notes tell in words where its chain does
not simply go on: restarts, numbers used twice, contradictions, losses of the base.
"""

import argparse
from typing import Any

from holdfire_protocol import words

from .. import output, show, times
from ..enrolled import Station
from ..output import BAD, DIM, GOOD, WARN, Cell, Section, age, ago, print_json, print_report, print_table, ranges
from ..views import StationView, plain
from . import common

HELP = "how every station is, a line each"
EXAMPLES = (
    "holdfire stations",
    "holdfire stations --json | jq 'select(.overdue_s > 0) | .name'",
)
COLUMNS = ("station", "kid", "key", "heard", "last", "chain to", "missing", "boot", "firmware", "self-test", "battery",
           "floor", "clock", "refusals")  # fmt: skip
OPTIONAL = ("kid", "boot", "clock", "floor", "battery", "firmware")
FOLDING = ("heard", "missing", "self-test", "refusals")
FIRMWARE_DIGITS = 8  # enough to compare with what `holdfire update` printed; --json has all
NOTED = 3  # of a kind; --json has all


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
        empty = "no station is enrolled: holdfire provision PORT"
        rows = [row(station, now_us) for station in found]
        if output.is_terminal():  # sentences would take the columns' room
            print_table(COLUMNS, rows, empty, OPTIONAL, FOLDING)
            _print_notes(found)
        else:
            said = (Cell("; ".join(notes(station)) or "none") for station in found)
            print_table((*COLUMNS, "notes"), ([*cells, text] for cells, text in zip(rows, said, strict=True)), empty)
    return 0


def row(view: StationView, now_us: int) -> list[Cell]:
    """One station as a line of the table."""
    start = [Cell(view.station.name, "bold"), Cell(view.station.kid.hex(), DIM), _key_cell(view.station)]
    refusals = Cell(", ".join(f"{n} {reason}" for reason, n in sorted(view.refusals.items())) or "none")
    if set(view.refusals) - {"replay"}:  # a repeat is a lost beacon; anything else wants a person
        refusals = Cell(refusals.text, BAD)
    if not view.records:
        return [*start, Cell("never", WARN), *[Cell("-")] * (len(COLUMNS) - 5), refusals]
    late_s = view.overdue_s(now_us)
    heard = ago((now_us - view.received_at_us) / 1e6) if view.received_at_us else "only in files"
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
        Cell(view.status["firmware"].hex()[:FIRMWARE_DIGITS] if view.status else "-", DIM),
        *_status_cells(view.status),
        Cell(show.TIME_SOURCE_SHORT[view.time[0]], WARN if view.time[0] == 0 else ""),
        refusals,
    ]


def _key_cell(station: Station) -> Cell:
    """One word; the notes tell the rest."""
    if not station.retired and not station.lost:
        return Cell("active", GOOD)
    return Cell(station.doubts[-1].words.split()[0], BAD if station.lost else WARN)


def _print_notes(found: list[StationView]) -> None:
    section = Section("Notes")
    for view in found:
        for number, text in enumerate(notes(view)):
            section.add("" if number else view.station.name, text, BAD if view.used_twice or view.broken else WARN)
    if section.rows:
        print()
        print_report([section])


def notes(view: StationView) -> list[str]:
    """Where the chain does not simply go on, in words; what is worst first."""
    found = []
    if view.station.retired or view.station.lost:
        doubt = view.station.doubts[-1]
        found.append(f"not believed from {times.text(doubt.from_us, 0)} on: {doubt.words} ({doubt.why})")
    found += [f"signed two different records with number {seq}: a copied key, or a station that forgot"
             for seq in view.used_twice[:NOTED]]  # fmt: skip
    found += [f"record {seq} contradicts the chain" for seq in view.broken[:NOTED]]
    found += [
        f"taken up at {row['seq']} after a loss of the base, by its operator's decision on "
        f"{times.text(row['decided_at_us'], 0)[:10]}: {row['why']}"
        for row in view.taken_up[-NOTED:]
    ]
    if view.first_waiting > view.contiguous_seq:
        found.append(f"records from {view.first_waiting} on are not receipted: they wait for the one before")
    if view.thinned:
        found.append(show.thinned_words(view.thinned))
    found += [show.restart_words(seq, why) for seq, why in view.restarts[-NOTED:]]
    more = sum(max(0, len(kind) - NOTED) for kind in (view.used_twice, view.broken, view.taken_up, view.restarts))
    return found + ([f"and {more} more, see --json"] if more else [])


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
        "key": _key_cell(view.station).text,
        "firmware": view.status["firmware"].hex() if view.status else None,
        "enrolled_at": times.text(view.station.enrolled_at_us),
        "records": view.records,
        "last_seq": view.last_seq,
        "contiguous_seq": view.contiguous_seq,
        "missing": view.missing,
        "thinned": view.thinned,
        "waiting": view.waiting,
        "boot": view.boot,
        "received_at": times.text(view.received_at_us) if view.received_at_us else None,
        "overdue_s": view.overdue_s(now_us),
        "time": plain(view.time, "time") if view.time else None,
        "status": plain(view.status),
        "refusals": view.refusals,
        "restarts": [{"seq": seq, "why": words.RESTARTS[why]} for seq, why in view.restarts],
        "used_twice": view.used_twice,
        "broken": view.broken,
        "taken_up": [
            {"seq": row["seq"], "lost_from": row["lost_from"], "decided_at": times.text(row["decided_at_us"]),
             "why": row["why"], "proof": row["proof"].hex()}
            for row in view.taken_up
        ],
    }
