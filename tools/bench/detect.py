"""The acoustic detector under MicroPython (160 KB heap) on sounds whose answer is known, and on recordings.

1. Pulses made from physics (Friedlander, ground reflection, decaying echoes) in noise: how many are found, how well
   timed.
2. An hour each of noise alone: false alarms.
3. Bursts: how many rounds are told apart.
4. The public recordings beside the project (labels are their sources' own, levels uncalibrated): which kinds trigger
   it. Counted by source recording too, since several clips can come from one.

SNR is the pulse's peak over the rms of the noise, both over the whole band (0-8 kHz). Levels are re full scale (2^23).
Clips that are not WAV need the soundfile package (not a dependency: pip install soundfile); else they are skipped.
"""

import argparse
import array
import collections
import csv
import math
import operator
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import wave

HELP = "acoustic detection: detection rate, onset error, false alarms, recordings by kind"
REPO = pathlib.Path(__file__).resolve().parents[2]
RATE_HZ = 16000
BIAS = 1 << 28  # of samples on their way to the driver
FULL_SCALE = 1 << 23
NOISE_RMS = FULL_SCALE * 10 ** (-80 / 20)  # 40 dB SPL on a microphone of -26 dBFS at 94 dB SPL
PULSE_NOISE_RMS = FULL_SCALE * 10 ** (-70 / 20)  # high enough for the least absolute level not to matter
DRIVER_RMS = {"white": 4094, "pink": 5805, "wind": 4243, "rain": 7743}  # measured of the driver's noise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: .venv/bin/python tools/bench detect --parts pulses noise --pulses 100"
    parser.add_argument("--parts", nargs="+", choices=("pulses", "noise", "bursts", "clips"),
                        default=["pulses", "noise", "bursts", "clips"], help="what to measure (all)")
    parser.add_argument("--pulses", type=int, default=200, help="pulses for each line (200)")
    parser.add_argument("--hours", type=float, default=1.0, help="of each kind of noise (1)")
    parser.add_argument("--picture", metavar="FILE.svg", help="draw the trigger at work into this file instead")
    parser.add_argument("--micropython", default=None, help="the MicroPython to use ($MICROPYTHON, .venv, PATH)")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the detector to change")


class Station:
    """The detector under MicroPython, one process a run."""

    def __init__(self, micropython: str | None, settings: list[str], folder: pathlib.Path) -> None:
        beside = pathlib.Path(sys.executable).parent / "micropython"
        candidates = [micropython, os.environ.get("MICROPYTHON"), str(beside), shutil.which("micropython")]
        found = [c for c in candidates if c and pathlib.Path(c).exists()]
        if not found:
            raise SystemExit("no micropython here: give --micropython PATH or set MICROPYTHON")
        self.command = [found[0], "-X", "heapsize=160K", str(pathlib.Path(__file__).with_name("_detect_driver.py"))]
        self.settings = settings
        self.signal = folder / "signal"

    def run(self, seconds: float, noise: str, rms: float, seed: int, signal: "array.array[int] | None" = None,
            gain: float = 1.0) -> list[dict[str, int]]:
        """Impulses found in `seconds` of noise at `rms` counts plus a signal."""
        lines = self.lines(seconds, noise, rms, seed, signal, gain)
        found = [line.split() for line in lines if line.startswith("impulse")]
        return [{"onset_sample": int(line[1]), "uncertainty_us": int(line[2])} for line in found]

    def lines(self, seconds: float, noise: str, rms: float, seed: int, signal: "array.array[int] | None" = None,
              gain: float = 1.0, extra: tuple[str, ...] = ()) -> list[str]:
        path = "-"
        if signal is not None:
            self.signal.write_bytes(array.array("i", [v + BIAS for v in signal]).tobytes())
            path = str(self.signal)
        arguments = [path, str(int(seconds * RATE_HZ)), noise, str(round(rms * 4096 / DRIVER_RMS[noise])), str(seed),
                     str(round(gain * 256)), *self.settings, *extra]
        search = f"{REPO / 'firmware'}:.frozen"
        done = subprocess.run(self.command + arguments, env={**os.environ, "MICROPYPATH": search}, check=True,
                              stdout=subprocess.PIPE, text=True)
        return done.stdout.splitlines()


# ---- pulses


