"""The registry: which keys make up a deployment. And where a deployment keeps its files.

`registry.json` is public: with it anyone checks evidence offline. Loading is strict, because a registry that is read
generously is how a wrong key gets in: every error names the file, the key and the reason. Holds no private key but for
the moment in which `load_collector_key` hands it over, and verifies no records.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holdfire_protocol import cose, fields

from . import times
from .errors import RegistryError

FORMAT = 1
MAX_NAME_CHARS = 40
MAX_REGISTRY_BYTES = 16 << 20  # some 70,000 stations; more is not a registry


@dataclass(frozen=True)
class Station:
    """One enrolled station. Its name is for people; `kid` (from its key) is what records carry."""

    kid: bytes
    public_key: bytes
    name: str
    enrolled_at_us: int


@dataclass
class Registry:
    """A deployment's keys. `load` or `create` one; `add` checks and refuses; `save` is atomic."""

    path: pathlib.Path
    name: str
    network: bytes
    founded_at_us: int
    collector_public: bytes
    stations: dict[bytes, Station] = field(default_factory=dict)
    _kid_by_name: dict[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def collector_kid(self) -> bytes:
        return cose.key_id(self.collector_public)

    @classmethod
    def create(cls, path: str | os.PathLike[str], name: str, collector_public: bytes, now_us: int) -> "Registry":
        """A new deployment with a random network id. Nothing is written before `save`."""
        path = pathlib.Path(path)
        check_name(name, path, "name")
        return cls(path, name, os.urandom(fields.NETWORK_BYTES), now_us, collector_public)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Registry":
        """Read and check the whole file. Raises RegistryError."""
        path = pathlib.Path(path)
        top = _Reader(path, "", _read_json(path))
        if top.number("format") != FORMAT:
            raise RegistryError(f"{path}: format: this holdfire reads {FORMAT}; a newer one wrote it, or it is damaged")
        collector = _Reader(path, "collector.", top.take("collector"))
        registry = cls(
            path,
            top.name("name"),
            top.hex("network", fields.NETWORK_BYTES),
            top.time("founded_at"),
            collector.key(),
        )
        collector.finish()
        stations = top.take("stations")
        if not isinstance(stations, list):
            raise RegistryError(f"{path}: stations: not a list")
        for index, value in enumerate(stations):
            where = f"stations[{index}]"
            row = _Reader(path, where + ".", value)
            public_key = row.key()
            station = Station(cose.key_id(public_key), public_key, row.name("name"), row.time("enrolled_at"))
            row.finish()
            registry.add(station, where)
        top.finish()
        return registry

    def add(self, station: Station, where: str = "station") -> None:
        """Enrol in memory. Raises RegistryError when the key or the name is taken."""
        check_name(station.name, self.path, where + ".name")
        if station.kid != cose.key_id(station.public_key):
            raise RegistryError(f"{self.path}: {where}.kid: is not of this public key")
        if station.public_key == self.collector_public:
            raise RegistryError(f"{self.path}: {where}.public_key: is the collector's own")
        if station.kid in self.stations:
            other = self.stations[station.kid]
            raise RegistryError(f"{self.path}: {where}.kid: {station.kid.hex()} is enrolled already, as {other.name!r}")
        taken = self.by_name(station.name)
        if taken:
            raise RegistryError(f"{self.path}: {where}.name: {station.name!r} is taken by station {taken.kid.hex()}")
        self.stations[station.kid] = station
        self._kid_by_name[station.name.casefold()] = station.kid

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

    def save(self, new: bool = False) -> None:
        """Write atomically: readers see the old file or the new one, whatever happens. `new` refuses to overwrite."""
        rows = [
            {
                "kid": s.kid.hex(),
                "public_key": s.public_key.hex(),
                "name": s.name,
                "enrolled_at": times.text(s.enrolled_at_us),
            }
            for s in self.stations.values()
        ]
        content = {
            "format": FORMAT,
            "name": self.name,
            "network": self.network.hex(),
            "founded_at": times.text(self.founded_at_us),
            "collector": {"kid": self.collector_kid.hex(), "public_key": self.collector_public.hex()},
            "stations": rows,
        }
        data = (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
        try:
            _write_atomically(self.path, data, 0o644, new)
        except OSError as error:
            raise RegistryError(f"cannot write {self.path}: {error.strerror}") from None


@dataclass(frozen=True)
class Deployment:
    """The files of a base, all in one directory."""

    directory: pathlib.Path

    @property
    def registry_path(self) -> pathlib.Path:
        return self.directory / "registry.json"

    @property
    def key_path(self) -> pathlib.Path:
        return self.directory / "collector.key"

    @property
    def config_path(self) -> pathlib.Path:
        return self.directory / "config.toml"

    @property
    def database_path(self) -> pathlib.Path:
        return self.directory / "holdfire.sqlite"

    @property
    def forward_directory(self) -> pathlib.Path:
        return self.directory / "forward"

    def found(self, name: str, now_us: int) -> Registry:
        """Make the collector's key and an empty registry. Never overwrites: raises RegistryError."""
        for path in (self.registry_path, self.database_path, self.key_path):
            if path.exists():
                raise RegistryError(
                    f"{path} exists: a deployment was founded here, and its keys are not to be overwritten; "
                    "name another directory, or move the old files away"
                )
        private = Ed25519PrivateKey.generate()
        registry = Registry.create(self.registry_path, name, private.public_key().public_bytes_raw(), now_us)
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            _write_atomically(self.key_path, pem, 0o600, new=True)
        except OSError as error:
            raise RegistryError(f"cannot write {self.key_path}: {error.strerror}") from None
        registry.save(new=True)
        return registry

    @contextlib.contextmanager
    def changing_registry(self) -> Iterator[Registry]:
        """The registry, loaded under a lock and saved at the end; so two `enrol` at once do not lose a station."""
        try:
            lock = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise RegistryError(f"cannot open {self.directory}: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            registry = Registry.load(self.registry_path)
            before = dict(registry.stations)
            yield registry
            if registry.stations != before:
                registry.save()
        finally:
            os.close(lock)


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


class _Reader:
    """Takes known keys out of one JSON object and refuses what is left over."""

    def __init__(self, path: pathlib.Path, where: str, value: Any):
        if not isinstance(value, dict):
            raise RegistryError(f"{path}: {where.rstrip('.') or 'the file'}: not an object")
        self.path = path
        self.where = where
        self.left = dict(value)

    def take(self, key: str) -> Any:
        if key not in self.left:
            raise RegistryError(f"{self.path}: {self.where}{key}: missing")
        return self.left.pop(key)

    def finish(self) -> None:
        for key in self.left:
            raise RegistryError(f"{self.path}: {self.where}{ascii(key[:60])[1:-1]}: no such key in format {FORMAT}")

    def fail(self, key: str, reason: str) -> RegistryError:
        return RegistryError(f"{self.path}: {self.where}{key}: {reason}")

    def text(self, key: str) -> str:
        value = self.take(key)
        if not isinstance(value, str):
            raise self.fail(key, "not a text")
        return value

    def number(self, key: str) -> int:
        value = self.take(key)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(key, "not a whole number")
        return value

    def name(self, key: str) -> str:
        value = self.text(key)
        check_name(value, self.path, self.where + key)
        return value

    def hex(self, key: str, size: int) -> bytes:
        value = self.text(key)
        if len(value) != 2 * size or value.strip("0123456789abcdef"):
            raise self.fail(key, f"not {2 * size} lower-case hex digits")
        return bytes.fromhex(value)

    def time(self, key: str) -> int:
        try:
            return times.parse(self.text(key))
        except ValueError as error:
            raise self.fail(key, str(error)) from None

    def key(self) -> bytes:
        """The public key of an object that states `kid` and `public_key`; the two must agree."""
        public_key = self.hex("public_key", fields.PUBLIC_KEY_BYTES)
        if self.hex("kid", fields.KID_BYTES) != cose.key_id(public_key):
            raise self.fail("kid", f"is not of this public key, which has {cose.key_id(public_key).hex()}")
        return public_key


def check_name(name: str, path: pathlib.Path, where: str) -> None:
    """Names are printed on terminals and in statements: printable, not blank at the ends, bounded."""
    if not 1 <= len(name) <= MAX_NAME_CHARS or not name.isprintable() or name != name.strip():
        raise RegistryError(
            f"{path}: {where}: a name has 1 to {MAX_NAME_CHARS} printable characters and no blanks at its ends"
        )


def _read_json(path: pathlib.Path) -> Any:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_REGISTRY_BYTES + 1)
    except FileNotFoundError:
        raise RegistryError(f"no registry at {path}: `holdfire init` founds a deployment; or name its --dir") from None
    except OSError as error:
        raise RegistryError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > MAX_REGISTRY_BYTES:
        raise RegistryError(f"{path}: larger than {MAX_REGISTRY_BYTES} bytes; this is not a registry")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        taken: dict[str, Any] = {}
        for key, value in pairs:
            if key in taken:  # json keeps the last one silently; two readers must not see two registries
                raise RegistryError(f"{path}: {ascii(key[:60])[1:-1]}: stands twice in one object")
            taken[key] = value
        return taken

    try:
        return json.loads(data.decode(), object_pairs_hook=once)
    except RegistryError:
        raise
    except (ValueError, RecursionError) as error:
        raise RegistryError(f"{path}: not JSON ({str(error)[:120]}); restore it from a copy") from None


def _write_atomically(path: pathlib.Path, data: bytes, mode: int, new: bool) -> None:
    """Temporary file, fsync, rename, fsync of the directory. `new` raises FileExistsError instead of replacing."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if new:
            os.link(temporary, path)  # unlike rename, this fails when the name is taken
        else:
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
