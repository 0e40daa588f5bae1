"""Check a file of evidence offline: no database, and no trust in whoever handed it over.

FILE is what `holdfire export` writes (a CBOR sequence of signed messages), a file of forward/ (JSON lines), or a serial
log: text with !HF1: lines as any terminal program captures them. Every record's form, signature, enrolment and time is
checked, then what the records, and the base's signed receipts, say about each other. Exit code: 0 everything held, 1
something failed, 2 and above could not check.
"""

import argparse
import hashlib
from pathlib import Path

from holdfire_protocol import fields, words

from .. import audit, clips, evidence, show, times
from ..audit import Audit, StationAudit
from ..checks import ORDER
from ..errors import UsageError
from ..output import BAD, DIM, GOOD, WARN, Section, counted, numbers, print_json, print_report
from ..registry import Registry
from . import common

HELP = "check a file of evidence offline"
EXAMPLES = (
    "holdfire verify evidence.cbor --registry registry.json",
    "holdfire verify minicom.log --registry registry.json --complete",
    "holdfire verify ridge.cbor --registry registry.json --clips ridge-clips",
)
LISTED_FAILURES = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="an export or a serial log, as in night.cbor; - is standard input")
    parser.add_argument(
        "--registry", metavar="FILE", type=Path,
        help="who is enrolled, as in --registry registry.json (default: the one in --dir)",
    )  # fmt: skip
    parser.add_argument(
        "--complete", action="store_true",
        help="fail also when a number between a station's first and last record is missing, as in day.cbor --complete",
    )  # fmt: skip
    parser.add_argument(
        "--clips", metavar="FOLDER", type=Path,
        help="also say which sound clips the records prove, as in --clips ridge-clips, a folder of `holdfire pull`",
    )  # fmt: skip
    common.add_json(parser, ".failures")
    common.add_directory(parser)


def run(args: argparse.Namespace) -> int:
    registry = Registry.load(args.registry or common.deployment(args).registry_path)
    found = evidence.read(args.file, registry.network, registry.collector_kids)
    outcome = audit.audit(found, registry, times.now_us())
    held = outcome.held and (outcome.complete or not args.complete)
    rated, wrong = _clips(args.clips, outcome) if args.clips else ([], [])
    if args.json:
        more = {"clips": [clips.as_json(one) for one in rated], "no_clips": dict(wrong)} if args.clips else {}
        print_json([{**_json(outcome, held), **more}])
    else:
        print_report([*([clips.section(rated, wrong)] if args.clips else []), *report(outcome, held)])
    return 0 if held and clips.held(rated, wrong) else 1


def _clips(folder: Path, outcome: Audit) -> tuple[list[clips.Judged], list[tuple[str, str]]]:
    """The clips of a folder by the records of the one station in the file, and what in it is no clip."""
    if len(outcome.stations) > 1:
        raise UsageError("--clips needs a file with one station's records: holdfire export --station NAME")
    found, wrong = clips.read_folder(folder)
    return clips.judge(found, outcome.stations[0].records if outcome.stations else ()), wrong


def report(outcome: Audit, held: bool) -> list[Section]:
    """The whole outcome as a court clerk can read it."""
    sections = [_file(outcome), *(_station(found) for found in outcome.stations), _checks(outcome)]
    if outcome.failures:
        sections.append(_failures(outcome))
    sections.append(_limits(outcome))
    sections.append(_verdict(outcome, held))
    return sections


def _file(outcome: Audit) -> Section:
    found, registry = outcome.evidence, outcome.registry
    section = Section("Evidence")
    section.add("file", found.name)
    section.add("sha-256", found.sha256)
    section.add("kind", found.form)
    section.add(
        "holds", f"{counted(len(found.messages), 'signed message')}, of these {counted(outcome.beacons, 'beacon')}"
    )
    section.add("deployment", f"{registry.name}, network {registry.network.hex()}")
    for holder in registry.collectors:
        until = f", until {times.text(holder.until_us, 0)}" if holder.until_us is not None else ""
        since = f", since {times.text(holder.from_us, 0)}" if holder.entry > 1 else ""
        section.add("collector", f"{holder.public_key.hex()}{since}{until}")
    section.add("registry", f"{registry.path}, sha-256 {hashlib.sha256(registry.path.read_bytes()).hexdigest()}")
    return section


