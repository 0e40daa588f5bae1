"""What a person can type at the console, and the answers, 80 columns wide. In memory only while it is used."""

import gc

from holdfire_protocol import fields

from . import enrolment, identity, overlay, report


def run(station, words) -> list:
    """The lines that answer a command; `words` has at least its name. Raises ValueError with what was wrong."""
    for name, _, answer in COMMANDS:
        if name == words[0].lower():
            try:
                return answer(station, words[1:])
            finally:
                overlay.forget("holdfire_station.report", "holdfire_station.enrolment", "holdfire_protocol.words")
    raise ValueError("%s: no such command; `help` lists them" % words[0][:20])


def _help(_, __) -> list:
    return ["  %-9s %s" % (name, text) for name, text, _ in COMMANDS]


def _selftest(station, _) -> list:
    return report.selftest_lines(overlay.with_module("holdfire_station.health", "selftest", station))


def _status(station, _) -> list:
    journal = station.journal
    detector = station.detector
    now_us = station.monotonic.us()
    battery_mv = station.battery.read_mv()
    failed = ["%s failed %d times" % item for item in station.failed_tasks.items()]
    return [
        "station    boot %d, up %d s, %s" % (
            station.boot, now_us // 1_000_000, "recording" if station.recorder else "NOT ENROLLED"),
        "time       " + report.time_text(station.clock.utc(now_us)),
        "gnss       %d satellites, %d sentences refused" % (station.gnss.fix.satellites, station.gnss.fix.refused),
        "microphone floor %s, %d s heard, %d samples lost" % (
            report.decibels(detector.floor_db10),
            station.microphone.milliseconds(detector.samples_heard) // 1000,
            station.microphone.lost_samples),
        "records    last %d, receipted %d, waiting %d, journal %d permille" % (
            journal.last_seq, journal.receipted, journal.pending_count, station.journal_permille()),
        "battery    " + ("unknown" if battery_mv is None else "%d mV" % battery_mv),
        "case       " + ("OPEN" if station.tamper.open else "closed"),
        "refused    %d lines or beacons; %d observations not recorded" % (station.all_refused(), station.unrecorded),
        "tasks      " + (", ".join(failed) or "all well"),
        "heap       %d bytes free" % gc.mem_free(),
    ]  # fmt: skip


def _last(station, _) -> list:
    last = station.journal.last
    return report.record_lines(last[1]) if last else ["no record yet"]


def _identity(station, _) -> list:
    if station.recorder is None:
        return [station.identity_fault or "identity network=none public=none kid=none"]
    who = station.identity
    return ["identity network=%s public=%s kid=%s" % (who.network.hex(), who.public.hex(), who.kid.hex())]


def _enrol(station, words) -> list:
    if len(words) != 3:
        raise ValueError("enrol takes NETWORK COLLECTOR ENTROPY; `holdfire enrol` on the base laptop sends them")
    network = hex_bytes(words[0], "network", fields.NETWORK_BYTES)
    collector = hex_bytes(words[1], "collector", fields.PUBLIC_KEY_BYTES)
    entropy = hex_bytes(words[2], "entropy", identity.SEED_BYTES)
    try:
        who = enrolment.create(network, collector, entropy)
    except identity.IdentityError as error:
        raise ValueError(str(error))
    station.begin(who)
    return ["enrolled public=%s kid=%s" % (who.public.hex(), who.kid.hex())]


COMMANDS = (
    ("enrol", "NETWORK COLLECTOR ENTROPY (hex): make a key, once", _enrol),
    ("help", "this list", _help),
    ("identity", "key and deployment, for the collector", _identity),
    ("last", "the last record", _last),
    ("selftest", "what works and what does not", _selftest),
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
