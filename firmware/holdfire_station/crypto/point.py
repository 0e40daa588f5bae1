"""Points of edwards25519 on the chip: bytes to limbs and back, the constant-time choice from the comb, and the
programs of the group law.

Extended coordinates (X, Y, Z, T = XY/Z); formulas of Hisil, Wong, Carter, Dawson 2008 for a = -1, complete for this
curve. Knows nothing of keys or messages.
"""

from array import array

import micropython

from . import field, scalar
from .comb import COMBS
from .field import BOTH, MUL, SQR, TIGHT

# Elements of the workspace. 0..5 are the field machine's scratch; BOTH writes a pair, the difference before the sum.
X, Y, Z, T = 6, 7, 8, 9
A, B, C, E, H, F, G = 10, 11, 12, 13, 14, 15, 16
ONE, UNUSED, U = 17, 18, 19  # U: a sum whose difference goes to UNUSED
CHOSEN = 20  # the chosen points, one for each comb: (y - x) / 2, (y + x) / 2, d * x * y
ELEMENTS = CHOSEN + 3 * COMBS
# What a verification keeps beside it. ROOT: the root of -1. Multiples 1, 3 .. 15 of -A and then 2 * -A, each as Y - X,
# Y + X, 2 * d * T, 2 * Z.
D, ROOT, ZERO, D2, MULTIPLES = ELEMENTS, ELEMENTS + 1, ELEMENTS + 2, ELEMENTS + 3, ELEMENTS + 4
VERIFYING_ELEMENTS = MULTIPLES + 36


def workspace(elements: int = ELEMENTS):
    """An array of that many field elements, all zero but for ONE."""
    w = array("i", bytes(80 * elements))
    w[20 * ONE] = 1
    return w


def program(*steps) -> bytes:
    made = bytearray()
    for step in steps:  # step by step: a list of all numbers would take 2 KB in one piece
        made.extend(bytes(step))
    return bytes(made)


# Operand sizes in tight units are noted where they exceed 1; the field machine is exact up to a product of 6.
def extended(e: int, f: int, g: int, h: int) -> tuple:
    return ((MUL, X, e, f), (MUL, Y, g, h), (MUL, Z, f, g), (MUL, T, e, h))


def _add_chosen(comb: int) -> tuple:
    ym = CHOSEN + 3 * comb
    return (
        (BOTH, A, Y, X), (MUL, A, A, ym), (MUL, B, B, ym + 1),  # 2 * 1
        (MUL, C, T, ym + 2),
        (BOTH, E, B, A), (BOTH, F, Z, C),  # E, H, F, G: 2 each, products 4
    ) + extended(E, F, G, H)


# E, F, G, H of a doubling end up elsewhere than an addition's; all four coordinates come out with the opposite sign:
# the same point.
_DOUBLE = (
    (BOTH, UNUSED, X, Y), (SQR, U, U, 1),  # (X + Y)^2: 2 * 2
    (SQR, A, X, 1), (SQR, B, Y, 1), (SQR, C, Z, 1),
    (BOTH, E, B, A),  # G = B - A and H = B + A, 2 each
    (BOTH, F, U, H),  # E = U - H, 3
    (BOTH, UNUSED, C, C), (BOTH, A, U, E), (TIGHT, A, A, 0),  # F = 2 C - G: 4, so it is carried
) + extended(F, A, E, H)
# The point chosen first needs no addition: its halves give x and y.
_START = (
    (BOTH, X, CHOSEN + 1, CHOSEN), (TIGHT, X, X, 0), (TIGHT, Y, Y, 0), (MUL, T, X, Y), (TIGHT, Z, ONE, 0),
)
DOUBLE = program(*_DOUBLE)
ADD_CHOSEN = program(*(_add_chosen(0) + _add_chosen(1) + _add_chosen(2)))
# What one column of the comb takes, the highest and the others. Before a doubling T is not wanted.
FIRST_COLUMN = program(*(_START + _add_chosen(1) + _add_chosen(2)[:-1]))
COLUMN = program(*(_DOUBLE + _add_chosen(0) + _add_chosen(1) + _add_chosen(2)[:-1]))
AFFINE = program((TIGHT, Z, Z, 0), (MUL, X, X, Z), (MUL, Y, Y, Z))  # once Z is its inverse
del _DOUBLE, _START, _add_chosen  # 2 KB that only the lines above needed


