"""A board file that cannot work is refused with file, key and reason; one that can reaches the chip unchanged."""

import pathlib
import subprocess
import sys

import pytest

import boards
from tests.mpy import REPO, run_micropython

BOARD_FILES = sorted((REPO / "boards").glob("*.toml"))
GOOD = (REPO / "boards" / "esp32-devkit.toml").read_text()

# what is replaced, by what, and what the refusal must say
BAD = [
    ('chip = "esp32"', 'chip = "esp8266"', "chip: is 'esp8266'"),
    ('name = "esp32-devkit"\n', "", "name: is missing"),
    ("pps_pin = 34", "pps_pin = 35", "battery.adc_pin: pin 35 is already gnss.pps_pin"),
    ("sck_pin = 26", "sck_pin = 6", "microphone.sck_pin: pin 6 is wired to the flash chip"),
    ("sck_pin = 26", "sck_pin = 36", "microphone.sck_pin: pin 36 can only be an input"),
    ("tx_pin = 17", "tx_pin = 39", "gnss.tx_pin: pin 39 can only be an input"),
    ("pin = 13", "pin = 12", "led.pin: pin 12 decides how the chip boots"),
    ("pin = 13", "pin = 1", "led.pin: pin 1 is the console's"),
    ("pin = 13", "pin = 24", "led.pin: pin 24 does not exist"),
    ("pin = 13", "pin = 40", "led.pin: must be 0 to 39, is 40"),
    ("pin = 13", "pin = true", "led.pin: must be a whole number, is True"),
    ("pin = 13", 'pin = "13"', "led.pin: must be a whole number, is '13'"),
    ("pin = 13", "pin = 13\nblink_ms = 5", "led.blink_ms: is not a key"),
    ("pin = 27", "pin = 38", "tamper.pin: pin 38 has no pull-up"),
    ("adc_pin = 35", "adc_pin = 4", "battery.adc_pin: pin 4 is not on ADC1"),
    ("empty_mv = 3300", "empty_mv = 4200", "battery.empty_mv: must be below"),
    ("divider_bottom_ohms = 100000", "divider_bottom_ohms = 0", "battery.divider_bottom_ohms: must be 1 to"),
    ("uart_id = 2", "uart_id = 0", "gnss.uart_id: must be 1 to 2, is 0"),
    ('part = "inmp441"', "part = 441", "microphone.part: must be text"),
    ("[led]\npin = 13\non_level = 1\n", "", "led: is missing"),
    ("[led]\npin = 13\non_level = 1\n", "", "led: is missing"),
    ("size_bytes = 0x400000", "size_bytes = 0x200000", "beyond the flash's 0x200000"),
    ("offset = 0x2F0000", "offset = 0x2E0000", "flash.partitions[4].offset: 'counters' at 0x2e0000 overlaps 'vfs'"),
    ("offset = 0x2F0000", "offset = 0x2F0800", "flash.partitions[4].offset: 0x2f0800 is not a multiple of 0x1000"),
    ("size = 0x4000\n", "size = 0x3F00\n", "flash.partitions[4].size: 0x3f00 is not a multiple of the sector"),
    ("offset = 0x10000\n", "offset = 0x11000\n", "flash.partitions[2].offset: 0x11000 is not a multiple of 0x10000"),
    ("offset = 0x9000\n", "offset = 0x8000\n", "overlaps the partition table"),
    ('label = "journal"', 'label = "diary"', "flash.partitions: has no 'journal'"),
    ('label = "journal"', 'label = "vfs"', "flash.partitions[5].label: 'vfs' is there twice"),
    ('label = "journal"', 'label = "journal-of-the-station"', "is longer than 16 bytes"),
    ("subtype = 0x41\n", "", "flash.partitions[5].subtype: is missing"),
    ("[led]", "[led", "not TOML"),
]


def write(tmp_path: pathlib.Path, text: str) -> pathlib.Path:
    path = tmp_path / "some-board.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("old, new, reason", BAD, ids=[f"{number} {case[2]}"[:60] for number, case in enumerate(BAD)])
def test_refused(tmp_path, old, new, reason):
    assert GOOD.count(old) >= 1
    path = write(tmp_path, GOOD[: GOOD.rindex(old)] + new + GOOD[GOOD.rindex(old) + len(old) :])
    with pytest.raises(boards.BoardError) as refused:
        boards.load(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert reason in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(boards.BoardError, match=r"nowhere\.toml: cannot be read: No such file"):
        boards.load(tmp_path / "nowhere.toml")


@pytest.mark.parametrize("path", BOARD_FILES, ids=lambda path: path.stem)
def test_every_board_file_is_accepted_and_named_after_itself(path):
    assert boards.load(path)["name"] == path.stem


def test_the_chip_reads_back_what_the_file_says(tmp_path):
    board = boards.load(BOARD_FILES[0])
    (tmp_path / "board.py").write_text(boards.render(board))
    source = "from board import BOARD\ndef canon(x):\n" \
             "    return [(k, canon(x[k])) for k in sorted(x)] if isinstance(x, dict) else " \
             "[canon(y) for y in x] if isinstance(x, list) else x\nprint(canon(BOARD))"
    space: dict[str, object] = {}
    exec(source.replace("from board import BOARD\n", "").replace("print(canon(BOARD))", ""), space)
    assert run_micropython(source, path=[tmp_path]).stdout.strip() == str(space["canon"](board))


def test_the_command_prints_the_module_or_the_reason(tmp_path):
    def run(path):
        command = [sys.executable, REPO / "tools" / "boards.py", path]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    good, bad = run(BOARD_FILES[0]), run(write(tmp_path, GOOD.replace("pin = 27", "pin = 0")))
    assert good.returncode == 0 and good.stdout == boards.render(boards.load(BOARD_FILES[0]))
    assert bad.returncode == 1 and "tamper.pin: pin 0 decides" in bad.stderr
