"""Vectors of what a collector must make of records one after another: the chain and the plausibility of time."""

from generate import samples
from generate.samples import STATION
from generate.vector_form import KEYS, good
from holdfire_protocol import fields, record

NOW_US = 1_795_525_300_000_000
ENROLLED_US = NOW_US - 3_600_000_000
CLOCK_UNCERTAINTY_US = 1_000  # the collector's own
TOLERANCE_FUTURE_US = 120_000_000
TOLERANCE_PAST_US = 86_400_000_000


def chains() -> dict:
    one, two, three = samples.FIRST_MESSAGE, samples.ALERT_MESSAGE, samples.HEARTBEAT_MESSAGE
    after_two = {**samples.HEARTBEAT, "prev": record.record_hash(two)}
    twin = STATION.record({**samples.ALERT, "uptime_ms": 604_651})
    gap = STATION.record({**after_two, "seq": 4})
    restarted = STATION.record({**after_two, "seq": 9, "boot": 2, "restart": fields.RESTART_UNCLEAN})
    backwards = STATION.record(
        {**after_two, "seq": 2, "prev": record.record_hash(three), "restart": fields.RESTART_UNCLEAN}
    )
    no_restart = STATION.record({**samples.HEARTBEAT, "prev": samples.GENESIS})
    lost = STATION.record(
        {**samples.HEARTBEAT, "seq": 50, "prev": samples.GENESIS, "restart": fields.RESTART_JOURNAL_LOST}
    )

    def at(utc_us: int, uncertainty_us: int = 0, seq: int = 2, uptime_ms: int = 604_650, prev: bytes = one) -> bytes:
        return STATION.record(
            {
                **samples.ALERT,
                "seq": seq,
                "prev": record.record_hash(prev),
                "uptime_ms": uptime_ms,
                "time": (fields.TIME_GNSS, utc_us, uncertainty_us),
            }
        )

    bound_us = NOW_US + CLOCK_UNCERTAINTY_US + TOLERANCE_FUTURE_US
    latest, too_late = at(bound_us + 5_000, 5_000), at(bound_us + 5_001, 5_000)
    earliest = at(ENROLLED_US - TOLERANCE_PAST_US)
    too_early = at(ENROLLED_US - TOLERANCE_PAST_US - 1)
    sure, unsure = at(NOW_US), at(NOW_US, 60_000_000)
    before_sure = at(NOW_US - 10_000_000, 1_000, 3, 649_650, sure)
    before_unsure = at(NOW_US - 10_000_000, 1_000, 3, 649_650, unsure)
    ahead = at(NOW_US + 45_000_000 + 1_000 + 4_500 + 2_001, 1_000, 3, 649_650, sure)
    just_ahead = at(NOW_US + 45_000_000 + 1_000 + 4_500 + 2_000, 1_000, 3, 649_650, sure)
    rewound = at(NOW_US, 1_000, 3, 604_649, sure)
    two_of_boot_2 = STATION.record({**samples.ALERT, "boot": 2})
    boot_back = STATION.record({**after_two, "prev": record.record_hash(two_of_boot_2)})
    misplaced = STATION.record({**after_two, "restart": fields.RESTART_JOURNAL_LOST})
    second_first = STATION.record({**samples.FIRST, "prev": record.record_hash(two)})
    routine = STATION.record(after_two)  # number 3
    after_routine = {**samples.ALERT, "seq": 4, "prev": record.record_hash(routine), "time": samples.NO_TIME}
    after_routine["uptime_ms"] = samples.HEARTBEAT["uptime_ms"]
    kept = STATION.record(after_routine)
    after_kept = {**samples.FIRST, "seq": 5, "prev": record.record_hash(kept), "uptime_ms": after_routine["uptime_ms"]}
    del after_kept["restart"]
    declared = STATION.record({**after_kept, "thinned": [(3, 3)]})
    declared_more = STATION.record({**after_kept, "thinned": [(2, 3)]})
    unclean = STATION.record({**after_routine, "seq": 6, "restart": fields.RESTART_UNCLEAN})
    after_unclean = {**after_kept, "seq": 7, "prev": record.record_hash(unclean)}
    declared_burnt = STATION.record({**after_unclean, "thinned": [(3, 5)]})
    stories = [
        (
            "thinned",
            "number 3 was given up by the station's signed word: its successor links to number 2",
            [(one, "linked"), (two, "linked"), (kept, "pending"), (declared, "linked")],
            declared,
        ),
        (
            "thinned, said first",
            "in any order",
            [(declared, "pending"), (kept, "pending"), (two, "pending"), (one, "linked")],
            declared,
        ),
        (
            "thinned, yet it came",
            "the station declares first and gives up afterwards: a cut between leaves the record to be sent",
            [(one, "linked"), (two, "linked"), (declared, "pending"), (kept, "linked"), (routine, "linked")],
            declared,
        ),
        (
            "thinned, and the one before is not here",
            "what was not given up must be stored before a receipt passes over it",
            [(one, "linked"), (kept, "pending"), (declared, "linked")],
            one,
        ),
        (
            "thinned two",
            "all numbers between may be gone",
            [(one, "linked"), (kept, "pending"), (declared_more, "linked")],
            declared_more,
        ),
        (
            "thinned, and numbers lost in a power cut",
            "a run reaches to the next number that is kept: 4 and 5 were never used",
            [(one, "linked"), (two, "linked"), (unclean, "pending"), (declared_burnt, "linked")],
            declared_burnt,
        ),
        ("in order", "each names the one before it", [(one, "linked"), (two, "linked"), (three, "linked")], three),
        (
            "alert first",
            "a record waits for its predecessor, and is stored meanwhile",
            [(two, "pending"), (one, "linked"), (three, "linked")],
            three,
        ),
        ("never linked", "no receipt goes beyond a gap", [(one, "linked"), (three, "pending")], one),
        ("nothing linked", "no receipt without a first record", [(three, "pending")], None),
        (
            "sent again",
            "the beacon was lost: harmless",
            [(one, "linked"), (one, "replay"), (two, "linked"), (one, "replay")],
            two,
        ),
        (
            "sequence number used twice",
            "two truths under one number: both are kept as evidence",
            [(one, "linked"), (two, "linked"), (twin, "sequence-reuse")],
            two,
        ),
        (
            "gap",
            "seq must be that of prev and one, without a restart",
            [(one, "linked"), (two, "linked"), (gap, "chain-break")],
            two,
        ),
        (
            "restart after a power cut",
            "seq may jump when restart says why",
            [(one, "linked"), (two, "linked"), (restarted, "linked")],
            restarted,
        ),
        (
            "seq goes back",
            "seq must be above that of prev, restart or not",
            [(one, "linked"), (three, "pending"), (backwards, "chain-break")],
            one,
        ),
        (
            "genesis without a restart",
            "only restart 1 or 2 begins a chain",
            [(one, "linked"), (no_restart, "chain-break")],
            one,
        ),
        (
            "journal lost",
            "a new chain from genesis, numbers going on",
            [(one, "linked"), (two, "linked"), (lost, "linked")],
            lost,
        ),
        (
            "journal lost, yet a record named",
            "restart 2 says that no record is known",
            [(one, "linked"), (two, "linked"), (misplaced, "chain-break")],
            two,
        ),
        (
            "first again",
            "restart 1 in a record that names one before it",
            [(two, "pending"), (second_first, "chain-break")],
            None,
        ),
        ("no time", "a time without a source is always plausible", [(one, "linked")], one),
        (
            "latest plausible time",
            "the collector's clock, its uncertainty and tolerance, and the uncertainty that the record states",
            [(one, "linked"), (latest, "linked")],
            latest,
        ),
        ("in the future", "one microsecond later", [(one, "linked"), (too_late, "time-range")], too_late),
        (
            "earliest plausible time",
            "a day before enrolment",
            [(one, "linked"), (earliest, "linked")],
            earliest,
        ),
        ("before enrolment", "one microsecond earlier", [(one, "linked"), (too_early, "time-range")], too_early),
        (
            "clock ran backwards",
            "45 s of uptime and 10 s less of UTC within one boot",
            [
                (one, "linked"),
                (sure, "linked"),
                (before_sure, "time-range"),
            ],
            before_sure,
        ),
        (
            "clock ran ahead",
            "45 s of uptime, and UTC one microsecond beyond uncertainty, drift and rounding: a forged signal, perhaps",
            [(one, "linked"), (sure, "linked"), (ahead, "time-range")],
            ahead,
        ),
        (
            "clock ran ahead as far as it may",
            "1 ms of stated uncertainty, 100 ppm of 45 s, 2 ms of rounding",
            [(one, "linked"), (sure, "linked"), (just_ahead, "linked")],
            just_ahead,
        ),
        (
            "uptime ran backwards",
            "one millisecond less in a later record of the same boot",
            [(one, "linked"), (sure, "linked"), (rewound, "time-range")],
            rewound,
        ),
        (
            "boots ran backwards",
            "a later record of an earlier boot",
            [(one, "linked"), (two_of_boot_2, "linked"), (boot_back, "time-range")],
            boot_back,
        ),
        (
            "clock corrected within its uncertainty",
            "45 s of uptime, 10 s less of UTC, but 60 s of stated uncertainty",
            [(one, "linked"), (unsure, "linked"), (before_unsure, "linked")],
            before_unsure,
        ),
    ]
    return {
        "about": "Records arriving at a collector one after another (SPEC.md sections 7 and 8), and what becomes of "
        "each: linked, pending (stored, its predecessor missing) or the refusal reason. `receipt` is what a beacon "
        "says in the end.",
        **KEYS,
        "now_us": NOW_US,
        "enrolled_us": ENROLLED_US,
        "clock_uncertainty_us": CLOCK_UNCERTAINTY_US,
        "tolerance_future_us": TOLERANCE_FUTURE_US,
        "tolerance_past_us": TOLERANCE_PAST_US,
        "good": [
            good(name, why, steps=[{"message": m.hex(), "expect": e} for m, e in steps], receipt=_receipt(last))
            for name, why, steps, last in stories
        ],
    }


def _receipt(message: bytes | None) -> dict | None:
    if message is None:
        return None
    named = record.decode_record(record.cose.parse(message).payload)
    return {"seq": named["seq"], "hash": record.record_hash(message).hex()}
