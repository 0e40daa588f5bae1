"""The journal with steady power (cuts: test_journal_cuts): order, receipts, a full ring, rot, memory, boot."""

import boards
from tests.mpy import DEVICE_PATH, REPO, run_micropython

SIM_PATH = (*DEVICE_PATH, REPO / "tests" / "sim")

START = """
import esp32, gc, random
from chips.nor_flash import Faults, NorFlash
from holdfire_station import thinning
from holdfire_station.journal import Journal, JournalFull

def fresh(sectors, size=None):
    global flash, part
    flash = NorFlash(IMAGE, sectors * 4096)
    esp32.attach(flash, [("journal", 1, 0x41, 0, size or sectors * 4096)])
    part = esp32.Partition("journal")
    return reboot()

def reboot():
    journal = Journal(part)
    journal.recover()
    return journal

def body(seq, length=200):
    return bytes((seq * 31 + i * 7) & 0xFF for i in range(length))
"""


def run(tmp_path, source, **options):
    return run_micropython(f"IMAGE = {str(tmp_path / 'flash.bin')!r}\n{START}{source}", path=SIM_PATH, **options)


def test_an_empty_partition_is_an_empty_journal(tmp_path):
    run(tmp_path, """
journal = fresh(8)
assert journal.last is None and list(journal.pending()) == [] and journal.read(1) is None
assert journal.used_bytes == journal.pending_count == journal.last_seq == 0 and thinning.plan(journal) is None
journal.receipt(1000)
assert journal.receipted == 0  # there was nothing it could be about
""")


def test_records_come_back_alerts_first_then_oldest_the_same_after_a_reboot(tmp_path):
    run(tmp_path, """
journal = fresh(16)
seqs = [1, 2, 3, 7, 8, 9, 20, 21, 22, 1000, 70000]
for seq in seqs:
    journal.append(seq, body(seq, seq % 300 + 1), seq % 3 == 0)
for journal in (journal, reboot(), reboot()):
    assert list(journal.pending()) == [3, 9, 21, 1, 2, 7, 8, 20, 22, 1000, 70000]
    assert list(journal.pending(4)) == [3, 9, 21, 1] and journal.pending_count == 11
    for seq in seqs:
        assert journal.read(seq) == body(seq, seq % 300 + 1), seq
    for seq in (0, 4, 10, 999, 70001):
        assert journal.read(seq) is None
    assert journal.last == (70000, body(70000, 70000 % 300 + 1))
""")


def test_the_largest_record_fits_and_a_larger_or_empty_or_old_one_is_refused(tmp_path):
    run(tmp_path, """
from holdfire_station import journal as module
journal = fresh(8)
biggest = body(5, module.MAX_RECORD_BYTES)
journal.append(5, biggest, False)
journal.append(6, b"x", False)
for seq, record in ((7, biggest + b"x"), (7, b""), (6, b"again"), (3, b"old")):
    try:
        journal.append(seq, record, False)
        assert False
    except ValueError as error:
        assert str(error).split(":")[0] in ("seq", "record")
assert reboot().read(5) == biggest and reboot().last == (6, b"x")
""")


def test_a_receipt_is_durable_monotone_and_covers_all_up_to_it(tmp_path):
    run(tmp_path, """
random.seed(5)
journal = fresh(40)
for seq in range(1, 501):
    journal.append(seq, body(seq), seq % 4 == 0)
highest = 0
for step in range(60):
    seq = random.getrandbits(10) % (step * 8 + 8)
    journal.receipt(seq)
    highest = max(highest, min(seq, 500))
    expected = [s for s in range(highest + 1, 501) if s % 4 == 0] + [s for s in range(highest + 1, 501) if s % 4]
    assert list(journal.pending()) == expected, (step, seq)
    assert journal.pending_count == len(expected)
    if step % 3 == 0:
        journal = reboot()
        assert list(journal.pending()) == expected, ("rebooted", step, seq, highest)
        assert journal.pending_count == len(expected)
journal.receipt(10 ** 6)
journal = reboot()
assert journal.pending_count == 0 and list(journal.pending()) == []
assert journal.last == (500, body(500))   # the chain goes on from a record that is long receipted
""")


