"""Whatever the power does, at any byte: no promised record is lost, no number comes twice, the journal comes up."""

import os
import signal
import time

from tests.mpy import DEVICE_PATH, REPO, run_micropython

LIFE = REPO / "tests" / "firmware" / "journal_life.py"
EVERY_CUT = REPO / "tests" / "firmware" / "journal_every_cut.py"
SIM_PATH = (*DEVICE_PATH, REPO / "tests" / "sim", REPO / "tests" / "firmware")
CUTS_A_PROCESS = 20


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
    seed = int(os.environ.get("HOLDFIRE_SEED", int(time.time())))
    for life in range(5):
        survive(tmp_path / f"life{life}.bin", seed + life * 1000, 100)


def test_a_cut_at_every_operation_in_every_way_and_at_many_bytes(tmp_path):
    done = run_micropython(EVERY_CUT, tmp_path / "flash.bin", 83, heap="512K", path=SIM_PATH)
    cuts = dict(line.split() for line in done.stdout.splitlines())
    assert int(cuts["torn"]) == int(cuts["not_applied"]) == int(cuts["unreported"]) > 40
    assert int(cuts["at_byte"]) > 40
