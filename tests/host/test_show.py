"""`holdfire show` says everything about one record in plain words, and re-runs every check. Golden text on purpose:
what a person reads in an inquiry must not change by accident."""

import sqlite3

import pytest

from holdfire import checks, cli, show, times
from holdfire_protocol import cose, fields, record

from .made import START_US, Base, Signer, impulse, json_lines, status, tamper

NOW_US = START_US + 3_600_000_000
MINUTE_US = 60_000_000


@pytest.fixture(autouse=True)
def fixed_clock(monkeypatch):
    monkeypatch.setattr(times, "now_us", lambda: NOW_US)


@pytest.fixture
def base(tmp_path, monkeypatch):
    ridge = Signer("Ridge north", 1)
    base = Base(tmp_path / "base", ridge)
    base.messages = [
        ridge.make(START_US + MINUTE_US, status=status(reset_cause=3, lost_ms=250, selftest=fields.SELFTEST_MIC_QUIET)),
        ridge.make(START_US + 2 * MINUTE_US, observations=[impulse(), tamper(1), impulse(peak=1 << 23, clipped=9)]),
        ridge.make(START_US + 3 * MINUTE_US, status=status()),
    ]
    base.ridge = ridge
    base.receive(*base.messages, at_us=START_US + 4 * MINUTE_US)
    monkeypatch.setenv("HOLDFIRE_DIR", str(base.deployment.directory))
    return base


