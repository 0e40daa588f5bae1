"""Every line of `holdfire doctor` can fail, says what to do, and is true of the machine it runs on."""

import dataclasses
import grp
import json
import os
import pty
import sys
import threading
import tomllib
import tty

import pytest

from holdfire import cli, doctor, facts, times
from holdfire.doctor import FAIL, OK, WARN, Facts, PortFact
from tests.mpy import REPO

from .made import START_US, Base, Signer, status

DAY_US = 86_400_000_000
NOW_US = START_US + DAY_US
PORT = PortFact("/dev/ttyUSB0", True, "dialout", "CP2102 USB to UART")
WELL = Facts(
    system="Linux", python=(3, 12, 1), user="mina", now_us=NOW_US, ntp=True, directory="/srv/holdfire", stations=3,
    required={"cbor2": "5.6", "PyNaCl": "1.5"}, ports=(PORT,),
    libraries={"cbor2": "5.10.1", "PyNaCl": "1.5", **dict.fromkeys(doctor.FLASHING, "5.6.0")},
    groups=frozenset({"mina", "dialout"}), named_groups=frozenset({"mina", "dialout"}), founded_at_us=START_US,
    records=12, newest_received_us=NOW_US - 1, ahead_us=-70_000, disk_free_bytes=5 << 30, images=("esp32-devkit",),
)  # fmt: skip


def verdicts(**changes):
    return {check.name: check for check in doctor.examine(dataclasses.replace(WELL, **changes))}


def locked(**changes):
    return dataclasses.replace(PORT, usable=False, **changes)


def without(name):
    return {key: None if key == name else version for key, version in WELL.libraries.items()}


def test_a_laptop_that_is_well_has_nothing_to_do():
    for name, check in verdicts().items():
        assert (check.verdict, check.do) == (OK, ""), name


