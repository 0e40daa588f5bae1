"""Which signed vectors are valid: the same for the host's verifier and the chip's (SPEC.md section 5)."""

from tests.both import interpreters
from tests.mpy import REPO

VECTORS = REPO / "protocol" / "vectors"


def test_the_hosts_verifier_agrees_with_the_vectors():
    outcomes = interpreters.on_cpython("record_signatures.py", VECTORS).splitlines()
    assert [line for line in outcomes if line.endswith("WRONG")] == []
    assert sum("InvalidSignature" in line for line in outcomes) == 20


def test_the_chips_verifier_agrees_with_the_vectors():
    chip = interpreters.on_micropython("record_signatures.py", VECTORS)
    assert chip == interpreters.on_cpython("record_signatures.py", VECTORS)
