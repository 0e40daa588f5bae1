"""Ed25519 verification by the project's rule: s < L, canonical A and R, neither of small order, and s * B = R + k * A,
no cofactor. This is the equation; opening.py has done the rest.

Everything here is public, so branches may depend on it. steps() is a generator, to give way between stretches. In
memory only while it runs.
"""

from . import inverse, point, scalar
from .comb import SPACING, TABLE
from .ed25519 import InvalidSignature
from .field import BOTH, MUL, TIGHT
from .point import D2, MULTIPLES, ONE, ZERO, A, B, C, E, F, G, H, T, U, X, Y, Z
from .signing import ORDER

_TWICE = MULTIPLES + 32
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


def steps(work, public: bytes, message: bytes, signature: bytes):
    """Yields between stretches of work; raises InvalidSignature if the signature does not hold. `work` is the buffers
    of a Signing that nobody else is using, with -A in X, Y, Z, T: 8 KB less than its own.
    """
    w, x, digest = work.w, work.k, work.digest
    work.hash.reset()
    work.hash.update(signature[:32])
    work.hash.update(public)
    for at in range(0, len(message), 128):
        work.hash.update_part(message, at, min(128, len(message) - at))
        yield
    work.hash.finish_into(digest)
    digits = _signed_digits(int.from_bytes(digest, "little") % scalar.ORDER)
    scalar.load(x, signature, 32, 32)
    scalar.comb_bits(work.bits, x, ORDER)
    point.run(w, _keep(MULTIPLES))
    point.run(w, point.DOUBLE)
    point.run(w, _keep(_TWICE))
    for j in range(1, 8):
        point.run(w, _add(MULTIPLES if j == 1 else _TWICE, False))
        point.run(w, _keep(MULTIPLES + 4 * j))
    yield
    point.run(w, _NEUTRAL)
    for i in range(253, -1, -1):
        digit = digits[i]
        # T costs a product of its own, and is read by an addition only: the last step of a program, left out
        # elsewhere.
        point.run(w, point.DOUBLE if digit or i < SPACING else point.DOUBLE[:-4])
        if digit:
            added = _add(MULTIPLES + 2 * ((digit & 127) - 1), digit > 127)
            point.run(w, added if i < SPACING else added[:-4])
        if i < SPACING:
            point.choose(0, TABLE, w, work.bits, i)
            point.run(w, point.ADD_CHOSEN)
        if not i & 3:
            yield
    point.reduce(w, Z)
    inverse.start(w)
    inverse.run(w, 0, w, inverse.BATCHES)
    inverse.finish(w, Z)
    point.run(w, point.AFFINE)
    point.pack(w, X, digest, 0)
    point.pack(w, Y, digest, 32)
    digest[63] |= (digest[0] & 1) << 7
    if digest[32:] != signature[:32]:
        raise InvalidSignature("the equation does not hold: another key, another message or a damaged signature")
