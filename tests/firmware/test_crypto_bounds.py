"""No value in the signing code leaves 32 bits: worked out for every program, and checked operation by operation at the
extremes.

tests/sim/noviper.py says what is checked. Declared modular, here and nowhere else: the third pass of a product in
field.run, whose columns are only ever added up before the true column, which fits, is back; and SHA-512, which is
arithmetic modulo 2^32.
"""

import hashlib
import itertools
import random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.mpy import REPO
from tests.sim import noviper

CRYPTO = REPO / "firmware/holdfire_station/crypto"
MODULAR = ("field.run", "sha512._schedule", "sha512._rounds")
P = 2**255 - 19
TIGHT = 4096  # a carried limb; limb 2 may be a few more, for which the tests add 4
NAMES = ("ed25519", "field", "inverse", "opening", "point", "scalar", "sha512", "verifying")
ed25519, field, inverse, opening, point, scalar, sha512, verifying = noviper.load(
    CRYPTO, "checked_crypto", NAMES, MODULAR
)


def units_after(steps: bytes, units: dict[int, int]) -> dict[int, int]:
    """Size of every element after a program, in tight units; fails where a product could leave 32 bits."""
    units = dict(units)
    for at in range(0, len(steps), 4):
        operation, result, a, b = steps[at : at + 4]
        if operation == field.MUL:
            assert units[a] * units[b] <= 6, f"step {at // 4}"
            units[result] = 1
        elif operation == field.SQR:
            assert units[a] ** 2 <= 6, f"step {at // 4}"
            units[result] = 1
        elif operation == field.BOTH:
            units[result] = units[result + 1] = units[a] + units[b]
        elif operation == field.TIGHT:
            units[result] = 1
    return units


POINT = {point.X: 1, point.Y: 1, point.Z: 1, point.T: 1}
CHOSEN = {point.ONE: 1} | dict.fromkeys(range(point.CHOSEN, point.ELEMENTS), 1)
FIXED = {point.ONE: 1, point.D: 1, point.D2: 1, point.ROOT: 1, point.ZERO: 0}
KEPT = point.MULTIPLES


@pytest.mark.parametrize(("steps", "before"), [
    (point.FIRST_COLUMN, CHOSEN),
    (point.COLUMN, POINT | CHOSEN),
    (point.ADD_CHOSEN, POINT | CHOSEN),
    (point.DOUBLE, POINT),
    (point.AFFINE, POINT | {point.Z: 4}),
    (opening._DECOMPRESS, {point.Y: 1} | FIXED),
    (opening._TURN, POINT | FIXED),
    (opening._NEGATE, POINT | FIXED),
    (opening._SET_OUT, POINT | FIXED),
    (verifying._NEUTRAL, FIXED),
    (verifying._add(KEPT, False), POINT | {KEPT: 2, KEPT + 1: 2, KEPT + 2: 1, KEPT + 3: 2}),
    (verifying._add(KEPT, True), POINT | {KEPT: 2, KEPT + 1: 2, KEPT + 2: 1, KEPT + 3: 2}),
    (verifying._keep(KEPT), POINT | FIXED),
], ids=["first column", "column", "add", "double", "affine", "decompress", "turn", "negate", "set out", "neutral",
        "add kept", "take kept", "keep"])
def test_operands_of_every_program_stay_within_what_a_product_bears(steps, before):
    """By induction: a point whose coordinates are tight comes out tight, whatever programs ran before."""
    after = units_after(steps, before)
    assert all(after.get(coordinate, 1) == 1 for coordinate in POINT)
    for kept, size in {KEPT: 2, KEPT + 1: 2, KEPT + 2: 1, KEPT + 3: 2}.items():
        assert steps != verifying._keep(KEPT) or after[kept] == size


def value(w, element: int) -> int:
    return sum(w[20 * element + i] << (13 * i) for i in range(20))


def extremes(units: int, chance: random.Random):
    """Elements at the edge of their size: every limb at its largest, by sign pattern."""
    size = units * (TIGHT + 4)
    yield [size] * 20
    yield [-size] * 20
    yield [size, -size] * 10
    yield [size] * 10 + [-size] * 10
    for _ in range(4):
        yield [chance.choice((size, -size)) for _ in range(20)]


@pytest.mark.parametrize("units", [(1, 6), (6, 1), (2, 3), (3, 2), (2, 2), (1, 1)])
def test_products_at_the_extremes_of_their_operands(units):
    """Right modulo p, nothing out of range on the way, and tight again."""
    chance = random.Random(1)
    w = point.workspace()
    for a, b in itertools.product(extremes(units[0], chance), extremes(units[1], chance)):
        w[20 * point.X : 20 * point.X + 40] = type(w)("i", a + b)
        point.run(w, point.program((field.MUL, point.A, point.X, point.Y)))
        assert (value(w, point.A) - value(w, point.X) * value(w, point.Y)) % P == 0
        assert max(map(abs, w[20 * point.A : 20 * point.A + 20])) <= TIGHT + 4


