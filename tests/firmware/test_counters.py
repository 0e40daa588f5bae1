"""A counter never returns a number twice: not through cuts at any byte, rot, or an encrypted partition."""

from tests.mpy import DEVICE_PATH, REPO, run_micropython

SIM_PATH = (*DEVICE_PATH, REPO / "tests" / "sim")

START = """
import esp32, os, random, sys
from chips.nor_flash import Faults, NorFlash, PowerCut
from holdfire_station.counters import Counter

def part(faults=None):
    global flash
    flash = NorFlash(IMAGE, 4 * 4096, faults)
    esp32.attach(flash, [("counters", 1, 0x40, 0, 4 * 4096)])
    return esp32.Partition("counters")
"""


def run(tmp_path, source, **options):
    return run_micropython(f"IMAGE = {str(tmp_path / 'flash.bin')!r}\n{START}{source}", path=SIM_PATH, **options)


def test_counts_from_one_and_goes_on_after_each_start(tmp_path):
    run(tmp_path, """
expected = 0
for start in range(30):
    sequence, boots = Counter(part(), 0), Counter(esp32.Partition("counters"), 2)
    assert sequence.value == expected and boots.value == start
    assert boots.next() == start + 1
    for _ in range(37):
        expected += 1
        assert sequence.next() == expected == sequence.value
    flash.close()
""")


def test_next_leaves_only_its_checksum_on_the_heap_and_needs_no_erase_once_maintained(tmp_path):
    run(tmp_path, """
import micropython
counter = Counter(part(), 0)
counter.next()
while counter.value < 253:
    counter.next()
flash.reset_counts()
assert counter.maintain() and not counter.maintain() and flash.erases == 1
flash.reset_counts()
for _ in range(20):
    counter.next()
assert flash.erases == 0 and flash.programmed_bytes == 21 * 16  # one cell each, and the base of the new sector
import gc
# A CRC-32 is a large integer where small ones have 31 bits, as on the chip: 32 bytes that the next collection takes.
LEFT_BYTES = 0 if sys.maxsize >> 32 else 32
gc.collect()
gc.disable()
before = gc.mem_alloc()
for _ in range(50):
    counter.next()
assert gc.mem_alloc() - before <= 50 * LEFT_BYTES, gc.mem_alloc() - before
""")


def test_a_crash_loop_does_not_erase_at_each_start(tmp_path):
    run(tmp_path, """
flash = NorFlash(IMAGE, 4 * 4096)
for start in range(600):
    esp32.attach(flash, [("counters", 1, 0x40, 0, 4 * 4096)])
    counter = Counter(esp32.Partition("counters"), 0)
    counter.next()
    counter.maintain()
assert counter.value == 600
assert flash.erases <= 3 * 17, flash.erases
""")


def test_cuts_at_every_byte_around_a_turn_never_repeat_a_number(tmp_path):
    done = run(tmp_path, """
def life(make_faults):
    '''From 20 numbers before a turn to 3 after it, through cut after cut; numbers must only rise.'''
    flash = NorFlash(IMAGE, 4 * 4096)
    for sector in range(4):
        flash.erase(sector * 4096)
    flash.close()
    highest = cuts = 0
    while highest < 260:
        counter = Counter(part(make_faults(highest, cuts)), 0)
        assert counter.value >= highest
        try:
            while highest < 260:
                value = counter.next()
                assert value > highest, (value, highest)
                highest = value
                if highest > 235:
                    counter.maintain()
        except PowerCut:
            cuts += 1
        flash.close()
    return cuts

cuts = 0
for at_byte in range(0, 40):        # the same offset again and again, from 240 on
    cuts += life(lambda highest, n: Faults(at_byte=at_byte if highest >= 240 and n < 9 else 240 * 16, seed=n))
for how in ("torn", "not_applied", "unreported"):
    for operation in range(0, 8):
        for seed in range(4):
            cuts += life(lambda highest, n: Faults(operation if n else 238, how, seed * 100 + n) if n < 12 else None)
print(cuts)
""")
    assert int(done.stdout) > 800


