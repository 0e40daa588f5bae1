"""New programs over the cable: a simulated station runs from the very image `make image` builds, and takes another.

Only what the deployment's authority signed is taken, for this board, newer than before; what does not hear and record
is undone by itself; cut anywhere, the station starts, with its key and the next record number.
"""

import base64
import contextlib
import dataclasses
import json
import re

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import boards
import shrink
from holdfire import cli, enrol, offices, registry, update
from holdfire.authority import KeyInMemory
from holdfire.errors import PortError
from holdfire.offices import Holder
from holdfire_protocol import cose, fields, frame, line, record
from image import filesystem, join, programs
from simulate.device import native_code_works
from simulate.station import SimulatedStation
from tests.host.stock import official
from tests.mpy import REPO, find_tool
from tests.system.cabled import COLLECTOR, Cabled

UTC_US = 1_795_478_400_000_000
BOARD = REPO / "boards" / "esp32-devkit.toml"
HEAP_BYTES = 168 << 10  # with 160, on 64 bits, an answer now and then dies for want of memory and is asked for again
AUTHORITY = KeyInMemory(Ed25519PrivateKey.generate())
# Nothing but the flash, as on the chip: neither our source tree nor the board file beside it.
RUN_FROM_FLASH = """
import sys
sys.path[:] = ["/flash"] + [folder for folder in sys.path if folder.endswith("/sim")] + [".frozen"]
sys.modules.pop("board", None)
with open("/flash/main.py") as file:
    source = file.read()
exec(source)
"""
CHANGES = {  # what is put at the end of a module
    "good": ("digest.py", "\nNEW = b''\n"),
    "raises": ("station.py", "\nraise ValueError('badly made')\n"),
    "hangs": ("gnss.py", "\nimport time\ntime.sleep(10000)\n"),
    "deaf": ("microphone.py", "\nraise OSError('no such driver')\n"),
    "unstartable": ("overlay.py", "\nraise ImportError('half of it')\n"),
}
HALF = slice(0x206000 + 0x29000, 0x206000 + 2 * 0x29000)  # of the flash: the second set of programs


class Built:
    """Manifests of images by name: what the station begins with ("old"), and each change to it."""

    def __init__(self, folder):
        self._folder = folder
        self._board = boards.load(BOARD)
        self._made = {"old": join.make(self._board, official(), folder / "old", arch="x64")}
        self._files = programs.files_for(self._board, "x64")

    def __getitem__(self, name):
        if name not in self._made:
            self._made[name] = self._change(name)
        return self._made[name]

    def _change(self, name):
        """The image with one module compiled anew."""
        module, more = CHANGES[name]
        sources = shrink.chip_sources()
        path = "holdfire_station/" + module
        text = shrink.Shrinker(sources).shrink(path, sources[path]) + more
        code = programs._compile(programs._find_compiler(), path, text, "x64")
        files = {**self._files, f"lib/{path.removesuffix('.py')}.mpy": code}
        inside = {where.removeprefix("lib/"): data for where, data in files.items() if where.startswith("lib/")}
        half = filesystem.build(inside, 0x29000, filesystem.SMALL_BLOCK_BYTES)
        said = json.loads(self._made["old"].read_text())
        image = bytearray(self._made["old"].with_suffix(".bin").read_bytes())
        (part,) = (part for part in said["parts"] if part["name"] == "programs")
        image[part["offset"] : part["offset"] + len(half)] = half
        part["sha256"] = join._sha256(bytes(image[part["offset"] : part["offset"] + part["size"]]))
        said["firmware"] = programs.digest(files)
        (self._folder / name).mkdir()
        manifest = self._folder / name / "esp32-devkit.json"
        manifest.with_suffix(".bin").write_bytes(image)
        manifest.write_text(json.dumps(said))
        return manifest


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    find_tool("micropython", "MICROPYTHON")
    if not native_code_works():
        pytest.skip("an image's programs are machine code, which only an x86-64 PC can run for the chip")
    return Built(tmp_path_factory.mktemp("images"))


class Registry:
    """What `update` needs of one."""

    authority_public = AUTHORITY.public
    authorities = (Holder(AUTHORITY.public, 0),)
    collectors = (Holder(COLLECTOR.public_key().public_bytes_raw(), 0),)