# name: positive phase in ms, rise in ms (air absorption and turbulence round it off), ground reflection after ms
PULSES = {
    "rifle, 0.4 ms": (0.4, 0.02, 3.0),
    "mortar, 4 ms": (4.0, 0.1, 6.0),
    "shell far off, 15 ms, rise 1 ms": (15.0, 1.0, 1.5),
}
OVERSAMPLING = 8


def lowpass(cutoff: float, taps: int) -> list[float]:
    """Windowed sinc; cutoff in cycles a sample. Like the decimator in a digital microphone it rings before a step."""
    middle = (taps - 1) / 2
    out = []
    for i in range(taps):
        x = i - middle
        sinc = 2 * cutoff if x == 0 else math.sin(2 * math.pi * cutoff * x) / (math.pi * x)
        out.append(sinc * (0.54 + 0.46 * math.cos(2 * math.pi * x / taps)))
    return out


def pulse(kind: str, phase: float, rng: random.Random) -> list[float]:
    """A pulse of peak 1 at 16 kHz that begins `phase` of a sample after sample 32."""
    positive_ms, rise_ms, reflection_ms = PULSES[kind]
    rate = RATE_HZ * OVERSAMPLING / 1000
    start = (32 + phase) * OVERSAMPLING
    length = int((8 * positive_ms + reflection_ms + 20) * rate)

    def friedlander(ms: float) -> float:
        if ms <= 0:
            return 0.0
        rise = 0.5 - 0.5 * math.cos(math.pi * ms / rise_ms) if ms < rise_ms else 1.0
        return rise * (1 - ms / positive_ms) * math.exp(-ms / positive_ms)

    fine = []
    for i in range(length):
        ms = (i - start) / rate
        fine.append(friedlander(ms) + 0.6 * friedlander(ms - reflection_ms))
    taps = lowpass(0.45 / OVERSAMPLING, 16 * OVERSAMPLING + 1)
    half = len(taps) // 2
    fine = [0.0] * half + fine + [0.0] * half
    out = [sum(map(operator.mul, taps, fine[i:i + len(taps)])) for i in range(0, length, OVERSAMPLING)]
    peak = max(abs(v) for v in out)
    out = [v / peak for v in out]
    out += [0.0] * (RATE_HZ * 3 // 10)  # echoes of a scattered kind: noise 26 dB down that decays by 60 dB a second
    for i in range(80, len(out)):
        out[i] += rng.gauss(0, 0.05) * 10 ** (-3 * (i - 80) / RATE_HZ)
    return out


def percentile(values: list[float], percent: float) -> float:
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * percent / 100))] if values else float("nan")


