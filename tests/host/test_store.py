"""The store's durability settings, its one-writer rules, and the views that others read."""

import sqlite3
import stat
import subprocess
import sys

import pytest

from holdfire import errors, store, tables
from holdfire.store import Reader, Store, retry_parked


def row(seq=1, kid=b"k" * 8, record_hash=None, **changed):
    columns = {
        "hash": record_hash or bytes([seq]) * 32, "kid": kid, "seq": seq, "prev": bytes(32), "boot": 1,
        "time_source": 3, "utc_us": seq, "uncertainty_us": 1, "uptime_ms": seq, "restart": None,
        "kinds": store.HAS_IMPULSE, "link": 2,
        "problem": None, "received_at_us": 1000 + seq, "port": "usb0", "message": b"m%d" % seq, **changed,
    }  # fmt: skip
    return tuple(columns.values())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "holdfire.sqlite"


@pytest.fixture
def writer(path):
    writer = Store(path)
    yield writer
    writer.close()


def put(writer, *rows):
    writer.begin()
    ids = [writer.insert_record(each) for each in rows]
    writer.commit()
    return ids


def test_every_commit_reaches_the_disk(writer, path):
    assert writer._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert writer._db.execute("PRAGMA synchronous").fetchone()[0] == 2, "FULL"
    if sys.platform == "darwin":
        assert writer._db.execute("PRAGMA fullfsync").fetchone()[0] == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_readers_see_commits_and_nothing_else(writer, path):
    reader = Reader(path)
    writer.begin()
    writer.insert_record(row(1))
    assert list(reader.records()) == []
    writer.commit()
    assert [r["seq"] for r in reader.records()] == [1]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._db.execute("DELETE FROM records")
    reader.close()


def test_views(writer, path):
    other = row(9, b"o" * 8, link=0, kinds=store.HAS_STATUS, problem="time-range")
    put(writer, *(row(seq) for seq in (1, 2, 5)), other)
    reader = Reader(path)
    first, second = reader.stations()
    assert (first["records"], first["first_seq"], first["last_seq"], first["missing"]) == (3, 1, 5, 2)
    assert (first["contiguous_seq"], first["waiting"], first["problems"]) == (5, 0, 0)
    assert (second["contiguous_seq"], second["waiting"], second["problems"]) == (None, 1, 1)
    assert second["last_port"] == "usb0"
    assert [r["seq"] for r in reader.records()] == [9, 5, 2, 1]
    assert [r["seq"] for r in reader.records(newest_first=False, limit=2)] == [1, 2]
    assert [r["seq"] for r in reader.records(kid=b"k" * 8, since_us=1002)] == [5, 2]
    assert [r["seq"] for r in reader.records(kinds=store.HAS_STATUS)] == [9]
    assert [r["seq"] for r in reader.records(problem=True)] == [9]
    assert [r["seq"] for r in reader.records_by_hash("0505")] == [5]
    assert reader.latest_status(b"o" * 8)["seq"] == 9
    assert [r["seq"] for r in reader.record_at(b"k" * 8, 2)] == [2]
    reader.close()


def test_destinations_count_what_waits_and_what_is_parked(writer, path):
    ids = put(writer, *(row(seq) for seq in range(1, 6)))
    assert writer.add_destination("files") == 0
    writer.note_delivered("files", ids[2], 3)
    writer.note_stalled("files", "no room")
    writer.park("files", ids[1], "410 Gone")
    assert writer.add_destination("files") == ids[2], "known from before"
    reader = Reader(path)
    (found,) = reader.destinations()
    assert (found["delivered"], found["waiting"], found["parked"], found["error"]) == (3, 2, 1, "no room")
    assert [(r["seq"], r["reason"], r["retry"]) for r in reader.parked()] == [(2, "410 Gone", 0)]
    assert writer.wanted_again("files", 9) == []
    assert retry_parked(path, "elsewhere") == 0
    assert retry_parked(path) == 1
    assert [r["seq"] for r in writer.wanted_again("files", 9)] == [2]
    writer.unpark("files", ids[1])
    assert reader.parked() == []
    reader.close()