class Updated:
    """A station that runs from its flash alone, and its laptop. `there`: what the half that does not run holds."""

    def __init__(self, folder, built, there=None, enrolled=True):
        self.folder = folder
        folder.mkdir()
        (folder / "app").mkdir()
        (folder / "app" / "main.py").write_text(RUN_FROM_FLASH)
        flash = bytearray(built["old"].with_suffix(".bin").read_bytes())
        flash += b"\xff" * (boards.load(BOARD)["flash"]["size_bytes"] - len(flash))
        if there is not None:
            flash[HALF] = update.from_image(there).image
        (folder / "flash.img").write_bytes(flash)
        self.number = 1000
        self.cabled = None
        self.station = SimulatedStation(BOARD, folder, "updated", "virtual", baud=None, utc_us=UTC_US, fix_s=1,
                                        heap_bytes=HEAP_BYTES, app_folder=folder / "app")
        self.station.start()
        self.plug()
        if not enrolled:
            return
        self.cabled.enrol()
        self.first = self.cabled.record_with(lambda named: "status" in named)

    def plug(self):
        before, self.cabled = self.cabled, Cabled(self.station)
        if before is not None:
            self.cabled.network, self.cabled.public = before.network, before.public
            self.cabled.records, self.cabled.hashes = before.records, before.hashes

    def off(self):
        self.cabled.close()
        self.station.stop()

    def power_cut(self):
        self.station.kill()
        self.station.start()

    def update(self, manifest, sent=None, progress=lambda done, of: None, **signed):
        """What the laptop does; `sent` goes out in place of the programs that were signed; gives sectors sent."""
        self.cabled.close()
        try:
            with enrol.Console(str(self.station.port), 60.0) as console:
                update.entrust(console, Registry)
                made = dataclasses.replace(update.from_image(manifest), **signed.pop("claims", {}))
                self.number += 1
                how = {"number": self.number, "network": self.cabled.network, "authority": AUTHORITY, **signed}
                message = update.sign(made, how["number"], how["network"], how["authority"])
                if "damage" in how:
                    message = bytearray(message)
                    message[how["damage"]] ^= 1
                return update.send(console, sent or made, bytes(message), progress)[0]
        finally:
            self.plug()

    def refuses(self, manifest, why, **signed):
        with pytest.raises(PortError, match=why):
            self.update(manifest, **signed)

    def after(self, boot):
        """The first status record of that start."""
        return self.cabled.record_with(lambda named: named["boot"] == boot)["status"]

    def whole_chain(self):
        """Every number up to the last was received; `Cabled` checked signatures and hashes."""
        return sorted(self.cabled.records) == list(range(1, max(self.cabled.records) + 1))


@pytest.fixture
def updated(tmp_path, built):
    """A function that starts the station of a test."""
    made = []

    def start(there=None, enrolled=True):
        made.append(Updated(tmp_path / "station", built, there, enrolled))
        return made[0]

    yield start
    for station in made:
        station.off()


def firmware_of(manifest):
    return update.from_image(manifest).firmware


def test_new_programs_run_are_kept_and_the_chain_goes_on_wherever_the_power_fails(updated, built):
    station = updated()
    identity = station.cabled.ask("identity", "identity network=")

    cuts = []

    def cut_at_half(done, of):
        if done == 20 and not cuts:
            cuts.append(of)
            station.power_cut()

    sent = station.update(built["good"], progress=cut_at_half)
    image = update.from_image(built["good"]).image
    differ = sum(set(image[at : at + 4096]) != {0xFF} for at in range(0, len(image), 4096))
    assert differ <= sent <= differ + 1  # what arrived before the power failed was not sent again
    station.cabled.read_until("Holdfire station, boot 3")
    new = station.after(3)
    assert new["firmware"] == firmware_of(built["good"]) != station.first["status"]["firmware"]
    assert "fault" not in new
    between = [named["status"] for named in station.cabled.records.values() if named["boot"] == 2]
    assert all(status["firmware"] == station.first["status"]["firmware"] for status in between)
    station.power_cut()  # in the middle of the trial: no failure, and no end of it
    station.cabled.read_until("Holdfire station, boot 4")
    assert "trial=1" in station.cabled.ask("update", "update board=")
    station.cabled.read_until("update confirmed")
    assert "number=1001 trial=0" in station.cabled.ask("update", "update board=")
    station.power_cut()
    station.cabled.read_until("Holdfire station, boot 5")
    assert station.after(5)["firmware"] == new["firmware"]
    assert station.whole_chain() and station.cabled.ask("identity", "identity network=") == identity
    station.refuses(built["old"], "number: signed before", number=1001)  # a replay
    assert station.update(built["old"]) == 0  # the other half still holds them, and the authority signed them anew
    station.cabled.read_until("update confirmed")
    assert station.after(6)["firmware"] == station.first["status"]["firmware"]


