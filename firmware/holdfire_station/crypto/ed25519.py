"""Ed25519 keys and signatures (RFC 8032) as the station uses them: PrivateKey, verify, check_public_key.

Which signatures are valid is the project's rule, the same on the host (holdfire.ed25519_strict): s < L, canonical A
and R, neither of small order, and s * B = R + k * A without the cofactor.
"""

import asyncio
import sys

from .sha512 import sha512
from .signing import Signing

_TURN_MS = 5  # between looks whether the buffers are free
# The buffers while nobody is using them: 9 KB, made here, while the heap is in one piece, for the largest is 5.5 KB.
# Asynchronous calls wait for them. A synchronous one that comes meanwhile makes others for itself: see `busy`.
_idle = [Signing()]


class InvalidSignature(ValueError):
    """The signature does not hold; the message says which part of it failed."""


class InvalidKey(InvalidSignature):
    """Bytes that cannot be a public key under the project's rule, so that no signature holds against them."""


def busy() -> bool:
    """Whether the buffers are in use: then a synchronous call takes 9 KB more."""
    return not _idle


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
        try:
            work.public_key_into(secret)
        finally:
            _give(work)
        return cls(secret)

    def sign_into(self, message, signature: bytearray) -> None:
        """Write the 64 bytes of the signature into `signature`. Allocates nothing, unless others are `busy`."""
        if len(signature) != 64:
            raise ValueError("signature buffer must be 64 bytes")
        work = _take()
        try:
            work.begin(self._secret, message, signature)
            while work.step():
                pass
        finally:  # who finds no buffers waits for them
            _give(work)

    def sign(self, message: bytes) -> bytes:
        signature = bytearray(64)
        self.sign_into(message, signature)
        return bytes(signature)

    async def sign_async(self, message: bytes) -> bytes:
        """Like sign(), giving way after each stretch. Signatures asked for at once are made one after the other; keep
        `message` unchanged.
        """
        signature = bytearray(64)
        work = await _take_in_turn()
        try:
            work.begin(self._secret, message, signature)
            while work.step():
                await asyncio.sleep(0)
        finally:  # a cancelled task, too
            _give(work)
        return bytes(signature)


def verify(public: bytes, message: bytes, signature: bytes) -> None:
    """Return if the signature holds; otherwise raise InvalidSignature (InvalidKey for a key that can sign nothing),
    naming the part.
    """
    work = _take()
    try:
        for _ in _verification(work, public, message, signature):
            pass
    finally:
        _give(work)


async def verify_async(public: bytes, message: bytes, signature: bytes) -> None:
    """Like verify(), giving way after each stretch."""
    work = await _take_in_turn()
    try:
        for _ in _verification(work, public, message, signature):
            await asyncio.sleep(0)
    finally:
        _give(work)


def check_public_key(public: bytes) -> None:
    """Raise InvalidKey unless `public` is a canonical encoding of a point of the curve that is not of small order."""
    work = _take()
    try:
        _loaded("opening").begin(work, public, None)
    finally:
        _give(work)


def _verification(work, public: bytes, message: bytes, signature: bytes):
    _loaded("opening").begin(work, public, signature)
    yield
    yield from _loaded("verifying").steps(work, public, message, signature)


def _loaded(name: str):
    """A module that is forgotten once it has done its work: seldom wanted, the two take 6 KB."""
    package = __name__.rpartition(".")[0]
    __import__(package + "." + name)
    module = sys.modules.pop(package + "." + name)
    delattr(sys.modules[package], name)
    return module


def _take():
    return _idle.pop() if _idle else Signing()


async def _take_in_turn():
    while not _idle:
        await asyncio.sleep_ms(_TURN_MS)
    return _idle.pop()


def _give(work) -> None:
    if not _idle:  # one set is kept
        _idle.append(work)
