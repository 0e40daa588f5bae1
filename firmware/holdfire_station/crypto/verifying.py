"""Ed25519 verification by the project's rule: s < L, canonical A and R, neither of small order, and s * B = R + k * A, no cofactor.

Everything here is public, so branches may depend on it. Verifier.steps() is a generator, to give way between stretches.
"""

from array import array

from . import point, scalar
from .comb import COMBS, SPACING, TABLE
from .errors import InvalidKey, InvalidSignature
from .field import BOTH, MUL, SQR, TIGHT
from .point import A, B, C, E, F, G, H, ONE, T, U, UNUSED, X, Y, Z
from .sha512 import Sha512

_P = (1 << 255) - 19
# y of the points of order 1, 2, 4 and 8: with either sign of x. Solving the doubling formula for 2 * P of order 4 gives the last two.
_Y8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER_Y = (0, 1, _P - 1, _Y8, _P - _Y8)
_D = b"\xa3\x78\x59\x13\xca\x4d\xeb\x75\xab\xd8\x41\x41\x4d\x0a\x70\x00\x98\xe8\x79\x77\x79\x40\xc7\x8c\x73\xfe\x6f\x2b\xee\x6c\x03\x52"
_ROOT = b"\xb0\xa0\x0e\x4a\x27\x1b\xee\xc4\x78\xe4\x2f\xad\x06\x18\x43\x2f\xa7\xd7\xfb\x3d\x99\x00\x4d\x2b\x0b\xdf\xc1\x4f\x80\x24\x83\x2b"

D, ROOT, ZERO, D2 = point.ELEMENTS, point.ELEMENTS + 1, point.ELEMENTS + 2, point.ELEMENTS + 3  # ROOT: the root of -1
# Multiples 1, 3 .. 15 of -A and then 2 * -A, each as Y - X, Y + X, 2 * d * T, 2 * Z.
_MULTIPLES = point.ELEMENTS + 4
_TWICE = _MULTIPLES + 32
_ELEMENTS = _MULTIPLES + 36
# While A is being decompressed, the place of the multiples holds u = y^2 - 1, v = d * y^2 + 1 and two products of theirs.
_V, _W, _UV3, _UV7 = _MULTIPLES, _MULTIPLES + 2, _MULTIPLES + 4, _MULTIPLES + 5
_U = _V + 2

