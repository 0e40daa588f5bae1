"""What a station's status records prove about a period in which it says it heard nothing, and what they do not.

A status record states how much sound was analysed and missed since the one before it. This adds that up for a period,
counting only what is certain: sound that was missed is taken to have been missed inside the period, and a stretch in
which the station's own test found its microphone wanting counts for nothing. Judges records that `audit` has checked.
"""

from dataclasses import dataclass, field

from holdfire_protocol import fields, schema

from .verify import Verified

_DEAF = (
    fields.SELFTEST_MIC_QUIET | fields.SELFTEST_MIC_LOUD | fields.SELFTEST_MIC_STUCK | fields.SELFTEST_TASK
)  # a failed task may be the one that listens


@dataclass
class Quiet:
    """Sums over one period. Times in microseconds UTC by the station's clock, `since_us` included, `until_us` not."""

    since_us: int
    until_us: int
    listened_us: int = 0
    statuses: int = 0
    deaf_statuses: int = 0
    selftests: int = 0  # all failed bits of all status records together
    detected: int = 0  # by the counters of the status records that reach into the period
    impulses: list[tuple[int, Verified]] = field(default_factory=list)  # (onset, record) inside the period
    tampers: list[tuple[int, Verified]] = field(default_factory=list)
    floor_min_db10: int | None = None
    floor_max_db10: int | None = None
    worst_uncertainty_us: int = 0
    gaps: list[tuple[int, int]] = field(default_factory=list)  # stretches of the period without any proof of listening
    first: Verified | None = None
    last: Verified | None = None

    @property
    def share(self) -> float:
        return self.listened_us / (self.until_us - self.since_us)


def assess(records: list[Verified], since_us: int, until_us: int) -> Quiet:
    """Add up what `records` (one station's, in order) prove about the period."""
    found = Quiet(since_us, until_us)
    covered_to = since_us
    status_before_us = 0  # a window never begins before the status record before it: no moment counts twice
    for verified in records:
        source, utc_us, uncertainty_us = verified.time
        if source == fields.TIME_NONE:
            continue
        named = schema.unpack(fields.RECORD, verified.packed)
        touched = _observations(found, verified, named.get("observations", ()))
        status = named.get("status")
        if status is not None:
            window_us = (status["heard_ms"] + status["lost_ms"]) * 1000
            start_us = max(utc_us - window_us, status_before_us)
            status_before_us = utc_us
            overlap_us = min(utc_us, until_us) - max(start_us, since_us)
            if overlap_us > 0:
                touched = True
                _status(found, status)
                if not status["selftest"] & _DEAF:
                    found.listened_us += max(0, overlap_us - status["lost_ms"] * 1000)
                    if max(start_us, since_us) > covered_to:
                        found.gaps.append((covered_to, max(start_us, since_us)))
                    covered_to = max(covered_to, min(utc_us, until_us))
        if touched:
            found.worst_uncertainty_us = max(found.worst_uncertainty_us, uncertainty_us)
            found.first = found.first or verified
            found.last = verified
    if covered_to < until_us:
        found.gaps.append((covered_to, until_us))
    return found


def _observations(found: Quiet, verified: Verified, observations: object) -> bool:
    """Take in what fell into the period; whether anything did."""
    touched = False
    assert isinstance(observations, (list, tuple))
    for observation in observations:
        onset_us = verified.time[1] + observation["onset_us"]
        if found.since_us <= onset_us < found.until_us:
            touched = True
            kept = found.impulses if observation["kind"] == fields.KIND_IMPULSE else found.tampers
            kept.append((onset_us, verified))
    return touched


def _status(found: Quiet, status: dict[str, int]) -> None:
    found.statuses += 1
    found.selftests |= status["selftest"]
    found.deaf_statuses += bool(status["selftest"] & _DEAF)
    found.detected += status["impulses"]
    low, high = status["floor_min_db10"], status["floor_max_db10"]
    found.floor_min_db10 = low if found.floor_min_db10 is None else min(found.floor_min_db10, low)
    found.floor_max_db10 = high if found.floor_max_db10 is None else max(found.floor_max_db10, high)
