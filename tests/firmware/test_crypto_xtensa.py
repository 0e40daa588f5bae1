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


def test_verification_accepts_and_refuses(station):
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    public, signature = key.public_key().public_bytes_raw(), key.sign(b"quiet")
    station.ed25519.verify(public, b"quiet", signature)
    with pytest.raises(ValueError, match="equation"):
        station.ed25519.verify(public, b"Quiet", signature)
