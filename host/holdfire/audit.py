"""A whole file of evidence, judged offline: every record alone, then what the records say about each other.

Needs the file, the registry and a clock; no database and no trust in whoever handed the file over. Decides what failed,
what held and what the file cannot show; `commands/verify.py` puts it into words.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from holdfire_protocol import cbor, cose, fields, record, schema

from . import checks, offices, times
from .clocks import Clocks
from .evidence import BEACON, Evidence
from .registry import Registry, Station
from .thinned import Run, Thinned
from .verify import Verified


@dataclass(frozen=True)
class Failure:
    """Something that does not hold: where in the file, which record (`hash` may be empty), which check, why."""

    where: str
    hash: bytes
    check: str
    reason: str


@dataclass
class StationAudit:
    """What the file holds of one station. Runs are (first, last) sequence numbers, both included."""

    station: Station
    records: list[Verified] = field(default_factory=list)
    repeated: int = 0
    unbroken: list[tuple[int, int]] = field(default_factory=list)
    missing: list[tuple[int, int]] = field(default_factory=list)
    given_up: list[tuple[int, int]] = field(default_factory=list)
    thinned: list[tuple[int, int]] = field(default_factory=list)  # declared: the memory was full
    starts_at_genesis: bool = False
    restarts: list[tuple[int, int]] = field(default_factory=list)
    forks: list[tuple[int, list[int]]] = field(default_factory=list)  # (record, those that follow it) where several do
    receipts: int = 0
    receipted_to: int = 0  # the highest record of the file that a receipt names, or 0
    receipted_at_us: int = 0  # when the first such receipt was signed
    promised_to: int = 0  # the highest number that a receipt names, in the file or not
    promised_at_us: int = 0

    @property
    def promised_missing(self) -> list[tuple[int, int]]:
        """Numbers that the base once signed to hold, between the first and the last of the file, and not in it."""
        return [(low, min(high, self.promised_to)) for low, high in self.missing if low <= self.promised_to]


@dataclass
class Audit:
    """The outcome. `held` is True only when the file has records and nothing in it failed."""

    evidence: Evidence
    registry: Registry
    stations: list[StationAudit]
    passed: Counter[str]
    unchecked: Counter[str]
    failures: list[Failure]
    beacons: int

    @property
    def records(self) -> int:
        return sum(len(s.records) for s in self.stations)

    @property
    def held(self) -> bool:
        return not self.failures and self.records > 0

    @property
    def complete(self) -> bool:
        """No number is missing between the first and the last record of any station."""
        return not any(s.missing for s in self.stations)


def audit(evidence: Evidence, registry: Registry, now_us: int, declared: Iterable[Run] = ()) -> Audit:
    """Judge everything in the file. `declared`: numbers that the one station in it gave up, by records not in it."""
    outcome = Audit(evidence, registry, [], Counter(), Counter(), [], 0)
    outcome.failures += [Failure(d.where, b"", "form", d.reason) for d in evidence.damages]
    by_station: dict[bytes, StationAudit] = {}
    where: dict[bytes, str] = {}
    owner: dict[bytes, StationAudit] = {}
    beacons: dict[int, tuple[bytes, dict[str, Any]]] = {}
    for message in evidence.messages:
        if message.kind == BEACON:
            _take_beacon(message.where, message.data, registry, beacons, outcome)
            continue
        digest = record.record_hash(message.data)
        if digest in where:  # judged already: a station sends again what no receipt covers
            if digest in owner:
                owner[digest].repeated += 1
            continue
        where[digest] = message.where
        checked = checks.check(message.data, registry, now_us)
        for step in checked.steps:
            if step.passed:
                outcome.passed[step.name] += 1
            else:
                outcome.failures.append(Failure(message.where, digest, step.name, step.text))
        verified = checked.verified
        if verified is not None:
            owner[digest] = by_station.setdefault(verified.kid, StationAudit(verified.station))
            owner[digest].records.append(verified)
    for found in by_station.values():
        _judge_station(found, where, outcome, declared)
    _judge_receipts(by_station, beacons, outcome)
    outcome.beacons = len(beacons)
    outcome.stations = sorted(by_station.values(), key=lambda s: s.station.name.casefold())
    return outcome


def _judge_station(found: StationAudit, where: dict[bytes, str], outcome: Audit, declared: Iterable[Run]) -> None:
    """Links, forks, numbers used twice, and what the clocks say."""
    found.records.sort(key=lambda c: (c.seq, c.hash))

    def fail(checked: Verified, check: str, reason: str) -> None:
        outcome.failures.append(Failure(where[checked.hash], checked.hash, check, reason))

    by_hash = {c.hash: c for c in found.records}
    by_seq: dict[int, list[Verified]] = defaultdict(list)
    followers: dict[bytes, list[Verified]] = defaultdict(list)
    for checked in found.records:
        by_seq[checked.seq].append(checked)
        followers[checked.prev].append(checked)
    genesis = record.genesis(outcome.registry.network, found.station.public_key)
    broken: set[bytes] = set()
    for seq, same in by_seq.items():
        for checked in same if len(same) > 1 else ():
            broken.add(checked.hash)
            fail(checked, "chain", f"number {seq} was used for {len(same)} different records of {found.station.name}")
    for prev, after in followers.items():
        plain = [c for c in after if c.restart is None]
        for checked in plain if len(plain) > 1 else ():
            broken.add(checked.hash)
            fail(checked, "chain", f"{len(plain)} records claim to follow {prev.hex()[:12]}: the chain forks")
        if len(after) > 1 and prev in by_hash:
            found.forks.append((by_hash[prev].seq, [checked.seq for checked in after]))
    for checked in found.records:
        before = by_hash.get(checked.prev)
        reason = _link_fault(checked, before, genesis, by_seq)
        if reason:
            broken.add(checked.hash)
            fail(checked, "chain", reason)
        elif checked.hash in broken:
            continue
        elif before is None and checked.prev != genesis:
            outcome.unchecked["chain"] += 1
        else:
            outcome.passed["chain"] += 1
        if checked.restart is not None:
            found.restarts.append((checked.seq, checked.restart))
    thinned = Thinned([*declared, *(run for checked in found.records for run in checked.thinned())])
    _describe_runs(found, by_hash, broken, genesis, thinned)
    misdated = {failure.hash for failure in outcome.failures if failure.check == "time"}
    _judge_clocks(found.records, misdated, fail)
    _judge_undated(found, fail)


def _link_fault(checked: Verified, before: Verified | None, genesis: bytes, by_seq: dict[int, list[Verified]]) -> str:
    """Why a record contradicts what it follows, or ""."""
    restart = checked.restart
    if checked.prev == genesis:
        if restart in (fields.RESTART_FIRST, fields.RESTART_JOURNAL_LOST):
            return ""
        return "begins a chain without saying why"
    if restart == fields.RESTART_FIRST:
        return "says that it is the station's first record, and names one before it"
    if before is not None:
        expected = before.seq + 1
        if checked.seq < expected:
            return f"has number {checked.seq}, yet follows number {expected - 1}"
        if checked.seq > expected and restart is None:
            return f"has number {checked.seq}, yet follows number {expected - 1}, and gives no reason"
        return ""
    neighbour = by_seq.get(checked.seq - 1)
    if neighbour and restart is None:
        return f"does not follow record {checked.seq - 1} of this file, {neighbour[0].hash.hex()[:12]}, as it should"
    return ""


def _describe_runs(
    found: StationAudit, by_hash: dict[bytes, Verified], broken: set[bytes], genesis: bytes, thinned: Thinned
) -> None:
    """Fill in `unbroken`, `missing`, `given_up`, `thinned` and `starts_at_genesis`."""
    last_seq: int | None = None
    for checked in found.records:
        seq = checked.seq
        before = by_hash.get(checked.prev)
        joined = checked.hash not in broken and before is not None and before.hash not in broken
        if joined and found.unbroken and before is not None and found.unbroken[-1][1] == before.seq:
            found.unbroken[-1] = (found.unbroken[-1][0], seq)
        else:
            found.unbroken.append((seq, seq))
        if last_seq is not None and seq > last_seq + 1:
            # A record that restarts the chain onto one we hold accounts for the numbers between: they were never sent.
            if joined:
                found.given_up.append((last_seq + 1, seq - 1))
            else:
                inside, outside = thinned.split(last_seq + 1, seq - 1)
                found.thinned += inside
                found.missing += outside
        last_seq = seq
    if found.records:
        found.starts_at_genesis = found.records[0].prev == genesis


def _judge_clocks(records: list[Verified], misdated: set[bytes], fail: Callable[[Verified, str, str], None]) -> None:
    clocks = Clocks()
    for checked in records:
        wrong = clocks.judge(checked, checked.hash not in misdated)
        if wrong:
            fail(checked, "time", wrong)


def _judge_undated(found: StationAudit, fail: Callable[[Verified, str, str], None]) -> None:
    """A record without a time was made between those before and after it; a doubt about that time is one about it."""
    if not found.station.doubts:
        return
    after_us: dict[bytes, int] = {}
    at_us = fields.UTC_MAX_US
    for checked in reversed(found.records):
        after_us[checked.hash] = at_us = checked.time[1] if checked.time[0] != fields.TIME_NONE else at_us
    before_us = 0
    for checked in found.records:
        if checked.time[0] != fields.TIME_NONE:
            before_us = checked.time[1]
            continue
        span_us = abs(after_us[checked.hash] - before_us)
        doubt = found.station.doubt_at((after_us[checked.hash] + before_us) // 2, span_us // 2 + 1)
        if doubt is not None:
            fail(checked, "enrolment", f"states no time, and may be of when {doubt}")


def _take_beacon(
    where: str, message: bytes, registry: Registry, beacons: dict[int, tuple[bytes, dict[str, Any]]], outcome: Audit
) -> None:
    """A beacon proves that the base held records; it must hold itself."""
    try:
        named = offices.open_beacon(message, registry.collectors, registry.network)
    except (cose.CoseError, cbor.CborError, schema.FieldError, offices.NotInOffice) as error:
        outcome.failures.append(Failure(where, record.record_hash(message), "beacon", str(error)))
        return
    except ValueError:
        outcome.failures.append(
            Failure(where, record.record_hash(message), "beacon", "not signed by the collector's key, or altered")
        )
        return
    outcome.passed["beacon"] += 1
    other = beacons.setdefault(named["number"], (message, named))
    if other[0] != message:
        reason = f"number {named['number']} was used for two different beacons"
        outcome.failures.append(Failure(where, record.record_hash(message), "beacon", reason))


def _judge_receipts(
    by_station: dict[bytes, StationAudit], beacons: dict[int, tuple[bytes, dict[str, Any]]], outcome: Audit
) -> None:
    """A receipt names a record; the file's record of that number must be that one."""
    for number, (_, named) in sorted(beacons.items()):
        for kid, seq, digest in named["receipts"]:
            found = by_station.get(kid)
            if found is None:
                continue
            found.receipts += 1
            if seq > found.promised_to:
                found.promised_to, found.promised_at_us = seq, named["time"][1]
            same = [c.hash for c in found.records if c.seq == seq]
            if digest in same:
                if seq > found.receipted_to:
                    found.receipted_to, found.receipted_at_us = seq, named["time"][1]
            elif same:
                reason = f"beacon {number} receipts another record {seq} of {found.station.name} than this one"
                outcome.failures.append(Failure("", same[0], "beacon", reason))


def span_of(found: StationAudit) -> tuple[int, int] | None:
    """First and last stated time of a station's records, or None when none states one."""
    known = [c.time[1] for c in found.records if c.time[0] != fields.TIME_NONE]
    return (min(known), max(known)) if known else None


def span_words(found: StationAudit) -> str:
    span = span_of(found)
    return f"{times.text(span[0], 0)} to {times.text(span[1], 0)}" if span else "no record states a time"
