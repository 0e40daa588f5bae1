"""Inversion modulo p in constant time, by division steps: a third of the work of raising to the power p - 2.

Bernstein and Yang, "Fast constant-time gcd computation and modular inversion" (2019), in the variant that starts at
delta = 1/2, for which 590 steps are enough for 256-bit numbers (Wuille's bound, in libsecp256k1's
doc/safegcd_implementation.md). f = p and g = the number, 20 limbs in radix 2^13 each, all 0..8191 but for a signed top
limb; d, e with d * number = f and e * number = g (mod p). Thirteen steps look at the lowest limbs only and give a 2 x
2 matrix, |entries of a row| together <= 2^13; it is applied to (f, g) and to (d, e), which shifts them by one limb.
The choice in a step is by masks.

Words of the workspace's scratch: 20.. f, 40.. g, 60.. d, 80.. e, 100 zeta = -(delta + 1/2), kept positive by adding
1024.
"""

import micropython

BATCHES = 46  # of 13 steps: 598


@micropython.viper
def start(w: ptr32):
    """Begin the inversion of the number whose digits point.reduce() left in w[0..19]."""
    k = 0
    while k < 20:
        w[20 + k] = 0x1FFF
        w[40 + k] = w[k]
        w[60 + k] = 0
        w[80 + k] = 0
        k += 1
    w[20] = 0x1FFF - 18
    w[39] = 0xFF
    w[80] = 1
    w[100] = 1023


@micropython.viper
def run(p: ptr32, c: int, w: ptr32, batches: int):
    """So many batches of steps. `p` is `w` too, c is not used: give 0."""
    zeta = w[100] - 1024
    while batches:
        u = 1
        v = 0
        q = 0
        r = 1
        c = w[40]
        f = w[20]
        k = 13
        while k:
            negative = zeta >> 31  # -1 if zeta < 0
            odd = 0 - (c & 1)
            c += ((f ^ negative) - negative) & odd
            q += ((u ^ negative) - negative) & odd
            r += ((v ^ negative) - negative) & odd
            negative = negative & odd
            zeta = (zeta ^ negative) - 1
            f += c & negative
            u += q & negative
            v += r & negative
            c = c >> 1
            u += u
            v += v
            k -= 1
        # (f, g) and then (d, e): column 0 vanishes modulo 2^13 by adding a multiple of p = 2^255 - 19, with 19 * 2587
        # = 1 (mod 2^13); for f and g the multiple is 0, since the matrix was made so.
        p = w
        n = 2
        while n:
            f = u * p[20] + v * p[40]
            g = q * p[20] + r * p[40]
            more_f = ((f & 0x1FFF) * 2587) & 0x1FFF
            more_g = ((g & 0x1FFF) * 2587) & 0x1FFF
            f = (f - 19 * more_f) >> 13
            g = (g - 19 * more_g) >> 13
            k = 19
            while k:
                c = p[21]
                f += u * c + v * p[41]
                g += q * c + r * p[41]
                if k == 1:
                    f += more_f << 8
                    g += more_g << 8
                p[20] = f & 0x1FFF
                p[40] = g & 0x1FFF
                f = (((f >> 13) & 0x7FFFF) ^ 0x40000) - 0x40000
                g = (((g >> 13) & 0x7FFFF) ^ 0x40000) - 0x40000
                p = ptr32(int(p) + 4)
                k -= 1
            p[20] = f
            p[40] = g
            p = ptr32(int(w) + 160)
            n -= 1
        batches -= 1
    w[100] = zeta + 1024


@micropython.viper
def finish(w: ptr32, element: int):
    """Element = d * f, f being 1 or -1 by now. Its limbs are 0..8191, the top one up to three times that: carry it
    before use.
    """
    o = ptr32(int(w) + 80 * element)
    negative = 0 - ((w[39] >> 5) & 1)
    k = 0
    while k < 20:
        o[k] = (w[60 + k] ^ negative) - negative
        k += 1