def test_the_checker_sees_a_product_that_is_too_large():
    """What the bound of 6 is for: at 7 a column no longer fits, and the test above would fail."""
    w = point.workspace()
    w[20 * point.X : 20 * point.X + 40] = type(w)("i", [TIGHT] * 20 + [7 * TIGHT] * 20)
    with pytest.raises(noviper.Overflow):
        point.run(w, point.program((field.MUL, point.A, point.X, point.Y)))


def test_carrying_at_the_extremes():
    w = point.workspace()
    for limbs in extremes(6, random.Random(2)):
        w[20 * point.X : 20 * point.Y] = type(w)("i", limbs)
        point.run(w, point.program((field.TIGHT, point.A, point.X, 0)))
        assert (value(w, point.A) - value(w, point.X)) % P == 0
        assert max(map(abs, w[20 * point.A : 20 * point.A + 20])) <= TIGHT + 4


def test_full_reduction_of_edge_values_and_extremes():
    w = point.workspace()
    numbers = [0, 1, 18, 19, P - 1, P, P + 1, P + 18, P + 19, 2 * P - 1, 2 * P, 2**255 - 1, 2**255, 2**256, -1, -P]
    cases = [[(n >> 13 * i) & 8191 for i in range(19)] + [n >> 247] for n in numbers]
    for limbs in [*cases, *extremes(1, random.Random(3)), *extremes(3, random.Random(4))]:
        w[20 * point.X : 20 * point.Y] = type(w)("i", limbs)
        point.reduce(w, point.X)
        assert value(w, 0) == value(w, point.X) % P


def test_inversion_of_edge_values_and_random_ones():
    w, chance = point.workspace(), random.Random(5)
    for number in [1, 2, 3, 19, P - 1, P - 2, 2**254, (P + 1) // 2, 8191, *(chance.randrange(1, P) for _ in range(6))]:
        w[20 * point.Z : 20 * point.Z + 20] = type(w)("i", [(number >> 13 * i) & 8191 for i in range(20)])
        point.reduce(w, point.Z)
        inverse.start(w)
        inverse.run(w, 0, w, inverse.BATCHES)
        inverse.finish(w, point.Z)
        assert value(w, point.Z) * number % P == 1
        assert max(map(abs, w[20 * point.Z : 20 * point.Z + 20])) <= 4 * TIGHT


def test_scalars_at_the_extremes():
    L = scalar.ORDER
    table, chance = scalar.constants(), random.Random(6)
    x, a, b, r = (type(table)("i", bytes(4 * 85)) for _ in range(4))
    edges = [0, 1, L - 1, L, L + 1, 2 * L, 255 * L, 256 * L - 1, 2**252, 2**255 - 1, 2**256 - 1, 2**260, 2**512 - 1]
    edges += [(2**512 // L) * L + d for d in (-1, 0)]
    for number in [*edges, *(chance.getrandbits(512) for _ in range(20))]:
        scalar.load(x, number.to_bytes(64, "little"), 0, 64)
        scalar.reduce(x, 0, x, table)
        assert value(x, 0) == number % L
        scalar.load(r, (number % L).to_bytes(32, "little"), 0, 32)
        scalar.load(a, (number % 2**255).to_bytes(32, "little"), 0, 32)
        scalar.load(b, bytes([255]) * 31 + b"\x7f", 0, 32)
        scalar.multiply_add(x, a, b, r)
        scalar.reduce(x, 0, x, table)
        assert value(x, 0) == ((number % 2**255) * (2**255 - 1) + number % L) % L
        bits = bytearray(255)
        scalar.comb_bits(bits, r, table)
        assert sum((2 * bit - 1) << i for i, bit in enumerate(bits)) % L == number % L


def test_hash_of_extreme_blocks():
    for message in (bytes(128), b"\xff" * 128, b"\x80" * 111, b"\x7f" * 200):
        assert sha512.sha512(message) == hashlib.sha512(message).digest()


def test_a_signature_with_every_operation_checked():
    """A verification runs the same functions, and its programs are bounded above; here it would take ten seconds."""
    seed = random.Random(7).randbytes(32)
    signature = ed25519.PrivateKey.from_seed(seed).sign(b"\xff" * 40)
    assert signature == Ed25519PrivateKey.from_private_bytes(seed).sign(b"\xff" * 40)
