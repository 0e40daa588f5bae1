"""Found a deployment: draw its network id, make the collector's key, write the registry.

DIR then holds registry.json (public: give it to everyone who shall check evidence) and collector.key (private: keep a
copy in a safe). Nothing is ever overwritten.
"""

import argparse

from .. import times
from ..output import GOOD, Section, print_report
from . import common

HELP = "found a deployment: network id, collector key, registry"
EXAMPLES = (
    "holdfire init --name 'Valley line'",
    "holdfire init /srv/holdfire --name 'Valley line'",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "dir", metavar="DIR", nargs="?", default=None,
        help="where to keep everything, as in /srv/holdfire (default: $HOLDFIRE_DIR, else ./holdfire-data)",
    )  # fmt: skip
    parser.add_argument("--name", required=True, help="what people call the deployment, as in --name 'Valley line'")


def run(args: argparse.Namespace) -> int:
    base = common.deployment(args)
    registry = base.found(args.name, times.now_us())
    section = Section(f"Founded {registry.name}")
    section.add("network", registry.network.hex())
    section.add("collector", registry.collector_kid.hex())
    section.add("registry", f"{base.registry_path} (public: with it anyone can check evidence)", GOOD)
    section.add("private key", f"{base.key_path} (keep a copy in a safe place, and nowhere else)")
    print_report([section])
    print("\nNext: connect a station and run: holdfire enrol PORT --name 'Ridge north'")
    return 0
