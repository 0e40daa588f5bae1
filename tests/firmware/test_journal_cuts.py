"""Whatever the power does, at any byte: no promised record is lost, no number comes twice, the journal comes up."""

import os
import signal
import time

from tests.mpy import DEVICE_PATH, REPO, run_micropython

LIFE = REPO / "tests" / "firmware" / "journal_life.py"
EVERY_CUT = REPO / "tests" / "firmware" / "journal_every_cut.py"
UNSETTLED = REPO / "tests" / "firmware" / "journal_unsettled.py"
SIM_PATH = (*DEVICE_PATH, REPO / "tests" / "sim", REPO / "tests" / "firmware")
CUTS_A_PROCESS = 20
SEED = int(os.environ.get("HOLDFIRE_SEED", int(time.time()) % 1_000_000))  # another life each day; failures print it


def survive(image, seed, cuts):
    """One flash image through `cuts` power cuts, one in 20 by kill -9.

    Raises AssertionError with the seed. The same seed and number of cuts replay the same life.
    """
    left, number = cuts, seed
    while True:
        now = min(left, CUTS_A_PROCESS)
        done = run_micropython(LIFE, image, number, now, int(now > 0), heap="512K", path=SIM_PATH, check=False)
        assert done.returncode == (-signal.SIGKILL if now else 0), (
            f"seed {seed}: {done.stdout[-800:]}{done.stderr[-800:]}\n"
            f"replay: .venv/bin/python tools/bench journal --cuts {cuts} --seed {seed} --only-cuts"
        )
        left -= now
        number += 1
        if not now:
            return


def test_500_random_cuts_lose_nothing_and_repeat_nothing(tmp_path):
    for life in range(5):
        survive(tmp_path / f"life{life}.bin", SEED + life * 1000, 100)


def test_a_cut_at_every_operation_in_every_way_and_at_many_bytes(tmp_path):
    done = run_micropython(EVERY_CUT, tmp_path / "flash.bin", 167, 29, heap="512K", path=SIM_PATH)
    cuts = dict(line.split() for line in done.stdout.splitlines())
    assert int(cuts["torn"]) == int(cuts["not_applied"]) == int(cuts["unreported"]) > 40
    assert int(cuts["at_byte"]) > 20 and int(cuts["twice"]) > 30


def test_a_cell_that_a_cut_left_between_0_and_1_changes_nothing_later(tmp_path):
    """Each byte of erasing ahead, opening a sector, an entry, a receipt, again and again: all starts must agree."""
    done = run_micropython(UNSETTLED, tmp_path / "flash.bin", SEED, 2, heap="512K", path=SIM_PATH)
    assert int(done.stdout) > 200


def test_the_last_record_is_kept_though_a_cut_left_its_successor_without_an_entry(tmp_path):
    source = f"""
import esp32
from chips.nor_flash import Faults, NorFlash, PowerCut
from holdfire_station.journal import Journal
flash = NorFlash({str(tmp_path / "flash.bin")!r}, 8 * 4096)
esp32.attach(flash, [("journal", 1, 0x41, 0, 8 * 4096)])
def reboot():
    journal = Journal(esp32.Partition("journal"))
    journal.recover()
    return journal
journal = reboot()
journal.maintain()
journal.maintain()
for seq in range(1, 20):
    journal.append(seq, bytes(200), False)
flash.faults = Faults(0, "unreported")  # the new sector's header is programmed, the record is not
try:
    journal.append(20, bytes(200), False)
    assert False
except PowerCut:
    flash.dead = False
journal = reboot()
assert journal.last == (19, bytes(200)) and journal.pending_count == 19
journal.receipt(19)
while journal._spare() >= 0 and flash.erases < 60:  # more than maintain() would ever do
    journal._erase_sector(journal._spare())
assert journal.last == (19, bytes(200)) == reboot().last
"""
    run_micropython(source, path=SIM_PATH)
