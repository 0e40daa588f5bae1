"""Writes the files that are made from other files, or with --check says which of them are out of date.

Each module beside this one that has `outputs() -> dict[pathlib.Path, str]` is a generator: it gives every file it
makes, whole. Nothing here knows what they are about.
"""

import argparse
import importlib
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
REPO = HERE.parent.parent


def outputs(names: list[str]) -> dict[pathlib.Path, str]:
    """Every generated file of the named generators, or of all, and what it should hold."""
    wanted: dict[pathlib.Path, str] = {}
    for name in names or sorted(path.stem for path in HERE.glob("[a-z]*.py")):
        module = importlib.import_module(f"generate.{name}")
        if hasattr(module, "outputs"):
            wanted.update(module.outputs())
    return wanted


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/generate", description=__doc__,
                                     epilog="example: .venv/bin/python tools/generate --check",
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="modules beside this file to run (default: all)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file differs")
    args = parser.parse_args()
    for folder in ("host", "protocol", "tools", "."):
        sys.path.insert(0, str(REPO / folder))
    stale = 0
    for path, text in outputs(args.names).items():
        if path.exists() and path.read_text() == text:
            continue
        stale += 1
        if args.check:
            print(f"{path.relative_to(REPO)} is out of date: run `python tools/generate`")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"wrote {path.relative_to(REPO)}")
    return 1 if args.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
