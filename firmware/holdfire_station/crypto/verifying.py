"""Ed25519 verification by the project's rule: s < L, canonical A and R, neither of small order, and s * B = R + k * A,
no cofactor.

Everything here is public, so branches may depend on it. Verifier.steps() is a generator, to give way between stretches.

In memory only while a signature is verified (ed25519.py), which spares 6 KB. What it raises: ValueError >
InvalidSignature > InvalidKey.
"""

from array import array

from . import inverse, point, scalar
from .comb import SPACING, TABLE
from .ed25519 import InvalidKey, InvalidSignature
from .field import BOTH, MUL, TIGHT
from .point import ONE, UNUSED, A, B, C, E, F, G, H, T, U, X, Y, Z
from .signing import ORDER

_2_255 = 1 << 255
_P = _2_255 - 19
# y of the points of order 1, 2, 4 and 8, with either sign of x: the roots of the doubling formulas.
_Y8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER_Y = (0, 1, _P - 1, _Y8, _P - _Y8)
_D = (
    b"\xa3\x78\x59\x13\xca\x4d\xeb\x75\xab\xd8\x41\x41\x4d\x0a\x70\x00"
    b"\x98\xe8\x79\x77\x79\x40\xc7\x8c\x73\xfe\x6f\x2b\xee\x6c\x03\x52"
)
_ROOT = (
    b"\xb0\xa0\x0e\x4a\x27\x1b\xee\xc4\x78\xe4\x2f\xad\x06\x18\x43\x2f"
    b"\xa7\xd7\xfb\x3d\x99\x00\x4d\x2b\x0b\xdf\xc1\x4f\x80\x24\x83\x2b"
)

D, ROOT, ZERO, D2 = point.ELEMENTS, point.ELEMENTS + 1, point.ELEMENTS + 2, point.ELEMENTS + 3  # ROOT: the root of -1
# Multiples 1, 3 .. 15 of -A and then 2 * -A, each as Y - X, Y + X, 2 * d * T, 2 * Z.
_MULTIPLES = point.ELEMENTS + 4
_TWICE = _MULTIPLES + 32
# While A is being decompressed, the place of the multiples holds u = y^2 - 1, v = d * y^2 + 1 and two products of
# theirs.
_V, _UV3, _UV7 = _MULTIPLES, _MULTIPLES + 4, _MULTIPLES + 5
_U = _V + 2


# x by RFC 8032 section 5.1.3, as a program of the field machine; tests/both/test_crypto_generated.py has its steps.
# Written out, for putting it together each time would take 6 KB beside the verifier's own.
_DECOMPRESS = (
    b"\x01\x0a\x07\x01\x00\x0c\x0a\x1d\x02\x23\x0a\x11\x02\x21\x0c\x11\x03\x21\x22\x00\x03\x23\x23\x00"
    b"\x01\x0a\x21\x01\x00\x0a\x0a\x21\x00\x25\x0a\x23\x01\x0a\x0a\x01\x00\x0a\x0a\x21\x00\x26\x0a\x23"
    b"\x01\x0a\x26\x01\x01\x0b\x0a\x02\x00\x0b\x26\x0b\x00\x0c\x0a\x0b\x01\x0a\x0c\x01\x00\x0b\x0b\x0a"
    b"\x01\x0a\x0b\x05\x00\x0b\x0a\x0b\x01\x0a\x0b\x0a\x00\x0a\x0a\x0b\x01\x0d\x0a\x14\x00\x0a\x0d\x0a"
    b"\x01\x0a\x0a\x0a\x00\x0b\x0a\x0b\x01\x0a\x0b\x32\x00\x0a\x0a\x0b\x01\x0d\x0a\x64\x00\x0a\x0d\x0a"
    b"\x01\x0a\x0a\x32\x00\x0a\x0a\x0b\x01\x0a\x0a\x02\x00\x0a\x0a\x26\x00\x06\x0a\x25\x01\x0a\x06\x01"
    b"\x00\x0a\x0a\x21\x02\x0d\x0a\x23"
)
_TURN = point.program((MUL, X, X, ROOT))
_NEGATE = point.program((BOTH, E, ZERO, X), (TIGHT, X, E, 0))
_SET_OUT = point.program((MUL, T, X, Y), (TIGHT, Z, ONE, 0))
_NEUTRAL = point.program((TIGHT, X, ZERO, 0), (TIGHT, Y, ONE, 0), (TIGHT, Z, ONE, 0), (TIGHT, T, ZERO, 0))


def _keep(at: int) -> bytes:
    """Keep the current point as a multiple."""
    return point.program((BOTH, at, Y, X), (BOTH, at + 2, Z, Z), (MUL, at + 2, T, D2))


def _add(at: int, negative: bool) -> bytes:
    """Add (or take) a kept multiple. Its sums are 2 units: 2 * 2 in the first two products."""
    minus, plus, f, g = (at + 1, at, G, F) if negative else (at, at + 1, F, G)
    steps = (
        (BOTH, A, Y, X), (MUL, A, A, minus), (MUL, B, B, plus), (MUL, C, T, at + 2), (MUL, U, Z, at + 3),
        (BOTH, E, B, A), (BOTH, F, U, C),
    )
    return point.program(*(steps + point.extended(E, f, g, H)))


