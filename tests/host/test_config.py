"""Every setting has a default, a range and a description; config.toml is read strictly."""

import dataclasses
import tomllib

import pytest

from holdfire import config
from holdfire.errors import ConfigError


def test_every_setting_is_documented_and_its_default_is_allowed():
    for field in dataclasses.fields(config.Settings):
        assert len(field.metadata["doc"]) > 20, f"{field.name} is undocumented"
        assert field.default is not dataclasses.MISSING
        if isinstance(field.default, int) and not isinstance(field.default, bool):
            assert field.metadata["low"] <= field.default <= field.metadata["high"], field.name


def test_the_template_holds_every_setting_and_changes_nothing():
    text = config.template()
    content = tomllib.loads(text)
    assert list(content) == [field.name for field in dataclasses.fields(config.Settings)]
    assert config.make(content) == config.Settings()
    for field in dataclasses.fields(config.Settings):
        assert field.metadata["doc"] in text


def test_no_file_means_defaults(tmp_path):
    assert config.load(tmp_path / "config.toml") == config.Settings()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("port = ['/dev/ttyS0']", "port: no such setting"),
        ("baud = '9600'", "baud: not a whole number"),
        ("baud = true", "baud: not a whole number"),
        ("baud = 5", "baud: 5 is outside 300 to 4000000"),
        ("forward_files = 1", "forward_files: not true or false"),
        ("ports = '/dev/ttyS0'", "ports: not a list of texts"),
        ("ports = [1]", "ports: not a list of texts"),
        ("forward_url = 'example.org'", "forward_url: does not begin with"),
        ("baud = ", "not TOML"),
        ("baud = 9600\nbaud = 9600", "not TOML"),
    ],
)
def test_mistakes_are_named_with_file_and_key(tmp_path, text, words):
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_what_is_set_is_used(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("ports = ['run/*.tty']\nbaud = 9600\nforward_url = 'https://example.org/x'\n")
    found = config.load(path)
    assert (found.ports, found.baud, found.forward_url) == (("run/*.tty",), 9600, "https://example.org/x")
