"""Write signed records to a file that others check with `holdfire verify`, or with any COSE library.

The file is a CBOR sequence (RFC 8742) of the records, byte for byte as the stations signed them, and after them the
receipts that this base signed for them; nothing is added. Give registry.json along with it. A record alone proves
itself; a whole run of numbers also proves what is not there. `export --all` is also the backup that `holdfire import`
takes in again.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import evidence, times
from ..errors import UsageError
from ..output import GOOD, WARN, Section, counted, print_report
from ..registry import Registry
from ..views import View, time_of
from . import common
from .show import find_record

HELP = "write signed records to a file for others to check"
EXAMPLES = (
    "holdfire export 3f9a02 -o shot.cbor",
    "holdfire export --station 'Ridge north' --since 2026-11-24 --until 2026-11-25 -o day.cbor",
    "holdfire export --station Bridge --from-seq 100 --to-seq 220 -o run.cbor",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "hash", nargs="*", metavar="HASH", help="records by hash, or its first 6 digits or more, as in 3f9a02"
    )
    parser.add_argument("--station", metavar="NAME", help="a station's records, by name or kid: --station Bridge")
    parser.add_argument("--all", action="store_true", help="all stations' records, as in --all -o everything.cbor")
    parser.add_argument(
        "--from-seq", type=int, default=0, metavar="N", help="from this number on, as in --from-seq 100"
    )
    parser.add_argument(
        "--to-seq", type=int, default=0xFFFFFFFF, metavar="N", help="to this number, as in --to-seq 220"
    )
    common.add_period(parser, "numbers between the first and the last record dated")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help="where to, as in -o day.cbor")
    parser.add_argument("--force", action="store_true", help="replace FILE if it is there, as in --force -o day.cbor")
    common.add_directory(parser)


def run(args: argparse.Namespace) -> int:
    registry, view = common.open_view(args)
    if bool(args.hash) + bool(args.station) + args.all != 1:
        raise UsageError("say what to export: hashes, or --station NAME, or --all")
    if args.output.exists() and not args.force:
        raise UsageError(f"{args.output} exists; name another file, or add --force")
    if args.hash:
        rows: Iterator[Any] = iter([find_record(view, prefix) for prefix in args.hash])
    else:
        rows = _chosen(args, registry, view)
    spans: dict[bytes, tuple[int, int]] = {}
    counts: Counter[str] = Counter()
    evidence.write(args.output, _messages(rows, view, spans, counts))
    section = Section(f"Wrote {counted(counts['record'], 'record')}")
    section.add("file", str(args.output), GOOD)
    if counts["receipt"]:
        section.add("with", f"{counted(counts['receipt'], 'receipt')} that this base signed for them")
    for kid, (first, last) in spans.items():
        for taken in view.taken_up(kid):
            if first <= taken["seq"] <= last:
                decided = times.text(taken["decided_at_us"], 0)
                where = f"{registry.stations[kid].name} was taken up at record {taken['seq']} after a loss"
                section.add("note", f"{where}, by decision on {decided}: {taken['why']}", WARN)
    section.add("check", f"holdfire verify {args.output} --registry {registry.path}")
    print_report([section])
    return 0


def _messages(
    rows: Iterator[Any], view: View, spans: dict[bytes, tuple[int, int]], counts: Counter[str]
) -> Iterator[bytes]:
    """The records, then the receipts for them, each once; fills in `spans`: kid -> first and last number."""
    for row in rows:
        counts["record"] += 1
        first, last = spans.get(row["kid"], (row["seq"], row["seq"]))
        spans[row["kid"]] = (min(first, row["seq"]), max(last, row["seq"]))
        yield row["message"]
    written: set[int] = set()
    for kid, (first, last) in spans.items():
        for number, message in view.receipts_of(kid, first, last):
            if number not in written:
                written.add(number)
                counts["receipt"] += 1
                yield message


def _chosen(args: argparse.Namespace, registry: Registry, view: View) -> Iterator[Any]:
    """Station by station, in the order of their chains."""
    now_us = times.now_us()
    since_us, until_us = common.moment(args.since, now_us), common.moment(args.until, now_us)
    stations = [registry.find(args.station)] if args.station else list(registry.stations.values())
    for station in stations:
        first, last = args.from_seq, args.to_seq
        if since_us is not None or until_us is not None:
            # Whole runs of numbers: a record without a time, between two that have one, belongs to the period too.
            dated = [
                row["seq"]
                for row in view.in_order(station.kid, first, last)
                if time_of(row)[0]
                and (since_us is None or row["utc_us"] >= since_us)
                and (until_us is None or row["utc_us"] < until_us)
            ]
            if not dated:
                continue
            first, last = min(dated), max(dated)
        yield from view.in_order(station.kid, first, last)
