"""Arithmetic modulo L = 2^252 + 27742317777372353535851937790883648493, the order of the base point, for the chip.

A scalar is limbs in radix 2^13, 0..8191 each, in an array('i') of 41; 20 limbs hold 260 bits, and 2^260 = -256 * (L - 2^252) (mod L).
Used for s = r + k * a and for reducing the 512-bit hashes: secrets pass through, so every loop count and index is public.
"""

import micropython

ORDER = 0x1000000000000000000000000000000014DEF9DEA2F79CD65812631A5CF5D3ED


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
def reduce(x: ptr32, order: ptr32):
    """x[0..19] = x[0..39] mod L, in 0..L-1. order[0..10] is 256 * (L - 2^252), order[11..30] is L; x[40..81] is scratch.

    Limbs from 20 up are folded three times, which brings 2^520 to 2^394, 2^268 and then 2^260 + 2^142 in size. No column leaves
    12 * 2^26, and the carry is taken by mask and sign extension, so that the width of a viper int does not matter.
    """
    c = 0
    top = 39
    n = 0
    while n < 3:
        end = top - 10
        if end < 19:
            end = 19
        c = 0
        k = 0
        while k <= end:
            if k < 20:
                c += x[k]
            i = k + 10 if k > 9 else 20
            last = k + 20 if k + 20 < top else top
            while i <= last:
                c -= x[i] * order[k + 20 - i]
                i += 1
            x[42 + k] = c & 0x1FFF
            c = (((c >> 13) & 0x7FFFF) ^ 0x40000) - 0x40000
            k += 1
        k = 0
        while k <= end:
            x[k] = x[42 + k]
            k += 1
        top = end + 1
        x[top] = c
        n += 1
    # Now x = q * 2^252 + rest: take q * L off, then add or take L by the sign of what is left, as a factor and not as a branch.
    high = x[19] + (c << 13)
    factor = 0 - (high >> 5)
    n = 0
    while n < 4:
        c = 0
        k = 0
        while k < 19:
            c += x[k] + factor * order[11 + k]
            x[k] = c & 0x1FFF
            c = (((c >> 13) & 0x7FFFF) ^ 0x40000) - 0x40000
            k += 1
        high += c + factor * order[30]
        factor = -1
        if n != 1:
            factor = (high >> 20) & 1
        n += 1
    x[19] = high


@micropython.viper
def comb_bits(bits: ptr8, x: ptr32, order: ptr32):
    """bits[0..259] of (x + 2^260 - 1) / 2 mod L, so that x = the sum of (2 * bit - 1) * 2^i: every digit of the comb is then +1 or -1.

    order[31..50] is 2^260 - 1 mod L. Halving: add L if odd. x < L in, so the result is below 1.5 L < 2^260.
    """
    odd = (x[0] + order[31]) & 1
    c = 0
    k = 0
    while k < 20:
        c += x[k] + order[31 + k] + odd * order[11 + k]
        i = 0
        while i < 13:
            if k + i:  # halved: bit 0 falls off
                bits[13 * k + i - 1] = (c >> i) & 1
            i += 1
        c = c >> 13
        k += 1
    bits[259] = c


def _digits(out, at: int, count: int, value: int) -> None:
    for i in range(count):
        out[at + i] = (value >> (13 * i)) & 0x1FFF


def constants():
    """The table that reduce() and comb_bits() take."""
    from array import array

    table = array("i", bytes(4 * 51))
    _digits(table, 0, 11, 256 * (ORDER - (1 << 252)))
    _digits(table, 11, 20, ORDER)
    _digits(table, 31, 20, ((1 << 260) - 1) % ORDER)
    return table
