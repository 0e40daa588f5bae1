"""The journal: what a record costs in flash, what boot reads, how wear spreads, how many power cuts it survives.

All in the modelled flash chip (tests/sim/chips/nor_flash.py, data-sheet times), with the firmware's own code under
MicroPython at a 160 KB heap. The baseline, in the same run, is a file on LittleFS on the same chip, flushed after each
record.
"""

import argparse
import pathlib
import sys
import tempfile
import time

from tests.firmware.test_journal import AWAY
from tests.firmware.test_journal_cuts import EVERY_CUT, SIM_PATH, UNSETTLED, survive
from tests.mpy import DEVICE_PATH, REPO, run_micropython
from tests.system.test_station_cuts import OPERATIONS, START_OPERATIONS
from tests.system.test_station_cuts import Life as StationLife

import boards

HELP = "flash cost of a record, boot, wear over a year, and random power cuts (--cuts 10000)"
CUTS_A_LIFE = 500

START = """
import gc, sys
import esp32
from chips.nor_flash import NorFlash
image = sys.argv[1]
RECORD = bytes(range(200))
"""

LITTLEFS = START + """
import vfs
flash = NorFlash(image, 1 << 20)
esp32.attach(flash, [("vfs", 1, 0x81, 0, 1 << 20)])
partition = esp32.Partition("vfs")
vfs.VfsLfs2.mkfs(partition)
vfs.mount(vfs.VfsLfs2(partition), "/flash")
flash.reset_counts()
COUNT = 500
with open("/flash/records", "ab") as file:
    for _ in range(COUNT):
        file.write(RECORD)
        file.flush()
stored = COUNT * len(RECORD)
print("lfs_programmed", flash.programmed_bytes / stored)
print("lfs_ms", (flash.program_ns + flash.erase_ns + flash.read_ns) / COUNT / 1e6)
"""

YEAR = START + """
from holdfire_station.counters import Counter
from holdfire_station.journal import Journal
MEGABYTE = 1 << 20
flash = NorFlash(image, MEGABYTE + 4 * 4096)
esp32.attach(flash, [("journal", 1, 0x41, 0, MEGABYTE), ("counters", 1, 0x40, MEGABYTE, 4 * 4096)])
partition = esp32.Partition("journal")
gc.collect()
before = gc.mem_alloc()
journal = Journal(partition)
gc.collect()
print("heap", gc.mem_alloc() - before)
journal.recover()
counter = Counter(esp32.Partition("counters"), 0)
flash.reset_counts()
records = counted = beyond_ns = append_ns = worst_ns = 0
for day in range(365):
    for quarter in range(96):
        for alert in (False, True) if quarter % 10 == 4 else (False,):
            while journal.maintain():
                pass
            counted -= flash.programmed_bytes
            seq = counter.next()
            counter.maintain()
            counted += flash.programmed_bytes
            erase_ns, read_ns, program_ns = flash.erase_ns, flash.read_ns, flash.program_ns
            journal.append(seq, RECORD, alert)
            waited = flash.erase_ns - erase_ns + flash.read_ns - read_ns
            beyond_ns += waited
            worst_ns = max(worst_ns, waited)
            append_ns += waited + flash.program_ns - program_ns
            records += 1
        journal.receipt(seq)
    if day % 7 == 6:
        journal = Journal(partition)
        journal.recover()
print("records", records)
print("programmed", (flash.programmed_bytes - counted) / (records * len(RECORD)))
print("counters", counted / records)
print("year_ms", (append_ns + (flash.erases * 45e6)) / records / 1e6)
print("append_ms", append_ns / records / 1e6)
print("beyond_ms", beyond_ns / records / 1e6)
print("worst_ms", worst_ns / 1e6)
print("fewest", min(flash.erase_count(s) for s in range(256)))
print("most", max(flash.erase_count(s) for s in range(256)))
print("counter_erases", max(flash.erase_count(s) for s in range(256, 260)))
"""

FULL = START + """
from holdfire_station.journal import Journal, JournalFull
flash = NorFlash(image, 1 << 20)
esp32.attach(flash, [("journal", 1, 0x41, 0, 1 << 20)])
partition = esp32.Partition("journal")
journal = Journal(partition)
journal.recover()
seq = 0
try:
    while True:
        seq += 1
        journal.append(seq, RECORD, seq % 13 != 0)
        if seq % 20 == 0:
            journal.maintain()
        if seq == 1000:
            journal.receipt(777)
except JournalFull:
    pass
journal = Journal(partition)
flash.reset_counts()
journal.recover()
print("boot_bytes", flash.read_bytes)
print("boot_ms", (flash.read_ns + flash.program_ns) / 1e6)
print("held", journal.pending_count)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: .venv/bin/python tools/bench journal --cuts 10000"
    parser.add_argument("--away-days", type=int, metavar="DAYS",
                        help="only this: a base away for so long, then back, on a devkit's journal (14 is the aim)")
    parser.add_argument("--alerts-an-hour", type=int, default=20, help="meanwhile (default 20)")
    parser.add_argument("--cuts", type=int, default=1000, help="random power cuts to survive (default 1000)")
    parser.add_argument("--seed", type=int, default=None, help="replay: the seed that a failure printed")
    parser.add_argument("--station-cuts", type=int, metavar="CUTS",
                        help="only this: power cuts of a whole simulated station, which must come up, hear, and still "
                        "hold all it sent (about 3 s each)")
    parser.add_argument("--only-cuts", action="store_true", help="skip the measurements")
    parser.add_argument("--every-byte", action="store_true", help="also cut the busiest hour after every single byte")


def figures(source: str, folder: pathlib.Path, name: str) -> dict[str, float]:
    done = run_micropython(source.replace("sys.argv[1]", repr(str(folder / name))), path=SIM_PATH, timeout=600)
    return {key: float(value) for key, value in (line.split() for line in done.stdout.splitlines())}


def measure(folder: pathlib.Path) -> None:
    lfs = figures(LITTLEFS, folder, "lfs.bin")
    year = figures(YEAR, folder, "year.bin")
    full = figures(FULL, folder, "full.bin")
    less = lfs["lfs_programmed"] / year["programmed"]
    faster = lfs["lfs_ms"] / year["year_ms"]
    days = full["held"] / 480
    print(f"""\
