"""A base that lost records for good goes on only by its operator's decision, and only where nothing is left to lose."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfire import cli, config, resume, times
from holdfire.errors import UsageError
from holdfire.ingest import Ingest
from holdfire.store import Reader, Store
from holdfire_protocol import cose, fields, record

from .made import START_US, Base, Signer, impulse, json_lines, status

NOW_US = START_US + 86_400_000_000
MINUTE_US = 60_000_000


@pytest.fixture(autouse=True)
def fixed_clock(monkeypatch):
    monkeypatch.setattr(times, "now_us", lambda: NOW_US)


class Lost(Base):
    """A base that lost records 1 to 20; the station still holds those from `oldest` on and sends all from `sent` on."""

    def __init__(self, directory, oldest=21, sent=21, alerts=0, count=30):
        self.ridge = Signer("Ridge north", 1)
        super().__init__(directory, self.ridge)
        self.messages = []
        for n in range(1, count + 1):
            content = {"status": status(pending=max(0, n - oldest))} if n % 4 == 0 else {"observations": [impulse()]}
            self.messages.append(self.ridge.make(START_US + MINUTE_US * n, **content))
        self.receive(*self.messages[sent - 1 :], at_us=NOW_US - MINUTE_US)

    def receipts(self):
        store = Store(self.deployment.database_path)
        try:
            return [seq for _, seq, _ in Ingest(self.registry, store, config.Settings()).receipts([self.ridge.kid])]
        finally:
            store.close()

    def resume(self, seq, why="disk burnt"):
        return resume.take_up(self.deployment, self.registry, self.registry.find("Ridge north"), seq, why)


@pytest.fixture
def base(tmp_path, monkeypatch):
    monkeypatch.setenv("HOLDFIRE_DIR", str(tmp_path / "base"))
    return Lost(tmp_path / "base")


def run(capsys, *argv):
    code = cli.main([str(a) for a in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_chain_goes_on_and_everything_says_so(base, capsys):
    assert base.receipts() == []
    assert "records from 21 on are not receipted: they wait for the one before" in run(capsys, "stations")[1]
    code, out, err = run(capsys, "resume", "Ridge north", 21, "--why", "disk burnt, no copy")
    assert (code, err) == (0, "")
    assert "lost     what of numbers 1 to 20 is not here stays missing" in out
    assert "status record 24 says: 3 records without receipt at the station; 3 before it are here" in out
    assert base.receipts() == [30]
    said = run(capsys, "stations")[1]
    assert "taken up at 21 after a loss of the base, by its operator's decision on 2026-11-19: disk burnt" in said
    assert "\t1 to 20\t" in said, "what is lost stays missing"
    (row,) = json_lines(run(capsys, "stations", "--json")[1])
    assert (row["contiguous_seq"], row["missing"]) == (30, [[1, 20]])
    assert [(t["seq"], t["lost_from"], t["why"]) for t in row["taken_up"]] == [(21, 1, "disk burnt, no copy")]
    first, last = (record.record_hash(base.messages[n - 1]).hex() for n in (21, 30))
    out = run(capsys, "show", first)[1]
    assert "taken up  here, by the operator's decision on 2026-11-19T11:06:40Z: disk burnt, no copy" in out
    assert "chain      not yet: the record before it" in out and "is lost: taken up by decision" in out
    assert "but       back to record 21 only, where the chain was taken up after a loss" in run(capsys, "show", last)[1]
    later = base.ridge.make(START_US + 31 * MINUTE_US, status=status(pending=0))
    base.receive(later)
    assert base.receipts() == [31]


def test_what_turns_up_after_all_fills_the_gap(base, capsys):
    base.resume(21)
    base.receive(*base.messages[:20])
    assert base.receipts() == [30]
    (row,) = json_lines(run(capsys, "stations", "--json")[1])
    assert (row["missing"], row["waiting"]) == ([], 0)
    code, out, _ = run(capsys, "show", record.record_hash(base.messages[20]).hex())
    assert code == 0 and "chain      passed: prev is the SHA-256 of the stored record 20" in out


@pytest.mark.parametrize(
    ("seq", "says"),
    [
        (7, "record 7 of Ridge north is not stored"),
        (22, "does not wait for a lost one"),
        (25, "does not wait for a lost one"),
    ],
)
def test_only_the_record_after_the_gap_can_be_taken_up(base, seq, says):
    with pytest.raises(UsageError, match=says):
        base.resume(seq)
    assert base.receipts() == []


def test_a_number_used_twice_is_nothing_to_go_on_from(base):
    named = record.decode_record(cose.parse(base.messages[20]).payload)
    base.receive(base.ridge.sign({**named, "observations": [impulse(peak=1)]}))
    with pytest.raises(UsageError, match="number 21 of Ridge north was used twice"):
        base.resume(21)
    assert base.receipts() == []


def test_a_second_time_and_before_what_is_receipted_there_is_nothing_to_decide(base):
    base.resume(21)
    with pytest.raises(UsageError, match="the chain reaches back from it already"):
        base.resume(21)


def test_not_while_the_station_still_holds_what_is_missing(tmp_path):
    base = Lost(tmp_path / "base", oldest=15)
    with pytest.raises(UsageError, match="at record 21 yet: its newest status record says that 13 records"):
        base.resume(21)
    assert base.receipts() == []
    base.receive(*base.messages[14:20])
    base.resume(15)
    assert base.receipts() == [30]


def test_not_before_the_station_has_said_what_it_holds(tmp_path):
    base = Lost(tmp_path / "base", count=23)
    with pytest.raises(UsageError, match="no status record follows it yet"):
        base.resume(21)


def test_records_made_while_the_status_was_prepared_do_not_count_as_held(tmp_path):
    """The station counts, waits for its turn, signs: what came in between was not counted."""
    ridge = Signer("Ridge north", 1)
    base = Base(tmp_path / "base", ridge)
    made = [ridge.make(START_US + MINUTE_US * n, observations=[impulse()]) for n in range(1, 5)]
    late = ridge.make(START_US + 5 * MINUTE_US, observations=[impulse()])
    # 3 and 4 were counted, 2 too; `late` came in between. Of the three only 3 and 4 are here.
    said = ridge.make(START_US + 5 * MINUTE_US + 1_000_000, status=status(pending=3))
    base.receive(made[2], made[3], late, said, at_us=NOW_US)
    with pytest.raises(UsageError, match="says that 3 records wait"):
        resume.take_up(base.deployment, base.registry, base.registry.find("Ridge north"), 3, "x")


def test_a_branch_that_the_station_lost_does_not_count(tmp_path):
    """A record 3 was sent and lost in a power cut; the journal goes on from 2 with 4. Only that line counts."""
    ridge = Signer("Ridge north", 1)
    base = Base(tmp_path / "base", ridge)
    one, two = (ridge.make(START_US + MINUTE_US * n, observations=[impulse()]) for n in (1, 2))
    assert one
    branch = ridge.sign(ridge.fields_of(START_US + 3 * MINUTE_US, observations=[impulse()]))
    ridge.seq = 3
    four = ridge.make(START_US + 4 * MINUTE_US, observations=[impulse()], restart=fields.RESTART_UNCLEAN)
    five = ridge.make(START_US + 5 * MINUTE_US, status=status(pending=3))  # 1, 2 and 4
    base.receive(two, branch, four, five, at_us=NOW_US)
    with pytest.raises(UsageError, match="says that 3 records wait for a receipt, and 2 that hang together"):
        resume.take_up(base.deployment, base.registry, base.registry.find("Ridge north"), 2, "x")


@pytest.mark.parametrize("alert_arrived", [True, False])
def test_what_the_station_gave_up_for_room_is_no_hole_in_what_it_holds(tmp_path, alert_arrived):
    """1 to 10 are lost; the station gave up 11 to 14 and 16 to 19, and still holds 15 and all from 20 on."""
    ridge = Signer("Ridge north", 1)
    base = Base(tmp_path / "base", ridge)
    made = []
    for n in range(1, 31):
        content = {"status": status(pending=9)} if n == 28 else {"observations": [impulse()]}
        if n == 26:
            content = {"thinned": [(11, 14), (16, 19)]}
        made.append(ridge.make(START_US + MINUTE_US * n, **content))
    station = base.registry.find("Ridge north")
    arrived = [*([made[14]] if alert_arrived else []), *made[19:]]
    base.receive(*arrived, at_us=NOW_US)
    if not alert_arrived:
        for seq in (20, 28):
            with pytest.raises(UsageError, match="that hang together|does not wait"):
                resume.take_up(base.deployment, base.registry, station, seq, "x")
        return
    proof = resume.take_up(base.deployment, base.registry, station, 15, "x")
    assert (proof.seq, proof.pending, proof.held) == (28, 9, 9)
    store = Store(base.deployment.database_path)
    assert [seq for _, seq, _ in Ingest(base.registry, store, config.Settings()).receipts([ridge.kid])] == [30]
    store.close()


def made_with_gaps(tmp_path, thinned, pending, branch=None):
    """Records 11 to 30 of a station whose base lost 1 to 10: 26 declares what was given up, 28 says what waits.

    `branch` is made twice: what was sent of it was lost in a power cut, and the chain goes on from the one before it.
    """
    ridge = Signer("Ridge north", 1)
    base = Base(tmp_path / "base", ridge)
    made, lost = {}, None
    for n in range(1, 31):
        content = {"status": status(pending=pending)} if n == 28 else {"observations": [impulse()]}
        if n == 26:
            content = {"thinned": thinned}
        if n == branch:
            lost = ridge.sign(ridge.fields_of(START_US + MINUTE_US * n, observations=[impulse()]))
            ridge.seq = n
            continue
        restart = {"restart": fields.RESTART_UNCLEAN} if n - 1 == branch else {}
        made[n] = ridge.make(START_US + MINUTE_US * n, **content, **restart)
    return base, made, lost


def test_what_came_before_it_was_given_up_is_not_what_the_station_holds(tmp_path):
    """It holds 11, 12, 14 and 16 to 27, and gave up 13 and 15, which are here; 11 is not, so nothing is decided yet."""
    base, made, _ = made_with_gaps(tmp_path, [(13, 13), (15, 15)], pending=15)
    base.receive(*[made[n] for n in range(12, 31)], at_us=NOW_US)
    station = base.registry.find("Ridge north")
    with pytest.raises(UsageError, match="says that 15 records wait for a receipt, and 14 that hang together"):
        resume.take_up(base.deployment, base.registry, station, 12, "x")
    base.receive(made[11], at_us=NOW_US)
    assert resume.take_up(base.deployment, base.registry, station, 11, "x").held == 15


def test_a_lost_branch_before_a_declared_gap_does_not_count(tmp_path):
    """It holds 11 to 14, 16 and 21 to 27; 15 was lost after it was sent, 17 to 20 were given up; 11 is not here."""
    base, made, branch = made_with_gaps(tmp_path, [(17, 20)], pending=12, branch=15)
    station = base.registry.find("Ridge north")
    base.receive(*[made[n] for n in (12, 13, 14)], branch, *[made[n] for n in range(21, 31)], at_us=NOW_US)
    with pytest.raises(UsageError, match="no status record follows it yet"):  # 16 may lead on from 14 or from 15
        resume.take_up(base.deployment, base.registry, station, 12, "x")
    base.receive(made[16], at_us=NOW_US)
    with pytest.raises(UsageError, match="says that 12 records wait for a receipt, and 11 that hang together"):
        resume.take_up(base.deployment, base.registry, station, 12, "x")
    base.receive(made[11], at_us=NOW_US)
    assert resume.take_up(base.deployment, base.registry, station, 11, "x").held == 12


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(oldest=st.integers(1, 30), sent=st.integers(2, 30), gap=st.sets(st.integers(1, 30), max_size=3))
def test_whatever_is_taken_up_no_receipt_covers_what_only_the_station_has(tmp_path_factory, oldest, sent, gap):
    base = Lost(tmp_path_factory.mktemp("lost") / "base", oldest=oldest, sent=31)
    arrived = set(range(sent, 31)) - gap
    base.receive(*[base.messages[n - 1] for n in sorted(arrived)], at_us=NOW_US)
    for seq in sorted(arrived):
        try:
            base.resume(seq)
        except UsageError:
            continue
        (receipted,) = base.receipts()
        only_there = set(range(oldest, receipted + 1)) - arrived
        assert not only_there, (seq, receipted)


def test_reasons_are_asked_for_and_bounded(base, capsys):
    for why in ("", " ", "x" * 501):
        code, _, err = run(capsys, "resume", "Ridge north", 21, "--why", why)
        assert code == 2 and "--why: say in 1 to 500 characters" in err
    reader = Reader(base.deployment.database_path)
    assert reader.stations()[0]["contiguous_seq"] is None
    reader.close()
