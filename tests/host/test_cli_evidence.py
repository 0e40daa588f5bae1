"""What goes out as evidence checks out for everyone, and nothing else does: export, verify, quiet."""

import pathlib
import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfire import audit, checks, cli, evidence, quiet, times
from holdfire.beacons import Beacons
from holdfire.errors import Refused
from holdfire.registry import Registry
from holdfire.store import Store
from holdfire.verify import Verified, Verifier
from holdfire.views import View
from holdfire_protocol import cbor, cose, fields, record

from .made import COLLECTOR, INTERVAL_S, NETWORK, START_US, Base, Signer, impulse, json_lines, lines_of, status, tamper

NOW_US = START_US + 86_400_000_000
MINUTE_US = 60_000_000


@pytest.fixture(autouse=True)
def fixed_clock(monkeypatch):
    monkeypatch.setattr(times, "now_us", lambda: NOW_US)


@pytest.fixture
def base(tmp_path, monkeypatch):
    ridge, bridge = Signer("Ridge north", 1), Signer("Bridge", 2)
    base = Base(tmp_path / "base", ridge, bridge)
    base.ridge, base.bridge = ridge, bridge
    base.messages = [
        ridge.make(START_US + MINUTE_US * n, **({"observations": [impulse()]} if n == 4 else {"status": status()}))
        for n in range(1, 9)
    ]
    base.bridge_messages = [bridge.make(START_US + MINUTE_US * n, status=status()) for n in range(1, 4)]
    base.receive(*base.messages, *base.bridge_messages, at_us=START_US + 9 * MINUTE_US)
    monkeypatch.setenv("HOLDFIRE_DIR", str(base.deployment.directory))
    return base


def run(capsys, *argv):
    code = cli.main([str(a) for a in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def judge(base, data, tmp_path, name="evidence.cbor"):
    """The audit of these bytes as a third party makes it, with a copy of the registry and nothing else."""
    path = tmp_path / name
    path.write_bytes(data)
    registry = Registry.load(base.deployment.registry_path)
    return audit.audit(evidence.read(str(path), registry.network, registry.collector_kids), registry, NOW_US)


def test_an_export_verifies_anywhere_with_nothing_but_the_registry(base, capsys, tmp_path):
    out_file = tmp_path / "day.cbor"
    code, out, _ = run(capsys, "export", "--station", "ridge north", "-o", out_file)
    assert code == 0 and "Wrote 8 records" in out
    assert out_file.read_bytes() == b"".join(base.messages)
    registry = tmp_path / "registry.json"
    shutil.copy(base.deployment.registry_path, registry)
    shutil.rmtree(base.deployment.directory)
    code, out, err = run(capsys, "verify", out_file, "--registry", registry, "--complete")
    assert (code, err) == (0, "")
    assert "HELD  8 records of 1 station: signed by the keys in this registry and not altered since." in out
    assert "unbroken  records 1 to 8\n" in out


@pytest.mark.parametrize("lost", [1, 7, 60])
def test_bytes_lost_from_a_record_hide_only_that_record(base, tmp_path, lost):
    data = base.messages[0] + base.messages[1][:-lost] + base.messages[2] + base.messages[3]
    outcome = judge(base, data, tmp_path)
    assert not outcome.held
    assert [r.seq for r in outcome.stations[0].records] == [1, 3, 4]


def test_all_stations_and_single_records_export_too(base, capsys, tmp_path):
    assert run(capsys, "export", "--all", "-o", tmp_path / "all.cbor")[0] == 0
    assert (tmp_path / "all.cbor").read_bytes() == b"".join(base.messages + base.bridge_messages)
    chosen = record.record_hash(base.messages[3]).hex()
    assert run(capsys, "export", chosen[:8], "-o", tmp_path / "one.cbor")[0] == 0
    assert (tmp_path / "one.cbor").read_bytes() == base.messages[3]
    code, out, _ = run(capsys, "verify", tmp_path / "one.cbor")
    assert code == 0
    assert "chain      1 not checkable: the record before is not in this file\n" in out


def test_a_period_exports_whole_runs_of_numbers(base, capsys, tmp_path):
    ridge = base.ridge
    undated = ridge.make(START_US + 9 * MINUTE_US, time=(fields.TIME_NONE, 0, fields.U32), status=status())
    base.receive(undated, ridge.make(START_US + 10 * MINUTE_US, status=status()))
    since, until = times.text(START_US + 8 * MINUTE_US), times.text(START_US + 11 * MINUTE_US)
    out_file = tmp_path / "x.cbor"
    run(capsys, "export", "--station", "Ridge north", "--since", since, "--until", until, "-o", out_file)
    messages = judge(base, out_file.read_bytes(), tmp_path).stations[0].records
    assert [m.seq for m in messages] == [8, 9, 10]


@pytest.mark.parametrize("form", ["sequence", "log"])
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bit_flipped_anywhere_makes_verify_fail(base, tmp_path, form, data):
    if form == "sequence":
        content = bytearray(b"".join(base.messages[:4]))
    else:
        content = bytearray(b"".join(line.strip() + b"\r\n" for line in lines_of(*base.messages[:4])))
        # What is outside a frame line is text for people: nothing protects the mark and the line's end.
    assert judge(base, bytes(content), tmp_path).held
    at = data.draw(st.integers(0, len(content) - 1))
    if form == "log":
        start = content.rfind(b"!HF1:", 0, at + 5) if content.rfind(b"!HF1:", 0, at + 5) >= 0 else 0
        if at - start < 5 or content[at] in b"\r\n":
            return
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    outcome = judge(base, bytes(content), tmp_path)
    assert not outcome.held
    assert outcome.failures


def test_every_single_bit_of_one_record(base, tmp_path):
    """The same, without chance: all bits of one whole record."""
    message = base.messages[3]
    for at in range(len(message)):
        altered = bytearray(message)
        altered[at] ^= 1 << (at % 8)
        assert not judge(base, bytes(altered), tmp_path).held, f"byte {at}"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=400), cut=st.integers(0, 700))
