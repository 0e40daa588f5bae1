"""The console's answer about satellites and time. In memory only while it is asked for."""

from . import report


def gnss(station, _) -> list:
    gnss = station.gnss
    if not gnss:
        return ["MISSING    gnss: %s" % station.missing.get("gnss", "")]
    fix = gnss.fix
    now_us = station.monotonic.us()
    position = gnss.position(now_us // 1000)
    lines = [
        "time       " + report.time_text(station.clock.utc(now_us)),
        "crystal    %d ppb slow of GNSS; %d times contradicted" % (station.clock.rate_ppb, station.clock.rejected),
        "sentences  last time %s, %d refused" % (
            "none" if fix.utc_s is None else report.utc_text(fix.utc_s * 1_000_000)[:19], fix.refused),
        "satellites %d" % fix.satellites,
        "line       %d %% full" % gnss.load_percent,
    ]  # fmt: skip
    if gnss.load_percent >= 96:
        lines.append("           TOO FULL for time to be believed: fewer sentences, or more baud")
    if position is None:
        return lines + ["position   none; the antenna needs a free sky for a minute or more"]
    latitude_e7, longitude_e7, height_dm, hdop_x10 = position
    return lines + ["position   %s %s, %d m, HDOP %d.%d" % (
        report.degrees(latitude_e7), report.degrees(longitude_e7), height_dm // 10, hdop_x10 // 10, hdop_x10 % 10)]
