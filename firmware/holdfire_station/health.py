"""How the station is: the status record and the self-test. In memory only while it is used, six times an hour."""

import gc

from holdfire_protocol import fields

from .sensing import acoustic

STATUS_SLACK_S = 60  # the promise in a status record is longer than the plan: signing may have to wait its turn
JOURNAL_NEARLY_FULL_PERMILLE = 900
NO_FLOOR_DB10 = -2000
MICROPHONE_FAULTS = {
    acoustic.STUCK: fields.SELFTEST_MIC_STUCK,
    acoustic.TOO_QUIET: fields.SELFTEST_MIC_QUIET,
    acoustic.TOO_LOUD: fields.SELFTEST_MIC_LOUD,
    acoustic.CLIPPING: fields.SELFTEST_MIC_LOUD,
}


def status(station, also: int):
    """The fields of a status record (`fields.STATUS`), and what to call once that record was kept."""
    detector, microphone = station.detector, station.microphone
    impulses, unrecorded = station.impulses, station.unrecorded
    gc.collect()
    named = {
        "interval_s": station.recorder.status_interval_s(station.interval_s) + STATUS_SLACK_S,
        "reset_cause": station.reset_cause,
        "selftest": selftest(station) | also,
        "impulses": min(impulses, fields.U16),
        "journal_permille": journal_permille(station.journal),
        "pending": station.journal.pending_count,
        "firmware": station.firmware,
        "heap_free": gc.mem_free(),
        "refused": all_refused(station),
    }
    heard = lost = 0
    if detector is None:
        named["heard_ms"] = named["lost_ms"] = 0
        named["floor_db10"] = named["floor_min_db10"] = named["floor_max_db10"] = NO_FLOOR_DB10
    else:
        heard, lost = detector.samples_heard, microphone.lost_samples
        named["heard_ms"] = min(microphone.milliseconds(heard - station.heard_before), fields.U32)
        named["lost_ms"] = min(microphone.milliseconds(lost - station.lost_before), fields.U32)
        named["floor_db10"] = detector.floor_db10
        named["floor_min_db10"] = detector.floor_min_db10
        named["floor_max_db10"] = detector.floor_max_db10
    if unrecorded > station.unrecorded_before:
        named["unrecorded"] = min(unrecorded - station.unrecorded_before, fields.U32)
    battery_mv = station.battery.read_mv() if station.battery else None
    if battery_mv is not None:
        named["battery_mv"] = battery_mv
    if station.gnss:
        named["satellites"] = station.gnss.fix.satellites
        position = station.gnss.position(station.monotonic.ms())
        if position is not None:
            named["position"] = position
    if station.clips and station.clips.head:
        named["clips"] = station.clips.head
    faults = [station.fault] if station.fault else []
    faults += ["%s: %s" % item for item in sorted(station.missing.items())]
    if faults:
        named["fault"] = "; ".join(faults).encode()[: fields.FAULT_BYTES]

    def kept():
        station.impulses -= impulses
        station.heard_before, station.lost_before, station.unrecorded_before = heard, lost, unrecorded
        station.failing = False
        station.fault = None
        if detector is not None:
            detector.reset_statistics()

    return named, kept


def selftest(station) -> int:
    """A bit for each test that failed, `fields.SELFTEST_*`."""
    if station.detector is None or "microphone" in station.missing:
        failed = fields.SELFTEST_MIC_STUCK
    else:
        failed = MICROPHONE_FAULTS.get(station.detector.self_test()[1], 0)
    if station.clock.utc(station.monotonic.us())[0] not in (fields.TIME_GNSS, fields.TIME_GNSS_PPS):
        failed |= fields.SELFTEST_GNSS
    if station.tamper and station.tamper.open:
        failed |= fields.SELFTEST_TAMPER
    if station.battery and station.battery.is_low(station.battery.read_mv()):
        failed |= fields.SELFTEST_BATTERY
    if station.journal and journal_permille(station.journal) >= JOURNAL_NEARLY_FULL_PERMILLE:
        failed |= fields.SELFTEST_JOURNAL
    if station.failing:
        failed |= fields.SELFTEST_TASK
    if station.missing:
        failed |= fields.SELFTEST_PART
    return failed


def journal_permille(journal) -> int:
    """How full the journal is."""
    return min(journal.used_bytes * 1000 // journal.capacity_bytes, 1000)


def all_refused(station) -> int:
    """Damaged or refused lines, commands and beacons since boot."""
    console = station.console
    return console.refused + console.damaged + (station.uplink.refused if station.uplink else 0)
