"""Keeps host/README.md true: fills in every option of every command, every setting, and what the shown commands print.

The prose is written by hand in that file. Generated are: what stands between `<!-- options NAME -->` or
`<!-- settings -->` and `<!-- end -->`, and in every ```console block what follows a line `$ holdfire ...`, by running
it over one night's records (tests/host/made.py). `| head -N` and `| tail -N` are understood.
"""

import argparse
import contextlib
import dataclasses
import io
import os
import pathlib
import re
import shlex
import tempfile

REPO = pathlib.Path(__file__).resolve().parent.parent.parent
README = REPO / "host" / "README.md"

OFTEN = 3  # an option that more actions than this have in common is told once

_BLOCK = re.compile(r"<!-- (options ([a-z]+)|settings) -->\n.*?<!-- end -->", re.S)
_CONSOLE = re.compile(r"```console\n(.*?)```", re.S)


def outputs() -> dict[pathlib.Path, str]:
    """The README with its generated parts as they should be."""
    text = _BLOCK.sub(_fill_block, README.read_text())
    with _demo():
        text = _CONSOLE.sub(_fill_console, text)
    return {README: text}


def commands() -> dict[str, argparse.ArgumentParser]:
    """Name -> parser of every command."""
    from holdfire import cli

    (found,) = (a for a in cli.build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(found.choices)


def arguments(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """What a command takes, but for --help; and all that its actions take, where it has actions."""
    found = [a for a in parser._actions if not isinstance(a, argparse._HelpAction)]
    return found + [taken for _, inner, _ in _actions_of(parser) for taken in arguments(inner)]


def _actions_of(parser: argparse.ArgumentParser) -> list[tuple[str, argparse.ArgumentParser, str]]:
    """(name, parser, help) of a command's actions."""
    return [
        (named.dest, action.choices[named.dest], named.help or "")
        for action in parser._actions if isinstance(action, argparse._SubParsersAction)
        for named in action._choices_actions
    ]  # fmt: skip


def _fill_block(found: re.Match[str]) -> str:
    rows = _option_rows(found[2]) if found[2] else _setting_rows()
    return f"<!-- {found[1]} -->\n" + "\n".join(rows) + "\n<!-- end -->"


def _option_rows(name: str) -> list[str]:
    return _rows_of(commands()[name]) or ["It takes no options."]


def _rows_of(parser: argparse.ArgumentParser) -> list[str]:
    actions = _actions_of(parser)
    if actions:
        of_each = [(name, text, _rows_of(inner)) for name, inner, text in actions]
        all_rows = [row for _, _, taken in of_each for row in taken]
        often = [row for row in dict.fromkeys(all_rows) if all_rows.count(row) > OFTEN]
        rows = []
        for name, text, taken in of_each:
            rows += [f"- **{name}**: {text}", *("  " + row for row in taken if row not in often)]
        return [*rows, "", "Several of them take also:", "", *often]
    rows = []
    for action in arguments(parser):
        value = action.metavar if action.metavar else (action.dest.upper() if action.nargs != 0 else "")
        spelled = ", ".join(f"{option} {value}".strip() for option in action.option_strings) or str(value)
        rows.append(f"- `{spelled}`: {parser._get_formatter()._expand_help(action)}")
    return rows


def _setting_rows() -> list[str]:
    from holdfire import config

    rows = ["| setting | default | range | what it does |", "| --- | --- | --- | --- |"]
    for field in dataclasses.fields(config.Settings):
        low, high = field.metadata["low"], field.metadata["high"]
        bounds = f"{low} to {high}" if low is not None else ""
        doc = field.metadata["doc"].replace("|", "\\|")
        rows.append(f"| `{field.name}` | `{config._toml(field.default)}` | {bounds} | {doc} |")
    return rows


@contextlib.contextmanager
def _demo():
    """A folder with one night's records, and the clock of the morning after."""
    from tests.host.made import story

    from holdfire import times

    before, clock, variable = os.getcwd(), times.now_us, os.environ.pop("HOLDFIRE_DIR", None)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            base = story(pathlib.Path("holdfire-data"))
            times.now_us = lambda: base.now_us
            yield
        finally:
            os.chdir(before)
            times.now_us = clock
            if variable is not None:
                os.environ["HOLDFIRE_DIR"] = variable


def _fill_console(found: re.Match[str]) -> str:
    shown = []
    for line in found[1].splitlines():
        if line.startswith("$ "):
            shown += [line, _run(line[2:]).rstrip("\n")]
    return "```console\n" + "\n".join(shown) + "\n```"


def _run(line: str) -> str:
    """What a command line prints, errors included."""
    from holdfire import cli

    command, _, cut = line.partition(" | ")
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        cli.main(shlex.split(command)[1:])
    lines = out.getvalue().splitlines()
    if cut:
        tool, count = cut.split(" -")
        lines = lines[: int(count)] if tool == "head" else lines[-int(count) :]
    return "\n".join(_align(lines))


def _align(lines: list[str]) -> list[str]:
    """Tab-separated columns below each other, as `column -t` does; other lines as they are."""
    rows = [line.split("\t") for line in lines]
    widths: dict[int, int] = {}
    for row in rows:
        if len(row) > 1:
            widths.update({i: max(widths.get(i, 0), len(cell)) for i, cell in enumerate(row)})
    return ["  ".join(cell.ljust(widths.get(i, 0)) for i, cell in enumerate(row)).rstrip() for row in rows]
