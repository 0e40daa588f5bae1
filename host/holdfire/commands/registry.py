"""The registry: who belongs to the deployment, its signed history, and the changes that only the authority can make.

Every change is an entry with a time and a reason, signed by the authority's key and chained to the one before; nothing
is ever taken out. A key that was revoked, replaced or reported lost is not believed from then on; what it signed before
stays valid.
"""

import argparse
import contextlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import card, enrol, hardware_token, times, update
from ..authority import Authority
from ..enrolled import Station
from ..errors import PortError, RegistryError
from ..output import BAD, GOOD, WARN, Cell, Section, clean, print_json, print_report, print_table
from ..registry import Registry
from . import common, provision

HELP = "who belongs to the deployment: history, changes, lost stations, cards"
EXAMPLES = (
    "holdfire registry list",
    "holdfire registry history 'Ridge north'",
    "holdfire registry verify registry.json --authority f21a1ba385078cf4",
    "holdfire registry check /dev/ttyUSB0 /dev/ttyUSB1",
    "holdfire registry rename 'Ridge north' 'Ridge east' --why 'there are two ridges'",
    "holdfire registry move Bridge --place 'east pillar' --why 'the rail was repaired'",
    "holdfire registry lost Bridge --from 2026-11-24T03:00:00Z --why 'not at its pole'",
    "holdfire registry found Bridge --why 'fell into the bushes, seal unbroken'",
    "holdfire registry rotate Bridge /dev/ttyUSB0 --why 'board replaced'",
    "holdfire registry revoke Bridge --from 2026-11-24T03:00:00Z --why 'stolen'",
    "holdfire registry card 'Ridge north' -o ridge.svg",
    "holdfire registry authority --new-key /media/other/authority.key --why 'Anna leaves'",
    "holdfire registry collector --from 2026-11-24T03:00:00Z --why 'the laptop was stolen'",
    "holdfire registry tell /dev/ttyUSB0 /dev/ttyUSB1",
    "holdfire registry refound --key /media/other/authority.key --lost f21a1ba385078cf4 --why 'the safe burned'",
)
COLUMNS = ("station", "kid", "state", "place", "mounting", "board", "chip", "enrolled")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", help="one of these, as in list")

    def action(name: str, does: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = actions.add_parser(
            name, help=text, description=text, epilog="example: " + example_of(name),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        made.set_defaults(does=does)
        return made

    shown = action("list", _list, "every key that was ever enrolled, and its state")
    common.add_json(shown, ".name")
    shown = action("history", _history, "what happened, when and why, entry by entry")
    shown.add_argument("station", nargs="?", help="only of this station, by name or kid, as in Bridge")
    common.add_json(shown, ".what")
    shown = action("verify", _verify, "check every signature of a registry, and whose they are")
    shown.add_argument("file", metavar="FILE", nargs="?", help="the registry, as in registry.json (default: --dir's)")
    shown.add_argument("--authority", metavar="KID", help="must be its authority, as in --authority f21a1ba385078cf4")
    shown.add_argument("--card", metavar="TEXT", help='what the code of a card says: --card "$(cat scanned.txt)"')
    shown = action("check", _check, "ask the stations on these ports who they are; copies and erased boards show")
    shown.add_argument("port", metavar="PORT", nargs="+", help="serial ports, as in /dev/ttyUSB0 /dev/ttyUSB1")
    provision.add_timeout(shown)

    changing = [
        action("rename", _rename, "give a station another name"),
        action("move", _move, "a station stands elsewhere, or otherwise"),
        action("lost", _lost, "a station is missing: what it signs from then on is not believed"),
        action("found", _found, "a lost station is back, and you have looked it over: it is believed again"),
        action("rotate", _rotate, "the board on PORT takes a station's place, with a key of its own"),
        action("revoke", _revoke, "a station's key is out of use for good: it was stolen, opened or copied"),
    ]
    for made in changing:
        made.add_argument("station", metavar="STATION", help="by name or kid, as in 'Ridge north'")
    rename, move, lost, _, rotated, revoke = changing
    rename.add_argument("new_name", metavar="NAME", help="the new name, as in 'Ridge east'")
    provision.add_details(move)
    rotated.add_argument("port", metavar="PORT", help="where the new board is, as in /dev/ttyUSB0")
    provision.add_timeout(rotated)
    for made in (lost, rotated, revoke):
        made.add_argument(
            "--from", dest="since", metavar="WHEN",
            help="not believed from then on (default: now): --from 2026-11-24T03:00:00Z, or --from 2h (ago)",
        )  # fmt: skip
    for made in changing:
        made.add_argument("--why", required=True, help="for the history, as in --why 'mast fell in the storm'")
        common.add_key(made)
        common.add_past_clock(made)

    told = action("tell", _tell, "tell the stations on these ports which keys took the place of those they believe")
    told.add_argument("port", metavar="PORT", nargs="+", help="serial ports, as in /dev/ttyUSB0 /dev/ttyUSB1")
    provision.add_timeout(told)
    replaced = action("authority", _authority, "another key takes the authority's place; both sign")
    collector = action("collector", _collector, "a new key takes the collector's place")
    collector.add_argument(
        "--from", dest="since", metavar="WHEN",
        help="receipts of the old key are not believed from then on (default: now): --from 2026-11-24T03:00:00Z",
    )  # fmt: skip
    refounded = action("refound", _refound, "the authority's key is lost: go on with a new one, seen by everybody")
    refounded.add_argument("--lost", metavar="KID", required=True, help="the lost key's, as in --lost f21a1ba385078cf4")
    for made in (replaced, collector, refounded):
        made.add_argument("--why", required=True, help="for the history, as in --why 'Anna leaves'")
        common.add_key(made)
        common.add_past_clock(made)
    replaced.add_argument("--new-key", metavar="KEY", required=True,
                          help="the key from now on, made if need be: --new-key /media/other/authority.key")
    replaced.add_argument("--new-passphrase-file", metavar="FILE",
                          help="its passphrase, as in --new-passphrase-file new.txt (default: as --passphrase-file)")

    made = action("card", _card, "the card for the pole, with a code that can be checked, to print")
    made.add_argument("station", metavar="STATION", help="by name or kid, as in 'Ridge north'")
    made.add_argument("-o", "--output", metavar="FILE", required=True, help="an SVG picture, as in -o ridge.svg")
    made.add_argument("--note", default="", help="a line at its foot, as in --note 'Please leave me: +41 00 000 00 00'")
    for made in actions.choices.values():
        common.add_directory(made)


def example_of(action: str) -> str:
    """The line that shows it."""
    return next(line for line in EXAMPLES if line.split()[2] == action)


def run(args: argparse.Namespace) -> int:
    code: int = args.does(args)
    return code


def _load(args: argparse.Namespace) -> Registry:
    return Registry.load(common.deployment(args).registry_path)


# Looking


def state_of(station: Station) -> Cell:
    """In words: active, lost, or why its key is out of use."""
    if not station.retired and not station.lost:
        return Cell("active", GOOD)
    doubt = station.doubts[-1]
    return Cell(f"{doubt.words} from {times.text(doubt.from_us, 0)}", BAD if station.lost else WARN)


def _list(args: argparse.Namespace) -> int:
    stations = sorted(_load(args).stations.values(), key=lambda s: s.name.casefold())
    if args.json:
        print_json(_json(station) for station in stations)
        return 0
    rows = [
        (
            Cell(s.name, "bold"), s.kid.hex(), state_of(s), s.place or "-", s.mounting or "-",
            s.statement.board if s.statement else "-", s.statement.chip.hex() if s.statement else "-",
            times.text(s.enrolled_at_us, 0),
        )
        for s in stations
    ]  # fmt: skip
    empty = "no station is enrolled: holdfire provision PORT"
    print_table(COLUMNS, rows, empty, ("chip", "board", "enrolled", "mounting"), ("place", "state"))
    return 0


def _json(station: Station) -> dict[str, Any]:
    of = station.statement
    return {
        "name": station.name,
        "kid": station.kid.hex(),
        "public_key": station.public_key.hex(),
        "state": "retired" if station.retired else "lost" if station.lost else "active",
        "doubts": [
            {"from": times.text(d.from_us), "until": times.text(d.until_us) if d.until_us else None, "what": d.words,
             "why": d.why}
            for d in station.doubts
        ],
        "place": station.place or None,
        "mounting": station.mounting or None,
        "photo_sha256": station.photo.hex() or None,
        "board": of.board if of else None,
        "chip": of.chip.hex() if of else None,
        "firmware": of.firmware.hex() if of else None,
        "enrolled_at": times.text(station.enrolled_at_us),
    }  # fmt: skip


def _history(args: argparse.Namespace) -> int:
    registry = _load(args)
    kids = None
    if args.station:
        station = registry.find(args.station)
        kids = {station.kid.hex()}
        for entry in reversed(registry.entries):  # a station's history goes on over its keys
            if entry["what"] == "rotated" and entry["kid"] in kids:
                kids.add(entry["station"])
    entries = [e for e in registry.entries if kids is None or kids & {e.get("station"), e.get("kid")}]
    if args.json:
        print_json(entries)
        return 0
    rows = [(str(e["number"]), e["at"], Cell(e["what"], "bold"), _about(e, registry), e["why"]) for e in entries]
    print_table(("entry", "when", "what", "about", "why"), rows, "nothing", (), ("about", "why"))
    return 0


def _about(entry: dict[str, Any], registry: Registry) -> str:
    """What an entry says beside its kind, time and reason."""
    kid = entry.get("station") or entry.get("kid")
    parts = [registry.stations[bytes.fromhex(kid)].name] if kid else []
    if entry["what"] in ("authority", "collector", "refounded"):
        whose = "collector" if entry["what"] == "collector" else "authority"
        parts.append(f"{whose} {entry[whose]['kid']}")
    for key in ("name", "place", "mounting", "from"):
        if key in entry and entry[key] not in parts:
            parts.append(f"{key} {entry[key]}")
    return ", ".join(parts)


def _verify(args: argparse.Namespace) -> int:
    registry = Registry.load(args.file or common.deployment(args).registry_path)
    kid = registry.authority_kid.hex()
    given = _given_authority(args.authority, registry) if args.authority else ""
    section = Section(f"{registry.name}: {len(registry.entries)} entries, every signature holds")
    section.add("network", registry.network.hex())
    section.add("authority", kid + given, GOOD if given else "")
    for before, holder in itertools.pairwise(registry.authorities):
        signed = "whose key DID NOT SIGN that: it was lost, they say" if holder.broken else "which signed that"
        text = f"{holder.kid.hex()} took the place of {before.kid.hex()} in entry {holder.entry}, {signed}"
        section.add("", text, BAD if holder.broken else "")
    section.add("collector", registry.collector_kid.hex())
    for holder in registry.collectors[:-1]:
        section.add("", f"{holder.kid.hex()} before, not believed from {times.text(holder.until_us or 0, 0)} on")
    section.add("newest", f"entry {len(registry.entries)}, {registry.entries[-1]['at']}, {registry.head.hex()}")
    states = [state_of(station).text.split()[0] for station in registry.stations.values()]
    section.add("stations", ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states)) or "none")
    sections = [section]
    if args.card is not None:
        station, since = card.check(args.card, registry)
        shown = Section(f"Card of {station.name}: as the authority signed it")
        shown.add("station", station.kid.hex())
        shown.add("state", state_of(station).text, state_of(station).style)
        shown.add("since", f"{since}: print it anew" if since else "nothing has changed since it was printed")
        sections.append(shown)
    if not args.authority:
        doubt = Section("What this cannot show")
        doubt.add("authority", "that it is the right one: compare the number with a card, or another source you trust")
        doubt.add("newest", "that no newer entries exist: compare the last line with another copy")
        sections.append(doubt)
    print_report(sections)
    return 0


