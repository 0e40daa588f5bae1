"""Everything about one record, or one refusal, in plain words.

HASH is the beginning of a record's hash, 6 hex digits or more, as every list shows it. The checks are made again, now,
from the stored bytes: what each compared stands beside it. Exit code 1 when one fails.
"""

import argparse
from typing import Any

from holdfire_protocol import cose, record

from .. import checks, show, times
from ..checks import Step
from ..errors import UsageError
from ..output import BAD, DIM, GOOD, WARN, Section, counted, numbers, print_json, print_report
from ..registry import Registry
from ..store import BROKEN, CONTIGUOUS, LINKED
from ..views import View, as_json, diagnostic, named_of
from . import common

HELP = "everything about one record or refusal"
EXAMPLES = (
    "holdfire show 3f9a02",
    "holdfire show 3f9a02 --cbor",
    "holdfire show 3f9a02 --json | jq .checks",
)
MIN_DIGITS = 6

LINK_WORDS = {
    CONTIGUOUS: "whole: every record back to the start of the chain is stored",
    LINKED: "the record before it is stored, but the chain does not reach back to its start yet",
    BROKEN: "BROKEN: contradicts the record it claims to follow",
}
REASON_WORDS = {
    "damaged": "the line or frame arrived damaged; a station sends again until it has a receipt",
    "wrong-network": "it belongs to another deployment",
    "unknown-station": "no enrolled station has this key id: not enrolled here, or made up",
    "not-canonical": "its form is not the one that the protocol allows",
    "bad-signature": "the named station's key did not sign these bytes: forged, altered, or damaged before framing",
    "time-range": "signed by the station, but its time cannot be right; the record is kept",
    "replay": "the same record was stored before: a lost beacon, or someone replays; harmless",
    "sequence-reuse": "two different records with one number, both signed: a copied key, or a station that forgot",
    "chain-break": "signed by the station, but it contradicts the chain; the record is kept and not receipted",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "hash", metavar="HASH", help=f"of a record or refusal, its first {MIN_DIGITS} digits or more, as in 3f9a02"
    )
    parser.add_argument(
        "--cbor", action="store_true", help="add the signed bytes, in diagnostic notation and hex: --cbor"
    )
    common.add_json(parser, ".checks")
    common.add_directory(parser)


def run(args: argparse.Namespace) -> int:
    registry, view = common.open_view(args)
    prefix = _checked_prefix(args.hash)
    rows, refusals = view.records_by_hash(prefix), view.refusals_by_hash(prefix)
    names = {row["hash"] for row in rows} | {row["sha256"] for row in refusals}
    if not names:
        raise UsageError(f"no record and no refusal begins with {prefix} (holdfire records lists the hashes)")
    if len(names) > 1:
        listed = ", ".join(sorted(name.hex()[: len(prefix) + 4] for name in names))
        raise UsageError(f"{prefix} begins several hashes: {listed}; give more digits")
    passed = True
    sections: list[Section] = []
    as_objects: list[dict[str, Any]] = []
    now_us = times.now_us()
    for row in rows:
        named = named_of(row["message"])
        steps = record_steps(row, registry, view, now_us)
        passed = passed and all(step.passed is not False for step in steps)
        sections += _record(row, named, registry, view, steps, args.cbor)
        as_objects.append(
            {**as_json(row, named, registry), "checks": [vars(s) for s in steps], "bytes": row["message"].hex()}
        )
    for row in refusals:
        sections += _refusal(row, registry, now_us)
        as_objects.append({key: v.hex() if isinstance(v, bytes) else v for key, v in dict(row).items()})
    if args.json:
        print_json(as_objects)
    else:
        print_report(sections)
    return 0 if passed else 1


def find_record(view: View, written: str) -> Any:
    """The one stored record whose hash begins so. Raises UsageError."""
    prefix = _checked_prefix(written)
    rows = view.records_by_hash(prefix)
    if not rows:
        raise UsageError(f"no record begins with {prefix} (holdfire records lists the hashes)")
    if len(rows) > 1:
        listed = ", ".join(row["hash"].hex()[: len(prefix) + 4] for row in rows)
        raise UsageError(f"{prefix} begins several records: {listed}; give more digits")
    return rows[0]


def record_steps(row: Any, registry: Registry, view: View, now_us: int) -> list[Step]:
    """All checks of a stored record, made again; in the order of `checks.ORDER`."""
    steps = list(checks.check(row["message"], registry, now_us).steps)
    steps.append(_chain_step(row, registry, view))
    if record.record_hash(row["message"]) != row["hash"]:
        steps.append(Step("form", False, "its SHA-256 is not the hash it is stored under: the database was altered"))
    return sorted(steps, key=lambda step: checks.ORDER.index(step.name))


def _chain_step(row: Any, registry: Registry, view: View) -> Step:
    """What is stored must agree with what the record says came before it."""
    station = registry.stations.get(row["kid"])
    if station is None:
        return Step("chain", None, "the station is not enrolled, so there is no chain to compare with")
    twins = len(view.record_at(row["kid"], row["seq"]))
    if twins > 1:
        return Step("chain", False, f"number {row['seq']} was used for {twins} different records")
    if row["link"] == BROKEN:
        return Step(
            "chain", False, "contradicts the record it claims to follow; see `holdfire refusals --reason chain-break`"
        )
    if row["prev"] == record.genesis(registry.network, station.public_key):
        return Step("chain", True, "begins a chain: prev is the genesis value of this network and this key")
    before = view.by_hash(row["prev"])
    if before is None and any(taken["hash"] == row["hash"] for taken in view.taken_up(row["kid"])):
        return Step("chain", None, f"the record before it, {row['prev'].hex()[:12]}, is lost: taken up by decision")
    if before is None:
        return Step("chain", None, f"the record before it, {row['prev'].hex()[:12]}, has not arrived yet")
    if record.record_hash(before["message"]) != row["prev"]:
        return Step("chain", False, f"the stored record {before['seq']} is not the one that prev names")
    return Step("chain", True, f"prev is the SHA-256 of the stored record {before['seq']}, {row['prev'].hex()[:12]}")


