"""Run the base: read the stations on the serial ports, verify and store their records, answer with signed receipts.

A line says when (UTC), who, and what happened; what was refused stands out with its reason. Without PORT the patterns
of config.toml are used (by default every USB serial port); ports may come and go. Ctrl-C ends it; nothing is lost.
"""

import argparse
import json
import tomllib
from collections.abc import Callable
from typing import Any

from rich.text import Text

from .. import config, show, times
from ..errors import ConfigError
from ..events import KINDS, Event
from ..output import BAD, DIM, GOOD, WARN, clean, console_for, is_terminal
from ..views import named_of
from . import common
from .refusals import HARMLESS

HELP = "run the base: verify, store and receipt what stations send"
EXAMPLES = (
    "holdfire collect",
    "holdfire collect /dev/ttyUSB0 /dev/ttyUSB1 --verbose",
    "holdfire collect --set forward_url=https://example.org/records",
)
WORDS = {"port-opened": "port", "port-lost": "PORT LOST", "port-failed": "PORT FAILED", "port-missing": "port missing",
         "refused": "REFUSED", "forward-stalled": "stalled", "forward-parked": "parked",
         "warning": "WARNING"}  # fmt: skip
STYLES = {"port-opened": GOOD, "port-lost": BAD, "port-failed": BAD, "port-missing": WARN, "refused": BAD,
          "text": DIM, "forward-stalled": WARN, "forward-parked": WARN, "dropped": WARN, "warning": WARN, "beacon": DIM,
          "forwarded": DIM}  # fmt: skip
ONLY_VERBOSE = ("beacon", "forwarded", "text")
WHO_WIDTH, WHAT_WIDTH = 16, 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ports", metavar="PORT", nargs="*", help="serial ports, or patterns, as in '/dev/ttyUSB*'")
    parser.add_argument("--verbose", action="store_true", help="also beacons, deliveries, text: --verbose")
    parser.add_argument("--json", action="store_true", help="one JSON object an event, as in --json | jq .kind")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE",
        help="a setting for this run, over config.toml; `holdfire config` lists them: --set beacon_interval_ms=5000",
    )  # fmt: skip
    common.add_past_clock(parser)
    common.add_directory(parser)


def run(args: argparse.Namespace) -> int:
    from .. import collector  # asyncio, serial ports and HTTP: no other command needs them

    base = common.deployment(args)
    settings = config.load(base.config_path)
    if args.set:
        values = {name: getattr(settings, name) for name in config.Settings.__dataclass_fields__}
        settings = config.make({**values, **dict(_assignment(text) for text in args.set)}, "--set")
    on_event = _print_json if args.json else printer(args.verbose)
    collector.run(base.directory, args.ports or None, on_event, settings, args.past_clock)
    return 0


def printer(verbose: bool) -> Callable[[Event], None]:
    """Prints events as operator lines: short times on a terminal, whole ones in a log."""
    console = console_for()
    digits = slice(11, None) if is_terminal() else slice(None)
    heard: dict[str, str] = {}  # port -> the station last heard there: names say more than ports

    def on_event(event: Event) -> None:
        if event.kind == "record" and event.station:
            heard[event.port] = event.station
        elif event.kind in ("port-opened", "port-lost"):
            heard.pop(event.port, None)
        if verbose or event.kind not in ONLY_VERBOSE:
            who = event.station or heard.get(event.port) or short_port(event.port) or "base"
            console.print(line_of(event, times.text(event.at_us, 0)[digits], who))

    return on_event


def short_port(port: str) -> str:
    """As much of a port's end as fits the column."""
    short = port.removeprefix("/dev/")
    return short if len(short) <= WHO_WIDTH else "…" + short[1 - WHO_WIDTH :]


def line_of(event: Event, when: str, who: str) -> Text:
    """One event as one line: when, who, what, in columns."""
    style = STYLES.get(event.kind, "")
    word = WORDS.get(event.kind, event.kind)
    text = event.text
    if event.kind == "record" and event.message:
        named = named_of(event.message)
        text = f"{show.headline(named)}  {event.hash.hex()[:12]}"
        word = f"record {event.seq}"
        style = WARN if "impulse" in show.kinds(named) else BAD if "tamper" in show.kinds(named) else ""
    if event.kind == "refused":
        text = f"{event.reason}: {event.text}" + (f"  {event.hash.hex()[:12]}" if event.hash else "")
        if event.reason in HARMLESS:
            word, style = "refused", WARN
    return Text.assemble(
        (f"{when}  ", DIM),
        (f"{clean(who):<{WHO_WIDTH}}  ", "bold"),
        (f"{word:<{WHAT_WIDTH}}  ", style),
        (clean(text), style if style in (BAD, WARN, DIM) else ""),
    )


def _print_json(event: Event) -> None:
    row: dict[str, Any] = {
        "at": times.text(event.at_us),
        "kind": event.kind,
        "means": KINDS[event.kind],
        "text": event.text,
    }
    for name in ("port", "station", "seq", "reason"):
        if getattr(event, name):
            row[name] = getattr(event, name)
    if event.kid:
        row["kid"] = event.kid.hex()
    if event.hash:
        row["hash"] = event.hash.hex()
    print(json.dumps(row, separators=(",", ":")), flush=True)


def _assignment(text: str) -> tuple[str, Any]:
    """NAME=VALUE, the value as TOML has it or else as plain text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set {text}: write NAME=VALUE")
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value
