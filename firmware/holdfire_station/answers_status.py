"""The console's answers about how the station is. In memory only while one is asked for."""

import gc

from . import health, report

COLUMNS = 79


def status(station, _) -> list:
    now_us = station.monotonic.us()
    lines = [
        "station    boot %d, up %d s, %s" % (
            station.boot, now_us // 1_000_000, "recording" if station.recorder else "NOT ENROLLED"),
        "time       " + report.time_text(station.clock.utc(now_us)),
    ]  # fmt: skip
    if station.gnss:
        fix = station.gnss.fix
        lines.append("gnss       %d satellites, %d sentences refused" % (fix.satellites, fix.refused))
    if station.detector:
        lines.append("microphone floor %s, %d s heard, %d samples lost" % (
            report.decibels(station.detector.floor_db10),
            station.microphone.milliseconds(station.detector.samples_heard) // 1000,
            station.microphone.lost_samples))  # fmt: skip
    if station.journal:
        lines.append(_records_line(station.journal))
    battery_mv = station.battery.read_mv() if station.battery else None
    failed = ["%s failed %d times" % item for item in station.failed_tasks.items()]
    lines.append("battery    " + ("unknown" if battery_mv is None else "%d mV" % battery_mv))
    if station.tamper:
        lines.append("case       " + ("OPEN" if station.tamper.open else "closed"))
    lines.append("refused    %d lines or beacons; %d observations not recorded" % (
        health.all_refused(station), station.unrecorded))  # fmt: skip
    lines.append("tasks      " + (", ".join(failed) or "all well"))
    lines += _missing(station)
    lines.append("heap       %d bytes free" % gc.mem_free())
    return lines


def selftest(station, _) -> list:
    return report.selftest_lines(health.selftest(station)) + _missing(station)


def journal(station, _) -> list:
    journal = station.journal
    if not journal:
        return _missing(station)
    last = journal.last
    erases = [journal.erases(sector) for sector in range(journal._sectors)]
    return [
        _records_line(journal),
        "last       " + ("%d bytes" % len(last[1]) if last else "none yet"),
        "room       %d of %d bytes hold records that wait for a receipt" % (
            journal.used_bytes, journal.capacity_bytes),
        "wear       each sector erased %d to %d times" % (min(erases), max(erases)),
        "counters   boot %d, last number %d" % (station.boot, station.sequence.value if station.sequence else 0),
    ]  # fmt: skip


def last(station, _) -> list:
    last = station.journal.last if station.journal else None
    return report.record_lines(last[1]) if last else ["no record yet"]


def _missing(station) -> list:
    return [("MISSING    %s: %s" % item)[:COLUMNS] for item in sorted(station.missing.items())]


def _records_line(journal) -> str:
    return "records    last %d, receipted %d, waiting %d, journal %d permille" % (
        journal.last_seq, journal.receipted, journal.pending_count, health.journal_permille(journal))  # fmt: skip
