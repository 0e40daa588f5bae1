"""Arithmetic modulo L = 2^252 + 27742317777372353535851937790883648493, the order of the base point, for the chip.

A scalar is limbs in radix 2^13, 0..8191 each, in an array('i') of 41; 20 limbs hold 260 bits, and 2^260 = -256 * (L -
2^252) (mod L). Used for s = r + k * a and for reducing the 512-bit hashes: secrets pass through, so every loop count
and index is public.
"""

from array import array

import micropython

ORDER = 0x1000000000000000000000000000000014DEF9DEA2F79CD65812631A5CF5D3ED
_ONES = ((1 << 255) - 1) % ORDER


@micropython.viper
def load(x: ptr32, data: ptr8, start: int, count: int):
    """x[0..40] = the little-endian number data[start:start+count]."""
    held = 0
    bits = 0
    k = 0
    i = 0
    while i < count:
        held = held | (data[start + i] << bits)
        bits += 8
        i += 1
        if bits >= 13:
            x[k] = held & 0x1FFF
            held = held >> 13
            bits -= 13
            k += 1
    while k < 41:
        x[k] = held
        held = 0
        k += 1


@micropython.viper
def store(data: ptr8, start: int, x: ptr32):
    """The 32 little-endian bytes of x[0..19]."""
    held = 0
    bits = 0
    k = 0
    i = 0
    while i < 32:
        if bits < 8:
            held = held | (x[k] << bits)
            bits += 13
            k += 1
        data[start + i] = held & 0xFF
        held = held >> 8
        bits -= 8
        i += 1


@micropython.viper
def multiply_add(x: ptr32, a: ptr32, b: ptr32, r: ptr32):
    """x[0..39] = a * b + r of 20 limbs each. A column is at most 20 * 8191^2 + 8191 + a carry < 2^31."""
    carry = 0
    k = 0
    while k < 39:
        if k < 20:
            carry += r[k]
            i = 0
            end = k + 1
        else:
            i = k - 19
            end = 20
        while i < end:
            carry += a[i] * b[k - i]
            i += 1
        x[k] = carry & 0x1FFF
        carry = carry >> 13
        k += 1
    x[39] = carry
    x[40] = 0


@micropython.viper
def reduce(q: ptr32, c: int, x: ptr32, order: ptr32):
    """x[0..19] = x[0..39] mod L, in 0..L-1. x[40..84] is scratch; `q` is `x` too, c is not used: give 0.

    Limbs from 20 up are folded three times, which brings 2^520 to 2^394, 2^268 and then 2^260 + 2^142 in size; the
    factors below are the limbs of 2^260 mod L = -256 * (L - 2^252). No column leaves 12 * 2^26, and the carry is taken
    by mask and sign extension, so that the width of a viper int does not matter.
    """
    top = 39
    n = 0
    while n < 3:
        k = 42
        while k < 85:
            x[k] = 0
            k += 1
        k = 20
        while k <= top:
            x[k + 32] = x[k]
            k += 1
        top -= 10
        if top < 19:
            top = 19
        c = 0
        q = ptr32(int(x) + 4 * 42)  # q[10] is limb 20 + k
        k = 0
        while k <= top:
            if k < 20:
                c += x[k]
            c = q[10] * -3328 + c
            c = q[9] * -3743 + c
            c = q[8] * -5949 + c
            c = q[7] * -1588 + c
            c = q[6] * -294 + c
            c = q[5] * -2860 + c
            c = q[4] * -7795 + c
            c = q[3] * -5214 + c
            c = q[2] * -6622 + c
            c = q[1] * -1783 + c
            c = q[0] * -5 + c
            x[k] = c & 0x1FFF
            c = (((c >> 13) & 0x7FFFF) ^ 0x40000) - 0x40000
            q = ptr32(int(q) + 4)
            k += 1
        top += 1
        x[top] = c
        n += 1
    # Now x = q * 2^252 + rest: take q * L off, then add or take L by the sign of what is left, as a factor and not as
    # a branch.
    high = x[19] + (c << 13)
    factor = 0 - (high >> 5)
    n = 0
    while n < 4:
        c = 0
        k = 0
        while k < 19:
            c += x[k] + factor * order[k]
            x[k] = c & 0x1FFF
            c = (((c >> 13) & 0x7FFFF) ^ 0x40000) - 0x40000
            k += 1
        high += c + factor * order[19]
        factor = -1
        if n != 1:
            factor = (high >> 20) & 1
        n += 1
    x[19] = high


@micropython.viper
def comb_bits(bits: ptr8, x: ptr32, order: ptr32):
    """bits[0..254] of (x + 2^255 - 1) / 2 mod L, so that x = the sum of (2 * bit - 1) * 2^i: every digit of the comb
    is then +1 or -1.

    order[20..39] is 2^255 - 1 mod L. Halving: add L if odd. x < L in, so the result is below 1.5 L < 2^254.
    """
    odd = (x[0] + order[20]) & 1
    c = 0
    k = 0
    while k < 20:
        c += x[k] + order[20 + k] + odd * order[k]
        i = 0
        while i < 13:
            j = 13 * k + i - 1  # halved: bit 0 falls off
            if j >= 0:
                if j < 255:
                    bits[j] = (c >> i) & 1
            i += 1
        c = c >> 13
        k += 1


def constants():
    """The table that reduce() and comb_bits() take: the limbs of L and of 2^255 - 1 mod L."""
    table = array("i", bytes(4 * 82))
    load(table, ORDER.to_bytes(32, "little"), 0, 32)
    for i in range(20):
        table[20 + i] = (_ONES >> (13 * i)) & 0x1FFF
    return table
