"""The simulated USB serial cable loses, delays and damages what a real one would, and nothing else."""

import errno
import os
import select
import threading
import time

import pytest
import serial

from simulate.cable import Cable, Noise


class Bench:
    """A cable with the station's end in the test's hands."""

    def __init__(self, tmp_path, **options):
        self.cable = Cable(tmp_path / "port", **options)
        stdin, to_station = os.pipe()
        from_station, stdout = os.pipe()
        self.stdin, self.stdout = stdin, stdout
        self.cable.attach(to_station, from_station)
        self.cable.plug()

    def close(self):
        self.cable.close()
        os.close(self.stdin)
        os.close(self.stdout)

    def open(self):
        fd = os.open(self.cable.path, os.O_RDWR | os.O_NOCTTY)
        time.sleep(0.1)  # the cable notices within 20 ms
        return fd


@pytest.fixture
def bench(tmp_path):
    made = []

    def make(**options):
        made.append(Bench(tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def read(fd, count, timeout=5.0):
    data = b""
    end = time.monotonic() + timeout
    while len(data) < count and select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
        data += os.read(fd, 4096)
    return data


def nothing_comes(fd):
    return not select.select([fd], [], [], 0.15)[0]


def test_every_byte_passes_unchanged_both_ways(bench):
    made = bench()
    with serial.Serial(str(made.cable.path), 115200, timeout=5) as port:
        time.sleep(0.1)
        every = bytes(range(256)) * 4
        os.write(made.stdout, every)
        assert port.read(len(every)) == every
        port.write(every)
        assert read(made.stdin, len(every)) == every


def test_what_is_sent_while_nobody_listens_is_gone(bench):
    made = bench()
    os.write(made.stdout, b"before")
    time.sleep(0.1)
    fd = made.open()
    os.write(made.stdout, b"while")
    assert read(fd, 5) == b"while"
    os.close(fd)
    time.sleep(0.1)
    os.write(made.stdout, b"after")
    time.sleep(0.1)
    fd = made.open()
    assert nothing_comes(fd)
    os.write(made.stdout, b"again")
    assert read(fd, 5) == b"again"
    os.close(fd)
    assert made.cable.lost_bytes == len(b"beforeafter")


def test_a_station_that_talks_to_nobody_is_never_held_up(bench):
    made = bench()
    os.set_blocking(made.stdout, True)
    writer = threading.Thread(target=lambda: [os.write(made.stdout, bytes(10_000)) for _ in range(200)], daemon=True)
    writer.start()
    writer.join(10)
    assert not writer.is_alive()


def test_nor_is_one_whose_listener_sleeps(bench):
    made = bench()
    fd = made.open()
    writer = threading.Thread(target=lambda: [os.write(made.stdout, bytes(10_000)) for _ in range(20)], daemon=True)
    writer.start()
    writer.join(10)
    assert not writer.is_alive() and made.cable.lost_bytes > 0
    read(fd, 1 << 20, timeout=0.3)
    os.write(made.stdout, b"awake")
    assert read(fd, 5).endswith(b"awake")
    os.close(fd)


def test_pulling_the_plug_hangs_up_the_reader_and_takes_the_name_away(bench):
    made = bench()
    fd = made.open()
    made.cable.unplug()
    assert not os.path.lexists(made.cable.path) and not made.cable.plugged
    try:
        assert os.read(fd, 10) == b""
    except OSError as error:
        assert error.errno == errno.EIO
    os.write(made.stdout, b"lost")
    time.sleep(0.1)
    made.cable.plug()
    assert os.path.exists(made.cable.path)
    again = made.open()
    os.write(made.stdout, b"heard")
    assert read(again, 5) == b"heard"
    os.close(fd)
    os.close(again)


def test_pyserial_sees_the_unplugging_as_an_error_and_can_open_the_port_again(bench):
    made = bench()
    with serial.Serial(str(made.cable.path), 115200, timeout=2) as port:
        made.cable.unplug()
        with pytest.raises(serial.SerialException):
            port.read(1)
    with pytest.raises(serial.SerialException):
        serial.Serial(str(made.cable.path), 115200)
    made.cable.plug()
    with serial.Serial(str(made.cable.path), 115200, timeout=2) as port:
        time.sleep(0.1)
        os.write(made.stdout, b"back")
        assert port.read(4) == b"back"


def test_the_baud_rate_holds_back_both_ends(bench):
    made = bench(baud=9600)
    fd = made.open()
    began = time.monotonic()
    os.write(made.stdout, bytes(960))
    assert len(read(fd, 960)) == 960
    assert time.monotonic() - began > 0.8  # a second's worth, less one chunk and a little credit
    began = time.monotonic()
    os.write(fd, bytes(480))
    assert len(read(made.stdin, 480)) == 480
    assert time.monotonic() - began > 0.35
    os.close(fd)


def test_without_noise_nothing_is_damaged_and_with_it_damage_repeats_with_its_seed():
    data = bytes(range(256)) * 200
    assert Noise(1).damage(data) == data
    assert Noise(1, flips=0.01).damage(data) == Noise(1, flips=0.01).damage(data) != Noise(2, flips=0.01).damage(data)


def test_noise_damages_as_much_as_it_is_told():
    data = bytes(100_000)
    flipped = Noise(3, flips=0.01).damage(data)
    assert len(flipped) == len(data)
    changed = [byte for byte in flipped if byte]
    assert 800 < len(changed) < 1200 and set(changed) == {1 << bit for bit in range(8)}
    assert 800 < len(data) - len(Noise(3, drops=0.01).damage(data)) < 1200
    noise = Noise(3, garbage_lines=0.5)
    longer = sum(len(noise.damage(bytes(64))) > 64 for _ in range(1000))
    assert 400 < longer < 600


def test_noise_reaches_both_ends(bench):
    made = bench(noise=Noise(5, flips=0.05))
    fd = made.open()
    os.write(made.stdout, bytes(2000))
    assert set(read(fd, 2000)) > {0}
    os.write(fd, bytes(2000))
    assert set(read(made.stdin, 2000)) > {0}
    os.close(fd)


def test_a_station_that_restarts_is_heard_again(bench):
    made = bench()
    fd = made.open()
    os.write(made.stdout, b"one")
    assert read(fd, 3) == b"one"
    made.cable.detach()
    os.close(made.stdin)
    os.close(made.stdout)
    os.write(fd, b"to nobody")
    made.stdin, to_station = os.pipe()
    from_station, made.stdout = os.pipe()
    time.sleep(0.1)
    made.cable.attach(to_station, from_station)
    os.write(made.stdout, b"two")
    assert read(fd, 3) == b"two"
    assert nothing_comes(made.stdin)
    os.close(fd)


def test_closing_leaves_no_thread_no_name_and_no_descriptor(tmp_path):
    threads = set(threading.enumerate())
    before = len(os.listdir("/dev/fd"))
    for _ in range(20):
        made = Bench(tmp_path)
        made.cable.unplug()
        made.cable.plug()
        made.close()
        made.cable.close()
    assert set(threading.enumerate()) == threads
    assert len(os.listdir("/dev/fd")) == before
    assert not os.path.lexists(tmp_path / "port")


def test_last_words_before_a_reset_are_heard(bench):
    made = bench(baud=115200)
    fd = made.open()
    for number in range(10):
        words = b"last words of %d" % number * 20
        os.write(made.stdout, words)
        os.close(made.stdin)
        os.close(made.stdout)
        made.stdin, to_station = os.pipe()
        from_station, made.stdout = os.pipe()
        made.cable.attach(to_station, from_station)
        assert read(fd, len(words)) == words
    os.close(fd)
