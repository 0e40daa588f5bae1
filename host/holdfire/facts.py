"""What `holdfire doctor` looks at: this computer, its serial ports, the deployment. Reads only; judges nothing."""

import grp
import importlib.metadata
import os
import platform
import pwd
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from serial.tools import list_ports

from holdfire_protocol import fields, line

from . import config, doctor, sources, times
from .errors import HoldfireError, PortError
from .registry import Deployment, Registry, load_collector_key

ANSWER_S = 4.0  # a station that opening its port has reset is back by then
_LAST = 200  # records whose satellite time is compared with their arrival
_REQUIREMENT = re.compile(r"([\w.-]+).*?>=([\d.]+)")
_IDENTITY = re.compile(rb"identity network=([0-9a-f]{32}|none) .*kid=([0-9a-f]{16}|none)")


def gather(directory: Path, ask: bool, image_folder: Path, cache_folder: Path) -> doctor.Facts:
    """Everything that can be found out in a moment; `ask` also asks every usable port who is there."""
    found: dict[str, Any] = {"directory": str(directory), **_deployment(directory)}
    registry = found.pop("registry", None)
    required = _required()
    return doctor.Facts(
        system=platform.system(),
        python=(sys.version_info.major, sys.version_info.minor, sys.version_info.micro),
        required=required,
        libraries={name: _version(name) for name in (*required, *doctor.FLASHING)},
        ports=tuple(_port(path, ask, registry) for path in sources.find_ports(config.Settings().ports)[0]),
        groups=_names(os.getgroups()),
        named_groups=_names(os.getgrouplist(pwd.getpwuid(os.getuid()).pw_name, os.getgid())),
        user=pwd.getpwuid(os.getuid()).pw_name,
        now_us=times.now_us(),
        ntp=_ntp(),
        disk_free_bytes=_free(directory),
        micropython=_files(cache_folder, "*.bin"),
        images=tuple(name.removesuffix(".bin") for name in _files(image_folder, "*.bin")),
        **found,
    )


def _required() -> dict[str, str]:
    """Library -> least version, from the metadata of the installed package; what is optional is left out."""
    try:
        stated = importlib.metadata.requires("holdfire") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    found = (_REQUIREMENT.match(text) for text in stated if "extra ==" not in text)
    return {match[1]: match[2] for match in found if match}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _names(groups: list[int]) -> frozenset[str]:
    names = set()
    for number in groups:
        try:
            names.add(grp.getgrgid(number).gr_name)
        except KeyError:
            pass
    return frozenset(names)


def _port(path: str, ask: bool, registry: Registry | None) -> doctor.PortFact:
    try:
        group = grp.getgrgid(os.stat(path).st_gid).gr_name
    except (KeyError, OSError):
        group = ""
    usable = os.access(path, os.R_OK | os.W_OK)
    what = next((str(port.description) for port in list_ports.comports() if port.device == os.path.realpath(path)), "")
    if not ask or not usable:
        return doctor.PortFact(path, usable, group, what)
    answered, said = ask_port(path, registry)
    return doctor.PortFact(path, usable, group, what, said, answered)


def ask_port(path: str, registry: Registry | None, answer_s: float = ANSWER_S) -> tuple[bool, str]:
    """(whether a station answered, what is there in words)."""
    heard, reader = 0, line.LineReader()
    try:
        port = sources.open_serial(path, config.Settings().baud)
    except PortError as error:
        return False, str(error)
    try:
        with port:
            end, ask_at = time.monotonic() + answer_s, 0.0
            while time.monotonic() < end:
                if time.monotonic() >= ask_at:
                    port.write(b"\r\nidentity\r\n")
                    ask_at = time.monotonic() + answer_s / 3
                data = port.read(max(1, min(port.in_waiting, sources.READ_BYTES)))
                heard += len(data)
                for kind, content in reader.feed(data):
                    found = _IDENTITY.match(content) if kind == line.TEXT else None
                    if found:
                        return True, _who(found[1], found[2], registry)
    except OSError as error:
        return False, f"went away while it was asked ({error.strerror or error})"
    return False, "sends something, but is no Holdfire station" if heard else "nothing answers"


def _who(network: bytes, kid: bytes, registry: Registry | None) -> str:
    if kid == b"none":
        return "a station that is not enrolled yet"
    if registry is None:
        return f"station {kid.decode()}"
    if bytes.fromhex(network.decode()) != registry.network:
        return f"station {kid.decode()}, of another deployment"
    station = registry.stations.get(bytes.fromhex(kid.decode()))
    return f"station {station.name}" if station else f"station {kid.decode()}, which is not in the registry"


def _ntp() -> bool | None:
    """What systemd says; None elsewhere."""
    try:
        done = subprocess.run(
            ["timedatectl", "show", "-p", "NTPSynchronized", "--value"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"yes": True, "no": False}.get(done.stdout.strip()) if done.returncode == 0 else None


def _free(directory: Path) -> int | None:
    for folder in (directory, *directory.absolute().parents):
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            continue
    return None


def _files(folder: Path, pattern: str) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in folder.glob(pattern))) if folder.is_dir() else ()


def _deployment(directory: Path) -> dict[str, Any]:
    base = Deployment(directory)
    if not base.registry_path.exists() and not base.database_path.exists():
        return {"directory_state": "missing"}
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        return {"directory_state": "not readable and writable for you"}
    found: dict[str, Any] = {}
    registry = None
    try:
        registry = found["registry"] = Registry.load(base.registry_path)
        found.update(stations=len(registry.stations), founded_at_us=registry.founded_at_us)
    except HoldfireError as error:
        found["registry_error"] = str(error)
    try:
        if registry is None:
            load_collector_key(base.key_path)
        else:
            load_collector_key(base.key_path_of(registry.collector_public), registry.collector_public)
    except HoldfireError as error:
        found["key_error"] = str(error)
    if base.database_path.exists():
        found["database_writable"] = os.access(base.database_path, os.W_OK)
        try:
            found.update(_database(base.database_path))
        except sqlite3.Error as error:
            found["database_error"] = f"{base.database_path}: {error}"
    return found


def _database(path: Path) -> dict[str, Any]:
    db = sqlite3.connect(f"file:{path.absolute()}?mode=ro", uri=True, timeout=5)
    try:
        count, newest = db.execute("SELECT count(*), max(received_at_us) FROM records").fetchone()
        gnss = (fields.TIME_GNSS, fields.TIME_GNSS_PPS)
        (ahead,) = db.execute(
            "SELECT max(utc_us - uncertainty_us - received_at_us) FROM (SELECT * FROM records ORDER BY id DESC LIMIT ?)"
            " WHERE time_source IN (?, ?)", (_LAST, *gnss),
        ).fetchone()  # fmt: skip
    finally:
        db.close()
    return {"records": count, "newest_received_us": newest, "ahead_us": ahead}
