"""Which signed vectors are valid: the same for the host's verifier and the chip's (SPEC.md section 5)."""

import os
import pathlib
import subprocess
import sys

from tests.mpy import REPO, run_micropython

VECTORS = REPO / "protocol" / "vectors"
SCRIPT = pathlib.Path(__file__).with_name("record_signatures.py")


def on_host() -> str:
    path = f"{REPO / 'protocol'}:{REPO / 'host'}"
    return subprocess.run([sys.executable, str(SCRIPT), str(VECTORS)], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": path}).stdout


def test_the_hosts_verifier_agrees_with_the_vectors():
    outcomes = on_host().splitlines()
    assert [line for line in outcomes if line.endswith("WRONG")] == []
    assert sum("InvalidSignature" in line for line in outcomes) == 20


def test_the_chips_verifier_agrees_with_the_vectors():
    assert run_micropython(SCRIPT, VECTORS).stdout == on_host()
