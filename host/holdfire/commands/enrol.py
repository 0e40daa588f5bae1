"""Enrol the station on a serial port: it makes its key, and the registry takes its public half under a name.

The station learns the deployment's network id and the collector's public key; its private key never leaves the chip.
Enrolling the same station under the same name again changes nothing. End `holdfire collect` first if it uses the port.
"""

import argparse

from .. import enrol, times
from ..output import GOOD, Section, print_report
from . import common

HELP = "enrol the station on a port under a name"
EXAMPLES = (
    "holdfire enrol /dev/ttyUSB0 --name 'Ridge north'",
    "holdfire enrol /dev/ttyACM0 --name Bridge --timeout 60",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("port", metavar="PORT", help="the station's serial port, as in /dev/ttyUSB0")
    parser.add_argument("--name", required=True, help="what people call the station, as in --name 'Ridge north'")
    parser.add_argument(
        "--timeout", type=float, default=enrol.TIMEOUT_S, metavar="SECONDS",
        help="how long to wait for an answer, as in --timeout 60 (default: %(default)s)",
    )  # fmt: skip
    common.add_directory(parser)


def run(args: argparse.Namespace) -> int:
    with common.deployment(args).changing_registry() as registry, enrol.Console(args.port, args.timeout) as console:
        outcome = enrol.enrol(console, registry, args.name, times.now_us())
    section = Section(outcome.what)
    section.add("kid", outcome.station.kid.hex())
    section.add("public key", outcome.station.public_key.hex())
    section.add("registry", str(registry.path), GOOD)
    print_report([section])
    return 0
