"""What a simulated chip runs: simulator, protocol and firmware, compiled into build/ as far as they changed.

Native: with viper for the machine code that the interpreter says it runs, which need not be this PC's own (32 bits on
one of 64: tools/micropython32.py). Not native: the viper decorators are stripped first (tests/sim/noviper.py), as a Mac
with ARM needs, which has no native emitter. Without mpy-cross the sources themselves are laid out, and the station
compiles them in its own heap.
"""

import functools
import os
import pathlib
import shutil
import subprocess
import sys
import threading

import shrink

REPO = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = REPO / "build"
SIM = REPO / "tests" / "sim"
# What sys.implementation._mpy counts in its bits 10 to 13, and mpy-cross calls -march (docs/reference/mpyfiles.rst).
ARCHES = ("", "x86", "x64", "armv6", "armv6m", "armv7m", "armv7em", "armv7emsp", "armv7emdp", "xtensa", "xtensawin",
          "rv32imc", "rv64imc")
PACKAGES = {"sim": SIM, "protocol": REPO / "protocol", "firmware": REPO / "firmware"}


class ToolMissing(RuntimeError):
    """MicroPython is not there; the text says what to set."""


def find_tool(name: str, variable: str) -> str | None:
    for candidate in (os.environ.get(variable), str(pathlib.Path(sys.executable).parent / name), shutil.which(name)):
        if candidate and pathlib.Path(candidate).exists():
            return candidate
    return None


def find_micropython() -> str:
    found = find_tool("micropython", "MICROPYTHON")
    if found is None:
        raise ToolMissing("no micropython here (PyPI has no wheel for this platform?): "
                          "set MICROPYTHON=path to a unix port of 1.25 or newer")
    return str(pathlib.Path(found).absolute())  # a station runs in a folder of its own


def native_code_works() -> bool:
    return bool(find_tool("mpy-cross", "MPY_CROSS") and native_arch(find_micropython()))


@functools.cache
def native_arch(micropython: str) -> str:
    """The -march that this interpreter takes native code for; empty if none."""
    said = _run([micropython, "-c", "import sys; print(sys.implementation._mpy >> 10 & 15)"])
    return ARCHES[int(said)]


def prepare_device_tree(native: bool | None = None) -> list[pathlib.Path]:
    """Bring the tree up to date; returns the folders for MICROPYPATH, the simulator's first."""
    native = native_code_works() if native is None else native
    arch = native_arch(find_micropython()) if native else ""
    compiler = find_tool("mpy-cross", "MPY_CROSS")
    tree = BUILD / ("sim-" + (arch or ("plain" if compiler else "source")))
    texts = tree.with_name(tree.name + "-text")  # what the compiler is given: to be looked at, and to see what changed
    _write_texts(texts)
    for package in PACKAGES:
        _update(texts / package, tree / package, arch, compiler)
    return [tree / package for package in PACKAGES]


def _write_texts(texts: pathlib.Path) -> None:
    """The sources as the chip gets them (tools/shrink.py); the simulator's as they are."""
    sources = [path for root in PACKAGES.values() for path in sorted(root.rglob("*.py")) if path != SIM / "noviper.py"]
    stamp, tools = texts / ".stamp", [pathlib.Path(shrink.__file__), shrink.NAMES_IN_FLASH]
    listed = "\n".join(f"{path} {path.stat().st_mtime_ns}" for path in [*sources, *tools])
    if stamp.exists() and stamp.read_text() == listed:
        return
    shrinker = shrink.Shrinker(shrink.chip_sources([root for package, root in PACKAGES.items() if package != "sim"]))
    wanted = {}
    for package, root in PACKAGES.items():
        for path in sources:
            if path.is_relative_to(root):
                name, text = path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")
                wanted[texts / package / name] = text if package == "sim" else shrinker.shrink(name, text)
    for stale in set(texts.rglob("*.py")) - set(wanted):
        stale.unlink(missing_ok=True)
    for out, text in wanted.items():
        if not out.exists() or out.read_text(encoding="utf-8") != text:
            _put(out, text)
    _put(stamp, listed)


def _put(out: pathlib.Path, text: str) -> None:
    """In place whole: other stations may be starting from the same tree."""
    out.parent.mkdir(parents=True, exist_ok=True)
    made = out.with_name(f".{out.name}-{os.getpid()}-{threading.get_ident()}")
    made.write_text(text, encoding="utf-8")
    made.replace(out)


def _update(source: pathlib.Path, target: pathlib.Path, arch: str, compiler: str | None) -> None:
    suffix = ".mpy" if compiler else ".py"
    wanted = {target / path.relative_to(source).with_suffix(suffix): path for path in sorted(source.rglob("*.py"))}
    tools = [pathlib.Path(compiler)] if compiler else []
    tools += [] if arch else [SIM / "noviper.py"]
    tools_changed_ns = max((tool.stat().st_mtime_ns for tool in tools), default=0)
    for stale in set(target.rglob("*" + suffix)) - set(wanted):
        stale.unlink(missing_ok=True)
    for out, path in wanted.items():
        if not out.exists() or out.stat().st_mtime_ns < max(path.stat().st_mtime_ns, tools_changed_ns):
            out.parent.mkdir(parents=True, exist_ok=True)
            _make(path, out, arch, compiler)


def _make(path: pathlib.Path, out: pathlib.Path, arch: str, compiler: str | None) -> None:
    """One file, put in place whole: other stations may be starting from the same tree."""
    mine = f"{os.getpid()}-{threading.get_ident()}"
    plain, made = out.with_name(f".{out.stem}-{mine}.plain"), out.with_name(f".{out.stem}-{mine}.made")
    try:
        if not arch and b"@micropython" in path.read_bytes():
            _run([sys.executable, str(SIM / "noviper.py"), str(path), str(plain)])
        else:
            shutil.copyfile(path, plain)
        if compiler:
            march = ["-march=" + arch] if arch else []
            _run([compiler, "-O3", *march, "-s", shrink.traceback_name(path), "-o", str(made), str(plain)],
                 f"{path.name}: ")
            made.replace(out)
        else:
            plain.replace(out)
    finally:
        plain.unlink(missing_ok=True)
        made.unlink(missing_ok=True)


def _run(command: list[str], about: str = "") -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{about}{' '.join(command)} failed:\n{done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
