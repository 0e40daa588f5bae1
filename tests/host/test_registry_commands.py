"""`holdfire registry` and the card: what an operator does and sees; and what evidence is worth after it."""

import itertools
import json
import re
import xml.etree.ElementTree as ElementTree

import pytest
import segno

from holdfire import audit, authority, card, cli, evidence, times
from holdfire.errors import RegistryError
from holdfire.registry import Registry
from holdfire_protocol import cose, fields

from .made import AUTHORITY, NETWORK, PASSPHRASE, START_US, Base, Signer, eventful, status

HOUR_US = 3_600_000_000
UNDATED = (fields.TIME_NONE, 0, fields.U32)


@pytest.fixture
def base(tmp_path, monkeypatch):
    """Bridge and Ridge north, enrolled at START_US; the authority's key is where commands look for it."""
    made = Base(tmp_path / "base", Signer("Ridge north", 1), Signer("Bridge", 2))
    monkeypatch.setenv("HOLDFIRE_DIR", str(made.deployment.directory))
    monkeypatch.setattr(authority.Ed25519PrivateKey, "generate", lambda: AUTHORITY._private)
    authority.create(made.deployment.authority_path, PASSPHRASE)
    monkeypatch.setattr(times, "now_us", itertools.count(START_US + 10 * HOUR_US, HOUR_US).__next__)
    return made


def run(capsys, *argv):
    code = cli.main([str(a) for a in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def when(hours):
    return times.text(when_us(hours))


def when_us(hours):
    return START_US + int(hours * HOUR_US)


def test_changes_are_entries_with_time_and_reason(base, capsys):
    for argv in (
        ["rename", "Ridge north", "Ridge east", "--why", "two ridges"],
        ["move", "bridge", "--place", "west pillar", "--why", "the rail"],
        ["lost", "Bridge", "--from", when(2), "--why", "not there"],
        ["found", "Bridge", "--why", "in the bushes"],
        ["revoke", "Bridge", "--from", when(3), "--why", "opened"],
    ):
        code, out, err = run(capsys, "registry", *argv)
        assert (code, err) == (0, "") and "Give the new registry.json to everyone" in out
    rows = [json.loads(row) for row in run(capsys, "registry", "history", "--json")[1].splitlines()]
    assert [row["what"] for row in rows] == [
        "founded", "enrolled", "enrolled", "renamed", "moved", "lost", "found", "revoked"
    ]  # fmt: skip
    assert rows[5]["why"] == "not there" and rows[5]["from"] == when(2) and rows[5]["at"] > when(10)
    listed = {row["name"]: row for row in map(json.loads, run(capsys, "registry", "list", "--json")[1].splitlines())}
    assert listed["Bridge"]["state"] == "retired" and listed["Bridge"]["place"] == "west pillar"
    assert [d["what"] for d in listed["Bridge"]["doubts"]] == ["lost", "revoked"]
    assert listed["Ridge east"]["state"] == "active"
    code, out, _ = run(capsys, "registry", "history", "Ridge east")
    assert code == 0 and "two ridges" in out and "Bridge" not in out
    assert "1 active, 1 revoked" in run(capsys, "registry", "verify")[1]


def test_the_history_of_a_station_goes_on_over_its_keys(tmp_path, capsys, monkeypatch):
    directory = tmp_path / "base"
    directory.mkdir()
    eventful(directory / "registry.json").save()
    code, out, _ = run(capsys, "registry", "history", "Ridge east", "--dir", directory)
    assert [row.split("\t")[2] for row in out.splitlines()[1:]] == ["enrolled", "renamed", "rotated"]


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["rename", "Ridge north", "bridge", "--why", "x"], 3, "'bridge' is taken"),
        (["rename", "Ridge north", "", "--why", "x"], 3, "a name has 1"),
        (["lost", "Nobody", "--why", "x"], 3, "no station 'Nobody'"),
        (["found", "Bridge", "--why", "x"], 3, "not reported lost"),
        (["move", "Bridge", "--why", "x"], 3, "nothing is said to have changed"),
        (["revoke", "Bridge", "--why", ""], 3, "why: write 1 to 200"),
        (["revoke", "Bridge", "--why", "x", "--from", "2099-01-01"], 3, "lies in the future"),
        (["revoke", "Bridge", "--why", "x", "--from", "yesterday"], 2, "is no time"),
        (["lost", "Bridge", "--why", "x", "--key", "/nowhere/authority.key"], 3, "no authority key at /nowhere"),
        (["verify", "--authority", "00" * 8], 3, "not the deployment you mean, or a forged registry"),
        (["verify", "--card", "https://example.org"], 3, "not the text of a station's card"),
        (["card", "Bridge", "-o", "card.pdf"], 2, "name the file something.svg"),
        (["card", "Bridge", "-o", "/nowhere/card.svg"], 2, "cannot write /nowhere/card.svg"),
    ],
)
def test_wrong_moves_are_one_clear_line_and_change_nothing(base, capsys, argv, code, says):
    before = base.registry.path.read_bytes()
    found, out, err = run(capsys, "registry", *argv)
    assert (found, out) == (code, "") and says in err and err.count("\n") == 1
    assert base.registry.path.read_bytes() == before


