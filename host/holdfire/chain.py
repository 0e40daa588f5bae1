"""Where a verified record belongs: repeat, conflict, or its place in its station's hash chain.

Records arrive in any order (alerts first), so a record may wait for its predecessor; whatever the order, the same
records end in the same chain. What a receipt may say is decided here: the highest record that is linked all the way
back to a genesis record. Judges no signature and no content; every row goes through the Store that is passed in.

A record that breaks a rule here is still kept and forwarded: its signature is valid, so it is evidence, of a fault or
of a fraud. It is marked, refused by that reason, and a chain break never counts towards a receipt. A conflicting or
implausibly dated record does count where its link holds: else one bad minute would fill the station's journal for ever.
"""

from holdfire_protocol import fields, record

from . import store as rows
from .clocks import Clocks
from .errors import CHAIN_BREAK, SEQUENCE_REUSE, TIME_RANGE
from .registry import Station
from .store import Store
from .thinned import Thinned, thinned_in
from .verify import Verified

_KIND_BITS = {fields.KIND_IMPULSE: rows.HAS_IMPULSE, fields.KIND_TAMPER: rows.HAS_TAMPER}
_STARTS = (fields.RESTART_FIRST, fields.RESTART_JOURNAL_LOST)


class Problem:
    """Why a record is refused although it is what its station signed."""

    __slots__ = ("reason", "record_hash", "seq", "text")

    def __init__(self, reason: str, text: str, record_hash: bytes, seq: int):
        self.reason = reason
        self.text = text
        self.record_hash = record_hash
        self.seq = seq


class Head:
    """What must be remembered of one station between records; all of it can be read back from the store."""

    __slots__ = ("clocks", "genesis", "highest_seq", "receipt", "thinned", "waiting")

    def __init__(self, store: Store, kid: bytes, genesis: bytes):
        self.genesis = genesis
        self.highest_seq = store.highest_seq(kid)
        self.receipt = store.highest_contiguous(kid)  # (seq, hash) or None
        self.waiting = store.has_waiting(kid)
        self.thinned = Thinned(run for message in store.thinning(kid) for run in thinned_in(message))
        self.clocks = Clocks(store.newest(kid), store.newest_dated(kid))


