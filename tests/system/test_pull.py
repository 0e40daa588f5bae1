"""`holdfire pull` from the real firmware on simulated chips: records of several boots, clips, and a pulled cable."""

import os

import pytest

from holdfire import cli, evidence, pull, times
from holdfire.registry import Registry, Station
from holdfire_protocol import cose, record
from simulate.station import SimulatedStation
from tests.host.made import COLLECTOR, NETWORK, START_US, Base
from tests.mpy import REPO, find_tool
from tests.system.cabled import Place
from tests.system.test_station_broken import broken_app

UTC_US = 1_795_478_400_000_000
BOARD = REPO / "boards" / "esp32-devkit.toml"
RECORDS = 40
RECEIPTED = 12
ROOM_FOR_CLIPS = 224 << 10
BAUD = 115_200
DAY_US = 86_400_000_000


class Filled:
    """A station that has been through three boots, a receipt and some shots, and what a base would have heard of it."""

    def __init__(self, folder):
        self.folder = folder
        self.base = Base(folder / "holdfire-data")
        place = Place()
        try:
            self._live(place)
        finally:
            place.clear()

    def station(self, clock="virtual", utc_us=UTC_US, heap_bytes=ROOM_FOR_CLIPS, **options):
        return SimulatedStation(BOARD, self.folder / "station", "pulled", clock, fix_s=1, utc_us=utc_us,
                                heap_bytes=heap_bytes, **options)  # fmt: skip

    def _live(self, place):
        station, cabled = place.put(self.station())
        cabled.network = NETWORK
        words = (NETWORK.hex(), COLLECTOR.public_key().public_bytes_raw().hex(), os.urandom(32).hex())
        answer = cabled.ask("enrol " + " ".join(words), "enrolled public=")
        self.public = cabled.public = bytes.fromhex(answer.split("public=")[1].split()[0])
        self.base.registry.add(Station(cose.key_id(self.public), self.public, "Ridge", START_US))
        self.base.registry.save()
        self._wait(cabled, lambda: 2 in cabled.records)  # time is known, and the detector knows its floor
        for shots, distance_m in enumerate((60, 90, 120), 1):
            station.play_synth("gunshot", distance_m)
            while not cabled.ask("clips", "clips ").startswith(f"clips first=1 last={shots} "):
                pass
        cabled.ask("reboot", "resets in a second")
        cabled.read_until("Holdfire station, boot 2")
        self._wait(cabled, lambda: any(named["boot"] == 2 for named in cabled.records.values()))
        while max(cabled.records) < RECORDS:
            last = max(cabled.records)
            station.control(f"tamper {'closed' if last % 2 else 'open'}")
            self._wait(cabled, lambda last=last: max(cabled.records) > last)
        receipt = (cose.key_id(self.public), RECEIPTED, cabled.hashes[RECEIPTED])
        cabled.port.write(b"\r\n" + self.base.beacon_line(UTC_US, receipt))
        cabled.read_until("receipt: the base holds record")
        place.clear()  # the power fails
        self.hashes = cabled.hashes

    def _wait(self, cabled, enough):
        cabled.record_with(lambda _: enough())


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    find_tool("micropython", "MICROPYTHON")
    return Filled(tmp_path_factory.mktemp("pulled"))


@pytest.fixture
def start(filled, monkeypatch):
    """A function that starts the station again, in real time, as its flash is."""
    monkeypatch.chdir(filled.folder)
    monkeypatch.setattr(times, "now_us", lambda: UTC_US + 2 * DAY_US)
    started = []

    def start(clock="real", **options):
        started.append(filled.station(clock, UTC_US + DAY_US, baud=BAUD, **options))
        started[-1].start()
        return started[-1]

    yield start
    for station in started:
        station.stop()


def hashes_in(path):
    """Number -> hash of the records of a file, which stand in order."""
    data, at, found = path.read_bytes(), 0, {}
    while at < len(data):
        end = evidence.message_end(data, at)
        seq = record.decode_record(cose.parse(data[at:end]).payload)["seq"]
        assert seq > max(found, default=0)
        found[seq] = record.record_hash(data[at:end])
        at = end
    return found


def test_all_that_a_station_holds_is_pulled_over_an_unplugged_cable_and_proven(filled, start, capsys):
    """Receipted records and those of earlier boots too; clips by the status record of the boot after them."""
    station = start()
    told, unplugged = [], []

    def note(text):
        told.append(text)
        if "IS GONE" in text:
            station.cable.plug()

    def progress(found):
        if found.what == "records" and not unplugged and found.done >= 18:
            unplugged.append(found.done)
            station.cable.unplug()

    path = filled.folder / "ridge.cbor"
    registry = Registry.load("holdfire-data/registry.json")
    puller = pull.Pull(str(station.port), registry, lambda _: path, True, 60, pull.Watch(note, progress))
    try:
        puller.run()
    finally:
        puller.close()
    outcome = puller.outcome
    assert unplugged and [text for text in told if "is back" in text]
    assert not outcome.missed and not outcome.refusals.count
    found = hashes_in(path)
    assert {seq: found.get(seq) for seq in filled.hashes} == filled.hashes
    assert list(found) == list(range(1, max(found) + 1))
    assert outcome.clips_taken == 3 == len(list(outcome.folder.path.glob("*.wav")))
    capsys.readouterr()
    assert cli.main(["pull", str(station.port), "-o", "ridge.cbor"]) == 0
    out = capsys.readouterr().out
    assert "proven  3 of 3 clips" in out and "restart   record 1" in out
    assert cli.main(["verify", "ridge.cbor", "--complete"]) == 0
    assert cli.main(["import", "ridge.cbor"]) == 0
    assert f"stored         {max(hashes_in(path))} records" in capsys.readouterr().out


def test_a_station_without_room_for_clips_gives_its_records(filled, start, capsys):
    station = start("virtual", heap_bytes=160 << 10)
    assert cli.main(["pull", str(station.port), "-o", "small.cbor"]) == 0
    assert "the station keeps none" in capsys.readouterr().out
    assert set(filled.hashes.items()) <= set(hashes_in(filled.folder / "small.cbor").items())


def test_a_station_in_safe_mode_still_gives_its_records_and_clips(filled, start, tmp_path, capsys):
    """Although what sends records is what is broken."""
    station = start(app_folder=broken_app(tmp_path, "outbox", "def broken(:\n"))
    path = tmp_path / "safe.cbor"
    assert cli.main(["pull", str(station.port), "-o", str(path), "--timeout", "60"]) == 0
    told = capsys.readouterr()
    assert "in safe mode" in told.err and "proven  3 of 3 clips" in told.out
    found = hashes_in(path)
    assert {seq: found.get(seq) for seq in filled.hashes} == filled.hashes
