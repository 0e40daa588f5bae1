"""Flashing, with the real esptool against a mock of the chips' boot loader: what differs is written and proven, a
station's key and records are never touched, and a flashing that was cut anywhere is repaired by the next.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import pty
import random
import signal
import subprocess
import sys

import pytest
from esp32_mock_bootloader import protocol

import boards
from flash import __main__ as command
from flash import chip
from flash import manifest as manifests
from flash.errors import explain
from image import filesystem, join, partition_table
from tests.mpy import REPO, find_tool

from .mock_board import SECTOR_BYTES, MockBoard
from .stock import made

KEPT = {"nvs": (0x9000, 0x6000), "counters": (0x258000, 0x4000), "keys": (0x25C000, 0x8000),
        "clips": (0x264000, 0x28000), "journal": (0x28C000, 0x174000)}  # fmt: skip
CUTS_EACH = 25


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder with the image of a plain ESP32; its MicroPython is a made one, and small."""
    find_tool("mpy-cross", "MPY_CROSS")
    folder = tmp_path_factory.mktemp("images")
    join.make(boards.load(boards.find("esp32-devkit")), made(folder, "esp32"), folder)
    return folder


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    """A mock has no reset line to wait for."""
    monkeypatch.setattr("esp_pylib.serial_reset.time.sleep", lambda s: None)


@pytest.fixture
def board():
    with MockBoard("esp32") as board:
        yield board


def image_of(folder: pathlib.Path, name: str = "esp32-devkit") -> bytes:
    return (folder / f"{name}.bin").read_bytes()


def flash(capsys, monkeypatch, *arguments, typed: str | None = None) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["tools/flash", *map(str, arguments)])
    monkeypatch.setattr("builtins.input", lambda prompt: typed if typed is not None else pytest.fail(prompt))
    capsys.readouterr()
    code = command.main()
    shown = capsys.readouterr()
    return code, shown.out, shown.err


@pytest.fixture
def run(capsys, monkeypatch, images, board):
    def run(*more, **options):
        return flash(capsys, monkeypatch, "--images", images, "--port", board.port, *more, **options)

    return run


def assert_holds(board: MockBoard, folder: pathlib.Path, name: str = "esp32-devkit") -> None:
    """Every part is there, to the byte."""
    image = manifests.load(folder / f"{name}.json")
    for part in image.parts:
        assert bytes(board.flash.data[part.offset : part.offset + part.size]) == image.bytes_of(part), part.name


def fill_kept(board: MockBoard, seed: int = 5) -> dict[str, bytes]:
    """What a station that has run for long may have: a key file system, and noise for all the rest."""
    noise = random.Random(seed)
    content = {name: noise.randbytes(size) for name, (_, size) in KEPT.items()}
    content["keys"] = filesystem.build({"identity.cbor": noise.randbytes(84)}, KEPT["keys"][1])
    for name, data in content.items():
        board.flash.data[KEPT[name][0] : KEPT[name][0] + len(data)] = data
    return content


def assert_kept(board: MockBoard, content: dict[str, bytes]) -> None:
    for name, data in content.items():
        assert bytes(board.flash.data[KEPT[name][0] : KEPT[name][0] + len(data)]) == data, name


def test_a_new_board_gets_everything_and_it_can_be_read_out_again(run, board, images):
    code, out, err = run()
    assert (code, err) == (0, "") and "ESP32, 24:0a:c4:" in out and "bytes written and verified" in out
    assert_holds(board, images)
    table = partition_table.decode(bytes(board.flash.data[0x8000:0x8C00]))
    assert table == boards.load(boards.find("esp32-devkit"))["flash"]["partitions"]
    files = filesystem.read(bytes(board.flash.data[0x200000:0x206000]))
    programs = filesystem.read(bytes(board.flash.data[0x206000:0x22F000]), filesystem.SMALL_BLOCK_BYTES)
    files |= {"lib/" + path: data for path, data in programs.items()}
    said = json.loads((images / "esp32-devkit.json").read_text())["files"]
    assert {path: hashlib.sha256(data).hexdigest() for path, data in files.items()} == said


