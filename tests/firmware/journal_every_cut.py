"""The busiest hour of a journal, cut at each flash operation in each way, and byte by byte. Runs under MicroPython.

    micropython -X heapsize=512K journal_every_cut.py IMAGE STRIDE SECOND_STRIDE

A nearly full ring; then records in both lanes, erasing ahead, a receipt, a new sector, thinning, the counter's turn
to its other sector. Prints for each way of failing how many cuts were survived. STRIDE: 1 cuts at every byte, 13 at
each 13th. Then twice: after each SECOND_STRIDE-th of those cuts, the start that follows and its first records are cut
at each of their operations in turn.
"""

import random
import sys

from journal_life import TOTALS, Life, Oracle

from chips.nor_flash import Faults, PowerCut

PART = bytearray(4096)  # one for all copies: the heap must not crumble over thousands of them


def prepare(life):
    """Receipts for the first sectors, the rest full of routine records and some alerts."""
    i = 0
    while life.append(alert=i % 4 == 0):
        i += 1
        if i == 40:
            life.oracle.note("try", "receipt", 30)
            life.journal.receipt(30)
            life.oracle.note("did")
    for _ in range(255 - life.counter.value % 255 - 4):
        life.oracle.note("issued", life.counter.next())


def busy_hour(life):
    life.append(alert=True)
    life.thin()
    life.journal.maintain()
    life.append(alert=False)
    life.receipt()
    life.counter.maintain()
    life.journal.maintain()
    for i in range(6):
        life.append(alert=i % 2 == 0)
    life.receipt()
    life.append(alert=False)


def copy(source, target):
    for end in ("", ".wear", ".oracle"):
        with open(source + end, "rb") as original, open(target + end, "wb") as file:
            while True:
                size = original.readinto(PART)
                if not size:
                    break
                file.write(PART, size)


def first_minute(life):
    """A start, all that was promised, a record in each lane."""
    life.check()
    life.append(alert=True)
    life.append(alert=False)


def cut_is_survived(image, start, faults, work=busy_hour, again=None):
    """False if the work ended before the cut came. `again`: where to leave the image as the cut left it."""
    copy(start, image)
    random.seed(7)
    oracle = Oracle(image + ".oracle")
    life = Life(image, oracle, faults, dict(TOTALS))
    life.erases_ahead = 1
    try:
        life.boot()
        work(life)
        return False
    except PowerCut:
        life.flash.close()
    if again:
        copy(image, again)
    for seed in (1, 2):  # twice: what one start-up saw, the next must see
        life = Life(image, oracle, Faults(seed=seed), dict(TOTALS))
        life.boot()
        life.check()
        life.flash.close()
    oracle.file.close()
    return True


def main(image, stride, second_stride):
    start = image + ".start"
    random.seed(3)
    life = Life(start, Oracle(start + ".oracle"), Faults(), dict(TOTALS))
    life.boot()
    prepare(life)
    life.oracle.file.close()
    life.flash.close()
    for how in ("not_applied", "torn", "unreported"):
        operation = 0
        while cut_is_survived(image, start, Faults(operation, how, seed=operation + 1)):
            operation += 1
        print(how, operation)
    at_byte = cuts = 0
    while cut_is_survived(image, start, Faults(at_byte=at_byte, seed=at_byte + 1)):
        at_byte += stride
        cuts += 1
    print("at_byte", cuts)

    left = image + ".cut"
    first = twice = 0
    ways = ("torn", "not_applied", "unreported")
    while cut_is_survived(image, start, Faults(first // 3, ways[first % 3], seed=first + 7), again=left):
        second = 0
        while cut_is_survived(image, left, Faults(second, ways[(first + second) % 3], seed=second), work=first_minute):
            second += 1
        twice += second
        first += second_stride
    print("twice", twice)


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
