"""tools/shrink.py changes no meaning: no name stands for a constant and more, and what others import is there."""

import ast
import builtins

import pytest

import shrink

BESIDE = """
from .constants import LIMIT
from . import constants
%s
def use(thing):
    return LIMIT, constants.LIMIT
"""
AGAIN = {
    "a parameter": "def f(LIMIT):\n    return LIMIT\n",
    "a local": "def f():\n    LIMIT = 3\n    return LIMIT\n",
    "a loop": "for LIMIT in (1, 2):\n    print(LIMIT)\n",
    "an error": "try:\n    pass\nexcept OSError as LIMIT:\n    print(LIMIT)\n",
    "a function": "def LIMIT():\n    pass\nLIMIT()\n",
    "a class's": "class A:\n    LIMIT = 5\n    TWICE = 2 * LIMIT\n",
    "another module's": "from elsewhere import LIMIT\nprint(LIMIT)\n",
}


@pytest.mark.parametrize("what", AGAIN)
def test_a_constant_whose_name_stands_for_something_else_as_well_is_none_and_is_refused_elsewhere(what):
    own = AGAIN[what] + "LIMIT = 7\n"
    assert ("own", "LIMIT") not in shrink.Shrinker({"own.py": own}).constants
    for value in (7, 0):
        with pytest.raises(ValueError, match="^pack.user: LIMIT is what pack.constants has, and something else, too"):
            shrunk(BESIDE % AGAIN[what], value)


def test_so_is_a_module_s_name_that_stands_for_something_else_but_not_a_method_s():
    assert "return 7, 7" in shrunk(BESIDE % "")
    assert shrunk(BESIDE % "from . import constants\nclass A:\n    def constants(self):\n        pass\n")
    with pytest.raises(ValueError, match="^pack.user: constants is what pack has, and something else"):
        shrunk(BESIDE % "def f(constants):\n    return constants.LIMIT\n")


def shrunk(user, value=7):
    sources = {"pack/__init__.py": "", "pack/constants.py": f"LIMIT = {value}\n", "pack/user.py": user}
    return shrink.Shrinker(sources).shrink("pack/user.py", user)


def bound(tree):
    """Every name that a module gives a meaning anywhere."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).split(".")[0]
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name


def test_every_name_that_the_chip_s_programs_use_is_still_there():
    """An import left out here, or a constant there, that somebody else wanted would show on the chip only."""
    sources = shrink.chip_sources()
    shrinker = shrink.Shrinker(sources)
    trees = {shrink._module(path): ast.parse(shrinker.shrink(path, text)) for path, text in sources.items()}
    there = {module: set(bound(tree)) for module, tree in trees.items()}
    missing = []
    for module, tree in trees.items():
        modules = {}
        for node in ast.walk(tree):
            source = shrinker._source(module, node) if isinstance(node, ast.ImportFrom) else None
            for alias in node.names if source in trees else ():
                if f"{source}.{alias.name}" in trees:
                    modules[alias.asname or alias.name] = f"{source}.{alias.name}"
                elif alias.name not in there[source]:
                    missing.append((module, source, alias.name))
        readers_only = {inner for node in ast.walk(tree) for inner in shrink._annotations(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
                of = modules[node.value.id]
                if node.attr not in there[of] and f"{of}.{node.attr}" not in trees and not node.attr.startswith("__"):
                    missing.append((module, of, node.attr))
            elif isinstance(node, ast.Name) and node not in readers_only:
                known = there[module] | set(dir(builtins)) | {"__file__", "ptr8", "ptr16", "ptr32", "uint"}
                if node.id not in known:
                    missing.append((module, node.id))
    assert missing == [] and len(trees) > 60