def bench_pulses(station: Station, count: int) -> None:
    print(f"\nPulses in noise at -70 dB re full scale, {count} a line, 1.5 s apart. Error of the onset in microseconds"
          " (one sample is 62.5).")
    print(f"{'pulse':32} {'noise':6} {'SNR dB':>6} {'found %':>8} {'p50':>6} {'p95':>6} {'within stated %':>16}"
          f" {'extra':>6}")
    for kind in PULSES:
        rng = random.Random(kind)
        shapes = []
        for i in range(8):
            phase = (i + rng.random()) / 8
            shapes.append((phase, pulse(kind, phase, rng)))
        for noise, snrs in (("white", (17, 20, 23, 26, 30, 40, 60)), ("pink", (17, 20, 26)), ("wind", (14, 20, 26))):
            for snr in snrs:
                truth = []
                amplitude = PULSE_NOISE_RMS * 10 ** (snr / 20)
                track = array.array("i", bytes(4 * int((count * 1.5 + 6) * RATE_HZ)))
                for i in range(count):
                    at = int((4 + i * 1.5) * RATE_HZ) + rng.randrange(RATE_HZ // 4)
                    phase, shape = shapes[i % len(shapes)]
                    track[at:at + len(shape)] = array.array("i", [round(v * amplitude) for v in shape])
                    truth.append(at + 32 + phase)
                found = station.run(len(track) / RATE_HZ, noise, PULSE_NOISE_RMS, snr, track)
                errors, within, extra = score(found, truth)
                print(f"{kind:32} {noise:6} {snr:6} {100 * len(errors) / count:8.1f} {percentile(errors, 50):6.0f}"
                      f" {percentile(errors, 95):6.0f} {100 * within / max(1, len(errors)):16.1f} {extra:6}")


def score(found: list[dict[str, int]], truth: list[float]) -> tuple[list[float], int, int]:
    """Errors in us of the first impulse within 30 ms of each true onset; how many lie within what they state."""
    errors = []
    within = 0
    used = 0
    for onset in truth:
        near = [e for e in found if abs(e["onset_sample"] - onset) < 0.03 * RATE_HZ]
        if near:
            used += 1
            error = abs(near[0]["onset_sample"] - onset) * 1e6 / RATE_HZ
            errors.append(error)
            within += error <= near[0]["uncertainty_us"]
    return errors, within, len(found) - used


# ---- noise alone


def bench_noise(station: Station, hours: float) -> None:
    print(f"\nNoise alone, {hours:g} h each. `wind`: gusts of 35 % turbulence on an unshielded microphone; `rain`:"
          "\ndrops on the housing, 200 a second, each 6 dB louder half as often, up to 24 dB.")
    print(f"{'noise':6} {'rms dB re full scale':>20} {'false alarms an hour':>21}")
    for noise, level in (("white", -80), ("pink", -80), ("pink", -50), ("wind", -60), ("wind", -40), ("rain", -60)):
        found = station.run(hours * 3600, noise, FULL_SCALE * 10 ** (level / 20), 7)
        print(f"{noise:6} {level:20} {len(found) / hours:21.1f}")


# ---- bursts


def bench_bursts(station: Station) -> None:
    print("\nBursts of 10 rounds (rifle, levels within 3 dB, SNR 50 dB), echoes at two strengths; 20 bursts a line.")
    print(f"{'rounds a second':>15} {'echo, dB re round, decay to -60 dB in s':>40} {'found %':>8} {'extra':>6}")
    for echo_db, decay_s in ((-26, 1.0), (-20, 1.0)):
        for rate in (2, 6, 10, 13, 16, 20):
            rng = random.Random(rate)
            shape = pulse("rifle, 0.4 ms", 0.3, rng)[:320]
            truth: list[float] = []
            gap_s = 4.0 + 10 / rate
            track = array.array("i", bytes(4 * int((20 * gap_s + 6) * RATE_HZ)))
            for burst in range(20):
                for i in range(10):
                    at = int((4 + burst * gap_s + i / rate) * RATE_HZ)
                    amplitude = NOISE_RMS * 10 ** ((50 + rng.uniform(-1.5, 1.5)) / 20)
                    for k, v in enumerate(shape):
                        track[at + k] += round(v * amplitude)
                    for k in range(80, int(RATE_HZ * 0.6)):
                        echo = rng.gauss(0, 1) * 10 ** (echo_db / 20 - 3 * k / RATE_HZ / decay_s)
                        track[at + k] += round(echo * amplitude)
                    truth.append(at + 32.3)
            found = station.run(len(track) / RATE_HZ, "white", NOISE_RMS, rate, track)
            errors, _, extra = score(found, truth)
            print(f"{rate:15} {f'{echo_db}, {decay_s:g}':>40} {100 * len(errors) / len(truth):8.1f} {extra:6}")


# ---- recordings


LEAD_S = 3.0
LONGEST_CLIP_S = 10
CLIP_PEAKS_DB = (-6, -26, -46)


def read_clip(path: pathlib.Path) -> tuple[int, list[float]] | None:
    """Rate and samples of the first channel; None when no reader here understands the file."""
    try:
        with wave.open(str(path)) as clip:
            width, channels, rate = clip.getsampwidth(), clip.getnchannels(), clip.getframerate()
            data = clip.readframes(rate * LONGEST_CLIP_S)
        if width == 2:
            return rate, list(map(float, array.array("h", data)[::channels]))
        if width == 1:
            return rate, [v - 128.0 for v in data[::channels]]
    except wave.Error:
        pass
    try:
        import soundfile
    except ImportError:
        return None
    with soundfile.SoundFile(str(path)) as clip:
        rate = clip.samplerate
        return rate, [float(v) for v in clip.read(rate * LONGEST_CLIP_S, always_2d=True)[:, 0]]


def resample(rate: int, samples: list[float]) -> list[float]:
    """To 16 kHz: for each output the windowed sinc at its own phase (of at most 160)."""
    if rate == RATE_HZ:
        return samples
    factor = math.gcd(rate, RATE_HZ)
    up, down = RATE_HZ // factor, rate // factor
    half = 8 * max(1, down // up)
    prototype = lowpass(0.45 / max(up, down), 2 * half * up + 1)
    phases = [[up * v for v in prototype[p::up]][:2 * half][::-1] for p in range(up)]
    padded = [0.0] * half + samples + [0.0] * (half + 1)
    out = []
    for i in range(len(samples) * up // down):
        whole, phase = divmod(i * down, up)
        out.append(sum(map(operator.mul, phases[phase], padded[whole + 1:whole + 1 + 2 * half])))
    return out


def group(row: dict[str, str]) -> str:
    """Gunshot, explosion, fireworks; hard negatives by their kind, effects packs by the first folder of theirs."""
    return row["kind"].upper() if row["kind"] != "negative" else row["label"].split("/")[0]


def bench_clips(station: Station) -> None:
    folder = pathlib.Path(os.environ.get("HOLDFIRE_DATA", REPO.parent / "shared" / "data")) / "audio"
    if not (folder / "index.csv").exists():
        print(f"\nRecordings: skipped, no index.csv in {folder} (set HOLDFIRE_DATA to the folder that holds audio/)")
        return
    table: dict[str, dict[str, list[float]]] = collections.defaultdict(lambda: collections.defaultdict(list))
    skipped = 0
    with open(folder / "index.csv", newline="") as index:
        rows = list(csv.DictReader(index))
    for row in rows:
        clip = read_clip(folder / row["file"])
        if clip is None:
            skipped += 1
            continue
        samples = resample(*clip)
        peak = max(1e-9, max(map(abs, samples)))
        scale = FULL_SCALE / peak / 8  # the driver's gain has 8 bits of fraction: leave it room
        track = array.array("i", bytes(4 * int(LEAD_S * RATE_HZ)))
        track.extend([round(v * scale) for v in samples])
        recording = row["source"] if "freesound " not in row["source"] else row["source"].split("freesound ")[1]
        entry = table[group(row)]
        entry["sources"].append(hash(recording))
        entry["minutes"].append(len(samples) / RATE_HZ / 60)
        for db in CLIP_PEAKS_DB:
            found = station.run(LEAD_S + len(samples) / RATE_HZ + 1, "white", NOISE_RMS, 3, track, 8 * 10 ** (db / 20))
            found = [e for e in found if e["onset_sample"] >= (LEAD_S - 0.05) * RATE_HZ]
            entry[f"found {db}"].append(len(found))
            entry[f"cut {db}"].append(sum(e["onset_sample"] < (LEAD_S + 0.05) * RATE_HZ for e in found))
    print(f"\nRecordings, each after {LEAD_S:g} s of white noise at -80 dB, its peak set to {CLIP_PEAKS_DB} dB re full"
          f" scale (first {LONGEST_CLIP_S} s).\n`hit`: clips with a detection; `src`: source recordings with one;"
          " `/min`: detections a minute; `cut`: clips\ndetected only where they begin, so possibly because they begin.")
    header = "".join(f" | {db:4} hit  src   /min  cut" for db in CLIP_PEAKS_DB)
    print(f"{'kind':24} clips  src{header}")
    order = sorted(table, key=lambda name: (not name.isupper(), name))
    for name in order:
        print_kind(name, table[name])
    every: dict[str, list[float]] = collections.defaultdict(list)
    for name in order:
        if not name.isupper():
            for key, values in table[name].items():
                every[key].extend(values)
    print_kind("all negatives", every)
    if skipped:
        print(f"{skipped} of {len(rows)} clips skipped: not PCM WAV, and the soundfile package is not installed")


def print_kind(name: str, entry: dict[str, list[float]]) -> None:
    sources = entry["sources"]
    line = f"{name:24} {len(sources):5} {len(set(sources)):4}"
    for db in CLIP_PEAKS_DB:
        found, cut = entry[f"found {db}"], entry[f"cut {db}"]
        hit = sum(n > 0 for n in found)
        hit_sources = len({s for s, n in zip(sources, found, strict=True) if n})
        only_cut = sum(0 < n == c for n, c in zip(found, cut, strict=True))
        line += f" | {hit:8} {hit_sources:4} {sum(found) / sum(entry['minutes']):6.1f} {only_cut:4}"
    print(line)


def main(args: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        station = Station(args.micropython, args.set, pathlib.Path(folder))
        if args.picture:
            from bench._detect_picture import draw

            draw(station, pathlib.Path(args.picture))
            return 0
        if "pulses" in args.parts:
            bench_pulses(station, args.pulses)
        if "noise" in args.parts:
            bench_noise(station, args.hours)
        if "bursts" in args.parts:
            bench_bursts(station)
        if "clips" in args.parts:
            bench_clips(station)
    return 0
