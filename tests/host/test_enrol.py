"""Enrolment: with the real firmware at the other end of the cable, and with what a port can be instead."""

import os
import pathlib
import pty
import sys
import threading
import time

import pytest

from holdfire import cli
from holdfire.registry import Deployment, Registry
from tests.mpy import REPO, find_tool

from .made import Signer

sys.path.insert(0, str(REPO / "tools"))


@pytest.fixture
def deployment(tmp_path, monkeypatch):
    deployment = Deployment(tmp_path / "base")
    deployment.found("Valley line", 1_795_000_000_000_000)
    monkeypatch.setenv("HOLDFIRE_DIR", str(deployment.directory))
    return deployment


def run(capsys, *argv):
    code = cli.main([str(a) for a in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def station(tmp_path_factory):
    """A simulated board with the real firmware, not enrolled yet."""
    find_tool("micropython", "MICROPYTHON")
    from simulate.station import SimulatedStation

    station = SimulatedStation(REPO / "boards" / "esp32-devkit.toml", tmp_path_factory.mktemp("alpha"), "alpha")
    station.start()
    yield station
    station.stop()


def test_the_life_of_an_enrolment(station, deployment, capsys, tmp_path, monkeypatch):
    """One story, since a station's key is made once."""
    code, out, err = run(capsys, "enrol", station.port, "--name", "Ridge north")
    assert (code, err) == (0, "") and out.startswith("Enrolled Ridge north\n")
    registry = Registry.load(deployment.registry_path)
    enrolled = registry.find("Ridge north")
    before = deployment.registry_path.read_bytes()

    # Again, under the same name: nothing changes. Under another: no.
    code, out, _ = run(capsys, "enrol", station.port, "--name", "ridge north")
    assert code == 0 and "enrolled already; nothing changed" in out
    code, out, err = run(capsys, "enrol", station.port, "--name", "Other")
    assert (code, out) == (3, "") and "enrolled already, as 'Ridge north'" in err
    assert deployment.registry_path.read_bytes() == before

    # The cable went before the registry was written: the station has its key, and the same command repairs.
    lost = Registry(deployment.registry_path, registry.name, registry.network, registry.founded_at_us,
                    registry.collector_public)  # fmt: skip
    lost.save()
    code, out, _ = run(capsys, "enrol", station.port, "--name", "Ridge north")
    assert code == 0 and "had its key already" in out
    assert Registry.load(deployment.registry_path).find("Ridge north").public_key == enrolled.public_key

    # Another deployment cannot have it.
    other = Deployment(tmp_path / "other")
    other.found("Other line", 1)
    code, out, err = run(capsys, "enrol", station.port, "--name", "Stolen", "--dir", other.directory)
    assert (code, out) == (3, "") and "belongs to another deployment" in err
    assert not Registry.load(other.registry_path).stations


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
    before = deployment.registry_path.read_bytes()
    found, out, err = run(capsys, "enrol", peer(answer).port, "--name", "Ridge north", "--timeout", "1")
    assert (found, out) == (code, "")
    assert says in err and err.count("\n") == 1 and err.strip().isprintable()
    assert deployment.registry_path.read_bytes() == before


def test_an_answer_is_found_between_echo_prompts_and_frames(deployment, peer, capsys):
    ridge = Signer("Ridge north", 1)

    def answer(line):
        said = NEW if line == b"identity" else b"enrolled public=%s kid=%s\r\n" % (
            ridge.public.hex().encode(), ridge.kid.hex().encode())  # fmt: skip
        noise = b"boot 3\r\n!HF1:AAAA:00000000\r\n" + line + b"\r\n> "
        return noise + line.split()[0] + b"\r\n" + said + b"status ok\r\n"

    other_end = peer(answer)
    assert run(capsys, "enrol", other_end.port, "--name", "Ridge north", "--timeout", "5")[0] == 0
    registry = Registry.load(deployment.registry_path)
    assert registry.find("Ridge north").public_key == ridge.public
    word, network, collector, entropy = other_end.heard[-1].split()
    assert (word, network.decode()) == (b"enrol", registry.network.hex())
    assert collector.decode() == registry.collector_public.hex()
    assert len(entropy) == 64 and len(set(entropy)) > 4


def test_entropy_is_new_every_time(deployment, peer, capsys):
    drawn = set()
    for _ in range(3):
        other_end = peer(lambda line: NEW if line == b"identity" else b"error: no\r\n")
        run(capsys, "enrol", other_end.port, "--name", "Ridge north", "--timeout", "5")
        drawn.add(other_end.heard[-1].split()[3])
    assert len(drawn) == 3


def test_a_question_lost_in_a_reset_is_asked_again(deployment, peer, capsys, monkeypatch):
    monkeypatch.setattr("holdfire.enrol.ASK_AGAIN_S", 0.2)
    asked = []

    def answer(line):
        asked.append(time.monotonic())
        return b"ets Jul 29 2019 12:21:46 rst:0x1\r\n" if len(asked) < 3 else b"identity file damaged: x\r\n"

    assert "says: damaged" in run(capsys, "enrol", peer(answer).port, "--name", "A", "--timeout", "5")[2]
    assert len(asked) == 3


def test_a_taken_or_impossible_name_is_refused_before_a_key_is_made(deployment, peer, capsys):
    with deployment.changing_registry() as registry:
        registry.add(Signer("Bridge", 2).station())
    for name, says in (("bridge", "the name 'Bridge' is taken"), ("x" * 99, "a name has 1"), ("\x1b[2J", "a name has")):
        other_end = peer(lambda line: NEW)
        code, _, err = run(capsys, "enrol", other_end.port, "--name", name, "--timeout", "2")
        assert code == 3 and says in err
        assert not any(line.startswith(b"enrol") for line in other_end.heard)


def test_a_port_that_cannot_be_used_says_what_to_do(deployment, peer, capsys, tmp_path):
    for port, says in (
        ("/dev/ttyNONE9", "no such port"),
        (str(tmp_path), "cannot be used as a serial port"),
        (str(pathlib.Path(__file__)), "cannot be used as a serial port"),
    ):
        code, out, err = run(capsys, "enrol", port, "--name", "A", "--timeout", "1")
        assert (code, out) == (4, "") and says in err and err.count("\n") == 1


def test_a_port_in_use_says_so(deployment, peer, capsys):
    import serial

    other_end = peer(lambda line: NEW)
    with serial.Serial(other_end.port, exclusive=True):
        code, _, err = run(capsys, "enrol", other_end.port, "--name", "A", "--timeout", "1")
    assert code == 4 and "in use by another program" in err
