"""A board file that cannot work is refused with file, key and reason; one that can reaches the chip unchanged."""

import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree

import pytest

import boards
from chips import CHIPS
from tests.mpy import REPO, run_micropython
from wiring import draw

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
    ("\npin = 27\nopen_level = 1\n", "\n", "tamper.open_level: is missing"),
    ("[console]\nbaud = 115200\n", "", "console: is missing"),
    ('psram = "none"', 'psram = "octal"', "psram: is 'octal'; with ESP32 it is none or quad"),
    ('psram = "none"', 'psram = "quad"', "gnss.rx_pin: pin 16 is wired to the external RAM"),
    ('psram = "none"', 'psram = "none"\nstrapping_by_maker = ["gnss.tx_pin"]',
     "strapping_by_maker: names gnss.tx_pin, but pin 17 is no strapping pin"),
    ('psram = "none"', 'psram = "none"\nstrapping_by_maker = ["gnss.rts_pin"]',
     "strapping_by_maker: names gnss.rts_pin, which is not a pin"),
    ('psram = "none"', 'psram = "none"\nstrapping_by_maker = "gnss.tx_pin"', "strapping_by_maker: must be a list"),
    ('psram = "none"', 'psram = "none"\non_board = ["radio"]', "on_board: names radio, which this board does not have"),
    ('psram = "none"', 'psram = "none"\non_board = ["wifi"]', "on_board: 'wifi' is not one of battery"),
    ("full_mv = 4150", "full_mv = 4150\nenable_pin = 4", "battery.enable_pin: needs battery.enable_level"),
    ("full_mv = 4150", "full_mv = 4150\nenable_pin = 36\nenable_level = 0", "battery.enable_pin: pin 36 can only be"),
    ("size_bytes = 0x400000", "size_bytes = 0x380000", "flash.size_bytes: 0x380000 is not a size that flash"),
    ("size_bytes = 0x400000", "size_bytes = 0x200000", "beyond the flash's 0x200000"),
    ("offset = 0x258000", "offset = 0x248000",
     "flash.partitions[5].offset: 'counters' at 0x248000 overlaps 'programs'"),
    ("offset = 0x258000", "offset = 0x258800", "flash.partitions[5].offset: 0x258800 is not a multiple of 0x1000"),
    ("size = 0x4000\n", "size = 0x3F00\n", "flash.partitions[5].size: 0x3f00 is not a multiple of the sector"),
    ("offset = 0x10000\n", "offset = 0x11000\n", "flash.partitions[2].offset: 0x11000 is not a multiple of 0x10000"),
    ("offset = 0x9000\n", "offset = 0x8000\n", "overlaps the partition table"),
    ('label = "journal"', 'label = "diary"', "flash.partitions: has no 'journal'"),
    ('label = "journal"', 'label = "vfs"', "flash.partitions[8].label: 'vfs' is there twice"),
    ('label = "journal"', 'label = "journal-of-the-station"', "is longer than 16 bytes"),
    ("subtype = 0x41\n", "", "flash.partitions[8].subtype: is missing"),
    ('label = "keys"', 'label = "locks"', "flash.partitions: has no 'keys'"),
    ("[led]", "[led", "not TOML"),
]
# the same for boards with other chips, and for a radio
BAD_ELSEWHERE = [
    ("lilygo-t3s3", "tx_pin = 15", "tx_pin = 22", "gnss.tx_pin: pin 22 does not exist on the ESP32-S3"),
    ("lilygo-t3s3", "tx_pin = 15", "tx_pin = 27", "gnss.tx_pin: pin 27 is wired to the flash chip"),
    ("lilygo-t3s3", "tx_pin = 15", "tx_pin = 43", "gnss.tx_pin: pin 43 is the console's UART"),
    ("lilygo-t3s3", "tx_pin = 15", "tx_pin = 20", "gnss.tx_pin: pin 20 is the chip's USB"),
    ("lilygo-t3s3", "tx_pin = 15", "tx_pin = 46", "gnss.tx_pin: pin 46 decides how the chip boots"),
    ("lilygo-t3s3", "tx_pin = 15", "tx_pin = 49", "gnss.tx_pin: must be 0 to 48, is 49"),
    ("lilygo-t3s3", 'psram = "quad"', 'psram = "octal"', "led.pin: pin 37 is wired to the external RAM"),
    ("lilygo-t3s3", "adc_pin = 1\n", "adc_pin = 12\n", "battery.adc_pin: pin 12 is not on ADC1 (1 to 10)"),
    ("lilygo-t3s3", 'strapping_by_maker = ["radio.miso_pin"]', "", "radio.miso_pin: pin 3 decides how the chip boots"),
    ("lilygo-t3s3", "tx_pin = 15", "tx_pin = 34", "radio.busy_pin: pin 34 is already gnss.tx_pin"),
    ("lilygo-t3s3", "busy_pin = 34\n", "", "radio.busy_pin: is missing"),
    ("lilygo-t3s3", "busy_pin = 34\n", "busy_pin = 34\ndio0_pin = 9\n", "radio.dio0_pin: is not a pin of the sx1262"),
    ("lilygo-t3s3", 'part = "sx1262"', 'part = "lr1121"', "radio.part: is 'lr1121'; known are sx1276, sx1262"),
    ("lilygo-t3s3", '["eu868", "us915"]', '["eu869"]', "radio.bands: 'eu869' is not one of eu433"),
    ("lilygo-tbeam-sx1276", "dio0_pin = 26\n", "", "radio.dio0_pin: is missing"),
    ("lilygo-tbeam-sx1276", "sda_pin = 21", "sda_pin = 13", "power.sda_pin: pin 13 is already microphone.sck_pin"),
    ("esp32c3-devkit", "i2s_id = 0", "i2s_id = 1", "microphone.i2s_id: is 1; ESP32-C3 has 1 I2S"),
    ("esp32c3-devkit", "uart_id = 1", "uart_id = 2", "gnss.uart_id: is 2; ESP32-C3 has 2 UARTs"),
    ("esp32c3-devkit", "pps_pin = 7", "pps_pin = 9", "gnss.pps_pin: pin 9 decides how the chip boots"),
    ("esp32c3-devkit", "pps_pin = 7", "pps_pin = 18", "gnss.pps_pin: pin 18 is the chip's USB"),
    ("esp32c3-devkit", "pps_pin = 7", "pps_pin = 14", "gnss.pps_pin: pin 14 is wired to the flash chip"),
    ("esp32c3-devkit", 'psram = "none"', 'psram = "quad"', "psram: is 'quad'; with ESP32-C3 it is none"),
    ("heltec-v3", "size = 0x100000", "size = 0x500000", "'clips' ends at 0x900000, beyond the flash's 0x800000"),
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


@pytest.mark.parametrize("name, old, new, reason", BAD_ELSEWHERE, ids=[f"{c[0]} {c[3]}"[:70] for c in BAD_ELSEWHERE])
def test_refused_on_another_board(tmp_path, name, old, new, reason):
    text = (REPO / "boards" / f"{name}.toml").read_text()
    assert old in text
    with pytest.raises(boards.BoardError) as refused:
        boards.load(write(tmp_path, text.replace(old, new)))
    assert reason in str(refused.value)


def test_a_name_that_is_none_is_answered_with_the_names():
    with pytest.raises(boards.BoardError, match=r"no board 'esp32': BOARD= is one of esp32-devkit, .*lilygo-t3s3"):
        boards.find("esp32")
    assert boards.load(boards.find("heltec-v3"))["chip"] == "esp32s3"


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


@pytest.mark.parametrize("path", BOARD_FILES, ids=lambda path: path.stem)
def test_the_wiring_picture_is_the_board_file_s(path):
    """If this fails: .venv/bin/python tools/generate board_wiring"""
    board = boards.load(path)
    picture = draw(board)
    assert path.with_suffix(".svg").read_text() == picture
    xml.etree.ElementTree.fromstring(picture)
    for section, key, pin, _ in boards.pins_of(board):
        assert f">GPIO {pin}<" in picture, f"{section}.{key}"


def test_the_picture_tells_your_wires_from_the_maker_s():
    board = boards.load(boards.find("heltec-v3"))
    assert draw(board).count("stroke-dasharray") == 11  # battery 3, lamp 1, radio 7
    del board["on_board"]
    assert "stroke-dasharray" not in draw(board)


README = (REPO / "boards" / "README.md").read_text()


def test_the_page_has_every_board_with_its_picture_and_what_it_says_is_so():
    for path in BOARD_FILES:
        board = boards.load(path)
        row = next(line for line in README.splitlines() if line.startswith(f"| `{path.stem}`"))
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[1] == CHIPS[board["chip"]].title
        assert cells[2].startswith(f"{board['flash']['size_bytes'] >> 20} MB, ")
        assert cells[2].endswith("none") == (board["psram"] == "none")
        assert cells[3] == board.get("radio", {"part": "none"})["part"].replace("sx", "SX")
        assert f"({path.stem}.svg)" in cells[4]
    assert README.count(".svg)") == len(BOARD_FILES)


def test_every_make_line_on_the_page_is_one_that_make_takes():
    lines = re.findall(r"^(?:\| `)?(make [^`\n]*)", README, re.M)
    assert len(lines) > 5
    for line in lines:
        words = line.replace("BOARD=name", "BOARD=heltec-v3").split()
        done = subprocess.run([words[0], "-n", *words[1:]], cwd=REPO, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "tools/" in done.stdout, line
        for word in words[2:]:
            assert word.split("=")[1] in done.stdout or word == "ERASE=1" and "--erase" in done.stdout, line
