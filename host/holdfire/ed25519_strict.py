"""Which Ed25519 signatures are valid: the protocol's one rule, here as in the station's `holdfire_station.crypto`.

The rule: s < L; A (the public key) and R canonical, on the curve, and not of small order; and, without the cofactor, s
* B = R + k * A with k = SHA-512(R, A, M) mod L. Libraries agree on the equation and differ on the rest, so the rest is
decided here, on the bytes, before a library is asked. With that, OpenSSL (through `cryptography`) and libsodium
(through PyNaCl) give the same verdict on every published edge case (tests/both/test_crypto_strict.py). libsodium is
about twice as fast (`tools/bench sign_host`), so it is used where it is installed.

Does not sign, and does not know records or registries.
"""

from collections.abc import Callable
from functools import lru_cache

from cryptography.exceptions import InvalidSignature as _OpenSSLRefuses
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
_Y_MASK = 2**255 - 1
_Y8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
# y of the points of order 1, 2, 4 and 8, each with either sign of x.
_SMALL_ORDER_Y = frozenset((0, 1, P - 1, _Y8, P - _Y8))
_KEYS_REMEMBERED = 65536

Equation = Callable[[bytes, bytes, bytes], bool]
Verify = Callable[[bytes, bytes, bytes], None]


class InvalidSignature(ValueError):
    """The signature does not hold; the message names the part that failed."""


class InvalidKey(InvalidSignature):
    """Bytes that cannot be a public key under the rule, so that no signature holds against them."""


def _check_y(y: int, what: str, error: type[InvalidSignature]) -> None:
    if y >= P:
        raise error(f"{what} is not canonical: y is not below p")
    if y in _SMALL_ORDER_Y:
        raise error(f"{what} is a point of small order")


@lru_cache(maxsize=_KEYS_REMEMBERED)
def check_public_key(public: bytes) -> None:
    """Raise InvalidKey unless `public` is a canonical encoding of a point of the curve that is not of small order."""
    if len(public) != 32:
        raise InvalidKey("public key must be 32 bytes")
    y = int.from_bytes(public, "little") & _Y_MASK
    _check_y(y, "public key", InvalidKey)
    # RFC 8032 section 5.1.3: x^2 = (y^2 - 1) / (d * y^2 + 1). The divisor is never 0; Euler's criterion tells a square.
    x_squared = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    if pow(x_squared, (P - 1) // 2, P) != 1:
        raise InvalidKey("public key is not a point of the curve")


@lru_cache(maxsize=_KEYS_REMEMBERED)
def _openssl_key(public: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(public)


def openssl(public: bytes, message: bytes, signature: bytes) -> bool:
    """OpenSSL's verdict, through cryptography."""
    try:
        _openssl_key(public).verify(signature, message)
    except _OpenSSLRefuses:
        return False
    return True


def _load_sodium() -> Equation | None:
    try:
        from nacl.bindings import crypto_sign_open
        from nacl.exceptions import BadSignatureError
    except ImportError:  # PyNaCl is optional: the same verdicts, at half the rate
        return None

    def sodium(public: bytes, message: bytes, signature: bytes) -> bool:
        try:
            crypto_sign_open(signature + message, public)
        except BadSignatureError:
            return False
        return True

    return sodium


def verify_with(equation: Equation) -> Verify:
    """A verify() that asks this library for the equation, after our own checks."""

    def verify(public: bytes, message: bytes, signature: bytes) -> None:
        if len(signature) != 64:
            raise InvalidSignature("signature must be 64 bytes")
        check_public_key(public)
        y = int.from_bytes(signature[:32], "little") & _Y_MASK
        if y >= P or y in _SMALL_ORDER_Y:
            _check_y(y, "R", InvalidSignature)
        if int.from_bytes(signature[32:], "little") >= L:
            raise InvalidSignature("s is not below the group order")
        if not equation(public, message, signature):
            raise InvalidSignature(
                "the equation does not hold: another key, another message or a damaged signature"
            )

    return verify


sodium = _load_sodium()
_default = verify_with(sodium or openssl)


def verify(public: bytes, message: bytes, signature: bytes) -> None:
    """Return if the signature holds; otherwise raise InvalidSignature, naming the part that failed."""
    _default(public, message, signature)
