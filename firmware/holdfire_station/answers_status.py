"""The console's answer about how the station is. In memory only while it is asked for."""

import gc

from . import report


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
        lines.append(report.records_line(station.journal))
    battery_mv = station.battery.read_mv() if station.battery else None
    lines.append("battery    " + ("unknown" if battery_mv is None else "%d mV" % battery_mv))
    if station.tamper:
        lines.append("case       " + ("OPEN" if station.tamper.open else "closed"))
    lines.append("refused    %d lines or beacons; %d observations not recorded" % (
        station.console.refused + station.console.damaged + (station.uplink.refused if station.uplink else 0),
        station.unrecorded))  # fmt: skip
    failed = ["tasks      %s failed %d times" % item for item in sorted(station.failed_tasks.items())]
    lines += failed or ["tasks      all well"]
    lines += report.missing_lines(station)
    lines.append("heap       %d bytes free" % gc.mem_free())
    return lines
