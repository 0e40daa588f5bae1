"""The registry: which keys make up a deployment, since when, until when, and who says so. And where its files are.

`registry.json` is public: with it anyone checks evidence offline. It is a ledger (`ledger.py`) of entries signed by the
deployment's authority; what holds today is what they add up to, and nothing in the file says it a second time. Loading
is strict, because a registry that is read generously is how a wrong key gets in: every error names the file, the
entry, the key and the reason. Holds no private key but for the moment in which `load_collector_key` hands it over, and
verifies no records.
"""

import contextlib
import dataclasses
import fcntl
import os
import pathlib
import stat
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holdfire_protocol import cose, fields, handover

from . import files, ledger, offices, times
from .authority import Authority, KeyInMemory
from .enrolled import PHOTO_HASH_BYTES, Doubt, Row, Station, check_name
from .errors import RegistryError
from .offices import Holder

__all__ = ["Authority", "Deployment", "Registry", "Station", "check_name", "load_collector_key"]


class Registry:
    """A deployment's keys and their history. `load` or `create` one; each change checks and refuses; `save` is atomic.

    `stations` has every key that was ever enrolled, by kid; `entries` the signed history. Without an `authority` it can
    be changed in memory only, and not saved.
    """

    def __init__(
        self, path: pathlib.Path, name: str, network: bytes, founded_at_us: int, collector_public: bytes,
        authority: Authority | None = None,
    ):  # fmt: skip
        self._clear(path, authority)
        self.network = network
        content: dict[str, Any] = {"name": name, "network": network.hex(), "collector": _key_object(collector_public)}
        if authority is not None:
            content["authority"] = _key_object(authority.public)
        self._add_entry("founded", founded_at_us, "the deployment begins", content)

    def _clear(self, path: pathlib.Path, authority: Authority | None = None) -> None:
        self.path = path
        self.authority = authority
        self.name = ""
        self.network = b""
        self.founded_at_us = 0
        self.authorities: list[Holder] = []  # all that ever were, the one in office last
        self.collectors: list[Holder] = []
        self.stations: dict[bytes, Station] = {}
        self.entries: list[ledger.Entry] = []
        self._kid_by_name: dict[str, bytes] = {}

    @property
    def collector_public(self) -> bytes:
        return self.collectors[-1].public_key if self.collectors else b""

    @property
    def collector_kid(self) -> bytes:
        return cose.key_id(self.collector_public)

    @property
    def collector_kids(self) -> frozenset[bytes]:
        """Of all that ever were: what they signed in their time counts."""
        return frozenset(holder.kid for holder in self.collectors)

    @property
    def authority_public(self) -> bytes:
        return self.authorities[-1].public_key if self.authorities else b""

    @property
    def authority_kid(self) -> bytes:
        return cose.key_id(self.authority_public)

    @property
    def head(self) -> bytes:
        """The hash of the newest entry: two copies with the same head are the same to the last word."""
        return ledger.entry_hash(self.entries[-1])

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], name: str, collector_public: bytes, now_us: int, authority: Authority
    ) -> "Registry":
        """A new deployment with a random network id. Nothing is written before `save`."""
        return cls(pathlib.Path(path), name, os.urandom(fields.NETWORK_BYTES), now_us, collector_public, authority)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Registry":
        """Read and check the whole file, every signature in it. Raises RegistryError."""
        path = pathlib.Path(path)
        entries = ledger.read(path)
        registry = cls.__new__(cls)
        registry._clear(path)
        first = Row(path, "entry 1.", entries[0])
        if first.text("what") != "founded":
            raise first.fail("what", "a registry begins with its founding")
        registry.network = first.hex("network", fields.NETWORK_BYTES)
        prev = ledger.FIRST_PREV
        for number, entry in enumerate(entries, 1):
            signer = registry.authority_public
            if number == 1 or entry.get("what") == "refounded":  # signed by the key that it puts in office
                whole = Row(path, f"entry {number}.", entry)
                signer = Row(path, f"{whole.where}authority.", whole.take("authority")).key()
            ledger.check(path, number, prev, entry, registry.network, signer)
            registry._apply(entry, f"entry {number}")
            registry.entries.append(entry)
            prev = ledger.entry_hash(entry).hex()
        return registry

    # Changing

    def add(self, station: Station, where: str = "station", why: str = "enrolled") -> None:
        """Enrol. Raises RegistryError when the key, the name or the board is taken."""
        if station.kid != cose.key_id(station.public_key):
            raise RegistryError(f"{self.path}: {where}.kid: is not of this public key")
        content: dict[str, Any] = {"name": station.name, **_key_object(station.public_key)}
        content |= _details(station.place, station.mounting, station.photo)
        if station.statement is not None:
            content["enrolment"] = station.statement.message.hex()
        self._add_entry("enrolled", station.enrolled_at_us, why, content, where)

    def rename(self, station: Station, name: str, now_us: int, why: str) -> None:
        self._add_entry("renamed", now_us, why, {"station": station.kid.hex(), "name": name})

    def move(self, station: Station, now_us: int, why: str, place: str, mounting: str, photo: bytes) -> None:
        """Place, mounting and photo as they are now; what is empty stays as it was."""
        self._add_entry("moved", now_us, why, {"station": station.kid.hex(), **_details(place, mounting, photo)})

    def rotate(self, station: Station, new: Station, from_us: int, why: str) -> None:
        """The key of `new` takes the place of `station`'s, which is not believed from `from_us` on."""
        content: dict[str, Any] = {"station": station.kid.hex(), "from": times.text(from_us)}
        content |= _key_object(new.public_key)
        if new.statement is not None:
            content["enrolment"] = new.statement.message.hex()
        self._add_entry("rotated", new.enrolled_at_us, why, content)

    def revoke(self, station: Station, from_us: int, now_us: int, why: str) -> None:
        """Nothing its key signed from `from_us` on is believed, for good."""
        self._add_entry("revoked", now_us, why, {"station": station.kid.hex(), "from": times.text(from_us)})

    def report_lost(self, station: Station, from_us: int, now_us: int, why: str) -> None:
        """Nothing its key signed from `from_us` on is believed until it is found again."""
        self._add_entry("lost", now_us, why, {"station": station.kid.hex(), "from": times.text(from_us)})

    def report_found(self, station: Station, now_us: int, why: str) -> None:
        self._add_entry("found", now_us, why, {"station": station.kid.hex()})

    def hand_over_authority(self, new: Authority, now_us: int, why: str) -> None:
        """`new` signs from the next entry on; both keys sign this one."""
        content = self._handover(handover.AUTHORITY, self.authority_kid, new)
        self._add_entry("authority", now_us, why, content, consenting=new)
        self.authority = new

    def hand_over_collector(self, new: Authority, from_us: int, now_us: int, why: str) -> None:
        """`new` signs beacons; those of the key before are not believed from `from_us` on."""
        content = {"from": times.text(from_us), **self._handover(handover.COLLECTOR, self.collector_kid, new)}
        self._add_entry("collector", now_us, why, content, consenting=new)

    def _handover(self, office: int, old: bytes, new: Authority) -> dict[str, Any]:
        if self.authority is None:
            raise RegistryError(f"{self.path}: no key is replaced without the authority's")
        message = offices.sign_handover(office, old, new.public, self.network, self.authority)
        return {offices.NAMES[office]: _key_object(new.public), "handover": message.hex()}

    def refound(self, new: Authority, now_us: int, why: str) -> None:
        """The authority's key is lost: `new` takes its place by its own word alone, for everybody to see."""
        self.authority = new
        self._add_entry("refounded", now_us, why, {"authority": _key_object(new.public)})

    def save(self, new: bool = False) -> None:
        """Write atomically: readers see the old file or the new one, whatever happens. `new` refuses to overwrite."""
        if any("signature" not in entry for entry in self.entries):
            raise RegistryError(f"{self.path}: not saved: no authority signed it")
        ledger.write(self.path, self.entries, new)

    def _add_entry(
        self, what: str, at_us: int, why: str, content: dict[str, Any], where: str = "",
        consenting: Authority | None = None,
    ) -> None:  # fmt: skip
        prev = self.head.hex() if self.entries else ledger.FIRST_PREV
        entry: ledger.Entry = {"number": len(self.entries) + 1, "prev": prev, "at": times.text(at_us), "what": what,
                               "why": why, **content}  # fmt: skip
        if consenting is not None:
            entry = ledger.consent(entry, self.network, consenting)
        self._apply({**entry, "signature": ""}, where or what)
        self.entries.append(entry if self.authority is None else ledger.sign(entry, self.network, self.authority))

    # What an entry does

    def _apply(self, entry: ledger.Entry, where: str) -> None:
        """Take an entry's effect, or raise RegistryError and change nothing."""
        row = Row(self.path, where + ".", entry)
        for checked in ("number", "prev", "signature"):  # by the ledger
            row.take(checked)
        what, at_us, why = row.text("what"), row.time("at"), row.words("why")
        on_authority, on_refounded = (partial(self._on_authority, office) for office in (handover.AUTHORITY, 0))
        effects: dict[str, Callable[[Row, int, str], list[Station]]] = {
            "founded": self._on_founded, "enrolled": self._on_enrolled, "renamed": self._on_renamed,
            "moved": self._on_moved, "rotated": self._on_rotated, "revoked": self._on_revoked,
            "lost": self._on_lost, "found": self._on_found, "authority": on_authority,
            "collector": self._on_collector, "refounded": on_refounded,
        }  # fmt: skip
        if what not in effects:
            raise row.fail("what", f"{ascii(what[:40])} is not known to this holdfire; a newer one wrote it")
        if (what == "founded") != (not self.entries):
            raise row.fail("what", "a registry begins with its founding, and has one")
        if what in ("authority", "collector"):
            consenting = Row(self.path, f"{row.where}{what}.", row.left.get(what)).key()
            ledger.check_consent(f"{self.path}: {row.where}", entry, self.network, consenting)
            row.take("consent")
        for station in effects[what](row, at_us, why):
            self._put(station)

    def _on_founded(self, row: Row, at_us: int, _: str) -> list[Station]:
        name, network = row.name("name"), row.hex("network", fields.NETWORK_BYTES)
        keys = {"authority": b""}  # none when it is in memory only; `save` refuses that
        for holder in ("collector", "authority"):
            if holder == "collector" or holder in row.left:
                inner = Row(self.path, f"{row.where}{holder}.", row.take(holder))
                keys[holder] = inner.key()
                inner.finish()
        row.finish()
        if keys["collector"] == keys["authority"]:
            raise row.fail("authority", "is the collector's own key: a base that is taken could then enrol stations")
        self.name, self.network, self.founded_at_us = name, network, at_us
        self.collectors = [Holder(keys["collector"], at_us)]
        self.authorities = [Holder(keys["authority"], at_us)]
        return []

    def _on_authority(self, office: int, row: Row, at_us: int, _: str) -> list[Station]:
        new = self._new_holder(row, office, at_us)
        row.finish()
        self.authorities[-1] = self.authorities[-1]._replace(until_us=at_us)
        self.authorities.append(new)
        return []

    def _on_collector(self, row: Row, at_us: int, _: str) -> list[Station]:
        from_us = _from(row, at_us)
        if from_us < self.collectors[-1].from_us:
            since = times.text(self.collectors[-1].from_us, 0)
            raise row.fail("from", f"is before the key that is replaced was in office, {since}")
        new = self._new_holder(row, handover.COLLECTOR, from_us)
        row.finish()
        self.collectors[-1] = self.collectors[-1]._replace(until_us=from_us)
        self.collectors.append(new)
        return []

    def _new_holder(self, row: Row, office: int, from_us: int) -> Holder:
        """The key that comes into office, and the message about it for stations. `office` 0: there is no message."""
        name = offices.NAMES.get(office, "authority")
        inner = Row(self.path, f"{row.where}{name}.", row.take(name))
        public_key = inner.key()
        inner.finish()
        used = {s.public_key for s in self.stations.values()}
        used |= {holder.public_key for holder in (*self.authorities, *self.collectors)}
        if public_key in used:
            raise row.fail(name, "this key was in use in this deployment before: make a new one")
        message = b""
        if office:
            message = row.message("handover")
            old = (self.collectors if office == handover.COLLECTOR else self.authorities)[-1].kid
            try:
                stated = {"office": office, "kid": old, "public_key": public_key}
                offices.check_handover(message, stated, self.network, self.authority_public)
            except ValueError as error:
                raise row.fail("handover", str(error)) from None
        return Holder(public_key, from_us, None, len(self.entries) + 1, message, not office)

    def _on_enrolled(self, row: Row, at_us: int, _: str) -> list[Station]:
        public_key, name = self._new_key(row), row.name("name")
        self._check_free(row, name)
        station = Station(
            cose.key_id(public_key), public_key, name, at_us, row.words("place", True), row.words("mounting", True),
            row.hex("photo_sha256", PHOTO_HASH_BYTES, True), row.statement(public_key, self.network),
        )  # fmt: skip
        self._check_board(row, station, station.kid)
        row.finish()
        return [station]

    def _on_renamed(self, row: Row, _: int, __: str) -> list[Station]:
        station, name = self._live(row), row.name("name")
        if name.casefold() != station.name.casefold():
            self._check_free(row, name)
        row.finish()
        return [dataclasses.replace(station, name=name)]

    def _on_moved(self, row: Row, _: int, __: str) -> list[Station]:
        station = self._live(row)
        changes: dict[str, Any] = {"place": row.words("place", True), "mounting": row.words("mounting", True)}
        changes["photo"] = row.hex("photo_sha256", PHOTO_HASH_BYTES, True)
        row.finish()
        if not any(changes.values()):
            raise row.fail("place", "nothing is said to have changed: give a place, a mounting or a photo")
        return [dataclasses.replace(station, **{key: value for key, value in changes.items() if value})]

    def _on_rotated(self, row: Row, at_us: int, why: str) -> list[Station]:
        old, public_key, from_us = self._live(row), self._new_key(row), _from(row, at_us)
        kid = cose.key_id(public_key)
        new = dataclasses.replace(
            old, kid=kid, public_key=public_key, enrolled_at_us=at_us, lost=False, doubts=(),
            statement=row.statement(public_key, self.network),
        )  # fmt: skip
        self._check_board(row, new, old.kid)
        row.finish()
        former = f"{old.name} (key {1 + sum(s.name.startswith(f'{old.name} (key ') for s in self.stations.values())})"
        if self.by_name(former):
            raise row.fail("station", f"its old key would be {former!r}, a name that is taken: rename that one first")
        doubts = (*old.doubts, Doubt(from_us, None, f"replaced by key {kid.hex()}", why))
        return [dataclasses.replace(old, name=former, retired=True, lost=False, doubts=doubts), new]

    def _on_revoked(self, row: Row, at_us: int, why: str) -> list[Station]:
        station, from_us = self._live(row), _from(row, at_us)
        row.finish()
        doubts = (*station.doubts, Doubt(from_us, None, "revoked", why))
        return [dataclasses.replace(station, retired=True, lost=False, doubts=doubts)]

    def _on_lost(self, row: Row, at_us: int, why: str) -> list[Station]:
        station, from_us = self._live(row), _from(row, at_us)
        row.finish()
        if station.lost:
            raise row.fail("station", f"{station.name} is reported lost already")
        return [dataclasses.replace(station, lost=True, doubts=(*station.doubts, Doubt(from_us, None, "lost", why)))]

    def _on_found(self, row: Row, at_us: int, _: str) -> list[Station]:
        station = self._live(row)
        row.finish()
        if not station.lost:
            raise row.fail("station", f"{station.name} is not reported lost")
        *before, last = station.doubts
        if at_us < last.from_us:
            raise row.fail("at", "is before it was lost: is this computer's clock right?")
        return [dataclasses.replace(station, lost=False, doubts=(*before, last._replace(until_us=at_us)))]

    def _live(self, row: Row) -> Station:
        """The station that an entry is about; one that is retired stays so."""
        kid = row.hex("station", fields.KID_BYTES)
        station = self.stations.get(kid)
        if station is None:
            raise row.fail("station", f"{kid.hex()} is not enrolled")
        if station.retired:
            raise row.fail("station", f"{station.name} is retired for good: {station.doubts[-1].words}")
        return station

    def _new_key(self, row: Row) -> bytes:
        public_key = row.key()
        for holders, whose in ((self.collectors, "collector"), (self.authorities, "authority")):
            if public_key in [holder.public_key for holder in holders]:
                raise row.fail("public_key", f"is the {whose}'s own")
        known = self.stations.get(cose.key_id(public_key))
        if known is not None:
            raise row.fail("kid", f"{known.kid.hex()} is enrolled already, as {known.name!r}")
        return public_key

    def _check_free(self, row: Row, name: str) -> None:
        taken = self.by_name(name)
        if taken:
            raise row.fail("name", f"{name!r} is taken by station {taken.kid.hex()}")

    def _check_board(self, row: Row, new: Station, allowed: bytes) -> None:
        """One board, one key: a board that comes with another has lost the first, and someone should know why."""
        if new.statement is None:
            return
        known = self.by_chip(new.statement.chip)
        if known is not None and known.kid != allowed:
            raise row.fail(
                "enrolment",
                f"this board (chip {new.statement.chip.hex()}) is {known.name}, enrolled with key {known.kid.hex()};"
                " now it has another: it was erased or flashed anew. If that was you:"
                f" holdfire registry rotate {known.name!r} PORT",
            )

    def by_chip(self, chip: bytes) -> Station | None:
        """The station that is in use on that board."""
        for station in self.stations.values():
            if not station.retired and station.statement is not None and station.statement.chip == chip:
                return station
        return None

    def _put(self, station: Station) -> None:
        old = self.stations.get(station.kid)
        if old is not None and self._kid_by_name.get(old.name.casefold()) == old.kid:
            del self._kid_by_name[old.name.casefold()]
        self.stations[station.kid] = station
        self._kid_by_name[station.name.casefold()] = station.kid

    # Looking up

    def by_name(self, name: str) -> Station | None:
        """The station of that name. Capitals do not tell names apart: people read them over a radio."""
        kid = self._kid_by_name.get(name.casefold())
        return None if kid is None else self.stations[kid]

    def find(self, name_or_kid: str) -> Station:
        """By name or by kid in hex, as a person types it. Raises RegistryError that lists what there is."""
        station = self.by_name(name_or_kid)
        if station is None:
            try:
                station = self.stations.get(bytes.fromhex(name_or_kid))
            except ValueError:
                pass
        if station is None:
            known = ", ".join(sorted(s.name for s in self.stations.values())[:8]) or "none is enrolled yet"
            raise RegistryError(f"no station {name_or_kid!r} in {self.path} (there is: {known})")
        return station


