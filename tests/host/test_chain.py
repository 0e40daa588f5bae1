"""Whatever the order of arrival, the same records end in the same chain; conflicts are kept and named."""

import itertools
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfire import errors, store
from holdfire.chain import Chains
from holdfire.store import Reader, Store
from holdfire.verify import Verifier
from holdfire_protocol import fields, record
from tests.system.peer import Chain, found_deployment


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    _, registry, keys = found_deployment(tmp_path_factory.mktemp("base") / "base", ("alpha",))
    return registry, keys["alpha"]


@pytest.fixture(scope="module")
def history(base):
    """A valid chain with everything that may happen to one: a power cut that lost a record of the journal (5 was sent,
    7 follows 4), and a lost journal (20 begins anew)."""
    registry, key = base
    verifier = Verifier(registry)
    chain = Chain(key, registry.network)
    made = [chain.make() for _ in range(4)]
    made.append(chain.make(keep=False))
    made.append(chain.make(seq=7, restart=fields.RESTART_UNCLEAN, boot=2))
    made += [chain.make(boot=2) for _ in range(3)]
    chain.prev = record.genesis(registry.network, chain.public)
    made.append(chain.make(seq=20, restart=fields.RESTART_JOURNAL_LOST, boot=3))
    made.append(chain.make(boot=3))
    return [verifier.check(message) for message in made]


class Bench:
    """A store and its chains in a folder of their own."""

    def __init__(self, registry, folder):
        self.path = Path(folder) / "holdfire.sqlite"
        self.registry = registry
        self.store = Store(self.path)
        self.chains = Chains(self.store, registry.network)

        self.store.begin()

    def add(self, new):
        return self.chains.add(new, None, 1, "port")

    def receipt(self, chains=None):
        station = next(iter(self.registry.stations.values()))
        return (chains or self.chains).head(station.kid, station.public_key).receipt

    def rows(self):
        self.store.commit()
        self.store.begin()
        reader = Reader(self.path)
        rows = {row["hash"]: row for row in reader.records(limit=1000)}
        reader.close()
        return rows


@pytest.fixture
def bench(base, tmp_path):
    bench = Bench(base[0], tmp_path)
    yield bench
    bench.store.close()


def expected_links(registry, arrived):
    """The rules again, by brute force: what follows from the set alone."""
    by_hash = {new.hash: new for new in arrived}
    station = next(iter(registry.stations.values()))
    genesis = record.genesis(registry.network, station.public_key)
    links = {}
    for new in arrived:
        at = new
        while at.prev in by_hash:
            at = by_hash[at.prev]
        reaches = at.prev == genesis
        waits = new.prev not in by_hash and new.prev != genesis
        links[new.hash] = store.CONTIGUOUS if reaches else store.PENDING if waits else store.LINKED
    contiguous = [new for new in arrived if links[new.hash] == store.CONTIGUOUS]
    best = max(contiguous, key=lambda new: new.seq, default=None)
    return links, (best.seq, best.hash) if best else None


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_any_part_of_a_chain_in_any_order_with_repeats_ends_in_the_same_state(base, history, data):
    arrivals = data.draw(st.lists(st.sampled_from(history), min_size=1, max_size=30))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(base[0], folder)
        seen = set()
        for new in arrivals:
            problems = bench.add(new)
            assert problems == (None if new.hash in seen else []), "a repeat, and nothing else, is a repeat"
            seen.add(new.hash)
            # The promise holds after every single arrival, not only at the end.
            links, receipt = expected_links(base[0], [h for h in history if h.hash in seen])
            assert bench.receipt() == receipt
        rows = bench.rows()
        assert {digest: row["link"] for digest, row in rows.items()} == links
        assert not any(row["problem"] for row in rows.values())
        assert bench.receipt(Chains(bench.store, base[0].network)) == receipt, "a restart finds the same"
        bench.store.close()


def test_the_whole_chain_backwards_is_linked_by_its_first_record(bench, history):
    for new in reversed(history[1:5]):
        bench.add(new)
    assert bench.receipt() is None
    bench.add(history[0])
    assert bench.receipt()[0] == 5
    assert all(row["link"] == store.CONTIGUOUS for row in bench.rows().values())


