"""The tree that simulated chips run from follows its sources, with and without a compiler."""

import os
import time

import pytest

from simulate import device
from tests.firmware.sim_probe import probe
from tests.mpy import find_tool


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A project of one package, built into a folder of its own."""
    find_tool("mpy-cross", "MPY_CROSS")
    source = tmp_path / "firmware"
    (source / "part").mkdir(parents=True)
    (source / "main.py").write_text("print(1)\n")
    (source / "part" / "one.py").write_text("ONE = '1'\n")
    monkeypatch.setattr(device, "PACKAGES", {"firmware": source})
    monkeypatch.setattr(device, "BUILD", tmp_path / "build")
    return source


def built(folder):
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_only_what_changed_is_compiled_again_and_what_is_gone_is_removed(sources):
    [tree] = device.prepare_device_tree()
    first = built(tree)
    assert set(first) == {"main.mpy", "part/one.mpy"}
    device.prepare_device_tree()
    assert built(tree) == first
    later = time.time_ns() + 1_000_000_000
    (sources / "part" / "one.py").write_text("ONE = '2'\n")
    os.utime(sources / "part" / "one.py", ns=(later, later))
    (sources / "part" / "two.py").write_text("TWO = '2'\n")
    device.prepare_device_tree()
    second = built(tree)
    assert set(second) == {"main.mpy", "part/one.mpy", "part/two.mpy"}
    assert second["main.mpy"] == first["main.mpy"] and second["part/one.mpy"] > first["part/one.mpy"]
    (sources / "part" / "two.py").unlink()
    device.prepare_device_tree()
    assert set(built(tree)) == {"main.mpy", "part/one.mpy"}


def test_a_file_that_does_not_compile_is_named(sources):
    (sources / "main.py").write_text("def broken(:\n")
    with pytest.raises(RuntimeError, match=r"main\.py.*failed:\n(.|\n)*SyntaxError"):
        device.prepare_device_tree()
    assert not [path for path in built(device.BUILD) if "main" in path and "-text/" not in path]


def test_without_a_compiler_the_station_runs_its_sources(tmp_path, monkeypatch):
    real = device.find_tool
    monkeypatch.setattr(device, "find_tool", lambda name, *rest: None if name == "mpy-cross" else real(name, *rest))
    monkeypatch.setattr(device, "BUILD", tmp_path / "build")
    monkeypatch.setattr(device, "PACKAGES", {"sim": device.SIM})
    assert not device.native_code_works()
    source = "import sys, machine\nprint('cause', machine.reset_cause(), machine.__file__[-3:])\n"
    with probe(tmp_path, source) as (_, console):
        assert console.read_until("cause") == "1 .py"
