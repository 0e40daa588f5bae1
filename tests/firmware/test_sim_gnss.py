"""The simulated receiver speaks NMEA 0183 that an independent reading accepts, and its pulse is the true second."""

import ast
import calendar
import re
import time

import pytest

from tests.firmware.sim_probe import probe
from tests.mpy import data_path

LISTEN = """
import asyncio, time
from machine import UART, Pin
def pulse(pin):
    print("pulse", time.ticks_us())
pps = Pin(34, Pin.IN)
pps.irq(pulse, Pin.IRQ_RISING)
uart = UART(2, %(baud)d, tx=Pin(17), rx=Pin(16), rxbuf=%(rxbuf)d)
async def main():
    reader = asyncio.StreamReader(uart)
    while time.ticks_ms() < %(ms)d:
        line = await reader.readline()
        print("line", time.ticks_us(), line)
asyncio.run(main())
print("end", pps.value())
"""

START_US = calendar.timegm((2028, 2, 28, 23, 59, 40)) * 1_000_000 + 250_000


def sentence(line: bytes) -> list[str]:
    """Fields of a sentence, checked by NMEA 0183 section 5.3: printable, its exclusive or, at most 82 characters."""
    match = re.fullmatch(rb"\$([\x20-\x23\x25-\x29\x2b-\x7e]+)\*([0-9A-F]{2})\r\n", line)
    assert match, line
    assert len(line) <= 82, line
    check = 0
    for byte in match[1]:
        check ^= byte
    assert check == int(match[2], 16), line
    return match[1].decode().split(",")


def degrees(value: str, side: str) -> float:
    whole, minutes = divmod(float(value), 100)
    return (whole + minutes / 60) * (-1 if side in "SW" else 1)


def listen(tmp_path, ms, baud=9600, rxbuf=512, **options):
    options = {"utc_us": START_US, "fix_s": 5, **options}
    with probe(tmp_path, LISTEN % {"ms": ms, "baud": baud, "rxbuf": rxbuf}, **options) as (station, console):
        console.read_until("end", 60)
        pulses = [int(line.split()[1]) for line in console.lines if line.startswith("pulse ")]
        lines = [line.split(None, 2)[1:] for line in console.lines if line.startswith("line ")]
        lines = [(int(ticks), ast.literal_eval(line)) for ticks, line in lines]
        return pulses, lines, [event for event in station.events if event[0] == "uart"]


def test_every_sentence_is_well_formed_and_comes_in_its_order(tmp_path):
    _, lines, dropped = listen(tmp_path, 30000)
    kinds = [sentence(line)[0] for _, line in lines]
    assert kinds[:3] == ["GNRMC", "GNGGA", "GNGSA"]
    assert kinds == (kinds[:3] * 30)[: len(kinds)]
    assert len(kinds) >= 3 * 28 and not dropped
    lengths = {sentence(line)[0]: len(sentence(line)) for _, line in lines}
    assert lengths == {"GNRMC": 13, "GNGGA": 15, "GNGSA": 18}


def test_before_the_fix_there_is_neither_time_nor_place_nor_pulse(tmp_path):
    pulses, lines, _ = listen(tmp_path, 9000)
    fixes = [sentence(line)[2] for _, line in lines if line.startswith(b"$GNRMC")]
    assert fixes[:8] == ["V"] * 5 + ["A"] * 3
    assert [sentence(line)[6] for _, line in lines if line.startswith(b"$GNGGA")][:8] == ["0"] * 5 + ["1"] * 3
    assert all(sentence(line)[1] == sentence(line)[9] == "" for _, line in lines if line.startswith(b"$GNRMC,,V"))
    assert len(pulses) == 4 and min(pulses) > 5_000_000


@pytest.mark.parametrize("day", [(2028, 2, 28), (2028, 2, 29), (2027, 2, 28), (2026, 12, 31), (2026, 3, 31)])
def test_a_sentence_names_the_second_before_it_also_around_midnight(tmp_path, day):
    start_us = calendar.timegm((*day, 23, 59, 40)) * 1_000_000 + 250_000
    pulses, lines, _ = listen(tmp_path, 32000, utc_us=start_us)
    seen = []
    for ticks, line in lines:
        fields = sentence(line)
        if fields[0] == "GNRMC" and fields[2] == "A":
            utc = calendar.timegm(time.strptime(fields[9] + fields[1].split(".")[0], "%d%m%y%H%M%S"))
            late_us = start_us + ticks - utc * 1_000_000
            # Its latency, then 70 bytes at 9600 baud and what the FIFO adds.
            assert 100_000 + 70_000 < late_us < 300_000 + 140_000
            seen.append(utc)
    assert seen == list(range(seen[0], seen[0] + len(seen)))
    assert len({time.gmtime(utc)[1:3] for utc in seen}) == 2


