"""What comes out of files passes the same door as what comes from the air; a base that lost its database goes on."""

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfire import cli, config, errors, evidence, importing, times
from holdfire.collector import only_one
from holdfire.evidence import Damage, Source
from holdfire.ingest import Ingest
from holdfire.store import Reader, Store
from holdfire_protocol import fields, record

from .made import NETWORK, START_US, Base, Signer, impulse, json_lines, lines_of, status

NOW_US = START_US + 86_400_000_000
MINUTE_US = 60_000_000


@pytest.fixture(autouse=True)
def fixed_clock(monkeypatch):
    monkeypatch.setattr(times, "now_us", lambda: NOW_US)


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A base with nothing in it, and what its stations made and hold no more."""
    ridge, bridge = Signer("Ridge north", 1), Signer("Bridge", 2)
    base = Base(tmp_path / "base", ridge, bridge)
    base.ridge, base.bridge = ridge, bridge
    base.messages = [
        ridge.make(START_US + MINUTE_US * n, **({"observations": [impulse()]} if n == 4 else {"status": status()}))
        for n in range(1, 9)
    ]
    monkeypatch.setenv("HOLDFIRE_DIR", str(base.deployment.directory))
    return base


def run(capsys, *argv):
    code = cli.main([str(a) for a in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def take_in(base, *names):
    return importing.run(base.deployment, [str(name) for name in names])


def rows(base):
    reader = Reader(base.deployment.database_path)
    found = list(reader.records(limit=1_000_000, newest_first=False))
    reader.close()
    return found


def refusals(base):
    reader = Reader(base.deployment.database_path)
    found = {row["reason"]: row for row in reader.refusals()}
    reader.close()
    return found


def events_of(base, messages):
    """The lines that the forwarder's files would hold, made by a base that has the records."""
    from holdfire import forward

    base.receive(*messages, at_us=NOW_US - MINUTE_US)
    lines = [forward.event_bytes(row, base.registry) for row in rows(base)]
    for path in base.deployment.directory.glob("holdfire.sqlite*"):
        path.unlink()
    return lines


@pytest.mark.parametrize("form", ["export", "forwarded", "serial log"])
def test_every_form_that_we_write_or_that_a_terminal_captures_comes_in_whole(base, tmp_path, capsys, form):
    path = tmp_path / "night"
    if form == "export":
        path.write_bytes(b"".join(base.messages))
    elif form == "forwarded":
        path.write_bytes(b"\n".join(events_of(base, base.messages)) + b"\n")
    else:
        path.write_bytes(b"hello\r\n" + b"".join(lines_of(*base.messages)))
    code, out, err = run(capsys, "import", path)
    assert (code, err) == (0, "")
    assert "stored         8 records" in out
    stored = rows(base)
    assert [row["message"] for row in stored] == base.messages
    assert {(row["link"], row["problem"], row["port"]) for row in stored} == {(2, None, "import:night")}
    code, out, _ = run(capsys, "import", path, path)
    assert code == 0 and out.count("stored         0 records") == 2 and out.count("already there  8 records") == 2
    assert len(rows(base)) == 8