def test_hostile_files_fail_and_never_crash(base, tmp_path, data, cut):
    for content in (data, base.messages[0] + data, data + base.messages[0], base.messages[3][:cut], b"!HF1:" + data):
        outcome = judge(base, content, tmp_path)
        whole = content in (base.messages[0], base.messages[3])
        assert outcome.held == whole


def test_a_damaged_record_hides_only_itself(base, tmp_path):
    damaged = bytearray(base.messages[1])
    damaged[5] ^= 1  # in the head, so that its length is unknown
    outcome = judge(base, base.messages[0] + bytes(damaged) + base.messages[2], tmp_path)
    assert [f.check for f in outcome.failures] == ["form"]
    assert outcome.failures[0].where == f"byte {len(base.messages[0])}"
    assert outcome.records == 2


def test_a_record_taken_out_shows_and_complete_insists(base, capsys, tmp_path):
    path = tmp_path / "gap.cbor"
    path.write_bytes(b"".join(base.messages[:3] + base.messages[4:]))
    code, out, _ = run(capsys, "verify", path)
    assert code == 0
    assert "missing   number 4: not in this file" in out
    assert "unbroken  records 1 to 3, 5 to 8" in out
    assert "but   not complete: numbers are missing" in out
    code, out, _ = run(capsys, "verify", path, "--complete")
    assert code == 1 and "DID NOT HOLD  numbers are missing" in out


def test_order_and_copies_do_not_matter(base, tmp_path):
    shuffled = list(reversed(base.messages)) + base.messages[2:4]
    outcome = judge(base, b"".join(shuffled), tmp_path)
    assert outcome.held and outcome.complete
    assert outcome.stations[0].unbroken == [(1, 8)] and outcome.stations[0].repeated == 2


