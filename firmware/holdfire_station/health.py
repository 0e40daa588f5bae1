"""How the station is: the status record and the self-test. In memory only while it is used, six times an hour."""

import gc

from holdfire_protocol import fields

from .sensing import acoustic

STATUS_SLACK_S = 60  # the promise in a status record is longer than the plan: signing may have to wait its turn
JOURNAL_NEARLY_FULL_PERMILLE = 900
MICROPHONE_FAULTS = {
    acoustic.STUCK: fields.SELFTEST_MIC_STUCK,
    acoustic.TOO_QUIET: fields.SELFTEST_MIC_QUIET,
    acoustic.TOO_LOUD: fields.SELFTEST_MIC_LOUD,
    acoustic.CLIPPING: fields.SELFTEST_MIC_LOUD,
}


def status(station) -> dict:
    """The fields of a status record (`fields.STATUS`)."""
    detector, microphone = station.detector, station.microphone
    gc.collect()
    named = {
        "interval_s": station.interval_s + STATUS_SLACK_S,
        "reset_cause": station.reset_cause,
        "selftest": selftest(station),
        "heard_ms": min(microphone.milliseconds(detector.samples_heard - station.heard_before), fields.U32),
        "lost_ms": min(microphone.milliseconds(microphone.lost_samples - station.lost_before), fields.U32),
        "impulses": min(station.impulses, fields.U16),
        "floor_db10": detector.floor_db10,
        "floor_min_db10": detector.floor_min_db10,
        "floor_max_db10": detector.floor_max_db10,
        "satellites": station.gnss.fix.satellites,
        "journal_permille": station.journal_permille(),
        "pending": station.journal.pending_count,
        "firmware": station.firmware,
        "heap_free": gc.mem_free(),
        "refused": station.all_refused(),
    }
    if station.unrecorded > station.unrecorded_before:
        named["unrecorded"] = min(station.unrecorded - station.unrecorded_before, fields.U32)
    battery_mv = station.battery.read_mv()
    if battery_mv is not None:
        named["battery_mv"] = battery_mv
    position = station.gnss.position(station.monotonic.ms())
    if position is not None:
        named["position"] = position
    return named


def selftest(station) -> int:
    """A bit for each test that failed, `fields.SELFTEST_*`."""
    failed = MICROPHONE_FAULTS.get(station.detector.self_test()[1], 0)
    if station.clock.utc(station.monotonic.us())[0] not in (fields.TIME_GNSS, fields.TIME_GNSS_PPS):
        failed |= fields.SELFTEST_GNSS
    if station.tamper.open:
        failed |= fields.SELFTEST_TAMPER
    if station.battery.is_low(station.battery.read_mv()):
        failed |= fields.SELFTEST_BATTERY
    if station.journal_permille() >= JOURNAL_NEARLY_FULL_PERMILLE:
        failed |= fields.SELFTEST_JOURNAL
    if station.failing:
        failed |= fields.SELFTEST_TASK
    return failed