def test_a_clock_that_is_behind_the_history_changes_nothing(base, capsys, monkeypatch):
    monkeypatch.setattr(times, "now_us", lambda: START_US - HOUR_US)
    code, _, err = run(capsys, "registry", "lost", "Bridge", "--why", "x")
    assert code == 6 and "set the clock" in err


def test_every_reader_refuses_an_altered_registry(base, capsys, tmp_path):
    bridge = Signer("Bridge", 2)
    base.receive(bridge.make(START_US + HOUR_US, status=status()))
    night = tmp_path / "night.cbor"
    assert run(capsys, "export", "--all", "-o", night)[0] == 0
    text = base.registry.path.read_text()
    base.registry.path.write_text(text.replace('"Bridge"', '"Brigde"'))
    for argv in (
        ["collect"], ["stations"], ["records"], ["quiet", "--station", "Bridge", "--since", "2h"],
        ["export", "--all", "-o", "x.cbor"],
        ["verify", night, "--registry", base.registry.path], ["registry", "list"], ["registry", "verify"],
        ["registry", "card", "Bridge", "-o", "x.svg"], ["registry", "lost", "Bridge", "--why", "x"],
    ):  # fmt: skip
        code, out, err = run(capsys, *argv)
        assert (code, out) == (3, ""), argv
        assert "entry 3: not as the authority signed it" in err and "restore it from a copy" in err


def test_stations_marks_keys_that_are_not_believed_and_names_the_programs(base, capsys):
    ridge, bridge = Signer("Ridge north", 1), Signer("Bridge", 2)
    base.receive(ridge.make(START_US + HOUR_US, status=status()), bridge.make(START_US + HOUR_US, status=status()))

    def shown():
        return {row["name"]: row for row in map(json.loads, run(capsys, "stations", "--json")[1].splitlines())}

    assert {row["key"] for row in shown().values()} == {"active"}
    assert run(capsys, "registry", "lost", "Bridge", "--from", when(2), "--why", "not there")[0] == 0
    assert shown()["Bridge"]["key"] == "lost" and shown()["Bridge"]["overdue_s"] > 0
    assert run(capsys, "registry", "revoke", "Bridge", "--from", when(3), "--why", "opened")[0] == 0
    rows = shown()
    assert (rows["Bridge"]["key"], rows["Ridge north"]["key"]) == ("revoked", "active")
    assert rows["Bridge"]["overdue_s"] == 0 < rows["Ridge north"]["overdue_s"]  # nobody waits for a retired key
    assert rows["Bridge"]["firmware"] == status()["firmware"].hex()
    head, *lines = (row.split("\t") for row in run(capsys, "stations")[1].splitlines())
    named = dict(zip(head, next(row for row in lines if row[0] == "Bridge"), strict=True))
    assert named["key"] == "revoked" and named["firmware"] == status()["firmware"].hex()[:8]
    assert f"not believed from {when(3)[:19]}Z on: revoked (opened)" in named["notes"]
    new = Signer("Ridge new", 7)
    with base.deployment.changing_registry(AUTHORITY) as registry:
        registry.rotate(registry.find("Ridge north"), new.station(times.now_us()), when_us(4), "new board")
    rows = shown()
    assert rows["Ridge north (key 1)"]["key"] == "replaced" and rows["Ridge north"]["key"] == "active"
    assert rows["Ridge north"]["firmware"] is None