# RFC 8032 section 5.1.3: x = u * v^3 * (u * v^7)^((p - 5) / 8); then E, H = v * x^2 -+ u.
_DECOMPRESS = point.program(
    (SQR, A, Y, 1), (MUL, C, A, D), (BOTH, _U, A, ONE), (BOTH, _V, C, ONE), (TIGHT, _V, _V + 1, 0), (TIGHT, _U, _U, 0),
    (SQR, A, _V, 1), (MUL, A, A, _V), (MUL, _UV3, A, _U), (SQR, A, A, 1), (MUL, A, A, _V), (MUL, _UV7, A, _U),
    *(point.chain(_UV7) + (
        (SQR, A, A, 2), (MUL, A, A, _UV7), (MUL, X, A, _UV3), (SQR, A, X, 1), (MUL, A, A, _V), (BOTH, E, A, _U),
    )),
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
    steps = ((BOTH, A, Y, X), (MUL, A, A, minus), (MUL, B, B, plus), (MUL, C, T, at + 2), (MUL, U, Z, at + 3), (BOTH, E, B, A), (BOTH, F, U, C))
    return point.program(*(steps + point.extended(E, f, g, H)))


def check_encoding(data, start: int, what: str, error) -> None:
    """Raise `error` unless data[start:start+32] is canonical and not a point of small order. Whether it is on the curve is not looked at."""
    y = int.from_bytes(data[start : start + 32], "little") & ((1 << 255) - 1)
    if y >= _P:
        raise error(what + " is not canonical: y is not below p")
    if y in _SMALL_ORDER_Y:
        raise error(what + " is a point of small order")


class Verifier:
    """The buffers of a verification, made once."""

    def __init__(self):
        self._w = point.workspace(_ELEMENTS)
        point.unpack(self._w, D, _D, 0)
        point.unpack(self._w, ROOT, _ROOT, 0)
        point.run(self._w, point.program((BOTH, UNUSED, D, D), (TIGHT, D2, U, 0)))
        self._order = scalar.constants()
        self._hash = Sha512()
        self._digest = bytearray(64)
        self._bits = bytearray(260)
        self._x = array("i", bytes(4 * 82))

    def decompress_negative(self, public: bytes) -> None:
        """X, Y, Z, T = -A. The encoding has been checked; raises InvalidKey if no point has this y."""
        w, digest = self._w, self._digest
        point.unpack(w, Y, public, 0)
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

    def _digits(self, x) -> bytearray:
        """The scalar in 253 signed digits: odd, at most 15 in size, at least 5 apart; a negative digit has 128 added to its size."""
        bits = [(x[i // 13] >> (i % 13)) & 1 for i in range(253)] + [0] * 6
        digits = bytearray(254)
        i = carry = 0
        while i < 254:
            if bits[i] == carry:
                i += 1
                continue
            value = carry + sum([bits[i + j] << j for j in range(5)])
            carry = value >> 4
            digits[i] = 128 + 32 - value if carry else value
            i += 5
        return digits

    def steps(self, public: bytes, message: bytes, signature: bytes):
        """Yields between stretches of work; raises InvalidSignature or InvalidKey if the signature does not hold."""
        if len(signature) != 64:
            raise InvalidSignature("signature must be 64 bytes")
        check_public_encoding(public)
        check_encoding(signature, 0, "R", InvalidSignature)
        if int.from_bytes(signature[32:], "little") >= scalar.ORDER:
            raise InvalidSignature("s is not below the group order")
        w, x = self._w, self._x
        self.decompress_negative(public)
        yield
        self._hash.reset()
        self._hash.update(signature[:32])
        self._hash.update(public)
        for at in range(0, len(message), 128):
            self._hash.update_part(message, at, min(128, len(message) - at))
            yield
        self._hash.finish_into(self._digest)
        scalar.load(x, self._digest, 0, 64)
        scalar.reduce(x, self._order)
        digits = self._digits(x)
        scalar.load(x, signature, 32, 32)
        scalar.comb_bits(self._bits, x, self._order)
        point.run(w, _keep(_MULTIPLES))
        point.run(w, point.DOUBLE)
        point.run(w, _keep(_TWICE))
        for j in range(1, 8):
            point.run(w, _add(_MULTIPLES if j == 1 else _TWICE, False))
            point.run(w, _keep(_MULTIPLES + 4 * j))
        yield
        point.run(w, _NEUTRAL)
        for i in range(253, -1, -1):
            point.run(w, point.DOUBLE)
            digit = digits[i]
            if digit:
                point.run(w, _add(_MULTIPLES + 2 * ((digit & 127) - 1), digit > 127))
            if i < SPACING:
                for comb in range(COMBS):
                    point.choose(0, TABLE, w, self._bits, i, comb)
                    point.run(w, point.ADD_CHOSEN)
            if not i & 3:
                yield
        point.run(w, point.INVERT)
        point.run(w, point.AFFINE)
        point.pack(w, X, self._digest, 0)
        point.pack(w, Y, self._digest, 32)
        self._digest[63] |= (self._digest[0] & 1) << 7
        if self._digest[32:] != signature[:32]:
            raise InvalidSignature("the equation s * B = R + k * A does not hold: another key, another message or a damaged signature")


def check_public_encoding(public: bytes) -> None:
    if len(public) != 32:
        raise InvalidKey("public key must be 32 bytes")
    check_encoding(public, 0, "public key", InvalidKey)