def _given_authority(written: str, registry: Registry) -> str:
    """What the authority that somebody gave is to this registry. Raises RegistryError where that is nothing."""
    given = "".join(written.split()).lower()
    kids = [holder.kid.hex() for holder in registry.authorities]
    if given not in kids:
        raise RegistryError(
            f"{registry.path}: signed by authority {kids[-1]}, not by {written}: not the deployment you mean, or a"
            " forged registry; ask for a copy where the number agrees"
        )
    for holder in registry.authorities[kids.index(given) + 1 :]:
        if holder.broken:
            raise RegistryError(
                f"{registry.path}: entry {holder.entry} puts authority {holder.kid.hex()} in the place of {given},"
                " whose key did not sign that: believe it only if the people you trust say that the key was lost"
            )
    return " (as you gave it)" if given == kids[-1] else " (by handovers from the one you gave)"


def _check(args: argparse.Namespace) -> int:
    seen = enrol.look(args.port, _load(args), args.timeout)
    rows = []
    for each in seen:
        kid, chip = (each.statement.kid.hex(), each.statement.chip.hex()) if each.statement else ("-", "-")
        found = Cell(each.wrong, BAD) if each.wrong else Cell("as enrolled", GOOD)
        rows.append((each.port, Cell(each.name or "-", "bold"), kid, chip, found))
    print_table(("port", "station", "kid", "chip", "found"), rows, "nothing", ("kid",), ("found",))
    return 1 if any(each.wrong for each in seen) else 0