def run(capsys, *argv):
    code = cli.main([str(a) for a in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


GOLDEN = """\
Record 2: 2 impulses, peak 0.0 dBFS; case opened
  made  2026-11-18T11:08:40.000000Z ± 40 µs, from satellites with pulse per second (GNSS + PPS)
  boot  boot 1 of the station, 2 min after it started

Observation 1: impulse
  onset            2026-11-18T11:08:38.750000Z ± 165 µs (clock ± 40 µs, picking the onset ± 125 µs)
  peak             -12.0 dBFS (2097152 of 8388608 counts)
  clipped          no: the whole sound was within the microphone's range
  rise             1.25 ms from onset to peak
  duration         340 ms until it fell below the off threshold
  signal to noise  35.2 dB, short-term over long-term average
  noise floor      -72.4 dBFS before the onset
  zero crossings   87 while triggered
  octave bands     4 kHz to 8 kHz   -30.0 dBFS
                   2 kHz to 4 kHz   -25.0 dBFS
                   1 kHz to 2 kHz   -22.0 dBFS
                   500 Hz to 1 kHz  -20.0 dBFS
                   250 Hz to 500 Hz -24.0 dBFS
                   125 Hz to 250 Hz -35.0 dBFS
                   40 Hz to 125 Hz  nothing

Observation 2: tamper
  onset  2026-11-18T11:08:39.980000Z ± 10 ms (clock ± 40 µs, picking the onset ± 10 ms)
  case   opened

Observation 3: impulse
  onset            2026-11-18T11:08:38.750000Z ± 165 µs (clock ± 40 µs, picking the onset ± 125 µs)
  peak             0.0 dBFS (8388608 of 8388608 counts)
  clipped          9 samples at full scale: louder than measurable
  rise             1.25 ms from onset to peak
  duration         340 ms until it fell below the off threshold
  signal to noise  35.2 dB, short-term over long-term average
  noise floor      -72.4 dBFS before the onset
  zero crossings   87 while triggered
  octave bands     4 kHz to 8 kHz   -30.0 dBFS
                   2 kHz to 4 kHz   -25.0 dBFS
                   1 kHz to 2 kHz   -22.0 dBFS
                   500 Hz to 1 kHz  -20.0 dBFS
                   250 Hz to 500 Hz -24.0 dBFS
                   125 Hz to 250 Hz -35.0 dBFS
                   40 Hz to 125 Hz  nothing

Origin
  hash      {hash}
  station   Ridge north, kid dd2fb4e18b5e1ce3
  received  2026-11-18T11:10:40.000000Z by the base's clock, on /dev/ttyUSB0
  size      {size} bytes as signed

Chain
  previous  record 1, {previous}
  next      record 3, {next}
  link      whole: every record back to the start of the chain is stored
  receipt   every beacon to this station since then covers it

Checks, made again now
  form       passed: COSE_Sign1 of {size} bytes: Ed25519 (-19), kid, {payload} bytes of payload, signature; nothing else
  kid        passed: dd2fb4e18b5e1ce3, from the thumbprint of the key of Ridge north
  signature  passed: Ed25519 by the key of Ridge north over the payload, as a record of network \
000102030405060708090a0b0c0d0e0f
  canonical  passed: the payload's values, encoded again by cbor2, give the same {payload} bytes
  fields     passed: 6 fields, each known, of its type, in its range
  enrolment  passed: Ridge north is of Valley line since 2026-11-18T11:06:40Z, with public key {public}
  chain      passed: prev is the SHA-256 of the stored record 1, {previous:.12}
  time       passed: 2026-11-18T11:08:40.000000Z lies between enrolment, 2026-11-18T11:06:40Z, and this clock, \
2026-11-18T12:06:40Z
"""


def test_a_record_reads_exactly_so(base, capsys):
    hashes = [record.record_hash(m).hex() for m in base.messages]
    code, out, err = run(capsys, "show", hashes[1][:6])
    size, payload = len(base.messages[1]), len(cose.parse(base.messages[1]).payload)
    expected = GOLDEN.format(
        hash=hashes[1], previous=hashes[0], next=hashes[2], size=size, payload=payload, public=base.ridge.public.hex()
    )
    assert out == expected
    assert (code, err) == (0, "")


STATUS_GOLDEN = """\
Status
  self-test    microphone too quiet
  listened     1 min since the last status record, missed 250 ms (99.58% of the sound was analysed)
  heard        0 impulsive sounds since then
  noise floor  -72.4 dBFS now; -73.1 to -69.8 since then
  battery      3.91 V
  position     46.9480900° N 7.4474400° E, 540.5 m above sea level, HDOP 0.9
  satellites   11 used in the fix
  journal      2.1% full, 3 records not yet receipted
  next status  due within 1 min
  last reset   watchdog
  memory       91216 bytes free
  refused      0 damaged or refused lines and beacons since it started
  firmware     00112233445566aa (first bytes of SHA-256 over its program)
"""


def test_a_status_reads_exactly_so(base, capsys):
    _, out, _ = run(capsys, "show", record.record_hash(base.messages[0]).hex())
    assert STATUS_GOLDEN in out
    assert "  restart  does not simply follow the record before: first record\n" in out
    assert "  previous  none: this record begins a chain\n" in out
    assert "  chain      passed: begins a chain: prev is the genesis value of this network and this key\n" in out


def test_times_without_a_clock_are_said_relative_to_the_start(base, capsys):
    no_time = base.ridge.make(
        START_US + 5 * MINUTE_US, time=(fields.TIME_NONE, 0, fields.U32), observations=[impulse(onset_us=-2_000_000)]
    )
    base.receive(no_time)
    _, out, _ = run(capsys, "show", record.record_hash(no_time).hex())
    assert "  made  unknown: no clock yet\n" in out
    assert "4 min 58 s after the station started, ± 125 µs (the station did not know the time)\n" in out
    assert "nothing to contradict" in out


def test_every_field_of_the_protocol_is_shown(base, capsys):
    """A field that is added to fields.py and forgotten here would go unread in an inquiry."""
    changed = {
        "impulse": (impulse, impulse(peak=7, rise_us=77_000, duration_ms=777, snr_db10=777, floor_db10=-777,
                                     zero_crossings=777, clipped=77, bands=b"\x07", onset_us=-7,
                                     onset_uncertainty_us=7)),
        "tamper": (tamper, {"kind": 2, "onset_us": -7, "onset_uncertainty_us": 7, "open": 1}),
        "status": (status, status(interval_s=77, reset_cause=4, selftest=64, heard_ms=7_000, lost_ms=7, impulses=7,
                                  floor_db10=-77, floor_min_db10=-777, floor_max_db10=-7, battery_mv=7777,
                                  position=(70, -70, 70, 7), satellites=7, journal_permille=77, pending=7,
                                  firmware=b"7" * 8, heap_free=777, refused=7, unrecorded=7,
                                  fault=b"7 of 7", clips=b"7" * 32)),
    }  # fmt: skip
    shapes = {"status": list(fields.STATUS.rows), "impulse": fields.IMPULSE_ROWS, "tamper": fields.TAMPER_ROWS}

    def text_of(name, content):
        named = {"seq": 9, "boot": 1, "time": (3, START_US, 1), "uptime_ms": 1000}
        named |= {"status": content} if name == "status" else {"observations": [content]}
        rows = [row for section in show.record_sections(named) for row in section.rows]
        return "\n".join(f"{label} {cell.text}" for label, cell in rows)

    for name, rows in shapes.items():
        make, unusual = changed[name]
        usual = make(0) if name == "tamper" else make()
        for row in rows:
            if row[1] != "kind":
                one_changed = {**usual, row[1]: unusual[row[1]]}
                assert text_of(name, usual) != text_of(name, one_changed), f"{name}.{row[1]} is not shown"


def test_a_prefix_of_six_digits_is_enough_and_ambiguity_is_said(base, capsys):
    assert run(capsys, "show", "12345")[0] == 2
    code, out, err = run(capsys, "show", "zzzzzz")
    assert (code, out) == (2, "") and "is no hash" in err
    code, _, err = run(capsys, "show", "0" * 12)
    assert code == 2 and "no record and no refusal begins with 000000000000" in err
    with sqlite3.connect(base.deployment.database_path) as db:
        real = record.record_hash(base.messages[1])
        db.execute("UPDATE records SET hash = ? WHERE seq = 3", (real[:4] + bytes(28),))
    db.close()
    code, out, err = run(capsys, "show", real.hex()[:6])
    assert (code, out) == (2, "") and "begins several hashes" in err and err.count("\n") == 1
    code, _, err = run(capsys, "export", real.hex()[:6], "-o", base.deployment.directory / "x.cbor")
    assert code == 2 and "begins several records" in err


def test_an_altered_database_is_caught(base, capsys):
    hashes = [record.record_hash(m).hex() for m in base.messages]
    altered = bytearray(base.messages[1])
    altered[60] ^= 1
    with sqlite3.connect(base.deployment.database_path) as db:
        db.execute("UPDATE records SET message = ? WHERE seq = 2", (bytes(altered),))
    db.close()
    code, out, _ = run(capsys, "show", hashes[1])
    assert code == 1
    assert "FAILED: its SHA-256 is not the hash it is stored under: the database was altered" in out
    assert "signature  FAILED" in out
    _, out, _ = run(capsys, "show", hashes[2])
    assert "chain      FAILED: the stored record 2 is not the one that prev names" in out


def test_a_record_whose_predecessor_is_missing_says_so(base, capsys):
    ridge = base.ridge
    ridge.make(START_US + 5 * MINUTE_US, status=status())
    late = ridge.make(START_US + 6 * MINUTE_US, status=status())
    base.receive(late)
    code, out, _ = run(capsys, "show", record.record_hash(late).hex())
    assert code == 0
    assert "chain      not yet: the record before it, " in out and "has not arrived yet" in out
    assert "link      waiting for the record before it" in out
    assert "receipt   none: beacons cover only what is whole back to the start" in out


def test_equivocation_is_loud(base, capsys):
    ridge = base.ridge
    named = ridge.fields_of(START_US + 5 * MINUTE_US, status=status())
    one, other = ridge.sign(named), ridge.sign({**named, "status": status(impulses=3)})
    base.receive(one, other)
    for message in (one, other):
        code, out, _ = run(capsys, "show", record.record_hash(message).hex())
        assert code == 1
        assert "chain      FAILED: number 4 was used for 2 different records" in out
    _, out, _ = run(capsys, "show", record.record_hash(other).hex())
    assert "problem   sequence-reuse: two different records with one number, both signed" in out


def test_a_refusal_is_shown_with_its_bytes_and_the_checks_it_failed(base, capsys):
    forged = bytearray(base.messages[1])
    forged[-1] ^= 1
    base.receive(bytes(forged))
    (refusal,) = json_lines(run(capsys, "refusals", "--reason", "bad-signature", "--json")[1])
    code, out, _ = run(capsys, "show", refusal["sha256"][:8])
    assert code == 0
    assert out.startswith("Refused: bad-signature\n")
    assert bytes(forged).hex()[:64] in out
    assert "signature  FAILED: the key of Ridge north did not sign" in out


def test_cbor_shows_the_signed_bytes(base, capsys):
    message = base.messages[1]
    _, out, _ = run(capsys, "show", record.record_hash(message).hex(), "--cbor")
    assert "/ seq / 1: 2," in out and "/ peak / 4: 2097152," in out
    hex_part = out[out.index("  hex  ") :].replace("hex", "")
    assert "".join(hex_part.split()) == message.hex()


def test_json_has_the_record_and_the_checks(base, capsys):
    (shown,) = json_lines(run(capsys, "show", record.record_hash(base.messages[1]).hex(), "--json")[1])
    assert [step["name"] for step in shown["checks"]] == list(checks.ORDER)
    assert all(step["passed"] for step in shown["checks"])
    assert bytes.fromhex(shown["bytes"]) == base.messages[1]
    assert shown["record"]["observations"][0]["peak"] == 2_097_152
    assert shown["record"]["time"] == {"source": 4, "utc_us": START_US + 2 * MINUTE_US, "uncertainty_us": 40}


def test_units_are_right():
    assert show.peak_dbfs(1 << 22) == "-6.0 dBFS"
    assert show.tenths(-5) == "-0.5" and show.tenths(1234) == "123.4"
    assert [show.span(us) for us in (0, 999, 1000, 999_499, 999_500, 1_500_000, 90_000_000)] == [
        "0 µs", "999 µs", "1 ms", "999 ms", "1 s", "1.5 s", "1 min 30 s",
    ]  # fmt: skip
    assert show.selftest_words(0b101) == "microphone too quiet, microphone stuck"
    assert show.selftest_words(1 << 15) == "unknown test bits 0x8000"
    assert show.band_rows(bytes(7))[0] == ("4 kHz to 8 kHz", "0.0 dBFS")
    assert show.band_rows(bytes((1,) * 7))[6] == ("40 Hz to 125 Hz", "-0.5 dBFS")