def _signed_digits(k: int) -> bytearray:
    """k < 2^253 in digits that are odd, at most 15 in size and at least 5 places apart; a negative one has 128 added
    to its size.
    """
    bits = k.to_bytes(33, "little")
    digits = bytearray(254)
    i = carry = 0
    while i < 254:
        five = (bits[i >> 3] | bits[(i >> 3) + 1] << 8) >> (i & 7) & 31
        if five & 1 == carry:
            i += 1
            continue
        five += carry
        carry = five >> 4
        digits[i] = 160 - five if carry else five
        i += 5
    return digits


def _check(data, what: str, error) -> None:
    """Raise `error` unless the first 32 bytes are canonical and not a point of small order. Whether they are on the
    curve is not asked.
    """
    y = int.from_bytes(data[:32], "little") & (_2_255 - 1)
    if y >= _P:
        raise error(what + " is not canonical: y is not below p")
    if y in _SMALL_ORDER_Y:
        raise error(what + " is a point of small order")


class Verifier:
    """A verification at a time, in the buffers of a Signing that nobody else is using: 9 KB less than its own."""

    def __init__(self, signing):
        self._w = signing.w
        self._hash = signing.hash
        self._digest = signing.digest
        self._bits = signing.bits
        self._x = signing.k
        self._w[20 * ZERO : 20 * ZERO + 20] = array("i", bytes(80))
        self._unpack(D, _D)
        self._unpack(ROOT, _ROOT)
        point.run(self._w, point.program((BOTH, UNUSED, D, D), (TIGHT, D2, U, 0)))

    def _unpack(self, element: int, data: bytes) -> None:
        """Element = the low 255 bits of 32 bytes."""
        w, x = self._w, self._x
        scalar.load(x, data, 0, 32)
        x[19] &= 0xFF
        for k in range(20):
            w[20 * element + k] = x[k]
        point.run(w, point.program((TIGHT, element, element, 0)))

    def decompress_negative(self, public: bytes) -> None:
        """X, Y, Z, T = -A; raises InvalidKey if `public` is not a key."""
        if len(public) != 32:
            raise InvalidKey("public key must be 32 bytes")
        _check(public, "public key", InvalidKey)
        w, digest = self._w, self._digest
        self._unpack(Y, public)
        point.run(w, _DECOMPRESS)
        zeros = bytes(32)
        point.pack(w, E, digest, 0)
        point.pack(w, H, digest, 32)
        if digest[:32] != zeros:
            if digest[32:] != zeros:
                raise InvalidKey("public key is not a point of the curve")
            point.run(w, _TURN)
        point.pack(w, X, digest, 0)
        if digest[0] & 1 == public[31] >> 7:
            point.run(w, _NEGATE)
        point.run(w, _SET_OUT)

    def steps(self, public: bytes, message: bytes, signature: bytes):
        """Yields between stretches of work; raises InvalidSignature or InvalidKey if the signature does not hold."""
        if len(signature) != 64:
            raise InvalidSignature("signature must be 64 bytes")
        self.decompress_negative(public)
        _check(signature, "R", InvalidSignature)
        if int.from_bytes(signature[32:], "little") >= scalar.ORDER:
            raise InvalidSignature("s is not below the group order")
        w, x = self._w, self._x
        yield
        self._hash.reset()
        self._hash.update(signature[:32])
        self._hash.update(public)
        for at in range(0, len(message), 128):
            self._hash.update_part(message, at, min(128, len(message) - at))
            yield
        self._hash.finish_into(self._digest)
        digits = _signed_digits(int.from_bytes(self._digest, "little") % scalar.ORDER)
        scalar.load(x, signature, 32, 32)
        scalar.comb_bits(self._bits, x, ORDER)
        point.run(w, _keep(_MULTIPLES))
        point.run(w, point.DOUBLE)
        point.run(w, _keep(_TWICE))
        for j in range(1, 8):
            point.run(w, _add(_MULTIPLES if j == 1 else _TWICE, False))
            point.run(w, _keep(_MULTIPLES + 4 * j))
        yield
        point.run(w, _NEUTRAL)
        for i in range(253, -1, -1):
            digit = digits[i]
            # T costs a product of its own, and is read by an addition only: the last step of a program, left out
            # elsewhere.
            point.run(w, point.DOUBLE if digit or i < SPACING else point.DOUBLE[:-4])
            if digit:
                steps = _add(_MULTIPLES + 2 * ((digit & 127) - 1), digit > 127)
                point.run(w, steps if i < SPACING else steps[:-4])
            if i < SPACING:
                point.choose(0, TABLE, w, self._bits, i)
                point.run(w, point.ADD_CHOSEN)
            if not i & 3:
                yield
        point.reduce(w, Z)
        inverse.start(w)
        inverse.run(w, 0, w, inverse.BATCHES)
        inverse.finish(w, Z)
        point.run(w, point.AFFINE)
        point.pack(w, X, self._digest, 0)
        point.pack(w, Y, self._digest, 32)
        self._digest[63] |= (self._digest[0] & 1) << 7
        if self._digest[32:] != signature[:32]:
            raise InvalidSignature("the equation does not hold: another key, another message or a damaged signature")