def test_a_record_is_found_by_its_hash_before_and_after_it_is_indexed(writer, path, monkeypatch):
    monkeypatch.setattr(store, "INDEX_EACH", 10)
    for seq in range(1, 26):
        put(writer, row(seq))
    assert writer._db.execute("SELECT count(*) FROM hashes").fetchone()[0] == 20
    reader = Reader(path)
    for again in (writer, Store(path)):  # as it runs, and as it starts
        for seq in range(1, 26):
            assert again.id_of_hash(bytes([seq]) * 32) == seq
            assert again.find_parent(b"k" * 8, bytes([seq]) * 32) == (seq, 2)
            assert [r["seq"] for r in reader.records_by_hash(f"{seq:02x}")] == [seq]
        assert again.id_of_hash(bytes(32)) is None
        assert again.find_parent(b"x" * 8, b"\x01" * 32) is None
    again.close()
    assert len(reader.records_by_hash("")) == 10
    reader.close()


def test_beacon_numbers_are_never_handed_out_twice(writer, path):
    assert writer.reserve_beacon_numbers(10, 1) == 1
    writer.close()
    again = Store(path)
    assert again.reserve_beacon_numbers(5, 11) == 11
    assert again.reserve_beacon_numbers(5, 1) == 16
    assert again.reserve_beacon_numbers(5, 1000) == 1000
    assert again.reserve_beacon_numbers(5, 1000) == 1005
    again.close()


def test_after_a_failed_write_nothing_more_is_written(writer, path):
    writer.begin()
    writer.insert_record(row(1))
    writer.insert_record(row(2, message=None))
    with pytest.raises(errors.StorageError, match="NOT NULL"):
        writer.commit()
    for call in (writer.begin, writer.commit, lambda: writer.has_seq(b"k" * 8, 1)):
        with pytest.raises(errors.StorageError, match="NOT NULL"):
            call()
    reader = Reader(path)
    assert list(reader.records()) == []
    reader.close()


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"not a database at all" * 100, "not a Holdfire database"), (None, "schema version 99")],
)
def test_a_strange_file_is_left_alone(path, content, words):
    if content is None:
        other = sqlite3.connect(path)
        other.execute("PRAGMA user_version = 99")
        other.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(errors.StorageError, match=words):
        Store(path)
    assert path.read_bytes() == before or content is None


def test_a_disk_that_refuses_a_write_ends_in_a_clear_error_and_the_next_start_recovers(path):
    """A file-size limit of the operating system: SQLite's writes fail for real, in the middle of things."""
    script = f"""
import resource, signal, sys
from pathlib import Path
from holdfire.errors import StorageError
from holdfire.store import Store
from tests.host.test_store import row
writer = Store(Path({str(path)!r}))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
done = 0
try:
    for seq in range(1, 5000):
        writer.begin()
        writer.insert_record(row(seq, record_hash=seq.to_bytes(32, "big")))
        writer.commit()
        done = seq
except StorageError as error:
    print(done, error)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=_environment())
    promised = int(ran.stdout.split()[0])
    assert promised > 0
    assert "start again" in ran.stdout
    writer = Store(path)
    assert promised <= writer.highest_seq(b"k" * 8) <= promised + 1, "what was committed is there"
    put(writer, row(4000, record_hash=bytes(32)))
    writer.close()


def _environment():
    import os

    from tests.mpy import REPO

    return {**os.environ, "PYTHONPATH": os.pathsep.join(str(p) for p in (REPO, REPO / "host", REPO / "protocol"))}


def test_a_database_of_an_older_program_is_brought_up_to_date_and_keeps_what_it_has(path):
    old = sqlite3.connect(path)
    old.executescript(tables.SCRIPTS[0] + "PRAGMA user_version = 1;")
    old.close()
    Store(path).close()
    old = sqlite3.connect(path)
    old.execute(store._INSERT, (1, *row(1)))
    old.executescript("DROP TABLE taken_up; DROP TABLE beacons; DROP TABLE receipted; DROP INDEX records_restart;"
                      "DROP INDEX records_thinned; PRAGMA user_version = 1;")  # fmt: skip
    old.close()
    with pytest.raises(errors.StorageError, match="an older holdfire made it; `holdfire collect` brings it up to date"):
        Reader(path)
    Store(path).close()
    reader = Reader(path)
    assert [r["seq"] for r in reader.records()] == [1]
    reader.close()
