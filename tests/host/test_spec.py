"""SPEC.md, holdfire.cddl and the vectors say what the code does: all is fresh, hex is real, names exist."""

import hashlib
import json
import re
import shutil
import subprocess
import sys

import cddl_verifier
import pytest

from generate import spec as spec_generator
from holdfire.errors import REASONS
from holdfire_protocol import clip, cose, enrolment, fields, handover, update
from tests.mpy import REPO

from .made import eventful

SPEC = (REPO / "protocol" / "SPEC.md").read_text()
PROSE = spec_generator.PART.sub("", SPEC)
CDDL = REPO / "protocol" / "holdfire.cddl"
KINDS = ("record", "beacon", "enrolment", "update", "handover")
VECTORS = REPO / "protocol" / "vectors"


def vectors(name: str, part: str) -> list[dict]:
    return json.loads((VECTORS / f"{name}.json").read_text())[part]


def generate(folder, *args: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(folder / "tools" / "generate"), "cddl", "spec", "vectors", *args]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path):
    """The parts of the repository that generators read and write."""
    for folder in ("protocol", "tools/generate"):
        shutil.copytree(REPO / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_generated_files_are_up_to_date():
    done = generate(REPO, "--check")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path, old, new", [
    ("protocol/holdfire.cddl", "1*16", "1*17"),
    ("protocol/SPEC.md", "MAX_FRAME_BYTES` | 1034", "MAX_FRAME_BYTES` | 1036"),
    ("protocol/vectors/record.json", '"error": "FieldError"', '"error": "CborError"'),
    ("protocol/holdfire_protocol/fields.py", "never used twice by a station", "rarely used twice"),
    ("protocol/holdfire_protocol/fields.py", '"peak", UINT, 0, 1 << 23', '"peak", UINT, 0, 1 << 24'),
])
def test_check_fails_when_a_generated_file_and_its_source_differ(copy, path, old, new):
    text = (copy / path).read_text()
    assert old in text
    (copy / path).write_text(text.replace(old, new, 1))
    done = generate(copy, "--check")
    assert done.returncode == 1 and "out of date" in done.stdout
    generate(copy)
    assert generate(copy, "--check").returncode == 0


def test_a_field_without_a_description_is_an_error(copy):
    path = copy / "protocol/holdfire_protocol/fields.py"
    path.write_text(path.read_text().replace("  # boots of this station, this one included", ""))
    done = generate(copy)
    assert done.returncode == 1 and "record.boot has no comment" in done.stderr


def test_the_cddl_is_well_formed():
    assert cddl_verifier.schema_diagnostics(CDDL) == ()


@pytest.fixture(scope="module")
def cddl():
    return cddl_verifier.Validator(CDDL)


@pytest.mark.parametrize("kind", KINDS)
def test_an_independent_cddl_tool_agrees_with_the_vectors(cddl, kind):
    for vector in vectors(kind, "good"):
        for rule, part in ((kind, "payload"), (f"signed-{kind}", "message")):
            result = cddl.validate(bytes.fromhex(vector[part]), root_type=rule)
            assert result.valid, (vector["name"], result.errors)
    for vector in vectors(kind, "bad_payloads"):
        result = cddl.validate(bytes.fromhex(vector["payload"]), root_type=kind)
        assert result.valid != vector["cddl"], (vector["name"], result.errors)


def test_an_independent_cddl_tool_agrees_with_the_frames(cddl):
    for name in ("a record", "a beacon"):
        vector = next(v for v in vectors("frame", "good") if v["name"] == name)
        assert cddl.validate(bytes.fromhex(vector["frame"]), root_type="frame").valid
    for vector in vectors("frame", "bad"):
        if not vector["foreign"] and "longer than needed" not in vector["says"]:
            assert not cddl.validate(bytes.fromhex(vector["frame"]), root_type="frame").valid, vector["name"]


def test_every_rule_of_the_tables_has_a_bad_vector():
    """Each field: missing, wrong type, below and above its range."""
    names = {vector["name"] for kind in KINDS for vector in vectors(kind, "bad_payloads")}
    shapes = ((fields.RECORD, ""), (fields.STATUS, "status."), (fields.BEACON, ""), (enrolment.ENROLMENT, ""),
              (update.UPDATE, ""), (handover.HANDOVER, ""))
    for shape, where in shapes:
        for row in shape.rows:
            if row[5]:
                assert f"{where}{row[1]} missing" in names
            wanted = {fields.UINT: "too large", fields.INT: "too large", fields.BYTES: "too long",
                      fields.LIST: "too many", fields.TUPLE: "too long", fields.MAP: "is an array"}[row[2]]
            assert f"{where}{row[1]} {wanted}" in names
    for index, (_, variant) in enumerate(fields.OBSERVATION.variants):
        assert {f"observations[{index}].{row[1]} missing" for row in variant.rows} <= names