# What evidence is worth


def judged(base, signer, *messages):
    path = base.deployment.directory / "evidence.cbor"
    path.write_bytes(b"".join(messages))
    registry = Registry.load(base.registry.path)
    found = audit.audit(evidence.read(str(path), NETWORK, registry.collector_kids), registry, START_US + 50 * HOUR_US)
    return [(failure.check, failure.hash) for failure in found.failures], found


def hashes(*messages):
    return {audit.record.record_hash(message) for message in messages}


def test_what_a_revoked_key_signed_before_stays_valid_and_after_does_not(base, capsys):
    bridge = Signer("Bridge", 2)
    before = [bridge.make(START_US + hour * HOUR_US, status=status()) for hour in (1, 2)]
    after = [bridge.make(START_US + hour * HOUR_US, status=status()) for hour in (3, 4)]
    assert judged(base, bridge, *before, *after)[0] == []
    assert run(capsys, "registry", "revoke", "Bridge", "--from", when(2.5), "--why", "stolen")[0] == 0
    failures, found = judged(base, bridge, *before, *after)
    assert set(failures) == {("enrolment", digest) for digest in hashes(*after)}
    assert "revoked (stolen)" in found.failures[0].reason
    assert judged(base, bridge, *before)[0] == [] and judged(base, bridge, *before)[1].held


def test_a_record_without_a_time_is_of_when_its_neighbours_are(base, capsys):
    bridge = Signer("Bridge", 2)
    undated = bridge.make(START_US + HOUR_US, time=UNDATED, status=status())
    dated = bridge.make(START_US + 2 * HOUR_US, status=status())
    last = bridge.make(START_US + 3 * HOUR_US, time=UNDATED, status=status())
    assert judged(base, bridge, undated, dated, last)[0] == []
    assert run(capsys, "registry", "revoke", "Bridge", "--from", when(2.5), "--why", "stolen")[0] == 0
    assert judged(base, bridge, undated, dated)[0] == []
    assert judged(base, bridge, undated, dated, last)[0] == [("enrolment", digest) for digest in hashes(last)]
    assert judged(base, bridge, undated)[0] == [("enrolment", digest) for digest in hashes(undated)]


def test_between_lost_and_found_nothing_is_believed(base, capsys):
    bridge = Signer("Bridge", 2)
    messages = [bridge.make(START_US + hour * HOUR_US, status=status()) for hour in (1, 5, 30)]
    assert run(capsys, "registry", "lost", "Bridge", "--from", when(2), "--why", "gone")[0] == 0
    assert set(judged(base, bridge, *messages)[0]) == {("enrolment", d) for d in hashes(*messages[1:])}
    assert run(capsys, "registry", "found", "Bridge", "--why", "back")[0] == 0
    assert set(judged(base, bridge, *messages)[0]) == {("enrolment", d) for d in hashes(messages[1])}


def test_the_collector_keeps_and_marks_what_a_revoked_key_signed_after(base, capsys):
    bridge = Signer("Bridge", 2)
    base.registry.revoke(base.registry.find("Bridge"), START_US + 2 * HOUR_US, START_US + 3 * HOUR_US, "stolen")
    before, after = (bridge.make(START_US + hour * HOUR_US, status=status()) for hour in (1, 3))
    undated = bridge.make(START_US + 3 * HOUR_US, time=UNDATED, status=status())
    base.receive(before, after, undated, at_us=START_US + 4 * HOUR_US)
    refused = [json.loads(row) for row in run(capsys, "refusals", "--json")[1].splitlines()]
    assert sorted(row["seq"] for row in refused) == [2, 3]
    assert all(row["reason"] == "time-range" and "revoked (stolen)" in row["text"] for row in refused)


# The card