def test_esptool_s_own_command_reads_back_what_was_written(run, board, images, tmp_path):
    assert run()[0] == 0
    for start, size in ((0x8000, 0xC00), (0x200000, 0x4000)):
        out = tmp_path / "read.bin"
        esptool = [sys.executable, "-m", "esptool", "--chip", "esp32", "--port", board.port]
        subprocess.run([*esptool, "read-flash", hex(start), hex(size), out], check=True, capture_output=True)
        assert out.read_bytes() == image_of(images)[start : start + size]


def test_again_nothing_is_written_and_a_change_only_where_it_is(run, board, images):
    assert run()[0] == 0
    content = fill_kept(board)
    board.flash.touched.clear()
    code, out, _ = run()
    assert code == 0 and "everything was there already" in out and not board.flash.touched
    board.flash.data[0x13456] ^= 1
    board.flash.data[0x206100] ^= 1
    code, out, _ = run()
    assert code == 0 and "131072 bytes written" in out
    assert board.flash.touched == {*range(0x10, 0x20), *range(0x206, 0x216)}  # chunks of 64 KiB
    assert_holds(board, images)
    assert_kept(board, content)


def test_key_and_records_survive_new_programs_and_go_only_when_told_twice(run, board, images):
    assert run()[0] == 0
    content = fill_kept(board)
    board.flash.data[0x200000:0x258000] = bytes(0x58000)
    board.flash.touched.clear()
    assert run()[0] == 0
    assert_kept(board, content)
    assert max(board.flash.touched) < 0x258

    for typed in ("", "yes", "ERASE"):
        code, out, err = run("--erase", typed=typed)
        assert code == 1 and "not confirmed; nothing was erased or written" in err and "every record" in out
        assert_kept(board, content)
    code, out, _ = run("--erase", typed="ERASE=1")
    assert code == 0 and "the station is new" in out
    assert_kept(board, {name: b"\xff" * size for name, (_, size) in KEPT.items()})
    assert_holds(board, images)


def test_what_another_program_left_is_cleared_from_a_board_that_never_was_a_station(run, board, images, tmp_path):
    stock = made(tmp_path, "esp32", with_vfs=True).read_bytes()
    board.flash.data[:] = random.Random(3).randbytes(len(board.flash.data))
    board.flash.data[0x1000 : 0x1000 + len(stock)] = stock
    code, out, _ = run()
    assert code == 0 and "erasing journal" in out
    assert_kept(board, {name: b"\xff" * size for name, (_, size) in KEPT.items()})
    assert_holds(board, images)


def test_a_station_whose_table_is_gone_keeps_its_key(run, board, images, tmp_path):
    """A flashing that was cut while it wrote the table, or a table that rotted."""
    assert run()[0] == 0
    content = fill_kept(board)
    for damage in (b"\xff" * 0x1000, bytes(0x1000), made(tmp_path, "esp32").read_bytes()[0x7000:0x8000]):
        board.flash.data[0x8000:0x9000] = damage
        assert run()[0] == 0
        assert_kept(board, content)
        assert_holds(board, images)


def test_a_station_with_another_layout_is_not_touched(run, board, images):
    assert run()[0] == 0
    rows = [dict(row) for row in boards.load(boards.find("esp32-devkit"))["flash"]["partitions"]]
    rows[-1]["offset"] += 0x1000
    rows[-1]["size"] -= 0x1000
    board.flash.data[0x8000:0x8C00] = partition_table.encode(rows)
    before = bytes(board.flash.data)
    code, _, err = run()
    assert code == 1 and "flashed with another layout" in err and "ERASE=1" in err
    assert bytes(board.flash.data) == before
    assert run("--erase", typed="ERASE=1")[0] == 0
    assert_holds(board, images)


def operations_of_a_flashing(run, board) -> int:
    board.flash.operations = 0
    assert run()[0] == 0
    return board.flash.operations


