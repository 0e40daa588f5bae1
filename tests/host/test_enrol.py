"""Provisioning: with the real firmware at the other end of the cable, and with what a port can be instead."""

import os
import pathlib
import pty
import sys
import threading
import time

import pytest

from holdfire import authority, cli, enrol
from holdfire.registry import Deployment, Registry
from holdfire_protocol import cose
from tests.mpy import REPO, find_tool

from .made import PASSPHRASE, Signer

sys.path.insert(0, str(REPO / "tools"))


@pytest.fixture
def deployment(tmp_path, monkeypatch):
    deployment = founded(tmp_path / "base", "Valley line")
    monkeypatch.setenv("HOLDFIRE_DIR", str(deployment.directory))
    return deployment


def founded(directory, name):
    deployment = Deployment(directory)
    key = authority.create(deployment.authority_path, PASSPHRASE)
    deployment.found(name, 1_795_000_000_000_000, key)
    return deployment


def change(deployment):
    return deployment.changing_registry(authority.load(deployment.authority_path, PASSPHRASE))


def run(capsys, *argv):
    code = cli.main([str(a) for a in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """Simulated boards with the real firmware, by name; `flash` is a flash image to begin with."""
    find_tool("micropython", "MICROPYTHON")
    from simulate.station import SimulatedStation

    running = []

    def power_on(name, flash=None, **settings):
        folder = tmp_path_factory.mktemp(name)
        if flash is not None:
            (folder / "flash.img").write_bytes(flash)
        running.append(SimulatedStation(REPO / "boards" / "esp32-devkit.toml", folder, name, **settings))
        running[-1].start()
        return running[-1]

    yield power_on
    for station in running:
        station.stop()


def test_the_life_of_a_station(board, deployment, capsys, tmp_path):
    """One story with the real firmware, since a station's key is made once."""
    station = board("alpha")
    photo = tmp_path / "ridge.jpg"
    photo.write_bytes(b"a picture")
    card = tmp_path / "ridge.svg"
    details = ("--place", "mast above the mill", "--mounting", "4 m", "--photo", photo, "--card", card)
    code, out, err = run(capsys, "provision", station.port, "--name", "Ridge north", *details)
    assert (code, err) == (0, "") and out.startswith("Enrolled Ridge north\n")
    registry = Registry.load(deployment.registry_path)
    enrolled = registry.find("Ridge north")
    stated = enrolled.statement
    assert (enrolled.place, enrolled.mounting) == ("mast above the mill", "4 m") and len(enrolled.photo) == 32
    assert stated.board == "esp32-devkit" and stated.chip.hex() == station._settings["uid"]
    assert stated.collector == registry.collector_public and stated.public_key == enrolled.public_key
    assert enrolled.public_key.hex() in out and "Ridge north" in card.read_text()
    before = deployment.registry_path.read_bytes()

    # Again, under the same name: nothing changes. Under another: no.
    code, out, err = run(capsys, "provision", station.port, "--name", "ridge north")
    assert (code, err) == (0, "") and "enrolled already; nothing changed" in out
    code, out, err = run(capsys, "provision", station.port, "--name", "Other")
    assert (code, out) == (3, "") and "enrolled already, as 'Ridge north'" in err
    assert deployment.registry_path.read_bytes() == before
    code, out, err = run(capsys, "registry", "check", station.port)
    assert (code, err) == (0, "") and "as enrolled" in out

    # The cable went before the registry was written: the station has its key, and the same command repairs.
    deployment.registry_path.unlink()
    key = authority.load(deployment.authority_path, PASSPHRASE)
    Registry(deployment.registry_path, registry.name, registry.network, registry.founded_at_us,
             registry.collector_public, key).save()  # fmt: skip
    code, out, _ = run(capsys, "registry", "check", station.port)
    assert code == 1 and "not enrolled, though it has a key" in out
    code, out, _ = run(capsys, "provision", station.port, "--name", "Ridge north")
    assert code == 0 and "had its key already" in out
    assert Registry.load(deployment.registry_path).find("Ridge north").public_key == enrolled.public_key

    # Another deployment cannot have it.
    other = founded(tmp_path / "other", "Other line")
    code, out, err = run(capsys, "provision", station.port, "--name", "Stolen", "--dir", other.directory)
    assert (code, out) == (3, "") and "belongs to another deployment" in err
    assert not Registry.load(other.registry_path).stations

    # Its flash, copied to another board: the same key on two chips.
    station.kill()
    copy = board("copy", (station.directory / "flash.img").read_bytes())
    code, out, err = run(capsys, "provision", copy.port, "--name", "Ridge north")
    assert (code, out) == (3, "") and "one of them is a copy" in err and "registry revoke" in err
    station.start()
    code, out, _ = run(capsys, "registry", "check", station.port, copy.port)
    assert code == 1 and f"the same key as on {station.port}" in out
    copy.kill()
    station.kill()

    # Erased and flashed anew: the same chip, another key. It takes the old one's place when the operator says so.
    erased = board("erased", uid=stated.chip.hex())
    code, out, err = run(capsys, "provision", erased.port, "--name", "Ridge new")
    assert (code, out) == (3, "") and "this board" in err and "registry rotate 'Ridge north' PORT" in err
    code, out, _ = run(capsys, "registry", "check", erased.port)
    assert code == 1 and "was enrolled as Ridge north and has another key now" in out
    code, out, err = run(capsys, "registry", "rotate", "Ridge north", erased.port, "--why", "flashed with ERASE=1")
    assert (code, err) == (0, "") and "Ridge north has a new key" in out
    registry = Registry.load(deployment.registry_path)
    assert registry.find("Ridge north").public_key != enrolled.public_key
    assert registry.find("Ridge north (key 1)").kid == enrolled.kid
    code, out, err = run(capsys, "registry", "rotate", "Ridge north", erased.port, "--why", "once more")
    assert (code, out) == (3, "") and "its old key still" in err


class Peer:
    """Something at the other end of a cable that is no Holdfire station: it answers each line by a rule."""

    def __init__(self, answer):
        self._main, self._side = pty.openpty()
        self.port = os.ttyname(self._side)
        self.heard = []
        self._answer = answer
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        waiting = b""
        while True:
            try:
                waiting += os.read(self._main, 4096)
            except OSError:
                return
            *lines, waiting = waiting.replace(b"\r", b"\n").split(b"\n")
            for line in lines:
                if line:
                    self.heard.append(line)
                    os.write(self._main, self._answer(line))

    def close(self):
        os.close(self._side)
        os.close(self._main)
        self._thread.join(5)


@pytest.fixture
def peer():
    made = []

    def make(answer):
        made.append(Peer(answer))
        return made[-1]

    yield make
    for each in made:
        each.close()



NEW = b"identity network=none public=none kid=none\r\n"


class Board:
    """How a station answers, key and all; `changes` goes into its statement."""

    def __init__(self, registry, seed=1, keyed=True, **changes):
        self.registry = registry
        self.signer = Signer("", seed, registry.network)
        self.keyed = keyed
        self.trusts = "none"
        self.changes = {"collector": registry.collector_public, **changes}

    def __call__(self, line):
        word, *rest = line.decode().split()
        ids = f"public={self.signer.public.hex()} kid={self.signer.kid.hex()}\r\n"
        if word == "identity":
            return f"identity network={self.registry.network.hex()} {ids}".encode() if self.keyed else NEW
        if word == "enrol":
            self.keyed = True
            return f"enrolled {ids}".encode()
        if word == "update":
            self.trusts = cose.key_id(bytes.fromhex(rest[1])).hex() if rest else self.trusts
            state = f"update board=b mpy=1 size=4096 number=0 trial=0 authority={self.trusts}"
            state += f" collector={cose.key_id(self.changes['collector']).hex()}\r\n"
            return f"update trusts {self.trusts}\r\n".encode() if rest else state.encode()
        stated = self.signer.statement(**{"challenge": bytes.fromhex(rest[0]), **self.changes})
        return f"enrolment {stated.hex()}\r\n".encode()


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        (lambda line: b"", 4, "nothing at all came back"),
        (lambda line: b"login: \r\n", 4, "what it sends is no Holdfire station's"),
        (lambda line: os.urandom(3000) + b"\n" * 2, 4, "no Holdfire station's"),
        (lambda line: b"identity file damaged: re-flash with ERASE=1\r\n", 4, "the station says: damaged: re-flash"),
        (lambda line: NEW if line == b"identity" else b"error: collector key\r\n", 4, "says: collector key"),
        (lambda line: NEW, 4, "no answer in 1 s"),
        (lambda line: NEW if line == b"identity" else b"enrolled public=" + b"ab" * 32 + b" kid=" + b"00" * 8 + b"\r\n",
         4, "kid is not of its public key"),
        (lambda line: b"identity network=" + b"11" * 16 + b" public=" + b"ab" * 32 + b" kid=" + b"00" * 8 + b"\r\n",
         3, "belongs to another deployment (network " + "11" * 16),
    ],
)  # fmt: skip
def test_what_is_no_station_of_ours_is_one_clear_line(deployment, peer, capsys, answer, code, says):
    refuses(deployment, capsys, peer(answer).port, code, says)


