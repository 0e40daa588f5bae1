"""The console over real pseudo-terminals: noise, pulled cables, typed lines, logs, Ctrl-C; and the real firmware."""

import contextlib
import os
import pathlib
import pty
import random
import re
import signal
import subprocess
import sys
import threading
import time
import tty

import pytest
import serial

from holdfire import cli, console
from holdfire.errors import PortError, StorageError
from holdfire.registry import Station
from holdfire.viewer import Viewer
from holdfire_protocol import cose
from tests.mpy import REPO, find_tool

from .made import COLLECTOR, NETWORK, START_US, Base, Signer, impulse, lines_of, status

sys.path.insert(0, str(REPO / "tools"))

from simulate.cable import Cable

pytestmark = pytest.mark.timeout(120)
PATIENCE_S = 60  # nothing is measured: how long a busy machine may take


class Line:
    """A cable whose station is the test."""

    def __init__(self, folder):
        self.cable = Cable(folder / "port")
        self.stdin, to_station = os.pipe()
        from_station, self.stdout = os.pipe()
        self.cable.attach(to_station, from_station)
        self.cable.plug()
        self.port = str(self.cable.path)

    def say(self, data):
        os.write(self.stdout, data)

    def close(self):
        self.cable.close()
        os.close(self.stdin)
        os.close(self.stdout)


class Watch:
    """A console session on a thread, and what it showed."""

    def __init__(self, port, viewer=None, log=None):
        self.shown = []
        self._typed_out, self._typed_in = os.pipe()
        self.session = console.Session(
            port, viewer or Viewer(None), self.shown.append, log, console.Keyboard(self._typed_out), 115_200
        )
        self._stop = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.error = None

    def _run(self):
        try:
            while not self._stop:
                self.session.run(stop_at=time.monotonic() + 0.05)
        except Exception as error:
            self.error = error

    def type(self, data):
        os.write(self._typed_in, data)

    def wait(self, words):
        end = time.monotonic() + PATIENCE_S
        while not any(words in item.text for item in self.shown):
            assert time.monotonic() < end and self.error is None, f"no {words!r} in {self.shown[-20:]}: {self.error}"
            time.sleep(0.01)

    def close(self):
        self._stop = True
        self._thread.join()
        self.session.close()
        os.close(self._typed_in)
        os.close(self._typed_out)


@pytest.fixture
def station(tmp_path):
    station = Line(tmp_path)
    yield station
    station.close()


@pytest.fixture
def watch(station):
    made = []

    def watch(*arguments, **named):
        made.append(Watch(station.port, *arguments, **named))
        station.say(b"\r\n")
        end = time.monotonic() + PATIENCE_S
        while not station.cable._listening:  # what is sent before anyone listens is gone, as on a real cable
            assert time.monotonic() < end
            time.sleep(0.01)
        return made[-1]

    yield watch
    for one in made:
        one.close()


def test_lines_come_as_they_are_said_and_typed_ones_reach_the_station(station, watch):
    open_ = watch()
    station.say(b"battery    3912 mV\r\n>>> ")
    open_.wait("| battery    3912 mV")
    open_.wait("| >>> ")
    open_.type(b"sta\x1b\x03tus\nlast\n")
    heard = b""
    while len(heard) < 14:
        heard += os.read(station.stdin, 100)
    assert heard == b"status\r\nlast\r\n"  # no control character passes: Ctrl-C would stop a station that starts


def test_a_pulled_cable_is_told_and_the_line_is_taken_up_again(station, watch, tmp_path):
    ridge = Signer("Ridge north", 1)
    base = Base(tmp_path / "base", ridge)
    open_ = watch(Viewer(base.registry))
    first, second = lines_of(ridge.make(START_US, status=status()), ridge.make(START_US + 1, observations=[impulse()]))
    station.say(first)
    open_.wait("record 1  Ridge north")
    station.say(b"half a line, ")
    open_.wait("| half a line, ")  # it has arrived
    station.cable.unplug()
    open_.wait("IS GONE (unplugged?)")
    open_.type(b"status\n")
    open_.wait("not sent: the station is not there")
    station.cable.plug()
    open_.wait(f"-- {station.port} is back")
    end = time.monotonic() + PATIENCE_S
    while not station.cable._listening:
        assert time.monotonic() < end
        time.sleep(0.01)
    station.say(b"a whole one\r\n")
    open_.wait("a whole one")
    assert open_.shown[-1].text == "| a whole one"  # and not "half a line, a whole one"
    station.say(second)
    open_.wait("record 2  Ridge north")
    assert not any(item.verified is False or item.kind == "damaged" for item in open_.shown)


