"""What the console says of the station, in lines of at most 80 columns. Nothing here measures or decides."""

from holdfire_protocol import cose, fields, record, words


def utc_text(utc_us: int) -> str:
    """`2026-11-24 13:05:07.123 UTC`. The chip's calendar has another epoch than a PC's, so this counts itself."""
    days, rest_us = divmod(utc_us, 86_400_000_000)
    # Days since 0000-03-01, in eras of 400 years: leap days then fall on the end of a year.
    days += 719_468
    era, day = divmod(days, 146_097)
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    year += 400 * era + (1 if month >= 10 else 0)
    month += 3 if month < 10 else -9
    seconds, us = divmod(rest_us, 1_000_000)
    return "%04d-%02d-%02d %02d:%02d:%02d.%03d UTC" % (
        year, month, day + 1, seconds // 3600, seconds // 60 % 60, seconds % 60, us // 1000)  # fmt: skip


def time_text(time) -> str:
    """A record's time with its uncertainty and source."""
    source, utc_us, uncertainty_us = time
    if source == fields.TIME_NONE:
        return "time unknown"
    if uncertainty_us < 10_000:
        within = "%d us" % uncertainty_us
    else:
        within = "%d ms" % (uncertainty_us // 1000)
    return "%s +- %s (%s)" % (utc_text(utc_us), within, words.TIME_SOURCES[source])


def decibels(db10: int) -> str:
    """Tenths of a decibel as decibels."""
    return "%s%d.%d dB" % ("-" if db10 < 0 else "", abs(db10) // 10, abs(db10) % 10)


def degrees(e7: int) -> str:
    """1e-7 degrees as degrees."""
    return "%s%d.%07d" % ("-" if e7 < 0 else "", abs(e7) // 10_000_000, abs(e7) % 10_000_000)


def selftest_lines(failed: int) -> list:
    """One line a failed test, or one that says all is well."""
    lines = ["FAIL %s" % name for bit, name in enumerate(words.SELFTEST_NAMES) if failed >> bit & 1]
    return lines or ["self-test: all well"]


def record_lines(message: bytes) -> list:
    """A record in words."""
    named = record.decode_record(cose.parse(message).payload)
    lines = ["record %d, boot %d, %d bytes" % (named["seq"], named["boot"], len(message))]
    lines.append("  " + time_text(named["time"]))
    if "restart" in named:
        lines.append("  restart: " + words.RESTARTS[named["restart"]])
    for observation in named.get("observations", ()):
        lines.append("  " + observation_text(observation))
    if "status" in named:
        status = named["status"]
        lines.append("  status: heard %d s, lost %d ms, %d impulses, floor %s" % (
            status["heard_ms"] // 1000, status["lost_ms"], status["impulses"], decibels(status["floor_db10"])))
    return lines


def observation_text(observation: dict) -> str:
    """An observation in words."""
    before_ms = -observation["onset_us"] // 1000
    if observation["kind"] == fields.KIND_TAMPER:
        return "case %s %d ms before" % ("opened" if observation["open"] else "closed", before_ms)
    return "impulse %d ms before: peak %d, %s over floor, %d ms long" % (
        before_ms, observation["peak"], decibels(observation["snr_db10"]), observation["duration_ms"])  # fmt: skip
