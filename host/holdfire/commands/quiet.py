"""State what a station's records prove about a period: how much of it the station listened, and what it heard.

Every record is checked again first. Only certain listening counts: stretches between status records that are stored,
signed, chained, and whose self-test found the microphone well. The statement names its evidence, so that others can
have it (`holdfire export`) and check it (`holdfire verify --complete`). Exit code 1 when a check failed.
"""

import argparse
from typing import Any

from .. import audit, evidence, show, times
from ..audit import Audit, StationAudit
from ..errors import UsageError
from ..output import BAD, DIM, GOOD, WARN, Section, age, counted, numbers, percent, print_json, print_report, ranges
from ..quiet import Quiet, assess
from ..registry import Registry, Station
from ..views import View
from . import common

HELP = "what a station's records prove about a period"
EXAMPLES = (
    "holdfire quiet --station 'Ridge north' --since 24h",
    "holdfire quiet --station Bridge --since 2026-11-23T18:00:00Z --until 2026-11-24T06:00:00Z",
)
LISTED = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--station", required=True, metavar="NAME", help="by name or kid, as in --station 'Ridge north'"
    )
    parser.add_argument(
        "--since", required=True, metavar="WHEN", help="from then, by the station's clock: --since 24h (ago)"
    )
    parser.add_argument("--until", metavar="WHEN", help="to then (default: now): --until 2026-11-24T06:00:00Z")
    common.add_json(parser, ".share")
    common.add_directory(parser)


def run(args: argparse.Namespace) -> int:
    registry, view = common.open_view(args)
    station = registry.find(args.station)
    now_us = times.now_us()
    since_us = common.moment(args.since, now_us) or 0
    until_us = common.moment(args.until, now_us) or now_us
    if until_us <= since_us:
        raise UsageError("--until must be later than --since")
    outcome = _audited(view, registry, station, since_us, until_us, now_us)
    held = outcome.stations[0] if outcome.stations else StationAudit(station)
    found = assess(held.records, since_us, until_us)
    if args.json:
        print_json([_json(found, held, outcome)])
    else:
        print_report(statement(found, held, outcome))
    return 0 if not outcome.failures else 1


def _audited(view: View, registry: Registry, station: Station, since_us: int, until_us: int, now_us: int) -> Audit:
    """The run of records that can say anything about the period, checked: the first status after it included."""
    first = last = None
    for row in view.in_order(station.kid):
        if not row["time_source"]:
            continue
        if row["utc_us"] >= since_us and first is None:
            first = row["seq"]
        if first is not None:
            last = row["seq"]
        if row["utc_us"] >= until_us and row["kinds"] & 4:
            break
    messages = [
        evidence.Message(f"record {row['seq']}", evidence.RECORD, row["message"])
        for row in (view.in_order(station.kid, first, last) if first is not None and last is not None else ())
    ]
    return audit.audit(evidence.Evidence("the base's records", "database", "", messages, []), registry, now_us,
                       view.thinned(station.kid))  # fmt: skip


def statement(found: Quiet, held: StationAudit, outcome: Audit) -> list[Section]:
    """The outcome in words: what is proven, by what, and what is not."""
    sections = [_listening(found, held), _evidence(found, held, outcome)]
    limits = Section("What this does not prove")
    limits.add(
        "silence", "that nothing was fired: a sound too far, or below the noise floor, does not reach a microphone", DIM
    )
    limits.add("place", "that the station stood where it should; its status records state its position", DIM)
    limits.add("clock", f"times are the station's own, at worst ± {show.span(found.worst_uncertainty_us)}", DIM)
    return [*sections, limits]


