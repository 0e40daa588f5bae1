"""Viper code without viper: as plain Python where no native emitter exists, and under a checker that proves its 32-bit
bounds.

    python tests/sim/noviper.py SRC DST        transform one file, for MicroPython without a native emitter (macOS on
    ARM)

The transformed file runs under MicroPython alone: decorators are gone, pointers are uctypes arrays over the same
memory, with unsigned loads and truncating stores, as viper has them on a 64-bit machine. A file without viper
functions is copied unchanged.

load() is for tests, under CPython: every operation of every viper function is checked as it runs. An int must stay
within -2^31..2^31-1 (a value that is not shifted, compared or used as an index may lie in 2^31..2^32-1), a uint within
0..2^32-1, an index within its buffer. Functions declared `modular` may leave that range in sums, products, left shifts
and stores, which a 32-bit register or word takes modulo 2^32; what they shift right, compare or index with must be in
range all the same, and is followed exactly, through memory too, so that a value that was cut and did not come back is
seen.

Pointer arithmetic must be written ptr32(int(p) + bytes); nothing else may be done with the address of a pointer.
"""

import sys

if __name__ == "__main__":
    sys.path.pop(0)  # this folder's select and time are for the chip, not for us

import ast
import importlib.abc
import importlib.machinery
import pathlib
import types
from unittest import mock

POINTERS = {"ptr8": 1, "ptr16": 2, "ptr32": 4}
DECORATORS = ("viper", "native")

SHIM = """
import uctypes as _uctypes


def _view(address, kind):
    return _uctypes.struct(address, {"a": (_uctypes.ARRAY, 0xFFFFFF | kind)}).a


def ptr8(buffer):
    return _view(_uctypes.addressof(buffer), _uctypes.UINT8)


def ptr16(buffer):
    return _view(_uctypes.addressof(buffer), _uctypes.UINT16)


def ptr32(buffer):
    return _view(_uctypes.addressof(buffer), _uctypes.UINT32)


def ptr8_at(pointer, offset):
    return _view(_uctypes.addressof(pointer) + offset, _uctypes.UINT8)


def ptr16_at(pointer, offset):
    return _view(_uctypes.addressof(pointer) + offset, _uctypes.UINT16)


def ptr32_at(pointer, offset):
    return _view(_uctypes.addressof(pointer) + offset, _uctypes.UINT32)


def uint(value):
    return value & 0xFFFFFFFF
"""


def is_native(node: ast.FunctionDef) -> bool:
    return any(isinstance(d, ast.Attribute) and d.attr in DECORATORS for d in node.decorator_list)


class Plain(ast.NodeTransformer):
    """Strip the decorators and hints of viper functions; turn pointer parameters and pointer arithmetic into calls of
    the shims.
    """

    def __init__(self):
        self.found = False
        self._depth = 0

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        if not is_native(node):
            return self.generic_visit(node)
        self.found = True
        node.decorator_list = []
        conversions = []
        for argument in node.args.args:
            hint = argument.annotation.id if isinstance(argument.annotation, ast.Name) else None
            argument.annotation = None
            if hint in POINTERS or hint == "uint":
                conversions.append(ast.parse(f"{argument.arg} = {hint}({argument.arg})").body[0])
        node.returns = None
        self._depth += 1
        node.body = [self.visit(statement) for statement in node.body]
        self._depth -= 1
        after_docstring = 1 if ast.get_docstring(node, clean=False) is not None else 0
        node.body[after_docstring:after_docstring] = conversions
        return node

    def visit_Call(self, node: ast.Call) -> ast.Call:
        if self._depth and isinstance(node.func, ast.Name) and node.func.id in POINTERS:
            [address] = node.args
            moved = isinstance(address, ast.BinOp) and isinstance(address.op, (ast.Add, ast.Sub))
            if moved and is_address(address.left):
                offset = self.visit(address.right)
                if isinstance(address.op, ast.Sub):
                    offset = ast.UnaryOp(ast.USub(), offset)
                return ast.Call(ast.Name(node.func.id + "_at", ast.Load()), [address.left.args[0], offset], [])
        return self.generic_visit(node)


