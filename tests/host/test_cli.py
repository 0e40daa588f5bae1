"""The commands as people and scripts use them: tables on a terminal, plain when piped, one line when wrong."""

import io
import json
import os
import pty
import sqlite3
import subprocess
import sys

import pytest

from holdfire import cli, output, times
from holdfire.commands import collect, common, stations
from holdfire.errors import REASONS, UsageError
from holdfire.events import KINDS, Event
from holdfire.registry import Registry
from holdfire_protocol import fields, record

from .made import START_US, Base, Signer, impulse, json_lines, status, tamper

NOW_US = START_US + 3_600_000_000
MINUTE_US = 60_000_000


@pytest.fixture(autouse=True)
def fixed_clock(monkeypatch):
    monkeypatch.setattr(times, "now_us", lambda: NOW_US)
    monkeypatch.delenv("HOLDFIRE_DIR", raising=False)


@pytest.fixture
def base(tmp_path, monkeypatch):
    ridge, bridge, silent = Signer("Ridge north", 1), Signer("Bridge", 2), Signer("Silent", 3)
    base = Base(tmp_path / "base", ridge, bridge, silent)
    base.ridge, base.bridge = ridge, bridge
    messages = [
        ridge.make(START_US + MINUTE_US, status=status()),
        ridge.make(START_US + 2 * MINUTE_US, observations=[impulse()]),
        ridge.make(START_US + 3 * MINUTE_US, observations=[impulse(peak=1000), tamper(1)]),
    ]
    ridge.make(START_US + 4 * MINUTE_US, status=status())  # never arrives
    messages.append(ridge.make(START_US + 5 * MINUTE_US, status=status(selftest=fields.SELFTEST_MIC_STUCK)))
    base.messages = messages
    base.receive(*messages, at_us=NOW_US - 300_000_000)
    base.receive(bridge.make(START_US + MINUTE_US, status=status()), at_us=NOW_US - 10_000_000)
    monkeypatch.setenv("HOLDFIRE_DIR", str(base.deployment.directory))
    return base