def test_noise_on_the_line_hides_no_record_and_the_log_has_every_byte(station, watch, tmp_path):
    ridge = Signer("Ridge north", 1)
    base = Base(tmp_path / "base", ridge)
    log = console.Log(tmp_path / "ridge.log")
    open_ = watch(Viewer(base.registry), log)
    noise, sent = random.Random(7), b"\r\n"
    for number in range(30):
        (frame,) = lines_of(ridge.make(START_US + number, status=status()))
        garbage = noise.randbytes(noise.randrange(400)) + b"\n"
        station.say(garbage + frame)
        sent += garbage + frame
    open_.wait("record 30  Ridge north")
    assert sum(item.kind == "record" and item.verified for item in open_.shown) == 30
    assert all(item.text.isprintable() for item in open_.shown)
    log.close()
    assert (tmp_path / "ridge.log").read_bytes().endswith(sent[2:])


def test_the_log_goes_to_the_disk_within_a_second_and_at_the_end(tmp_path, monkeypatch):
    now, synced = [100.0], []
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(console.os, "fsync", synced.append)
    log = console.Log(tmp_path / "log")
    log.sync()
    log.write(b"one")
    log.sync()
    assert (tmp_path / "log").read_bytes() == b"one" and not synced
    now[0] += console.SYNC_S
    log.write(b"two")
    log.sync()
    assert len(synced) == 1
    log.sync()
    log.write(b"three")
    log.close()
    assert len(synced) == 2 and (tmp_path / "log").read_bytes() == b"onetwothree"
    again = console.Log(tmp_path / "log")
    again.write(b"four")
    again.close()
    assert (tmp_path / "log").read_bytes() == b"onetwothreefour"  # appended


def test_a_log_that_cannot_be_written_ends_the_console_with_what_to_do(tmp_path):
    with pytest.raises(StorageError, match="cannot be written .*make room, or name another --log"):
        console.Log(tmp_path / "no" / "log")
    if pathlib.Path("/dev/full").exists():
        log = console.Log(pathlib.Path("/dev/full"))
        with pytest.raises(StorageError, match="No space left"):
            log.write(b"x")
        log.close()


def test_the_port_is_chosen_or_asked_for(tmp_path):
    assert console.choose_port("/dev/ttyUSB9") == "/dev/ttyUSB9"
    pattern = [str(tmp_path / "tty*")]
    with pytest.raises(PortError, match="no serial port found: plug the station in with a data cable"):
        console.choose_port(None, pattern)
    (tmp_path / "tty1").touch()
    assert console.choose_port(None, pattern) == str(tmp_path / "tty1")
    (tmp_path / "tty2").touch()
    with pytest.raises(PortError, match="several ports: name one: .*tty1, .*tty2"):
        console.choose_port(None, pattern)