def _listening(found: Quiet, held: StationAudit) -> Section:
    section = Section(f"{held.station.name}, {times.text(found.since_us, 0)} to {times.text(found.until_us, 0)}")
    period_us = found.until_us - found.since_us
    whole = found.share > 0.999
    listened, period = age(found.listened_us / 1e6), age(period_us / 1e6)
    share = percent(found.listened_us, period_us)
    section.add("listened", f"at least {listened} of {period} ({share})", GOOD if whole else WARN)
    if found.impulses:
        section.add("heard", counted(len(found.impulses), "impulsive sound"), BAD)
        for onset_us, verified in found.impulses[:LISTED]:
            section.add("", f"{times.text(onset_us, 3)}, record {verified.seq}, {verified.hash.hex()[:12]}")
        if len(found.impulses) > LISTED:
            section.add("", f"and {len(found.impulses) - LISTED} more: holdfire records --kind impulse")
    elif found.statuses:
        section.add("heard", "no impulsive sound was recorded", GOOD)
    else:
        section.add("heard", "not known: no status record speaks of this period", WARN)
    if found.detected > len(found.impulses):
        section.add(
            "counted",
            f"{found.detected} detections, by the counters of status records that reach into the period",
            WARN,
        )
    for onset_us, verified in found.tampers[:LISTED]:
        section.add("tamper", f"{times.text(onset_us, 3)}, record {verified.seq}, {verified.hash.hex()[:12]}", BAD)
    if found.floor_min_db10 is not None and found.floor_max_db10 is not None:
        section.add("noise floor", f"{show.tenths(found.floor_min_db10)} to {show.tenths(found.floor_max_db10)} dBFS")
    words = f"{counted(found.statuses, 'status record')}: {show.selftest_words(found.selftests)}"
    deaf = f"; {found.deaf_statuses} with the microphone in doubt count for nothing" if found.deaf_statuses else ""
    well = found.statuses and not found.selftests
    section.add("self-tests", words + deaf if found.statuses else "none", GOOD if well else BAD)
    gaps = [gap for gap in found.gaps if gap[1] - gap[0] >= 1_000_000]
    stretches = counted(len(gaps), "stretch", "stretches") if gaps else "no stretch"
    section.add("no proof", f"for {stretches} of a second or longer", WARN if gaps else GOOD)
    for start_us, end_us in gaps[:LISTED]:
        section.add("", f"{times.text(start_us, 0)} to {times.text(end_us, 0)} ({show.span(end_us - start_us)})")
    return section


def _evidence(found: Quiet, held: StationAudit, outcome: Audit) -> Section:
    section = Section("Evidence")
    if found.first is None or found.last is None:
        section.add("records", "none of this period is stored, so nothing is proven", BAD)
        return section
    section.add(
        "records", f"numbers {ranges([(held.records[0].seq, held.records[-1].seq)])}, unbroken: {ranges(held.unbroken)}"
    )
    if held.missing:
        section.add("missing", f"{numbers(held.missing)}: what was said there is not known", BAD)
    if held.thinned:
        section.add("thinned", show.thinned_words(held.thinned), WARN)
    section.add("first", f"record {found.first.seq}, {found.first.hash.hex()}")
    section.add("last", f"record {found.last.seq}, {found.last.hash.hex()}")
    if outcome.failures:
        section.add("checks", f"{counted(len(outcome.failures), 'check')} FAILED: {outcome.failures[0].reason}", BAD)
    else:
        section.add("checks", f"all {counted(outcome.records, 'record')} passed every check, made again now", GOOD)
    section.add("take it", f"holdfire export --station {held.station.kid.hex()} --from-seq {held.records[0].seq} "
                f"--to-seq {held.records[-1].seq} -o quiet.cbor")  # fmt: skip
    return section


def _json(found: Quiet, held: StationAudit, outcome: Audit) -> dict[str, Any]:
    return {
        "station": held.station.name,
        "kid": held.station.kid.hex(),
        "since": times.text(found.since_us),
        "until": times.text(found.until_us),
        "listened_us": found.listened_us,
        "share": found.share,
        "impulses": [{"onset": times.text(at), "hash": v.hash.hex(), "seq": v.seq} for at, v in found.impulses],
        "tampers": [{"onset": times.text(at), "hash": v.hash.hex(), "seq": v.seq} for at, v in found.tampers],
        "detected": found.detected,
        "statuses": found.statuses,
        "selftest": found.selftests,
        "floor_min_db10": found.floor_min_db10,
        "floor_max_db10": found.floor_max_db10,
        "worst_uncertainty_us": found.worst_uncertainty_us,
        "gaps": [{"from": times.text(a), "to": times.text(b)} for a, b in found.gaps],
        "missing": held.missing,
        "thinned": held.thinned,
        "first_hash": found.first.hash.hex() if found.first else None,
        "last_hash": found.last.hash.hex() if found.last else None,
        "failures": [{"where": f.where, "check": f.check, "reason": f.reason} for f in outcome.failures],
    }