class Chains:
    """The chains of all stations of a deployment. Call inside a transaction of the store."""

    def __init__(self, store: Store, network: bytes):
        self._store = store
        self._network = network
        self._heads: dict[bytes, Head] = {}  # bounded by the registry: only enrolled stations get here

    def head(self, kid: bytes, public_key: bytes) -> Head:
        found = self._heads.get(kid)
        if found is None:
            found = self._heads[kid] = Head(self._store, kid, record.genesis(self._network, public_key))
        return found

    def add(
        self, new: Verified, time_problem: str | None, received_at_us: int, port: str
    ) -> list[Problem] | None:
        """Store a record and link whatever it links. Returns its problems and those it brings to light, or None for
        a repeat, which changes nothing."""
        store = self._store
        head = self.head(new.kid, new.station.public_key)
        problems: list[Problem] = []
        if new.seq <= head.highest_seq:
            if store.id_of_hash(new.hash) is not None:
                return None
            if store.has_seq(new.kid, new.seq):
                text = f"{new.station.name} signed two different records with number {new.seq}; both are kept"
                problems.append(Problem(SEQUENCE_REUSE, text, new.hash, new.seq))
        link, fault = self._place(head, new)
        if fault:
            problems.append(Problem(CHAIN_BREAK, fault, new.hash, new.seq))
        if time_problem:
            problems.append(Problem(TIME_RANGE, time_problem, new.hash, new.seq))
        source, utc_us, uncertainty_us = new.time
        store.insert_record(
            (
                new.hash, new.kid, new.seq, new.prev, new.boot, source, utc_us, uncertainty_us, new.uptime_ms,
                new.restart, _kinds(new), link, problems[0].reason if problems else None, received_at_us, port,
                new.message,
            )
        )  # fmt: skip
        if new.seq > head.highest_seq:
            head.highest_seq = new.seq
        if link == rows.CONTIGUOUS:
            _raise_receipt(head, new.seq, new.hash)
        runs = new.thinned()
        head.thinned.add(runs)
        if head.waiting:
            self._adopt(head, new.kid, [(new.hash, new.seq, link)], problems)
            for first, _ in runs:
                self._adopt(head, new.kid, self._bridge(head, new.kid, first), problems)
        elif link < rows.CONTIGUOUS:
            head.waiting = True
        return problems

    def take_up(self, station: Station, seq: int, record_hash: bytes) -> None:
        """Let the chain go on at a record that waits for one that was lost: from now on receipts speak of what follows
        it. Whether that may be is decided in resume.py."""
        head = self.head(station.kid, station.public_key)
        record_id = self._store.unlinked(station.kid, record_hash)
        if record_id is None:
            raise AssertionError("only a record that waits for its predecessor can be taken up")
        self._store.set_link(record_id, rows.CONTIGUOUS)
        _raise_receipt(head, seq, record_hash)
        self._adopt(head, station.kid, [(record_hash, seq, rows.CONTIGUOUS)], [])

    def _place(self, head: Head, new: Verified) -> tuple[int, str]:
        """(link, what contradicts it or "")."""
        if new.prev == head.genesis:
            if new.restart in _STARTS:
                return rows.CONTIGUOUS, ""
            return rows.BROKEN, "begins a chain without saying why: restart is neither 1 nor 2"
        if new.restart in _STARTS:
            return rows.BROKEN, "says that it begins a chain, and names a record before it"
        if head.receipt is not None and new.prev == head.receipt[1]:
            seq, link = head.receipt[0], rows.CONTIGUOUS
        else:
            parent = self._store.find_parent(new.kid, new.prev)
            if parent is None:
                return (rows.CONTIGUOUS if self._across(head, new.kid, new.seq) else rows.PENDING), ""
            seq, link = parent
        fault = _contradiction(seq, new.seq, new.restart)
        if fault:
            return rows.BROKEN, fault
        return (rows.CONTIGUOUS if link == rows.CONTIGUOUS else rows.LINKED), ""

    def _across(self, head: Head, kid: bytes, seq: int) -> bool:
        """Whether all between record `seq` and a contiguous one was given up, by the station's signed word."""
        run = head.thinned.run_of(seq - 1)
        before = self._store.highest_within(kid, run[0] - 1, seq - 1) if run else None
        return before is not None and before[1] == rows.CONTIGUOUS

    def _bridge(self, head: Head, kid: bytes, number: int) -> list[tuple[bytes, int, int]]:
        """Link what waits in or just after the gap round this number, if there is one."""
        linked = []
        run = head.thinned.run_of(number)
        for record_id, record_hash, seq in self._store.waiting_within(kid, run[0], run[1] + 1) if run else ():
            if self._across(head, kid, seq):
                self._store.set_link(record_id, rows.CONTIGUOUS)
                _raise_receipt(head, seq, record_hash)
                linked.append((record_hash, seq, rows.CONTIGUOUS))
        return linked

    def _adopt(self, head: Head, kid: bytes, todo: list[tuple[bytes, int, int]], problems: list[Problem]) -> None:
        """Link what waited for these records (hash, seq, link), and what waited for that; a loop, since a backlog may
        be long."""
        while todo:
            parent_hash, parent_seq, parent_link = todo.pop()
            for child_id, child_hash, seq, restart, old_link in self._store.waiting_children(kid, parent_hash):
                if old_link == rows.PENDING and (fault := _contradiction(parent_seq, seq, restart)):
                    self._store.set_link(child_id, rows.BROKEN, CHAIN_BREAK)
                    problems.append(Problem(CHAIN_BREAK, fault, child_hash, seq))
                    continue
                child_link = rows.CONTIGUOUS if parent_link == rows.CONTIGUOUS else rows.LINKED
                if child_link == old_link:
                    continue
                self._store.set_link(child_id, child_link)
                if child_link == rows.CONTIGUOUS:
                    _raise_receipt(head, seq, child_hash)
                    todo.append((child_hash, seq, child_link))
            if parent_link == rows.CONTIGUOUS:
                todo += self._bridge(head, kid, parent_seq + 1)
        head.waiting = self._store.has_waiting(kid)


def _contradiction(parent_seq: int, seq: int, restart: int | None) -> str:
    """Why a record numbered `seq` cannot follow one numbered `parent_seq`, or ""."""
    if seq <= parent_seq:
        return f"has number {seq}, yet follows number {parent_seq}"
    if seq != parent_seq + 1 and restart is None:
        return f"has number {seq}, yet follows number {parent_seq}, and gives no reason"
    return ""


def _raise_receipt(head: Head, seq: int, record_hash: bytes) -> None:
    if head.receipt is None or seq > head.receipt[0]:
        head.receipt = (seq, record_hash)


def _kinds(new: Verified) -> int:
    bits = (rows.HAS_STATUS if new.has_status() else 0) | (rows.HAS_THINNED if new.thinned() else 0)
    for kind in new.observation_kinds():
        bits |= _KIND_BITS[kind]
    return bits