def _from(row: Row, at_us: int) -> int:
    """Since when a key is not believed: not later than the entry that says so."""
    from_us = row.time("from")
    if from_us > at_us:
        raise row.fail("from", f"{times.text(from_us, 0)} lies in the future of this change, {times.text(at_us, 0)}")
    return from_us


def _key_object(public_key: bytes) -> dict[str, str]:
    return {"kid": cose.key_id(public_key).hex(), "public_key": public_key.hex()}


def _details(place: str, mounting: str, photo: bytes) -> dict[str, str]:
    """What the operator knows of a station, as far as it is known."""
    given = {"place": place, "mounting": mounting, "photo_sha256": photo.hex()}
    return {key: value for key, value in given.items() if value}


@dataclasses.dataclass(frozen=True)
class Deployment:
    """The files of a base, all in one directory."""

    directory: pathlib.Path

    @property
    def registry_path(self) -> pathlib.Path:
        return self.directory / "registry.json"

    @property
    def key_path(self) -> pathlib.Path:
        return self.directory / "collector.key"

    def key_path_of(self, collector_public: bytes) -> pathlib.Path:
        """Where that collector's key is: the first in `key_path`, later ones in files that have their kid's name."""
        named = self.directory / f"collector-{cose.key_id(collector_public).hex()}.key"
        return named if named.exists() else self.key_path

    @property
    def authority_path(self) -> pathlib.Path:
        """Where the authority's key is unless it is kept elsewhere, which is better."""
        return self.directory / "authority.key"

    @property
    def config_path(self) -> pathlib.Path:
        return self.directory / "config.toml"

    @property
    def database_path(self) -> pathlib.Path:
        return self.directory / "holdfire.sqlite"

    @property
    def forward_directory(self) -> pathlib.Path:
        return self.directory / "forward"

    def check_new(self) -> None:
        """Raises RegistryError where a deployment was founded already: nothing of it is ever overwritten."""
        for path in (self.registry_path, self.database_path, self.key_path):
            if path.exists():
                raise RegistryError(
                    f"{path} exists: a deployment was founded here, and its keys are not to be overwritten; "
                    "name another directory, or move the old files away"
                )

    def found(self, name: str, now_us: int, authority: Authority) -> Registry:
        """Make the collector's key and a registry without stations. Never overwrites: raises RegistryError."""
        self.check_new()
        private = Ed25519PrivateKey.generate()
        public = private.public_key().public_bytes_raw()
        registry = Registry.create(self.registry_path, name, public, now_us, authority)
        _write_collector_key(self.key_path, private)
        registry.save(new=True)
        return registry

    def make_collector_key(self) -> tuple[KeyInMemory, pathlib.Path]:
        """The next collector's key, in a file of its own: the one in use stays until the registry says otherwise."""
        private = Ed25519PrivateKey.generate()
        key = KeyInMemory(private)
        path = self.directory / f"collector-{cose.key_id(key.public).hex()}.key"
        _write_collector_key(path, private)
        return key, path

    @contextlib.contextmanager
    def changing_registry(self, authority: Authority, refounding: bool = False) -> Iterator[Registry]:
        """The registry, loaded under a lock and saved at the end; so two changes at once do not lose one.

        `refounding`: the authority is not its own yet.
        """
        try:
            lock = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise RegistryError(f"cannot open {self.directory}: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            registry = Registry.load(self.registry_path)
            if authority.public != registry.authority_public and not refounding:
                raise RegistryError(
                    f"this authority key ({cose.key_id(authority.public).hex()}) is not that of {self.registry_path}"
                    f" ({registry.authority_kid.hex()}): name the right one with --key FILE"
                )
            registry.authority = authority
            before = len(registry.entries)
            yield registry
            if len(registry.entries) > before:
                registry.save()
        finally:
            os.close(lock)


def _write_collector_key(path: pathlib.Path, private: Ed25519PrivateKey) -> None:
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomically(path, pem, 0o600, new=True)
    except OSError as error:
        raise RegistryError(f"cannot write {path}: {files.why(error)}") from None


def load_collector_key(path: str | os.PathLike[str], public: bytes | None = None) -> Ed25519PrivateKey:
    """The collector's private key. Raises RegistryError when it is missing, readable by others, or not `public`'s."""
    path = pathlib.Path(path)
    try:
        mode = path.stat().st_mode
        pem = path.read_bytes()
    except OSError as error:
        raise RegistryError(f"cannot read the collector's key {path}: {error.strerror}") from None
    if stat.S_IMODE(mode) & 0o077:
        raise RegistryError(f"{path}: others can read this private key; run: chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise RegistryError(f"{path}: not an unencrypted Ed25519 private key in PEM form; restore it from a copy")
    if public is not None and key.public_key().public_bytes_raw() != public:
        raise RegistryError(f"{path}: is not the key that the registry names as the collector's; one of them is wrong")
    return key
