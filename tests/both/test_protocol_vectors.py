"""The project's own vectors, under both interpreters. What each must do is in protocol/vectors."""

import json

import pytest

from tests.both import interpreters
from tests.mpy import REPO

VECTORS = REPO / "protocol" / "vectors"


@pytest.fixture(scope="module")
def outcomes() -> str:
    return interpreters.on_cpython("protocol_vectors.py", VECTORS)


def test_every_vector_gives_what_it_says(outcomes):
    assert [line for line in outcomes.splitlines() if "WRONG" in line] == []


def test_no_vector_is_left_out(outcomes):
    listed = 0
    for path in VECTORS.glob("*.json"):
        if path.stem != "chain":  # a matter of the collector: tests/host/test_spec_chain.py
            listed += sum(len(part) for part in json.loads(path.read_text()).values() if isinstance(part, list))
    assert sum(not line.startswith("#") for line in outcomes.splitlines()) == listed


def test_micropython_says_the_same_word_for_word(outcomes):
    assert interpreters.on_micropython("protocol_vectors.py", VECTORS) == outcomes