def refuses(deployment, capsys, port, code, says):
    before = deployment.registry_path.read_bytes()
    found, out, err = run(capsys, "provision", port, "--name", "Ridge north", "--timeout", "1")
    assert (found, out) == (code, "")
    assert says in err and err.count("\n") == 1 and err.strip().isprintable()
    assert deployment.registry_path.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"challenge": bytes(16)}, 4, "not made now"),
        ({"collector": bytes(32)}, 3, "believes another collector"),
        ({"public_key": Signer("", 9).public}, 4, "does not hold: kid: not of this key"),
        ({"board": b"a\x1b[2J"}, 4, "does not hold"),
    ],
)
def test_a_statement_must_be_of_this_station_for_this_deployment_and_made_now(
    deployment, peer, capsys, changes, code, says
):
    registry = Registry.load(deployment.registry_path)
    answer = Board(registry, **changes)
    if "board" in changes:  # what a station of ours would not sign
        def answer(line, whole=Board(registry)):  # noqa: B008
            said = whole(line)
            return said if line == b"identity" else said.replace(b"657370", b"1b7370")
    refuses(deployment, capsys, peer(answer).port, code, says)


def test_a_statement_with_any_bit_changed_is_refused(deployment, peer, capsys):
    registry = Registry.load(deployment.registry_path)
    whole = Board(registry)

    def damaged(line):
        said = whole(line)
        if not said.startswith(b"enrolment"):
            return said
        at = len(said) // 2
        return said[:at] + (b"0" if said[at : at + 1] != b"0" else b"1") + said[at + 1 :]

    refuses(deployment, capsys, peer(damaged).port, 4, "the station's enrolment does not hold")


