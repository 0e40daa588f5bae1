"""The base's durable state: one SQLite file, one writer, any number of readers.

Knows rows, transactions and durability. Does not know what makes a record valid (verify.py), how records chain
(chain.py) or where they are sent (forward.py). A record row is also the outbox: each destination keeps a cursor over
`records.id`, so a record and its place in every outbox are one write in one transaction.

`Store` is the writer and belongs to one thread. `Reader` is for views: read-only, safe beside a running collector.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import tables
from .errors import REASONS, StorageError

# What to do about a database that cannot be read, for every message that speaks of one.
RESTORE = "keep it, and restore the records with `holdfire import` (host/README.md: Back up and restore)"

Receipt = tuple[bytes, int, bytes]  # kid, seq, hash

# records.link
PENDING = 0  # its predecessor is not stored yet
LINKED = 1  # its predecessor is stored, but the chain does not reach back to a genesis record yet
CONTIGUOUS = 2  # linked all the way back to a genesis record: what receipts speak of
BROKEN = 3  # its predecessor is stored and contradicts it
LINKS = ("pending", "linked", "contiguous", "broken")

# records.kinds: which kinds of content, one bit each
HAS_IMPULSE = 1
HAS_TAMPER = 2
HAS_STATUS = 4
HAS_THINNED = 8

KEPT_BYTES = 2048  # of a refused message
RECEIPTS_EACH_US = 600_000_000  # of a station's receipts, those but the newest are kept this far apart

# Hashes are random: put into their index one by one, each would rewrite a page of it, and a record would cost twice as
# much at 100,000 records and more with every record. So the newest are kept in memory and put in together, in order.
INDEX_EACH = 20_000

_HASHED = "(SELECT value FROM state WHERE key = 'hashed')"
_INSERT = (
    "INSERT INTO records (id, hash, kid, seq, prev, boot, time_source, utc_us, uncertainty_us, uptime_ms, restart,"
    " kinds, link, problem, received_at_us, port, message) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
)


def now_us() -> int:
    """The base's clock: microseconds since 1970, UTC."""
    return time.time_ns() // 1000


