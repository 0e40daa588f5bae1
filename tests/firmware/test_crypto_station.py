"""How the signature code lives on the chip: no allocation, gives way to others, shares nothing by accident, and stays
small.
"""

import pathlib
import re
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench import sign_xtensa
from simulate.device import native_arch
from tests.mpy import REPO, find_tool, run_micropython
from tests.sim import noviper

CRYPTO = REPO / "firmware/holdfire_station/crypto"
SEED = bytes(range(32))


def signature_of(message: bytes) -> str:
    return Ed25519PrivateKey.from_private_bytes(SEED).sign(message).hex()


def test_signing_allocates_nothing_on_the_heap():
    """Under heap_lock any allocation raises MemoryError; 300 bytes take three blocks of the hash."""
    script = """
import micropython
from binascii import hexlify
from holdfire_station.crypto import PrivateKey
key = PrivateKey.from_seed(bytes(range(32)))
message, signature = bytes(300), bytearray(64)
micropython.heap_lock()
key.sign_into(message, signature)
key.sign_into(message, signature)
micropython.heap_unlock()
print(hexlify(signature).decode())
"""
    assert run_micropython(script).stdout.strip() == signature_of(bytes(300))


def test_tasks_that_sign_and_verify_at_once_do_not_disturb_each_other():
    """Two cooperative signatures, two cooperative verifications, and synchronous ones between their stretches."""
    script = """
import asyncio
from binascii import hexlify
from holdfire_station.crypto import PrivateKey, verify, verify_async
key = PrivateKey.from_seed(bytes(range(32)))
ready = key.sign(b"ready")
done = []

async def sign(message):
    signature = await key.sign_async(message)
    print(hexlify(signature).decode())
    done.append(message)

async def check():
    await verify_async(key.public_bytes, b"ready", ready)
    done.append(None)

async def beside():
    turns = 0
    while len(done) < 4:
        await asyncio.sleep(0)
        turns += 1
        if turns in (5, 25):
            assert key.sign(b"ready") == ready
            verify(key.public_bytes, b"ready", ready)
    print(turns)

async def main():
    await asyncio.gather(sign(b"a"), sign(bytes(500)), check(), check(), beside())

asyncio.run(main())
"""
    first, second, turns = run_micropython(script).stdout.split()
    assert (first, second) == (signature_of(b"a"), signature_of(bytes(500)))
    assert int(turns) > 60


def test_what_fails_gives_the_buffers_back():
    """Else every later signature would wait for them for ever, and the station would record nothing more."""
    script = """
from holdfire_station.crypto import InvalidSignature, PrivateKey, busy, verify
key = PrivateKey.from_seed(bytes(32))
for failing in (lambda: key.sign(None), lambda: verify(None, b"", bytes(64)),
                lambda: verify(key.public_bytes, b"", bytes(64))):
    try:
        failing()
        raise AssertionError("did not fail")
    except (TypeError, InvalidSignature):
        assert not busy()
"""
    run_micropython(script)


def test_signing_takes_many_short_steps():
    """17 columns of the comb, two halves of the inversion, one block of a message at a time."""
    script = """
from holdfire_station.crypto import PrivateKey
from holdfire_station.crypto.signing import Signing
key, work, steps = PrivateKey.from_seed(bytes(32)), Signing(), 1
work.begin(key._secret, bytes(1000), bytearray(64))
while work.step():
    steps += 1
print(steps)
"""
    assert int(run_micropython(script).stdout) == 8 + 17 + 2 + 8


def test_a_seed_needs_both_sources_and_depends_on_each_byte_of_both():
    script = """
from binascii import hexlify
from holdfire_station.crypto.seed import make_seed
chip, host = bytes(32), bytes(range(40))
pairs = [(chip, host), (chip + b"\\0", host[1:]), (host, chip), (chip, host + b"\\0")]
for i in range(32):
    pairs.append((chip[:i] + b"\\1" + chip[i + 1:], host))
    pairs.append((chip, host[:i] + b"\\xff" + host[i + 1:]))
seeds = [make_seed(*pair) for pair in pairs]
assert all(len(seed) == 32 for seed in seeds)
print(len(set(seeds)) == len(seeds))
for short in ((bytes(31), host), (chip, bytes(31)), (b"", host)):
    try:
        make_seed(*short)
        print("accepted")
    except ValueError as refused:
        print(refused)
"""
    lines = run_micropython(script).stdout.splitlines()
    assert lines[0] == "True"
    assert len(lines) == 4 and all("short" in line for line in lines[1:])


