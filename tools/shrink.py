"""Make the chip's programs take less of its memory, changing nothing that they do. The simulated chip's programs and
the image's both come through here.

MicroPython keeps every name that its own flash does not hold in RAM, and every module constant in a dictionary. So,
before mpy-cross compiles them:

1. A whole number, True or False, or a few bytes that a module names in capitals (`TIME_GNSS = 3`) are put where the
   name is used, in any module where the name stands for nothing else; so what stands under `if TYPE_CHECKING:` is not
   compiled. A module that was imported for nothing else is not imported any more.
2. Names of ours become names that every MicroPython has in flash (shrink_names.txt), one for one all over the programs;
   parameters and globals share a few. A name that is also a string somewhere (a field, what an overlay calls), a
   module or a part of a chip's interface stays as it is.

Lines stay where they are, though the compiler is asked for no line numbers, which would take 2.5 KB: a traceback from
a chip has files and functions only. What a name in it stands for:

    .venv/bin/python tools/shrink.py AF_INET        (without a name: all of them)
"""

import argparse
import ast
import builtins
import collections
import io
import keyword
import operator
import pathlib
import re
import tokenize
from collections.abc import Iterable, Iterator, Mapping

REPO = pathlib.Path(__file__).resolve().parent.parent
NAMES_IN_FLASH = pathlib.Path(__file__).with_name("shrink_names.txt")
ROOTS = (REPO / "protocol", REPO / "firmware")
# Names of ours that machine and esp32 have too, and a bare interpreter on a PC does not.
CHIP_NAMES = {"bits", "feed", "kind", "label", "level", "ms", "reset", "reset_cause", "us"}
# What the interpreter itself looks for on objects: none of ours may become one of these by chance.
SPECIAL = {"send", "throw", "close", "ioctl", "read", "readinto", "readline", "write", "value", "errno", "pend_throw"}
CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]*$")
SMALL = 1 << 30
BYTES_MOST = 24  # of a constant that is put where it is used, though that be twice
OPERATORS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod, ast.LShift: operator.lshift, ast.RShift: operator.rshift, ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
}  # fmt: skip

Value = int | bytes
Known = Mapping[str, "Value | Mapping[str, Value]"]  # a name in a module: a value, or a module of ours with its values


def chip_sources(roots: Iterable[pathlib.Path] = ROOTS) -> dict[str, str]:
    """Path on the chip -> text: main.py and every module under the roots."""
    return {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
        for root in roots for path in sorted(root.rglob("*.py"))
    }  # fmt: skip