def test_a_chain_that_contradicts_itself_fails(base, tmp_path):
    ridge = base.ridge

    def reasons(*messages):
        return [f"{f.check}: {f.reason}" for f in judge(base, b"".join(messages), tmp_path).failures]

    at_us = START_US + 20 * MINUTE_US
    named = ridge.fields_of(at_us, status=status())
    one, other = ridge.sign(named), ridge.sign({**named, "status": status(impulses=1)})
    assert all("number 9 was used for 2 different records" in r for r in reasons(one, other)[:2])
    backwards = ridge.sign({**named, "seq": 3})
    assert any("has number 3, yet follows number 8" in r for r in reasons(base.messages[7], backwards))
    skipping = ridge.sign({**named, "seq": 12})
    assert any("number 12, yet follows number 8, and gives no reason" in r for r in reasons(base.messages[7], skipping))
    unlinked = ridge.sign({**named, "prev": bytes(32)})
    assert any("does not follow record 8 of this file" in r for r in reasons(base.messages[7], unlinked))
    fork = ridge.sign({**named, "prev": bytes(32), "seq": 30})
    twin = ridge.sign({**named, "prev": bytes(32), "seq": 31})
    assert any("the chain forks" in r for r in reasons(fork, twin))
    silent = ridge.sign({**named, "prev": record.genesis(ridge.network, ridge.public)})
    assert any("begins a chain without saying why" in r for r in reasons(silent))
    not_first = ridge.sign({**named, "seq": 1, "restart": fields.RESTART_FIRST})
    assert any("names one before it" in r for r in reasons(base.messages[7], not_first))


def test_a_number_given_up_by_the_station_is_not_missing(base, tmp_path):
    named = base.ridge.fields_of(START_US + 20 * MINUTE_US, status=status(), restart=fields.RESTART_UNCLEAN)
    jumped = base.ridge.sign({**named, "seq": 11})
    outcome = judge(base, b"".join([*base.messages, jumped]), tmp_path)
    found = outcome.stations[0]
    assert outcome.held and outcome.complete
    assert found.given_up == [(9, 10)] and found.unbroken == [(1, 11)]


def test_time_that_cannot_be_fails(base, tmp_path):
    ridge = base.ridge

    def reasons(*messages):
        return [f"{f.check}: {f.reason}" for f in judge(base, b"".join(messages), tmp_path).failures]

    named = ridge.fields_of(START_US + 20 * MINUTE_US, status=status())
    future = ridge.sign({**named, "time": (4, NOW_US + 7_200_000_000, 40)})
    assert any(r.startswith("time: ") and "later than" in r for r in reasons(future))
    past = ridge.sign({**named, "time": (4, START_US - 7 * 86_400_000_000, 40)})
    assert any("before Ridge north was enrolled" in r for r in reasons(past))
    backwards = ridge.sign({**named, "time": (4, START_US + 5 * MINUTE_US, 40)})
    assert any("ran backwards against uptime" in r for r in reasons(base.messages[7], backwards))
    rewound = ridge.sign({**named, "uptime_ms": 5})
    assert any("uptime runs backwards" in r for r in reasons(base.messages[7], rewound))
    ridge.boot = 3
    after = ridge.make(START_US + 20 * MINUTE_US, status=status())
    ridge.boot = 2
    before = ridge.make(START_US + 21 * MINUTE_US, status=status())
    assert any("is of boot 2, yet record 9 before it is of boot 3" in r for r in reasons(after, before))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from((0, 0, 0, 1)), st.sampled_from((60_000, 60_000, 60_000, -90_000)),
                                st.sampled_from((0, 0, 0, 10_000_000, -10_000_000, 7_200_000_000)), st.booleans()),
                      min_size=1, max_size=8))  # fmt: skip
