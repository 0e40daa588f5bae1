"""From observation to freed journal: recorder, outbox, beacon reader; real journal, counter and signatures below."""

from tests.mpy import DEVICE_PATH, REPO, run_micropython

SIM = REPO / "tests" / "sim"

START = """
import asyncio, gc
import esp32
from chips.nor_flash import NorFlash
from holdfire_protocol import cose, fields, record
from holdfire_station.beacon import BeaconError, BeaconReader
from holdfire_station.clock import Clock
from holdfire_station.counters import Counter
from holdfire_station.crypto import PrivateKey, verify
from holdfire_station.identity import Identity
from holdfire_station.journal import Journal
from holdfire_station.outbox import Outbox, WINDOW
from holdfire_station.recorder import Recorder

NETWORK = bytes(range(16))
BASE = PrivateKey.from_seed(b"b" * 32)
ROWS = (("counters", 1, 0x40, 0, 0x4000), ("journal", 1, 0x41, 0x4000, 0x20000))
esp32.attach(NorFlash(IMAGE, 0x24000), ROWS)
ME = Identity(b"s" * 32, NETWORK, BASE.public_bytes)

class Now:  # the test owns time
    value_us = 5_000_000
    def us(self):
        return Now.value_us
    def ms(self):
        return Now.value_us // 1000

def power_on():
    global journal, sequence, recorder, clock, beacons
    journal, sequence, clock = Journal(esp32.Partition("journal")), Counter(esp32.Partition("counters"), 0), Clock()
    journal.recover()
    recorder = Recorder(ME, journal, sequence, 1, Now(), clock)
    beacons = BeaconReader(ME, journal, lambda: recorder.first_seq)

def impulse(at_us=4_900_000):
    return dict(kind=1, at_us=at_us, onset_uncertainty_us=100, peak=5, rise_us=1, duration_ms=2, snr_db10=3,
                floor_db10=-4, bands=b"1234567", zero_crossings=1, clipped=0)

def make(alert=True):
    return asyncio.run(recorder.record([impulse()], None, alert))

def opened(seq):
    return record.decode_record(record.verify1(journal.read(seq), ME.public, fields.AAD_RECORD, NETWORK, verify))

def beacon(number, seq, digest=None, kid=None, key=BASE, network=NETWORK, utc_us=1_800_000_000_000_000):
    digest = digest or record.record_hash(journal.read(seq))
    receipt = (kid or ME.kid, seq, digest)
    payload = record.encode_beacon({"number": number, "time": (5, utc_us, 1000), "receipts": [receipt]})
    return record.sign1(payload, cose.key_id(key.public_bytes), fields.AAD_BEACON, network, key.sign)

def refused(message, words):
    before = journal.receipted, journal.pending_count
    try:
        asyncio.run(beacons.read(message))
    except BeaconError as error:
        assert words in str(error), str(error)
        assert before == (journal.receipted, journal.pending_count)
        return
    raise AssertionError("believed: " + words)

power_on()
"""


def run(tmp_path, source):
    flash_only = tmp_path / "sim"  # the simulator's clock and poll stay out: nothing here waits
    flash_only.mkdir()
    for name in ("esp32.py", "chips"):
        (flash_only / name).symlink_to(SIM / name)
    run_micropython(f"IMAGE = {str(tmp_path / 'flash.bin')!r}\n{START}{source}", path=(*DEVICE_PATH, flash_only),
                    heap="400K", timeout=30)


def test_records_form_a_chain_from_the_genesis_value(tmp_path):
    run(tmp_path, """
seqs = [make() for _ in range(4)]
assert seqs == [1, 2, 3, 4]
first = opened(1)
assert first["prev"] == ME.genesis and first["restart"] == fields.RESTART_FIRST
for seq in seqs[1:]:
    named = opened(seq)
    assert named["prev"] == record.record_hash(journal.read(seq - 1)) and "restart" not in named
assert opened(4)["observations"][0]["onset_us"] == -100_000
""")


