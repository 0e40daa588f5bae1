"""Print every setting of the collector, its range and its default, as a config.toml to start from.

Put it as config.toml into the deployment's directory and change what you need; every line is optional.
"""

import argparse

from .. import config

HELP = "print every setting with its default"
EXAMPLES = ("holdfire config > holdfire-data/config.toml",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(args: argparse.Namespace) -> int:
    print(config.template(), end="")
    return 0