records of 200 bytes; a year is {year["records"]:.0f} of them: one each 15 minutes and 10 alerts a day,
a receipt each 15 minutes, a restart each week; the journal has 1 MB
  bytes programmed a byte stored    {year["programmed"]:.3f}, aim 1.1
                                    (LittleFS {lfs["lfs_programmed"]:.2f}, {less:.1f} times more)
    and for the sequence counter    {year["counters"]:.1f} bytes a record
  flash time a record, all erasing  {year["year_ms"]:.2f} ms
                                    (LittleFS {lfs["lfs_ms"]:.1f} ms, {faster:.0f} times more)
  append                            {year["append_ms"]:.2f} ms, of it beyond programming {year["beyond_ms"]:.3f} ms
                                    (worst {year["worst_ms"]:.3f} ms, aim 2 ms)
  erases of a sector in the year    {year["fewest"]:.0f} to {year["most"]:.0f}
                                    (of a counter's at most {year["counter_erases"]:.0f})
  boot from a full 1 MB             {full["boot_bytes"] / 1024:.1f} KB read, aim 64; {full["boot_ms"]:.2f} ms
  a full 1 MB holds                 {full["held"]:.0f} records without receipt, {days:.1f} days at 20 alerts an hour
  heap of Journal for 1 MB          {year["heap"]:.0f} bytes on this 64-bit port""")


def cut(folder: pathlib.Path, cuts: int, seed: int) -> None:
    print(f"power cuts: {cuts}, seed {seed}", flush=True)
    started = time.monotonic()
    done = 0
    while done < cuts:
        now = min(CUTS_A_LIFE, cuts - done)
        try:
            survive(folder / f"life{done}.bin", seed + done, now)
        except AssertionError as error:
            sys.exit(f"FAILED after {done} cuts\n{error}")
        done += now
        print(f"  {done} survived", flush=True)
    print(f"  nothing promised was lost, no number came twice ({time.monotonic() - started:.0f} s)")


def cut_station(folder: pathlib.Path, cuts: int, seed: int) -> None:
    print(f"power cuts of a whole station: {cuts}, seed {seed}", flush=True)
    life = StationLife(folder, seed)
    try:
        for done in range(cuts):
            life.cut(START_OPERATIONS if done % 2 else OPERATIONS)
            print(f"\r  {done + 1} survived", end="", flush=True)
    except AssertionError as error:
        sys.exit(f"\nFAILED: {error}")
    finally:
        life.end()
    print(f"\n  it came up and heard each time; {len(life.hashes)} records sent, all still held, no number twice")


def away(folder: pathlib.Path, days: int, alerts_an_hour: int) -> int:
    chips = folder / "sim"  # without the simulator's clock: nothing here waits
    chips.mkdir()
    for name in ("esp32.py", "chips"):
        (chips / name).symlink_to(REPO / "tests" / "sim" / name)
    size = boards.partition(boards.load(boards.find("esp32-devkit")), "journal")["size"]
    done = run_micropython(AWAY, folder / "away.bin", size, days, alerts_an_hour, 1, heap="240K",
                           path=(*DEVICE_PATH, chips), timeout=1800)
    said = {key: int(value) for key, value in (line.split() for line in done.stdout.splitlines())}
    print(f"""\
base away for {days} days at {alerts_an_hour} alerts an hour; the station's recorder (signing), journal and outbox,
journal of {size / 1024:.0f} KB as on every 4 MB board; a status record each 10 minutes, hourly once a quarter is full
  made                 {said["alerts"]} alerts, {said["routine"]} status records; refused: {said["refused"]}
  journal then         {said["permille"]} permille full
  arrived              {said["arrived"]} of {said["pending"]}, alerts {"first" if said["alerts_first"] else "NOT FIRST"}
  heap while sending   grew by at most {said["heap_growth"]} bytes (64-bit port)""")
    return 0 if said["arrived"] == said["pending"] and not said["refused"] and said["alerts_first"] else 1


def main(args: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if args.away_days:
            return away(folder, args.away_days, args.alerts_an_hour)
        seed = args.seed if args.seed is not None else int(time.time()) % 1_000_000
        if args.station_cuts:
            cut_station(folder, args.station_cuts, seed)
            return 0
        if not args.only_cuts:
            measure(folder)
        if args.every_byte:
            done = run_micropython(EVERY_CUT, folder / "every.bin", 1, 1, heap="512K", path=SIM_PATH, timeout=1800)
            print("cuts of the busiest hour, all survived:", ", ".join(done.stdout.split("\n")[:-1]))
            done = run_micropython(UNSETTLED, folder / "u.bin", seed, 30, heap="512K", path=SIM_PATH, timeout=1800)
            print("cuts that left a cell between 0 and 1, all starts agree:", done.stdout.strip())
        if args.cuts:
            cut(folder, args.cuts, seed)
    return 0
