"""Ed25519 signing (RFC 8032 section 5.1.6) in short steps, without heap allocation and without a secret in any branch
or index.

A Signing owns every buffer that a signature needs. step() takes about a millisecond at most (`tools/bench sign` states
the longest), so that a caller may give way to the audio path between two of them.
"""

from array import array

from micropython import const

from . import inverse, point, scalar
from .comb import TABLE
from .sha512 import Sha512

ORDER = scalar.constants()
_LAST = const(16)  # column of the comb: SPACING - 1
_BATCHES = const(23)  # of the inversion in one step: about as long as a column of the comb
_COMB = const(0)
_NONCE = const(1)
_INVERT = const(2)
_CHALLENGE = const(3)
_DONE = const(4)


class Signing:
    """Buffers and progress of one signature at a time; a verification borrows `w`, `hash`, `digest`, `bits` and `k`."""

    def __init__(self):
        self.w = point.workspace(point.VERIFYING_ELEMENTS)
        self.hash = Sha512()
        self.digest = bytearray(64)
        self.bits = bytearray(255)
        self._r = array("i", bytes(4 * 85))
        self.k = array("i", bytes(4 * 85))
        self._a = array("i", bytes(4 * 41))
        self._secret = self._message = self._out = None
        self._at = 0
        self._phase = _DONE

    def base_times(self, limbs, column: int) -> None:
        """One column of the comb, from the highest down to 0; after it, _invert() and finish_point() give the bytes."""
        if column == _LAST:
            scalar.comb_bits(self.bits, limbs, ORDER)
        point.choose(0, TABLE, self.w, self.bits, column)
        point.run(self.w, point.FIRST_COLUMN if column == _LAST else point.COLUMN)

    def finish_point(self, out, at: int) -> None:
        """Bytes of the point, once Z holds its inverse: y, with the lowest bit of x on top (RFC 8032 section 5.1.2)."""
        w = self.w
        point.run(w, point.AFFINE)
        point.pack(w, point.X, self.digest, 0)
        point.pack(w, point.Y, out, at)
        out[at + 31] |= (self.digest[0] & 1) << 7

    def public_key_into(self, secret) -> None:
        """secret[64:96] = the public key of the clamped scalar secret[0:32]. The scalar is reduced first: the base
        point's order is L.
        """
        scalar.load(self._r, secret, 0, 32)
        scalar.reduce(self._r, 0, self._r, ORDER)
        column = _LAST
        while column >= 0:
            self.base_times(self._r, column)
            column -= 1
        self._at = 0
        while not self._invert():
            pass
        self.finish_point(secret, 64)

    def begin(self, secret, message, out) -> None:
        """Start a signature of `message` into the 64-byte bytearray `out`. `secret` is a PrivateKey's 96 bytes:
        scalar, prefix, public key.
        """
        self._secret, self._message, self._out = secret, message, out
        self.hash.reset()
        self.hash.update_part(secret, 32, 32)
        self._at = 0
        self._phase = _NONCE

    def step(self) -> bool:
        """Do the next stretch of work. True while there is more."""
        phase = self._phase
        if phase == _COMB:
            self.base_times(self._r, self._at)
            self._at -= 1
            if self._at < 0:
                self._at = 0
                self._phase = _INVERT
        elif phase == _NONCE:
            if self._hash_message():
                self.hash.finish_into(self.digest)
                self._reduced_digest(self._r)
                self._at = _LAST
                self._phase = _COMB
        elif phase == _INVERT:
            if self._invert():
                self.finish_point(self._out, 0)
                self.hash.reset()
                self.hash.update_part(self._out, 0, 32)
                self.hash.update_part(self._secret, 64, 32)
                self._at = 0
                self._phase = _CHALLENGE
        elif phase == _CHALLENGE and self._hash_message():
            self._answer()
            self._phase = _DONE
        return self._phase != _DONE

    def _hash_message(self) -> bool:
        """At most one block of the message; True when all of it is in."""
        count = min(128, len(self._message) - self._at)
        self.hash.update_part(self._message, self._at, count)
        self._at += count
        return self._at == len(self._message)

    def _invert(self) -> bool:
        """A part of the inversion of Z; True when it is done."""
        w = self.w
        if self._at == 0:
            point.reduce(w, point.Z)
            inverse.start(w)
        batches = min(_BATCHES, inverse.BATCHES - self._at)
        inverse.run(w, 0, w, batches)
        self._at += batches
        if self._at < inverse.BATCHES:
            return False
        inverse.finish(w, point.Z)
        return True

    def _reduced_digest(self, x) -> None:
        scalar.load(x, self.digest, 0, 64)
        scalar.reduce(x, 0, x, ORDER)

    def _answer(self) -> None:
        """s = r + k * a mod L into the second half of the signature."""
        self.hash.finish_into(self.digest)
        self._reduced_digest(self.k)
        scalar.load(self._a, self._secret, 0, 32)
        x = self.w  # the scratch of the field is free by now
        scalar.multiply_add(x, self.k, self._a, self._r)
        scalar.reduce(x, 0, x, ORDER)
        scalar.store(self._out, 32, x)