@pytest.mark.parametrize(
    ("changes", "name", "verdict", "text", "do"),
    [
        ({"python": (3, 10, 9)}, "python", FAIL, "3.10.9 on Linux", "install Python 3.11 or newer"),
        ({"system": "Windows"}, "python", FAIL, "on Windows", "only Linux and macOS"),
        ({"libraries": without("cbor2")}, "libraries", FAIL, "cbor2 is missing", "run `make` anew"),
        ({"libraries": {**WELL.libraries, "PyNaCl": "1.4.9"}}, "libraries", FAIL, "1.4.9 is older than 1.5", "make"),
        ({"required": {}}, "libraries", WARN, "never installed", "pip install -e ."),
        ({"libraries": without("esptool")}, "flash tools", WARN, "missing: esptool", "a base works without"),
        ({"ports": ()}, "ports", WARN, "nothing is plugged in", "data cable"),
        ({"ports": (locked(),), "groups": frozenset(), "named_groups": frozenset()}, "port /dev/ttyUSB0", FAIL,
         "no permission", "sudo usermod -aG dialout mina, then log out and in again"),
        ({"ports": (locked(),), "groups": frozenset()}, "port /dev/ttyUSB0", FAIL, "no permission",
         "you are in group dialout since you last logged in: log out and in again"),
        ({"ports": (locked(group="root"),)}, "port /dev/ttyUSB0", FAIL, "no permission", "chmod a+rw /dev/ttyUSB0"),
        ({"ports": (locked(),), "system": "Darwin"}, "port /dev/ttyUSB0", FAIL, "no permission", "sudo chmod a+rw"),
        ({"ports": (dataclasses.replace(PORT, said="nothing answers"),)}, "port /dev/ttyUSB0", WARN, "nothing answers",
         "end the program that has it"),
        ({"now_us": 1_500_000_000_000_000}, "clock", FAIL, "earlier than this program was made", "timedatectl"),
        ({"now_us": START_US - DAY_US}, "clock", FAIL, "1 d before the registry was founded", "timedatectl"),
        ({"newest_received_us": NOW_US + 7200_000_000}, "clock", FAIL, "2 h before the last record came", "date -u -s"),
        ({"ahead_us": 90_000_000}, "clock", FAIL, "1 min 30 s behind the satellite time", "timedatectl"),
        ({"newest_received_us": NOW_US - 400 * DAY_US, "founded_at_us": None}, "clock", WARN, "over a year", "timed"),
        ({"ntp": False}, "time source", WARN, "not set by the network", "compare it with a satellite receiver"),
        ({"ntp": None}, "time source", WARN, "not known", "compare it"),
        ({"disk_free_bytes": 99 << 20}, "disk", FAIL, "99 MB free", "make room: a full disk stops the collector"),
        ({"disk_free_bytes": 900 << 20}, "disk", WARN, "900 MB free", "make room before"),
        ({"disk_free_bytes": None}, "disk", WARN, "not known", "df -h"),
        ({"directory_state": "missing"}, "deployment", WARN, "no deployment at /srv/holdfire", "holdfire init"),
        ({"directory_state": "not readable and writable for you"}, "deployment", FAIL, "not readable", "sudo chown -R"),
        ({"registry_error": "registry.json: not JSON"}, "registry", FAIL, "not JSON", "put its newest copy back"),
        ({"stations": 0}, "registry", WARN, "0 stations", "holdfire --help"),
        ({"key_error": "others read it; run: chmod 600"}, "collector key", FAIL, "others read it", "do as it says"),
        ({"database_error": "file is not a database"}, "database", FAIL, "not a database", "restore the newest backup"),
        ({"database_writable": False}, "database", FAIL, "not writable", "sudo chown -R $USER /srv/holdfire"),
        ({"images": (), "micropython": ()}, "firmware", WARN, "no MicroPython binary", "make firmware BOARD=name"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_what_to_do(changes, name, verdict, text, do):
    check = verdicts(**changes)[name]
    assert (check.verdict, text in check.text, do in check.do) == (verdict, True, True), check
    others = [c for c in doctor.examine(dataclasses.replace(WELL, **changes)) if c.name != name]
    assert doctor.healthy(others) and doctor.healthy([check]) is (verdict != FAIL)


def test_what_a_device_calls_itself_cannot_control_the_terminal():
    check = verdicts(ports=(dataclasses.replace(PORT, what="evil\x1b[2J"),))["port /dev/ttyUSB0"]
    assert "\x1b" not in check.text


def test_small_differences_between_right_clocks_are_no_failure():
    assert verdicts(newest_received_us=NOW_US + 1_000_000)["clock"].verdict == OK
    assert verdicts(ahead_us=1_000_000)["clock"].verdict == OK


def test_what_is_required_is_what_the_package_states(monkeypatch):
    wanted = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    stated = [*wanted["dependencies"], 'esptool>=5; extra == "harden"']
    monkeypatch.setattr(facts.importlib.metadata, "requires", lambda name: stated)
    found = facts._required()
    assert found["cbor2"] == "5.6" and len(found) == len(wanted["dependencies"]) and "esptool" not in found
    assert wanted["requires-python"] == ">=" + ".".join(map(str, doctor.MIN_PYTHON))


@pytest.fixture
def base(tmp_path, monkeypatch):
    ridge = Signer("Ridge north", 1)
    base = Base(tmp_path / "base", ridge)
    base.receive(ridge.make(START_US, status=status()), at_us=START_US + 400_000)
    monkeypatch.setattr(times, "now_us", lambda: NOW_US)
    monkeypatch.setattr(facts.sources, "find_ports", lambda patterns: ([], []))
    return base


def gathered(base, **named):
    return facts.gather(base.deployment.directory, named.pop("ask", False), REPO / "none", REPO / "none")


def test_the_facts_are_those_of_this_machine_and_deployment(base):
    found = gathered(base)
    assert (found.stations, found.records, found.founded_at_us) == (1, 1, START_US)
    assert found.newest_received_us == START_US + 400_000 and found.ahead_us == -400_040
    assert found.registry_error == found.database_error == found.directory_state == ""
    assert found.python == sys.version_info[:3] and found.libraries["rich"] and found.disk_free_bytes > 0
    assert "no-such" not in found.libraries and facts._version("no-such") is None


def test_a_satellite_time_later_than_its_arrival_shows_that_the_clock_is_behind(base):
    ridge = Signer("Ridge north", 1)
    ridge.make(START_US, status=status())
    base.receive(ridge.make(START_US + 90_000_000, status=status()), at_us=START_US + 30_000_000)
    assert gathered(base).ahead_us == 59_999_960
    assert gathered(base).newest_received_us == START_US + 30_000_000  # not the first


def test_damage_in_the_directory_is_found(base, tmp_path):
    base.deployment.database_path.write_bytes(b"not a database, by far" * 300)
    base.deployment.registry_path.write_text("{")
    found = gathered(base)
    assert "not a database" in found.database_error and "registry" in found.registry_error
    assert "collector.key" in found.key_error  # made.Base keeps none
    assert facts.gather(tmp_path / "nothing", False, REPO, REPO).directory_state == "missing"


class Answering:
    """A pty at which `answer` comes back to whatever is said."""

    def __init__(self, answer):
        self._main, side = pty.openpty()
        tty.setraw(side)
        self.port = os.ttyname(side)
        self._side, self._answer = side, answer
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while b"\n" in os.read(self._main, 100):
            os.write(self._main, self._answer)

    def close(self):
        os.write(self._side, b"end")
        self._thread.join()
        os.close(self._main)
        os.close(self._side)


@pytest.mark.parametrize(
    ("network", "kid", "said"),
    [
        (None, None, "a station that is not enrolled yet"),
        ("ours", "ridge", "station Ridge north"),
        ("ours", "ff" * 8, "station ffffffffffffffff, which is not in the registry"),
        ("ee" * 16, "ridge", "of another deployment"),
    ],
)
def test_who_is_at_a_port_is_asked(base, network, kid, said):
    network = base.registry.network.hex() if network == "ours" else network or "none"
    kid = Signer("x", 1).kid.hex() if kid == "ridge" else kid or "none"
    there = Answering(f"> identity\r\nidentity network={network} public={'ab' * 32} kid={kid}\r\n".encode())
    answered, words = facts.ask_port(there.port, base.registry, answer_s=60)
    there.close()
    assert answered and words.endswith(said)


def test_ports_where_no_station_answers_say_so(tmp_path):
    there = Answering(b"$GNGGA,1,2,3\r\n")
    assert facts.ask_port(there.port, None, answer_s=3) == (False, "sends something, but is no Holdfire station")
    there.close()
    answered, said = facts.ask_port(str(tmp_path / "ttyUSB9"), None, answer_s=0.1)
    assert not answered and "no such port" in said


def test_the_command_prints_words_or_json_and_its_exit_code_tells(base, capsys, monkeypatch):
    (base.deployment.directory / "holdfire.sqlite").chmod(0o600)
    where = ["--dir", str(base.deployment.directory)]
    assert cli.main(["doctor", *where]) == 1  # no collector.key
    out = capsys.readouterr().out
    assert "FAIL  collector key" in out and "\n" + " " * 21 + "-> " in out and "1 failure" in out
    assert cli.main(["doctor", "--json", *where]) == 1
    rows = {row["name"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert rows["collector key"]["verdict"] == FAIL and rows["python"]["verdict"] == OK
    monkeypatch.setattr(facts, "load_collector_key", lambda path, public: None)
    assert cli.main(["doctor", *where]) == 0


def test_the_group_of_a_port_is_that_of_its_file(base, monkeypatch):
    main, side = pty.openpty()
    try:
        path = os.ttyname(side)
        monkeypatch.setattr(facts.sources, "find_ports", lambda patterns: ([path], []))
        (port,) = gathered(base).ports
        assert port.group == grp.getgrgid(os.stat(path).st_gid).gr_name and port.usable and port.said is None
    finally:
        os.close(main)
        os.close(side)
