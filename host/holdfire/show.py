"""One record in plain words: every field with its unit, its uncertainty and what it means.

Turns verified fields into report sections; reads no database and prints nothing.
"""

import math
from collections.abc import Sequence
from typing import Any

from holdfire_protocol import fields, words

from . import times
from .output import BAD, DIM, GOOD, WARN, Section, age, counted, numbers, percent

FULL_SCALE = 1 << 23  # fields.IMPULSE_ROWS, peak: 24-bit samples
BAND_TOP_HZ = 8000  # half of 16 kHz, the rate every station samples at; octaves go down from there
MICROPHONE_LOW_HZ = 40  # below it the station's filter takes wind and hum away

TIME_SOURCE_WORDS = (
    "no clock yet",
    "the station's crystal since it last knew the time",
    "the base's signed beacon",
    "satellites (GNSS)",
    "satellites with pulse per second (GNSS + PPS)",
    "the base's own clock",
)
TIME_SOURCE_SHORT = ("none", "crystal", "beacon", "GNSS", "GNSS+PPS", "host")


def record_sections(named: dict[str, Any]) -> list[Section]:
    """All that a record says, in the order a reader asks: when, what, how the station was."""
    if not named:
        return [Section(headline(named))]
    sections = [_heading(named)]
    for number, observation in enumerate(named.get("observations", ()), 1):
        sections.append(_observation(named, observation, number))
    if "status" in named:
        sections.append(_status(named["status"]))
    return sections


def headline(named: dict[str, Any]) -> str:
    """What the record is about, in a few words, for a list."""
    if not named:
        return "UNREADABLE: altered in the database"
    parts = []
    if "restart" in named:
        parts.append(f"chain restarts: {words.RESTARTS[named['restart']]}")
    impulses = [o for o in named.get("observations", ()) if o["kind"] == fields.KIND_IMPULSE]
    if impulses:
        peak = max(o["peak"] for o in impulses)
        parts.append(f"{counted(len(impulses), 'impulse')}, peak {peak_dbfs(peak)}")
    for observation in named.get("observations", ()):
        if observation["kind"] == fields.KIND_TAMPER:
            parts.append("case opened" if observation["open"] else "case closed")
    if "status" in named:
        status = named["status"]
        parts.append(f"status: {'all well' if not status['selftest'] else selftest_words(status['selftest'])}")
    if "thinned" in named:
        parts.append(f"memory full: gave up {counted(sum(b - a + 1 for a, b in named['thinned']), 'routine record')}")
    return "; ".join(parts)


def restart_words(seq: int, why: int) -> str:
    """A declared restart as a sentence."""
    if why == fields.RESTART_JOURNAL_LOST:
        return f"lost its journal before record {seq}, where its chain begins anew"
    if why == fields.RESTART_UNCLEAN:
        return f"gave up numbers, or lost its newest records, in a power cut before record {seq}"
    return f"record {seq}: {words.RESTARTS[why]}"


def thinned_words(runs: Sequence[tuple[int, int]]) -> str:
    """What a station gave up, as a sentence."""
    total = sum(last - first + 1 for first, last in runs)
    return f"{counted(total, 'routine record')}, {numbers(runs)}, thinned by the station because its memory was full"


def kinds(named: dict[str, Any]) -> list[str]:
    """What a record carries, of: impulse, tamper, status, restart, thinned."""
    found = [
        variant.name
        for kind, variant in fields.OBSERVATION.variants
        if any(o["kind"] == kind for o in named.get("observations", ()))
    ]
    return found + [name for name in ("status", "restart", "thinned") if name in named]


def time_words(time: tuple[int, int, int]) -> str:
    """A time with its uncertainty and source."""
    source, utc_us, uncertainty_us = time
    if source == fields.TIME_NONE:
        return f"unknown: {TIME_SOURCE_WORDS[0]}"
    return f"{times.text(utc_us)} ± {span(uncertainty_us)}, from {TIME_SOURCE_WORDS[source]}"


def span(us: int) -> str:
    """A length of time with three digits that count."""
    if us < 1000:
        return f"{us} µs"
    if us < 1_000_000:
        return f"{us / 1000:.3g} ms" if us < 999_500 else "1 s"
    if us < 60_000_000:
        return f"{us / 1_000_000:.3g} s"
    return age(us / 1_000_000)


def peak_dbfs(peak: int) -> str:
    """Decibels relative to full scale, to a tenth."""
    return "silence" if peak == 0 else f"{20 * math.log10(peak / FULL_SCALE):.1f} dBFS"


def tenths(value: int) -> str:
    """A value in tenths, as a decimal; done in integers so that what is shown is what was signed."""
    return f"{'-' if value < 0 else ''}{abs(value) // 10}.{abs(value) % 10}"


def selftest_words(bits: int) -> str:
    """The failed tests by name."""
    if not bits:
        return "all well"
    known = [name for bit, name in enumerate(words.SELFTEST_NAMES) if bits >> bit & 1]
    unknown = bits >> len(words.SELFTEST_NAMES)
    return ", ".join(known + ([f"unknown test bits {unknown << len(words.SELFTEST_NAMES):#x}"] if unknown else []))


def band_rows(bands: bytes) -> list[tuple[str, str]]:
    """(octave, level) from the highest band down."""
    rows = []
    high = BAND_TOP_HZ
    for number, value in enumerate(bands):
        low = MICROPHONE_LOW_HZ if number == len(bands) - 1 else high // 2
        level = "nothing" if value == 255 else f"{tenths(-5 * value)} dBFS"
        rows.append((f"{_hertz(low)} to {_hertz(high)}", level))
        high //= 2
    return rows