class Store:
    """The writer. Use from one thread. Every write happens between `begin` and `commit`.

    Any failure to write raises StorageError; after one this object refuses further work with the same words, because
    what is on disk is known only after the next start.
    """

    def __init__(self, path: Path, refusal_rows: int = 100_000):
        self._failure = ""  # the first failure to write, in words
        self._refusal_rows_each = max(1, refusal_rows // len(REASONS))
        try:
            self._db = _open_writer(path)
            self._refusal_rows = dict(self._db.execute("SELECT reason, count(*) FROM refusals GROUP BY reason"))
            # hash -> id of the records that `hashes` lacks
            self._newest = dict(self._db.execute(f"SELECT hash, id FROM records WHERE id > {_HASHED}"))
            receipted = self._db.execute("SELECT kid, max(seq) FROM receipted GROUP BY kid")
            self._receipted: dict[bytes, int] = dict(receipted)
            self._last_id: int = self._db.execute("SELECT coalesce(max(id), 0) FROM records").fetchone()[0]
        except sqlite3.Error as error:
            raise StorageError(_say(path, error)) from error
        self._path = path
        self._beacons: list[tuple[int, int, bytes, list[Receipt], bool]] = []  # for the next commit
        self._unwritten: list[tuple[Any, ...]] = []  # inserted records: written in one go, before any other statement

    def close(self) -> None:
        try:
            if self._beacons and not self._failure:
                self.begin()
                self.commit()
        finally:
            self._db.close()

    def begin(self) -> None:
        self._run("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Durable when this returns: WAL with synchronous=FULL."""
        if len(self._newest) >= INDEX_EACH:
            self._run("INSERT INTO hashes SELECT hash, id FROM records WHERE id > " + _HASHED + " ORDER BY hash")
            self._run("UPDATE state SET value = (SELECT max(id) FROM records) WHERE key = 'hashed'")
            self._newest.clear()
        beacons, self._beacons = self._beacons, []
        for beacon in beacons:
            self._keep_beacon(*beacon)
        self._run("COMMIT")

    def insert_record(self, row: tuple[Any, ...]) -> int:
        """Store one record; `row` in the order of the columns after `id`. Returns its id."""
        self._last_id += 1
        self._unwritten.append((self._last_id, *row))
        self._newest[row[0]] = self._last_id
        return self._last_id

    def set_link(self, record_id: int, link: int, problem: str | None = None) -> None:
        """Change a record's place in the chain; `problem` is noted, and never taken back."""
        self._run(
            "UPDATE records SET link = ?, problem = coalesce(?, problem) WHERE id = ?", (link, problem, record_id)
        )

    def insert_refusal(
        self,
        reason: str,
        sha256: bytes,
        at_us: int,
        port: str,
        text: str,
        field: str = "",
        kid: bytes | None = None,
        seq: int | None = None,
        kept: bytes | None = None,
    ) -> None:
        """Note one refusal: a new row, a higher count on the row there is, or at the bound the total alone.

        The bound is shared out evenly among the reasons, so that noise of one kind cannot push out another.
        """
        not_kept = 0
        again = self._run(
            "UPDATE refusals SET count = count + 1, last_seen_us = ? WHERE reason = ? AND sha256 = ?",
            (at_us, reason, sha256),
        )
        if not again.rowcount:
            rows = self._refusal_rows.get(reason, 0)
            if rows < self._refusal_rows_each:
                self._run(
                    "INSERT INTO refusals (reason, sha256, first_seen_us, last_seen_us, count, port, kid, seq, field,"
                    " text, bytes) VALUES (?,?,?,?,1,?,?,?,?,?,?)",
                    (reason, sha256, at_us, at_us, port, kid, seq, field, text, kept[:KEPT_BYTES] if kept else None),
                )
                self._refusal_rows[reason] = rows + 1
            else:
                not_kept = 1
        self._run(
            "INSERT INTO refusal_totals VALUES (?, 1, ?) ON CONFLICT (reason) DO UPDATE SET total = total + 1,"
            " not_kept = not_kept + excluded.not_kept",
            (reason, not_kept),
        )

    def note_beacon(
        self, number: int, signed_at_us: int, message: bytes, receipts: list[Receipt], thin: bool = True
    ) -> None:
        """Keep a signed beacon with the next commit, if it acknowledges something new: it is evidence of what the base
        held and when. A crash before that loses no evidence: the next beacon says the same again."""
        new = [each for each in receipts if not thin or each[1] > self._receipted.get(each[0], 0)]
        self._receipted.update((kid, max(seq, self._receipted.get(kid, 0))) for kid, seq, _ in new)
        if new:
            self._beacons.append((number, signed_at_us, message, new, thin))

    def _keep_beacon(
        self, number: int, signed_at_us: int, message: bytes, receipts: list[Receipt], thin: bool
    ) -> None:
        self._run("INSERT OR IGNORE INTO beacons VALUES (?, ?, ?)", (number, signed_at_us, message))
        for kid, seq, record_hash in receipts:
            newest = self._run(
                "SELECT number, signed_at_us FROM receipted JOIN beacons USING (number) WHERE kid = ?"
                " ORDER BY number DESC LIMIT 2",
                (kid,),
            ).fetchall()
            if thin and len(newest) == 2 and newest[0][1] - newest[1][1] < RECEIPTS_EACH_US:
                self._run("DELETE FROM receipted WHERE kid = ? AND number = ?", (kid, newest[0][0]))
                self._run(
                    "DELETE FROM beacons WHERE number = ?1 AND NOT EXISTS (SELECT 1 FROM receipted WHERE number = ?1)",
                    (newest[0][0],),
                )
            self._run("INSERT OR IGNORE INTO receipted VALUES (?, ?, ?, ?)", (kid, seq, record_hash, number))

    def reserve_beacon_numbers(self, count: int, least: int) -> int:
        """First of `count` numbers never handed out before, whatever happens next; none is below `least`. Commits."""
        self.begin()
        first = max(int(self._one("SELECT value FROM state WHERE key = 'beacon_number'")[0]) + 1, least)
        self._run("UPDATE state SET value = ? WHERE key = 'beacon_number'", (first + count - 1,))
        self.commit()
        return first

    # What the chain needs to know of the past; inside or outside a transaction.

    def id_of_hash(self, record_hash: bytes) -> int | None:
        found = self._newest.get(record_hash)
        if found is None:
            row = self._one("SELECT id FROM hashes WHERE hash = ?", (record_hash,))
            found = row[0] if row else None
        return found

    def find_parent(self, kid: bytes, record_hash: bytes) -> tuple[int, int] | None:
        """(seq, link) of a station's record by its hash."""
        row: tuple[int, int] | None = self._one(
            "SELECT seq, link FROM records WHERE id = ? AND kid = ?", (self.id_of_hash(record_hash), kid)
        )
        return row

    def thinning(self, kid: bytes) -> list[bytes]:
        """The records in which the station declares numbers given up."""
        return [row[0] for row in self._run("SELECT message FROM records WHERE kid = ? AND kinds & 8", (kid,))]

    def highest_within(self, kid: bytes, first: int, last: int) -> tuple[int, int] | None:
        """(seq, link) of the record with the highest number from first to last, its best link."""
        row: tuple[int, int] | None = self._one(
            "SELECT seq, max(link % 3) FROM records WHERE kid = ? AND seq BETWEEN ? AND ?"
            " GROUP BY seq ORDER BY seq DESC LIMIT 1",
            (kid, first, last),
        )
        return row

    def waiting_within(self, kid: bytes, first: int, last: int) -> list[tuple[int, bytes, int]]:
        """(id, hash, seq) of the records with these numbers whose predecessor is not stored, in order."""
        return self._run(
            "SELECT id, hash, seq FROM records WHERE kid = ? AND seq BETWEEN ? AND ? AND link = 0 ORDER BY seq",
            (kid, first, last),
        ).fetchall()

    def has_seq(self, kid: bytes, seq: int) -> bool:
        return self._one("SELECT 1 FROM records WHERE kid = ? AND seq = ?", (kid, seq)) is not None

    def waiting_children(self, kid: bytes, record_hash: bytes) -> list[tuple[int, bytes, int, int | None, int]]:
        """(id, hash, seq, restart, link) of the records that follow this one and are not contiguous yet."""
        return self._run(
            "SELECT id, hash, seq, restart, link FROM records WHERE kid = ? AND prev = ? AND link < 2",
            (kid, record_hash),
        ).fetchall()

    def has_waiting(self, kid: bytes) -> bool:
        return self._one("SELECT 1 FROM records WHERE kid = ? AND link < 2 LIMIT 1", (kid,)) is not None

    def highest_seq(self, kid: bytes) -> int:
        row = self._one("SELECT max(seq) FROM records WHERE kid = ?", (kid,))
        return (row and row[0]) or 0

    def first_pending(self, kid: bytes) -> int:
        """The lowest number of a record whose predecessor is not stored, or 0."""
        row = self._one("SELECT min(seq) FROM records WHERE kid = ? AND link < 2 AND link = 0", (kid,))
        return (row and row[0]) or 0

    def unlinked(self, kid: bytes, record_hash: bytes) -> int | None:
        """The id of a station's record that waits for the one before it, or None."""
        record_id = self.id_of_hash(record_hash)
        row = self._one("SELECT id FROM records WHERE id = ? AND kid = ? AND link = 0", (record_id, kid))
        return row[0] if row else None

    def highest_contiguous(self, kid: bytes) -> tuple[int, bytes] | None:
        """(seq, hash) that a receipt for this station names."""
        row: tuple[int, bytes] | None = self._one(
            "SELECT seq, hash FROM records WHERE kid = ? AND link = 2 ORDER BY seq DESC, id LIMIT 1", (kid,)
        )
        return row

    def newest(self, kid: bytes) -> tuple[int, int, int] | None:
        """(seq, boot, uptime_ms) of the newest record whose clocks nothing contradicts."""
        row: tuple[int, int, int] | None = self._one(
            "SELECT seq, boot, uptime_ms FROM records WHERE kid = ? AND problem IS NOT 'time-range'"
            " ORDER BY seq DESC, id DESC LIMIT 1",
            (kid,),
        )
        return row

    def newest_dated(self, kid: bytes) -> tuple[int, int, int, int, int] | None:
        """(seq, boot, uptime_ms, utc_us, uncertainty_us) of the newest of them that has a time."""
        row: tuple[int, int, int, int, int] | None = self._one(
            "SELECT seq, boot, uptime_ms, utc_us, uncertainty_us FROM records WHERE kid = ? AND time_source <> 0"
            " AND problem IS NOT 'time-range' ORDER BY seq DESC, id DESC LIMIT 1",
            (kid,),
        )
        return row

    def note_taken_up(self, row: tuple[Any, ...]) -> None:
        """An operator's decision; `row` in the order of the columns of `taken_up`."""
        self._run("INSERT INTO taken_up VALUES (?,?,?,?,?,?,?)", row)

    # Outboxes.

    def add_destination(self, name: str) -> int:
        """Make the destination known, from the first record on; returns its cursor. Commits."""
        self.begin()
        self._run("INSERT OR IGNORE INTO destinations (name, cursor, delivered) VALUES (?, 0, 0)", (name,))
        cursor = self._one("SELECT cursor FROM destinations WHERE name = ?", (name,))[0]
        self.commit()
        return int(cursor)

    def outbox(self, after_id: int, limit: int) -> list[sqlite3.Row]:
        """Stored records after an id, in order; every column of `records`, by name."""
        return self._rows("SELECT * FROM records WHERE id > ? ORDER BY id LIMIT ?", (after_id, limit))

    def note_delivered(self, name: str, cursor: int, count: int) -> None:
        """Move a destination's cursor: all records up to it are delivered or parked. Commits."""
        self.begin()
        self._run(
            "UPDATE destinations SET cursor = ?, delivered = delivered + ?, delivered_at_us = ?, error = NULL"
            " WHERE name = ?",
            (cursor, count, now_us(), name),
        )
        self.commit()

    def note_stalled(self, name: str, error: str) -> None:
        """Say why a destination does not take records now. Commits."""
        self.begin()
        self._run("UPDATE destinations SET error = ?, error_at_us = ? WHERE name = ?", (error, now_us(), name))
        self.commit()

    def park(self, name: str, record_id: int, reason: str) -> None:
        """Set a record aside for one destination. Commits."""
        self.begin()
        self._run("INSERT OR REPLACE INTO parked VALUES (?, ?, ?, ?, 0)", (name, record_id, reason, now_us()))
        self.commit()

    def unpark(self, name: str, record_id: int) -> None:
        """A parked record was delivered after all. Commits."""
        self.begin()
        self._run("DELETE FROM parked WHERE destination = ? AND record_id = ?", (name, record_id))
        self.commit()

    def wanted_again(self, name: str, limit: int) -> list[sqlite3.Row]:
        """Parked records someone asked to retry, as `outbox` gives them."""
        return self._rows(
            "SELECT r.* FROM parked p JOIN records r ON r.id = p.record_id"
            " WHERE p.destination = ? AND p.retry = 1 ORDER BY r.id LIMIT ?",
            (name, limit),
        )

    def _rows(self, sql: str, values: tuple[Any, ...]) -> list[sqlite3.Row]:
        cursor = self._run(sql, values)
        cursor.row_factory = sqlite3.Row
        return cursor.fetchall()

    def _one(self, sql: str, values: tuple[Any, ...] = ()) -> Any:
        return self._run(sql, values).fetchone()

    def _run(self, sql: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        if self._failure:  # SQLite may have rolled back by itself, and would now commit statement by statement
            raise StorageError(self._failure)
        try:
            if self._unwritten:
                rows, self._unwritten = self._unwritten, []
                self._db.executemany(_INSERT, rows)
            return self._db.execute(sql, values)
        except sqlite3.Error as error:
            self._failure = _say(self._path, error)
            raise StorageError(self._failure) from error


IMPORT_PORT = "import:"  # how the port of what `holdfire import` takes from files begins


class Reader:
    """Read-only views of a base's records, for people and tests. Rows are sqlite3.Row: by name or index."""

    def __init__(self, path: Path):
        if not path.exists():
            raise StorageError(f"{path}: no records here yet; run `holdfire collect` first")
        try:
            self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)
        except sqlite3.Error as error:
            raise StorageError(_say(path, error)) from error
        try:
            self._db.row_factory = sqlite3.Row
            tables.check_version(self._db)
        except BaseException as error:
            self._db.close()
            if isinstance(error, sqlite3.Error):
                raise StorageError(_say(path, error)) from error
            raise

    def close(self) -> None:
        self._db.close()

    def stations(self) -> list[sqlite3.Row]:
        """One row a station that has records: kid, records, first_seq, last_seq, missing (sequence numbers not stored
        between first and last), contiguous_seq, waiting, problems, last_received_at_us (of those that came from the
        station and not out of a file, or NULL), last_port."""
        return self._db.execute(
            "SELECT kid, count(*) AS records, min(seq) AS first_seq, max(seq) AS last_seq,"
            " max(seq) - min(seq) + 1 - count(DISTINCT seq) AS missing,"
            " max(CASE WHEN link = 2 THEN seq END) AS contiguous_seq, sum(link < 2) AS waiting,"
            " count(problem) AS problems,"
            " max(CASE WHEN port NOT GLOB 'import:*' THEN received_at_us END) AS last_received_at_us,"
            " (SELECT port FROM records p WHERE p.kid = r.kid ORDER BY p.seq DESC LIMIT 1) AS last_port"
            " FROM records r GROUP BY kid ORDER BY kid"
        ).fetchall()

    def latest_status(self, kid: bytes) -> sqlite3.Row | None:
        """The station's newest record that carries a status."""
        return self._fetch_one(
            "SELECT * FROM records WHERE kid = ? AND kinds & 4 ORDER BY seq DESC, id LIMIT 1", (kid,)
        )

    def records(
        self,
        kid: bytes | None = None,
        kinds: int = 0,
        since_us: int | None = None,
        until_us: int | None = None,
        problem: bool = False,
        after_id: int = 0,
        limit: int = 100,
        newest_first: bool = True,
    ) -> Iterator[sqlite3.Row]:
        """Record rows (every column of `records`). `since_us` and `until_us` bound received_at_us."""
        where, values = ["id > ?"], [after_id]
        for clause, value in (
            ("kid = ?", kid),
            ("kinds & ?", kinds or None),
            ("received_at_us >= ?", since_us),
            ("received_at_us < ?", until_us),
        ):
            if value is not None:
                where.append(clause)
                values.append(value)  # type: ignore[arg-type]
        if problem:
            where.append("problem IS NOT NULL")
        order = "DESC" if newest_first else "ASC"
        sql = f"SELECT * FROM records WHERE {' AND '.join(where)} ORDER BY id {order} LIMIT ?"
        return iter(self._db.execute(sql, (*values, limit)))

    def records_by_hash(self, prefix: str) -> list[sqlite3.Row]:
        """Records whose hash begins with these hex digits, at most 10."""
        low = bytes.fromhex(prefix.ljust(64, "0"))
        high = bytes.fromhex(prefix.ljust(64, "f"))
        return self._db.execute(
            "SELECT * FROM records WHERE id IN (SELECT id FROM hashes WHERE hash BETWEEN ?1 AND ?2 LIMIT 10)"
            f" UNION ALL SELECT * FROM records WHERE id > {_HASHED} AND hash BETWEEN ?1 AND ?2 LIMIT 10",
            (low, high),
        ).fetchall()

    def record_at(self, kid: bytes, seq: int) -> list[sqlite3.Row]:
        """Records of a station with this number: more than one is equivocation."""
        return self._db.execute("SELECT * FROM records WHERE kid = ? AND seq = ? ORDER BY id", (kid, seq)).fetchall()

    def refusals(self, reason: str | None = None, limit: int = 100) -> list[sqlite3.Row]:
        """Refusal rows (every column), last seen first."""
        return self._db.execute(
            "SELECT * FROM refusals WHERE ? IS NULL OR reason = ? ORDER BY last_seen_us DESC, id DESC LIMIT ?",
            (reason, reason, limit),
        ).fetchall()

    def refusal_totals(self) -> dict[str, tuple[int, int]]:
        """reason -> (total, of which only counted)."""
        rows = self._db.execute("SELECT reason, total, not_kept FROM refusal_totals")
        return {reason: (total, not_kept) for reason, total, not_kept in rows}

    def destinations(self) -> list[sqlite3.Row]:
        """Destination rows with `waiting` (records not delivered yet) and `parked`."""
        return self._db.execute(
            "SELECT d.*, (SELECT count(*) FROM records WHERE id > d.cursor) AS waiting,"
            " (SELECT count(*) FROM parked WHERE destination = d.name) AS parked FROM destinations d ORDER BY name"
        ).fetchall()

    def parked(self, limit: int = 100) -> list[sqlite3.Row]:
        """destination, hash, kid, seq, reason, parked_at_us, retry of parked records."""
        return self._db.execute(
            "SELECT p.destination, r.hash, r.kid, r.seq, p.reason, p.parked_at_us, p.retry FROM parked p"
            " JOIN records r ON r.id = p.record_id ORDER BY p.parked_at_us LIMIT ?",
            (limit,),
        ).fetchall()

    def _fetch_one(self, sql: str, values: tuple[Any, ...]) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._db.execute(sql, values).fetchone()
        return row


def retry_parked(path: Path, destination: str | None = None) -> int:
    """Ask the collector, running or not, to send parked records again. Returns how many."""
    try:
        db = _open_writer(path)
        with db:
            changed = db.execute(
                "UPDATE parked SET retry = 1 WHERE ? IS NULL OR destination = ?", (destination, destination)
            ).rowcount
        db.close()
    except sqlite3.Error as error:
        raise StorageError(_say(path, error)) from error
    return changed


def _open_writer(path: Path) -> sqlite3.Connection:
    # Opened here, used by the collector's writer thread alone: hence check_same_thread.
    fresh = not path.exists()
    if fresh:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False, cached_statements=64)
    try:
        tables.prepare(db)
    except BaseException:
        db.close()
        raise
    if fresh:  # the file's own name must survive a power cut too
        directory = os.open(path.parent, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
    return db


def _say(path: Path, error: sqlite3.Error) -> str:
    hint = {
        sqlite3.SQLITE_FULL: "the disk is full: make room, then start again",
        sqlite3.SQLITE_IOERR: "the disk failed to write or read: check it, then start again",
        sqlite3.SQLITE_CORRUPT: f"the file is damaged: {RESTORE}",
        sqlite3.SQLITE_NOTADB: "this is not a Holdfire database",
        sqlite3.SQLITE_BUSY: "another program holds it: end that program, then start again",
        sqlite3.SQLITE_READONLY: "it cannot be written: check its owner and mode",
        sqlite3.SQLITE_CANTOPEN: "it cannot be opened: check its folder's owner and mode",
    }.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "nothing after the last commit is acknowledged")
    return f"{path}: {error}; {hint}"
