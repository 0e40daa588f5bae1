"""Points of edwards25519 on the chip: bytes to limbs and back, the constant-time choice from the comb, and the programs of the group law.

Extended coordinates (X, Y, Z, T = XY/Z); formulas of Hisil, Wong, Carter, Dawson 2008 for a = -1, complete for this curve. Knows nothing
of keys or messages.
"""

from array import array

import micropython

from . import field
from .field import BOTH, MUL, SQR, TIGHT

# Elements of the workspace. 0..5 are the field machine's scratch; BOTH writes a pair, the difference before the sum.
X, Y, Z, T = 6, 7, 8, 9
YM, YP, TD = 10, 11, 12  # the chosen point: (y - x) / 2, (y + x) / 2, d * x * y
A, B, C, E, H, F, G = 13, 14, 15, 16, 17, 18, 19
ONE, UNUSED, U = 20, 21, 22  # U: a sum whose difference goes to UNUSED
ELEMENTS = 23


def workspace(elements: int = ELEMENTS):
    """An array of that many field elements, all zero but for ONE."""
    w = array("i", bytes(80 * elements))
    w[20 * ONE] = 1
    return w


def program(*steps) -> bytes:
    return bytes([number for step in steps for number in step])


# Operand sizes in tight units are noted where they exceed 1; the field machine is exact up to a product of 6.
def extended(e: int, f: int, g: int, h: int) -> tuple:
    return ((MUL, X, e, f), (MUL, Y, g, h), (MUL, Z, f, g), (MUL, T, e, h))


_ADD_CHOSEN = (
    (BOTH, A, Y, X), (MUL, A, A, YM), (MUL, B, B, YP),  # 2 * 1
    (MUL, C, T, TD),
    (BOTH, E, B, A), (BOTH, F, Z, C),  # E, H, F, G: 2 each, products 4
) + extended(E, F, G, H)
ADD_CHOSEN = program(*_ADD_CHOSEN)
ADD_CHOSEN_NO_T = program(*_ADD_CHOSEN[:-1])  # before a doubling, which does not read T
# E, F, G, H of a doubling end up elsewhere than an addition's; all four coordinates come out with the opposite sign: the same point.
DOUBLE = program(*(
    (BOTH, UNUSED, X, Y), (SQR, U, U, 1),  # (X + Y)^2: 2 * 2
    (SQR, A, X, 1), (SQR, B, Y, 1), (SQR, C, Z, 1),
    (BOTH, E, B, A),  # G = B - A and H = B + A, 2 each
    (BOTH, F, U, H),  # E = U - H, 3
    (BOTH, UNUSED, C, C), (BOTH, A, U, E), (TIGHT, A, A, 0),  # F = 2 C - G: 4, so it is carried
) + extended(F, A, E, H))
# The point chosen first needs no addition: its halves give x and y.
START = program((BOTH, X, YP, YM), (TIGHT, X, X, 0), (TIGHT, Y, Y, 0), (MUL, T, X, Y), (TIGHT, Z, ONE, 0))


def chain(z: int) -> tuple:
    """A = z^(2^250 - 1) and C = z^11; uses B, E. RFC 8032 leaves the chain open; this one is Bernstein's: 249 squarings, 10 products."""
    return (
        (SQR, A, z, 1), (SQR, B, A, 2), (MUL, B, z, B), (MUL, C, A, B),  # 2, 9, 11
        (SQR, A, C, 1), (MUL, B, B, A),  # 2^5 - 1
        (SQR, A, B, 5), (MUL, B, A, B),
        (SQR, A, B, 10), (MUL, A, A, B), (SQR, E, A, 20), (MUL, A, E, A),  # 2^40 - 1
        (SQR, A, A, 10), (MUL, B, A, B),  # 2^50 - 1
        (SQR, A, B, 50), (MUL, A, A, B), (SQR, E, A, 100), (MUL, A, E, A),  # 2^200 - 1
        (SQR, A, A, 50), (MUL, A, A, B),  # 2^250 - 1
    )


INVERT = program(*chain(Z), (SQR, A, A, 5), (MUL, Z, A, C))  # Z = Z^(p - 2)
AFFINE = program((MUL, X, X, Z), (MUL, Y, Y, Z))


