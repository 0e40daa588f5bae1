"""Found a deployment: draw its network id, make the authority's and the collector's keys, write the signed registry.

DIR then holds registry.json (public: give it to everyone who shall check evidence), collector.key (private: the base
works with it) and authority.key (private, encrypted: whoever holds it and its passphrase decides which stations
count). Keep copies of both keys in a safe; the authority's is best kept there only, as with --key
/media/stick/authority.key. Nothing is ever overwritten.
"""

import argparse

from .. import authority, times
from ..output import GOOD, Section, print_report
from ..registry import check_name
from . import common

HELP = "found a deployment: network id, keys, signed registry"
EXAMPLES = (
    "holdfire init --name 'Valley line'",
    "holdfire init /srv/holdfire --name 'Valley line' --key /media/stick/authority.key",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "dir", metavar="DIR", nargs="?", default=None,
        help="where to keep everything, as in /srv/holdfire (default: $HOLDFIRE_DIR, else ./holdfire-data)",
    )  # fmt: skip
    parser.add_argument("--name", required=True, help="what people call the deployment, as in --name 'Valley line'")
    common.add_key(parser)


def run(args: argparse.Namespace) -> int:
    base, path = common.deployment(args), common.key_path(args)
    base.check_new()
    check_name(args.name, base.registry_path, "name")
    if path.exists():  # an earlier try was cut, or one authority serves two deployments
        key = common.unlock(args)
    else:
        key = authority.create(path, authority.ask_passphrase(args.passphrase_file, new=True))
    registry = base.found(args.name, times.now_us(), key)
    section = Section(f"Founded {registry.name}")
    section.add("network", registry.network.hex())
    section.add("collector", registry.collector_kid.hex())
    section.add("authority", registry.authority_kid.hex())
    section.add("registry", f"{base.registry_path} (public: with it anyone can check evidence)", GOOD)
    section.add("private key", f"{base.key_path} (the base's; keep a copy in a safe place, and nowhere else)")
    section.add("private key", f"{path} (the authority's, encrypted; keep it and its passphrase apart)")
    print_report([section])
    print("\nNext: connect a station and run: holdfire provision PORT --name 'Ridge north'")
    return 0