@micropython.viper
def choose(c: int, t: ptr32, w: ptr32, bits: ptr8, at: int):
    """CHOSEN = the points of all combs that the bits at `at` and each 17 further select. `t` is the table; c is not
    used: give 0.

    Reads the whole table, whatever the bits are.
    """
    o = ptr32(int(w) + 1600)  # CHOSEN
    while at < 255:
        negative = bits[at + 68] - 1
        c = (bits[at] | (bits[at + 17] << 1) | (bits[at + 34] << 2) | (bits[at + 51] << 3)) ^ (negative & 15)
        at += 85
        m0 = (c - 1) >> 31
        m1 = ((c ^ 1) - 1) >> 31
        m2 = ((c ^ 2) - 1) >> 31
        m3 = ((c ^ 3) - 1) >> 31
        m4 = ((c ^ 4) - 1) >> 31
        m5 = ((c ^ 5) - 1) >> 31
        m6 = ((c ^ 6) - 1) >> 31
        m7 = ((c ^ 7) - 1) >> 31
        m8 = ((c ^ 8) - 1) >> 31
        m9 = ((c ^ 9) - 1) >> 31
        m10 = ((c ^ 10) - 1) >> 31
        m11 = ((c ^ 11) - 1) >> 31
        m12 = ((c ^ 12) - 1) >> 31
        m13 = ((c ^ 13) - 1) >> 31
        m14 = ((c ^ 14) - 1) >> 31
        m15 = ((c ^ 15) - 1) >> 31
        k = 0
        while k < 30:
            c = t[0] & m0
            c = t[1] & m1 | c
            c = t[2] & m2 | c
            c = t[3] & m3 | c
            c = t[4] & m4 | c
            c = t[5] & m5 | c
            c = t[6] & m6 | c
            c = t[7] & m7 | c
            c = t[8] & m8 | c
            c = t[9] & m9 | c
            c = t[10] & m10 | c
            c = t[11] & m11 | c
            c = t[12] & m12 | c
            c = t[13] & m13 | c
            c = t[14] & m14 | c
            c = t[15] & m15 | c
            o[0] = (c & 0x1FFF) - 4096
            o[1] = (c >> 13) - 4096
            o = ptr32(int(o) + 8)
            t = ptr32(int(t) + 64)
            k += 1
        # The negative of a point has y - x and y + x exchanged, and the sign of d * x * y turned.
        o = ptr32(int(o) - 240)
        k = 0
        while k < 20:
            c = (o[0] ^ o[20]) & negative
            o[0] = o[0] ^ c
            o[20] = o[20] ^ c
            o[40] = (o[40] ^ negative) - negative
            o = ptr32(int(o) + 4)
            k += 1
        o = ptr32(int(o) + 160)


@micropython.viper
def reduce(w: ptr32, element: int):
    """w[0..19] = the element, fully reduced: digits 0..8191 of a number below p."""
    o = ptr32(int(w) + 80 * element)
    k = 0
    while k < 20:
        w[k] = o[k]
        k += 1
    # Each round folds what lies above bit 255 (limb 19 from bit 8 up) back as 19 times as much. Three bring a signed
    # value into 0..2^255-1; the fourth asks with 19 added whether it reaches 2^255, that is, whether it is p or more.
    top = w[19]
    k = 0
    n = 0
    extra = 0
    while n < 5:
        high = (((top >> 8) & 0x7FFF) ^ 0x4000) - 0x4000
        c = high * 19 + extra
        w[19] = top & 0xFF
        k = 0
        while k < 19:
            c += w[k]
            w[k] = c & 0x1FFF
            c = (((c >> 13) & 0x7FFFF) ^ 0x40000) - 0x40000
            k += 1
        top = w[19] + c
        n += 1
        extra = 0
        if n == 3:
            extra = 19
        if n == 4:
            extra = -19
    w[19] = top & 0xFF


def pack(w, element: int, data, start: int) -> None:
    """data[start..start+31] = the element, fully reduced, little-endian."""
    reduce(w, element)
    scalar.store(data, start, w)


def run(w, steps: bytes) -> None:
    """Execute a whole program."""
    field.run(w, 0, w, steps, len(steps))