def test_the_offline_clock_rule_is_the_collectors(base, tmp_path, steps):
    """Boots, uptimes and dates that jump: the collector marks what the verifier fails."""
    ridge, folder = Signer("Ridge north", 1), tempfile.mkdtemp(dir=tmp_path)
    collector = Base(pathlib.Path(folder) / "base", ridge)
    uptime_ms, utc_us, messages = 0, START_US, []
    for more_boots, passed_ms, jumped_us, dated in [(0, 60_000, 0, True), *steps]:
        ridge.boot = max(1, ridge.boot + (more_boots if passed_ms > 0 else -more_boots))
        uptime_ms = max(0, uptime_ms + passed_ms)
        utc_us += passed_ms * 1000 + jumped_us
        time = (4, min(utc_us, NOW_US + 200_000_000), 40) if dated else (0, 0, fields.U32)
        messages.append(ridge.make(0, status=status(), uptime_ms=uptime_ms, time=time))
    path = tmp_path / "jumps.cbor"
    path.write_bytes(b"".join(messages))
    failed = {f.hash for f in audit.audit(evidence.read(str(path), NETWORK, b""), collector.registry, NOW_US).failures}
    collector.receive(*messages, at_us=NOW_US - 1_000_000)  # the base's own second of uncertainty
    view = View(collector.deployment.database_path)
    marked = {row["hash"] for row in view.records(problem=True)}
    view.close()
    assert failed == marked


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_offline_checks_and_the_collector_agree_on_every_record(base, data):
    """Whatever a station's own key signs: what one of the two accepts, the other accepts."""
    ridge = base.ridge
    payload = bytearray(cose.parse(data.draw(st.sampled_from(base.messages))).payload)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(payload) - 1))
        payload[at : at + data.draw(st.integers(0, 1))] = data.draw(st.binary(max_size=2))
    message = record.sign1(bytes(payload), ridge.kid, fields.AAD_RECORD, ridge.network, ridge.key.sign)
    checked = checks.check(message, base.registry, NOW_US)
    try:
        accepted = Verifier(base.registry).check(message)
    except Refused as refused:
        assert checked.verified is None
        assert any(step.name in ("canonical", "fields") for step in checked.failed), refused
    else:
        assert checked.verified is not None
        assert checked.verified.packed == accepted.packed


def test_a_record_dated_wrongly_casts_no_doubt_on_those_after_it(base, tmp_path):
    ridge = base.ridge
    future = ridge.make(START_US + 20 * MINUTE_US, time=(4, NOW_US + 7_200_000_000, 40), status=status())
    honest = ridge.make(START_US + 21 * MINUTE_US, status=status())
    outcome = judge(base, b"".join([*base.messages, future, honest]), tmp_path)
    assert [f.hash for f in outcome.failures] == [record.record_hash(future)]


def test_strangers_and_other_deployments_are_named(base, tmp_path):
    stranger = Signer("Stranger", 7)
    outcome = judge(base, stranger.make(START_US + MINUTE_US, status=status()), tmp_path)
    assert not outcome.held and f"{stranger.kid.hex()} is no station of Valley line" in outcome.failures[0].reason
    elsewhere = Signer("Ridge north", 1, network=b"\xee" * 16)
    outcome = judge(base, elsewhere.make(START_US + MINUTE_US, status=status()), tmp_path)
    assert any(f.check == "signature" for f in outcome.failures)


def test_a_wrongly_encoded_payload_fails_though_the_signature_holds(base, tmp_path):
    """What the key signed must also be canonical: else one record has two encodings and two hashes."""
    ridge = base.ridge
    payload = cose.parse(base.messages[0]).payload
    longer = payload.replace(b"\x03\x01", b"\x03\x18\x01", 1)  # boot 1, its head longer than needed
    assert cbor.decode(payload)[3] == 1 and longer != payload
    signed = record.sign1(longer, ridge.kid, fields.AAD_RECORD, ridge.network, ridge.key.sign)
    outcome = judge(base, signed, tmp_path)
    assert [f.check for f in outcome.failures] == ["canonical"]
    assert outcome.passed["signature"] == 1