def _station(found: StationAudit) -> Section:
    section = Section(f"Station {found.station.name}, kid {found.station.kid.hex()}")
    first = common.add_extent(section, found)
    if found.starts_at_genesis:
        section.add("begins", "with a record that starts a chain")
    else:
        section.add("begins", f"with record {first}; what it follows is not in this file", WARN)
    if found.missing:
        section.add("missing", f"{numbers(found.missing)}: not in this file", WARN)
    common.add_given_up(section, found)
    for seq, why in found.restarts:
        section.add("restart", show.restart_words(seq, why), WARN if why != fields.RESTART_FIRST else "")
    for seq, after in found.forks:
        follow = f"record {seq} is followed by records {', '.join(map(str, after))}"
        section.add("fork", f"{follow}: the station lost what it had sent, or its key was copied", WARN)
    if found.repeated:
        section.add("repeated", f"{counted(found.repeated, 'copy', 'copies')} of records, identical: sent again")
    if found.receipted_to:
        at = times.text(found.receipted_at_us, 0)
        text = f"the base signed at {at} that it stored everything up to record {found.receipted_to}"
        section.add("receipts", text, GOOD)
    if found.promised_to > found.receipted_to:
        at = times.text(found.promised_at_us, 0)
        section.add("receipts", f"the base signed at {at} that it stored everything up to number {found.promised_to},"
                    " which is not in this file")  # fmt: skip
    if found.promised_missing:
        text = f"{numbers(found.promised_missing)}, which are not in this file"
        section.add("receipted, too", f"{text}: the base signed that it stored them, so ask it for them", WARN)
    return section


def _checks(outcome: Audit) -> Section:
    section = Section("Checks")
    for name in (*ORDER, "beacon"):
        failed = sum(1 for failure in outcome.failures if failure.check == name)
        passed, unchecked = outcome.passed[name], outcome.unchecked[name]
        if not (failed or passed or unchecked):
            continue
        parts = [f"{passed:,} passed"] if passed else []
        parts += [f"{failed:,} FAILED"] if failed else []
        parts += [f"{unchecked:,} not checkable: the record before is not in this file"] if unchecked else []
        section.add(name, ", ".join(parts), BAD if failed else GOOD)
    return section


def _failures(outcome: Audit) -> Section:
    section = Section("What failed")
    for failure in outcome.failures[:LISTED_FAILURES]:
        name = f", record {failure.hash.hex()[:12]}" if failure.hash else ""
        section.add(failure.where or "whole file", f"{failure.check}{name}: {failure.reason}", BAD)
    if len(outcome.failures) > LISTED_FAILURES:
        section.add("and", f"{len(outcome.failures) - LISTED_FAILURES:,} more; --json lists all")
    return section


def _limits(outcome: Audit) -> Section:
    section = Section("What this cannot show")
    section.add("registry", "that it is genuine: compare its sha-256 with one from a source you trust", DIM)
    for holder in outcome.registry.authorities:
        if holder.broken:
            section.add("authority", f"who made it {holder.kid.hex()} in entry {holder.entry} of the registry: the one"
                        " before did not sign that; what was enrolled or changed since is the new one's word", WARN)
    section.add("before, after", "whether stations made records before the first or after the last in this file", DIM)
    return section


def _verdict(outcome: Audit, held: bool) -> Section:
    section = Section("Verdict")
    if held:
        records, stations = counted(outcome.records, "record"), counted(len(outcome.stations), "station")
        section.add(
            "HELD", f"{records} of {stations}: signed by the keys in this registry and not altered since.", GOOD
        )
        if not outcome.complete:
            section.add("but", "not complete: numbers are missing, as listed above.", WARN)
    elif outcome.failures:
        section.add("DID NOT HOLD", f"{counted(len(outcome.failures), 'check')} failed, as listed above.", BAD)
    elif not outcome.records:
        section.add("DID NOT HOLD", "there is no signed record in this file.", BAD)
    else:
        section.add("DID NOT HOLD", "numbers are missing, as listed above, and --complete asks for all.", BAD)
    return section


def _json(outcome: Audit, held: bool) -> dict[str, object]:
    return {
        "held": held,
        "complete": outcome.complete,
        "file": outcome.evidence.name,
        "sha256": outcome.evidence.sha256,
        "network": outcome.registry.network.hex(),
        "records": outcome.records,
        "beacons": outcome.beacons,
        "passed": dict(outcome.passed),
        "unchecked": dict(outcome.unchecked),
        "failures": [
            {"where": f.where, "hash": f.hash.hex() or None, "check": f.check, "reason": f.reason}
            for f in outcome.failures
        ],
        "stations": [
            {
                "name": found.station.name,
                "kid": found.station.kid.hex(),
                "records": len(found.records),
                "first_seq": found.records[0].seq,
                "last_seq": found.records[-1].seq,
                "unbroken": found.unbroken,
                "missing": found.missing,
                "never_sent": found.given_up,
                "thinned": found.thinned,
                "repeated": found.repeated,
                "restarts": [{"seq": seq, "why": words.RESTARTS[why]} for seq, why in found.restarts],
                "forks": found.forks,
                "receipted_to": found.receipted_to,
                "receipted_at": times.text(found.receipted_at_us) if found.receipted_to else None,
                "promised_to": found.promised_to,
                "promised_missing": found.promised_missing,
            }
            for found in outcome.stations
        ],
    }