def test_what_the_authority_did_not_sign_for_this_board_is_refused_and_changes_nothing(updated, built):
    good = built["good"]
    station = updated(there=good)
    stranger = KeyInMemory(Ed25519PrivateKey.generate())
    station.refuses(good, "kid: not of this key", authority=stranger)
    station.refuses(good, "signature|s \\* B", damage=-70)  # a bit of the payload, under the right key's name
    station.refuses(good, "says", network=bytes(16))
    station.refuses(good, "board: for heltec-v3, this is esp32-devkit", claims={"board": "heltec-v3"})
    station.refuses(good, "mpy: other MicroPython or processor", claims={"mpy": 0x2B06})
    station.refuses(good, "size: for another partition table", claims={"image": bytes(8192)})
    whole = update.from_image(good)
    altered = bytearray(whole.image)
    altered[0x5000] ^= 1
    station.refuses(good, "image: is not what was signed", sent=dataclasses.replace(whole, image=bytes(altered)))
    assert "another authority is known" in station.cabled.ask(f"update trust {stranger.public.hex()}", "error: ")
    for words in ("update me", "update offer AAAA", "install", "= 0 0 AAAA 00000000"):
        station.cabled.ask(words, "error: ")
    assert station.station.resets == 0
    station.power_cut()
    station.cabled.read_until("Holdfire station, boot 2")
    assert station.after(2)["firmware"] == station.first["status"]["firmware"]


@pytest.mark.parametrize(("name", "starts", "why"), [
    ("raises", 2, b"update undone: ValueError: badly made"),
    ("hangs", 2, b"update undone: its start hung"),
    ("deaf", 1, b"update undone: it hears nothing"),
    ("unstartable", 1, b"update undone: ImportError: half of it"),
])  # fmt: skip
def test_programs_that_do_not_reach_sampling_are_undone_and_a_signed_record_says_why(updated, built, name, starts, why):
    station = updated(there=built[name])
    assert station.update(built[name]) == 0
    status = station.cabled.record_with(
        lambda named: "status" in named and named["status"].get("fault", b"").startswith(b"update undone"))["status"]
    assert status["fault"].startswith(why)
    assert status["firmware"] == station.first["status"]["firmware"]
    assert not status["selftest"] & fields.SELFTEST_SAFE
    assert station.station.resets == starts + 1
    assert "number=0 trial=0" in station.cabled.ask("update", "update board=")
    assert station.whole_chain()


def test_the_command_updates_a_provisioned_station(updated, built, tmp_path, monkeypatch, capsys):
    station = updated(there=built["good"], enrolled=False)
    station.cabled.close()
    monkeypatch.setenv("HOLDFIRE_PASSPHRASE", "five random words are good")
    monkeypatch.setattr(update, "POLL_S", 0.1)
    port, where = str(station.station.port), ["--timeout", "60", "--dir", str(tmp_path / "base")]
    assert cli.main(["init", str(tmp_path / "base"), "--name", "Valley"]) == 0
    assert cli.main(["provision", port, "--name", "Mill", *where]) == 0
    said = f"authority={cose.key_id(registry_of(tmp_path).authority_public).hex()}"
    with enrol.Console(port, 60.0) as console:  # known from the day it was enrolled
        assert said in console.ask("update", re.compile(b"update board=.*"), re.compile(b"(error.*)"), True)[0].decode()
    command = ["update", port, "--from", str(built["good"]), *where]
    assert cli.main(command) == 0
    assert "updated" in capsys.readouterr().out
    assert cli.main(command) == 0
    assert "runs these programs already" in capsys.readouterr().out

    # And by a file: signed where the key is, sent from where it is not.
    signed, key = tmp_path / "old.update", tmp_path / "base" / "authority.key"
    assert cli.main(["update", "--sign-only", str(signed), "--from", str(built["old"]), *where]) == 0
    assert "--signed old.update" in capsys.readouterr().out
    key.rename(tmp_path / "stick")
    assert cli.main(["update", port, "--signed", str(signed), *where]) == 0
    assert firmware_of(built["old"]).hex() in capsys.readouterr().out
    assert cli.main(["update", port, "--signed", str(signed), *where]) == 0
    assert "runs these programs already" in capsys.readouterr().out


