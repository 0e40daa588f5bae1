"""A whole station through power cuts at any operation of its flash chip: it comes up and hears, nothing that was sent
is forgotten, no number comes twice, and the chain holds."""

import contextlib
import os
import random
import re
import time

from holdfire_protocol import fields, record
from simulate.station import SimulatedStation, synthetic_sound
from tests.mpy import REPO, find_tool
from tests.system.cabled import Place

SEED = int(os.environ.get("HOLDFIRE_SEED", int(time.time()) % 1_000_000))
HEAP_BYTES = 224 << 10  # with clips: their ring is cut as well
START_OPERATIONS = 8  # programs and erases to the cut, at most: it then falls into the start
OPERATIONS = 50  # or perhaps into the records after it, of four each


class Life:
    """One station that is cut and started again; what it sent is remembered here."""

    def __init__(self, folder, seed: int):
        self.folder, self.seed = folder, seed
        self.random = random.Random(seed)
        self.place = Place()
        self.hashes: dict[int, bytes] = {}  # of every record that was ever sent
        self.boot = 0
        raw = synthetic_sound("gunshot", 150)
        (folder / "script").write_text("".join(f"{second}000 play {raw} 256\n" for second in range(4, 400, 12)))
        self._start().enrol()
        self._come_up()

    def _start(self, cut: str = ""):
        self.place.clear()
        station = SimulatedStation(REPO / "boards" / "esp32-devkit.toml", self.folder / "station", "cut", "virtual",
                                   baud=None, heap_bytes=HEAP_BYTES, fix_s=5, script=self.folder / "script")
        station.board["status_interval_s"] = 30
        os.environ["HOLDFIRE_FLASH_CUT"] = cut
        try:
            self.station, self.cabled = self.place.put(station)
        finally:
            del os.environ["HOLDFIRE_FLASH_CUT"]
        return self.cabled

    def cut(self, operations: int) -> None:
        """Power until the chip is cut, at one of its next operations; then a start at which nothing must be missing."""
        where = f"{self.random.randrange(operations)}:{self.random.choice(('torn', 'not_applied', 'unreported'))}:"
        where += str(self.random.randrange(1, 1_000_000))
        self._start(where)
        try:
            self.station.wait_for("ended", timeout=120)
            with contextlib.suppress(TimeoutError):
                self.cabled.read_until("what was still in the cable", timeout=0.3)
            self._remember()
            self._start()
            self._come_up()
        except (AssertionError, TimeoutError) as error:
            raise AssertionError(f"seed {self.seed}, cut at {where}: {error}") from error

    def _remember(self) -> None:
        for seq, digest in self.cabled.hashes.items():
            assert self.hashes.setdefault(seq, digest) == digest, f"number {seq} was used twice"
        self.boot = max([self.boot, *[named["boot"] for named in self.cabled.records.values()]])

    def _come_up(self) -> None:
        cabled = self.cabled
        cabled.record_with(lambda named: named["boot"] > self.boot and named.get("status", {}).get("heard_ms", 0) > 0)
        held, first, last = [], 1, None
        while last is None or first <= last:
            said = cabled.ask(f"pull {first}", f"pull first={first} ")
            numbers, newest = re.search(r"sent=(\S+) last=(\d+)", said).groups()
            last = last or int(newest)  # it goes on making records meanwhile
            if numbers == "none":
                break
            wanted = [int(number) for number in numbers.split(",")]
            try:
                cabled.record_with(lambda _: set(wanted) <= set(cabled.records), 10)  # noqa: B023 - called at once
            except TimeoutError:
                continue  # too many were waiting to be sent: ask again
            held += wanted
            first = wanted[-1] + 1
        self._remember()
        lost = set(self.hashes) - set(cabled.records)
        assert not lost, f"sent, and no longer held: {sorted(lost)}"
        before = (0, record.genesis(cabled.network, cabled.public))
        for seq in held:
            named = cabled.records[seq]
            assert named["prev"] == before[1], f"the chain breaks at {seq}"
            if seq != before[0] + 1:
                assert named["restart"] == fields.RESTART_UNCLEAN, f"{seq} does not say that numbers before it are lost"
            before = (seq, cabled.hashes[seq])
        assert self.station.resets == 0

    def end(self) -> None:
        self.place.clear()


def test_a_station_comes_up_and_has_forgotten_nothing_wherever_its_flash_was_cut(tmp_path):
    find_tool("micropython", "MICROPYTHON")
    life = Life(tmp_path, SEED)
    try:
        for operations in (START_OPERATIONS, OPERATIONS, START_OPERATIONS, OPERATIONS):
            life.cut(operations)
    finally:
        life.end()
