"""Integer decibels: tenths of a decibel from ratios of amplitudes, without floats (single on ESP32, double on a PC).

Runs alike on MicroPython and CPython. Every intermediate stays below 2^30, a small int on the ESP32: no allocation.
It knows nothing of microphones: the caller says what full scale is.
"""

_SILENCE_DB10 = -2000  # what a level of zero reads: far below the 1 LSB of any converter


def log2_q12(value: int) -> int:
    """log2 in 1/4096ths, right to 5/4096, for 1 <= value < 2^30."""
    whole = 0
    for step in (16, 8, 4, 2, 1):
        if value >> (whole + step):
            whole += step
    f = (value >> (whole - 12) if whole > 12 else value << (12 - whole)) - 4096
    # log2(1 + f) = f + f (1 - f) g(f), where this g is right at 0, 1/2 and 1.
    g = 1813 - ((f * (1013 - ((f * 341) >> 12))) >> 12)
    return (whole << 12) + f + ((((f * (4096 - f)) >> 12) * g) >> 12)


def db10(amplitude: int, reference: int) -> int:
    """20 log10(amplitude / reference) in tenths of a decibel, to the nearest tenth; `_SILENCE_DB10` for nothing."""
    if amplitude <= 0:
        return _SILENCE_DB10
    # An octave of amplitude is 6.0206 dB; 30 octaves * 4096 * 6021 < 2^30.
    return ((log2_q12(amplitude) - log2_q12(reference)) * 6021 + 204800) // 409600


def amplitude_at(level_db10: int, reference: int) -> int:
    """The smallest amplitude at least `level_db10` over `reference`: the inverse of `db10`, by bisection."""
    low, high = 0, (1 << 30) - 1
    while high - low > 1:
        middle = (low + high) >> 1
        if db10(middle, reference) < level_db10:
            low = middle
        else:
            high = middle
    return high


def half_decibels_below(level_db10: int) -> int:
    """One byte for a level re full scale: half-decibels below it, 0 at or above it, 254 at -127 dB or less."""
    below = (2 - level_db10) // 5
    return 0 if below < 0 else 254 if below > 254 else below
