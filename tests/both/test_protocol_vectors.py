"""The project's own vectors, under both interpreters. What each must do is in protocol/vectors."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests.mpy import REPO, run_micropython

VECTORS = REPO / "protocol" / "vectors"
SCRIPT = pathlib.Path(__file__).with_name("protocol_vectors.py")


@pytest.fixture(scope="module")
def on_cpython() -> str:
    done = subprocess.run([sys.executable, str(SCRIPT), str(VECTORS)], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(REPO / "protocol")})
    return done.stdout


def test_every_vector_gives_what_it_says(on_cpython):
    assert [line for line in on_cpython.splitlines() if "WRONG" in line] == []


def test_no_vector_is_left_out(on_cpython):
    listed = 0
    for path in VECTORS.glob("*.json"):
        if path.stem != "chain":  # a matter of the collector: tests/host/test_spec_chain.py
            listed += sum(len(part) for part in json.loads(path.read_text()).values() if isinstance(part, list))
    assert sum(not line.startswith("#") for line in on_cpython.splitlines()) == listed


def test_micropython_says_the_same_word_for_word(on_cpython):
    assert run_micropython(SCRIPT, VECTORS).stdout == on_cpython
