"""What people ask the stored records: more than `store.Reader` answers, read-only like it. Prints nothing."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from holdfire_protocol import cbor, cose, fields, record

from . import show, times
from .registry import Registry, Station
from .store import BROKEN, CONTIGUOUS, IMPORT_PORT, LINKS, PENDING, Reader
from .thinned import Thinned, thinned_in

OVERDUE_GRACE_S = 30  # a status record may wait behind alerts on a slow radio, and clocks differ
_FOLLOWERS_WITHIN = 1000  # numbers: a restart skips a few, never this many


@dataclass
class StationView:
    """One enrolled station and what the base holds of it. `last_seq` is 0 when it was never heard."""

    station: Station
    last_seq: int = 0
    contiguous_seq: int = 0
    waiting: int = 0
    records: int = 0
    boot: int = 0
    received_at_us: int = 0  # from the station itself; 0 when all that is stored came out of files
    missing: list[tuple[int, int]] = field(default_factory=list)
    thinned: list[tuple[int, int]] = field(default_factory=list)  # given up, by the station's signed word, and not here
    status: dict[str, Any] | None = None
    status_at_us: int = 0  # when it was received; when it says it was made, where it came out of a file; 0: not known
    time: tuple[int, int, int] | None = None
    refusals: dict[str, int] = field(default_factory=dict)
    restarts: list[tuple[int, int]] = field(default_factory=list)  # (number, why), but for the first record
    used_twice: list[int] = field(default_factory=list)
    broken: list[int] = field(default_factory=list)
    taken_up: list[sqlite3.Row] = field(default_factory=list)
    first_waiting: int = 0  # the first record that waits for one not stored

    def overdue_s(self, now_us: int) -> int:
        """Seconds by which the next status record is late, by the station's own word; 0 when it is not, or its key is
        out of use for good."""
        if self.status is None or not self.status_at_us or self.station.retired:
            return 0
        late = (now_us - self.status_at_us) // 1_000_000 - self.status["interval_s"]
        return late if late > OVERDUE_GRACE_S else 0


class View(Reader):
    """`store.Reader` and the questions of `stations`, `show`, `export` and `quiet`."""

    def station_views(self, registry: Registry) -> list[StationView]:
        """All enrolled stations, by name."""
        counts = self.refusal_counts()
        rows = {row["kid"]: row for row in self.stations()}
        found = []
        for station in sorted(registry.stations.values(), key=lambda s: s.name.casefold()):
            view = StationView(station, refusals=counts.get(station.kid, {}))
            row = rows.get(station.kid)
            if row is not None:
                view.last_seq = row["last_seq"]
                view.contiguous_seq = row["contiguous_seq"] or 0
                view.waiting = row["waiting"]
                view.records = row["records"]
                view.received_at_us = row["last_received_at_us"] or 0
                view.missing, view.thinned = self.missing(station.kid)
                newest = self.record_at(station.kid, view.last_seq)[0]
                view.boot, view.time = newest["boot"], time_of(newest)
                status_row = self.latest_status(station.kid)
                if status_row is not None:
                    view.status = named_of(status_row["message"]).get("status")
                    imported = status_row["port"].startswith(IMPORT_PORT)
                    view.status_at_us = status_row["utc_us" if imported else "received_at_us"]
                view.restarts = self.restarts(station.kid)
                view.used_twice, view.broken = self.contradictions(station.kid)
                view.taken_up = self.taken_up(station.kid)
                view.first_waiting = self.first_waiting(station.kid)
            found.append(view)
        return found

    def missing(self, kid: bytes) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Runs of numbers that are not stored: (what nothing accounts for, what the station says that it gave up).

        A record that is contiguous accounts for every number before it, by its own signed word.
        """
        declared = Thinned(self.thinned(kid))
        missing, gone = [], []
        for first, last, excused in self._db.execute(
            "SELECT before + 1, seq - 1, link AND seq NOT IN (SELECT seq FROM taken_up WHERE kid = ?2) FROM"
            " (SELECT seq, link, lag(seq, 1, 0) OVER (ORDER BY seq) AS before FROM"
            " (SELECT seq, max(link = ?1) AS link FROM records WHERE kid = ?2 GROUP BY seq)) WHERE seq > before + 1",
            (CONTIGUOUS, kid),
        ):
            inside, outside = declared.split(first, last)
            gone += inside
            if not excused:
                missing += outside
        return missing, gone

    def thinned(self, kid: bytes) -> list[tuple[int, int]]:
        """Every run of numbers that a record of the station declares given up."""
        rows = self._db.execute("SELECT message FROM records WHERE kid = ? AND kinds & 8", (kid,))
        return [run for row in rows for run in thinned_in(row[0])]

    def contiguous_seq(self, kid: bytes) -> int:
        """The highest number that a receipt for this station names, or 0."""
        row = self._fetch_one("SELECT max(seq) AS seq FROM records WHERE kid = ? AND link = ?", (kid, CONTIGUOUS))
        return (row and row["seq"]) or 0

    def taken_up(self, kid: bytes) -> list[sqlite3.Row]:
        """Where an operator let the chain go on after a loss: every column of `taken_up`, by number."""
        return self._db.execute("SELECT * FROM taken_up WHERE kid = ? ORDER BY seq", (kid,)).fetchall()

    def restarts(self, kid: bytes) -> list[tuple[int, int]]:
        """(number, why) of the records that declare a restart, but for the station's first."""
        rows = self._db.execute(
            "SELECT seq, restart FROM records WHERE kid = ? AND restart IS NOT NULL AND restart <> ? ORDER BY seq, id",
            (kid, fields.RESTART_FIRST),
        )
        return [(row[0], row[1]) for row in rows]

    def contradictions(self, kid: bytes) -> tuple[list[int], list[int]]:
        """(numbers that two different records bear, numbers of records that contradict the chain)."""
        twice = self._db.execute(
            "SELECT seq FROM records WHERE kid = ? GROUP BY seq HAVING count(*) > 1 ORDER BY seq", (kid,)
        )
        broken = self._db.execute("SELECT DISTINCT seq FROM records WHERE kid = ? AND link = ? ORDER BY seq",
                                  (kid, BROKEN))  # fmt: skip
        return [row[0] for row in twice], [row[0] for row in broken]

    def first_waiting(self, kid: bytes) -> int:
        """The number of the first record that waits for one that is not stored, or 0."""
        sql = "SELECT min(seq) AS seq FROM records WHERE kid = ? AND link < 2 AND link = ?"  # < 2: for the index
        row = self._fetch_one(sql, (kid, PENDING))
        return (row and row["seq"]) or 0

    def receipts_of(self, kid: bytes, first_seq: int, last_seq: int) -> Iterator[tuple[int, bytes]]:
        """(number, signed beacon) of the kept receipts that name these records, and of the first beyond."""
        rows = self._db.execute(
            "SELECT number, message FROM receipted JOIN beacons USING (number) WHERE kid = ?1 AND seq >= ?2 AND seq <="
            " coalesce((SELECT min(seq) FROM receipted WHERE kid = ?1 AND seq >= ?3), ?3) ORDER BY number",
            (kid, first_seq, last_seq),
        )
        return ((row["number"], row["message"]) for row in rows)

    def followers(self, kid: bytes, seq: int, digest: bytes) -> list[sqlite3.Row]:
        """Records that name this one as the record before them; more than one is a fork."""
        return self._db.execute(
            "SELECT * FROM records WHERE kid = ? AND seq BETWEEN ? AND ? AND prev = ? ORDER BY seq",
            (kid, seq + 1, seq + _FOLLOWERS_WITHIN, digest),
        ).fetchall()

    def by_hash(self, digest: bytes) -> sqlite3.Row | None:
        return next(iter(self.records_by_hash(digest.hex())), None)

    def refusal_counts(self) -> dict[bytes, dict[str, int]]:
        """kid as claimed -> reason -> how often, of the refusals kept in full."""
        counts: dict[bytes, dict[str, int]] = {}
        for kid, reason, total in self._db.execute(
            "SELECT kid, reason, sum(count) FROM refusals WHERE kid IS NOT NULL GROUP BY kid, reason"
        ):
            counts.setdefault(kid, {})[reason] = total
        return counts

    def refusals_by_hash(self, prefix: str) -> list[sqlite3.Row]:
        """Refusals whose bytes' SHA-256 begins with these hex digits, at most 10."""
        low = bytes.fromhex(prefix.ljust(64, "0"))
        high = bytes.fromhex(prefix.ljust(64, "f"))
        return self._db.execute(
            "SELECT * FROM refusals WHERE sha256 BETWEEN ? AND ? ORDER BY id LIMIT 10", (low, high)
        ).fetchall()

    def refusals_of(self, kid: bytes | None, reason: str | None, limit: int) -> list[sqlite3.Row]:
        """Refusal rows, last seen first."""
        return self._db.execute(
            "SELECT * FROM refusals WHERE (?1 IS NULL OR kid = ?1) AND (?2 IS NULL OR reason = ?2)"
            " ORDER BY last_seen_us DESC, id DESC LIMIT ?3",
            (kid, reason, limit),
        ).fetchall()

    def in_order(self, kid: bytes, first_seq: int = 0, last_seq: int = fields.U32) -> Iterator[sqlite3.Row]:
        """A station's records by sequence number."""
        return iter(
            self._db.execute(
                "SELECT * FROM records WHERE kid = ? AND seq BETWEEN ? AND ? ORDER BY seq, id",
                (kid, first_seq, last_seq),
            )
        )