def test_a_number_used_twice_keeps_both_records(base, bench, history):
    registry, key = base
    twin = Chain(key, registry.network)
    other = Verifier(registry).check(twin.make(uptime_ms=99))
    bench.add(history[0])
    (problem,) = bench.add(other)
    assert problem.reason == errors.SEQUENCE_REUSE
    assert "alpha signed two different records with number 1" in problem.text
    rows = bench.rows()
    assert len(rows) == 2
    assert rows[history[0].hash]["problem"] is None
    assert rows[other.hash]["problem"] == errors.SEQUENCE_REUSE
    assert bench.receipt() == (1, history[0].hash), "the receipt stays with the record that it was given for"
    assert bench.add(other) is None, "sent again, it is a repeat"


def test_a_station_that_lost_its_way_is_receipted_again_once_it_is_past_its_old_numbers(base, bench, history):
    registry, key = base
    for new in history[:4]:
        bench.add(new)
    fork = Chain(key, registry.network)
    fork.seq, fork.prev = 2, history[1].hash
    for _ in range(3):
        bench.add(Verifier(registry).check(fork.make(uptime_ms=1)))
    assert bench.receipt() == (5, fork.prev)
    assert [row["problem"] for row in sorted(bench.rows().values(), key=lambda r: r["id"])][4:] == [
        errors.SEQUENCE_REUSE, errors.SEQUENCE_REUSE, None,
    ]  # fmt: skip


CONTRADICTIONS = {
    "skips a number without saying why": {"seq": 7, "restart": None},
    "goes back": {"seq": 2, "restart": fields.RESTART_UNCLEAN},
    "says first, and names a record before it": {"seq": 1, "restart": fields.RESTART_FIRST},
    "begins anew, and names a record before it": {"seq": 4, "restart": fields.RESTART_JOURNAL_LOST},
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
@pytest.mark.parametrize("parent_first", [True, False])
def test_a_contradiction_is_a_chain_break_whichever_comes_first(base, bench, history, name, parent_first):
    registry, key = base
    chain = Chain(key, registry.network)
    chain.seq, chain.prev = 3, history[2].hash
    bad = Verifier(registry).check(chain.make(**CONTRADICTIONS[name]))
    child = Verifier(registry).check(chain.make(seq=50, restart=fields.RESTART_UNCLEAN))
    order = [*history[:3], bad, child] if parent_first else [bad, child, *history[:3]]
    problems = list(itertools.chain.from_iterable(bench.add(new) or [] for new in order))
    reasons = {problem.reason for problem in problems if problem.record_hash == bad.hash}
    assert errors.CHAIN_BREAK in reasons
    rows = bench.rows()
    assert rows[bad.hash]["link"] == store.BROKEN
    assert rows[bad.hash]["problem"]
    assert rows[child.hash]["link"] == store.LINKED, "what follows a broken record reaches no genesis"
    assert bench.receipt() == (3, history[2].hash)


@pytest.mark.parametrize("restart", [None, fields.RESTART_UNCLEAN])
def test_a_chain_begins_only_with_a_reason(base, bench, restart):
    registry, key = base
    chain = Chain(key, registry.network)
    (problem,) = bench.add(Verifier(registry).check(chain.make(restart=restart)))
    assert problem.reason == errors.CHAIN_BREAK
    assert bench.receipt() is None


def test_records_of_one_station_never_link_to_another_stations(tmp_path):
    _, registry, keys = found_deployment(tmp_path / "base", ("alpha", "bravo"))
    bench = Bench(registry, tmp_path)
    verifier = Verifier(registry)
    alpha, bravo = (Chain(keys[name], registry.network) for name in ("alpha", "bravo"))
    bench.add(verifier.check(alpha.make()))
    bravo.seq, bravo.prev = alpha.seq, alpha.prev
    stolen = verifier.check(bravo.make())
    assert bench.add(stolen) == []
    assert bench.rows()[stolen.hash]["link"] == store.PENDING
    bench.store.close()
