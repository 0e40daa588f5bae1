"""Let a station's chain go on after records that are lost for good, so that the station is receipted again.

Only where no copy of the lost records exists: `holdfire import` first whatever you have. SEQ is the first record after
the loss (`holdfire stations` names it). The station's own status records must show that it no longer holds what is
missing; otherwise this refuses, because a receipt would let the station delete what nobody has. The decision cannot be
taken back, is stored with its date and reason, and is shown wherever the chain is. Stop `holdfire collect` first.
"""

import argparse

from .. import resume
from ..errors import UsageError
from ..output import GOOD, WARN, Section, counted, numbers, print_report
from ..registry import Registry
from . import common

HELP = "go on receipting a station after records that are lost for good"
EXAMPLES = ("holdfire resume Bridge 201 --why 'disk of the base burnt, no copy of 101 to 200'",)
MAX_WHY_CHARS = 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("station", metavar="STATION", help="by name or kid, as in Bridge")
    parser.add_argument("seq", type=int, metavar="SEQ", help="the first record after the loss, as in 201")
    parser.add_argument(
        "--why", required=True, metavar="TEXT", help="what happened, for those who ask later: --why 'disk burnt'"
    )
    common.add_directory(parser)


def run(args: argparse.Namespace) -> int:
    why = args.why.strip()
    if not why or len(why) > MAX_WHY_CHARS:
        raise UsageError(f"--why: say in 1 to {MAX_WHY_CHARS} characters what happened")
    base = common.deployment(args)
    registry = Registry.load(base.registry_path)
    station = registry.find(args.station)
    proof = resume.take_up(base, registry, station, args.seq, why)
    section = Section(f"{station.name} goes on at record {args.seq}")
    if proof.lost_from < args.seq:
        section.add("lost", f"what of {numbers([(proof.lost_from, args.seq - 1)])} is not here stays missing", WARN)
    waiting = f"{counted(proof.pending, 'record')} without receipt at the station"
    section.add("because", f"status record {proof.seq} says: {waiting}; {proof.held:,} before it are here", GOOD)
    section.add("", proof.hash.hex())
    section.add("kept", f"with today's date: {why}")
    section.add("next", "holdfire collect")
    print_report([section])
    return 0