def test_misuse_is_refused():
    script = """
from holdfire_station.crypto import PrivateKey
key = PrivateKey.from_seed(bytes(32))
for attempt in (lambda: PrivateKey.from_seed(bytes(31)), lambda: key.sign_into(b"", bytearray(63))):
    try:
        attempt()
        print("accepted")
    except ValueError as refused:
        print(refused)
"""
    assert run_micropython(script).stdout.splitlines() == ["seed must be 32 bytes", "signature buffer must be 64 bytes"]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> pathlib.Path:
    """The package as .mpy, for the chip under `chip` and for this PC under `pc`."""
    root, tool = tmp_path_factory.mktemp("mpy"), find_tool("mpy-cross", "MPY_CROSS")
    for name, arch in (("chip", "xtensawin"), ("pc", native_arch(find_tool("micropython", "MICROPYTHON")))):
        if not arch:
            continue
        folder = root / name / "holdfire_station/crypto"
        folder.mkdir(parents=True)
        (folder.parent / "__init__.py").write_text("")
        for source in CRYPTO.glob("*.py"):
            target = folder / f"{source.stem}.mpy"
            subprocess.run([tool, f"-march={arch}", "-s", source.name, "-o", str(target), str(source)], check=True)
    return root


def test_no_call_while_signing_takes_its_frame_from_the_heap(compiled):
    """One of more than 11 words is allocated there (py/objfun.c) and could start a collection; heap_lock hides it."""
    for module in ("sha512", "signing"):
        mpy = (compiled / "chip/holdfire_station/crypto" / f"{module}.mpy").read_bytes()
        assert max(sign_xtensa.frame_words(code) for code in sign_xtensa.bytecode_functions(mpy)) <= 11, module


def test_code_and_tables_take_at_most_32_kb_of_flash(compiled):
    assert sum(file.stat().st_size for file in (compiled / "chip").rglob("*.mpy")) <= 32 * 1024


def test_a_signature_needs_at_most_6_kb_and_a_verification_3_more(compiled):
    """On a 64-bit PC, beyond the imported code; the chip needs less. The package makes one such set at import. What
    a signature does not touch of it is verifying's alone."""
    if not (compiled / "pc").exists():
        pytest.skip("this MicroPython has no native code: it would run viper from its sources")
    script = """
import gc
from holdfire_station.crypto import PrivateKey, point, verify
from holdfire_station.crypto.signing import Signing
key = PrivateKey.from_seed(bytes(32))
verify(key.public_bytes, b"", key.sign(b""))  # its names stay
gc.collect()
before = gc.mem_alloc()
work = Signing()
key = PrivateKey.from_seed(bytes(32))
signature = bytearray(64)
key.sign_into(bytes(128), signature)
verify(key.public_bytes, bytes(128), signature)
gc.collect()
whole = gc.mem_alloc() - before
own = 20 * point.ELEMENTS
for i in range(own, len(work.w)):
    work.w[i] = -0x35014542  # 0xCAFEBABE: poison
work.begin(key._secret, bytes(128), signature)
while work.step():
    pass
verify(key.public_bytes, bytes(128), signature)
assert all(limb == -0x35014542 for limb in work.w[own:])
print(whole - 4 * (len(work.w) - own), whole)
"""
    signing, both = map(int, run_micropython(script, path=(compiled / "pc",)).stdout.split())
    assert 2 * 1024 < signing <= 6 * 1024
    assert both <= 9 * 1024


def test_viper_functions_run_as_plain_python_under_micropython(tmp_path):
    """Where there is no native emitter (macOS on ARM) the files are transformed first; the results are the same."""
    folder = tmp_path / "holdfire_station/crypto"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("")
    for source in CRYPTO.glob("*.py"):
        (folder / source.name).write_text(noviper.transform(source.read_text()))
        assert "viper" not in re.sub(r'"""(.|\n)*?"""', "", (folder / source.name).read_text())
    script = """
from binascii import hexlify
from holdfire_station.crypto import PrivateKey, verify
key = PrivateKey.from_seed(bytes(range(32)))
signature = key.sign(bytes(200))
verify(key.public_bytes, bytes(200), signature)
print(hexlify(signature).decode())
"""
    assert run_micropython(script, path=(tmp_path,), heap="400K").stdout.strip() == signature_of(bytes(200))
