"""The console's answers about records, memory and self-test. In memory only while one is asked for."""

from . import health, report, report_record


def selftest(station, _) -> list:
    return report_record.selftest_lines(health.selftest(station)) + report.missing_lines(station)


def journal(station, _) -> list:
    journal = station.journal
    if not journal:
        return report.missing_lines(station)
    last = journal.last
    least = most = journal.erases(0)
    for sector in range(1, journal._sectors):
        erases = journal.erases(sector)
        least, most = min(least, erases), max(most, erases)
    return [
        report.records_line(journal),
        "last       " + ("%d bytes" % len(last[1]) if last else "none yet"),
        "room       %d of %d bytes hold records that wait for a receipt" % (
            journal.used_bytes, journal.capacity_bytes),
        "wear       each sector erased %d to %d times" % (least, most),
        "counters   boot %d, last number %d" % (station.boot, station.sequence.value if station.sequence else 0),
    ]  # fmt: skip


def last(station, _) -> list:
    last = station.journal.last if station.journal else None
    return report_record.record_lines(last[1]) if last else ["no record yet"]