def test_a_serial_log_with_text_noise_and_beacons(base, capsys, tmp_path):
    last = record.record_hash(base.messages[-1])
    log = (
        b"Welcome to minicom\r\n\x1b[2J> status\r\n"
        + b"".join(b"12:00:01 " + text for text in lines_of(*base.messages))
        + lines_of(base.messages[2])[0]
        + base.beacon_line(NOW_US, (base.ridge.kid, 8, last))
        + b"bye \xff\xfe\r\n"
    )
    path = tmp_path / "minicom.log"
    path.write_bytes(log)
    code, out, _ = run(capsys, "verify", path)
    assert code == 0
    assert "kind        serial log with frame lines" in out
    assert f"receipts  the base signed at {times.text(NOW_US, 0)} that it stored everything up to record 8" in out
    assert "repeated  1 copy of records" in out
    assert "beacon     1 passed" in out


def test_false_beacons_in_a_log_fail(base, tmp_path):
    def reasons(*lines):
        outcome = judge(base, b"".join([*lines_of(*base.messages), *lines]), tmp_path, "log.txt")
        assert not outcome.held
        return [f.reason for f in outcome.failures]

    other = base.beacon_line(NOW_US, (base.ridge.kid, 8, bytes(32)))
    assert any("receipts another record 8" in r for r in reasons(other))
    other_base = Base(tmp_path / "impostor", network=bytes(16))
    other_base.registry.network = base.registry.network[:4] + bytes(12)  # the same tag on the frame, another network
    assert any("not signed by the collector's key" in r for r in reasons(other_base.beacon_line(NOW_US)))
    base.beacon_number = iter((5, 5))
    twice = [base.beacon_line(NOW_US), base.beacon_line(NOW_US + 1)]
    assert any("number 5 was used for two different beacons" in r for r in reasons(*twice))


def test_a_log_line_of_another_deployment_or_cut_short_is_not_passed_over(base, tmp_path):
    whole, foreign = lines_of(base.messages[0])[0], lines_of(base.messages[0], network=b"\x99" * 16)[0]
    outcome = judge(base, whole + foreign, tmp_path, "log.txt")
    assert "another deployment" in outcome.failures[0].reason and outcome.failures[0].where == "line 2"
    assert not judge(base, whole + whole[:40] + b"\r\n", tmp_path, "log.txt").held


@pytest.mark.parametrize("content", [b"", b"just text\n", b"\x00" * 10])
def test_a_file_without_records_does_not_hold(base, capsys, tmp_path, content):
    path = tmp_path / "empty.cbor"
    path.write_bytes(content)
    code, out, _ = run(capsys, "verify", path)
    assert code == 1 and "DID NOT HOLD" in out


def test_verify_json_says_all_that_failed(base, capsys, tmp_path):
    path = tmp_path / "bad.cbor"
    altered = bytearray(base.messages[0])
    altered[-1] ^= 1
    path.write_bytes(bytes(altered) * 30 + base.messages[1])
    code, out, _ = run(capsys, "verify", path, "--json")
    (found,) = json_lines(out)
    assert code == 1 and found["held"] is False
    assert [f["check"] for f in found["failures"]] == ["signature"]
    assert found["stations"][0]["first_seq"] == 2


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["verify", "no-such-file"], 2, "cannot read no-such-file"),
        (["verify", "."], 2, "cannot read ."),
        (["verify", __file__, "--registry", "no-such-registry.json"], 3, "no registry at no-such-registry.json"),
        (["export", "-o", "x.cbor"], 2, "say what to export"),
        (["export", "--all", "--station", "Bridge", "-o", "x.cbor"], 2, "say what to export"),
        (["export", "--station", "Nowhere", "-o", "x.cbor"], 3, "no station 'Nowhere'"),
        (["export", "--station", "Bridge", "--from-seq", "99", "-o", "x.cbor"], 2, "nothing was written"),
        (["export", "--all", "-o", "/no/such/folder/x.cbor"], 2, "cannot write /no/such/folder/x.cbor"),
        (["quiet", "--station", "Bridge", "--since", "soon"], 2, "'soon' is no time"),
        (["quiet", "--station", "Bridge", "--since", "1h", "--until", "2h"], 2, "--until must be later"),
    ],
)
def test_wrong_moves_are_one_clear_line(base, capsys, monkeypatch, tmp_path, argv, code, says):
    monkeypatch.chdir(tmp_path)
    found, out, err = run(capsys, *argv)
    assert (found, out) == (code, "")
    assert says in err and err.count("\n") == 1 and err.startswith("holdfire: ")
    assert not (tmp_path / "x.cbor").exists()


