"""Cuts that leave a cell between 0 and 1, in every byte that the journal programs. Runs under MicroPython.

    micropython -X heapsize=512K journal_unsettled.py IMAGE FIRST_SEED SEEDS

After each cut: start, append, then start again several times. Every start must find the same, although the cell reads
differently each time. Prints the number of cuts.
"""

import sys

import esp32
from chips.nor_flash import SECTOR_BYTES, Faults, NorFlash, PowerCut
from holdfire_station import thinning
from holdfire_station.journal import Journal

SECTORS = 6


def power_on(image, faults):
    flash = NorFlash(image, SECTORS * SECTOR_BYTES, faults)
    esp32.attach(flash, [("journal", 1, 0x41, 0, SECTORS * SECTOR_BYTES)])
    return flash, Journal(esp32.Partition("journal"))


def erase_ahead(journal):
    journal.maintain()


def open_and_append(journal):
    journal.append(50, b"fiftieth", True)


def append(journal):
    journal.append(50, b"fiftieth", False)


def receipt(journal):
    journal.receipt(41)


def thin(journal):
    assert thinning.thin(journal, thinning.plan(journal))


WORK = (erase_ahead, open_and_append, append, receipt, thin)


def seen(journal):
    return list(journal.pending()), journal.pending_count, journal.last, journal.receipted


def prepare(image):
    flash, journal = power_on(image, Faults())
    journal.recover()
    journal.append(1, b"first" * 300, False)
    journal.append(10, b"tenth" * 300, False)
    journal.append(20, b"twentieth" * 300, False)
    journal.append(40, b"fortieth" * 9, False)
    flash.close()
    with open(image, "rb") as file:
        return file.read()


def survive(image, start, work, faults, seed):
    """False if the work was done before the cut came."""
    for name, content in ((image, start), (image + ".wear", bytes(SECTORS * 8))):
        with open(name, "wb") as file:
            file.write(content)
    flash, journal = power_on(image, faults)
    at_byte, faults.at_byte = faults.at_byte, -1
    journal.recover()
    faults.at_byte = at_byte
    try:
        work(journal)
        flash.close()
        return False
    except PowerCut:
        flash.close()
    before = None
    for start in range(5):
        flash, journal = power_on(image, Faults(seed=seed * 100 + start))
        journal.recover()
        now = seen(journal)
        later = work in (receipt, thin) and before and len(now[0]) < len(before[0])  # may take effect yet, not undo it
        assert before is None or now == before or later, "%s cut at %d, seed %d, start %d: %s, then %s" % (
            work.__name__, at_byte, seed, start, before, now)
        if start == 0:
            journal.append(60, b"sixtieth", True)
            journal.append(61, b"sixty-first", False)
        before = seen(journal)
        for seq in before[0]:
            assert journal.read(seq), "%s cut at %d: %d is gone" % (work.__name__, at_byte, seq)
        flash.close()
    return True


def main(image, first_seed, seeds):
    start = prepare(image)
    cuts = 0
    for work in WORK:
        at_byte = 0
        while survive(image, start, work, Faults(at_byte=at_byte, seed=first_seed), first_seed):
            for seed in range(first_seed + 1, first_seed + seeds):
                survive(image, start, work, Faults(at_byte=at_byte, seed=seed), seed)
            at_byte += 1
            cuts += seeds
    for seed in range(first_seed, first_seed + 30 * seeds):  # a program that left no trace: one seed in 300 can tell
        survive(image, start, append, Faults(at_byte=0, seed=seed), seed)
    print(cuts + 30 * seeds)


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