def test_a_key_out_of_use_is_not_taken_in_again(deployment, peer, capsys):
    registry = Registry.load(deployment.registry_path)
    other_end = peer(Board(registry, keyed=False))
    assert run(capsys, "provision", other_end.port, "--name", "Ridge north", "--timeout", "5")[0] == 0
    assert run(capsys, "registry", "lost", "Ridge north", "--why", "gone")[0] == 0
    refuses(deployment, capsys, other_end.port, 3, "reported lost: look it over")
    assert run(capsys, "registry", "revoke", "Ridge north", "--why", "opened")[0] == 0
    refuses(deployment, capsys, other_end.port, 3, "out of use (revoked)")


def test_a_key_on_another_chip_and_a_key_on_two_ports_are_copies(deployment, peer, capsys):
    registry = Registry.load(deployment.registry_path)
    real = peer(Board(registry, keyed=False))
    assert run(capsys, "provision", real.port, "--name", "Bridge", "--timeout", "5")[0] == 0
    assert run(capsys, "registry", "check", real.port, "--timeout", "5")[0] == 0
    copy, liar = peer(Board(registry, chip=b"another")), peer(Board(registry))
    refuses(deployment, capsys, copy.port, 3, "has the key of Bridge, which was made on chip")
    code, out, _ = run(capsys, "registry", "check", copy.port, "--timeout", "5")
    assert code == 1 and "one of them is a copy" in out
    code, out, _ = run(capsys, "registry", "check", real.port, copy.port, liar.port, "--timeout", "5")
    rows = out.splitlines()[1:]
    assert code == 1 and len(rows) == 3
    assert f"the same key as on {real.port}, on two boards" in rows[1] and "registry revoke" in rows[1]
    assert "the same key as on" in rows[2]


def test_a_board_with_a_new_key_is_told_from_a_new_board(deployment, peer, capsys):
    registry = Registry.load(deployment.registry_path)
    assert run(capsys, "provision", peer(Board(registry)).port, "--name", "Bridge", "--timeout", "5")[0] == 0
    chip = Registry.load(deployment.registry_path).find("Bridge").statement.chip
    erased, new = peer(Board(registry, seed=5, chip=chip)), peer(Board(registry, seed=6))
    refuses(deployment, capsys, erased.port, 3, "it was erased or flashed anew. If that was you:")
    _, out, _ = run(capsys, "registry", "check", erased.port, new.port, "--timeout", "5")
    assert "was enrolled as Bridge and has another key now" in out and "not enrolled, though it has a key" in out
    assert run(capsys, "registry", "rotate", "Bridge", erased.port, "--why", "erased", "--timeout", "5")[0] == 0
    assert Registry.load(deployment.registry_path).find("Bridge").kid == Signer("", 5).kid