def registry_of(tmp_path):
    return registry.Registry.load(tmp_path / "base" / "registry.json")


def beacon_line(key, number, network):
    payload = record.encode_beacon({"number": number, "time": (fields.TIME_HOST, UTC_US, 1000), "receipts": []})
    message = record.sign1(payload, cose.key_id(key.public), fields.AAD_BEACON, network, key.sign)
    return line.encode(frame.encode(fields.FRAME_BEACON, network, message))


def test_a_station_believes_new_keys_by_the_signature_of_the_authority_it_knows(updated, built, tmp_path):
    station = updated()
    stations_base, ours = KeyInMemory(COLLECTOR), station.cabled.network
    second, collector, next_collector, stranger = (KeyInMemory(Ed25519PrivateKey.generate()) for _ in range(4))
    began_us = UTC_US - 1_000_000
    papers = registry.Registry(tmp_path / "r.json", "Valley", ours, began_us, stations_base.public, AUTHORITY)
    early = registry.Registry(tmp_path / "e.json", "Valley", ours, began_us, stations_base.public, AUTHORITY)
    papers.hand_over_collector(collector, UTC_US, UTC_US, "stolen")
    papers.hand_over_authority(second, UTC_US, "Anna leaves")
    papers.hand_over_collector(next_collector, UTC_US + 1, UTC_US + 1, "stolen again")

    @contextlib.contextmanager
    def laptop():
        station.cabled.close()
        try:
            with enrol.Console(str(station.station.port), 60.0) as console:
                yield console
        finally:
            station.plug()

    def told(by):
        with laptop() as console:
            return update.entrust(console, by)

    def handover(office, old, new, key, network=ours):
        message = offices.sign_handover(office, cose.key_id(old.public), new.public, network, key)
        return "update handover " + base64.b64encode(message).decode()

    def refused(command, why):
        with laptop() as console, pytest.raises(PortError, match="the station says: .*" + why):
            console.ask(command, update._TOOK, update._REFUSED, again=True)

    def believes(key):
        """Only a beacon of the collector it believes is not refused."""
        for number, other in enumerate((stations_base, collector, next_collector), 1):
            if other is not key:
                station.cabled.port.write(b"\r" + beacon_line(other, 100 + number, ours))
                assert "not our collector's" in station.cabled.read_until("beacon refused")
        station.cabled.port.write(b"\r" + beacon_line(key, 1, ours) + beacon_line(key, 1, ours))
        assert "number: 1 is not above 1" in station.cabled.read_until("beacon refused")

    assert told(early) == ["whose updates to believe"]
    believes(stations_base)
    for wrong, why in (
        (handover(2, stations_base, collector, stranger), "kid: not of the authority"),
        (handover(2, collector, next_collector, AUTHORITY), "kid: not the key believed here"),
        (handover(2, stations_base, collector, AUTHORITY, bytes(16)), ""),
        (handover(1, stations_base, second, AUTHORITY), "kid: not the key believed here"),
        (handover(1, AUTHORITY, second, second), "kid: not of the authority"),
        ("update handover " + base64.b64encode(
            offices.sign_handover(2, cose.key_id(stations_base.public), bytes(32), ours, AUTHORITY)).decode(), ""),
        ("update handover AAAA", ""),
    ):  # fmt: skip
        refused(wrong, why)
    assert f"collector={cose.key_id(stations_base.public).hex()}" in station.cabled.ask("update", "update board=")
    assert told(papers) == [f"the authority's key is {papers.authority_kid.hex()} now",
                            f"the collector's key is {papers.collector_kid.hex()} now"]
    assert told(papers) == []
    believes(next_collector)
    station.power_cut()
    station.cabled.read_until("Holdfire station, boot 2")
    believes(next_collector)
    refused(handover(2, stations_base, collector, AUTHORITY), "kid: not of the authority")  # replayed by a thief
    refused(handover(2, stations_base, collector, second), "kid: not the key believed here")
    station.refuses(built["good"], "the station believes another collector", authority=AUTHORITY)
    assert station.cabled.record_with(lambda named: named["boot"] == 2)  # with the same key, on the same chain
    papers.refound(stranger, UTC_US + 2, "the safe burned")
    with pytest.raises(PortError, match=r"whose key was lost \(entry 5"):
        told(papers)