@micropython.viper
def choose(c: int, t: ptr32, w: ptr32, bits: ptr8, at: int, comb: int):
    """YM, YP, TD = the point that the five bits at `at`, `at` + 13.. of the comb select. Reads the comb's whole table whatever the bits are."""
    t = ptr32(int(t) + 1536 * comb)
    at += 65 * comb
    negative = bits[at + 52] - 1
    c = (bits[at] | (bits[at + 13] << 1) | (bits[at + 26] << 2) | (bits[at + 39] << 3)) ^ (negative & 15)
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
    h = w
    k = 0
    while k < 24:
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
        h[0] = c & 0xFFFF
        h[1] = (c >> 16) & 0xFFFF
        h = ptr32(int(h) + 8)
        t = ptr32(int(t) + 64)
        k += 1
    # The negative of a point has y + x and y - x exchanged, and the sign of d * x * y turned.
    k = 0
    while k < 16:
        c = (w[k] ^ w[k + 16]) & negative
        w[k] = w[k] ^ c
        w[k + 16] = w[k + 16] ^ c
        k += 1
    h = w
    t = ptr32(int(w) + 800)
    k = 0
    while k < 3:
        m0 = negative if k == 2 else 0
        t[0] = (((h[0] & 0x1FFF) - 4096) ^ m0) - m0
        t[1] = ((((h[0] >> 13 | h[1] << 3) & 0x1FFF) - 4096) ^ m0) - m0
        t[2] = ((((h[1] >> 10 | h[2] << 6) & 0x1FFF) - 4096) ^ m0) - m0
        t[3] = ((((h[2] >> 7 | h[3] << 9) & 0x1FFF) - 4096) ^ m0) - m0
        t[4] = ((((h[3] >> 4 | h[4] << 12) & 0x1FFF) - 4096) ^ m0) - m0
        t[5] = (((h[4] >> 1 & 0x1FFF) - 4096) ^ m0) - m0
        t[6] = ((((h[4] >> 14 | h[5] << 2) & 0x1FFF) - 4096) ^ m0) - m0
        t[7] = ((((h[5] >> 11 | h[6] << 5) & 0x1FFF) - 4096) ^ m0) - m0
        t[8] = ((((h[6] >> 8 | h[7] << 8) & 0x1FFF) - 4096) ^ m0) - m0
        t[9] = ((((h[7] >> 5 | h[8] << 11) & 0x1FFF) - 4096) ^ m0) - m0
        t[10] = (((h[8] >> 2 & 0x1FFF) - 4096) ^ m0) - m0
        t[11] = ((((h[8] >> 15 | h[9] << 1) & 0x1FFF) - 4096) ^ m0) - m0
        t[12] = ((((h[9] >> 12 | h[10] << 4) & 0x1FFF) - 4096) ^ m0) - m0
        t[13] = ((((h[10] >> 9 | h[11] << 7) & 0x1FFF) - 4096) ^ m0) - m0
        t[14] = ((((h[11] >> 6 | h[12] << 10) & 0x1FFF) - 4096) ^ m0) - m0
        t[15] = (((h[12] >> 3 & 0x1FFF) - 4096) ^ m0) - m0
        t[16] = (((h[13] & 0x1FFF) - 4096) ^ m0) - m0
        t[17] = ((((h[13] >> 13 | h[14] << 3) & 0x1FFF) - 4096) ^ m0) - m0
        t[18] = ((((h[14] >> 10 | h[15] << 6) & 0x1FFF) - 4096) ^ m0) - m0
        t[19] = ((h[15] >> 7) ^ m0) - m0
        h = ptr32(int(h) + 64)
        t = ptr32(int(t) + 80)
        k += 1


@micropython.viper
def unpack(w: ptr32, element: int, data: ptr8, start: int):
    """Element = the low 255 bits of the 32 little-endian bytes data[start..], not reduced."""
    o = ptr32(int(w) + 80 * element)
    held = 0
    bits = 0
    i = 0
    k = 0
    c = 0
    while k < 20:
        while bits < 13 and i < 32:
            held = held | (data[start + i] << bits)
            bits += 8
            i += 1
        c += held & 0x1FFF if k < 19 else held & 0xFF
        # balanced digits, as a product leaves them
        if k < 19:
            c += 4096
            o[k] = (c & 0x1FFF) - 4096
            c = c >> 13
        else:
            o[k] = c
        held = held >> 13
        bits -= 13
        k += 1


@micropython.viper
def pack(w: ptr32, element: int, data: ptr8, start: int):
    """data[start..start+31] = the element, fully reduced, little-endian. Overwrites scratch, not the element."""
    o = ptr32(int(w) + 80 * element)
    k = 0
    while k < 20:
        w[k] = o[k]
        k += 1
    # Each round folds what lies above bit 255 (limb 19 from bit 8 up) back as 19 times as much. Three bring a signed value into
    # 0..2^255-1; the fourth asks with 19 added whether it reaches 2^255, that is, whether it is p or more.
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
    held = 0
    bits = 0
    k = 0
    i = 0
    while i < 32:
        if bits < 8:
            held = held | (w[k] << bits)
            bits += 13
            k += 1
        data[start + i] = held & 0xFF
        held = held >> 8
        bits -= 8
        i += 1


def run(w, steps: bytes) -> None:
    """Execute a whole program."""
    field.run(w, 0, w, steps, 0, len(steps) // 4)
