"""Copy what a station holds, records and sound clips, over its cable into a file that others can check.

For who stands at the station: an inspector, an auditor, somebody whose base is gone. Records come whether or not a base
ever had them, as far as the station has not overwritten them, and nothing is deleted on it. Each is checked against the
registry before it is kept; what is refused is kept apart, with its reason. Unplugged, killed or stopped with Ctrl-C,
the same command goes on after the last whole record. End `holdfire collect` first if it uses the port. Exit code 1 when
something was refused, did not come, or does not hold.
"""

import argparse
import contextlib
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .. import audit, clips, show, times
from .. import pull as puller
from ..enrolled import Station
from ..errors import HoldfireError
from ..output import BAD, DIM, GOOD, WARN, Section, clean, counted, numbers, print_report
from ..pull import Outcome
from ..registry import Registry
from . import common, provision

HELP = "copy records and sound clips from the station on a port"
EXAMPLES = (
    "holdfire pull /dev/ttyUSB0",
    "holdfire pull /dev/ttyUSB0 --registry registry.json -o ridge.cbor",
)
INTERRUPTED = 130  # as cli.py ends a command on Ctrl-C
TOLD_S = 5.0  # between two plain lines of progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("port", metavar="PORT", help="the station's serial port, as in /dev/ttyUSB0")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE",
        help="where to, as in -o ridge.cbor (default: pull-, the station's kid, and the day); one that is there is gone"
        " on with",
    )  # fmt: skip
    parser.add_argument(
        "--registry", metavar="FILE", type=Path,
        help="who is enrolled, as in --registry registry.json (default: the one in --dir)",
    )  # fmt: skip
    parser.add_argument("--no-clips", action="store_true", help="records only, as in --no-clips")
    provision.add_timeout(parser)
    common.add_directory(parser)


def run(args: argparse.Namespace) -> int:
    registry = Registry.load(args.registry or common.deployment(args).registry_path)
    day = times.text(times.now_us(), 0)[:10]

    def path(station: Station) -> Path:
        return args.output or Path(f"pull-{station.kid.hex()}-{day}.cbor")

    with _watch() as watch:
        pull = puller.Pull(args.port, registry, path, not args.no_clips, args.timeout, watch)
        args.opened.callback(pull.close)
        try:
            pull.run()
        except KeyboardInterrupt:
            watch.note(f"stopped{_go_on(args, pull.outcome)}")
            return INTERRUPTED
        except HoldfireError as error:
            raise type(error)(f"{error}{_go_on(args, pull.outcome)}") from None
    return _report(args, registry, pull.outcome)


def _go_on(args: argparse.Namespace, outcome: Outcome) -> str:
    file = outcome.file
    if file is None:
        return "" if args.output is None else f"; nothing was written to {args.output}"
    return f"; {file.path} holds {counted(file.count, 'record')}, go on with: {_again(args, file.path)}"


def _again(args: argparse.Namespace, path: Path) -> str:
    words = ["holdfire", "pull", args.port, "-o", str(path)]
    if args.registry or args.dir:
        words += ["--registry", str(args.registry)] if args.registry else ["--dir", args.dir]
    return shlex.join([*words, *(["--no-clips"] if args.no_clips else [])])


@contextlib.contextmanager
def _watch() -> Iterator[puller.Watch]:
    """A bar where a person looks on, a line now and then where not; on standard error."""
    console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks = {}
        told_s = time.monotonic()

        def progress(found: puller.Progress) -> None:
            nonlocal told_s
            if console.is_terminal:
                if found.what not in tasks:
                    tasks[found.what] = bars.add_task(found.what, total=found.total)
                bars.update(tasks[found.what], completed=found.done, total=found.total)
            elif time.monotonic() - told_s >= TOLD_S or found.done == found.total:
                told_s = time.monotonic()
                print(f"{found.what}: {found.done:,} of {found.total:,}", file=sys.stderr, flush=True)

        yield puller.Watch(lambda text: console.print(f"-- {clean(text)}", style=DIM), progress)