def test_export_does_not_overwrite_unasked(base, capsys, tmp_path):
    path = tmp_path / "x.cbor"
    path.write_bytes(b"precious")
    assert run(capsys, "export", "--all", "-o", path)[0] == 2
    assert path.read_bytes() == b"precious"
    assert run(capsys, "export", "--all", "--force", "-o", path)[0] == 0


# quiet


def periods(messages, station, since_us, until_us):
    verified = [Verified(m, station, cbor.decode(cose.parse(m).payload)) for m in messages]
    return quiet.assess(verified, since_us, until_us)


def test_a_quiet_hour_is_proven_to_the_second(base, capsys):
    far = Signer("Far", 3)
    base.registry.add(far.station())
    base.registry.save()
    base.receive(*[far.make(START_US + MINUTE_US * n, status=status()) for n in range(1, 62)])
    until = times.text(START_US + 60 * MINUTE_US)
    argv = ["quiet", "--station", "Far", "--since", times.text(START_US), "--until", until]
    code, out, _ = run(capsys, *argv)
    assert code == 0
    assert "listened     at least 1 h of 1 h (100.00%)" in out
    assert "heard        no impulsive sound was recorded" in out
    assert "no proof     for no stretch of a second or longer" in out
    assert "self-tests   60 status records: all well" in out
    (as_json,) = json_lines(run(capsys, *argv, "--json")[1])
    assert as_json["listened_us"] == 60 * MINUTE_US and as_json["gaps"] == []


def test_only_certain_listening_counts():
    ridge = Signer("Ridge north", 1)
    station = ridge.station()
    deaf = fields.SELFTEST_MIC_STUCK
    messages = [
        ridge.make(START_US + 1 * MINUTE_US, status=status()),
        ridge.make(START_US + 2 * MINUTE_US, status=status(heard_ms=50_000, lost_ms=10_000)),
        ridge.make(START_US + 3 * MINUTE_US, status=status(selftest=deaf)),
        ridge.make(START_US + 5 * MINUTE_US, status=status()),  # a status record lost: one minute without proof
        ridge.make(START_US + 5 * MINUTE_US + 1, time=(0, 0, fields.U32), status=status()),  # undated proves nothing
    ]
    found = periods(messages, station, START_US, START_US + 5 * MINUTE_US)
    assert found.listened_us == (60 + 50 + 0 + 60) * 1_000_000
    assert found.gaps == [(START_US + 2 * MINUTE_US, START_US + 4 * MINUTE_US)]
    assert (found.statuses, found.deaf_statuses) == (4, 1)
    # Of a window that the period cuts, what was missed is taken to have been missed inside the period.
    cut = periods(messages, station, START_US + 110_000_000, START_US + 120_000_000)
    assert cut.listened_us == 0


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_never_more_than_the_period_is_proven(data):
    """Whatever status records claim: no moment counts twice, and gaps and listening fit into the period."""
    ridge = Signer("Ridge north", 1)
    at_us, messages = START_US, []
    for _ in range(data.draw(st.integers(0, 6))):
        at_us += data.draw(st.integers(1, 3 * INTERVAL_S * 1_000_000))
        claims = {"heard_ms": data.draw(st.integers(0, 400_000)), "lost_ms": data.draw(st.integers(0, 400_000))}
        messages.append(ridge.make(at_us, status=status(**claims, selftest=data.draw(st.sampled_from([0, 1, 8])))))
    since_us = START_US + data.draw(st.integers(-(10**8), 3 * 10**8))
    until_us = since_us + data.draw(st.integers(1, 10**9))
    found = periods(messages, ridge.station(), since_us, until_us)
    gaps_us = sum(end - start for start, end in found.gaps)
    assert 0 <= found.listened_us + gaps_us <= until_us - since_us
    assert all(since_us <= start < end <= until_us for start, end in found.gaps)
    assert found.gaps == sorted(found.gaps)