def test_what_is_refused_is_kept_with_its_reason_and_the_rest_comes_in(base, tmp_path, capsys):
    stranger = Signer("Stranger", 7).make(START_US, status=status())
    forged = bytearray(base.messages[2])
    forged[-1] ^= 1
    export = tmp_path / "day.cbor"
    export.write_bytes(b"".join([base.messages[0], b"noise", bytes(forged), stranger, base.messages[1]]))
    log = tmp_path / "minicom.log"
    cut = lines_of(base.messages[3])[0][:-20] + b"\r\n"
    log.write_bytes(b"".join([cut, *lines_of(base.messages[2], network=b"\x99" * 16), *lines_of(base.messages[2])]))
    events = tmp_path / "records.jsonl"
    events.write_bytes(b'{"data": {}}\n{"torn\n' + b'{"data":{"signed_record":"?"}}\n')
    code, out, _ = run(capsys, "import", export, log, events)
    assert code == 1
    assert "REFUSED        1 damaged: " in out and "REFUSED        1 unknown-station: " in out
    assert [row["message"] for row in rows(base)] == base.messages[:3]
    found = refusals(base)
    assert found["bad-signature"]["bytes"] == bytes(forged)
    assert found["unknown-station"]["bytes"] == stranger
    assert found["wrong-network"]["port"] == "import:minicom.log"
    reader = Reader(base.deployment.database_path)
    damaged = {row["text"]: row["bytes"] for row in reader.refusals("damaged")}
    reader.close()
    assert damaged == {
        f"5 bytes that are not a signed record (byte {len(base.messages[0])})": b"noise",
        "line: cut short (line 1)": cut.rstrip(b"\n"),
        "no data.signed_record in it: not written by a Holdfire forwarder (line 1)": b'{"data": {}}',
        "not a whole JSON object (line 2)": b'{"torn',
        "data.signed_record is not base64 (line 3)": b'{"data":{"signed_record":"?"}}',
    }
    (first, second, third) = json_lines(run(capsys, "import", export, log, events, "--json")[1])
    assert (first["already_there"], first["refused"]["unknown-station"], second["stored"]) == (2, 1, 0)
    assert third["refused"] == {"damaged": 3}


def test_what_a_station_signed_with_a_fault_is_stored_and_said(base, tmp_path, capsys):
    future = base.ridge.make(START_US + 20 * MINUTE_US, time=(4, NOW_US + 7_200_000_000, 40), status=status())
    path = tmp_path / "x.cbor"
    path.write_bytes(b"".join([*base.messages, future]))
    code, out, _ = run(capsys, "import", path)
    assert code == 0 and "stored          9 records" in out and "with a problem  1 time-range: " in out


def test_an_import_waits_for_no_collector_and_disturbs_none(base, tmp_path, capsys):
    path = tmp_path / "x.cbor"
    path.write_bytes(base.messages[0])
    with only_one(base.deployment.directory):
        code, _, err = run(capsys, "import", path)
    assert code == errors.AlreadyRunning.exit_code and "stop it first" in err
    assert not base.deployment.database_path.exists()


@pytest.mark.parametrize("name", ["no-such-file", "."])
def test_a_file_that_cannot_be_read_stops_before_the_first_is_taken_in(base, tmp_path, capsys, name):
    path = tmp_path / "x.cbor"
    path.write_bytes(base.messages[0])
    code, out, err = run(capsys, "import", path, name)
    assert (code, out) == (2, "") and f"cannot read {name}" in err and "nothing was taken in" in err
    assert not base.deployment.database_path.exists()


def test_a_long_file_is_taken_in_many_commits_and_bounded_memory(base, tmp_path, monkeypatch):
    largest = 0
    take = Ingest.judge

    def judge(ingest, chunks):
        nonlocal largest
        largest = max(largest, sum(len(data) for _, data in chunks))
        return take(ingest, chunks)

    monkeypatch.setattr(Ingest, "judge", judge)
    base.deployment.config_path.write_text("batch_bytes = 2000\n")
    path = tmp_path / "long.cbor"
    later = [base.ridge.make(START_US + MINUTE_US * n, status=status()) for n in range(9, 120)]
    path.write_bytes(b"".join([*base.messages, *later]))
    seen = []
    (found,) = importing.run(base.deployment, [str(path)], lambda each: seen.append((each.stored, each.size_bytes)))
    assert found.stored == 119 and len(rows(base)) == 119
    assert largest < 2000 + fields.MAX_LINE_BYTES
    assert len(seen) > 10 and seen == sorted(seen) and seen[-1] == (119, path.stat().st_size)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_read_in_pieces_of_any_size_says_the_same(base, tmp_path, monkeypatch, data):
    """Messages, damage and noise in any order, and chunks that cut them anywhere."""
    one, two, three = base.messages[:3]
    pieces = st.sampled_from([one, two, three, one[:-1], two[:20]]) | st.binary(max_size=60)
    content = b"".join(data.draw(st.lists(pieces, max_size=8)))
    path = tmp_path / "pieces"
    path.write_bytes(content)
    found = []
    for size in (1 << 16, data.draw(st.integers(9, 300))):
        monkeypatch.setattr(evidence, "_CHUNK_BYTES", size)
        found.append(list(Source(str(path), NETWORK, ())))
    if b"!HF1:" not in content and content.lstrip()[:1] != b"{":  # what the form is told by
        assert found[0] == found[1]


