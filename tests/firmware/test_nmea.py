"""NMEA: right on real receivers' logs, refusing on broken ones, and the same under MicroPython."""

import datetime
import json
import random

import pytest

from holdfire_station import nmea
from tests.mpy import DEVICE_PATH, data_path, run_micropython


def sentence(body: str) -> bytes:
    total = 0
    for byte in body.encode():
        total ^= byte
    return f"${body}*{total:02X}\r\n".encode()


GOOD = sentence("GNRMC,131500.00,A,5007.40743,N,03614.07407,E,0.02,,241126,,,A")


def test_a_good_sentence_gives_second_and_position():
    fix = nmea.Fix()
    assert fix.feed(GOOD) == 1
    assert fix.utc_s == datetime.datetime(2026, 11, 24, 13, 15, tzinfo=datetime.UTC).timestamp()
    assert (fix.latitude_e7, fix.longitude_e7) == (501234571, 362345678)


def test_every_day_of_eighty_years_has_its_second():
    day = datetime.datetime(2000, 1, 1, 23, 59, 58, tzinfo=datetime.UTC)
    while day.year < 2080:
        assert nmea.utc_seconds(day.strftime("%d%m%y").encode(), b"235958") == day.timestamp()
        day += datetime.timedelta(days=1)


@pytest.mark.parametrize("body", [
    "GNRMC,131500.00,A,5007.40743,N,03614.07407,E,0.02,,311126,,,A",  # no such day
    "GNRMC,131560.00,A,5007.40743,N,03614.07407,E,0.02,,241126,,,A",  # a leap second
    "GNRMC,131500.20,A,5007.40743,N,03614.07407,E,0.02,,241126,,,A",  # between pulses
    "GNRMC,131500.00,A,9107.40743,N,03614.07407,E,0.02,,241126,,,A",
    "GNRMC,131500.00,A,5060.00000,N,03614.07407,E,0.02,,241126,,,A",
    "GNRMC,131500.00,A,5007.40743,X,03614.07407,E,0.02,,241126,,,A",
    "GNRMC,1315,A,5007.40743,N,03614.07407,E,0.02,,241126,,,A",
    "GNRMC,13150x.00,A,5007.40743,N,03614.07407,E,0.02,,241126,,,A",
    "GNRMC,,A,,,,,,,,,,A",
    "GNGGA,131500.00,5007.40743,N,03614.07407,E,1,x,0.9,152.0,M,30.0,M,,",
])
def test_a_sentence_that_cannot_be_is_refused_and_counted(body):
    fix = nmea.Fix()
    assert fix.feed(sentence(body)) == 0
    assert fix.refused == 1 and fix.utc_s is None


def test_any_changed_byte_is_refused_or_means_the_same():
    good = nmea.Fix()
    good.feed(GOOD)
    for at in range(len(GOOD) - 2):
        for bit in range(8):
            changed = bytearray(GOOD)
            changed[at] ^= 1 << bit
            fix = nmea.Fix()
            if fix.feed(bytes(changed)):
                meant = (good.utc_s, good.latitude_e7, good.longitude_e7)
                assert (fix.utc_s, fix.latitude_e7, fix.longitude_e7) == meant


def test_noise_of_any_kind_never_raises_and_stays_bounded():
    rng = random.Random(7)
    fix = nmea.Fix()
    for _ in range(300):
        fix.feed(bytes(rng.choice(b"$GNRMC,0123456789.*ABCDEF\r\n\x00\xff") for _ in range(400)))
        assert len(fix._line) <= nmea.MAX_SENTENCE
    fix.feed(b"$" + b"A" * 100_000)
    assert len(fix._line) <= nmea.MAX_SENTENCE
    assert fix.feed(b"\r\n" + GOOD) == 1


def logs():
    return sorted(data_path("gnss", "gpsd").glob("*.log")) + sorted(data_path("gnss").rglob("*BAD*"))


def test_positions_of_real_receivers_are_those_gpsd_reports():
    compared = 0
    for log in logs():
        check = log.with_suffix(".log.chk")
        if not check.exists():
            continue
        reported = set()
        for line in check.read_text(errors="replace").splitlines():
            if '"class":"TPV"' in line:
                report = json.loads(line)
                if "lat" in report and report.get("mode", 0) >= 2:
                    reported.add((round(report["lat"] * 1e5), round(report["lon"] * 1e5)))
        fix = nmea.Fix()
        for byte in log.read_bytes():
            if fix.feed(bytes((byte,))) and reported:
                ours = (fix.latitude_e7 / 100, fix.longitude_e7 / 100)
                near = any(abs(ours[0] - lat) <= 1 and abs(ours[1] - lon) <= 1 for lat, lon in reported)
                assert near, (log.name, ours)
                compared += 1
    assert compared > 100


REPLAY = """
import sys
from holdfire_station.nmea import Fix
for path in sys.argv[1:]:
    fix, total = Fix(), 0
    with open(path, 'rb') as file:
        while True:
            data = file.read(100)
            if not data:
                break
            total += fix.feed(data)
    print(total, fix.refused, fix.utc_s, fix.latitude_e7, fix.longitude_e7, fix.height_dm, fix.satellites)
"""


def test_micropython_reads_the_logs_as_cpython_does(tmp_path):
    script = tmp_path / "replay.py"
    script.write_text(REPLAY)
    paths = [path for path in logs() if path.stat().st_size < 200_000]
    told = run_micropython(script, *paths, path=DEVICE_PATH).stdout.splitlines()
    assert len(told) == len(paths)
    for path, line in zip(paths, told, strict=True):
        fix = nmea.Fix()
        total = fix.feed(path.read_bytes())
        ours = (total, fix.refused, fix.utc_s, fix.latitude_e7, fix.longitude_e7, fix.height_dm, fix.satellites)
        assert line == " ".join(map(str, ours)), path.name