def test_an_answer_is_found_between_echo_prompts_and_frames(deployment, peer, capsys):
    board = Board(Registry.load(deployment.registry_path), keyed=False)

    def answer(line):
        noise = b"boot 3\r\n!HF1:AAAA:00000000\r\n" + line + b"\r\n> "
        return noise + line.split()[0] + b"\r\n" + board(line) + b"status ok\r\n"

    other_end = peer(answer)
    assert run(capsys, "provision", other_end.port, "--name", "Ridge north", "--timeout", "5")[0] == 0
    registry = Registry.load(deployment.registry_path)
    assert registry.find("Ridge north").public_key == board.signer.public
    word, network, collector, entropy = other_end.heard[1].split()
    assert (word, network.decode()) == (b"enrol", registry.network.hex())
    assert collector.decode() == registry.collector_public.hex()
    assert len(entropy) == 64 and len(set(entropy)) > 4


def test_entropy_is_new_every_time(deployment, peer, capsys):
    drawn = set()
    for _ in range(3):
        other_end = peer(lambda line: NEW if line == b"identity" else b"error: no\r\n")
        run(capsys, "provision", other_end.port, "--name", "Ridge north", "--timeout", "5")
        drawn.add(other_end.heard[-1].split()[3])
    assert len(drawn) == 3


def test_a_question_lost_in_a_reset_is_asked_again(deployment, peer, capsys, monkeypatch):
    monkeypatch.setattr(enrol, "ASK_AGAIN_S", 0.2)
    asked = []

    def answer(line):
        asked.append(time.monotonic())
        return b"ets Jul 29 2019 12:21:46 rst:0x1\r\n" if len(asked) < 3 else b"identity file damaged: x\r\n"

    assert "says: damaged" in run(capsys, "provision", peer(answer).port, "--name", "A", "--timeout", "30")[2]
    assert len(asked) == 3


def test_what_would_be_refused_is_refused_before_a_key_is_made(deployment, peer, capsys, monkeypatch, tmp_path):
    with change(deployment) as registry:
        registry.add(Signer("Bridge", 2).station())
    wrong = tmp_path / "wrong.txt"
    wrong.write_text("not the passphrase")
    for argv, code, says in (
        (["--name", "bridge"], 3, "the name 'Bridge' is taken"),
        (["--name", "x" * 99], 3, "a name has 1"),
        (["--name", "\x1b[2J"], 3, "a name has"),
        (["--name", "A", "--place", " "], 3, "place: write 1 to 200"),
        (["--name", "A", "--photo", "/nowhere.jpg"], 2, "cannot read the photo"),
        (["--name", "A", "--passphrase-file", wrong], 3, "the passphrase is wrong"),
        (["--name", "A", "--key", tmp_path / "stick" / "authority.key"], 3, "no authority key at"),
        ([], 2, "--name is needed"),
    ):
        other_end = peer(lambda line: NEW)
        found, out, err = run(capsys, "provision", other_end.port, "--timeout", "2", *argv)
        assert (found, out) == (code, "") and says in err and err.count("\n") == 1
        assert not any(line.startswith(b"enrol") for line in other_end.heard)
    monkeypatch.delenv(authority.VARIABLE)
    assert "nobody is there to type it" in run(capsys, "provision", "/dev/null", "--name", "A")[2]


def test_a_port_that_cannot_be_used_says_what_to_do(deployment, peer, capsys, tmp_path):
    for port, says in (
        ("/dev/ttyNONE9", "no such port"),
        (str(tmp_path), "is not a serial port: name the device"),
        (str(pathlib.Path(__file__)), "is not a serial port: name the device"),
    ):
        code, out, err = run(capsys, "provision", port, "--name", "A", "--timeout", "1")
        assert (code, out) == (4, "") and says in err and err.count("\n") == 1


def test_a_port_in_use_says_so(deployment, peer, capsys):
    import serial

    other_end = peer(lambda line: NEW)
    with serial.Serial(other_end.port, exclusive=True):
        code, _, err = run(capsys, "provision", other_end.port, "--name", "A", "--timeout", "1")
    assert code == 4 and "another program is using it" in err


def test_on_a_terminal_what_is_not_given_is_asked_for(deployment, peer, capsys, monkeypatch):
    asked = []
    answers = iter(["Ridge north", "mast above the mill", "", ""])
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or next(answers))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    other_end = peer(Board(Registry.load(deployment.registry_path), keyed=False))
    assert run(capsys, "provision", other_end.port, "--timeout", "5")[0] == 0
    assert len(asked) == 4 and asked[0].startswith("Name")
    station = Registry.load(deployment.registry_path).find("Ridge north")
    assert (station.place, station.mounting, station.photo) == ("mast above the mill", "", b"")
