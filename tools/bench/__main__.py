"""Measurements: each module beside this file is one command; figures are ratios to a baseline in the same run."""

import argparse
import importlib
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
REPO = HERE.parent.parent


def build_parser() -> argparse.ArgumentParser:
    """The whole command line, from the modules beside this file."""
    for folder in ("host", "protocol", "tools", "."):
        sys.path.insert(0, str(REPO / folder))
    parser = argparse.ArgumentParser(
        prog="tools/bench", description=__doc__, epilog="example: .venv/bin/python tools/bench sign --repeat 3"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for path in sorted(HERE.glob("[a-z]*.py")):
        module = importlib.import_module(f"bench.{path.stem}")
        if hasattr(module, "HELP"):
            sub = commands.add_parser(path.stem, help=module.HELP, description=module.__doc__,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
            module.add_arguments(sub)
            sub.set_defaults(run=module.main)
    return parser


def main() -> int:
    args = build_parser().parse_args()
    return args.run(args)


if __name__ == "__main__":
    sys.exit(main())
