"""Lives of a journal, under MicroPython: work, a power cut at any byte, reboot, check against a dict; again and again.

    micropython -X heapsize=512K journal_life.py IMAGE SEED CUTS KILL

Runs the real counters.py and journal.py over the modelled chip and plays the station's part: number, chain, append,
receipt, thin. A cut raises PowerCut, and the dead chip refuses all access from then on; with KILL=1 the last one
kills this process instead. Started again with the next SEED it goes on from the image and from IMAGE.oracle, where
all that had been promised is written down. Prints one line of totals; a broken promise is an AssertionError that
names seed and cut.
"""

import hashlib
import os
import random
import sys

import esp32
from chips.nor_flash import SECTOR_BYTES, Faults, NorFlash, PowerCut
from holdfire_station import thinning
from holdfire_station.counters import Counter
from holdfire_station.journal import Journal, JournalFull

SECTORS = 10
COUNTER_SECTORS = 2
TABLE = (
    ("counters", 1, 0x40, 0, COUNTER_SECTORS * SECTOR_BYTES),
    ("journal", 1, 0x41, COUNTER_SECTORS * SECTOR_BYTES, SECTORS * SECTOR_BYTES),
)
GENESIS = "00" * 8
PART = bytearray(SECTOR_BYTES)
TOTALS = {"records": 0, "full": 0, "thinned": 0, "wiped": 0, "turned_back": 0}


def digest(record):
    return hashlib.sha256(record).digest()[:8].hex()


class Oracle:
    """What has been promised so far. Kept in a file as well, so that it outlives a killed process."""

    def __init__(self, path):
        self.path = path
        self.issued = 0  # highest number the counter returned
        self.receipted = 0  # no entry up to here may come back
        self.attempted = 0  # a receipt or thin that a cut interrupted may take effect now, later or never: its cells
        self.doomed = []  # are between 0 and 1. So entries up to `attempted` may go, and the `doomed`, all at once.
        self.last = (0, GENESIS)
        self.open = {}  # seq: (digest, alert) of entries without receipt
        self.trying = None  # the append, receipt or thin that had not returned
        self.old_copy = None  # what the journal held when somebody copied it to PATH.old
        try:
            with open(path) as file:
                for line in file:
                    self.apply(line.split())
        except OSError:
            pass
        self.file = open(path, "a")  # noqa: SIM115 - as long as the process lives

    def note(self, *words):
        words = [str(word) for word in words]
        self.file.write(" ".join(words) + "\n")
        self.apply(words)

    def apply(self, words):
        verb, rest = words[0], words[1:]
        if verb == "issued":
            self.issued = max(self.issued, int(rest[0]))
        elif verb == "try":
            self.trying = rest
            if rest[0] == "receipt":
                self.attempted = max(self.attempted, int(rest[1]))
            elif rest[0] == "thin":
                self.doomed = [int(seq) for seq in rest[1:]]
        elif verb == "failed":
            self.trying = None
        elif verb == "wiped":
            self.open.clear()
            self.last = (0, GENESIS)
            self.trying = None
        elif verb == "entry":
            self.open[int(rest[0])] = (rest[1], rest[2] == "1")
        elif verb == "state":
            self.issued, self.receipted, self.attempted = int(rest[0]), int(rest[1]), int(rest[2])
            self.last = (int(rest[3]), rest[4])
            self.doomed = [int(seq) for seq in rest[5:]]
        elif verb == "did":
            kind, *args = self.trying
            self.trying = None
            if kind == "append":
                self.open[int(args[0])] = (args[1], args[2] == "1")
                self.last = (int(args[0]), args[1])
            elif kind == "receipt":
                self.receipted = int(args[0])
                for seq in [s for s in self.open if s <= self.receipted]:
                    del self.open[seq]
            elif kind == "thin":
                for seq in self.doomed:
                    del self.open[seq]
                self.doomed = []

    def rewrite(self):
        self.file.close()
        with open(self.path + ".new", "w") as file:
            state = [self.issued, self.receipted, self.attempted] + list(self.last) + self.doomed
            file.write("state " + " ".join(str(word) for word in state) + "\n")
            for seq, (content, alert) in self.open.items():
                file.write("entry %d %s %d\n" % (seq, content, alert))
        os.rename(self.path + ".new", self.path)
        self.file = open(self.path, "a")  # noqa: SIM115


