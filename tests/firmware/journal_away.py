"""A base that is away for days, then back, on a journal of a board's size; with the station's own recorder and outbox.

    micropython -X heapsize=240K journal_away.py IMAGE JOURNAL_BYTES DAYS ALERTS_AN_HOUR SIGN

Alerts at that rate and status records at the station's own interval, a restart each third day. Then the base answers:
every beacon acknowledges what has arrived without a hole. Prints what was made, what arrived and in what order, and how
much the heap grew while it was sent. SIGN=0 replaces the signature, which nothing here checks, by as many bytes.
"""

import asyncio
import gc
import hashlib
import sys

import esp32
from chips.nor_flash import NorFlash
from holdfire_protocol import fields, record
from holdfire_station.counters import Counter
from holdfire_station.identity import Identity
from holdfire_station.journal import Journal, JournalFull
from holdfire_station.outbox import Outbox
from holdfire_station.recorder import Recorder

INTERVAL_S = 600
BEACON_MS = 200
START_US = 1_795_000_000_000_000


class FastKey:
    async def sign_async(self, data):
        return hashlib.sha256(data).digest() * 2


class Now:
    value_us = 3_000_000

    def us(self):
        return Now.value_us


class GnssClock:
    def utc(self, now_us):
        return fields.TIME_GNSS_PPS, START_US + now_us, 12


def impulse():
    return {
        "kind": 1, "at_us": Now.value_us - 212_345, "onset_uncertainty_us": 163, "peak": 1_904_211, "rise_us": 375,
        "duration_ms": 384, "snr_db10": 287, "floor_db10": -612, "bands": b"1234567", "zero_crossings": 146,
        "clipped": 0,
    }  # fmt: skip


def status(journal, recorder):
    permille = journal.used_bytes * 1000 // journal.capacity_bytes
    interval_s = recorder.status_interval_s(INTERVAL_S)
    position = (50_123_456, 363_123_456, 1523, 12)
    named = {
        "interval_s": interval_s + 60, "reset_cause": 1, "selftest": 64, "heard_ms": interval_s * 1000, "lost_ms": 120,
        "impulses": 4, "floor_db10": -612, "floor_min_db10": -655, "floor_max_db10": -601, "battery_mv": 3912,
        "position": position, "satellites": 9, "journal_permille": permille, "pending": journal.pending_count,
        "firmware": b"12345678", "heap_free": 43_210, "refused": 312, "clips": bytes(32),
    }  # fmt: skip
    return named, interval_s


def power_on(identity, boot):
    journal = Journal(esp32.Partition("journal"))
    journal.recover()
    return journal, Recorder(identity, journal, Counter(esp32.Partition("counters"), 0), boot, Now(), GnssClock())


def away(identity, days, alerts_an_hour):
    """Returns the journal, what was made ({lane: count}) and a bitmap of the alerts' numbers."""
    boot = 1
    journal, recorder = power_on(identity, boot)
    made = {"alerts": 0, "routine": 0, "refused": 0}
    alerts = bytearray((days * 24 * (alerts_an_hour + 6) + 64) // 8)
    next_status_s = 0
    for at_s in range(0, days * 86_400, 20):
        Now.value_us += 20_000_000
        if at_s % (3 * 86_400) == 43_200:
            boot += 1
            Now.value_us = 3_000_000
            journal, recorder = power_on(identity, boot)
        try:
            if at_s >= next_status_s:
                named, interval_s = status(journal, recorder)
                next_status_s = at_s + interval_s
                restarts = recorder.restart is not None
                seq = asyncio.run(recorder.record(None, named, False))
                alerts[seq >> 3] |= restarts << (seq & 7)  # kept as alerts are
                made["routine"] += 1
            if at_s % (3600 // alerts_an_hour // 20 * 20) == 0:
                seq = asyncio.run(recorder.record([impulse()], None, True))
                alerts[seq >> 3] |= 1 << (seq & 7)
                made["alerts"] += 1
        except JournalFull:
            made["refused"] += 1
        if at_s % 1000 == 0:
            journal.maintain()
    return journal, made, alerts


def back(journal, alerts):
    """Send all of it; returns (records arrived, most bytes of heap in use above the start, alerts first?)."""
    outbox = Outbox(journal)
    arrived = bytearray(len(alerts))
    linked = count = now_ms = most = 0
    alerts_first = True
    routine_came = False
    gc.collect()
    before = gc.mem_alloc()
    while journal.pending_count:
        seq, wait_ms = outbox.next(now_ms)
        if seq is None:
            now_ms += min(wait_ms, BEACON_MS)
            while arrived[linked + 1 >> 3] & 1 << (linked + 1 & 7):
                linked += 1
            journal.receipt(linked)
            outbox.heard(now_ms)
            continue
        message = journal.read(seq)
        assert message is not None and record.record_hash(message)
        if not arrived[seq >> 3] & 1 << (seq & 7):
            count += 1
            arrived[seq >> 3] |= 1 << (seq & 7)
            is_alert = bool(alerts[seq >> 3] & 1 << (seq & 7))
            alerts_first = alerts_first and not (is_alert and routine_came)
            routine_came = routine_came or not is_alert
        if count % 101 == 0:
            gc.collect()
            most = max(most, gc.mem_alloc() - before)
    return count, most, alerts_first


def main(image, journal_bytes, days, alerts_an_hour, sign):
    flash = NorFlash(image, 0x4000 + journal_bytes)
    esp32.attach(flash, (("counters", 1, 0x40, 0, 0x4000), ("journal", 1, 0x41, 0x4000, journal_bytes)))
    identity = Identity(b"s" * 32, bytes(16), b"\x58" + b"\x66" * 31)
    if not sign:
        identity.key = FastKey()
    journal, made, alerts = away(identity, days, alerts_an_hour)
    print("permille", journal.used_bytes * 1000 // journal.capacity_bytes)
    for name in sorted(made):
        print(name, made[name])
    pending = journal.pending_count
    print("pending", pending)
    count, most, alerts_first = back(journal, alerts)
    print("arrived", count)
    print("alerts_first", int(alerts_first))
    print("heap_growth", most)


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "1")
