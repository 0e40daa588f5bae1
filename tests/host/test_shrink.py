"""tools/shrink.py: the chip's programs say the same in fewer names."""

import ast
import re

import pytest

import shrink
from tests.firmware.sim_probe import probe
from tests.mpy import REPO, run_micropython

FIELDS = """LIMIT = 1 << 4
_BOTH = const(LIMIT + 2)  # two
BIG = 1 << 40
ONE, TWO = 1, LIMIT
THREE, FOUR = 3, BIG
TEXT = "abc"
TAG = b"abc"
LONG = b"abcdefghijklmnopqrstuvwxyz"
TAG_BYTES = const(len(TAG + b"!"))
CHECKING = False
if CHECKING:
    from typing import Any


class Holder:
    def __init__(self, first_parameter):
        self.long_attribute = first_parameter

    def spoken_of(self, reset_cause):
        return -_BOTH + reset_cause


def call_by_name(thing):
    return getattr(thing, "spoken_of")(reset_cause=LIMIT)
"""
USER = """from . import fields
from .fields import (
    BIG,
    LIMIT,
    Holder,
)


def use():
    return Holder(first_parameter=fields.LIMIT - LIMIT * BIG).long_attribute
"""
SOURCES = {"pack/__init__.py": "", "pack/fields.py": FIELDS, "pack/user.py": USER}


@pytest.fixture
def shrinker():
    return shrink.Shrinker(SOURCES)


def test_numbers_stand_where_their_names_were_used(shrinker):
    assert shrinker.constants == {("pack.fields", name): value for name, value in {
        "LIMIT": 16, "_BOTH": 18, "BIG": 1 << 40, "ONE": 1, "TWO": 16, "THREE": 3, "FOUR": 1 << 40, "TAG": b"abc",
        "TAG_BYTES": 4, "CHECKING": False}.items()}
    fields = shrinker.shrink("pack/fields.py", FIELDS)
    assert fields.startswith("pass\npass  # two\n")
    assert "if False:" in fields
    assert "return -18 + reset_cause" in fields and "(reset_cause=16)" in fields
    user = shrinker.shrink("pack/user.py", USER)
    assert re.search(r"return \w+\(\w+=16 - 16 \* \(1099511627776\)\)\.\w+\n", user)
    assert "LIMIT" not in user


def test_a_module_imported_for_numbers_only_is_not_imported(shrinker):
    shrunk = shrinker.shrink("pack/other.py", """from . import fields, user
from .fields import call_by_name


def use(what: fields.Holder) -> fields.Holder:
    return fields.TAG + user.use()
""")
    assert shrunk.splitlines()[0] == "from . import user"
    assert shrunk.splitlines()[1].startswith("from .fields import ")  # unused here, so perhaps for others to find
    assert "return b'abc' + user." in shrunk


def test_lines_stay_where_they_are(shrinker):
    for path, text in SOURCES.items():
        assert shrinker.shrink(path, text).count("\n") == text.count("\n")


def test_what_strings_and_chips_know_by_name_stays(shrinker):
    assert "spoken_of" not in shrinker.names  # a string
    assert "reset_cause" not in shrinker.names  # of machine
    assert {"Holder", "first_parameter", "long_attribute", "call_by_name"} <= set(shrinker.names)


def test_parameters_that_never_meet_share_a_name_and_those_that_do_never():
    text = """def one(alpha, beta):
    def inner(gamma):
        return [alpha, gamma, delta]
    return inner(beta).pop().append(alpha)


def two(gamma, epsilon):
    return gamma.pop, epsilon


def three(zeta):
    return two(1, epsilon=zeta).append
"""
    names = shrink.Shrinker({"pack/user.py": text}).names
    assert names["alpha"] == "append" and names["beta"] == "pop" and names["zeta"] == "append"
    assert "gamma" not in names or names["gamma"] not in ("append", "pop")
    assert names["epsilon"] not in ("append", "pop")


def test_both_mean_the_same(shrinker):
    """Executed, as written and as shrunk."""
    results = []
    for change in (lambda path, text: text, shrinker.shrink):
        space: dict = {"const": int}
        exec(change("pack/fields.py", FIELDS), space)
        call, holder = (shrinker.names[name] if change == shrinker.shrink else name
                        for name in ("call_by_name", "Holder"))
        results.append(space[call](space[holder](1)))
    assert results == [-2, -2]


def test_names_that_were_apart_stay_apart():
    sources = shrink.chip_sources()
    names = shrink.Shrinker(sources).names
    assert len(names) > 400
    trees = [ast.parse(text) for text in sources.values()]
    attributes = {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    keywords = {node.arg for tree in trees for node in ast.walk(tree) if isinstance(node, ast.keyword)}
    scopes = [attributes, keywords]
    for tree in trees:
        bare = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        scopes += [{n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
                   | {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)} for node in bare]
        scopes.append({name for node in tree.body for name in (
            [node.name] if hasattr(node, "name") else shrink._identifiers(node))})
    for scope in scopes:
        assert len({names.get(name, name) for name in scope}) == len(scope)
    assert not any(isinstance(node, ast.JoinedStr) for tree in trees for node in ast.walk(tree)), "names in an f-string"


def test_no_name_that_a_chip_knows_is_changed():
    theirs = {name for file in ("machine.py", "esp32.py", "time.py", "select.py")
              for name in shrink._defined(ast.parse((REPO / "tests" / "sim" / file).read_text()))}
    sources = shrink.chip_sources()
    asked = {getattr(node, "attr", None) or node.arg for text in sources.values() for node in ast.walk(ast.parse(text))
             if isinstance(node, ast.Attribute | ast.keyword)}
    assert not {name for name in theirs & asked & set(shrink.Shrinker(sources).names) if not name.startswith("_")}


def test_every_name_given_is_one_that_the_interpreter_has():
    script = """
import micropython, sys
class Empty: pass
for name in open(sys.argv[1]):
    getattr(Empty(), name.strip(), None)
micropython.qstr_info(1)
"""
    told = run_micropython(script, str(shrink.NAMES_IN_FLASH)).stdout
    assert not set(re.findall(r"Q\((\w+)\)", told)) & set(shrink.NAMES_IN_FLASH.read_text().split())


def test_the_firmware_brings_no_more_names_than_the_simulated_heap_is_charged_for(tmp_path):
    """tests/sim/boot.py: four pools, 609 names."""
    modules = [path[:-3].replace("/", ".") for path in shrink.chip_sources() if not path.endswith("__init__.py")]
    modules = [name for name in modules if name not in ("main", "holdfire_station.start")]  # these run the station
    source = f"""
import micropython
micropython.qstr_info()
for name in {" ".join(modules)!r}.split():  # not one by one: then they would be names already
    __import__(name)
micropython.qstr_info()
"""
    with probe(tmp_path, source, heap_bytes=400 << 10) as (_, console):
        counts = [int(re.search(r"n_qstr=(\d+)", console.read_until("qstr pool"))[1]) for _ in range(2)]
    assert 100 < counts[1] - counts[0] <= 609, counts
