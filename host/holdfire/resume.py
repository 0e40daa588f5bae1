"""A chain that goes on after a loss: may receipts speak of a record although what it follows is lost for good?

A base that lost its records, and every copy, stays silent for ever: stations have let go of what it once receipted, so
no chain reaches back to its start. Only a person can say that nothing more is to be found, and even a person must not
say it while the station still holds what is missing: a receipt would let the station free records that nobody has. So
the station's own signed word is asked for: a status record states how many records no receipt covers (`pending`), these
are its newest, and where at least as many hang together here before that status record, none of them is missing.

What the chain held before stays lost and is listed as missing; the decision is kept with the day and the reason.
"""

from dataclasses import dataclass

from holdfire_protocol import record

from . import times
from .chain import Chains
from .collector import only_one
from .errors import UsageError
from .output import counted
from .registry import Deployment, Registry, Station
from .store import CONTIGUOUS, HAS_STATUS, PENDING, Store
from .thinned import Thinned
from .views import View, named_of

# `pending` is counted before its record waits for its turn and is signed; what was made as little before it as this may
# have come in between, and is not counted here either.
_IN_BETWEEN_MS = 10_000


@dataclass(frozen=True)
class Proof:
    """Why the chain may go on: status record `seq` says that `pending` records wait, and `held` before it are here."""

    lost_from: int
    seq: int
    hash: bytes
    pending: int
    held: int


def take_up(deployment: Deployment, registry: Registry, station: Station, seq: int, why: str) -> Proof:
    """Let the station's chain go on at record `seq`, durably. Raises UsageError when it may not."""
    with only_one(deployment.directory):
        view = View(deployment.database_path)
        try:
            row, proof = _judge(view, registry, station, seq)
        finally:
            view.close()
        store = Store(deployment.database_path)
        try:
            store.begin()
            Chains(store, registry.network).take_up(station, seq, row)
            store.note_taken_up((station.kid, seq, row, proof.lost_from, proof.hash, times.now_us(), why))
            store.commit()
        finally:
            store.close()
    return proof


def _judge(view: View, registry: Registry, station: Station, seq: int) -> tuple[bytes, Proof]:
    """(hash of the record, why it may be). Raises UsageError."""
    found = view.record_at(station.kid, seq)
    if not found:
        raise UsageError(f"record {seq} of {station.name} is not stored; `holdfire stations` says which are missing")
    if len(found) > 1:
        raise UsageError(f"number {seq} of {station.name} was used twice: choose a later record, after the fork")
    row = found[0]
    if row["link"] == CONTIGUOUS:
        raise UsageError(f"record {seq} of {station.name} needs no decision: the chain reaches back from it already")
    if row["link"] != PENDING or row["prev"] == record.genesis(registry.network, station.public_key):
        raise UsageError(f"record {seq} of {station.name} does not wait for a lost one; take the first after the gap")
    receipted = view.contiguous_seq(station.kid)
    if seq <= receipted:
        raise UsageError(f"{station.name} is receipted up to {receipted} already, beyond record {seq}")
    best = _prove(view, station, seq, receipted + 1)
    if isinstance(best, str):
        raise UsageError(f"{station.name} cannot go on at record {seq} yet: {best}")
    return row["hash"], best


def _prove(view: View, station: Station, seq: int, lost_from: int) -> Proof | str:
    """By which status record the station holds nothing before `seq`; or in words why none shows it."""
    # What the station gave up for room was among its newest when it was made, but is not what it still holds.
    thinned = Thinned(view.thinned(station.kid))
    # hash -> (hash before, boot, uptime, how many there are in the chain from `seq` up to before it, number)
    chain: dict[bytes, tuple[bytes, int, int, int, int]] = {}
    statuses, said, newest = 0, (0, 0), b""
    for row in view.in_order(station.kid, seq):
        digest, prev, boot, uptime_ms = row["hash"], row["prev"], row["boot"], row["uptime_ms"]
        if row["seq"] > seq and prev not in chain:
            gap = thinned.run_of(row["seq"] - 1)
            if gap is None or not gap[0] - 1 <= chain[newest][4] < row["seq"]:
                continue
            prev = newest  # all between the two was given up
        before = chain[prev][3] + (not thinned.run_of(chain[prev][4])) if prev in chain else 0
        if row["kinds"] & HAS_STATUS:
            held, at = before, prev
            while at in chain and chain[at][1] == boot and chain[at][2] > uptime_ms - _IN_BETWEEN_MS:
                held, at = held - 1, chain[at][0]
            pending = named_of(row["message"])["status"]["pending"]
            if pending <= held:
                return Proof(lost_from, row["seq"], digest, pending, held)
            statuses, said = statuses + 1, (pending, held)
        chain[digest] = (prev, boot, uptime_ms, before, row["seq"])
        newest = digest
    if not statuses:
        return "no status record follows it yet, so it is not known what the station still holds. Wait for the next"
    pending, held = said
    return (
        f"its newest status record says that {counted(pending, 'record')} wait for a receipt, and {held} that hang "
        "together are stored here before it. The rest may still come: let `holdfire collect` run, then try again"
    )
