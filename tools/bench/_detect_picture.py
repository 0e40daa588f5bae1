"""The trigger at work, as SVG: a real run of the detector on rounds, an echo and a gust. See detect.py --picture."""

import array
import itertools
import math
import pathlib
import random
import re

from bench import detect

SOURCE = detect.REPO / "firmware/holdfire_station/sensing/acoustic.py"
FROM_MS, TO_MS = 3900, 5900
WIDTH, HEIGHT, LEFT, TOP = 860, 300, 46, 24
LOW_DB, HIGH_DB = -92, -22
WORDS = ("STA", "LTA", "MTA", "RATIO_Q4", "IN_EVENT")


def scene() -> "array.array[int]":
    """Rounds at 4.0, 4.1 and 4.2 s, a weaker echo of the last, then a swell of noise that grows over 0.4 s."""
    rng = random.Random(4)
    track = array.array("i", bytes(4 * 6 * detect.RATE_HZ))
    shape = detect.pulse("rifle, 0.4 ms", 0.3, rng)
    for seconds, db in ((4.0, -30), (4.1, -31), (4.2, -29), (4.27, -39)):
        at = int(seconds * detect.RATE_HZ)
        for i, v in enumerate(shape):
            track[at + i] += round(v * detect.FULL_SCALE * 10 ** (db / 20))
    for i in range(detect.RATE_HZ):
        swell = math.sin(math.pi * i / detect.RATE_HZ) ** 2
        loud = 12 * detect.NOISE_RMS * swell * max(0, 1 - i / 12000)
        track[int(4.9 * detect.RATE_HZ) + i] += round(rng.gauss(0, loud))
    return track


def draw(station: detect.Station, path: pathlib.Path) -> None:
    source = SOURCE.read_text()
    index = [re.search(rf"^_{word} = const\((\d+)\)", source, re.M) for word in WORDS]
    trace = "trace=" + ",".join(found[1] for found in index if found)
    lines = station.lines(6, "white", detect.NOISE_RMS, 4, scene(), extra=(trace,))
    rows = [list(map(int, line.split()[1:])) for line in lines if line.startswith("trace")][FROM_MS:TO_MS]
    onsets = [int(line.split()[1]) * 1000 / detect.RATE_HZ for line in lines if line.startswith("impulse")]

    def x(ms: float) -> float:
        return LEFT + (ms - FROM_MS) * WIDTH / (TO_MS - FROM_MS)

    def y(level: float) -> float:
        db = 20 * math.log10(max(level, 1) / (1 << 25))
        return TOP + (HIGH_DB - max(LOW_DB, min(HIGH_DB, db))) * HEIGHT / (HIGH_DB - LOW_DB)

    def curve(values: list[float], style: str) -> str:
        points = " ".join(f"{x(FROM_MS + i):.1f},{y(v):.1f}" for i, v in enumerate(values))
        return f'<polyline points="{points}" fill="none" {style}/>'

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + LEFT + 14} {HEIGHT + TOP + 44}"'
           ' font-family="sans-serif" font-size="12">', '<rect width="100%" height="100%" fill="white"/>']
    for busy, group in itertools.groupby(range(len(rows)), key=lambda i: rows[i][4]):
        span = list(group)
        if busy:
            out.append(f'<rect x="{x(FROM_MS + span[0]):.1f}" y="{TOP}" width="{x(len(span)) - x(0):.1f}"'
                       f' height="{HEIGHT}" fill="#fde7c8"/>')
    for db in range(-90, HIGH_DB, 10):
        at = y((1 << 25) * 10 ** (db / 20))
        out.append(f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ddd"/>'
                   f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{db}</text>')
    for ms in range(FROM_MS, TO_MS + 1, 100):
        out.append(f'<text x="{x(ms):.1f}" y="{HEIGHT + TOP + 16}" text-anchor="middle">{ms / 1000:.1f}</text>')
    out.append(curve([max(row[1], row[2] >> 4) * row[3] / 16 for row in rows], 'stroke="#c0392b" stroke-width="1.2"'))
    out.append(curve([row[1] for row in rows], 'stroke="#2c7" stroke-width="1.5"'))
    out.append(curve([row[0] for row in rows], 'stroke="#14509e" stroke-width="1.2"'))
    for onset in onsets:
        out.append(f'<path d="M{x(onset):.1f},{TOP} l-5,-10 h10 z" fill="#14509e"/>')
    legend = (("#14509e", "STA, 4 ms"), ("#2c7", "LTA, the floor"), ("#c0392b", "what STA must exceed"),
              ("#e8b35c", "event"), ("#14509e", "\u25bc onset"))
    for i, (colour, text) in enumerate(legend):
        out.append(f'<text x="{LEFT + i * 150}" y="{HEIGHT + TOP + 36}" fill="{colour}">{text}</text>')
    out.append(f'<text x="{LEFT + WIDTH}" y="{HEIGHT + TOP + 36}" text-anchor="end">dB re full scale; seconds</text>'
               "</svg>")
    path.write_text("\n".join(out) + "\n")
    print(f"{path}: {len(onsets)} impulses")