def test_receipted_space_is_used_again_and_the_last_record_stays(tmp_path):
    run(tmp_path, """
journal = fresh(8)
for seq in range(1, 1500):
    journal.append(seq, body(seq), seq % 5 == 0)
    journal.receipt(seq - seq % 3)
    journal.maintain()
    assert journal.last == (seq, body(seq))
assert reboot().last == (1499, body(1499))
for seq in range(1500, 1560):
    journal.append(seq, body(seq), False)
    journal.maintain()
assert reboot().receipted == journal.receipted == 1497
erases = [journal.erases(s) for s in range(8)]
assert max(erases) - min(erases) <= 3 and min(erases) > 8, erases
assert [flash.erase_count(s) for s in range(8)] == erases
""")


def test_a_receipt_is_remembered_when_nothing_that_it_covered_is_left(tmp_path):
    """It ends with a sector: no mark stands in the next, and the last sector it covered is erased for new records."""
    run(tmp_path, """
journal = fresh(8)
for seq in range(1, 60):
    journal.append(seq, body(seq), True)
receipted = max(journal._first) - 1
journal.receipt(receipted)
try:
    while True:
        seq += 1
        journal.append(seq, body(seq), True)
        while journal.maintain():
            pass
except JournalFull:
    pass
assert journal.read(receipted) is None and 20 < receipted < 59
assert reboot().receipted == receipted and list(reboot().pending()) == list(range(receipted + 1, seq))
""")


def test_full_refuses_routine_first_and_thinning_never_costs_an_alert(tmp_path):
    run(tmp_path, """
journal = fresh(12)
seq = thinned = 0
kept = set()
alerts_refused = routine_refused = False
for seq in range(1, 700):
    alert = seq > 60 and seq % 2 == 0
    try:
        journal.append(seq, body(seq), alert)
        kept.add(seq)
        assert not (alerts_refused and alert)
    except JournalFull as error:
        if not alert:
            routine_refused = True
        else:
            assert routine_refused            # an alert is never refused before a routine record was
            runs = thinning.plan(journal)
            if runs is None:
                alerts_refused = True
                continue
            journal.append(seq, b"gap", True, last_resort=True)
            assert alert and seq not in kept
            kept.add(seq)
            lost = [s for s in kept if any(first <= s <= last for first, last in runs)]
            assert all(s <= 60 or s % 2 for s in lost) and all(f in lost and l + 1 in kept for f, l in runs)
            assert thinning.thin(journal, runs)
            kept.difference_update(lost)
            thinned += len(lost)
    if seq % 50 == 0:
        journal = reboot()
    assert journal.pending_count == len(kept), seq
assert alerts_refused and thinned > 50
assert sorted(journal.pending()) == sorted(kept) == sorted(reboot().pending())
assert all(s in kept for s in range(62, 160, 2))
journal.receipt(journal.last_seq)
for seq in range(1000, 1100):
    journal.append(seq, body(seq), seq % 2 == 0)
""")


def test_a_sector_opened_for_nothing_is_given_back(tmp_path):
    run(tmp_path, """
from chips.nor_flash import PowerCut
journal = fresh(8)
for seq in range(1, 20):
    journal.append(seq, body(seq), False)
journal.maintain()
flash.faults = Faults(0, "unreported")  # the next sector's header is programmed, the record is not
try:
    journal.append(20, body(20), False)
    assert False
except PowerCut:
    flash.dead = False
journal = reboot()
journal.append(20, body(20, 4000), False)  # too long for what is left of it
journal.append(21, body(21), False)
for journal in (journal, reboot()):
    assert list(journal.pending()) == list(range(1, 22)) and journal.pending_count == 21
    assert all(journal.read(s) for s in range(1, 22)) and journal.last[0] == 21
journal.receipt(21)
assert reboot().pending_count == 0
""")


