"""What a new user does wrong, with each command that it can be done with: one clear line, no exit code 0, nothing lost.

Wrong boards, several boards, locked and wrong chips: test_flash.py. A station provisioned twice, or elsewhere:
test_enrol.py. A cable pulled while watching or collecting, and a log on a full disk: test_console.py and
system/test_collector.py.
"""

import errno
import fcntl
import os
import pathlib
import pty
import resource
import signal
import subprocess
import sys
import threading

import pytest

from holdfire import authority, cli, enrol, files, fuses, registry, sources, times
from holdfire.errors import PortError
from holdfire.registry import Registry
from tests.mpy import REPO

from .made import AUTHORITY, COLLECTOR, PASSPHRASE, START_US, Base, Signer

YEAR_US = 365 * 86_400_000_000
COMMANDS = {  # what opens a port; `registry tell` and `check` say it in their table
    "provision": ["provision", "PORT", "--name", "A", "--timeout", "2"],
    "update": ["update", "PORT", "--timeout", "2"],
    "console": ["console", "PORT", "--seconds", "1"],
    "harden": ["harden", "PORT"],
    "pull": ["pull", "PORT", "-o", "night.cbor"],
}


@pytest.fixture
def base(tmp_path, monkeypatch):
    made = Base(tmp_path / "base", Signer("Ridge", 1))
    monkeypatch.setenv("HOLDFIRE_DIR", str(made.deployment.directory))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(authority.Ed25519PrivateKey, "generate", lambda: AUTHORITY._private)
    authority.create(made.deployment.authority_path, PASSPHRASE)
    registry._write_collector_key(made.deployment.key_path, COLLECTOR)
    return made


@pytest.fixture
def refused(base, capsys):
    """A function that runs a command on a port; it must end with that code and one line, and change nothing."""

    def run(code, command, port):
        before = base.registry.path.read_bytes()
        assert cli.main([str(port) if word == "PORT" else word for word in command]) == code
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and err.startswith("holdfire: ") and "Traceback" not in err, err
        assert base.registry.path.read_bytes() == before and not pathlib.Path("night.cbor").exists()
        return err

    return run


@pytest.fixture
def terminal():
    """(the other end, a port)"""
    main, side = pty.openpty()
    yield main, os.ttyname(side), side
    for end in (main, side):
        try:
            os.close(end)
        except OSError:
            pass


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_port_says_which_one_would_be_right(name, refused, tmp_path):
    assert "no such port; is the station plugged in?" in refused(4, COMMANDS[name], "/dev/ttyNONE9")
    for port in (tmp_path, __file__, "/dev/null"):
        assert f"{port} is not a serial port" in refused(4, COMMANDS[name], port)


def test_a_table_of_ports_says_it_for_each(base, capsys, tmp_path):
    for action in ("tell", "check"):
        assert cli.main(["registry", action, "/dev/ttyNONE9", str(tmp_path)]) == 1
        out = capsys.readouterr().out
        assert "no such port" in out and "is not a serial port" in out


@pytest.mark.parametrize("name", COMMANDS)
def test_a_board_in_use_says_to_end_the_other_program(name, refused, terminal):
    _, port, side = terminal
    fcntl.flock(side, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert "another program is using it" in refused(4, COMMANDS[name], port)


def test_no_permission_says_what_to_run(terminal):
    """Below the commands, whose files another user could not read either; each opens its port by one of these."""
    _, port, _ = terminal
    me = os.geteuid()
    os.chmod(port, 0)
    try:
        if me == 0:
            os.seteuid(65534)  # root may open every port
        for opened in (lambda: sources.open_serial(port, 115_200), lambda: enrol.Console(port),
                       lambda: fuses.RealBoard(port)):  # fmt: skip
            with pytest.raises(PortError, match="permission denied; (run: sudo usermod|make it readable)"):
                opened()
    finally:
        os.seteuid(me)


@pytest.mark.parametrize("name", ["provision", "update"])
def test_a_board_that_goes_away_half_way_says_to_plug_it_in(name, refused, terminal):
    main, port, side = terminal

    def pull():
        os.read(main, 1)  # the first question has arrived
        os.close(side)
        os.close(main)

    pulling = threading.Thread(target=pull)
    pulling.start()
    err = refused(4, COMMANDS[name], port)
    pulling.join()
    assert "the station went away" in err and "plug it in and run the same command again" in err


# A full disk


def on_a_full_disk(*argv, folder):
    """A command that cannot write one byte to a file, by the kernel's word."""
    paths = os.pathsep.join(str(REPO / part) for part in ("host", "protocol"))
    code = "import sys; from holdfire import cli; sys.exit(cli.main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-B", "-c", code, *map(str, argv)], capture_output=True, text=True, timeout=60, cwd=folder,
        env={**os.environ, "PYTHONPATH": paths}, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
    )  # fmt: skip