class Shrinker:
    """Made from all programs of a chip; `shrink` then gives each of them, or one that uses them, as the chip gets it.

    `constants`: (module, name) -> value. `names`: ours -> what it becomes.
    """

    def __init__(self, sources: Mapping[str, str]):
        trees = {_module(path): tree for path, text in sources.items() if (tree := _parse(text)) is not None}
        self._packages = {_module(path) for path in sources if path.endswith("/__init__.py")}
        self._modules = set(trees)
        self.constants: dict[tuple[str, str], Value] = {}
        count = -1
        while count < len(self.constants):  # a constant may be made of others
            count = len(self.constants)
            for module, tree in trees.items():
                self.constants.update({(module, name): value for name, value in self._constants(module, tree)})
        self.names = self._choose_names(list(trees.values()))

    def shrink(self, path: str, text: str) -> str:
        """The program with numbers and names put in, in as many lines as before."""
        module, tree = _module(path), _parse(text)
        if tree is None:
            return text
        known = self._known(module, tree)
        gone = [node for node in tree.body if (pairs := _assigned(node))
                and all((module, name) in self.constants for name, _ in pairs)]  # fmt: skip
        inside = {inner for node in gone for inner in ast.walk(node)}
        edits: list[tuple[ast.expr | ast.stmt, str]] = [(node, "pass") for node in gone]
        imports, put_in, nodes = [], set(), [node for node in ast.walk(tree) if node not in inside]
        for node in nodes:
            if isinstance(node, ast.ImportFrom):
                imports.append(node)
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
                value = _value(node, known)
                if value is not None:
                    bare = isinstance(value, bytes) or 0 <= value < SMALL  # `(1 << 99).to_bytes` wants brackets
                    edits.append((node, repr(value) if bare else f"({value})"))
                    put_in.update(ast.walk(node))
        annotations = {inner for node in nodes for inner in _annotations(node)}
        uses = [node for node in nodes if isinstance(node, ast.Name) and node not in annotations]
        asked = {node.id for node in uses}
        needed = {node.id for node in uses if node not in put_in}
        for node in imports:
            kept = [alias for alias in node.names if (self._source(module, node), alias.name) not in self.constants]
            kept = [alias for alias in kept if (name := alias.asname or alias.name) in needed or name not in asked]
            if len(kept) < len(node.names):
                start = f"from {'.' * node.level}{node.module or ''} import "
                edits.append((node, start + ", ".join(map(ast.unparse, kept)) if kept else "pass"))
        return _rename(_edit(text, edits), self.names)

    def _constants(self, module: str, tree: ast.Module) -> Iterator[tuple[str, Value]]:
        known = self._known(module, tree)
        meanings = _meanings(tree)
        for node in tree.body:
            found = [(name, _value(value, known)) for name, value in _assigned(node)]
            if all(CONSTANT.match(name) and len(meanings[name]) == 1 and _is_short(value) for name, value in found):
                yield from [(name, value) for name, value in found if value is not None]

    def _known(self, module: str, tree: ast.Module) -> Known:
        known: dict[str, Value | Mapping[str, Value]] = dict(self._of(module))
        meanings = _meanings(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                source = self._source(module, node)
                for alias in node.names:
                    name, inner = alias.asname or alias.name, f"{source}.{alias.name}"
                    if (source, alias.name) in self.constants:
                        known[name] = self.constants[source, alias.name]
                    elif inner in self._modules:
                        known[name] = self._of(inner)
                    # What defines it is gone, so it cannot be left as it is either.
                    if len(meanings[name]) > 1 and known.get(name) not in (None, {}):
                        raise ValueError(f"{module}: {name} is what {source} has, and something else, too: rename one")
        return known

    def _of(self, module: str) -> dict[str, Value]:
        return {name: value for (where, name), value in self.constants.items() if where == module}

    def _source(self, module: str, node: ast.ImportFrom) -> str:
        """The whole name of the module that `node` imports from."""
        if not node.level:
            return node.module or ""
        parts = module.split(".") + ([""] if module in self._packages else [])
        return ".".join(parts[: len(parts) - node.level] + ([node.module] if node.module else []))

    def _choose_names(self, trees: list[ast.Module]) -> dict[str, str]:
        in_flash = NAMES_IN_FLASH.read_text().split()
        fixed = CHIP_NAMES | set(in_flash) | set(dir(builtins)) | {name for _, name in self.constants}
        fixed |= {part for module in self._modules for part in module.split(".")}
        fixed |= {node.value for tree in trees for node in ast.walk(tree)
                  if isinstance(node, ast.Constant) and isinstance(node.value, str)}  # fmt: skip
        ours = {name for tree in trees for name in _defined(tree) if not name.startswith("__")} - fixed
        plain = {name for tree in trees for name in _identifiers(tree)} | set(keyword.kwlist)
        attributes = {name for tree in trees for name in _attributes(tree)}
        parameters = _share([name for name in in_flash if name in attributes - plain], ours - attributes, trees)
        used = plain | attributes | fixed - set(in_flash)
        free = [name for name in in_flash if name not in used | SPECIAL]
        longest_first = sorted(ours - set(parameters), key=lambda name: (-len(name), name))
        return {**dict(zip(longest_first, free, strict=False)), **parameters}


def traceback_name(path: pathlib.PurePath) -> str:
    """What tracebacks call a program: its module's last name, which the chip has in memory anyhow."""
    return path.parent.name if path.stem == "__init__" else path.stem


def _parse(text: str) -> ast.Module | None:
    """None for what is no Python: the compiler says so better."""
    try:
        return ast.parse(text)
    except SyntaxError:
        return None


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _assigned(node: ast.stmt) -> list[tuple[str, ast.expr]]:
    """Names and values of a plain assignment, `A = 1` or `A, B = 1, 2`."""
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target, value = node.targets[0], node.value
        if isinstance(target, ast.Name):
            return [(target.id, value)]
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            names = [inner.id for inner in target.elts if isinstance(inner, ast.Name)]
            return list(zip(names, value.elts, strict=False)) if len(names) == len(target.elts) else []
    return []


def _value(node: ast.expr, known: Known) -> Value | None:
    """What a constant expression comes to, or None."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, Value) else None
    if isinstance(node, ast.Name):
        value = known.get(node.id)
        return value if isinstance(value, Value) else None
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        inside = known.get(node.value.id)
        return inside.get(node.attr) if isinstance(inside, Mapping) else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("const", "len"):
        value = _value(node.args[0], known)
        if node.func.id == "const":
            return value
        return len(value) if isinstance(value, bytes) else None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _value(node.operand, known)
        return -value if isinstance(value, int) else None
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        left, right = _value(node.left, known), _value(node.right, known)
        if isinstance(left, bytes) and isinstance(right, bytes) and isinstance(node.op, ast.Add):
            return left + right
        return OPERATORS[type(node.op)](left, right) if isinstance(left, int) and isinstance(right, int) else None
    return None


def _is_short(value: Value | None) -> bool:
    return isinstance(value, int) or value is not None and len(value) <= BYTES_MOST


def _meanings(tree: ast.AST) -> Mapping[str, set[object]]:
    """What each name in a module stands for, anywhere in it. Methods are asked for as attributes."""
    found: dict[str, set[object]] = collections.defaultdict(set)
    methods = {inner for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for inner in node.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found[node.id].add(node)
        elif isinstance(node, ast.ExceptHandler):
            found[node.name or ""].add(node)
        elif isinstance(node, ast.arg):
            found[node.arg].add(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node not in methods:
            found[node.name].add(node)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                found[alias.asname or alias.name].add((node.level, node.module, alias.name))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name.partition(".")[0]].add(alias.name)
    return found


def _annotations(node: ast.AST) -> Iterator[ast.AST]:
    """What stands for readers only."""
    for field in ("annotation", "returns"):
        inner = getattr(node, field, None)
        if inner is not None:
            yield from ast.walk(inner)


def _defined(tree: ast.AST) -> Iterator[str]:
    """Names that outlive compiling: of functions, their parameters, classes, attributes and globals."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname
    for body in [tree.body] + [node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]:
        for statement in body:
            for node in ast.walk(statement) if isinstance(statement, ast.Assign | ast.AnnAssign) else ():
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    yield node.id


def _identifiers(tree: ast.AST) -> Iterator[str]:
    """Names that are not attributes."""
    for node in ast.walk(tree):
        for field in ("id", "arg", "name", "asname"):
            name = getattr(node, field, None)
            if isinstance(name, str):
                yield from name.split(".")
        if isinstance(node, ast.Global | ast.Nonlocal):
            yield from node.names


def _attributes(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr


def _share(names: list[str], ours: set[str], trees: list[ast.Module]) -> dict[str, str]:
    """Names for parameters, and for globals that are nobody's attribute. Those that never meet share a name, one that
    programs use for attributes only: parameters meet in a function, globals in a module."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    ours = ours - {node.arg for node in nodes if isinstance(node, ast.keyword)}
    for node in nodes:
        if isinstance(node, ast.ClassDef):  # what stands in a class is an attribute
            for inner in node.body:
                ours -= {inner.name} if hasattr(inner, "name") else set(_identifiers(inner))
    modules = [set(_identifiers(tree)) for tree in trees]
    functions, of_modules = [], set()
    for tree in trees:
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                of_modules.add(node.name)
            else:
                of_modules |= set(_identifiers(node))
        functions += [set(_identifiers(node)) for node in ast.walk(tree)
                      if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]  # fmt: skip
    shared: dict[str, str] = {}
    for name in sorted(ours):
        others = set().union(*[scope for scope in (modules if name in of_modules else functions) if name in scope])
        taken = {shared[other] for other in others if other in shared}
        left = [new for new in names if new not in taken]
        if left and others:
            shared[name] = left[0]
    return shared


def _edit(text: str, edits: list[tuple[ast.expr | ast.stmt, str]]) -> str:
    lines = [line.encode() for line in text.split("\n")]
    for node, new in sorted(edits, key=lambda edit: (edit[0].lineno, edit[0].col_offset), reverse=True):
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        rest = lines[last][node.end_col_offset :]
        for line in range(first + 1, last + 1):
            lines[line] = b""
        lines[first] = lines[first][: node.col_offset] + new.encode() + rest
    return b"\n".join(lines).decode()


def _rename(text: str, names: Mapping[str, str]) -> str:
    lines = text.split("\n")
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type == tokenize.NAME]
    for token in reversed(tokens):
        if token.string in names:
            line, column = token.start[0] - 1, token.start[1]
            lines[line] = lines[line][:column] + names[token.string] + lines[line][column + len(token.string) :]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="*", help="a name in a traceback; all of them when none is given")
    args = parser.parse_args()
    ours: dict[str, list[str]] = {}
    for old, new in sorted(Shrinker(chip_sources()).names.items()):
        ours.setdefault(new, []).append(old)
    for name in args.name or sorted(ours):
        print(f"{name:24}{', '.join(ours.get(name, ['is not one of ours']))}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
