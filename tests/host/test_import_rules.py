"""The arrows of the design, read off the source: firmware -> protocol <- host, tools -> all. No floats in protocol/."""

import ast
import pathlib
import subprocess
import sys

import pytest

from tests.mpy import REPO, find_tool

OURS = {"holdfire_protocol": "protocol", "holdfire_station": "firmware", "holdfire": "host",
        "bench": "tools", "generate": "tools", "simulate": "tools"}
MAY_IMPORT = {"protocol": {"protocol"}, "firmware": {"firmware", "protocol"}, "host": {"host", "protocol"}}
CHIP = {"machine", "esp32"}
# Drivers, one a part of the board, and what reads the chip's id; and the one place that makes them and hands them on.
# Nothing else touches the chip.
DRIVERS = {"microphone.py", "gnss.py", "sensing/power.py", "sensing/tamper.py", "statement.py"}
# What starts, ends, watches and replaces the program: reset cause, watchdog, NVS, partitions.
RUNNING = {"start.py", "crash.py", "leaving.py", "safe.py", "trial.py", "update_offer.py", "update_session.py",
           "../main.py", "../slots.py"}  # fmt: skip
COMPOSITION = {"station.py", "startup.py"}


def sources(folder: str) -> list[pathlib.Path]:
    return sorted((REPO / folder).rglob("*.py"))


def imported(path: pathlib.Path) -> set[str]:
    """Top-level names of the modules a file imports, wherever in the file; relative imports are its own house."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.split(".")[0] in OURS:
            names.add(node.value.split(".")[0])  # the name of a module of ours, for an import at run time
    return names


@pytest.mark.parametrize("house", sorted(MAY_IMPORT))
def test_arrows_run_one_way(house):
    assert sources(house)
    for path in sources(house):
        others = {OURS[name] for name in imported(path) & set(OURS)}
        assert others <= MAY_IMPORT[house], f"{path.relative_to(REPO)} imports {others - MAY_IMPORT[house]}"


def test_only_drivers_touch_the_chip():
    touching = {path.resolve() for path in sources("firmware") + sources("protocol") if imported(path) & CHIP}
    station = REPO / "firmware" / "holdfire_station"
    allowed = {(station / name).resolve() for name in DRIVERS | RUNNING | COMPOSITION}
    assert touching == allowed


def test_what_slots_and_programs_both_name_in_the_nvs_has_one_name():
    """slots.py stays on the chip when programs are renewed, so they cannot take these from it."""
    found: dict[str, set[str]] = {}
    for path in sources("firmware"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id.lstrip("_")
                if name in ("SPACE", "STATE", "WHY", "WHY_BYTES"):
                    found.setdefault(name, set()).add(ast.unparse(node.value))
    assert set(found) == {"SPACE", "STATE", "WHY", "WHY_BYTES"}
    assert all(len(values) == 1 for values in found.values()), found


def test_protocol_needs_nothing_but_hashing_base64_and_packing():
    allowed = {"hashlib", "binascii", "struct", "holdfire_protocol"}
    for path in sources("protocol"):
        guarded = {n for n in imported(path) if n in ("typing", "collections")}  # under TYPE_CHECKING, for mypy
        assert imported(path) - guarded <= allowed, path.name
        assert_guarded(path)


def assert_guarded(path: pathlib.Path) -> None:
    """typing and collections are imported only where `if TYPE_CHECKING` keeps MicroPython from seeing them."""
    tree = ast.parse(path.read_text())
    ifs = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    guarded = [node for one in ifs if getattr(one.test, "id", "") == "TYPE_CHECKING" for node in ast.walk(one)]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("typing", "collections"):
            assert node in guarded, f"{path.name}: line {node.lineno}"


def floats(source: str) -> list[int]:
    """Lines that could make a float: a literal, true division, float(), a power below zero."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        literal = isinstance(node, ast.Constant) and isinstance(node.value, (float, complex))
        division = isinstance(node, (ast.BinOp, ast.AugAssign)) and isinstance(node.op, (ast.Div, ast.Pow))
        named = isinstance(node, ast.Name) and node.id in ("float", "complex", "round", "pow", "divmod")
        if literal or division or named:
            lines.append(node.lineno)
    return lines


def test_protocol_has_no_floats():
    for path in sources("protocol"):
        assert floats(path.read_text()) == [], path.name


@pytest.mark.parametrize("source", ["a = 1.5", "a = b / c", "a /= 2", "a = float(b)", "a = 2 ** b", "a = 1j"])
def test_the_check_for_floats_can_fail(source):
    assert floats(source) == [1]


@pytest.mark.parametrize("arch", ["xtensawin", "rv32imc"])
def test_everything_for_the_chip_compiles_for_it(arch, tmp_path):
    """ESP32 and ESP32-S3 are Xtensa with windowed registers, the C3 is RISC-V."""
    mpy_cross = find_tool("mpy-cross", "MPY_CROSS")
    for path in sources("firmware") + sources("protocol"):
        done = subprocess.run([mpy_cross, f"-march={arch}", "-o", str(tmp_path / "out.mpy"), str(path)],
                              capture_output=True, text=True)
        assert done.returncode == 0, f"{path.relative_to(REPO)}: {done.stderr}"


def test_protocol_runs_without_the_rest_of_the_house():
    """With nothing else on the path: an import of ours would fail here even if it hid from the reading above."""
    modules = [p.stem for p in sources("protocol") if p.stem != "__init__"]
    code = f"import sys; sys.path[:0] = [{str(REPO / 'protocol')!r}]\n"
    code += "".join(f"import holdfire_protocol.{name}\n" for name in modules)
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)
