"""Ed25519 keys and signatures (RFC 8032) as the station uses them: PrivateKey, verify, check_public_key, make_seed.

Which signatures are valid is the project's rule, the same on the host (holdfire.ed25519_strict): s < L, canonical A
and R, neither of small order, and s * B = R + k * A without the cofactor.
"""

import asyncio
import sys

from .sha512 import Sha512, sha512
from .signing import Signing

_SEED_DOMAIN = b"holdfire-key-seed-v1\x00"
# Buffers that nobody is using, 8 KB a set. Whoever takes a set puts it back; whoever finds none makes another, so that
# two tasks never share one. The first is made here, while the heap is in one piece: its largest is 5.5 KB. Who holds
# `at_work` leaves one set to all others' synchronous calls, and none is ever made but that first.
_idle = [Signing()]
at_work = asyncio.Lock()


class InvalidSignature(ValueError):
    """The signature does not hold; the message says which part of it failed."""


class InvalidKey(InvalidSignature):
    """Bytes that cannot be a public key under the project's rule, so that no signature holds against them."""


def _take():
    return _idle.pop() if _idle else Signing()


def make_seed(chip_random: bytes, host_entropy: bytes) -> bytes:
    """The 32-byte seed of a new key, from at least 32 bytes of each of two sources.

    The ESP32's generator is only guaranteed to be random while its radio or the boot loader's entropy source is on
    (ESP-IDF, "Random Number Generation"), and a station that signs may have neither; the host cannot be trusted alone,
    since it would then know every key. Hashed together, one good source is enough. Lengths are hashed too, so no two
    pairs give the same input.
    """
    if len(chip_random) < 32 or len(host_entropy) < 32:
        raise ValueError("key entropy is short: give at least 32 bytes from the chip and 32 from the host")
    mixed = Sha512()
    mixed.update(_SEED_DOMAIN)
    for source in (chip_random, host_entropy):
        mixed.update(len(source).to_bytes(4, "big"))
        mixed.update(source)
    digest = bytearray(64)
    mixed.finish_into(digest)
    return bytes(digest[:32])


class PrivateKey:
    """A signing key. sign() and sign_into() run to the end; sign_async() gives way to other tasks between short
    stretches.
    """

    def __init__(self, secret: bytearray):
        self._secret = secret  # clamped scalar, nonce prefix, public key
        self.public_bytes = bytes(secret[64:])

    @classmethod
    def from_seed(cls, seed: bytes):
        """The key of a 32-byte seed (RFC 8032 section 5.1.5)."""
        if len(seed) != 32:
            raise ValueError("seed must be 32 bytes")
        secret = bytearray(96)
        secret[:64] = sha512(seed)
        secret[0] &= 0xF8
        secret[31] = (secret[31] & 0x7F) | 0x40
        work = _take()
        work.public_key_into(secret)
        _idle.append(work)
        return cls(secret)

    def sign_into(self, message, signature: bytearray) -> None:
        """Write the 64 bytes of the signature into `signature`. Allocates nothing, unless sign_async() is at work in
        another task.
        """
        if len(signature) != 64:
            raise ValueError("signature buffer must be 64 bytes")
        work = _take()
        work.begin(self._secret, message, signature)
        while work.step():
            pass
        _idle.append(work)

    def sign(self, message: bytes) -> bytes:
        signature = bytearray(64)
        self.sign_into(message, signature)
        return bytes(signature)

    async def sign_async(self, message: bytes) -> bytes:
        """Like sign(), giving way after each stretch. Signatures asked for at once are made one after the other; keep
        `message` unchanged.
        """
        signature = bytearray(64)
        async with at_work:
            work = _take()
            try:
                work.begin(self._secret, message, signature)
                while work.step():
                    await asyncio.sleep(0)
            finally:  # a cancelled task must not take the buffers with it
                _idle.append(work)
        return bytes(signature)


def verify(public: bytes, message: bytes, signature: bytes) -> None:
    """Return if the signature holds; otherwise raise InvalidSignature (InvalidKey for a key that can sign nothing),
    naming the part.
    """
    work = _take()
    try:
        for _ in _verifier(work).steps(public, message, signature):
            pass
    finally:
        _idle.append(work)


async def verify_async(public: bytes, message: bytes, signature: bytes) -> None:
    """Like verify(), giving way after each stretch."""
    async with at_work:
        work = _take()
        try:
            for _ in _verifier(work).steps(public, message, signature):
                await asyncio.sleep(0)
        finally:
            _idle.append(work)


def check_public_key(public: bytes) -> None:
    """Raise InvalidKey unless `public` is a canonical encoding of a point of the curve that is not of small order."""
    work = _take()
    try:
        _verifier(work).decompress_negative(public)
    finally:
        _idle.append(work)


def _verifier(work):
    """The program of a verification is loaded for it and forgotten: 6 KB, wanted once in ten seconds."""
    from . import verifying

    package, _, name = verifying.__name__.rpartition(".")
    del sys.modules[verifying.__name__]
    delattr(sys.modules[package], name)
    return verifying.Verifier(work)