def run(capsys, *argv):
    code = cli.main([str(a) for a in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def table(text):
    head, *rows = [line.split("\t") for line in text.splitlines()]
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_init_founds_a_deployment_and_never_a_second_one(capsys, tmp_path):
    folder = tmp_path / "new" / "base"
    code, out, err = run(capsys, "init", folder, "--name", "Valley line")
    assert (code, err) == (0, "")
    registry = Registry.load(folder / "registry.json")
    assert registry.network.hex() in out and registry.name == "Valley line"
    assert "PRIVATE KEY" not in out
    before = (folder / "collector.key").read_bytes()
    code, out, err = run(capsys, "init", folder, "--name", "Other")
    assert (code, out) == (3, "") and "founded here" in err and err.count("\n") == 1
    assert (folder / "collector.key").read_bytes() == before
    assert run(capsys, "init", tmp_path / "b", "--name", " bad")[0] == 3
    assert not (tmp_path / "b" / "collector.key").exists()


def test_stations_tells_how_each_one_is(base, capsys):
    rows = {row["station"]: row for row in table(run(capsys, "stations")[1])}
    assert list(rows) == ["Bridge", "Ridge north", "Silent"]
    assert rows["Bridge"]["heard"] == "10 s ago"
    assert rows["Bridge"]["missing"] == "none"
    ridge = rows["Ridge north"]
    assert ridge["heard"] == "5 min ago, OVERDUE by 4 min"
    assert (ridge["last"], ridge["chain to"], ridge["missing"]) == ("5", "3", "4")
    assert ridge["self-test"] == "microphone stuck"
    assert ridge["battery"] == "3.91 V" and ridge["floor"] == "-72.4 dBFS" and ridge["clock"] == "GNSS+PPS"
    assert rows["Silent"]["heard"] == "never"


def test_stations_json_has_the_same_and_more(base, capsys):
    rows = {row["name"]: row for row in json_lines(run(capsys, "stations", "--json")[1])}
    assert rows["Ridge north"]["missing"] == [[4, 4]]
    assert rows["Ridge north"]["overdue_s"] == 240 and rows["Bridge"]["overdue_s"] == 0
    assert rows["Ridge north"]["status"]["selftest"] == fields.SELFTEST_MIC_STUCK
    assert rows["Silent"]["records"] == 0


def test_a_restart_accounts_for_numbers_that_were_never_sent(base, capsys):
    bridge = base.bridge
    named = bridge.fields_of(START_US + 2 * MINUTE_US, status=status(), restart=fields.RESTART_UNCLEAN)
    base.receive(bridge.sign({**named, "seq": 4}))
    rows = {row["station"]: row for row in table(run(capsys, "stations")[1])}
    assert (rows["Bridge"]["last"], rows["Bridge"]["chain to"], rows["Bridge"]["missing"]) == ("4", "4", "none")


def test_a_repeat_is_harmless_and_equivocation_is_not(base, capsys):
    base.receive(base.messages[0])
    rows = {row["station"]: row for row in table(run(capsys, "stations")[1])}
    assert rows["Ridge north"]["refusals"] == "1 replay"


@pytest.mark.parametrize(
    ("filters", "seqs"),
    [
        ((), [1, 5, 3, 2, 1]),
        (("--station", "ridge north"), [5, 3, 2, 1]),
        (("--kind", "impulse"), [3, 2]),
        (("--kind", "tamper"), [3]),
        (("--kind", "restart"), [1, 1]),
        (("--kind", "status", "--station", "Ridge north"), [5, 1]),
        (("--min-peak", "-20"), [2]),
        (("--min-peak", "-90"), [3, 2]),
        (("--limit", "2"), [1, 5]),
        (("--limit", "0"), [1, 5, 3, 2, 1]),
        (("--since", "1min"), [1]),
        (("--until", "1min"), [5, 3, 2, 1]),
        (("--since", "2026-11-18T12:06:00Z"), [1]),
        (("--since", "2030-01-01"), []),
    ],
)
def test_records_filters(base, capsys, filters, seqs):
    assert [row["seq"] for row in json_lines(run(capsys, "records", "--json", *filters)[1])] == seqs
    assert [row["seq"] for row in table(run(capsys, "records", *filters)[1])] == [str(seq) for seq in seqs]


def test_records_say_what_happened_in_words(base, capsys):
    rows = table(run(capsys, "records", "--station", "Ridge north")[1])
    assert [row["what"] for row in rows] == [
        "status: microphone stuck",
        "1 impulse, peak -78.5 dBFS; case opened",
        "1 impulse, peak -12.0 dBFS",
        "chain restarts: first record; status: all well",
    ]
    assert [row["chain"] for row in rows] == ["pending", "contiguous", "contiguous", "contiguous"]
    assert rows[2]["hash"] == record.record_hash(base.messages[1]).hex()[:12]


def test_records_can_be_followed(base, tmp_path):
    code = "import sys; from holdfire import cli; sys.exit(cli.main(['records', '--follow', '--limit', '1']))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as follower:
        try:
            assert "\tBridge\t1\t" in follower.stdout.readline()
            base.receive(base.bridge.make(START_US + 2 * MINUTE_US, observations=[impulse()]))
            assert "\tBridge\t2\t1 impulse" in follower.stdout.readline()
        finally:
            follower.kill()


def test_refusals_say_why(base, capsys):
    stranger = Signer("Stranger", 9).make(START_US, status=status())
    base.receive(stranger, raw=b"!HF1:AAAA:00000000\r\n")
    base.receive(stranger)
    rows = {row["reason"]: row for row in table(run(capsys, "refusals")[1])}
    assert rows["unknown-station"]["times"] == "2"
    assert "is enrolled here" in rows["unknown-station"]["why"]
    assert set(rows) == {"unknown-station", "damaged"}
    assert [r["reason"] for r in json_lines(run(capsys, "refusals", "--reason", "damaged", "--json")[1])] == ["damaged"]
    assert table(run(capsys, "refusals", "--station", "Bridge")[1]) == []
    totals = {row["reason"]: row["total"] for row in table(run(capsys, "refusals", "--totals")[1])}
    assert totals == {"unknown-station": "2", "damaged": "1"}


def test_forward_says_how_far_destinations_are(base, capsys):
    with sqlite3.connect(base.deployment.database_path) as db:
        db.execute("INSERT INTO destinations VALUES ('jsonl', 2, 2, ?, NULL, NULL)", (NOW_US,))
        db.execute("INSERT INTO destinations VALUES ('http://x', 0, 0, NULL, 'connection refused', ?)", (NOW_US,))
        db.execute("INSERT INTO parked VALUES ('http://x', 3, 'HTTP 400', ?, 0)", (NOW_US,))
    db.close()
    rows = {row["destination"]: row for row in table(run(capsys, "forward")[1])}
    assert (rows["jsonl"]["waiting"], rows["jsonl"]["state"]) == ("3", "well")
    assert rows["http://x"]["state"] == "stalled: connection refused"
    assert table(run(capsys, "forward", "--parked")[1])[0]["why"] == "HTTP 400"
    assert run(capsys, "forward", "--retry")[1] == "1 parked record will be sent again\n"


def test_a_terminal_gets_a_table_and_colour_and_a_pipe_gets_neither(base):
    """The same command twice, once with a real terminal."""
    command = [sys.executable, "-m", "holdfire", "stations"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm-256color", "COLUMNS": "200"}
    piped = subprocess.run(command, capture_output=True, text=True, env=env, check=True).stdout
    assert "\x1b" not in piped and piped.count("\t") > 20
    main, side = pty.openpty()
    with subprocess.Popen(command, stdout=side, env=env) as process:
        os.close(side)
        shown = b""
        while True:
            try:
                part = os.read(main, 65536)
            except OSError:
                break
            if not part:
                break
            shown += part
        assert process.wait(20) == 0
    os.close(main)
    assert b"\x1b[" in shown and b"\t" not in shown and b"Ridge north" in shown


def test_a_narrow_terminal_loses_the_optional_columns_first(base, monkeypatch):
    monkeypatch.setattr(output, "is_terminal", lambda: True)

    def header(columns):
        monkeypatch.setenv("COLUMNS", str(columns))
        written = io.StringIO()
        monkeypatch.setattr(sys, "stdout", written)
        assert cli.main(["stations"]) == 0
        return written.getvalue().splitlines()[0].split("  "), written.getvalue()

    wide, _ = header(200)
    assert [column.strip() for column in wide if column.strip()] == list(stations.COLUMNS)
    narrow, text = header(110)
    assert "kid" not in narrow and "Ridge north" in text and "OVERDUE" in text
    assert "not shown on this narrow terminal: kid" in text


def test_nothing_from_outside_can_move_the_cursor_or_forge_a_line(base, capsys):
    with sqlite3.connect(base.deployment.database_path) as db:
        db.execute("UPDATE records SET port = ?", ("\x1b[2J\rport\nBridge\tfake",))
        db.execute(
            "INSERT INTO refusals VALUES (77, 'damaged', ?, 1, 1, 1, ?, NULL, NULL, '', ?, NULL)",
            (b"\x01" * 32, "p\x1b]0;x\x07", "[red]a\nb\t\x9b"),
        )
    db.close()
    for argv in (["records"], ["refusals"], ["stations"], ["show", "01" * 6], ["show", "--json", "01" * 6]):
        _, out, _ = run(capsys, *argv)
        assert not set(out) & set("\x1b\x07\r\x9b")
    assert len(table(run(capsys, "refusals")[1])) == 1
    console_text = io.StringIO()
    output.console_for(console_text).print(collect.line_of(Event("text", "[red]\x1b[31m"), "12:00", "\x1b[0m"))
    assert "\x1b" not in console_text.getvalue() and "[red]" in console_text.getvalue()


@pytest.mark.parametrize(
    ("damage", "argv", "code", "says"),
    [
        (lambda d: d.registry_path.write_text("{"), ["stations"], 3, "registry.json: not JSON"),
        (lambda d: d.registry_path.unlink(), ["stations"], 3, "holdfire init"),
        (lambda d: d.database_path.unlink(), ["stations"], 7, "run `holdfire collect` first"),
        (lambda d: d.database_path.write_bytes(b"not a database" * 100), ["records"], 7, "not a Holdfire database"),
        (lambda d: d.database_path.write_bytes(b""), ["records"], 7, "holdfire.sqlite"),
        (lambda d: None, ["records", "--station", "Nobody"], 3, "there is: Bridge, Ridge north, Silent"),
        (lambda d: None, ["records", "--since", "yesterday"], 2, "'yesterday' is no time"),
        (lambda d: None, ["records", "--limit", "-3"], 2, "--limit"),
        (lambda d: None, ["records", "--min-peak", "nan"], 2, "--min-peak"),
        (lambda d: None, ["records", "--dir", "/nowhere"], 3, "no registry at /nowhere/registry.json"),
        (lambda d: d.config_path.write_text("speed = 3"), ["collect"], 3, "speed: no such setting"),
        (lambda d: None, ["collect", "--set", "baud=slow"], 3, "baud: not a whole number"),
        (lambda d: None, ["collect", "--set", "baud"], 3, "write NAME=VALUE"),
        (lambda d: None, ["collect"], 3, "cannot read the collector's key"),
    ],
)  # fmt: skip
def test_wrong_moves_are_one_clear_line(base, capsys, damage, argv, code, says):
    for suffix in ("-wal", "-shm"):
        path = base.deployment.database_path.with_name(base.deployment.database_path.name + suffix)
        assert not path.exists()  # closed cleanly, so the file alone is the database
    damage(base.deployment)
    found, out, err = run(capsys, *argv)
    assert (found, out) == (code, "")
    assert says in err and err.count("\n") == 1 and err.startswith("holdfire: ")


def test_a_database_damaged_in_the_middle_is_one_clear_line(base, capsys):
    path = base.deployment.database_path
    content = bytearray(path.read_bytes())
    for at in range(4096, len(content), 512):
        content[at : at + 64] = b"\xa5" * 64
    path.write_bytes(bytes(content))
    for argv in ("records", "stations", "refusals", "show 00000000", "quiet --station Bridge --since 1h"):
        code, _, err = run(capsys, *argv.split())
        assert code in (0, 2, 7)
        if code:
            assert err.count("\n") == 1 and err.startswith("holdfire: ")
    assert run(capsys, "records")[0] == 7


def test_a_reader_that_leaves_is_fine(base):
    command = f"{sys.executable} -m holdfire records --json | head -1"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=env, check=True)
    assert done.stderr == "" and json.loads(done.stdout)["seq"] == 1


# collect: what the operator sees


def test_operator_lines_say_when_who_and_what(base):
    message = base.messages[1]
    event = Event("record", "Ridge north 2 stored", "/dev/ttyUSB0", "Ridge north", base.ridge.kid, 2,
                  record.record_hash(message), message=message)  # fmt: skip
    assert collect.line_of(event, "03:12:45Z", "Ridge north").plain == (
        "03:12:45Z  Ridge north       record 2      1 impulse, peak -12.0 dBFS  " + event.hash.hex()[:12]
    )
    refused = Event("refused", "not what Bridge signed", "tty", "Bridge", reason="bad-signature", hash=b"\xab" * 32)
    assert collect.line_of(refused, "03:12:46Z", "Bridge").plain == (
        "03:12:46Z  Bridge            REFUSED       bad-signature: not what Bridge signed  abababababab"
    )


def test_only_what_needs_a_person_is_loud():
    loud = {
        reason: any("red" in str(span.style) for span in line.spans)
        for reason in REASONS
        for line in [collect.line_of(Event("refused", "x", reason=reason), "", "")]
    }
    assert loud == {reason: reason not in ("replay", "damaged") for reason in REASONS}


def test_every_kind_of_event_prints(capsys):
    printing = collect.printer(verbose=True)
    for kind in KINDS:
        printing(Event(kind, f"text of {kind}", at_us=START_US))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(KINDS)
    assert all(line.startswith("2026-11-18T11:06:40Z  base  ") for line in lines)
    quiet = collect.printer(verbose=False)
    for kind in collect.ONLY_VERBOSE:
        quiet(Event(kind, "x"))
    assert capsys.readouterr().out == ""


def test_a_port_goes_by_the_station_heard_there(base, capsys):
    show = collect.printer(verbose=True)
    show(Event("port-opened", "is open", "/dev/ttyUSB0"))
    show(Event("record", "", "/dev/ttyUSB0", "Bridge", message=base.messages[0]))
    show(Event("text", "hello", "/dev/ttyUSB0"))
    show(Event("port-lost", "gone", "/dev/ttyUSB0"))
    show(Event("text", "hello", "/dev/ttyUSB0"))
    show(Event("text", "hello", "/home/someone/stations/alpha/port"))
    who = [line[22:38].strip() for line in capsys.readouterr().out.splitlines()]
    assert who == ["ttyUSB0", "Bridge", "Bridge", "ttyUSB0", "ttyUSB0", "…ions/alpha/port"]


def test_times_as_people_write_them():
    assert common.moment("2h", NOW_US) == NOW_US - 7_200_000_000
    assert common.moment("90s", NOW_US) == NOW_US - 90_000_000
    assert common.moment("2026-11-18", NOW_US) == START_US - (11 * 3600 + 6 * 60 + 40) * 1_000_000
    assert common.moment("2026-11-18T11:06:40+00:00", NOW_US) == START_US
    assert common.moment(None, NOW_US) is None
    for wrong in ("", "2", "h", "-2h", "2026-13-01", "2026-11-18 25:00:00Z", "1e3s"):
        with pytest.raises(UsageError):
            common.moment(wrong, NOW_US)


def test_words_for_ages_and_runs():
    assert [output.age(s) for s in (0, 59.9, 60, 61, 3600, 90_061)] == [
        "0 s", "59 s", "1 min", "1 min 1 s", "1 h", "1 d 1 h",
    ]  # fmt: skip
    assert [output.ago(s) for s in (-2, 0, 59.9, 61, 7300, 90_061)] == [
        "in the future", "0 s ago", "59 s ago", "1 min ago", "2 h ago", "1 d ago",
    ]  # fmt: skip
    assert output.ranges([(1, 1), (3, 9)]) == "1, 3 to 9"
    assert output.ranges([(n, n) for n in range(9)]).endswith("5, and 3 more runs")
    assert [output.numbers(runs) for runs in ([(3, 3)], [(3, 4)], [(1, 1), (3, 3)])] == [
        "number 3", "numbers 3 to 4", "numbers 1, 3",
    ]  # fmt: skip
    assert output.percent(99_999, 100_000) == "99.99%" and output.percent(1, 1) == "100.00%"
    assert output.clean("a\x1b\n\u202e€\x85") == "a\\x1b\\n\\u202e€\\x85"