def test_no_hex_stands_in_the_prose_that_nothing_checks():
    """Hex is generated, save the protected header, which is checked here; so is the one long number."""
    assert set(re.findall(r"\b[0-9a-f]{6,}\b", PROSE)) == {cose.PROTECTED.hex(), str(fields.U32)}


def test_kid_and_thumbprint_in_the_text_are_what_rfc_9679_says():
    shown = re.findall(r"^(?:public key|hashed|thumbprint|kid) +([0-9a-f]+)$", SPEC, re.MULTILINE)
    public, hashed, thumbprint, kid = shown[:4]
    assert hashed == "a301012006215820" + public
    assert hashlib.sha256(bytes.fromhex(hashed)).hexdigest() == thumbprint
    assert thumbprint.startswith(kid) and len(kid) == 16


def test_genesis_in_the_text_is_what_the_text_says():
    network, public, prev = re.findall(r"^(?:network id|public key|prev) +([0-9a-f]+)$", SPEC, re.MULTILINE)[-3:]
    assert hashlib.sha256(b"holdfire.genesis.1\0" + bytes.fromhex(network + public)).hexdigest() == prev


def test_the_names_in_the_text_exist(tmp_path):
    shapes = (fields.RECORD, fields.TIME, fields.STATUS, fields.POSITION, fields.BEACON, fields.RECEIPT,
              enrolment.ENROLMENT, clip.CLIP, update.UPDATE, handover.HANDOVER)
    known = {row[1] for shape in shapes for row in shape.rows}
    known |= {row[1] for _, variant in fields.OBSERVATION.variants for row in variant.rows}
    known |= {"this type", "begin", "end", "||", "!HF1:", "_us", "_ms", "_s", "_mv", "_db10", "_e7", "_dm", *REASONS}
    known |= {"holdfire_protocol/fields.py", "fields.py", "holdfire.cddl", "vectors/*.json"}
    known |= {"python tools/generate", "make check"}
    known |= {"tag", "protected header", "unprotected header", "payload", "signature", "message"}  # parts cose.py names
    known |= {"head longer than needed", "time.utc_us", "time.uncertainty_us", "MAX_DEPTH", "MAX_PAYLOAD_BYTES"}
    known |= {"format", "entries", "(key 1)", "(key 2)"}
    known |= {"pull FIRST", "sent", "last", "none", "clips none", "clips NUMBER OFFSET"}  # of the lines of section 13
    known |= {"handover", "consent", "refounded", "authority", "collector"}  # of section 20; test_handover.py has them
    for entry in eventful(tmp_path / "registry.json").entries:
        known |= {*entry, entry["what"]}
    used = set(re.findall(r"`([^`\n]+)`", PROSE))
    assert {name for name in used - known if not hasattr(fields, name)} == set()


def test_the_refusal_reasons_are_the_hosts():
    listed = re.findall(r"^\| `([a-z-]+)` \|", SPEC.split("## 15.")[1].split("## 16.")[0], re.MULTILINE)
    assert sorted(listed) == sorted(REASONS)


def test_sections_are_numbered_and_references_lead_somewhere():
    sections = [int(n) for n in re.findall(r"^## (\d+)\.", SPEC, re.MULTILINE)]
    assert sections == list(range(len(sections)))
    own = re.sub(r"RFC \d+ section [\d.]+", "", SPEC)
    vector_heads = " ".join(json.loads(path.read_text())["about"] for path in VECTORS.glob("*.json"))
    for text in (own, vector_heads):
        for number in re.findall(r"[Ss]ections? (\d+)", text):
            assert int(number) in sections


def test_a_sentence_holds_one_must_at_most():
    """So that each rule can be pointed at, tested and broken by itself."""
    blocks = re.split(r"\n\n|\n(?=- |\d\. |\|)", PROSE.split("## 2.", 1)[1])
    sentences = [sentence for block in blocks for sentence in re.split(r"(?<=[.?!]) ", " ".join(block.split()))]
    assert sum("MUST" in sentence for sentence in sentences) > 40
    assert [sentence for sentence in sentences if sentence.count("MUST") > 1] == []


def test_lines_of_the_text_are_short_enough_to_read():
    assert [line for line in PROSE.splitlines() if len(line) > 125 and not line.startswith("|")] == []