def test_wrong_moves_get_one_line(capsys, tmp_path, station, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def refused(code, *argv):
        assert cli.main(["console", *map(str, argv)]) == code
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        return err

    assert "no such port; is the station plugged in?" in refused(4, tmp_path / "ttyUSB9")
    assert "is not a serial port: name the device" in refused(4, __file__)
    assert "not a regular expression" in refused(2, station.port, "--filter", "(")
    assert "no registry at" in refused(3, station.port, "--dir", tmp_path / "none")
    with console.sources.open_serial(station.port, 115_200):
        assert "another program is using it" in refused(4, station.port)


@contextlib.contextmanager
def console_process(port, *more, **options):
    code = "import sys; from holdfire import cli; sys.exit(cli.main(sys.argv[1:]))"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm-256color", **options.pop("env", {})}
    command = [sys.executable, "-c", code, "console", port, *map(str, more)]
    with subprocess.Popen(command, env=env, **options) as process:
        try:
            yield process
        finally:
            process.kill()  # a test that failed would otherwise wait for a console that nobody ends


@pytest.mark.parametrize("no_colour", [False, True])
def test_on_a_terminal_there_are_our_colours_and_none_of_the_station_s_and_ctrl_c_ends(station, tmp_path, no_colour):
    ridge = Signer("Ridge north", 1)
    base = Base(tmp_path / "base", ridge)
    (frame,) = lines_of(ridge.make(START_US, observations=[impulse()]))
    main, side = pty.openpty()
    tty.setraw(side)
    env = {"NO_COLOR": "1"} if no_colour else {"NO_COLOR": ""}
    with console_process(station.port, "--dir", base.deployment.directory, stdin=subprocess.DEVNULL, stdout=side,
                         stderr=side, env=env) as process:  # fmt: skip
        os.close(side)
        seen = b""

        def until(words):
            nonlocal seen
            while words not in seen:
                seen += os.read(main, 65536)

        until(b"baud")
        while not station.cable._listening:
            time.sleep(0.01)
        station.say(b"\r\nsweet words \x1b[31mand\x1b]0;owned\x07 \x1b[6n more of them\r\n" + frame)
        until(b"verified")
        process.send_signal(signal.SIGINT)
        until(b"-- ended; there came 1 record, 1 text line")
        assert process.wait(PATIENCE_S) == 0
    os.close(main)
    assert b"\x1b]" not in seen and b"\x07" not in seen and b"\x1b[6n" not in seen and b"Traceback" not in seen
    assert (b"\x1b[33m" in seen) is not no_colour  # yellow: an impulse


class Stranger:
    """What made.Base takes for a station: here the public key of a real one."""

    def __init__(self, name, public):
        self._station = Station(cose.key_id(public), public, name, START_US)

    def station(self):
        return self._station


def key_of_new_station(port):
    """Enrol by typing, as a person could."""
    question = f"\r\nenrol {NETWORK.hex()} {COLLECTOR.public_key().public_bytes_raw().hex()} {'33' * 32}\r\n".encode()
    said, end, ask_at = b"", time.monotonic() + PATIENCE_S, 0.0
    with serial.Serial(port, 115_200, timeout=0.2) as terminal:
        while not (found := re.search(rb"(?:enrolled|identity \S+) public=([0-9a-f]{64})", said)):
            assert time.monotonic() < end, said
            if time.monotonic() >= ask_at:
                terminal.write(question if b"enrolled already" not in said else b"\r\nidentity\r\n")
                ask_at = time.monotonic() + 5
            said += terminal.read(4096)
    return bytes.fromhex(found[1].decode())


def test_the_real_firmware_is_watched_spoken_to_logged_and_verified(tmp_path, capsys):
    find_tool("micropython", "MICROPYTHON")
    from simulate.station import SimulatedStation

    simulated = SimulatedStation(REPO / "boards" / "esp32-devkit.toml", tmp_path / "station", "watched")
    simulated.start()
    try:
        port = str(simulated.port)
        base = Base(tmp_path / "base", Stranger("Ridge north", key_of_new_station(port)))
        where, log = ["--dir", str(base.deployment.directory)], tmp_path / "ridge.log"
        with console_process(port, *where, "--log", log, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             text=True) as process:  # fmt: skip
            seen = [process.stdout.readline()]
            process.stdin.write("\nstatus\n")
            process.stdin.flush()
            for words in ("| > status", "| station    boot 1", "record 1  Ridge north"):
                while not any(words in line for line in seen):
                    seen.append(process.stdout.readline())
                    assert seen[-1], seen
            assert "verified" in next(line for line in seen if "record 1  Ridge north" in line)
            process.send_signal(signal.SIGINT)
            assert "ended; there came" in process.stdout.read() and process.wait(PATIENCE_S) == 0
    finally:
        simulated.stop()
    capsys.readouterr()
    assert cli.main(["verify", str(log), *where]) == 0
    assert "HELD" in capsys.readouterr().out
