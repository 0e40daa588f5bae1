"""What people read is true: no command, option, setting, reason or exit code is undocumented or without an example, and
every command line that the documentation shows is one that the program takes."""

import argparse
import dataclasses
import importlib
import inspect
import re
import shlex
import sys

import pytest

from holdfire import cli, config, errors
from holdfire.commands import COMMANDS, collect
from holdfire.commands.show import REASON_WORDS
from holdfire.events import Event
from holdfire.views import View
from tests.mpy import REPO

from .made import story

sys.path.insert(0, str(REPO / "tools"))

from generate import host_readme

README = (REPO / "host" / "README.md").read_text()
_MEASUREMENT = re.compile(r"tools/bench ([a-z_]+(?: --[a-z-]+(?:(?: [\w./]+)+)?)*)")
_SECTION = re.compile(r"^## (.*?)\n(.*?)(?=^## |\Z)", re.M | re.S)
SECTIONS = {heading.split(":")[0]: text for heading, text in _SECTION.findall(README)}


def section_of(command):
    return next(text for heading, text in SECTIONS.items() if command in re.split(r"\W+", heading))


def command_lines(text):
    """Every `holdfire ...` line inside a fence, without prompt, pipe or redirection."""
    for fence in re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S):
        for line in fence.splitlines():
            line = line.removeprefix("$ ")
            if line.startswith("holdfire "):
                yield re.split(r" [|>] ", line)[0]


def takes(line):
    """Parse a command line; argparse exits when it does not take it."""
    return cli.build_parser().parse_args(shlex.split(line)[1:])


def test_the_readme_says_what_the_program_says():
    """Options, settings and outputs in host/README.md are generated. If this fails: python tools/generate"""
    assert host_readme.outputs() == {host_readme.README: README}


def test_the_generator_notices_a_changed_output(monkeypatch):
    monkeypatch.setattr(host_readme.README.__class__, "read_text", lambda _: README.replace("62  ", "61  ", 1))
    assert host_readme.outputs()[host_readme.README] == README


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_its_section_with_options_and_an_example(name):
    section = section_of(name)
    assert f"<!-- options {name} -->" in section
    assert any(line.split()[1] == name for line in command_lines(section)), f"no example of {name}"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_that_the_program_takes(name, capsys):
    module = importlib.import_module(f"holdfire.commands.{name}")
    assert module.__doc__ and module.HELP and module.EXAMPLES
    with pytest.raises(SystemExit) as left:
        cli.main([name, "--help"])
    shown = capsys.readouterr().out
    assert left.value.code == 0
    for example in module.EXAMPLES:
        assert example in shown
        assert takes(re.split(r" [|>] ", example)[0]).run is module.run


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does_with_an_example(name):
    for action in host_readme.arguments(host_readme.commands()[name]):
        assert action.help, action.dest
        assert "as in" in action.help or any(o in action.help for o in action.option_strings), f"{name} {action.dest}"


def test_every_line_shown_anywhere_is_one_the_program_takes():
    lines = list(command_lines(README))
    if (REPO / "README.md").exists():
        lines += command_lines((REPO / "README.md").read_text())
    assert len(lines) > 15
    for line in lines:
        takes(line)


def test_every_action_of_registry_has_an_example_in_its_own_help(capsys):
    actions = next(a for a in host_readme.commands()["registry"]._actions if isinstance(a, argparse._SubParsersAction))
    for name in actions.choices:
        with pytest.raises(SystemExit):
            cli.main(["registry", name, "--help"])
        example = capsys.readouterr().out.split("example: ")[1].strip()
        assert takes(example).action == name


def test_every_measurement_shown_anywhere_is_one_that_tools_bench_takes(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    parser = importlib.import_module("bench.__main__").build_parser()
    folders = ("boards", "docs", "firmware", "host", "protocol", "tests")
    pages = [page for folder in folders for page in (REPO / folder).rglob("*.md")]
    texts = [page.read_text() for page in [*pages, *(REPO / "tools" / "bench").glob("*.py")]]
    if (REPO / "README.md").exists():
        figures = (REPO / "README.md").read_text().partition("## Figures")[2]
        texts += ["tools/bench " + shown for row in figures.splitlines() for shown in row.split("|")[-2:-1]
                  for shown in re.findall(r"`([a-z_]+[^`]*)`", shown)]
    shown = {line for text in texts for line in _MEASUREMENT.findall(text)}
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    assert {line.split()[0] for line in shown} >= set(commands.choices)
    for line in shown:
        parser.parse_args(shlex.split(line))


def test_every_setting_is_documented_in_readme_and_template():
    template = config.template()
    for field in dataclasses.fields(config.Settings):
        assert f"| `{field.name}` |" in section_of("config")
        assert f"\n{field.name} = " in template
        assert len(field.metadata["doc"]) > 15


def test_the_template_is_a_config_that_loads_to_the_defaults(tmp_path, capsys):
    assert cli.main(["config"]) == 0
    path = tmp_path / "config.toml"
    path.write_text(capsys.readouterr().out)
    assert config.load(path) == config.Settings()


def test_the_operator_lines_shown_are_what_collect_prints(tmp_path):
    base = story(tmp_path / "base")
    view = View(base.deployment.database_path)
    ridge = base.registry.find("Ridge north")
    (row,) = view.record_at(ridge.kid, 8)
    heard = Event("record", "", "p", ridge.name, ridge.kid, 8, row["hash"], message=row["message"])
    (row,) = view.refusals()
    refused = Event("refused", row["text"], reason=row["reason"], hash=row["sha256"])
    view.close()
    for event, when, who in ((heard, "03:12:45Z", "Ridge north"), (refused, "03:12:46Z", "Bridge")):
        assert f"\n{collect.line_of(event, when, who).plain}\n" in section_of("collect")


def test_every_reason_is_explained():
    assert set(REASON_WORDS) == set(errors.REASONS)
    for reason in errors.REASONS:
        assert f"| `{reason}` |" in section_of("refusals")


def test_every_exit_code_is_documented():
    codes = {
        kind.exit_code
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.HoldfireError) and kind not in (errors.HoldfireError, errors.Refused)
    }  # Refused is caught and stored; no command ends with it
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.M)}
    assert documented == codes | {0, 1, cli.INTERRUPTED}


def test_help_of_the_whole_lists_every_command(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    assert "example: holdfire init" in shown
    for name, parser in host_readme.commands().items():
        assert re.search(rf"^    {name}\s+\w", shown, re.M)
        assert isinstance(parser, argparse.ArgumentParser)
