"""What the console answers to `holdfire pull`: all that the journal holds whole, bit by bit; a real journal below."""

import pytest

from tests.mpy import DEVICE_PATH, run_micropython

from .test_sending import SIM

START = """
import binascii
import esp32
from chips.nor_flash import NorFlash
from holdfire_station import answers_pull
from holdfire_station.journal import Journal, JournalFull
from holdfire_station.outbox import Outbox

flash = NorFlash(IMAGE, 0x10000)
esp32.attach(flash, [("journal", 1, 0x41, 0, 0x8000), ("clips", 1, 0x42, 0x8000, 0x8000)])

class Uplink:  # sends what the outbox says, as uplink.Uplink does, one record a turn
    def __init__(self, journal):
        self.outbox, self.out = Outbox(journal), []
    def made(self, seq):
        self.outbox.made(seq, 0)
    def turn(self):
        self.out.append(self.outbox.next(0)[0])

class Station:
    recorder, clips = True, None

class Clips:
    pass

station = Station()
station.journal = journal = Journal(esp32.Partition("journal"))
journal.recover()
station.uplink = Uplink(journal)

def ask(command, *words):
    (text,) = getattr(answers_pull, command)(station, words)
    said, seal = text.rsplit(" ", 1)
    assert seal == "%08x" % binascii.crc32(said.encode())
    return said

def pulled(first=1):
    "All that a laptop gets which asks until there is none."
    got = []
    while True:
        said = ask("pull", str(first))
        head, sent, last = said[5:].split(" ")
        assert head == "first=%d" % first and last == "last=%d" % journal.last_seq
        if sent == "sent=none":
            return got
        numbers = [int(n) for n in sent[5:].split(",")]
        assert 1 <= len(numbers) <= 6 and numbers[0] >= first
        got += numbers
        first = numbers[-1] + 1

def held():
    return [seq for seq in range(1, journal.last_seq + 1) if journal.read(seq) is not None]

def refused(command, *words):
    try:
        getattr(answers_pull, command)(station, words)
    except ValueError as error:
        return str(error)
    raise AssertionError("taken: %s" % (words,))

def record_of(seq):
    return bytes([seq & 255]) * (90 + seq * 37 % 300)
"""


@pytest.fixture
def run(tmp_path):
    def run(source, heap="160K"):
        begin = f"IMAGE = {str(tmp_path / 'flash.bin')!r}\n{START}"
        return run_micropython(begin + source, path=(*DEVICE_PATH, SIM), heap=heap)

    return run


def test_every_whole_record_is_listed_once_and_in_order_receipted_or_not_and_after_the_ring_went_round(run):
    run("""
assert ask("pull", "1") == "pull first=1 sent=none last=0"
rounds = 0
for seq in range(3, 900, 1):
    if seq % 11 == 0:
        continue  # numbers that name nothing
    try:
        journal.append(seq, record_of(seq), seq % 3 == 0)
    except JournalFull:
        journal.receipt(seq - 5)
        journal.append(seq, record_of(seq), seq % 3 == 0)
        rounds += 1
        if rounds in (1, 2, 7):
            assert pulled() == held() and len(held()) > 20
            assert pulled(held()[9]) == held()[9:]
assert rounds > 7 and held()[0] > 500
assert held()[0] <= journal.receipted
assert pulled() == held()
journal.maintain()
assert pulled() == held()
again = Journal(esp32.Partition("journal"))  # after a power cut, too
again.recover()
station.journal = journal = again
assert pulled() == held()
assert ask("pull", "9999999999").startswith("pull first=9999999999 sent=none")
""")


def test_an_entry_that_has_rotted_is_passed_over(run):
    run("""
for seq in range(1, 9):
    journal.append(seq, record_of(seq), False)
sector = journal._before(2, 4)
at = journal._seek(sector, 4)
esp32.Partition("journal").writeblocks(sector, bytes(8), at + 40)
assert journal.read(4) is None and pulled() == [1, 2, 3, 5, 6, 7, 8]
""")