def test_a_clean_restart_goes_on_without_a_word(tmp_path):
    run(tmp_path, """
make()
power_on()
assert make() == 2 and "restart" not in opened(2) and opened(2)["prev"] == record.record_hash(journal.read(1))
""")


def test_a_number_spent_and_never_journaled_is_declared_and_never_used(tmp_path):
    run(tmp_path, """
make()
sequence.next()  # the cut falls here
power_on()
assert make() == 3 and opened(3)["restart"] == fields.RESTART_UNCLEAN
assert opened(3)["prev"] == record.record_hash(journal.read(1))
""")


def test_what_cannot_be_said_costs_no_number_and_what_fails_later_is_declared(tmp_path):
    run(tmp_path, """
make()
def attempt(observation):
    try:
        asyncio.run(recorder.record([observation], None, True))
    except Exception as error:
        return type(error).__name__
assert attempt(dict(impulse(), peak=(1 << 23) + 1)) == "FieldError"
assert sequence.value == 1
make()
assert "restart" not in opened(2)

class Broken:
    public_bytes = ME.public
    async def sign_async(self, message):
        raise MemoryError("no room to sign")

whole, ME.key = ME.key, Broken()
assert attempt(impulse()) == "MemoryError"
ME.key = whole
assert make() == 4 and opened(4)["restart"] == fields.RESTART_UNCLEAN
""")


def test_a_first_record_that_failed_is_not_called_the_first_afterwards(tmp_path):
    run(tmp_path, """
class Broken:
    public_bytes = ME.public
    async def sign_async(self, message):
        raise MemoryError("no room to sign")

whole, ME.key = ME.key, Broken()
try:
    asyncio.run(recorder.record([impulse()], None, True))
except MemoryError:
    pass
ME.key = whole
assert make() == 2 and opened(2)["restart"] == fields.RESTART_JOURNAL_LOST and opened(2)["prev"] == ME.genesis
""")


def test_wiped_counters_never_give_a_number_again(tmp_path):
    run(tmp_path, """
for _ in range(3):
    make()
for sector in range(4):
    esp32.Partition("counters").ioctl(6, sector)
power_on()
assert make() > 3 and opened(journal.last_seq)["restart"] == fields.RESTART_UNCLEAN
""")


def test_a_wiped_journal_begins_a_chain_that_says_so_and_repeats_no_number(tmp_path):
    run(tmp_path, """
for _ in range(3):
    make()
for sector in range(0x20):
    esp32.Partition("journal").ioctl(6, sector)
power_on()
assert make() == 4 and opened(4)["restart"] == fields.RESTART_JOURNAL_LOST and opened(4)["prev"] == ME.genesis
""")


def test_a_journal_put_back_from_an_old_copy_says_so_and_repeats_no_number(tmp_path):
    """Whoever has the flash in hand can put an older state back; with it come old receipts, but no old numbers."""
    run(tmp_path, """
SECTOR = bytearray(4096)

def copy_away():
    with open(IMAGE + ".old", "wb") as file:
        for sector in range(0x20):
            esp32.Partition("journal").readblocks(sector, SECTOR)
            file.write(SECTOR)

def put_back():
    with open(IMAGE + ".old", "rb") as file:
        for sector in range(0x20):
            file.readinto(SECTOR)
            esp32.Partition("journal").writeblocks(sector, SECTOR)  # erases, then programs

for _ in range(3):
    make()
copy_away()
third = record.record_hash(journal.read(3))
for _ in range(40):
    make()
journal.receipt(20)
sent = {seq: record.record_hash(journal.read(seq)) for seq in range(1, 44)}
put_back()
power_on()
assert journal.last_seq == 3 and journal.receipted == 0
assert make() == 44 and opened(44)["restart"] == fields.RESTART_UNCLEAN and opened(44)["prev"] == third
refused(beacon(1, 20, digest=sent[20]), "not held")  # a receipt for what was taken away frees nothing of what is here
put_back()
power_on()
assert make() == 45 and opened(45)["restart"] == fields.RESTART_UNCLEAN and opened(45)["prev"] == third
assert [record.record_hash(journal.read(seq)) for seq in (1, 2, 3)] == [sent[seq] for seq in (1, 2, 3)]
""")


