"""What several commands share: where the deployment is, how people write a time, and parts of a report."""

import argparse
import contextlib
import os
import re
from functools import partial
from pathlib import Path

from .. import audit, authority, hardware_token, show, times
from ..audit import StationAudit
from ..errors import ClockError, UsageError
from ..output import GOOD, WARN, Section, counted, numbers, ranges
from ..registry import Deployment, Registry
from ..views import View

DEFAULT_DIRECTORY = "holdfire-data"
_AGO = re.compile(r"(\d+)(s|min|h|d)")
_UNIT_S = {"s": 1, "min": 60, "h": 3600, "d": 86400}


def add_directory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dir",
        metavar="DIR",
        default=None,
        help="the deployment's directory (default: $HOLDFIRE_DIR, else ./holdfire-data), as in --dir /srv/holdfire",
    )


def add_period(parser: argparse.ArgumentParser, of_what: str) -> None:
    for option, word, example in (("--since", "from", "--since 2h (ago)"), ("--until", "before", "--until 2026-11-24")):
        text = f"only {of_what} {word} this time: {example}, or {option} 2026-11-24T10:00:00Z"
        parser.add_argument(option, metavar="WHEN", help=text)


def add_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--key", metavar="KEY", default=None,
        help="the authority's key, a file or on a token, as in --key /media/stick/authority.key or"
        " --key 'pkcs11:token=holdfire?module-path=...' (default: authority.key in --dir)",
    )  # fmt: skip
    parser.add_argument(
        "--passphrase-file", metavar="FILE", default=None,
        help="its passphrase or PIN, as in --passphrase-file secret.txt"
        f" (default: ${authority.VARIABLE}, else asked for)",
    )  # fmt: skip


def add_past_clock(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--past-clock", action="store_true",
        help="go on although the registry has entries later than this clock, when those were wrong: --past-clock",
    )  # fmt: skip


def now_us(args: argparse.Namespace, registry: Registry) -> int:
    """This computer's time, which must be after every change of the registry. Raises ClockError."""
    now = times.now_us()
    newest = max(times.parse(entry["at"]) for entry in registry.entries)
    if now < newest and not args.past_clock:
        raise ClockError(
            f"this computer's clock says {times.text(now, 0)}, but the registry was changed at {times.text(newest, 0)}:"
            " set the clock; if that date was the wrong one, add --past-clock"
        )
    return now


def add_json(parser: argparse.ArgumentParser, query: str) -> None:
    parser.add_argument("--json", action="store_true", help=f"one JSON object a line, as in --json | jq {query}")


def deployment(args: argparse.Namespace) -> Deployment:
    return Deployment(Path(args.dir or os.environ.get("HOLDFIRE_DIR") or DEFAULT_DIRECTORY))


def key_name(args: argparse.Namespace) -> str:
    """The authority's key as it was named: a file, or the URI of a key on a token."""
    return args.key or str(deployment(args).authority_path)


def unlock(args: argparse.Namespace) -> authority.Authority:
    """The deployment's authority, for a command that changes the registry."""
    name, file = key_name(args), args.passphrase_file
    if is_on_token(name):
        return hardware_token.open_key(name, lambda: authority.ask_passphrase(file, what="PIN"))
    return authority.load(Path(name), authority.ask_passphrase(file))


def unlock_new(name: str, passphrase_file: str | None) -> authority.Authority:
    """The key of that name, made where there is none."""
    if is_on_token(name):
        ask = partial(authority.ask_passphrase, passphrase_file, what="PIN")
        return hardware_token.open_key(name, ask, make=True)
    if Path(name).exists():  # an earlier try was cut, or one authority serves two deployments
        return authority.load(Path(name), authority.ask_passphrase(passphrase_file))
    return authority.create(Path(name), authority.ask_passphrase(passphrase_file, new=True))


def is_on_token(name: str) -> bool:
    return name.startswith(hardware_token.SCHEME)


def open_view(args: argparse.Namespace) -> tuple[Registry, View]:
    """The registry, and the stored records to read; `cli.main` closes them when the command is done."""
    base = deployment(args)
    registry = Registry.load(base.registry_path)
    return registry, args.opened.enter_context(contextlib.closing(View(base.database_path)))


def moment(written: str | None, now_us: int) -> int | None:
    """A point in time as people write it: RFC 3339, a date (its midnight, UTC), or an age like `2h`."""
    if written is None:
        return None
    ago = _AGO.fullmatch(written)
    if ago:
        return now_us - int(ago[1]) * _UNIT_S[ago[2]] * 1_000_000
    try:
        return times.parse(written if "T" in written.upper() else f"{written}T00:00:00Z")
    except ValueError:
        text = "write 2026-11-24T10:00:00Z, or 2026-11-24, or an age like 90s, 30min, 2h, 7d"
        raise UsageError(f"{written!r} is no time: {text}") from None


def add_extent(section: Section, found: StationAudit) -> int:
    """Which of a station's records there are, from when, and where they hang together. Gives the first one's number."""
    first, last = found.records[0].seq, found.records[-1].seq
    section.add("records", f"{counted(len(found.records), 'record')}, {numbers([(first, last)])}")
    section.add("times", audit.span_words(found))
    section.add("unbroken", f"records {ranges(found.unbroken)}", GOOD if len(found.unbroken) == 1 else WARN)
    return first


def add_given_up(section: Section, found: StationAudit) -> None:
    """What there is not, and the station said so itself."""
    if found.given_up:
        section.add("never sent", f"{numbers(found.given_up)}, by the station's own signed word", WARN)
    if found.thinned:
        section.add("thinned", show.thinned_words(found.thinned), WARN)
