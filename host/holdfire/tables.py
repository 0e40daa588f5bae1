"""The tables of the base's database, and how it is opened for writing: durable, and brought up to date.

A change of the tables is a further script in SCRIPTS, which turns a database of the version before into the next; the
scripts that are there do not change, or two databases of one version would differ.
"""

import sqlite3
import sys

_APPLICATION_ID = 0x48464952  # "HFIR", so that file(1) and a lost operator can tell what it is

SCHEMA = """
CREATE TABLE records (                 -- every record with a valid signature of an enrolled station, kept for ever
  id INTEGER PRIMARY KEY,              -- order of storing; also the place in every outbox
  hash BLOB NOT NULL,                  -- SHA-256 of message: the record's name everywhere
  kid BLOB NOT NULL,
  seq INTEGER NOT NULL,
  prev BLOB NOT NULL,
  boot INTEGER NOT NULL,
  time_source INTEGER NOT NULL,        -- fields.TIME_*
  utc_us INTEGER NOT NULL,             -- 0 without a source
  uncertainty_us INTEGER NOT NULL,
  uptime_ms INTEGER NOT NULL,
  restart INTEGER,                     -- fields.RESTART_* or NULL
  kinds INTEGER NOT NULL,              -- HAS_* bits
  link INTEGER NOT NULL,               -- PENDING, LINKED, CONTIGUOUS, BROKEN
  problem TEXT,                        -- NULL, or 'time-range', 'sequence-reuse', 'chain-break': also in refusals
  received_at_us INTEGER NOT NULL,     -- the base's clock
  port TEXT NOT NULL,
  message BLOB NOT NULL                -- the signed record, byte for byte
);
CREATE INDEX records_seq ON records (kid, seq);
CREATE INDEX records_waiting ON records (kid, prev) WHERE link < 2;
CREATE INDEX records_problem ON records (id) WHERE problem IS NOT NULL;

CREATE TABLE hashes (                  -- the index of records by hash, behind by at most INDEX_EACH records
  hash BLOB PRIMARY KEY,
  id INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE refusals (                -- what was not accepted, or accepted with a problem, and why
  id INTEGER PRIMARY KEY,
  reason TEXT NOT NULL,                -- errors.REASONS
  sha256 BLOB NOT NULL,                -- of the bytes; of port and text where no bytes survive
  first_seen_us INTEGER NOT NULL,
  last_seen_us INTEGER NOT NULL,
  count INTEGER NOT NULL,
  port TEXT NOT NULL,                  -- where it was first seen
  kid BLOB,                            -- claimed; nothing is proven unless the reason says so
  seq INTEGER,
  field TEXT NOT NULL,                 -- the part to blame, or ''
  text TEXT NOT NULL,                  -- one sentence for people
  bytes BLOB,                          -- at most 2048; NULL when the record itself is in `records` or none survive
  UNIQUE (reason, sha256)
);
CREATE TABLE refusal_totals (          -- never bounded, so nothing is refused silently
  reason TEXT PRIMARY KEY,
  total INTEGER NOT NULL,
  not_kept INTEGER NOT NULL            -- of total: only counted, because the bound on rows was reached
) WITHOUT ROWID;

CREATE TABLE destinations (            -- one a forwarder
  name TEXT PRIMARY KEY,               -- 'jsonl' or the URL
  cursor INTEGER NOT NULL,             -- every record up to this id is delivered or parked
  delivered INTEGER NOT NULL,          -- deliveries; a record may be delivered more than once
  delivered_at_us INTEGER,
  error TEXT,                          -- why it is stalled, or NULL
  error_at_us INTEGER
) WITHOUT ROWID;
CREATE TABLE parked (                  -- records a destination will not take; kept until someone says retry
  destination TEXT NOT NULL,
  record_id INTEGER NOT NULL,
  reason TEXT NOT NULL,
  parked_at_us INTEGER NOT NULL,
  retry INTEGER NOT NULL DEFAULT 0,    -- 1: asked for; the collector takes it up within seconds
  PRIMARY KEY (destination, record_id)
) WITHOUT ROWID;

-- beacon_number: reserved up to this; hashed: records up to this id are in hashes
CREATE TABLE state (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO state VALUES ('beacon_number', 0), ('hashed', 0);
"""

SCHEMA_2 = """
CREATE TABLE taken_up (                -- chains that go on after a loss, by an operator's decision (resume.py)
  kid BLOB NOT NULL,
  seq INTEGER NOT NULL,                -- the record that counts as contiguous although what it follows is not held
  hash BLOB NOT NULL,
  lost_from INTEGER NOT NULL,          -- numbers from this to seq - 1 were not held when it was decided
  proof BLOB NOT NULL,                 -- hash of the status record by which the station holds none of them either
  decided_at_us INTEGER NOT NULL,
  why TEXT NOT NULL,                   -- the operator's words
  PRIMARY KEY (kid, seq)
) WITHOUT ROWID;
CREATE TABLE beacons (                 -- signed receipts, thinned out: the newest of each station, and some before it
  number INTEGER PRIMARY KEY,
  signed_at_us INTEGER NOT NULL,
  message BLOB NOT NULL
);
CREATE TABLE receipted (               -- the stations that a beacon acknowledged something new of
  kid BLOB NOT NULL,
  seq INTEGER NOT NULL,
  hash BLOB NOT NULL,
  number INTEGER NOT NULL,
  PRIMARY KEY (kid, number)
) WITHOUT ROWID;
CREATE INDEX receipted_number ON receipted (number);
CREATE INDEX records_restart ON records (kid, seq) WHERE restart IS NOT NULL;
CREATE INDEX records_thinned ON records (kid, seq) WHERE kinds & 8;
"""

SCRIPTS = (SCHEMA, SCHEMA_2)
SCHEMA_VERSION = len(SCRIPTS)


def prepare(db: sqlite3.Connection) -> None:
    """Settings of a connection that writes, and the tables where they are missing or old."""
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")  # WAL needs it: NORMAL may lose the last commits in a power cut
    db.execute("PRAGMA cache_size=-65536")  # KiB: holds the pages that INDEX_EACH hashes change
    db.execute("PRAGMA wal_autocheckpoint=8000")  # pages: 32 MiB
    if sys.platform == "darwin":
        db.execute("PRAGMA fullfsync=1")  # fsync on macOS does not reach the medium; F_FULLFSYNC does
    db.execute("BEGIN IMMEDIATE")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    for statements in SCRIPTS[version:]:  # none for a version that is not known
        for statement in statements.split(";\n"):
            if statement.strip():
                db.execute(statement)
        version += 1
        db.execute(f"PRAGMA application_id={_APPLICATION_ID}")
        db.execute(f"PRAGMA user_version={version}")
    db.execute("COMMIT")
    check_version(db)


def check_version(db: sqlite3.Connection) -> None:
    """Raises sqlite3.DatabaseError when the tables are not those of this program."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version < SCHEMA_VERSION:
        raise sqlite3.DatabaseError("an older holdfire made it; `holdfire collect` brings it up to date when it starts")
    if version > SCHEMA_VERSION:
        raise sqlite3.DatabaseError(f"schema version {version}; this holdfire knows {SCHEMA_VERSION}")