def test_what_was_heard_tampering_and_missing_numbers_are_stated(base, capsys):
    ridge = base.ridge
    lost = ridge.make(START_US + 9 * MINUTE_US, status=status())
    assert lost
    later = [
        ridge.make(START_US + 10 * MINUTE_US, observations=[tamper(1)]),
        ridge.make(START_US + 11 * MINUTE_US, status=status(impulses=5)),
    ]
    base.receive(*later)
    argv = ["quiet", "--station", "Ridge north", "--since", times.text(START_US)]
    code, out, _ = run(capsys, *argv, "--until", times.text(START_US + 11 * MINUTE_US))
    assert code == 0
    assert "heard        1 impulsive sound\n" in out and "2026-11-18T11:10:38.750Z, record 4" in out
    assert "counted      5 detections" in out
    assert "tamper       2026-11-18T11:16:39.980Z, record 10" in out
    assert "missing  number 9: what was said there is not known" in out


def test_nothing_stored_proves_nothing(base, capsys):
    code, out, _ = run(capsys, "quiet", "--station", "Bridge", "--since", "2h")
    assert code == 0
    assert "listened    at least 0 s of 2 h (0.00%)" in out
    assert "heard       not known: no status record speaks of this period" in out
    assert "none of this period is stored, so nothing is proven" in out


# receipts as evidence


def receipt(base, at_us, *messages):
    """What a run of the collector signs and keeps, for the newest of these; and a commit after it."""
    store = Store(base.deployment.database_path)
    beacons = Beacons(COLLECTOR, NETWORK, store, 1000, lambda: at_us)
    found = []
    for message in messages:
        parts = cose.parse(message)
        found.append((parts.kid, cbor.decode(parts.payload)[1], record.record_hash(message)))
    beacons.lines(found)
    store.close()


def test_an_export_shows_when_the_base_signed_that_it_holds_the_records(base, capsys, tmp_path):
    signed_us = START_US + 9 * MINUTE_US
    receipt(base, signed_us, base.messages[4], base.bridge_messages[2])
    receipt(base, signed_us + MINUTE_US, base.messages[7], base.bridge_messages[2])  # nothing new of Bridge
    receipt(base, signed_us + 2 * MINUTE_US, base.messages[7])  # nothing new at all: not kept
    out_file = tmp_path / "all.cbor"
    code, out, _ = run(capsys, "export", "--all", "-o", out_file)
    assert code == 0 and "Wrote 11 records" in out and "2 receipts that this base signed for them" in out
    code, out, _ = run(capsys, "verify", out_file, "--complete")
    assert code == 0 and "beacon     2 passed" in out
    ridge, bridge = out.split("Station ")[2], out.split("Station ")[1]
    later_us = signed_us + MINUTE_US
    assert f"the base signed at {times.text(later_us, 0)} that it stored everything up to record 8" in ridge
    assert f"the base signed at {times.text(signed_us, 0)} that it stored everything up to record 3" in bridge
    # Of a part, the receipt beyond it goes along: the chain between is what a court asks for next.
    run(capsys, "export", "--station", "Ridge north", "--to-seq", "3", "-o", tmp_path / "part.cbor")
    out = run(capsys, "verify", tmp_path / "part.cbor")[1]
    assert "stored everything up to number 5, which is not in this file" in out


def test_what_the_base_receipted_and_cannot_show_is_named(base, capsys, tmp_path):
    receipt(base, START_US + 9 * MINUTE_US, base.messages[7])
    run(capsys, "export", "--all", "-o", tmp_path / "all.cbor")
    whole = (tmp_path / "all.cbor").read_bytes()
    (tmp_path / "less.cbor").write_bytes(whole.replace(base.messages[3] + base.messages[4], b""))
    code, out, _ = run(capsys, "verify", tmp_path / "less.cbor", "--json")
    (found,) = json_lines(out)
    assert code == 0 and not found["complete"]
    ridge = next(s for s in found["stations"] if s["name"] == "Ridge north")
    assert ridge["promised_missing"] == [[4, 5]] and ridge["receipted_to"] == 8
    out = run(capsys, "verify", tmp_path / "less.cbor")[1]
    assert "receipted, too  numbers 4 to 5, which are not in this file: the base signed that it stored them" in out