def test_two_tasks_that_record_at_once_make_two_links_of_one_chain(tmp_path):
    run(tmp_path, """
async def both():
    return await asyncio.gather(*[recorder.record([impulse()], None, True) for _ in range(5)])
assert sorted(asyncio.run(both())) == [1, 2, 3, 4, 5]
for seq in range(2, 6):
    assert opened(seq)["prev"] == record.record_hash(journal.read(seq - 1))
""")


def test_only_a_true_receipt_frees_records(tmp_path):
    run(tmp_path, """
for _ in range(3):
    make()
digest = record.record_hash(journal.read(2))
stranger = PrivateKey.from_seed(b"x" * 32)
refused(beacon(1, 2, key=stranger), "kid")
forged = bytearray(beacon(1, 2)); forged[-1] ^= 1
refused(bytes(forged), "")
refused(beacon(1, 2, network=bytes(16)), "")
refused(beacon(1, 2, digest=bytes(32)), "names another record")
refused(beacon(2, 7, digest=digest), "not held")
assert asyncio.run(beacons.read(beacon(3, 2, kid=bytes(8))))[0] is None  # good, but about another station
seq, _, _ = asyncio.run(beacons.read(beacon(4, 2)))
assert seq == 2
journal.receipt(seq)
assert journal.receipted == 2 and journal.pending_count == 1
refused(beacon(4, 3), "replay")
refused(beacon(3, 3), "replay")
power_on()
assert journal.receipted == 2 and journal.pending_count == 1
""")


def test_a_beacon_dates_the_station_only_when_it_answers_a_record_of_this_boot(tmp_path):
    run(tmp_path, """
make()
power_on()  # record 1 is of an earlier boot: a beacon about it may be old
assert asyncio.run(beacons.read(beacon(1, 1)))[1] is None
journal.receipt(1)
make()
beacons.sent(2, 7_000_000)
beacons.sent(2, 9_000_000)  # sent again: the answer may be to the first
assert asyncio.run(beacons.read(beacon(2, 2)))[1] == 7_000_000
""")


def test_the_outbox_sends_new_records_at_once_and_the_rest_in_answered_windows_alerts_first(tmp_path):
    run(tmp_path, """
routine = [make(False) for _ in range(12)]
alerts = [routine.pop(0)] + [make(True) for _ in range(10)]  # a first record is kept as alerts are
outbox = Outbox(journal)
fresh = make(True)
outbox.made(fresh, 0)
assert outbox.next(0) == (fresh, 0)

def drain(now_ms):
    sent = []
    while True:
        seq, wait_ms = outbox.next(now_ms)
        if seq is None:
            return sent, wait_ms
        sent.append(seq)

# Nobody answers: the first window again and again, ever less often.
waits, now_ms = [], 0
for _ in range(7):
    sent, wait_ms = drain(now_ms)
    if now_ms:
        assert sent == alerts[:WINDOW], sent
    waits.append(wait_ms)
    now_ms += wait_ms
assert waits == [4000, 4000, 8000, 16000, 32000, 60000, 60000], waits

# The base is back: window after window, every record once, alerts first.
sent, _ = drain(now_ms)
while True:
    outbox.heard(now_ms)
    more, wait_ms = drain(now_ms)
    sent += more
    if not more:
        break
assert sent == alerts + [fresh] + routine, sent
assert wait_ms == 4000

# What is receipted is not sent again.
journal.receipt(fresh)
assert drain(now_ms + wait_ms) == ([], 4000)
""")


def test_a_full_journal_refuses_without_spending_a_number_and_goes_on_when_there_is_room(tmp_path):
    run(tmp_path, """
from holdfire_station.journal import JournalFull
made = []
try:
    while True:
        made.append(make(True))
except JournalFull:
    pass
assert sequence.value == made[-1] and len(made) > 400
journal.receipt(made[-1])
seq = make(True)
assert seq == made[-1] + 1 and "restart" not in opened(seq)
""")
