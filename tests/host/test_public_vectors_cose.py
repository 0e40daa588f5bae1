"""Other people's COSE_Sign1: we rebuild what they signed, and refuse every message, each for the right reason.

None of them is of our profile (-19 is newer than all of them), so none may be accepted. Signatures with Ed25519 are
verified over the bytes that our code says were signed.
"""

import json
import pathlib

import cbor2
import pytest

from holdfire import ed25519_strict
from holdfire_protocol import cose
from tests.both import interpreters
from tests.mpy import data_path

# What each message of the working group's tests does wrong before it does anything right, in our eyes.
REASONS = {
    "CWT/A_3": "algorithm", "RFC8152/Appendix_C_2_1": "algorithm", "eddsa-examples/eddsa-sig-02": "algorithm",
    "countersign/signed1-01": "not exactly {1: -19}", "countersign/signed1-02": "not exactly {1: -19}",
    "countersign1/signed1-01": "not exactly {1: -19}", "eddsa-examples/eddsa-sig-01": "not exactly {1: -19}",
    "sign1-tests/sign-fail-01": "tag", "sign1-tests/sign-fail-02": "algorithm", "sign1-tests/sign-fail-03": "algorithm",
    "sign1-tests/sign-fail-04": "algorithm", "sign1-tests/sign-fail-06": "not exactly {1: -19}",
    "sign1-tests/sign-fail-07": "algorithm", "sign1-tests/sign-pass-01": "not exactly {1: -19}",
    "sign1-tests/sign-pass-02": "algorithm", "sign1-tests/sign-pass-03": "tag",
}
SIGNED_PART_CHANGED = {f"sign1-tests/sign-fail-0{n}" for n in (2, 3, 4, 6, 7)}


class Vector:
    """One message, what the source says was signed, and its key if that is Ed25519."""

    def __init__(self, name, message, external, to_be_signed, payload=b"", ed25519=None):
        self.name = name
        self.message = message
        self.external = external
        self.to_be_signed = to_be_signed
        self.payload = payload
        self.ed25519 = ed25519

    def rebuilt(self) -> bytes:
        """What a receiver of the message must take to be signed."""
        protected, _, payload, _ = self.parts()
        protected = b"" if protected == b"\xa0" else protected  # RFC 9052 section 4.4: an empty map is signed as ""
        return cose.sig_structure(self.external, self.payload if payload is None else payload, protected)

    def parts(self):
        value = cbor2.loads(self.message)
        return value.value if isinstance(value, cbor2.CBORTag) else value


def working_group() -> list[Vector]:
    folder = data_path("cose", "cose-wg-Examples")
    found = []
    for path in sorted(folder.rglob("*.json")):
        case = json.loads(path.read_text())
        sign = case["input"].get("sign0")
        if sign is None:
            continue
        key = sign["key"]
        found.append(Vector(
            str(path.relative_to(folder).with_suffix("")), bytes.fromhex(case["output"]["cbor"]),
            bytes.fromhex(sign.get("external", "")), bytes.fromhex(case["intermediates"]["ToBeSign_hex"]),
            ed25519=bytes.fromhex(key["x_hex"]) if key.get("crv") == "Ed25519" else None))
    return found


def others(folder: pathlib.Path) -> list[Vector]:
    found = []
    for path in sorted(folder.glob("sign1-*.json")):
        case = json.loads(path.read_text())
        part = case.get("sign1::sign") or case["sign1::verify"]
        message = part.get("expectedOutput") or part["taggedCOSESign1"]
        signed = part.get("tbsHex")
        found.append(Vector(path.stem, bytes.fromhex(message["cborHex"]), bytes.fromhex(part.get("external", "")),
                            signed and bytes.fromhex(signed["cborHex"]), bytes.fromhex(part.get("payload", ""))))
    return found


def test_we_rebuild_what_the_working_group_signed():
    vectors = working_group()
    assert {vector.name for vector in vectors} == set(REASONS)
    for vector in vectors:
        assert (vector.rebuilt() == vector.to_be_signed) == (vector.name not in SIGNED_PART_CHANGED), vector.name


@pytest.mark.parametrize("folder", ["gluecose", "go-cose"])
def test_we_rebuild_what_others_signed(folder):
    vectors = [vector for vector in others(data_path("cose", folder)) if vector.to_be_signed]
    assert len(vectors) == 7
    for vector in vectors:
        assert vector.rebuilt() == vector.to_be_signed, vector.name


def test_their_ed25519_signatures_hold_over_what_we_rebuild():
    vectors = [vector for vector in working_group() if vector.ed25519]
    assert len(vectors) == 4
    for vector in vectors:
        signature = vector.parts()[3]
        ed25519_strict.verify(vector.ed25519, vector.rebuilt(), signature)
        with pytest.raises(ed25519_strict.InvalidSignature):
            ed25519_strict.verify(vector.ed25519, vector.rebuilt() + b"\0", signature)


def test_every_message_of_the_working_group_is_refused_for_the_right_reason():
    for vector in working_group():
        with pytest.raises(cose.CoseError, match=REASONS[vector.name]):
            cose.parse(vector.message)


@pytest.mark.parametrize("folder, count", [("gluecose", 14), ("go-cose", 18)])
def test_every_message_of_others_is_refused_for_its_protected_header(folder, count):
    vectors = others(data_path("cose", folder))
    assert len(vectors) == count
    for vector in vectors:
        with pytest.raises(cose.CoseError, match="protected header"):
            cose.parse(vector.message)


def test_messages_that_are_not_sign1_at_all_are_refused_for_their_tag():
    """COSE_Sign, Encrypt, Mac and the rest of the working group's examples."""
    count = 0
    for path in sorted(data_path("cose", "cose-wg-Examples").rglob("*.json")):
        case = json.loads(path.read_text())
        if "sign0" not in case["input"] and "cbor" in case.get("output", {}):
            count += 1
            with pytest.raises(cose.CoseError, match="^(tag|message): "):
                cose.parse(bytes.fromhex(case["output"]["cbor"]))
    assert count > 30


def test_micropython_refuses_them_in_the_same_words(tmp_path):
    vectors = working_group() + others(data_path("cose", "gluecose")) + others(data_path("cose", "go-cose"))
    answers = interpreters.replay(tmp_path, [("cose", vector.message) for vector in vectors])
    assert all(answer.startswith("CoseError: ") for answer in answers)