@pytest.mark.parametrize(
    "content",
    [b"\x00" * 3_000_000, b"{" + b"x" * 3_000_000, b"!HF1:" + b"A" * 3_000_000 + b"\n", b'{"a":' * 20_000 + b"\n"],
)
def test_hostile_files_are_damage_in_bounded_pieces(base, tmp_path, content):
    path = tmp_path / "hostile"
    path.write_bytes(content)
    found = list(Source(str(path), NETWORK, b""))
    assert found and all(isinstance(each, Damage) and len(each.data) <= 1 << 17 for each in found)
    (taken,) = take_in(base, path)
    assert (taken.stored, taken.not_stored) == (0, taken.refused["damaged"]) and taken.not_stored == len(found)


def test_the_summary_says_when_there_was_nothing(base, tmp_path, capsys):
    path = tmp_path / "empty"
    path.write_bytes(b"")
    assert "there is no signed record in this file" in run(capsys, "import", path)[1]


def test_imported_records_do_not_make_a_station_look_heard(base, tmp_path, capsys):
    path = tmp_path / "x.cbor"
    path.write_bytes(b"".join(base.messages))
    take_in(base, path)
    by_name = {row["name"]: row for row in json_lines(run(capsys, "stations", "--json")[1])}
    assert by_name["Ridge north"]["received_at"] is None
    assert by_name["Ridge north"]["overdue_s"] == (NOW_US - START_US - 8 * MINUTE_US) // 1_000_000 - 60
    assert "only in files, OVERDUE by 23 h" in run(capsys, "stations")[1]
    base.receive(base.ridge.make(NOW_US - MINUTE_US, status=status()), at_us=NOW_US - MINUTE_US)
    by_name = {row["name"]: row for row in json_lines(run(capsys, "stations", "--json")[1])}
    assert by_name["Ridge north"]["overdue_s"] == 0 and by_name["Ridge north"]["received_at"]


def test_a_new_database_receipts_nothing_until_the_old_records_are_imported(base, tmp_path):
    """The station holds only what the lost base had not receipted; its predecessors come out of the file."""
    backlog = base.messages[5:]
    backup = tmp_path / "backup.cbor"
    backup.write_bytes(b"".join(base.messages[:5]))
    base.receive(*backlog, at_us=NOW_US - MINUTE_US)

    def receipts():
        store = Store(base.deployment.database_path)
        try:
            return Ingest(base.registry, store, config.Settings()).receipts([base.ridge.kid])
        finally:
            store.close()

    assert receipts() == []
    take_in(base, backup)
    assert receipts() == [(base.ridge.kid, 8, record.record_hash(base.messages[-1]))]


def test_a_damaged_database_and_an_old_one_say_what_to_do(base, capsys, monkeypatch):
    base.receive(*base.messages[:1])
    path = base.deployment.database_path
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + os.urandom(len(whole) - 100))
    for argv in (["stations"], ["import", str(path)]):
        code, _, err = run(capsys, *argv)
        assert code == errors.StorageError.exit_code
        assert "restore the records with `holdfire import` (host/README.md: Back up and restore)" in err


def test_json_of_the_forwarder_is_evidence_that_verify_takes_too(base, tmp_path, capsys):
    path = tmp_path / "records.jsonl"
    lines = events_of(base, base.messages)
    path.write_bytes(b"\n".join(lines) + b"\n")
    code, out, _ = run(capsys, "verify", path, "--complete")
    assert code == 0 and "JSON lines with signed records" in out
    event = json.loads(lines[0])
    event["data"]["record"]["seq"] = 77  # what is not signed is not believed
    path.write_bytes(json.dumps(event).encode() + b"\n" + b"\n".join(lines[1:]))
    assert "numbers 1 to 8" in run(capsys, "verify", path)[1]
