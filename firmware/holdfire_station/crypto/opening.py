"""How a verification begins: the bytes of key and signature are checked, and the key becomes a point.

Everything here is public, so branches may depend on it. In memory only meanwhile, as verifying.py is after it: at once
they would take 6 KB. What it raises: ValueError > InvalidSignature > InvalidKey.
"""

from array import array

from . import point, scalar
from .ed25519 import InvalidKey, InvalidSignature
from .field import BOTH, MUL, TIGHT
from .point import D2, MULTIPLES, ONE, ROOT, UNUSED, ZERO, D, E, H, T, U, X, Y, Z

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

# While A is being decompressed, the place of the multiples holds u = y^2 - 1, v = d * y^2 + 1 and two products of
# theirs.
_V, _UV3, _UV7 = MULTIPLES, MULTIPLES + 4, MULTIPLES + 5
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


def begin(work, public: bytes, signature) -> None:
    """X, Y, Z, T of the buffers = -A, and the constants beside it. `signature` is None where only the key is in
    question. Raises InvalidKey, InvalidSignature.
    """
    if signature is not None and len(signature) != 64:
        raise InvalidSignature("signature must be 64 bytes")
    _decompress_negative(work, public)
    if signature is None:
        return
    _check(signature, "R", InvalidSignature)
    if int.from_bytes(signature[32:], "little") >= scalar.ORDER:
        raise InvalidSignature("s is not below the group order")


def _decompress_negative(work, public: bytes) -> None:
    w, digest = work.w, work.digest
    w[20 * ZERO : 20 * ZERO + 20] = array("i", bytes(80))
    _unpack(work, D, _D)
    _unpack(work, ROOT, _ROOT)
    point.run(w, point.program((BOTH, UNUSED, D, D), (TIGHT, D2, U, 0)))
    if len(public) != 32:
        raise InvalidKey("public key must be 32 bytes")
    _check(public, "public key", InvalidKey)
    _unpack(work, Y, public)
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


def _unpack(work, element: int, data: bytes) -> None:
    """Element = the low 255 bits of 32 bytes."""
    w, x = work.w, work.k
    scalar.load(x, data, 0, 32)
    x[19] &= 0xFF
    for k in range(20):
        w[20 * element + k] = x[k]
    point.run(w, point.program((TIGHT, element, element, 0)))


def _check(data, what: str, error) -> None:
    """Raise `error` unless the first 32 bytes are canonical and not a point of small order. Whether they are on the
    curve is not asked.
    """
    y = int.from_bytes(data[:32], "little") & (_2_255 - 1)
    if y >= _P:
        raise error(what + " is not canonical: y is not below p")
    if y in _SMALL_ORDER_Y:
        raise error(what + " is a point of small order")
