"""Which signed vectors are valid: the same for the host's verifier and the chip's (SPEC.md section 5)."""

import json

import pytest

from tests.both import interpreters
from tests.mpy import REPO


def vectors():
    """(name, kind, public key, network, message, wanted outcome) of every signed vector."""
    for kind, who in (("record", "station"), ("beacon", "collector"), ("enrolment", "station"),
                      ("update", "authority"), ("handover", "authority")):
        file = json.loads((REPO / "protocol" / "vectors" / f"{kind}.json").read_text())
        for vector in file["good"] + file["bad_messages"]:
            key = vector.get("public_key", file[who]["public_key"])
            yield vector["name"], kind, key, file["network"], vector["message"], vector.get("error", "valid")


@pytest.mark.parametrize("run", [interpreters.on_cpython, interpreters.on_micropython], ids=["host", "chip"])
def test_the_verifier_agrees_with_the_vectors(run, tmp_path):
    signed = list(vectors())
    inputs = tmp_path / "inputs"
    inputs.write_text("".join(" ".join(vector[1:5]) + "\n" for vector in signed))
    outcomes = run("record_signatures.py", inputs).split()
    assert [(v[0], got) for v, got in zip(signed, outcomes, strict=True) if got != v[5]] == []
    assert outcomes.count("InvalidSignature") == 50