class Life:
    """One power session."""

    def __init__(self, image, oracle, faults, totals):
        self.oracle = oracle
        self.totals = totals
        self.base_away = random.getrandbits(3) < 6
        self.erases_ahead = random.getrandbits(1)
        self.flash = NorFlash(image, (SECTORS + COUNTER_SECTORS) * SECTOR_BYTES, faults)
        esp32.attach(self.flash, TABLE)

    def boot(self):
        self.counter = Counter(esp32.Partition("counters"), 0)
        self.journal = Journal(esp32.Partition("journal"))
        self.journal.recover()
        for part in (self.journal, self.counter) if self.erases_ahead else ():  # startup.py's way; safe.py has another
            while part.maintain():
                pass

    def check(self):
        """Everything promised is there and nothing else is."""
        oracle, journal = self.oracle, self.journal
        assert self.counter.value >= oracle.issued, "counter went back"
        kind, *args = oracle.trying or (None,)
        last = journal.last
        if kind == "append" and last and last[0] == int(args[0]) and digest(last[1]) == args[1]:
            oracle.note("did")
            kind = None
        found = (last[0], digest(last[1])) if last else (0, GENESIS)
        assert found == oracle.last, "last is %s, not %s" % (found, oracle.last)

        pending = list(journal.pending())
        alerts = [s for s in pending if s in oracle.open and oracle.open[s][1]]
        assert pending == sorted(alerts) + sorted([s for s in pending if s not in alerts]), "order %s" % pending
        assert len(pending) == journal.pending_count, "%d pending, count %d" % (len(pending), journal.pending_count)
        unknown = [s for s in pending if s not in oracle.open]
        assert not unknown, "came back or half written: %s" % unknown
        missing = [s for s in oracle.open if s not in pending]
        if oracle.doomed and all(s in missing for s in oracle.doomed):
            missing = [s for s in missing if s not in oracle.doomed]
        done = [s for s in missing if s <= oracle.attempted]
        kept = [s for s in oracle.open if s in pending]
        assert not done or not kept or max(done) < min(kept), "receipt has holes"
        missing = [s for s in missing if s not in done]
        assert not missing, "lost: %s" % missing
        for seq in [s for s in oracle.open if s not in pending]:
            del oracle.open[seq]
        oracle.doomed = [s for s in oracle.doomed if s in pending]
        for seq in pending:
            record = journal.read(seq)
            assert record is not None and digest(record) == oracle.open[seq][0], "content of %d" % seq
            self.check_link(seq, record)
        assert 0 <= journal.used_bytes <= journal.capacity_bytes
        oracle.trying = None
        oracle.rewrite()

    def check_link(self, seq, record):
        """The record names the one before it, or says that it restarts."""
        _, previous, restart = record.split(b" ", 3)[:3]
        before = self.oracle.open.get(seq - 1)
        if before:
            assert previous.decode() == before[0] and not restart, "chain at %d" % seq

    def work(self):
        """Until the power fails."""
        while True:
            chance = random.getrandbits(5)
            if chance < 18:
                self.append(chance < 6)
            elif chance < 23:
                self.journal.maintain()
                self.counter.maintain()
            elif chance < 26 and not self.base_away:
                self.receipt()
            elif chance < 30:
                self.thin()
            elif chance == 30 and random.getrandbits(7) == 0:
                self.wipe()
            elif chance == 31 and random.getrandbits(1) == 0:
                self.turn_back()
            else:
                self.look()

    def append(self, alert, last_resort=False):
        oracle = self.oracle
        seq = self.counter.next()
        assert seq > oracle.issued, "number %d again" % seq
        oracle.note("issued", seq)
        last = self.journal.last
        previous = digest(last[1]) if last else GENESIS
        assert previous == oracle.last[1], "the chain would go on from %s" % last[0] if last else "nothing"
        restart = "restart" if seq != (last[0] if last else 0) + 1 else ""
        filler = random.getrandbits(30)
        length = 200 if filler & 3 else 40 + filler % 900
        record = ("%d %s %s " % (seq, previous, restart)).encode()
        record += bytes((filler >> (i % 23)) & 0xFF for i in range(length))
        oracle.note("try", "append", seq, digest(record), int(alert))
        try:
            self.journal.append(seq, record, alert, last_resort)
        except JournalFull:
            oracle.note("failed")
            self.totals["full"] += 1
            return False
        oracle.note("did")
        self.totals["records"] += 1
        return True

    def receipt(self):
        span = self.journal.last_seq - self.oracle.receipted
        if span > 0:
            seq = self.oracle.receipted + 1 + random.getrandbits(20) % (span if random.getrandbits(2) else min(span, 8))
            self.oracle.note("try", "receipt", seq)
            self.journal.receipt(seq)
            self.oracle.note("did")

    def thin(self):
        runs = thinning.plan(self.journal) if self.journal.tight else None
        if runs and self.append(True, last_resort=True):
            held = self.oracle.open
            lost = [s for s in sorted(held) if [1 for first, last in runs if first <= s <= last]]
            assert not [s for s in lost if held[s][1]], "alerts in %s" % runs
            for first, last in runs:
                assert first in lost and last + 1 in held, "run %d to %d: held are %s" % (first, last, sorted(held))
            if runs == thinning.plan(self.journal):
                self.oracle.note("try", "thin", *lost)
                assert thinning.thin(self.journal, runs)
                self.oracle.note("did")
                self.totals["thinned"] += len(lost)

    def look(self):
        for seq in self.journal.pending(4):
            record = self.journal.read(seq)
            assert digest(record) == self.oracle.open[seq][0], "content of %d" % seq

    def wipe(self):
        """Somebody erases the journal. The counter must not care."""
        self.oracle.note("wiped")
        faults, self.flash.faults = self.flash.faults, Faults()  # a cut here is not the fault under test
        for sector in range(SECTORS):
            esp32.Partition("journal").ioctl(6, sector)
        self.boot()
        self.flash.faults = faults
        self.totals["wiped"] += 1


    def turn_back(self):
        """Somebody keeps a copy of the journal, and puts it back later. The counter must not care."""
        oracle = self.oracle
        turns = oracle.old_copy is not None
        faults, self.flash.faults = self.flash.faults, Faults()
        with open(oracle.path + ".old", "rb" if turns else "wb") as file:
            for at in range(COUNTER_SECTORS * SECTOR_BYTES, (COUNTER_SECTORS + SECTORS) * SECTOR_BYTES, len(PART)):
                if turns:
                    file.readinto(PART)
                    self.flash.erase(at)
                    self.flash.program(at, PART)
                else:
                    self.flash.read(at, PART)
                    file.write(PART)
        if not turns:
            held = dict(oracle.open)
            oracle.old_copy = held, oracle.last, oracle.receipted, oracle.attempted, list(oracle.doomed)
            self.flash.faults = faults
            return
        oracle.open, oracle.last, oracle.receipted, oracle.attempted, oracle.doomed = oracle.old_copy
        oracle.old_copy = None
        oracle.rewrite()
        self.boot()
        self.check()
        self.flash.faults = faults
        self.totals["turned_back"] += 1


def chance_of_cut(seed, cut):
    bits = random.getrandbits(30)
    how = ("torn", "torn", "not_applied", "unreported")[bits & 3]
    operation = (bits >> 2) % (12 if bits & 4096 else 90)  # half of them soon, to meet the start-up path
    return Faults(operation, how, seed * 1000 + cut)


def main(image, seed, cuts, kill):
    random.seed(seed)
    oracle = Oracle(image + ".oracle")
    totals = dict(TOTALS)
    for cut in range(cuts + 1):
        faults = chance_of_cut(seed, cut) if cut < cuts else Faults(seed=seed)
        faults.kill = kill and cut == cuts - 1
        life = Life(image, oracle, faults, totals)
        try:
            life.boot()
            life.check()
            if cut < cuts:
                life.work()
        except PowerCut:
            pass
        except AssertionError as error:
            print("seed %d cut %d: %s" % (seed, cut, error))
            raise
        life.flash.close()
    print("cuts", cuts, " ".join("%s %d" % item for item in sorted(totals.items())))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "1")