def test_the_card_says_in_its_code_what_the_registry_says(base, tmp_path, capsys):
    made = ("registry", "card", "Bridge", "-o", tmp_path / "bridge.svg", "--note", "Leave me & <call>")
    assert run(capsys, *made)[0] == 0
    picture = ElementTree.fromstring((tmp_path / "bridge.svg").read_text())
    words = " ".join("".join(part.itertext()) for part in picture)
    bridge = base.registry.find("Bridge")
    thumbprint = cose.key_thumbprint(bridge.public_key).hex()
    for at in range(0, 64, 16):
        assert " ".join(thumbprint[at + i : at + i + 4] for i in range(0, 16, 4)) in words
    assert "Bridge" in words and "Valley line" in words and "Leave me & <call>" in words
    text = card.text(base.registry, bridge)
    assert code_of(picture) == segno.make(text, error="m", micro=False).matrix
    code, out, _ = run(capsys, "registry", "verify", "--card", text)
    assert code == 0 and "Card of Bridge: as the authority signed it" in out and "nothing has changed" in out


def code_of(picture):
    """The modules of the code, read off its picture."""
    (inner,) = picture.findall("{http://www.w3.org/2000/svg}svg")
    (drawn,) = [path for path in inner.iter("{http://www.w3.org/2000/svg}path") if "stroke" in path.attrib]
    size = int(inner.get("viewBox").split()[2])
    rows = [bytearray(size) for _ in range(size)]
    x, y = 0, 0.0
    for kind, numbers in re.findall(r"([MmhH])([-0-9. ]+)", drawn.get("d")):
        values = [float(n) for n in re.findall(r"-?[0-9.]+", numbers)]
        if kind == "h":
            rows[int(y)][int(x) : int(x + values[0])] = b"\x01" * int(values[0])
            x += values[0]
        else:
            x, y = (values[0], values[1]) if kind == "M" else (x + values[0], y + values[1])
    return tuple(row[4:-4] for row in rows[4:-4])


def test_a_card_out_of_date_says_so(base, capsys):
    text = card.text(base.registry, base.registry.find("Bridge"))
    run(capsys, "registry", "rename", "Bridge", "Old bridge", "--why", "a new one was built")
    assert "renamed: print it anew" in run(capsys, "registry", "verify", "--card", text)[1]
    run(capsys, "registry", "revoke", "Old bridge", "--why", "opened")
    out = run(capsys, "registry", "verify", "--card", text)[1]
    assert "revoked from" in out and "renamed, revoked" in out


@pytest.mark.parametrize(
    ("forge", "says"),
    [
        (lambda text: text.replace("name Bridge", "name Ridge"), "a forged card"),
        (lambda text: text.replace("network 00", "network 11"), "another deployment"),
        (lambda text: re.sub("key ....", "key 0000", text), "the card's key is not in"),
        (lambda text: re.sub(r"entry (\d) ....", r"entry \1 0000", text), "is forged"),
        (lambda text: text.replace("entry 3", "entry 2"), "is forged"),
        (lambda text: text.replace("entry 3", "entry 0"), "is forged"),
        (lambda text: text.replace("entry 3", "entry 99"), "get a newer copy"),
        (lambda text: text + "\nmore", "not the text of a station's card"),
        (lambda text: text[:-1], "not the text of a station's card"),
    ],
)
def test_a_forged_card_is_refused(base, forge, says):
    text = card.text(base.registry, base.registry.find("Bridge"))
    assert card.check(text, base.registry)[1] == ""
    assert card.check(text.replace("\n", "\r\n") + "\r\n", base.registry)[1] == ""  # as telephones share it
    with pytest.raises(RegistryError, match=says):
        card.check(forge(text), base.registry)


def test_the_longest_names_stay_on_the_card(base):
    wide = "観測所" * 13
    base.registry.rename(base.registry.find("Bridge"), wide, START_US + HOUR_US, "x")
    base.registry.move(base.registry.find(wide), START_US + HOUR_US, "x", "long " * 39 + "place", "", b"")
    picture = ElementTree.fromstring(card.svg(base.registry, base.registry.find(wide)))
    for part in picture.iter("{http://www.w3.org/2000/svg}text"):
        x, size = float(part.get("x")), float(part.get("font-size"))
        columns = sum(2 if ord(letter) > 0x2E80 else 1 for letter in part.text)
        limit = card.WIDTH_MM if part.get("y") in ("93.5", "99.5") or x > 80 else card._CODE_LEFT_MM
        assert x + columns * size * 0.5 < limit, part.text