def _card(args: argparse.Namespace) -> int:
    registry = _load(args)
    station = registry.find(args.station)
    card.write(Path(args.output), registry, station, args.note)
    print(f"Card of {station.name}: {args.output} (A6; print it from any browser)")
    return 0


# Changing


def _change(args: argparse.Namespace, change: Callable[[Registry, Station, int], str]) -> int:
    """Unlock the authority, make one change, say what it was."""
    key = common.unlock(args)
    with common.deployment(args).changing_registry(key) as registry:
        now_us = common.now_us(args, registry)
        said = change(registry, registry.find(args.station), now_us)
    print(f"{said}. Give the new {registry.path.name} to everyone who checks evidence.")
    return 0


def _since(args: argparse.Namespace, now_us: int) -> int:
    since_us = common.moment(args.since, now_us)
    return now_us if since_us is None else since_us


def _change_keys(
    args: argparse.Namespace, key: Authority, change: Callable[[Registry, int], str], refounding: bool = False
) -> int:
    with common.deployment(args).changing_registry(key, refounding) as registry:
        now_us = common.now_us(args, registry)
        said = change(registry, now_us)
    print(f"{said} Give the new {registry.path.name} to everyone who checks evidence.")
    return 0


def _authority(args: argparse.Namespace) -> int:
    key = common.unlock(args)
    new = common.unlock_new(args.new_key, args.new_passphrase_file or args.passphrase_file)

    def change(registry: Registry, now_us: int) -> str:
        old = registry.authority_kid.hex()
        registry.hand_over_authority(new, now_us, args.why)
        name = clean(hardware_token.without_pin(args.new_key))
        return (
            f"The authority is {registry.authority_kid.hex()} now, by its own signature and that of {old}; from now on:"
            f" --key {name}. Tell the stations: holdfire registry tell PORT. The cards show the old one."
        )

    return _change_keys(args, key, change)