def _report(args: argparse.Namespace, registry: Registry, outcome: Outcome) -> int:
    """What the file now holds, judged as `holdfire verify` judges it."""
    file, refusals, folder, station = outcome.file, outcome.refusals, outcome.folder, outcome.station
    assert file is not None and refusals is not None and folder is not None and station is not None
    section = Section(f"Pulled from {station.name}, kid {station.kid.hex()}")
    section.add("file", str(file.path), GOOD)
    section.add("taken", f"{counted(outcome.taken, 'record')}, {outcome.before:,} were there before")
    if outcome.damaged_lines:
        section.add("line", f"{counted(outcome.damaged_lines, 'damaged line')}, asked for again")
    if outcome.missed:
        runs = [(seq, seq) for seq in outcome.missed]
        section.add("DID NOT COME", f"{numbers(runs)}: announced by the station", BAD)
    if refusals.count:
        section.add("REFUSED", f"{counted(refusals.count, 'message')}, kept with reasons in {refusals.path}", BAD)
    if outcome.warning:
        section.add("WARNING", outcome.warning, BAD)
    sections, held = [section], not (outcome.missed or refusals.count or outcome.warning)
    judged = audit.audit(file.evidence(), registry, times.now_us()) if file.count else None
    if judged is not None:
        section.add("sha-256", judged.evidence.sha256)
        sections.append(_records(judged))
        held = held and judged.held
    else:
        section.add("records", "the station holds none")
    found, wrong = clips.read_folder(folder.path) if folder.path.exists() else ([], [])
    newest = file.clips[-1] if file.clips and outcome.keeps_clips is not None else None
    if newest is not None and clips.head(newest) not in [one.hash for one in found]:
        section.add("DID NOT COME", f"the newest clip that a record names, record {newest.seq}", WARN)
    if outcome.keeps_clips:
        rated = clips.judge(found, judged.stations[0].records if judged and judged.stations else ())
        sections.append(clips.section(rated, wrong))
        sections[-1].add("folder", f"{folder.path}: bytes as they came, and WAV files to listen to")
        if outcome.clips_gone:
            sections[-1].add("gone", f"{counted(outcome.clips_gone, 'clip')}: overwritten, or not readable", WARN)
        held = held and clips.held(rated, wrong)
    elif outcome.keeps_clips is False:
        why = "nothing was detected yet, its memory is short, or it has no microphone"
        section.add("clips", f"the station keeps none: {why}")
    if file.count:
        sections.append(_next(args, registry, outcome))
    print_report(sections)
    return 0 if held else 1


def _records(judged: audit.Audit) -> Section:
    section = Section("What the file says")
    for found in judged.stations:
        first = common.add_extent(section, found)
        if not found.starts_at_genesis:
            section.add("begins", f"with record {first}: the station has overwritten what was before", WARN)
        if found.missing:
            why = "the station says that it holds them no longer, as it may where a base had them"
            section.add("missing", f"{numbers(found.missing)}: {why}", WARN)
        common.add_given_up(section, found)
        for seq, reason in found.restarts:
            section.add("restart", show.restart_words(seq, reason))
    if judged.failures:
        failed = f"{counted(len(judged.failures), 'check')} FAILED: holdfire verify says which"
        section.add("checks", failed, BAD)
    else:
        section.add("checks", "form, signature, enrolment, chain and time of every record held", GOOD)
    return section


def _next(args: argparse.Namespace, registry: Registry, outcome: Outcome) -> Section:
    file, folder = outcome.file, outcome.folder
    assert file is not None and folder is not None
    section = Section("Next")
    verify = ["holdfire", "verify", str(file.path), "--registry", str(registry.path)]
    section.add("check again", shlex.join([*verify, *(["--clips", str(folder.path)] if folder.path.exists() else [])]))
    section.add("take in", shlex.join(["holdfire", "import", str(file.path)]))
    section.add("what is new", _again(args, file.path))
    return section
