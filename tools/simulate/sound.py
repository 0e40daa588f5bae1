"""Sounds for the simulated microphone: WAV files and physics, turned into what an INMP441 would put on the wire.

The raw form is one channel of 32-bit little-endian slots at the sample rate with 24-bit samples left-justified in them.
Full scale is a sine of 120 dB SPL (data sheet: -26 dBFS at 94 dB SPL, so one pascal is 297,000 counts of 24 bits). Here
is the heavy arithmetic, because the simulated chip has 160 KB; it is not fit to judge a detector by beyond its first
tests: propagation is a free field over hard ground.
"""

import math
import pathlib
import random
import sys
import wave
from array import array

RATE_HZ = 16000
FULL_SCALE = (1 << 23) - 1
COUNTS_PER_PASCAL = FULL_SCALE * 10 ** (-26 / 20) / math.sqrt(2)  # 94 dB SPL is 1 Pa rms; dBFS refers to a sine's peak
SPEED_OF_SOUND_M_S = 343.0
SELF_NOISE_COUNTS = FULL_SCALE / math.sqrt(2) * 10 ** (-87 / 20)  # noise floor, rms (table 1)
DC_OFFSET_COUNTS = 900  # what is left after the chip's high-pass, as breakouts show it

# kind -> (peak overpressure times distance in Pa m, positive phase in ms). A rifle's muzzle blast: about 157 dB peak at
# 1 m. Shell and bomb, 7 kg and 50 kg of TNT: the far field of Kinney and Graham's curves, 84 kPa m and 4.2 ms for a
# kilogram, both growing as the cube root of the charge. Orders of magnitude, honest about no more than that.
KINDS = {
    "gunshot": (1400.0, 0.5),
    "artillery": (84e3 * 7 ** (1 / 3), 4.2 * 7 ** (1 / 3)),
    "explosion": (84e3 * 50 ** (1 / 3), 4.2 * 50 ** (1 / 3)),
}


def read_wav(path: pathlib.Path) -> tuple[list[float], int]:
    """Samples of all channels averaged, full scale 1.0, and the rate. 8, 16, 24 and 32 bit PCM."""
    with wave.open(str(path), "rb") as file:
        width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
        data = file.readframes(file.getnframes())
    if width == 1:
        values = [byte - 128 for byte in data]
    elif width == 3:
        values = [int.from_bytes(data[i : i + 3], "little", signed=True) for i in range(0, len(data) - 2, 3)]
    else:
        whole = array("h" if width == 2 else "i")
        whole.frombytes(data[: len(data) // width * width])
        if sys.byteorder == "big":
            whole.byteswap()
        values = whole.tolist()
    scale = 1.0 / (1 << (8 * width - 1)) / channels
    if channels == 1:
        return [value * scale for value in values], rate
    frames = len(values) // channels
    return [sum(values[i * channels : (i + 1) * channels]) * scale for i in range(frames)], rate


def resample(samples: list[float], rate: int, to_rate: int = RATE_HZ) -> list[float]:
    """Band-limited to the lower rate: windowed sinc, 16 zero crossings a side. At the same rate nothing changes."""
    if rate == to_rate:
        return samples
    cutoff = min(1.0, to_rate / rate)
    reach = 16 / cutoff
    step = math.gcd(rate, to_rate)
    phases, stride = to_rate // step, rate // step
    taps: dict[int, tuple[int, list[float]]] = {}
    padded_by = int(reach) + 2
    padded = [0.0] * padded_by + samples + [0.0] * padded_by
    out = []
    for n in range(len(samples) * to_rate // rate):
        whole, phase = divmod(n * stride, phases)
        if phase not in taps:
            at = phase / phases
            first = math.ceil(at - reach)
            taps[phase] = first, [_tap(k - at, cutoff, reach) for k in range(first, math.floor(at + reach) + 1)]
        first, kernel = taps[phase]
        start = whole + first + padded_by
        out.append(math.sumprod(kernel, padded[start : start + len(kernel)]) if hasattr(math, "sumprod")
                   else sum(map(float.__mul__, kernel, padded[start : start + len(kernel)])))
    return out


def _tap(offset: float, cutoff: float, reach: float) -> float:
    x = math.pi * offset * cutoff
    sinc = 1.0 if x == 0 else math.sin(x) / x
    return cutoff * sinc * (0.5 + 0.5 * math.cos(math.pi * offset / reach))


def synthesise(kind: str, distance_m: float, rate: int = RATE_HZ) -> list[float]:
    """Pascals 1.5 m above hard ground from the first arrival on: a Friedlander pulse, its echo, and the air."""
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}: choose one of {', '.join(sorted(KINDS))}")
    if distance_m < 1:
        raise ValueError("distance_m must be 1 or more")
    strength_pa_m, phase_ms = KINDS[kind]
    source_m, microphone_m = 1.5, 1.5
    direct = math.hypot(distance_m, source_m - microphone_m)
    echo = math.hypot(distance_m, source_m + microphone_m)
    positive_s = phase_ms / 1000
    samples = [0.0] * int((12 * positive_s + 0.25) * rate)
    for path, reflected in ((direct, 1.0), (echo, 0.9)):
        delay_s = (path - direct) / SPEED_OF_SOUND_M_S
        peak = reflected * strength_pa_m / path
        # Air takes high frequencies: 0.02 dB a metre at 4 kHz (ISO 9613-1, 20 C, 70 %), here one pole that falls with
        # the path.
        smooth = math.exp(-1 / (rate * (2e-5 + 2.2e-7 * path)))
        level = 0.0
        for n in range(len(samples)):
            t = n / rate - delay_s
            pressure = 0.0 if t < 0 else peak * (1 - t / positive_s) * math.exp(-t / positive_s)
            level = pressure + (level - pressure) * smooth
            samples[n] += level
    return samples


def encode(samples: list[float], counts: float) -> bytes:
    """Raw form of samples, one unit of which is `counts` of 24 bits; clipped at full scale."""
    slots = array("i", [max(-FULL_SCALE - 1, min(FULL_SCALE, round(sample * counts))) << 8 for sample in samples])
    if sys.byteorder == "big":
        slots.byteswap()
    return slots.tobytes()


def noise(seed: int, ambient_db_spl: float, seconds: float = 8.0) -> bytes:
    """A quiet place in raw form: wind and far traffic (falling 3 dB an octave, by P. Kellet's three poles) over the
    chip's own noise and offset.

    It is played round and round, so its end is blended into its beginning: a seam would click like a far shot.
    """
    rng, count, blend = random.Random(seed), int(seconds * RATE_HZ), RATE_HZ // 4
    pink, slow, medium, fast = [], 0.0, 0.0, 0.0
    for _ in range(count + blend):
        white = rng.gauss(0.0, 1.0)
        slow = 0.99765 * slow + white * 0.0990460
        medium = 0.96300 * medium + white * 0.2965164
        fast = 0.57000 * fast + white * 1.0526913
        pink.append(slow + medium + fast + white * 0.1848)
    for i in range(blend):
        angle = math.pi / 2 * i / blend
        pink[i] = pink[i] * math.sin(angle) + pink[count + i] * math.cos(angle)
    del pink[count:]
    mean = sum(pink) / count
    rms = math.sqrt(sum((value - mean) ** 2 for value in pink) / count)
    ambient = COUNTS_PER_PASCAL * 2e-5 * 10 ** (ambient_db_spl / 20) / rms
    chip = [DC_OFFSET_COUNTS + rng.gauss(0.0, SELF_NOISE_COUNTS) for _ in pink]
    return encode([(value - mean) * ambient + own for value, own in zip(pink, chip, strict=True)], 1.0)