def _collector(args: argparse.Namespace) -> int:
    key, base = common.unlock(args), common.deployment(args)
    made: list[Path] = []

    def change(registry: Registry, now_us: int) -> str:
        new, path = base.make_collector_key()
        made.append(path)
        old, old_path = registry.collector_kid.hex(), base.key_path_of(registry.collector_public)
        registry.hand_over_collector(new, _since(args, now_us), now_us, args.why)
        return (
            f"The collector is {registry.collector_kid.hex()} now, with the key {path}; receipts by {old}"
            f" ({old_path}) are not believed from {times.text(_since(args, now_us), 0)} on. Until a station is told"
            " (holdfire registry tell PORT) it keeps its records and takes no receipt."
        )

    try:
        return _change_keys(args, key, change)
    except BaseException:
        with contextlib.suppress(RegistryError):  # it stays where the registry names it already, or cannot be read
            in_office = base.key_path_of(Registry.load(base.registry_path).collector_public)
            for path in made:
                if path != in_office:
                    path.unlink(missing_ok=True)
        raise


def _refound(args: argparse.Namespace) -> int:
    new = common.unlock_new(common.key_name(args), args.passphrase_file)

    def change(registry: Registry, now_us: int) -> str:
        lost = registry.authority_kid.hex()
        if "".join(args.lost.split()).lower() != lost:
            raise RegistryError(f"the authority of {registry.path} is {lost}, not {args.lost}: --lost must name it")
        registry.refound(new, now_us, args.why)
        return (
            f"The authority is {registry.authority_kid.hex()} now, by its own word alone: everybody who reads this"
            f" registry is told so. Stations record on; they take updates and new keys only after ERASE=1 and holdfire"
            " registry rotate."
        )

    return _change_keys(args, new, change, refounding=True)


