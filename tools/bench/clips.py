"""Clips of sound: what 1.7 s costs, and how far it is from the sound, without loss, in 8 bits with a common exponent
(what the station does) and in ADPCM.

On recordings (HOLDFIRE_DATA), round their loudest moment, reduced by the station's own filter. Without loss: Rice
coding of the better of two predictions, with the best parameter for each 32 samples. Baseline: 16 bits a sample.
"""

import argparse
import array
import math
import pathlib
import statistics
import types
import wave

from tests.mpy import DATA, REPO
from tests.sim import noviper

from holdfire import sound

HELP = "clips of sound: lossless, 8 bits and ADPCM, in bytes and in error"
SENSING = REPO / "firmware" / "holdfire_station" / "sensing"
GROUPS = {
    "gunshots, explosions": ("freesound-phoenix/gunshot", "cc-sounds/fire_gun", "cc-sounds/explosion"),
    "fireworks": ("esc50-16k/fireworks",),
    "thunder, doors, engines": ("esc50-16k/thunderstorm", "esc50-16k/door_wood_knock", "esc50-16k/engine"),
    "speech": ("speech",),
}
SAMPLES = 54 * 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: .venv/bin/python tools/bench clips"
    parser.add_argument("--each", type=int, default=4, help="recordings of a kind at most (default 4)")


def read(path: pathlib.Path) -> list[int] | None:
    """16-bit samples of the first channel at 16 kHz, by the nearest sample; None when it is not of 16 bits."""
    with wave.open(str(path)) as file:
        if file.getsampwidth() != 2:
            return None
        found = array.array("h", file.readframes(file.getnframes()))[:: file.getnchannels()]
        rate = file.getframerate()
    return [found[i * rate // 16000] for i in range(len(found) * 16000 // rate)]


def reduced(track: list[int], half: list[int]) -> list[int]:
    """54 blocks round the loudest moment, as the station keeps them before it encodes them."""
    loudest = max(range(len(track)), key=lambda i: abs(track[i]))
    start = loudest - 16 * 32 * 16
    values = []
    for n in range(SAMPLES):
        low = start + n * 16 - 256
        total = 0
        for i, tap in enumerate(half):
            total += (at(track, low + i) + at(track, low + 255 - i)) * tap
        values.append(max(-32767, min(32767, total >> 15)))
    return values


def at(track: list[int], i: int) -> int:
    return track[i] if 0 <= i < len(track) else 0


def rice_bytes(values: list[int]) -> int:
    bits = 0
    for start in range(0, len(values), 32):
        best = []
        for order in (1, 2):
            left = []
            for i in range(start, start + 32):
                one, two = at(values, i - 1), at(values, i - 2)
                residual = values[i] - (one if order == 1 else 2 * one - two)
                left.append(2 * residual if residual >= 0 else -2 * residual - 1)
            best += [sum((v >> k) + 1 + k for v in left) for k in range(16)]
        bits += min(best) + 5
    return bits // 8


def main(args: argparse.Namespace) -> int:
    if not (DATA / "audio").is_dir():
        print(f"no recordings at {DATA}: set HOLDFIRE_DATA")
        return 1
    _, codec = noviper.load(SENSING, "bench_sensing", ("acoustic", "clip"))
    half = [tap - 8192 for tap in codec._filter(16)]
    kept, small = SAMPLES // 32 * 33, SAMPLES // 2
    print(f"1.7 s at 1,000 samples a second and 16 bits: {2 * SAMPLES} bytes (baseline); 8 bits with a common exponent,"
          f" as kept: {kept}; ADPCM: {small}")
    print(f"{'':26}{'lossless, bytes':>16}{'most':>7}{'of as kept':>12}"
          f"{'as kept, error dB':>19}{'most':>7}{'ADPCM, error dB':>17}{'most':>7}")
    for name, folders in GROUPS.items():
        paths = [path for folder in folders for path in sorted((DATA / "audio" / folder).rglob("*.wav"))]
        values = [reduced(track, half) for track in [read(path) for path in paths[: args.each]] if track]
        if not values:
            print(f"{name:26}no recordings of 16 bits")
            continue
        lossless = [rice_bytes(v) for v in values]
        ours = [error_db(v, sound.samples(through(codec, v))) for v in values]
        others = [error_db(v, adpcm(v)) for v in values]
        mean = statistics.mean
        print(f"{name:26}{mean(lossless):>16.0f}{max(lossless):>7}{mean(lossless) / kept:>12.2f}"
              f"{mean(ours):>19.1f}{max(ours):>7.1f}{mean(others):>17.1f}{max(others):>7.1f}")
    print(f"the whole band, 16,000 samples a second of 16 bits: {32 * SAMPLES} bytes")
    return 0


def through(codec, values: list[int]) -> bytes:
    """By the station's own function: a ring that holds each value 16 hops long passes the filter unchanged."""
    history = codec.History(types.SimpleNamespace(hop=16, ring=array.array("i", [0] * 1024), ring_at=0))
    for value in values:
        history._detector.ring[768:] = array.array("i", [(value << 8) + 0x02000000] * 256)
        history.feed(16)
    return bytes(history.copy(0, len(values) // 32))


STEPS = [7, 8, 9, 10, 11, 12, 13, 14, 16, 17]
while len(STEPS) < 89:
    STEPS.append(min(32767, STEPS[-1] * 11 // 10 + 1))  # within 2 % of IMA's: enough to weigh it


def adpcm(values: list[int]) -> list[int]:
    """What IMA ADPCM would give back."""
    found, predicted, index = [], 0, 0
    for value in values:
        step, difference = STEPS[index], abs(value - predicted)
        code = min(7, difference * 4 // step)
        change = (2 * code + 1) * step // 8
        predicted = max(-32768, min(32767, predicted + (change if value >= predicted else -change)))
        index = max(0, min(88, index + (-1 if code < 4 else 2 * code - 6)))
        found.append(predicted)
    return found


def error_db(values: list[int], given: list[int]) -> float:
    """Energy of the error over that of the sound."""
    wrong = sum((a - b) ** 2 for a, b in zip(values, given, strict=True))
    return 10 * math.log10(max(wrong, 1) / max(sum(v * v for v in values), 1))
