"""Ports come and go; each failure says what to do; a full inbox stops the reading and loses nothing."""

import errno
import os
import pty
import threading
import time
import tty

import pytest

from holdfire import sources
from holdfire.errors import PortError
from holdfire.sources import END, Inbox, Ports, find_ports, open_serial


class Line:
    """A pseudo-terminal with a link to its far end, as a device node."""

    def __init__(self, path):
        self.path = str(path)
        self.plug()

    def plug(self):
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        os.symlink(os.ttyname(self.slave), self.path)

    def unplug(self):
        os.unlink(self.path)
        os.close(self.slave)
        os.close(self.master)


class Bench:
    def __init__(self, *patterns, port_bytes=65536):
        self.events = []
        self.inbox = Inbox(port_bytes, lambda: None)
        self.ports = Ports([str(p) for p in patterns], 115_200, self.inbox, self.events.append)

    def kinds(self):
        return [event.kind for event in self.events]

    def close(self):
        self.inbox.close()
        self.ports.close()


@pytest.fixture
def line(tmp_path):
    line = Line(tmp_path / "a.tty")
    yield line
    if os.path.lexists(line.path):
        line.unplug()


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path / "*.tty")
    yield bench
    bench.close()


def until(condition, timeout_s=10):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.005)


def received(inbox, size):
    data = b""
    deadline = time.monotonic() + 10
    while len(data) < size and time.monotonic() < deadline:
        data += b"".join(part for _, part in inbox.take(1 << 20))
        time.sleep(0.002)
    return data


def test_bytes_pass_both_ways_unchanged(line, bench):
    bench.ports.scan()
    everything = bytes(range(256)) * 4
    os.write(line.master, everything)
    assert received(bench.inbox, len(everything)) == everything
    bench.ports.send(line.path, everything[:512])
    got = b""
    while len(got) < 512:
        got += os.read(line.master, 1024)
    assert got == everything[:512]


def test_unplugged_and_plugged_in_again(line, bench):
    bench.ports.scan()
    for _ in range(3):
        line.unplug()
        until(lambda: bench.ports.scan() or not bench.ports.open)
        assert bench.inbox.take(1 << 20)[-1] == (line.path, END)
        line.plug()
        bench.ports.scan()
        os.write(line.master, b"again\n")
        assert received(bench.inbox, 6) == b"again\n"
    assert bench.kinds() == ["port-opened"] + ["port-lost", "port-opened"] * 3


def test_a_link_that_leads_to_another_device_now_is_opened_anew(line, bench):
    bench.ports.scan()
    old = line.master, line.slave
    os.unlink(line.path)
    line.plug()
    bench.ports.scan()
    assert bench.kinds() == ["port-opened", "port-lost", "port-opened"]
    os.write(line.master, b"x")
    assert received(bench.inbox, 1) == b"x"
    for handle in old:
        os.close(handle)


def test_a_port_is_ours_alone(line, bench):
    bench.ports.scan()
    other = Bench(line.path)
    other.ports.scan()
    other.ports.scan()
    assert other.kinds() == ["port-failed"], "said once, not every second"
    assert "another program is using it" in other.events[0].text
    bench.ports.close()
    other.ports.scan()
    assert other.kinds() == ["port-failed", "port-opened"]
    other.close()


def test_two_names_of_one_device_are_one_port(line, tmp_path):
    os.symlink(line.path, tmp_path / "b.tty")
    found, missing = find_ports([str(tmp_path / "*.tty"), line.path])
    assert (found, missing) == ([line.path], [])


def test_a_named_port_that_is_missing_is_waited_for(line, tmp_path):
    path = tmp_path / "later"
    bench = Bench(path)
    bench.ports.scan()
    bench.ports.scan()
    os.symlink(os.ttyname(line.slave), path)
    bench.ports.scan()
    assert bench.kinds() == ["port-missing", "port-opened"]
    bench.close()


def test_what_is_no_serial_port_is_named(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(PortError, match="is not a serial port"):
        open_serial(str(path), 115_200)
    with pytest.raises(PortError, match="is not a serial port"):
        open_serial("/dev/null", 115_200)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EACCES, "permission denied; run: sudo usermod -aG|permission denied; make it readable"),
        (errno.EBUSY, "close that program"),
        (errno.ENXIO, "is the cable in"),
    ],
)
def test_each_failure_says_what_to_do(code, words):
    import re

    assert re.search(words, sources._advise("/dev/ttyUSB9", OSError(code, "x")))


def test_control_lines_are_left_as_the_kernel_sets_them(line):
    port = open_serial(line.path, 115_200)
    assert (port.dtr, port.rts) == (True, True), "unequal would hold an ESP32 in reset or boot mode"
    port.close()


def test_a_full_inbox_stops_the_reading_and_loses_nothing(line, tmp_path):
    bench = Bench(line.path, port_bytes=8192)
    bench.ports.scan()
    sent = os.urandom(300_000)
    pieces = [sent[at : at + 1000] for at in range(0, len(sent), 1000)]
    writer = threading.Thread(target=lambda: [os.write(line.master, piece) for piece in pieces])
    writer.start()
    time.sleep(0.3)
    assert writer.is_alive(), "the far end is held up"
    assert sum(bench.inbox._sizes.values()) <= 8192
    assert received(bench.inbox, len(sent)) == sent
    writer.join()
    bench.close()


def test_a_noisy_port_leaves_the_others_their_turn():
    inbox = Inbox(1 << 20, lambda: None)
    for _ in range(100):
        inbox.put("noisy", bytes(1000))
    inbox.put("quiet", b"alert")
    assert ("quiet", b"alert") in inbox.take(3000)


def test_a_station_that_does_not_read_costs_old_beacons_only(line, bench):
    bench.ports.scan()
    started = time.monotonic()
    for number in range(2000):
        bench.ports.send(line.path, b"beacon %04d" % number + b"." * 300 + b"\n")
    assert time.monotonic() - started < 1.0, "sending never blocks"
    assert len(bench.ports.open[line.path]._lines) <= sources.OUTBOX_LINES
    assert bench.ports.open[line.path]._lines[-1].startswith(b"beacon 1999")


def test_closing_ends_every_thread(line, bench):
    before = threading.active_count()
    bench.ports.scan()
    assert threading.active_count() == before + 2
    bench.close()
    assert threading.active_count() == before
