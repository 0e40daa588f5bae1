"""What a person can type at the console, and the answers, 80 columns wide. In memory only while it is used."""

import gc

from holdfire_protocol import fields

from . import enrolment, health, identity, overlay, report

COLUMNS = 79


def run(station, words) -> list:
    """The lines that answer a command; `words` has at least its name. Raises ValueError with what was wrong."""
    for name, _, answer in COMMANDS:
        if name == words[0].lower():
            try:
                return answer(station, words[1:])
            finally:
                overlay.forget(
                    "holdfire_station.report", "holdfire_station.enrolment", "holdfire_protocol.words",
                    "holdfire_protocol.enrolment", "holdfire_station.health",
                )  # fmt: skip
    raise ValueError("%s: no such command; `help` lists them" % words[0][:20])


def _help(_, __) -> list:
    return ["  %-11s %s" % (name, text) for name, text, _ in COMMANDS]


def _selftest(station, _) -> list:
    return report.selftest_lines(health.selftest(station)) + _missing(station)


def _status(station, _) -> list:
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


def _missing(station) -> list:
    return [("MISSING    %s: %s" % item)[:COLUMNS] for item in sorted(station.missing.items())]


def _records_line(journal) -> str:
    return "records    last %d, receipted %d, waiting %d, journal %d permille" % (
        journal.last_seq, journal.receipted, journal.pending_count, health.journal_permille(journal))  # fmt: skip


def _journal(station, _) -> list:
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


def _gnss(station, _) -> list:
    gnss = station.gnss
    if not gnss:
        return _missing(station)
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


def _mic(station, _) -> list:
    if not station.detector:
        return _missing(station)
    from . import live

    station.live = live.level(station)
    return ["level above full scale's -100 dB, four times a second; any key ends it"]


def _radio(_, __) -> list:
    return ["this firmware has no radio: records and beacons travel by this cable only"]


def _set(station, words) -> list:
    return overlay.with_module("holdfire_station.settings", "command", station, words)


def _reboot(station, _) -> list:
    station.leaving = "reboot"
    return ["resets in a second"]


def _maintenance(station, words) -> list:
    if not station.may_maintain:
        raise ValueError("maintenance: forbidden by this board's file")
    if words != ["prompt"]:
        raise ValueError("the prompt makes it deaf and its key readable: `maintenance prompt`")
    station.leaving = "maintenance"
    return ["a record says that the prompt was opened; then it opens"]


def _last(station, _) -> list:
    last = station.journal.last if station.journal else None
    return report.record_lines(last[1]) if last else ["no record yet"]


def _identity(station, _) -> list:
    if station.recorder is None:
        return [station.identity_fault or "identity network=none public=none kid=none"]
    who = station.identity
    return ["identity network=%s public=%s kid=%s" % (who.network.hex(), who.public.hex(), who.kid.hex())]


def _enrol(station, words) -> list:
    if len(words) != 3:
        raise ValueError("enrol takes NETWORK COLLECTOR ENTROPY; `holdfire provision` on the laptop sends them")
    network = hex_bytes(words[0], "network", fields.NETWORK_BYTES)
    collector = hex_bytes(words[1], "collector", fields.PUBLIC_KEY_BYTES)
    entropy = hex_bytes(words[2], "entropy", identity.SEED_BYTES)
    try:
        who = enrolment.create(network, collector, entropy)
    except identity.IdentityError as error:
        raise ValueError(str(error))
    station.begin(who)
    return ["enrolled public=%s kid=%s" % (who.public.hex(), who.kid.hex())]


def _enrolment(station, words) -> list:
    if len(words) != 1:
        raise ValueError("enrolment takes CHALLENGE; `holdfire provision` on the laptop sends it")
    challenge = hex_bytes(words[0], "challenge", 16)
    return overlay.with_module("holdfire_station.statement", "lines", station, challenge)


COMMANDS = (
    ("enrol", "NETWORK COLLECTOR ENTROPY (hex): make a key, once", _enrol),
    ("enrolment", "CHALLENGE (hex): key, chip, board and program, signed", _enrolment),
    ("gnss", "satellites, position, time", _gnss),
    ("help", "this list", _help),
    ("identity", "key and deployment, for the collector", _identity),
    ("journal", "records kept, room, wear", _journal),
    ("last", "the last record", _last),
    ("maintenance", "prompt: stop the station for MicroPython's prompt; recorded", _maintenance),
    ("mic", "live sound level, until any key", _mic),
    ("radio", "what the radio does", _radio),
    ("reboot", "start again", _reboot),
    ("selftest", "what works and what does not", _selftest),
    ("set", "NAME VALUE: change a setting; alone: show them", _set),
    ("status", "how the station is", _status),
)


def hex_bytes(text: str, name: str, size: int) -> bytes:
    """Bytes from hex digits. Raises ValueError naming the argument."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        raise ValueError("%s: not hex digits" % name)
    if len(value) != size:
        raise ValueError("%s: %d bytes, not %d" % (name, len(value), size))
    return value
