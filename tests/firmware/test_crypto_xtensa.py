"""The signing code as the chip runs it: the machine code that mpy-cross emits for Xtensa, executed instruction by
instruction.
"""

import random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench import sign_xtensa
from tests.mpy import find_tool


@pytest.fixture(scope="module")
def station():
    return sign_xtensa.Station(find_tool("mpy-cross", "MPY_CROSS"))


def test_signatures_are_right_and_take_the_same_number_of_instructions_for_every_key_and_message(station):
    """32-bit registers and memory throughout. The count depends on the length of the message alone."""
    chance = random.Random(11)
    seen = set()
    for i in range(3):
        seed, message = chance.randbytes(32), chance.randbytes(128) if i else bytes(128)
        key = station.ed25519.PrivateKey.from_seed(seed)
        station.machine.counts.clear()
        assert key.sign(message) == Ed25519PrivateKey.from_private_bytes(seed).sign(message)
        seen.add(tuple(sorted(station.machine.counts.items())))
    [counts] = seen
    assert sum(count for _, count in counts) < 6_000_000


def test_neither_branches_nor_addresses_depend_on_a_secret():
    """Every block entered and every address loaded from or stored to, in order: the same for any key and nonce."""
    station = sign_xtensa.Station(find_tool("mpy-cross", "MPY_CROSS"), traced=True)
    station.ed25519.PrivateKey.from_seed(bytes(32))  # makes the buffers that are then used again
    chance, seen = random.Random(12), set()
    for seed in (bytes(32), b"\xff" * 32, chance.randbytes(32)):
        station.machine.trace[0] = 0
        key = station.ed25519.PrivateKey.from_seed(seed)
        key.sign(b"a message of one length")
        seen.add(station.machine.trace[0])
    assert len(seen) == 1
    station.machine.trace[0] = 0
    key.sign(b"a message of another length")
    assert station.machine.trace[0] not in seen


def test_verification_accepts_and_refuses(station):
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    public, signature = key.public_key().public_bytes_raw(), key.sign(b"quiet")
    station.ed25519.verify(public, b"quiet", signature)
    with pytest.raises(ValueError, match="equation"):
        station.ed25519.verify(public, b"Quiet", signature)
