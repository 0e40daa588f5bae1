"""chain.json against the host's chain: what a collector must make of records one after another."""

import json

import pytest

from holdfire import chain as chains
from holdfire import store as rows
from holdfire import verify
from holdfire.registry import Registry, Station
from holdfire.store import Store
from tests.mpy import REPO

VECTORS = json.loads((REPO / "protocol" / "vectors" / "chain.json").read_text())
LINKS = {rows.PENDING: "pending", rows.LINKED: "linked", rows.CONTIGUOUS: "linked"}


@pytest.mark.parametrize("story", VECTORS["good"], ids=lambda story: story["name"])
def test_the_host_makes_of_a_chain_what_the_vectors_say(story, tmp_path):
    public = bytes.fromhex(VECTORS["station"]["public_key"])
    registry = registry_with(public)
    store = Store(tmp_path / "store.sqlite")
    chain = chains.Chains(store, registry.network)
    store.begin()
    for step in story["steps"]:
        new = verify.Verifier(registry).check(bytes.fromhex(step["message"]))
        head = chain.head(new.kid, public)
        problem = verify.check_time(new, VECTORS["now_us"], 0, VECTORS["tolerance_future_us"],
                                    VECTORS["tolerance_past_us"], head.dated)
        problems = chain.add(new, problem, VECTORS["now_us"], "test")
        if problems is None:
            outcome = "replay"
        elif problems:
            outcome = problems[0].reason
        else:
            outcome = LINKS[new_link(store, new)]
        assert outcome == step["expect"]
    store.commit()
    receipt = chain.head(new.kid, public).receipt
    assert story["receipt"] == (receipt and {"seq": receipt[0], "hash": receipt[1].hex()})
    store.close()


def new_link(store, new) -> int:
    return store._one("SELECT link FROM records WHERE hash = ?", (new.hash,))[0]


def registry_with(public: bytes) -> Registry:
    collector = bytes.fromhex(VECTORS["collector"]["public_key"])
    registry = Registry(REPO, "vectors", bytes.fromhex(VECTORS["network"]), VECTORS["enrolled_us"], collector)
    registry.add(Station(bytes.fromhex(VECTORS["station"]["kid"]), public, "station", VECTORS["enrolled_us"]))
    return registry