def _checked_prefix(written: str) -> str:
    prefix = written.lower().removeprefix("0x")
    if not MIN_DIGITS <= len(prefix) <= 64 or prefix.strip("0123456789abcdef"):
        raise UsageError(f"{written!r} is no hash: give its first {MIN_DIGITS} hex digits or more")
    return prefix


def _record(
    row: Any, named: dict[str, Any], registry: Registry, view: View, steps: list[Step], with_cbor: bool
) -> list[Section]:
    station = registry.stations.get(row["kid"])
    sections = show.record_sections(named)
    origin = Section("Origin")
    origin.add("hash", row["hash"].hex())
    origin.add("station", f"{station.name if station else 'not enrolled here'}, kid {row['kid'].hex()}")
    origin.add("received", f"{times.text(row['received_at_us'])} by the base's clock, on {row['port']}")
    origin.add("size", f"{len(row['message'])} bytes as signed")
    sections.append(origin)
    sections.append(_chain(row, registry, view))
    sections.append(_steps("Checks, made again now", steps))
    if with_cbor:
        raw = Section("Signed bytes")
        for number, text in enumerate(diagnostic(row["message"]).splitlines() if named else ()):
            raw.add("notation" if number == 0 else "", text)
        message = row["message"].hex()
        for at in range(0, len(message), 64):
            raw.add("hex" if at == 0 else "", message[at : at + 64])
        sections.append(raw)
    return sections


def _chain(row: Any, registry: Registry, view: View) -> Section:
    section = Section("Chain")
    before = view.by_hash(row["prev"])
    station = registry.stations.get(row["kid"])
    if before is not None:
        section.add("previous", f"record {before['seq']}, {before['hash'].hex()}")
    elif station is not None and row["prev"] == record.genesis(registry.network, station.public_key):
        section.add("previous", "none: this record begins a chain")
    else:
        section.add("previous", f"{row['prev'].hex()}, not stored", WARN)
    for taken in view.taken_up(row["kid"]):
        if taken["hash"] == row["hash"]:
            decided, lost = times.text(taken["decided_at_us"], 0), numbers([(taken["lost_from"], row["seq"] - 1)])
            section.add("taken up", f"here, by the operator's decision on {decided}: {taken['why']}", WARN)
            section.add("", f"what was not held then of {lost} is lost", WARN)
        elif taken["seq"] < row["seq"] and row["link"] == CONTIGUOUS:
            section.add("but", f"back to record {taken['seq']} only, where the chain was taken up after a loss", WARN)
    after = view.followers(row["kid"], row["seq"], row["hash"])
    for number, follower in enumerate(after):
        section.add("next" if number == 0 else "", f"record {follower['seq']}, {follower['hash'].hex()}")
    if not after:
        section.add("next", "none stored yet", DIM)
    if len(after) > 1:
        section.add("fork", "several records follow this one: the station lost what it had made, or its key is copied",
                    BAD if sum(follower["restart"] is None for follower in after) > 1 else WARN)  # fmt: skip
    twins = [other for other in view.record_at(row["kid"], row["seq"]) if other["hash"] != row["hash"]]
    for other in twins:
        section.add("twin", f"the same number: {other['hash'].hex()}", BAD)
    section.add("link", LINK_WORDS.get(row["link"], "waiting for the record before it"),
                {CONTIGUOUS: GOOD, BROKEN: BAD}.get(row["link"], WARN))  # fmt: skip
    section.add("receipt", "every beacon to this station since then covers it" if row["link"] == CONTIGUOUS else
                "none: beacons cover only what is whole back to the start")  # fmt: skip
    if row["problem"]:
        section.add("problem", f"{row['problem']}: {REASON_WORDS[row['problem']]}", BAD)
    return section


def _steps(title: str, steps: list[Step]) -> Section:
    section = Section(title)
    for step in steps:
        word = {True: "passed", False: "FAILED", None: "not yet"}[step.passed]
        section.add(step.name, f"{word}: {step.text}", {True: GOOD, False: BAD, None: WARN}[step.passed])
    return section


def _refusal(row: Any, registry: Registry, now_us: int) -> list[Section]:
    section = Section(f"Refused: {row['reason']}")
    section.add("why", row["text"], BAD)
    section.add("means", REASON_WORDS[row["reason"]])
    first, last = times.text(row["first_seen_us"]), times.text(row["last_seen_us"])
    section.add("seen", f"{counted(row['count'], 'time')}, first {first}, last {last}")
    section.add("port", row["port"])
    if row["kid"] is not None:
        station = registry.stations.get(row["kid"])
        number = f", number {row['seq']}" if row["seq"] is not None else ""
        section.add("claims", f"{station.name if station else 'not enrolled here'}, kid {row['kid'].hex()}{number}")
    section.add("sha-256", row["sha256"].hex())
    sections = [section]
    kept = row["bytes"]
    if kept:
        raw = kept.hex()
        for at in range(0, len(raw), 64):
            section.add("bytes" if at == 0 else "", raw[at : at + 64])
        try:
            cose.parse(kept)
        except cose.CoseError:
            return sections
        sections.append(_steps("Checks, made again now", list(checks.check(kept, registry, now_us).steps)))
    return sections