def test_receipts_survive_the_loss_of_the_database(base, capsys, tmp_path):
    receipt(base, START_US + 9 * MINUTE_US, base.messages[7])
    run(capsys, "export", "--all", "-o", tmp_path / "all.cbor")
    for path in base.deployment.directory.glob("holdfire.sqlite*"):
        path.unlink()
    whole = (tmp_path / "all.cbor").read_bytes()
    (tmp_path / "forged.cbor").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    code, out, _ = run(capsys, "import", tmp_path / "forged.cbor")
    assert code == 1 and "REFUSED        1 bad-signature" in out
    code, out, _ = run(capsys, "import", tmp_path / "all.cbor")
    assert code == 0 and "receipts       1 beacon that this base signed" in out
    run(capsys, "export", "--all", "-o", tmp_path / "again.cbor")
    assert (tmp_path / "again.cbor").read_bytes() == (tmp_path / "all.cbor").read_bytes()


def test_receipts_kept_are_bounded_by_time_and_the_newest_is_always_there(base):
    ridge = base.ridge
    made = [ridge.make(START_US + MINUTE_US * n, status=status()) for n in range(9, 70)]
    store = Store(base.deployment.database_path)
    for number, message in enumerate(made):
        at_us = START_US + MINUTE_US * (9 + number)
        Beacons(COLLECTOR, NETWORK, store, 1000, lambda at_us=at_us: at_us).lines(
            [(ridge.kid, 9 + number, record.record_hash(message))]
        )
    store.close()
    view = View(base.deployment.database_path)
    kept = [record.decode_beacon(cose.parse(m).payload) for _, m in view.receipts_of(ridge.kid, 1, 1000)]
    assert view._db.execute("SELECT count(*) FROM beacons").fetchone()[0] == len(kept)
    view.close()
    seqs = [beacon["receipts"][0][1] for beacon in kept]
    assert seqs[-1] == 69 and seqs[0] == 9 and len(seqs) <= 8
    gaps_us = [b["time"][1] - a["time"][1] for a, b in zip(kept[:-2], kept[1:-1], strict=True)]
    assert all(gap_us >= 600_000_000 for gap_us in gaps_us), gaps_us


def test_restarts_and_forks_are_told_in_words(base, capsys, tmp_path):
    ridge = base.ridge
    after = ridge.seq
    sent_and_lost = ridge.sign(ridge.fields_of(START_US + 10 * MINUTE_US, status=status()))
    named = ridge.fields_of(START_US + 11 * MINUTE_US, status=status(), restart=fields.RESTART_UNCLEAN)
    cut = ridge.sign({**named, "seq": 10, "boot": 2, "uptime_ms": 5})
    lost = {**named, "seq": 20, "boot": 3, "uptime_ms": 5, "restart": fields.RESTART_JOURNAL_LOST}
    anew = ridge.sign({**lost, "prev": record.genesis(NETWORK, ridge.public)})
    base.receive(sent_and_lost, cut, anew, at_us=START_US + 12 * MINUTE_US)
    out = run(capsys, "stations")[1]
    assert "lost its journal before record 20, where its chain begins anew" in out
    assert "gave up numbers, or lost its newest records, in a power cut before record 10" in out
    forked = record.record_hash(base.messages[-1]).hex()
    assert "fork      several records follow this one" in run(capsys, "show", forked)[1]
    run(capsys, "export", "--station", "Ridge north", "-o", tmp_path / "x.cbor")
    code, out, _ = run(capsys, "verify", tmp_path / "x.cbor")
    assert code == 0
    assert f"fork      record {after} is followed by records 9, 10: the station lost what it had sent" in out
    assert "restart   lost its journal before record 20" in out