def _hertz(hz: int) -> str:
    return f"{hz // 1000} kHz" if hz >= 1000 else f"{hz} Hz"


def _heading(named: dict[str, Any]) -> Section:
    section = Section(f"Record {named['seq']}: {headline(named)}")
    section.add("made", time_words(named["time"]))
    section.add("boot", f"boot {named['boot']} of the station, {span(named['uptime_ms'] * 1000)} after it started")
    if "restart" in named:
        section.add("restart", f"does not simply follow the record before: {words.RESTARTS[named['restart']]}", WARN)
    if "thinned" in named:
        section.add("thinned", thinned_words(named["thinned"]), WARN)
    return section


def _observation(named: dict[str, Any], observation: dict[str, Any], number: int) -> Section:
    name = next(variant.name for kind, variant in fields.OBSERVATION.variants if kind == observation["kind"])
    section = Section(f"Observation {number}: {name}")
    section.add("onset", _onset(named, observation))
    if observation["kind"] == fields.KIND_TAMPER:
        section.add("case", "opened" if observation["open"] else "closed", BAD if observation["open"] else GOOD)
        return section
    peak = observation["peak"]
    section.add("peak", f"{peak_dbfs(peak)} ({peak} of {FULL_SCALE} counts)")
    if observation["clipped"]:
        section.add(
            "clipped", f"{counted(observation['clipped'], 'sample')} at full scale: louder than measurable", WARN
        )
    else:
        section.add("clipped", "no: the whole sound was within the microphone's range")
    section.add("rise", f"{span(observation['rise_us'])} from onset to peak")
    section.add("duration", f"{observation['duration_ms']} ms until it fell below the off threshold")
    section.add("signal to noise", f"{tenths(observation['snr_db10'])} dB, short-term over long-term average")
    section.add("noise floor", f"{tenths(observation['floor_db10'])} dBFS before the onset")
    section.add("zero crossings", f"{observation['zero_crossings']} while triggered")
    for index, (octave, level) in enumerate(band_rows(observation["bands"])):
        section.add("octave bands" if index == 0 else "", f"{octave:<16} {level}")
    return section


def _onset(named: dict[str, Any], observation: dict[str, Any]) -> str:
    """When it began: absolute where the station knew the time, else relative to its start."""
    source, utc_us, uncertainty_us = named["time"]
    onset_us = observation["onset_us"]
    picked = observation["onset_uncertainty_us"]
    if source == fields.TIME_NONE:
        since_boot = max(0, named["uptime_ms"] * 1000 + onset_us)
        return f"{span(since_boot)} after the station started, ± {span(picked)} (the station did not know the time)"
    both = uncertainty_us + picked
    return (
        f"{times.text(utc_us + onset_us)} ± {span(both)} "
        f"(clock ± {span(uncertainty_us)}, picking the onset ± {span(picked)})"
    )


def _status(status: dict[str, Any]) -> Section:
    section = Section("Status")
    heard, lost = status["heard_ms"], status["lost_ms"]
    share = f" ({percent(heard, heard + lost)} of the sound was analysed)" if heard + lost else ""
    section.add("self-test", selftest_words(status["selftest"]), BAD if status["selftest"] else GOOD)
    section.add(
        "listened",
        f"{span(heard * 1000)} since the last status record, missed {span(lost * 1000)}{share}",
        WARN if lost else "",
    )
    section.add("heard", counted(status["impulses"], "impulsive sound") + " since then")
    section.add(
        "noise floor",
        f"{tenths(status['floor_db10'])} dBFS now; {tenths(status['floor_min_db10'])} to "
        f"{tenths(status['floor_max_db10'])} since then",
    )
    section.add("battery", f"{status['battery_mv'] / 1000:.2f} V" if "battery_mv" in status else "not measured")
    if "position" in status:
        latitude, longitude, height_dm, hdop = status["position"]
        section.add(
            "position",
            f"{_degrees(latitude, 'N', 'S')} {_degrees(longitude, 'E', 'W')}, "
            f"{tenths(height_dm)} m above sea level, HDOP {tenths(hdop)}",
        )
    else:
        section.add("position", "no fix", DIM)
    if "satellites" in status:
        section.add("satellites", f"{status['satellites']} used in the fix")
    section.add(
        "journal",
        f"{tenths(status['journal_permille'])}% full, {counted(status['pending'], 'record')} not yet receipted",
    )
    section.add("next status", f"due within {age(status['interval_s'])}")
    section.add("last reset", words.RESET_CAUSES[status["reset_cause"]])
    section.add("memory", f"{status['heap_free']} bytes free")
    section.add("refused", f"{status['refused']} damaged or refused lines and beacons since it started")
    if "unrecorded" in status:
        text = f"{status['unrecorded']} observations that no record holds: the journal or the queue was full"
        section.add("unrecorded", text, WARN)
    if "fault" in status:
        text = "".join(char if char.isprintable() else "?" for char in status["fault"].decode("ascii", "replace"))
        section.add("fault", text, BAD)
    section.add("firmware", f"{status['firmware'].hex()} (first bytes of SHA-256 over its program)")
    if "clips" in status:
        section.add("clips", f"{status['clips'].hex()} (SHA-256 of the newest sound it keeps)")
    return section


def _degrees(e7: int, positive: str, negative: str) -> str:
    return f"{abs(e7) // 10_000_000}.{abs(e7) % 10_000_000:07d}° {positive if e7 >= 0 else negative}"