def test_rot_of_any_bit_repeats_nothing(tmp_path):
    run(tmp_path, """
counter = Counter(part(), 0)
for target in (1, 2, 20, 255, 256, 300):
    while counter.value < target:
        counter.next()
    for sector in (0, 1):
        for offset in range(0, 4096, 112):
            bit = (offset * 7 + target) % 128
            flash.rot(sector * 4096 + offset + bit // 8, bit % 8)
            again = Counter(esp32.Partition("counters"), 0)
            assert again.value >= target, (target, sector, offset, again.value)
            flash.rot(sector * 4096 + offset + bit // 8, bit % 8)
    cell = (target - 1) % 255 + 1
    sector = 1 - (target - 1) // 255 % 2
    for bit in range(128):  # each bit of the newest cell
        flash.rot(sector * 4096 + cell * 16 + bit // 8, bit % 8)
        assert Counter(esp32.Partition("counters"), 0).value >= target
        flash.rot(sector * 4096 + cell * 16 + bit // 8, bit % 8)
""")


def test_a_wiped_counter_can_be_told_where_to_go_on(tmp_path):
    run(tmp_path, """
counter = Counter(part(), 0)
counter.next()
counter.advance_to(5000)
assert counter.value > 5000
counter.advance_to(7)
again = Counter(esp32.Partition("counters"), 0)
assert again.value == counter.value and again.next() == counter.value + 1
""")


def test_a_cut_while_advancing_keeps_the_old_value_or_the_new(tmp_path):
    run(tmp_path, """
for how in ("torn", "not_applied", "unreported"):
    for operation in range(4):
        for seed in range(12):
            flash = NorFlash(IMAGE, 4 * 4096)
            for sector in range(4):
                flash.erase(sector * 4096)
            flash.close()
            counter = Counter(part(), 0)
            for _ in range(10):
                counter.next()
            counter.advance_to(50)
            low = counter.value
            flash.faults = Faults(operation, how, seed)
            try:
                counter.advance_to(90)
                low = 91
            except PowerCut:
                pass
            flash.close()
            for _ in range(3):
                again = Counter(part(Faults(seed=seed)), 0)
                assert again.value >= low, (how, operation, seed, again.value)
                flash.close()
            assert Counter(part(), 0).next() > low
            flash.close()
""")


def test_the_other_counter_and_the_rest_of_the_partition_are_left_alone(tmp_path):
    run(tmp_path, """
first, second = Counter(part(), 0), Counter(esp32.Partition("counters"), 2)
for _ in range(700):
    first.next()
assert second.value == 0 and second.next() == 1
assert Counter(esp32.Partition("counters"), 0).value == 700
""")


def test_on_an_encrypted_partition_numbers_still_only_rise(tmp_path):
    run(tmp_path, """
class Encrypted:
    '''Flash encryption as the chip does it: each 16-byte block is written once, whole; blank flash reads as noise.'''
    def __init__(self, partition):
        self.partition = partition
    def pad(self, block, offset, length):
        return bytes((block * 4096 + offset + i) * 2654435761 >> 13 & 0xFF for i in range(length))
    def readblocks(self, block, buf, offset=0):
        self.partition.readblocks(block, buf, offset)
        pad = self.pad(block, offset, len(buf))
        for i in range(len(buf)):
            buf[i] ^= pad[i]
    def writeblocks(self, block, buf, offset):
        assert offset % 16 == 0 and len(buf) % 16 == 0
        pad = self.pad(block, offset, len(buf))
        self.partition.writeblocks(block, bytes(a ^ b for a, b in zip(buf, pad)), offset)
    def ioctl(self, op, arg):
        return self.partition.ioctl(op, arg)

highest = 0
for start in range(12):
    counter = Counter(Encrypted(part(Faults(150 + start, "torn", start))), 0)
    assert counter.value >= highest
    try:
        while True:
            value = counter.next()
            assert value > highest
            highest = value
    except PowerCut:
        pass
    flash.close()
assert highest > 12 * 150
""")


def test_flash_that_keeps_nothing_is_an_error_and_no_number(tmp_path):
    run(tmp_path, """
class Worn:
    def __init__(self, partition):
        self.readblocks, self.ioctl = partition.readblocks, partition.ioctl
    def writeblocks(self, block, buf, offset):
        pass
counter = Counter(Worn(part()), 0)
try:
    counter.next()
    assert False
except OSError as error:
    assert "sector" in str(error)
""")