def test_a_full_disk_changes_nothing_and_ends_in_one_line(base, tmp_path):
    before = {path: path.read_bytes() for path in base.deployment.directory.iterdir()}
    for argv, code, says in (
        (["collect"], 7, "disk"),
        (["registry", "lost", "Ridge", "--why", "x"], 3, "cannot write"),
        (["registry", "collector", "--why", "x"], 3, "cannot write"),
        (["registry", "authority", "--new-key", tmp_path / "new.key", "--why", "x"], 3, "cannot write"),
        (["registry", "card", "Ridge", "-o", tmp_path / "card.svg"], 2, "cannot write"),
        (["init", tmp_path / "other", "--name", "Other"], 3, "cannot write"),
    ):
        done = on_a_full_disk(*argv, folder=tmp_path)
        assert done.returncode == code and says in done.stderr, (argv, done.stderr)
        assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    for path, content in before.items():
        assert path.read_bytes() == content
    assert Registry.load(base.registry.path).head == base.registry.head


def test_a_lack_of_room_says_to_make_some():
    full = OSError(errno.ENOSPC, "No space left on device")
    assert files.why(full) == "No space left on device; make room, then run the same command again"
    assert files.why(OSError(errno.EROFS, "Read-only file system")) == "Read-only file system"


# A clock that is wrong by a year


def test_a_clock_a_year_behind_signs_nothing_and_opens_no_port(base, refused, monkeypatch):
    monkeypatch.setattr(times, "now_us", lambda: START_US - YEAR_US)
    for command in (COMMANDS["provision"], ["registry", "lost", "Ridge", "--why", "x"], ["collect", "PORT"],
                    ["registry", "collector", "--why", "x"]):  # fmt: skip
        err = refused(6, command, "/dev/ttyNONE9")
        assert "set the clock" in err and "add --past-clock" in err


def test_a_clock_that_was_a_year_ahead_locks_nobody_out(base, capsys, monkeypatch):
    monkeypatch.setattr(times, "now_us", lambda: START_US + YEAR_US)
    assert cli.main(["registry", "rename", "Ridge", "Ridge east", "--why", "two"]) == 0
    monkeypatch.setattr(times, "now_us", lambda: START_US + 1)
    assert cli.main(["registry", "rename", "Ridge east", "Ridge", "--why", "one"]) == 6
    assert cli.main(["registry", "rename", "Ridge east", "Ridge", "--why", "one", "--past-clock"]) == 0
    assert cli.main(["provision", "/dev/ttyNONE9", "--name", "A", "--past-clock"]) == 4
    assert Registry.load(base.registry.path).find("Ridge").kid == Signer("", 1).kid


def test_a_base_whose_stations_were_enrolled_in_the_future_can_be_started(tmp_path, monkeypatch):
    now_us = times.now_us()
    made = Base(tmp_path / "base")
    made.registry.add(Signer("Ridge", 1).station(now_us + YEAR_US))
    made.registry.save()
    registry._write_collector_key(made.deployment.key_path, COLLECTOR)
    assert cli.main(["collect", "--dir", str(made.deployment.directory)]) == 6
    started = []

    def stop_when_started(self, kind, text, error=None):
        started.append(kind)
        if kind == "started":
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("holdfire.collector.Collector._tell", stop_when_started)
    assert cli.main(["collect", "--past-clock", "/dev/ttyNONE9", "--dir", str(made.deployment.directory)]) == 0
    assert started[0] == "started"