def test_place_and_altitude_are_those_given(tmp_path):
    _, lines, _ = listen(tmp_path, 8000, lat_e7=-337654321, lon_e7=-1512345678, alt_m=1890)
    gga = next(sentence(line) for _, line in lines if line.startswith(b"$GNGGA,2"))
    assert degrees(gga[2], gga[3]) == pytest.approx(-33.7654321, abs=1e-6)
    assert degrees(gga[4], gga[5]) == pytest.approx(-151.2345678, abs=1e-6)
    assert float(gga[9]) == 1890


@pytest.mark.parametrize("ppm", [-40, 0, 20])
def test_the_pulse_is_the_true_second_and_the_crystal_sees_it_drift(tmp_path, ppm):
    pulses, _, _ = listen(tmp_path, 30000, ppm=ppm)
    assert len(pulses) > 20
    for ticks in pulses:
        true_us = ticks * 1_000_000 / (1_000_000 + ppm)
        assert (START_US + true_us + 2) % 1_000_000 < 100
    gaps = [b - a for a, b in zip(pulses, pulses[1:], strict=False)]
    assert sum(gaps) / len(gaps) == pytest.approx(1_000_000 + ppm, abs=3)


def test_in_real_time_the_pulse_comes_within_milliseconds(tmp_path):
    pulses, _, _ = listen(tmp_path, 4300, fix_s=1, clock="real", utc_us=None)
    gaps = sorted(abs(b - a - 1_000_000) for a, b in zip(pulses, pulses[1:], strict=False))
    assert len(gaps) >= 1 and gaps[0] < 20_000


def test_a_lost_sky_stops_the_pulse_and_a_seen_one_brings_it_back(tmp_path):
    pulses, lines, _ = listen(tmp_path, 25000, script="10000 gnss off\n15000 gnss on\n")
    seconds = [ticks // 1_000_000 for ticks in pulses]
    assert {9, 17, 20} <= set(seconds) and not {10, 11, 13, 15, 16} & set(seconds)
    assert "V" in [sentence(line)[2] for ticks, line in lines if line.startswith(b"$GNRMC") and ticks > 12_000_000]


def test_time_goes_on_over_a_reset(tmp_path):
    source = LISTEN % {"ms": 8000, "baud": 9600, "rxbuf": 512}
    source += "import machine\nif machine.reset_cause() == 1:\n    machine.reset()\nprint('twice')\n"
    with probe(tmp_path, source, utc_us=START_US, fix_s=2) as (_, console):
        console.read_until("twice", 60)
    lines = [ast.literal_eval(line.split(None, 2)[2]) for line in console.lines if line.startswith("line ")]
    stamps = [sentence(line)[9] + sentence(line)[1] for line in lines if line.startswith(b"$GNRMC,") and b",A," in line]
    assert len(stamps) > 10 and stamps == sorted(set(stamps))


def test_a_spoofed_sky_tells_another_time(tmp_path):
    _, lines, _ = listen(tmp_path, 14000, script="10000 time +3600\n")
    stamps = [sentence(line)[1] for _, line in lines if line.startswith(b"$GNRMC,") and b",A," in line]
    assert stamps[0].startswith("2359") and stamps[-1].startswith("0059")


def test_the_wrong_baud_rate_reads_garbage(tmp_path):
    source = LISTEN % {"ms": 4000, "baud": 38400, "rxbuf": 512}
    source = source.replace("await reader.readline()", "await reader.read(64)")
    with probe(tmp_path, source, fix_s=1) as (_, console):
        console.read_until("end", 60)
    heard = b"".join(ast.literal_eval(line.split(None, 2)[2]) for line in console.lines if line.startswith("line "))
    assert len(heard) > 200 and b"$GN" not in heard


def test_a_receive_buffer_that_nobody_empties_overflows(tmp_path):
    source = "import time\nfrom machine import UART, Pin\nuart = UART(2, 9600, tx=Pin(17), rx=Pin(16), rxbuf=200)\n" \
             "time.sleep_ms(3000)\nprint('any', uart.any(), len(uart.read()), uart.read(), uart.readline())\n"
    with probe(tmp_path, source) as (station, console):
        assert console.read_until("any") == "200 200 None None"
        station.wait_for("uart", "overflow")


def test_the_checker_used_here_accepts_what_a_real_m8_said():
    kinds = {"RMC": 13, "GGA": 15, "GSA": 18}
    said = [line + b"\r\n" for line in data_path("gnss", "gpsd", "ublox8-uniqid-monhw.log").read_bytes().split(b"\r\n")]
    said = [line for line in said if line[3:6].decode(errors="replace") in kinds and line.startswith(b"$G")]
    assert len(said) > 10
    for line in said:
        fields = sentence(line)
        assert len(fields) == kinds[fields[0][2:]]
