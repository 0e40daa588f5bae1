"""Take the station on a serial port into the deployment: it makes its key, and the authority signs it in.

The station gets the deployment's network id, the collector's public key and randomness from this computer; its private
key is made on the chip and never leaves it. It answers with a signed statement of its key, chip, board and program.
Name, place, mounting and photo are yours to give; on a terminal you are asked for what is not given. The same command
again repairs an enrolment that was cut, and changes nothing where nothing is missing. End `holdfire collect` or
`holdfire console` first if it uses the port.
"""

import argparse
import hashlib
import sys
from pathlib import Path

from .. import card, enrol, update
from ..errors import UsageError
from ..output import GOOD, Section, print_report
from . import common

HELP = "take the station on a port into the deployment"
EXAMPLES = (
    "holdfire provision /dev/ttyUSB0",
    "holdfire provision /dev/ttyUSB0 --name 'Ridge north' --place 'mast above the mill' --card ridge.svg",
)
MAX_PHOTO_BYTES = 1 << 28


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("port", metavar="PORT", help="the station's serial port, as in /dev/ttyUSB0")
    parser.add_argument("--name", default=None, help="what people call the station, as in --name 'Ridge north'")
    add_details(parser)
    parser.add_argument("--why", default="provisioned", help="a remark for the history, as in --why 'first of five'")
    parser.add_argument("--card", metavar="FILE", help="also write its card to print, as in --card ridge.svg")
    add_timeout(parser)
    common.add_key(parser)
    common.add_past_clock(parser)
    common.add_directory(parser)


def add_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout", type=float, default=enrol.TIMEOUT_S, metavar="SECONDS",
        help="how long to wait for an answer, as in --timeout 60 (default: %(default)s)",
    )  # fmt: skip


def add_details(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--place", default=None, help="where it stands, as in --place 'mast above the mill'")
    parser.add_argument("--mounting", default=None, help="how, as in --mounting 'pole, 4 m, microphone to the south'")
    parser.add_argument(
        "--photo", metavar="FILE", default=None,
        help="a picture of it in place; the registry takes its SHA-256: --photo ridge.jpg",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    details = _details(args)
    key = common.unlock(args)
    with common.deployment(args).changing_registry(key) as registry:
        now_us = common.now_us(args, registry)
        with enrol.Console(args.port, args.timeout) as console:
            outcome = enrol.provision(console, registry, details, now_us, args.why)
            told = update.entrust(console, registry)
    report(outcome, str(registry.path))
    for text in told:
        print(f"the station was told {text}")
    if args.card:
        card.write(Path(args.card), registry, outcome.station)
        print(f"\nCard to print: {args.card}")
    return 0


def report(outcome: enrol.Outcome, path: str) -> None:
    station = outcome.station
    section = Section(outcome.what)
    section.add("kid", station.kid.hex())
    section.add("public key", station.public_key.hex())
    if station.statement is not None:
        section.add("board", f"{station.statement.board}, chip {station.statement.chip.hex()}")
        section.add("firmware", station.statement.firmware.hex())
    section.add("registry", path, GOOD)
    print_report([section])


def photo_hash(path: str | None) -> bytes:
    """SHA-256 of a picture; keep the picture itself with the deployment's papers."""
    if not path:
        return b""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_PHOTO_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read the photo {path}: {error.strerror}") from None
    if not 0 < len(data) <= MAX_PHOTO_BYTES:
        raise UsageError(f"{path}: is empty or larger than {MAX_PHOTO_BYTES >> 20} MiB; this is not a photo")
    return hashlib.sha256(data).digest()


def _details(args: argparse.Namespace) -> enrol.Details:
    """What was given, and on a terminal what is answered; only the name is needed."""
    asks = sys.stdin.isatty() and args.name is None
    if args.name is None and not asks:
        raise UsageError("--name is needed where nobody can be asked, as in --name 'Ridge north'")
    answers = {}
    for key, question in (
        ("name", "Name of the station: "),
        ("place", "Where it stands (Enter: not yet): "),
        ("mounting", "How it is mounted (Enter: not yet): "),
        ("photo", "Photo of it, a file (Enter: none): "),
    ):
        given = getattr(args, key)
        answers[key] = (input(question).strip() if asks else "") if given is None else given
    return enrol.Details(answers["name"], answers["place"], answers["mounting"], photo_hash(answers["photo"]))