def is_address(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "int" and isinstance(
        node.args[0], ast.Name)


def transform(source: str) -> str:
    """The module as plain Python for MicroPython."""
    plain = Plain()
    tree = plain.visit(ast.parse(source))
    if not plain.found:
        return source
    shims = ast.parse(SHIM).body
    at = 1 if ast.get_docstring(tree, clean=False) is not None else 0
    tree.body[at:at] = shims
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


class Overflow(AssertionError):
    """A value left the range that a 32-bit register holds."""


class UInt(int):
    """A viper uint: logical shifts right."""


class Pointer:
    """A place in a buffer, with viper's element size; loads are signed for 32 bits, as on the chip."""

    def __init__(self, buffer, size: int, offset: int = 0):
        if isinstance(buffer, Pointer):
            buffer, offset = buffer.bytes, buffer.offset
        view = memoryview(buffer)
        self.bytes = view if view.format == "B" else view.cast("B")
        self.size, self.offset = size, offset

    def at(self, size: int, offset: int) -> "Pointer":
        return Pointer(self.bytes, size, self.offset + offset)

    def place(self, index: int) -> int:
        at = self.offset + self.size * index
        if not 0 <= at <= len(self.bytes) - self.size:
            raise Overflow(f"index {index} is outside of the buffer")
        return at


class Checker:
    """The operations of one checked function."""

    def __init__(self, modular: bool, name: str):
        self.modular, self.name = modular, name
        self._exact: dict[tuple[int, int], int] = {}  # what a modular function stored, before it was cut

    def _fail(self, line: int, what: str, value: int) -> None:
        raise Overflow(f"{self.name}, line {line}: {what} {value:#x} does not fit 32 bits")

    def _held(self, value: int, line: int, unsigned: bool) -> int:
        """A result as the register holds it."""
        if unsigned:
            if not 0 <= value < 1 << 32 and not self.modular:
                self._fail(line, "unsigned result", value)
            return UInt(value & 0xFFFFFFFF)
        if not self.modular and not -(1 << 31) <= value < 1 << 32:
            self._fail(line, "result", value)
        return value

    def signed(self, value: int, line: int) -> int:
        if not isinstance(value, UInt) and not -(1 << 31) <= value < 1 << 31:
            self._fail(line, "operand", value)
        return value

    def op(self, kind: str, a, b, line: int):
        unsigned = isinstance(a, UInt)
        a, b = int(a), int(b)
        if kind == "RShift":
            if not unsigned:
                self.signed(a, line)
            if not 0 <= b < 32:
                self._fail(line, "shift", b)
            result = a >> b
        elif kind == "LShift":
            if not 0 <= b < 32:
                self._fail(line, "shift", b)
            result = a << b
        elif kind == "BitAnd":
            result = a & b
        elif kind == "BitOr":
            result = a | b
        elif kind == "BitXor":
            result = a ^ b
        else:
            result = {"Add": a + b, "Sub": a - b, "Mult": a * b}[kind]
        return self._held(result, line, unsigned)

    def load(self, pointer: Pointer, index: int, line: int) -> int:
        at = pointer.place(self.signed(index, line))
        value = int.from_bytes(pointer.bytes[at : at + pointer.size], "little", signed=pointer.size == 4)
        exact = self._exact.get((id(pointer.bytes.obj), at), value)
        return exact if (exact - value) % (1 << 8 * pointer.size) == 0 else value

    def store(self, pointer: Pointer, index: int, value: int, line: int) -> None:
        at = pointer.place(self.signed(index, line))
        low, high = (-(1 << 31), 1 << 32) if pointer.size == 4 else (0, 1 << 8 * pointer.size)
        if not low <= value < high and not self.modular:
            self._fail(line, "stored value", value)
        if self.modular and not isinstance(value, UInt):
            self._exact[id(pointer.bytes.obj), at] = value
        pointer.bytes[at : at + pointer.size] = (value & (1 << 8 * pointer.size) - 1).to_bytes(pointer.size, "little")

    def test(self, kind: str, a, b, line: int) -> bool:
        a, b = int(self.signed(a, line)), int(self.signed(b, line))
        return {"Lt": a < b, "LtE": a <= b, "Gt": a > b, "GtE": a >= b, "Eq": a == b, "NotEq": a != b}[kind]


class Checked(Plain):
    """Plain, and every operation goes through the function's own checker."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        if is_native(node):
            self._checker = "_v_" + node.name
        return super().visit_FunctionDef(node)

    def _call(self, method: str, node: ast.AST, *args) -> ast.Call:
        values = [*args, ast.Constant(getattr(node, "lineno", 0))]
        return ast.Call(ast.Attribute(ast.Name(self._checker, ast.Load()), method, ast.Load()), values, [])

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        if not self._depth:
            return node
        return self._call("op", node, ast.Constant(type(node.op).__name__), node.left, node.right)

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.generic_visit(node)
        if not self._depth:
            return node
        [kind], [right] = node.ops, node.comparators
        return self._call("test", node, ast.Constant(type(kind).__name__), node.left, right)

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        self.generic_visit(node)
        if not self._depth or not isinstance(node.ctx, ast.Load):
            return node
        return self._call("load", node, node.value, node.slice)

    def visit_Assign(self, node: ast.Assign) -> ast.stmt:
        self.generic_visit(node)
        target = node.targets[0]
        if not self._depth or not isinstance(target, ast.Subscript):
            return node
        return ast.Expr(self._call("store", node, target.value, target.slice, node.value))

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.stmt:
        if not self._depth:
            return self.generic_visit(node)
        if not isinstance(node.target, ast.Name):
            raise ValueError(f"line {node.lineno}: write p[i] = p[i] + ... out in full")
        value = ast.copy_location(ast.BinOp(ast.Name(node.target.id, ast.Load()), node.op, node.value), node)
        return ast.copy_location(ast.Assign([node.target], self.visit(value)), node)


class Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the modules of one folder, checked, under the name of a package made for the purpose."""

    def __init__(self, folder: pathlib.Path, package: str, modular: tuple[str, ...]):
        self._folder, self._package, self._modular = folder, package, modular

    def find_spec(self, fullname, path=None, target=None):
        package, _, name = fullname.rpartition(".")
        file = self._folder / f"{name}.py"
        if package != self._package or not file.exists():
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin=str(file))

    def create_module(self, spec):
        return None

    def exec_module(self, module) -> None:
        file = pathlib.Path(module.__spec__.origin)
        space = module.__dict__
        for name, size in POINTERS.items():
            space[name] = lambda buffer, size=size: Pointer(buffer, size)
            space[name + "_at"] = lambda pointer, offset, size=size: pointer.at(size, offset)
        space["uint"] = lambda value: UInt(value & 0xFFFFFFFF)
        tree = ast.parse(file.read_text())
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and is_native(node):
                name = f"{file.stem}.{node.name}"
                space["_v_" + node.name] = Checker(name in self._modular, name)
        exec(compile(ast.fix_missing_locations(Checked().visit(tree)), str(file), "exec"), space)


def load(folder: pathlib.Path, package: str, names: tuple[str, ...], modular: tuple[str, ...] = ()) -> list:
    """These modules of a folder (and those of it that they import), with every viper function checked.

    `modular` names functions as "module.function".
    """
    root = types.ModuleType(package)
    root.__path__ = []
    stub = types.ModuleType("micropython")
    stub.const = lambda value: value
    finder = Loader(folder, package, modular)
    with mock.patch.dict(sys.modules, {"micropython": stub, package: root}), mock.patch.object(
        sys, "meta_path", [finder, *sys.meta_path]
    ):
        return [importlib.import_module(f"{package}.{name}") for name in names]


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    source, target = map(pathlib.Path, sys.argv[1:])
    target.write_text(transform(source.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