def test_what_is_thinned_is_what_was_named(tmp_path):
    run(tmp_path, """
journal = fresh(8)
for seq in range(1, 60):
    journal.append(seq, body(seq), False)
runs = thinning.plan(journal)
assert runs == [(1, 19)], runs
journal.receipt(5)
assert not thinning.thin(journal, runs)
assert thinning.plan(journal) == [(6, 19)]
assert thinning.thin(journal, [(6, 19)])
assert list(journal.pending()) == list(range(20, 60)) == list(reboot().pending())
""")


def test_pending_walks_on_while_others_append_receipt_and_erase(tmp_path):
    run(tmp_path, """
random.seed(9)
journal = fresh(20)
seq = 0
for _ in range(300):
    seq += 1
    journal.append(seq, body(seq), seq % 6 == 0)
for run in range(12):
    walk = journal.pending()
    alerts = routine = 0
    for got in walk:
        if got % 6 == 0:
            assert got > alerts and not routine
            alerts = got
        else:
            assert got > routine
            routine = got
        what = random.getrandbits(5)
        if what < 3:
            journal.receipt(journal.receipted + 1 + random.getrandbits(5) % (seq - journal.receipted))
        elif what < 6:
            journal.maintain()
        elif what < 10:
            seq += 1
            try:
                journal.append(seq, body(seq), seq % 6 == 0)
            except JournalFull:
                pass
        record = journal.read(got)
        assert record == body(got) or record is None and got <= journal.receipted
    assert journal.receipted >= routine or list(journal.pending())[-1] == routine  # to the end
""")


def test_many_starts_harm_no_record_and_cost_little_space(tmp_path):
    run(tmp_path, """
journal = fresh(40)
for seq in range(1, 250):
    journal.append(seq, body(seq, 40 + seq % 400), seq % 3 == 0)
    journal = reboot()
    assert journal.last == (seq, body(seq, 40 + seq % 400))
assert all(journal.read(s) == body(s, 40 + s % 400) for s in range(1, 250)) and journal.pending_count == 249
assert journal.used_bytes < 249 * (12 + 240 + 256 + 40), journal.used_bytes
used = journal.used_bytes
for _ in range(50):  # a crash loop that never gets to a record
    journal = reboot()
assert journal.used_bytes == used
""")


def test_rot_in_an_entry_costs_that_record_only(tmp_path):
    run(tmp_path, """
random.seed(2)
journal = fresh(8)
for seq in range(1, 80):
    journal.append(seq, body(seq), seq % 4 == 0)
hit = 0
for step in range(70):
    address = random.getrandbits(15)
    if address % 4096 < 28:
        continue  # a sector header: all that is in the sector
    bit = random.getrandbits(3)
    before = [s for s in range(1, 80) if journal.read(s) == body(s)]
    flash.rot(address, bit)
    for journal in (journal, reboot()) if step % 9 == 0 else (journal,):
        wrong = [s for s in range(1, 80) if journal.read(s) not in (None, body(s))]
        lost = [s for s in range(1, 80) if journal.read(s) is None]
        assert not wrong and len(lost) <= 1, (address, bit, lost)
    hit += len(lost)
    flash.rot(address, bit)
    if step % 9 == 0:  # the reboot may have zeroed what looked like a torn entry
        now = [s for s in range(1, 80) if journal.read(s) == body(s)]
        if now != before:
            assert set(before) - set(now) == set(lost), (before, now)
            break
assert hit > 10
""")


def test_any_content_at_all_boots_and_then_works(tmp_path):
    run(tmp_path, """
random.seed(11)
flash = NorFlash(IMAGE, 12 * 4096)
flash.close()
for step in range(60):
    kind = step % 4
    with open(IMAGE, "r+b") as file:
        if kind == 0:
            for _ in range(12 * 64):
                file.write(bytes(random.getrandbits(8) for _ in range(64)))
        elif kind == 1:
            file.write(bytes(2 * 4096))
        else:  # what was there, damaged here and there
            for _ in range(1 << (step % 8)):
                file.seek(random.getrandbits(20) % (12 * 4096))
                file.write(bytes([random.getrandbits(8)]))
    journal = fresh(12)
    list(journal.pending())
    seq = journal.last_seq
    assert seq < 1 << 30
    while not thinning.plan(journal) is None:
        thinning.thin(journal, thinning.plan(journal))
    journal.receipt(seq)
    for i in range(120):
        journal.maintain()
        seq += 1
        journal.append(seq, body(seq), i % 3 == 0)
        assert journal.last == (seq, body(seq))
        if i == 60:
            journal.receipt(seq)
    assert len(list(reboot().pending())) == 59
    flash.close()
""", timeout=60)


