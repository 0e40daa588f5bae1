"""A small journal whose base stays away: records made by the station's own recorder until long after it is full.

    micropython -X heapsize=400K thinned_life.py IMAGE OUT

Writes to OUT what is pending in the end, in the order of sending, a line of hex each, and prints what was made.
"""

import asyncio
import sys
from binascii import hexlify

import esp32
from chips.nor_flash import NorFlash
from holdfire_protocol import cose, record
from holdfire_station.clock import Clock
from holdfire_station.counters import Counter
from holdfire_station.identity import Identity
from holdfire_station.journal import Journal, JournalFull
from holdfire_station.recorder import Recorder

SEED, NETWORK = b"s" * 32, bytes(range(16))
SECTORS = 14


class Now:
    value_us = 3_000_000

    def us(self):
        return Now.value_us


def power_on(boot):
    journal = Journal(esp32.Partition("journal"))
    journal.recover()
    Now.value_us = 3_000_000
    return journal, Recorder(ME, journal, Counter(esp32.Partition("counters"), 0), boot, Now(), Clock())


def tamper():
    return {"kind": 2, "at_us": Now.value_us, "onset_uncertainty_us": 100, "open": 1}


def status():
    return {
        "interval_s": 660, "reset_cause": 1, "selftest": 0, "heard_ms": 600_000, "lost_ms": 0, "impulses": 0,
        "floor_db10": -600, "floor_min_db10": -610, "floor_max_db10": -590, "journal_permille": 5, "pending": 5,
        "firmware": b"12345678", "heap_free": 50_000, "refused": 0,
    }  # fmt: skip


def main(image, out):
    flash = NorFlash(image, 0x4000 + SECTORS * 4096)
    esp32.attach(flash, (("counters", 1, 0x40, 0, 0x4000), ("journal", 1, 0x41, 0x4000, SECTORS * 4096)))
    made = {"alerts": 0, "routine": 0, "declared": 0, "refused_routine": 0, "refused_alerts": 0}
    alerts = []
    boot = 0
    for turn in range(420):
        if turn % 100 == 0:
            boot += 1
            journal, recorder = power_on(boot)
        if turn == 130:  # a number that names nothing, in the midst of routine records
            recorder._sequence.next()
            boot += 1
            journal, recorder = power_on(boot)
        Now.value_us += 60_000_000
        alert = turn % 3 == 1 or turn > 330
        try:
            seq = asyncio.run(recorder.record([tamper()] if alert else None, None if alert else status(), alert))
            made["alerts" if alert else "routine"] += 1
            if alert:
                alerts.append(seq)
        except JournalFull:
            made["refused_alerts" if alert else "refused_routine"] += 1
        while True:
            declared = asyncio.run(recorder.make_room())
            if declared is None:
                break
            made["declared"] += 1
    with open(out, "w") as file:
        for seq in journal.pending():
            file.write(hexlify(journal.read(seq)).decode() + "\n")
            if seq in alerts:
                alerts.remove(seq)
    for name in sorted(made):
        print(name, made[name])
    print("alerts_lost", len(alerts))
    print("public", hexlify(ME.public).decode())
    assert record.decode_record(cose.parse(journal.last[1]).payload)["seq"] == recorder.last_seq


ME = Identity(SEED, NETWORK, b"\x58" + b"\x66" * 31)
main(sys.argv[1], sys.argv[2])