@pytest.mark.parametrize("what", ["a new board", "a station"])
def test_power_lost_anywhere_is_repaired_by_the_same_command(what, run, board, images):
    """The power fails in the middle of the n-th erase or program: sectors half done, and the port gone."""
    start = bytearray(random.Random(11).randbytes(len(board.flash.data)))
    if what == "a station":  # an older version of everything, so that all has to be written
        start[0x8000:0x8C00] = image_of(images)[0x8000:0x8C00]
        board.flash.data[:] = start
        content = fill_kept(board)
        start = bytearray(board.flash.data)
    board.flash.data[:] = start
    total = operations_of_a_flashing(run, board)
    assert total > 20
    for n in sorted({k * total // CUTS_EACH for k in range(CUTS_EACH)}):
        board.flash.data[:] = start
        board.flash.operations, board.flash.cut_at = 0, n
        code, _, err = run()
        assert code == 1 and "lost the board half way" in err and "run the same command again" in err, err
        assert err.count("\n") == 1
        if what == "a station":
            assert_kept(board, content)
        board.flash.cut_at = -1
        assert run()[0] == 0
        assert_holds(board, images)
        if what == "a station":
            assert_kept(board, content)
        else:
            assert_kept(board, {name: b"\xff" * size for name, (_, size) in KEPT.items()})


@contextlib.contextmanager
def flashing_held_at(operation, board, images):
    """`tools/flash` as a process of its own, with the chip busy in its n-th operation."""
    board.flash.operations, board.flash.hold_at = 0, operation
    board.flash.held.clear()
    board.flash.go.clear()
    line = [sys.executable, REPO / "tools" / "flash", "--images", images, "--port", board.port]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert board.flash.held.wait(120), process.communicate()
            yield process
        finally:
            process.kill()
            board.flash.hold_at = -1
            board.flash.go.set()


def test_a_killed_flashing_is_repaired_by_the_same_command(run, board, images):
    def old_station():
        board.flash.data[0x1000 : KEPT["counters"][0]] = bytes(KEPT["counters"][0] - 0x1000)
        board.flash.data[0x8000:0x8C00] = image_of(images)[0x8000:0x8C00]
        return fill_kept(board)

    old_station()
    total = operations_of_a_flashing(run, board)
    for n in range(4):
        content = old_station()
        with flashing_held_at(n * total // 4, board, images) as process:
            process.send_signal(signal.SIGKILL)
        assert run()[0] == 0
        assert_holds(board, images)
        assert_kept(board, content)


def test_ctrl_c_gets_one_line(images, board):
    with flashing_held_at(10, board, images) as process:
        process.send_signal(signal.SIGINT)
        board.flash.go.set()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err.strip() == ("flash: interrupted: run the same command again: it goes on "
                                                         "where it was")


@pytest.mark.parametrize("name, title", [("esp32s3", "ESP32-S3"), ("esp32c3", "ESP32-C3"), ("esp8266", "ESP8266")])
def test_a_wrong_chip_is_refused_before_anything_is_written(name, title, capsys, monkeypatch, images):
    with MockBoard(name) as board:
        code, _, err = flash(capsys, monkeypatch, "--images", images, "--port", board.port)
        assert code == 1 and f"this is an {title}, and esp32-devkit has esp32: wrong board" in err
        assert err.count("\n") == 1 and not board.flash.touched


@pytest.mark.parametrize("name, kind", [("lilygo-t3s3", "esp32s3"), ("esp32c3-devkit", "esp32c3")])
def test_other_chips_are_flashed_as_well(name, kind, capsys, monkeypatch, tmp_path):
    find_tool("mpy-cross", "MPY_CROSS")
    join.make(boards.load(boards.find(name)), made(tmp_path, kind), tmp_path)
    with MockBoard(kind) as board:
        code, out, err = flash(capsys, monkeypatch, "--images", tmp_path, "--port", board.port)
        assert (code, err) == (0, "") and "written and verified" in out
        assert_holds(board, tmp_path, name)


def test_a_flash_that_is_too_small_or_silent_is_refused(capsys, monkeypatch, tmp_path):
    find_tool("mpy-cross", "MPY_CROSS")
    join.make(boards.load(boards.find("heltec-v3")), made(tmp_path, "esp32s3"), tmp_path)
    with MockBoard("esp32s3") as board:  # of 4 MB
        code, _, err = flash(capsys, monkeypatch, "--images", tmp_path, "--port", board.port)
        assert code == 1 and "its flash has 4 MB, and heltec-v3 needs 8: wrong board" in err
        monkeypatch.setattr(protocol, "MOCK_FLASH_ID", 0xFFFFFF)
        code, _, err = flash(capsys, monkeypatch, "--images", tmp_path, "--port", board.port)
        assert code == 1 and "does not tell its size" in err
        assert not board.flash.touched


def test_a_flash_that_does_not_keep_what_is_written_is_told(run, board, images):
    assert run()[0] == 0
    board.flash.data[0x20000:0x30000] = bytes(0x10000)
    erase = board.flash.erase_region
    board.flash.erase_region = lambda offset, size: None if offset == 0x20000 else erase(offset, size)  # worn out
    code, _, err = run()
    assert code == 1 and "what was written is not what the flash holds" in err and "worn out" in err


def write_that_also(board, harm):
    """Erasing the beginning of the programs does `harm` as well."""

    def erase_region(offset, size):
        type(board.flash).erase_region(board.flash, offset, size)
        if offset == 0x200000:
            harm()

    board.flash.erase_region = erase_region


def test_a_chip_that_spoils_what_was_written_or_a_station_s_own_is_found_by_the_last_look(run, board, images):
    assert run()[0] == 0
    content = fill_kept(board)
    board.flash.data[0x200000:0x210000] = bytes(0x10000)
    write_that_also(board, lambda: board.flash.data.__setitem__(0x13456, 0))
    code, _, err = run()
    assert code == 1 and "micropython is not in the flash as written: run this again" in err
    board.flash.data[0x200000:0x210000] = bytes(0x10000)
    write_that_also(board, lambda: board.flash.data.__setitem__(KEPT["keys"][0] + 5, content["keys"][5] ^ 1))
    code, _, err = run()
    assert code == 1 and "partition keys changed while flashing, which must not be: keep the board" in err


# A new user's wrong moves: what is done, and what the one line must say.

def test_ports_that_cannot_be_used_get_one_line(capsys, monkeypatch, images, tmp_path):
    def refused(port):
        code, out, err = flash(capsys, monkeypatch, "--images", images, "--port", port)
        assert (code, out) == (1, "") and err.count("\n") == 1 and err.startswith(f"flash: {port}: ")
        return err

    assert "no such port: plug the board in" in refused(tmp_path / "ttyUSB9")
    assert "is not a serial port: name the device" in refused(images / "esp32-devkit.bin")
    assert "is not a serial port: name the device" in refused(tmp_path)
    assert "is not a serial port: name the device" in refused("/dev/null")
    assert "is no serial port that can be used: " in refused("socket://127.0.0.1:9")
    main, side = pty.openpty()
    try:
        port = os.ttyname(side)
        fcntl.flock(side, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert "in use by another program: end it" in refused(port)
        fcntl.flock(side, fcntl.LOCK_UN)
        assert "no chip answers: is it a data cable? Hold BOOT" in refused(port)
    finally:
        os.close(main)
        os.close(side)


def test_a_port_without_permission_says_which_group():
    main, side = pty.openpty()
    port, me = os.ttyname(side), os.geteuid()
    os.chmod(port, 0)
    try:
        if me == 0:
            os.seteuid(65534)  # root may open every port
        with pytest.raises(chip.FAILURES) as refused, chip.connected(port):
            pass
    finally:
        os.seteuid(me)
        os.close(main)
        os.close(side)
    assert f"{port}: no permission: `sudo usermod -aG dialout $USER`" in explain(refused.value, port, False)


class Port:
    def __init__(self, device, vid=0x1A86):
        self.device, self.vid = device, vid


def test_the_port_is_found_or_asked_for(capsys, monkeypatch, images, board):
    there = [Port("/dev/ttyS0", None)]
    monkeypatch.setattr("flash.ports.list_ports.comports", lambda: there)
    code, _, err = flash(capsys, monkeypatch, "--images", images)
    assert code == 1 and err == "flash: no board found: plug it in with a data cable (some cables only charge)\n"
    there.append(Port(board.port))
    assert flash(capsys, monkeypatch, "--images", images)[0] == 0
    assert_holds(board, images)
    there.append(Port("/dev/ttyACM7"))
    code, _, err = flash(capsys, monkeypatch, "--images", images)
    assert code == 1 and f"several boards found: say which, PORT=/dev/ttyACM7 or PORT={board.port}, or PORT=all" in err


def test_many_boards_at_once(capfd, monkeypatch, images):
    with MockBoard("esp32") as one, MockBoard("esp32") as two, MockBoard("esp32c3") as other:
        both = f"{one.port},{two.port}"
        code, _, _ = flash(capfd, monkeypatch, "--images", images, "--port", both)
        assert code == 0
        for board in (one, two):
            assert_holds(board, images)
        code, out, err = flash(capfd, monkeypatch, "--images", images, "--port", f"{both},{other.port}")
        assert code == 1 and f"1 of 3 boards failed: {other.port}" in err and "this is an ESP32-C3" in err
        assert out.count("everything was there already") == 2


def test_a_board_pulled_off_the_hub_does_not_hold_up_the_others(capfd, monkeypatch, images):
    with MockBoard("esp32") as one, MockBoard("esp32") as pulled:
        pulled.flash.cut_at = 5
        both = ["--images", images, "--port", f"{one.port},{pulled.port}"]
        code, _, err = flash(capfd, monkeypatch, *both)
        assert code == 1 and f"1 of 2 boards failed: {pulled.port}" in err and "lost the board half way" in err
        assert_holds(one, images)
        pulled.flash.cut_at = -1
        assert flash(capfd, monkeypatch, *both)[0] == 0
        assert_holds(pulled, images)


def test_images_that_cannot_be_used_get_one_line(capsys, monkeypatch, images, tmp_path):
    def refused(*arguments, folder=tmp_path):
        code, out, err = flash(capsys, monkeypatch, "--images", folder, "--port", "/dev/null", *arguments)
        assert (code, out) == (1, "") and err.count("\n") == 1
        return err

    assert "no image yet: make image BOARD=..." in refused()
    assert "no image for 'heltec-v3' yet: make image BOARD=heltec-v3" in refused("--board", "heltec-v3", folder=images)
    assert "no board 'nosuch': BOARD= is one of esp32-devkit, " in refused("--board", "nosuch", folder=images)
    good = json.loads((images / "esp32-devkit.json").read_text())
    (tmp_path / "esp32-devkit.json").write_text(json.dumps(good))
    assert "esp32-devkit.bin: cannot be read: No such file" in refused()
    (tmp_path / "esp32-devkit.bin").write_bytes(image_of(images)[:-1] + b"\0")
    assert "image and manifest differ: make image BOARD=esp32-devkit" in refused()
    (tmp_path / "esp32-devkit.json").write_text(json.dumps({**good, "format": 9}))
    assert "of another version of these tools" in refused()
    (tmp_path / "esp32-devkit.json").write_text("{}")
    assert "not a manifest of an image" in refused()
    (tmp_path / "heltec-v3.json").write_text("{}")
    assert "several images: say which, BOARD=esp32-devkit or BOARD=heltec-v3" in refused()
    assert manifests.load(images / "esp32-devkit.json").board == "esp32-devkit"
    assert SECTOR_BYTES == 4096
