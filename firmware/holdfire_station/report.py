"""What the console says of the station, in lines of at most 80 columns. Nothing here measures or decides."""

from holdfire_protocol import fields, words

COLUMNS = 79


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


def missing_lines(station) -> list:
    """A line for each part that a station lacks."""
    return [("MISSING    %s: %s" % item)[:COLUMNS] for item in sorted(station.missing.items())]


def records_line(journal) -> str:
    """How many records there are, and where."""
    return "records    last %d, receipted %d, waiting %d, journal %d permille" % (
        journal.last_seq, journal.receipted, journal.pending_count,
        journal.used_bytes * 1000 // journal.capacity_bytes)  # fmt: skip