def test_records_go_out_one_a_turn_and_what_is_made_meanwhile_still_finds_room(run):
    run("""
for seq in range(1, 21):
    journal.append(seq, record_of(seq), False)
assert ask("pull", "5") == "pull first=5 sent=5,6,7,8,9,10 last=20"
assert station.uplink.out == []
station.uplink.made(21)
for _ in range(7):
    station.uplink.turn()
assert station.uplink.out == [5, 6, 7, 8, 9, 10, 21]
for _ in range(50):
    ask("pull", "5")  # whoever asks without end takes no more memory
assert len(station.uplink.outbox._fresh) == 8
""")


def test_in_safe_mode_without_what_sends_records_are_written_out_at_once(run):
    run("""
from holdfire_protocol import frame

class Console:
    out = []
    def send(self, data):
        self.out.append(frame.decode(data, bytes(16)))

class Identity:
    network = bytes(16)

for seq in range(1, 4):
    journal.append(seq, record_of(seq), False)
station.uplink, station.console, station.identity = None, Console(), Identity()
assert ask("pull", "2") == "pull first=2 sent=2,3 last=3"
assert Console.out == [(1, record_of(2)), (1, record_of(3))]
""")


def test_a_clip_comes_in_pieces_and_one_that_is_gone_is_said_to_be(run):
    run("""
assert ask("clips") == "clips none"
station.clips = Clips()
station.clips.ring = ring = Journal(esp32.Partition("clips"))
ring.recover()
assert ask("clips") == "clips none" and ask("clips", "1", "0") == "clip 1 none"
def clip_of(n):
    kept = bytearray(1000 + n)
    for i in range(1000 + n):
        kept[i] = (n * i + (i >> 8) * 7) & 255
    return bytes(kept)
for number in range(1, 40):
    try:
        ring.append(number, clip_of(number), True)
    except JournalFull:
        ring.drop_oldest()
        ring.append(number, clip_of(number), True)
first, last = [int(word.split("=")[1]) for word in ask("clips").split()[1:]]
assert 5 < first < 30 and last == 39 and ring.read(first - 1) is None
assert ask("clips", str(first - 1), "0") == "clip %d none" % (first - 1) and ask("clips", "40", "0") == "clip 40 none"
for number in range(first, last + 1):
    data = b""
    while len(data) < len(clip_of(number)):
        said = ask("clips", str(number), str(len(data))).split(" ")
        assert said[:4] == ["clip", str(number), str(len(data)), str(len(clip_of(number)))]
        data += binascii.a2b_base64(said[4])
    assert data == clip_of(number)
assert "1039 bytes" in refused("clips", "39", "1039")
""")


def test_what_was_mistyped_is_refused_in_words(run):
    run("""
for words in ((), ("1", "2")):
    assert "pull takes FIRST" in refused("pull", *words)
for words in (("1",), ("1", "2", "3")):
    assert "NUMBER OFFSET" in refused("clips", *words)
station.clips = Clips()
station.clips.ring = journal
for word in ("x", "-1", "1.5", "12345678901", ""):
    assert "not a whole number" in refused("pull", word)
    assert "not a whole number" in refused("clips", word, "0") and "not a whole number" in refused("clips", "0", word)
station.recorder = None
assert "not enrolled" in refused("pull", "1")
""")


def test_clips_that_safe_mode_cannot_read_are_not_called_none(run):
    """Else who pulls would leave with a report that nothing is amiss."""
    run("""
from holdfire_station import safe
esp32.attach(flash, [("journal", 1, 0x41, 0, 0x8000), ("clips", 1, 0x42, 0x8000, 0x4000)])  # a ring needs six sectors
station._tell = print
try:
    safe.Station._fetched(station, "clips", [])
    raise AssertionError("answered")
except ValueError as error:
    assert str(error).startswith("the clips cannot be read: ValueError: journal partition: needs 6"), error
""", heap="400K")
