"""Found a deployment: draw its network id, make the authority's and the collector's keys, write the signed registry.

DIR then holds registry.json (public: give it to everyone who shall check evidence), collector.key (private: the base
works with it) and authority.key (private, encrypted: whoever holds it and its passphrase decides which stations
count). Keep copies of both keys in a safe; the authority's is best kept there only, as with --key
/media/stick/authority.key, or on a hardware token that knows Ed25519. Nothing is ever overwritten.
"""

import argparse

from .. import hardware_token, times
from ..output import GOOD, Section, print_report
from ..registry import check_name
from . import common

HELP = "found a deployment: network id, keys, signed registry"
EXAMPLES = (
    "holdfire init --name 'Valley line'",
    "holdfire init /srv/holdfire --name 'Valley line' --key /media/stick/authority.key",
    "holdfire init --name 'Valley line' --key 'pkcs11:token=holdfire?module-path=/usr/lib/softhsm/libsofthsm2.so'",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "dir", metavar="DIR", nargs="?", default=None,
        help="where to keep everything, as in /srv/holdfire (default: $HOLDFIRE_DIR, else ./holdfire-data)",
    )  # fmt: skip
    parser.add_argument("--name", required=True, help="what people call the deployment, as in --name 'Valley line'")
    common.add_key(parser)


def run(args: argparse.Namespace) -> int:
    base, name = common.deployment(args), common.key_name(args)
    base.check_new()
    check_name(args.name, base.registry_path, "name")
    key = common.unlock_new(name, args.passphrase_file)
    registry = base.found(args.name, times.now_us(), key)
    section = Section(f"Founded {registry.name}")
    section.add("network", registry.network.hex())
    section.add("collector", registry.collector_kid.hex())
    section.add("authority", registry.authority_kid.hex())
    section.add("registry", f"{base.registry_path} (public: with it anyone can check evidence)", GOOD)
    section.add("private key", f"{base.key_path} (the base's; keep a copy in a safe place, and nowhere else)")
    kept = "on the token; keep it and its PIN apart" if common.is_on_token(name) else (
        "encrypted; keep it and its passphrase apart")  # fmt: skip
    section.add("private key", f"{hardware_token.without_pin(name)} (the authority's, {kept})")
    print_report([section])
    print("\nNext: connect a station and run: holdfire provision PORT --name 'Ridge north'")
    return 0