def named_of(message: bytes) -> dict[str, Any]:
    """Fields of a stored record; empty when it cannot be read, which is so only where someone altered the database."""
    try:
        return record.decode_record(cose.parse(message).payload)
    except ValueError:
        return {}


def time_of(row: sqlite3.Row) -> tuple[int, int, int]:
    return row["time_source"], row["utc_us"], row["uncertainty_us"]


def as_json(row: sqlite3.Row, named: dict[str, Any], registry: Registry) -> dict[str, Any]:
    """A stored record as one JSON object; byte strings in hex."""
    station = registry.stations.get(row["kid"])
    return {
        "hash": row["hash"].hex(),
        "station": station.name if station else None,
        "kid": row["kid"].hex(),
        "seq": row["seq"],
        "kinds": show.kinds(named),
        "time": times.text(row["utc_us"]) if row["time_source"] else None,
        "received_at": times.text(row["received_at_us"]),
        "port": row["port"],
        "link": LINKS[row["link"]],
        "problem": row["problem"],
        "record": plain(named),
    }


def plain(value: Any, name: str = "") -> Any:
    """Decoded fields as JSON values: byte strings in hex, tuples of fixed positions by their names."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: plain(item, key) for key, item in value.items()}
    if isinstance(value, tuple):
        shape = {"time": fields.TIME, "position": fields.POSITION}[name]
        return {row[1]: plain(item) for row, item in zip(shape.rows, value, strict=True)}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def diagnostic(message: bytes) -> str:
    """A signed record in CBOR diagnostic notation (RFC 8949 section 8), field names as comments."""
    parts = cose.parse(message)
    payload = _diagnose_map(fields.RECORD, cbor.decode(parts.payload), 2)
    return (
        f"18([\n  h'{cose.PROTECTED.hex()}', / protected: {{1: -19}}, Ed25519 /\n"
        f"  {{4: h'{parts.kid.hex()}'}}, / kid /\n"
        f"  << {payload} >>, / payload /\n  h'{parts.signature.hex()}' / signature /\n])"
    )


def _diagnose_map(shape: Any, value: dict[int, Any], indent: int) -> str:
    if shape.variants:
        shape = next(variant for kind, variant in shape.variants if kind == value[1])
    by_key = {row[0]: row for row in shape.rows}
    pad = " " * (indent + 2)
    lines = [
        f"{pad}/ {by_key[key][1]} / {key}: {_diagnose(by_key[key], item, indent + 2)}" for key, item in value.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n" + " " * indent + "}"


def _diagnose(row: Any, value: Any, indent: int) -> str:
    if isinstance(value, bytes):
        return f"h'{value.hex()}'"
    if isinstance(value, dict):
        return _diagnose_map(row[6], value, indent)
    if isinstance(value, list):
        return "[" + ", ".join(_diagnose(row, item, indent) for item in value) + "]"
    return str(value)