def test_append_leaves_nothing_on_the_heap_but_its_checksums(tmp_path):
    run(tmp_path, """
import sys
journal = fresh(32)
record = body(1)
for _ in range(3):
    journal.maintain()
journal.append(1, record, False)
journal.append(2, record, True)
LEFT_BYTES = 0 if sys.maxsize >> 32 else 4 * 32  # CRC-32s are large integers where small ones have 31 bits
gc.collect()
gc.disable()
before = gc.mem_alloc()
for seq in range(3, 20):
    journal.append(seq, record, seq % 2 == 0)
assert gc.mem_alloc() - before <= 17 * LEFT_BYTES, gc.mem_alloc() - before
gc.enable()

def work(first, count):
    for seq in range(first, first + count):
        journal.append(seq, record, seq % 2 == 0)
        journal.receipt(seq)
        journal.maintain()
work(20, 500)
gc.collect()
before = gc.mem_alloc()
work(600, 2000)
gc.collect()
assert gc.mem_alloc() <= before + LEFT_BYTES, gc.mem_alloc() - before
""")


def test_append_waits_for_no_erase_when_maintained(tmp_path):
    run(tmp_path, """
journal = fresh(16)
worst = 0
for seq in range(1, 800):
    while journal.maintain():
        pass
    flash.reset_counts()
    journal.append(seq, body(seq), seq % 7 == 0)
    assert flash.erases == 0
    worst = max(worst, flash.read_ns)
    journal.receipt(seq)
assert worst < 2_000_000, worst
""")


AWAY = REPO / "tests" / "firmware" / "journal_away.py"


def chips_only(tmp_path):
    """A path without the simulator's clock and poll: nothing here waits."""
    folder = tmp_path / "sim"
    folder.mkdir()
    for name in ("esp32.py", "chips"):
        (folder / name).symlink_to(REPO / "tests" / "sim" / name)
    return (*DEVICE_PATH, folder)


def test_14_days_without_a_base_at_20_alerts_an_hour_all_arrive_alerts_first_on_every_board(tmp_path):
    sizes = [boards.partition(boards.load(path), "journal")["size"] for path in boards.BOARDS.glob("*.toml")]
    done = run_micropython(AWAY, tmp_path / "flash.bin", min(sizes), 14, 20, 0, heap="240K", path=chips_only(tmp_path))
    said = {name: int(value) for name, value in (line.split() for line in done.stdout.splitlines())}
    assert (said["alerts"], said["refused"], said["alerts_first"]) == (14 * 24 * 20, 0, 1)
    assert said["arrived"] == said["pending"] == said["alerts"] + said["routine"] and said["routine"] >= 14 * 24
    assert said["heap_growth"] < 2048


def test_boot_reads_at_most_64_kilobytes_of_a_full_megabyte(tmp_path):
    run(tmp_path, """
journal = fresh(256)
seq = 0
while True:
    seq += 1
    try:
        journal.append(seq, body(seq), seq % 3 == 0)
    except JournalFull:
        break
    if seq == 500:
        journal.receipt(490)
flash.reset_counts()
again = reboot()
assert flash.read_bytes <= 64 * 1024, flash.read_bytes
assert again.pending_count == journal.pending_count > 4000 and again.last == journal.last
""")


def test_flash_that_keeps_nothing_is_an_error_and_not_a_record(tmp_path):
    run(tmp_path, """
journal = fresh(8)
journal.append(1, body(1), False)
class Worn:
    def __init__(self, partition):
        self.readblocks, self.ioctl = partition.readblocks, partition.ioctl
    def writeblocks(self, block, buf, offset):
        pass
journal._partition = Worn(part)
try:
    journal.append(2, body(2), False)
    assert False
except OSError as error:
    assert "sector" in str(error)
assert reboot().last == (1, body(1))
""")