def _tell(args: argparse.Namespace) -> int:
    registry = _load(args)
    rows, failed = [], False
    for port in args.port:
        name, found = "-", Cell("knew already", GOOD)
        try:
            with enrol.Console(port, args.timeout) as console:
                name = enrol.enrolled(console, registry)[0].name
                told = update.entrust(console, registry)
                found = Cell("; ".join(told), GOOD) if told else found
        except (PortError, RegistryError) as error:
            found, failed = Cell(str(error), BAD), True
        rows.append((port, Cell(name, "bold"), found))
    print_table(("port", "station", "told"), rows, "nothing", (), ("told",))
    return 1 if failed else 0


def _rename(args: argparse.Namespace) -> int:
    def change(registry: Registry, station: Station, now_us: int) -> str:
        registry.rename(station, args.new_name, now_us, args.why)
        return f"{station.name} is now {args.new_name}; its card is out of date"

    return _change(args, change)


def _move(args: argparse.Namespace) -> int:
    photo = provision.photo_hash(args.photo)

    def change(registry: Registry, station: Station, now_us: int) -> str:
        registry.move(station, now_us, args.why, args.place or "", args.mounting or "", photo)
        return f"{station.name}: noted; its card is out of date"

    return _change(args, change)


def _lost(args: argparse.Namespace) -> int:
    def change(registry: Registry, station: Station, now_us: int) -> str:
        registry.report_lost(station, _since(args, now_us), now_us, args.why)
        return f"{station.name} is lost: what it says from {times.text(_since(args, now_us), 0)} on is not believed"

    return _change(args, change)


def _found(args: argparse.Namespace) -> int:
    def change(registry: Registry, station: Station, now_us: int) -> str:
        registry.report_found(station, now_us, args.why)
        return f"{station.name} is back: what it says from now on is believed"

    return _change(args, change)


def _revoke(args: argparse.Namespace) -> int:
    def change(registry: Registry, station: Station, now_us: int) -> str:
        registry.revoke(station, _since(args, now_us), now_us, args.why)
        return f"{station.name} is revoked: nothing it says from {times.text(_since(args, now_us), 0)} on is believed"

    return _change(args, change)


def _rotate(args: argparse.Namespace) -> int:
    def change(registry: Registry, station: Station, now_us: int) -> str:
        with enrol.Console(args.port, args.timeout) as console:
            outcome = enrol.rotate(console, registry, station, _since(args, now_us), now_us, args.why)
            update.entrust(console, registry)
        provision.report(outcome, str(registry.path))
        return f"\n{station.name}: its old key is not believed from {times.text(_since(args, now_us), 0)} on"

    return _change(args, change)
