"""Take signed records out of files into the database: after a loss, or from another base of the same deployment.

FILE is what `holdfire export` writes, a file of forward/ (JSON lines), or a serial log with !HF1: lines. Every record
is verified as if it came from its station just now; the file's word counts for nothing. What is stored already stays as
it is, so the same file may be taken in twice, and an import that was cut short is simply started again. Stop `holdfire
collect` first. Exit code 1 when something was refused; `holdfire refusals` says what and why.
"""

import argparse
import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import Progress

from .. import importing
from ..importing import Imported
from ..output import BAD, GOOD, WARN, Section, clean, counted, print_json, print_report
from . import common
from .show import REASON_WORDS

HELP = "take records out of files into the database"
EXAMPLES = (
    "holdfire import backup.cbor",
    "holdfire import holdfire-data/forward/records-*.jsonl",
    "holdfire import minicom.log --json | jq .refused",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="exports, files of forward/, serial logs, as in backup.cbor; - is "
        "standard input",
    )  # fmt: skip
    common.add_json(parser, ".stored")
    common.add_directory(parser)


def run(args: argparse.Namespace) -> int:
    with _progress() as on_progress:
        found = importing.run(common.deployment(args), args.files, on_progress)
    if args.json:
        print_json(_json(each) for each in found)
    else:
        print_report([*(_section(each) for each in found), _next(found)])
    return 1 if any(each.not_stored for each in found) else 0


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[Imported], object]]:
    """A bar a file, where a person looks on."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks = {}

        def on_progress(found: Imported) -> None:
            if found.name not in tasks:
                tasks[found.name] = bars.add_task(clean(found.name).replace("[", "\\["), total=found.size_bytes or None)
            bars.update(tasks[found.name], completed=found.read_bytes)

        yield on_progress


def _section(found: Imported) -> Section:
    section = Section(found.name)
    section.add("kind", found.form)
    section.add("stored", counted(found.stored, "record"), GOOD if found.stored else "")
    section.add("already there", counted(found.repeated, "record"))
    if found.beacons:
        section.add("receipts", f"{counted(found.beacons, 'beacon')} that this base signed")
    for reason, count in sorted(found.refused.items()):
        refused = reason in importing.NOT_STORED
        word = "REFUSED" if refused else "with a problem"
        section.add(word, f"{count:,} {reason}: {REASON_WORDS[reason]}", BAD if refused else WARN)
    if not (found.stored or found.repeated or found.refused):
        section.add("REFUSED", "there is no signed record in this file", BAD)
    return section


def _next(found: list[Imported]) -> Section:
    section = Section("Next")
    if any(each.refused for each in found):
        section.add("see why", "holdfire refusals")
    section.add("see the chains", "holdfire stations")
    section.add("go on", "holdfire collect")
    return section


def _json(found: Imported) -> dict[str, object]:
    return {
        "file": found.name,
        "kind": found.form,
        "stored": found.stored,
        "already_there": found.repeated,
        "beacons": found.beacons,
        "refused": {r: n for r, n in sorted(found.refused.items()) if r in importing.NOT_STORED},
        "with_problem": {r: n for r, n in sorted(found.refused.items()) if r not in importing.NOT_STORED},
    }
