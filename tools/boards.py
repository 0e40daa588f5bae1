"""Board files: boards/NAME.toml checked and rendered for the chip.

A board file says which part hangs on which pin and how the flash is cut. It holds literals only. `load` refuses what
the chip cannot do and names file, key and reason; `render` makes the `board.py` that firmware imports; `find` takes a
name. What the chips can do is in chips.py; what the parts do is not known here.

    .venv/bin/python tools/boards.py boards/esp32-devkit.toml
    .venv/bin/python tools/boards.py boards/esp32-devkit.toml --wiring > wiring.svg
"""

import argparse
import pathlib
import pprint
import sys
import tomllib
from collections.abc import Mapping, Set
from typing import Any

from chips import CHIPS, Chip

Board = dict[str, Any]

BOARDS = pathlib.Path(__file__).resolve().parent.parent / "boards"
SECTOR_BYTES = 4096
APP_ALIGN_BYTES = 0x10000
TABLE_END = 0x9000  # boot loader and partition table lie below
APP = 0


class _Kind:
    """How a value is checked; `optional` keys may be absent."""

    def __init__(self, optional: bool = False):
        self.optional = optional


class _Text(_Kind):
    pass


class _Whole(_Kind):
    def __init__(self, low: int, high: int, optional: bool = False):
        super().__init__(optional)
        self.low, self.high = low, high


class _Pin(_Kind):
    """`drives`: the chip's output; `pulled_up`: needs the chip's pull-up; `analogue`: needs ADC1."""

    def __init__(self, drives: bool = False, pulled_up: bool = False, analogue: bool = False, optional: bool = False):
        super().__init__(optional)
        self.drives, self.pulled_up, self.analogue = drives, pulled_up, analogue


class _Choices(_Kind):
    """A list of texts, all from `known`; any text where nothing is known."""

    def __init__(self, known: set[str] | None = None, optional: bool = False):
        super().__init__(optional)
        self.known = known


Shape = Mapping[str, _Kind]
TOP: dict[str, _Kind] = {
    "name": _Text(), "title": _Text(), "chip": _Text(), "psram": _Text(), "micropython": _Text(),
    "strapping_by_maker": _Choices(optional=True),
}
SHAPE: dict[str, dict[str, _Kind]] = {
    "console": {"baud": _Whole(9600, 921600), "maintenance": _Whole(0, 1, optional=True)},
    "microphone": {
        "part": _Text(), "i2s_id": _Whole(0, 1), "sck_pin": _Pin(drives=True), "ws_pin": _Pin(drives=True),
        "sd_pin": _Pin(), "sample_rate_hz": _Whole(8000, 48000), "dma_bytes": _Whole(4096, 65536),
        "full_scale_db10_spl": _Whole(900, 1500), "group_delay_us": _Whole(0, 10_000),
    },
    "gnss": {
        "part": _Text(), "uart_id": _Whole(1, 2), "rx_pin": _Pin(), "tx_pin": _Pin(drives=True), "pps_pin": _Pin(),
        "baud": _Whole(4800, 921600),
    },
    "tamper": {"pin": _Pin(pulled_up=True), "open_level": _Whole(0, 1)},
    "battery": {
        "adc_pin": _Pin(analogue=True), "divider_top_ohms": _Whole(0, 10_000_000),
        "divider_bottom_ohms": _Whole(1, 10_000_000), "empty_mv": _Whole(1, 60_000), "full_mv": _Whole(1, 60_000),
        "enable_pin": _Pin(drives=True, optional=True), "enable_level": _Whole(0, 1, optional=True),
    },
    "led": {"pin": _Pin(drives=True), "on_level": _Whole(0, 1)},
    "radio": {
        "part": _Text(), "spi_id": _Whole(1, 2), "sck_pin": _Pin(drives=True), "mosi_pin": _Pin(drives=True),
        "miso_pin": _Pin(), "cs_pin": _Pin(drives=True), "reset_pin": _Pin(drives=True),
        "busy_pin": _Pin(optional=True), "dio0_pin": _Pin(optional=True), "dio1_pin": _Pin(),
        "tcxo_mv": _Whole(0, 3300), "dio2_is_antenna_switch": _Whole(0, 1),
        "bands": _Choices({"eu433", "eu868", "us915"}),
    },
    "power": {"part": _Text(), "sda_pin": _Pin(drives=True), "scl_pin": _Pin(drives=True)},
    "flash": {"size_bytes": _Whole(0x200000, 0x1000000)},
}  # fmt: skip
TOP["on_board"] = _Choices({section for section in SHAPE if section not in ("console", "flash")}, optional=True)
OPTIONAL_SECTIONS = {"led", "radio", "power"}
PARTITION: dict[str, _Kind] = {
    "label": _Text(), "type": _Whole(0, 254), "subtype": _Whole(0, 254), "offset": _Whole(0, 0xFFFFFF),
    "size": _Whole(1, 0x1000000),
}  # fmt: skip
NEEDED_PARTITIONS = {"factory", "vfs", "programs", "keys", "counters", "clips", "journal"}
# An SX1276 raises DIO0 when a packet has come or gone; an SX1262 has a BUSY line and raises DIO1.
RADIOS = {"sx1276": "dio0_pin", "sx1262": "busy_pin"}


class BoardError(ValueError):
    """A board file that cannot work. The text names file, key and reason."""


def find(name: str) -> pathlib.Path:
    """The board file of that name. Raises BoardError that lists the names."""
    path = BOARDS / f"{name}.toml"
    if not name or not path.exists():
        known = ", ".join(sorted(file.stem for file in BOARDS.glob("*.toml")))
        said = f"no board {name!r}" if name else "no board named"
        raise BoardError(f"{said}: BOARD= is one of {known}")
    return path


def load(path: pathlib.Path) -> Board:
    try:
        board = tomllib.loads(path.read_text())
    except OSError as error:
        raise BoardError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BoardError(f"{path}: not TOML: {error}") from None
    try:
        _check(board)
    except _Fault as fault:
        raise BoardError(f"{path}: {fault}") from None
    return board


def render(board: Board) -> str:
    """The board as a Python module of literals."""
    literal = pprint.pformat(board, width=118, sort_dicts=False)
    return f'"""Generated by tools/boards.py from boards/{board["name"]}.toml."""\n\nBOARD = {literal}\n'


def partition(board: Board, label: str) -> Board:
    """The row of the flash layout with that label."""
    return next(row for row in board["flash"]["partitions"] if row["label"] == label)


def pins_of(board: Board) -> list[tuple[str, str, int, bool]]:
    """(section, key, pin, whether the chip drives it) of everything that is wired, in the file's order."""
    return [
        (section, key, board[section][key], kind.drives)
        for section in board if section in SHAPE
        for key, kind in SHAPE[section].items() if isinstance(kind, _Pin) and key in board[section]
    ]  # fmt: skip


class _Fault(Exception):
    def __init__(self, key: str, reason: str):
        super().__init__(f"{key}: {reason}")


def _check(board: Board) -> None:
    _keys(board, "", TOP, set(SHAPE), OPTIONAL_SECTIONS)
    for key, kind in TOP.items():
        if key in board:
            _value(board[key], key, kind, None)
    chip = CHIPS.get(board["chip"])
    if chip is None:
        raise _Fault("chip", f"is {board['chip']!r}; known are {', '.join(CHIPS)}")
    if board["psram"] not in chip.psram_pins:
        raise _Fault("psram", f"is {board['psram']!r}; with {chip.title} it is {' or '.join(chip.psram_pins)}")
    for section, shape in SHAPE.items():
        if section not in board:
            continue
        table = board[section]
        if not isinstance(table, dict):
            raise _Fault(section, "must be a table")
        _keys(table, section, shape, {"partitions"} if section == "flash" else set())
        for key, kind in shape.items():
            if key in table:
                _value(table[key], f"{section}.{key}", kind, chip)
    for section in board.get("on_board", ()):
        if section not in board:
            raise _Fault("on_board", f"names {section}, which this board does not have")
    _buses(board, chip)
    _pins(board, chip)
    if board["battery"]["empty_mv"] >= board["battery"]["full_mv"]:
        raise _Fault("battery.empty_mv", "must be below battery.full_mv")
    _partitions(board["flash"])


def _keys(table: Board, section: str, shape: Shape, more: Set[str], optional: Set[str] = frozenset()) -> None:
    dot = section + "." if section else ""
    needed = {key for key, kind in shape.items() if not kind.optional} | (more - optional)
    for key in sorted(needed - set(table)):
        raise _Fault(dot + key, "is missing")
    for key in sorted(set(table) - set(shape) - more):
        raise _Fault(dot + key, "is not a key of a board file; misspelt?")


def _value(value: object, key: str, kind: _Kind, chip: Chip | None) -> None:
    if isinstance(kind, _Text):
        if not isinstance(value, str) or not value:
            raise _Fault(key, f"must be text, is {value!r}")
    elif isinstance(kind, _Choices):
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise _Fault(key, f"must be a list of texts, is {value!r}")
        for item in value:
            if kind.known is not None and item not in kind.known:
                raise _Fault(key, f"{item!r} is not one of {', '.join(sorted(kind.known))}")
    else:
        low, high = (kind.low, kind.high) if isinstance(kind, _Whole) else (0, chip.highest_pin if chip else 0)
        if isinstance(value, bool) or not isinstance(value, int):
            raise _Fault(key, f"must be a whole number, is {value!r}")
        if not low <= value <= high:
            raise _Fault(key, f"must be {low} to {high}, is {value}")


def _buses(board: Board, chip: Chip) -> None:
    if board["microphone"]["i2s_id"] >= chip.i2s_count:
        raise _Fault("microphone.i2s_id", f"is {board['microphone']['i2s_id']}; {chip.title} has {chip.i2s_count} I2S")
    if board["gnss"]["uart_id"] >= chip.uart_count:
        raise _Fault("gnss.uart_id", f"is {board['gnss']['uart_id']}; {chip.title} has {chip.uart_count} UARTs, from 0")
    if ("enable_pin" in board["battery"]) != ("enable_level" in board["battery"]):
        raise _Fault("battery.enable_pin", "needs battery.enable_level, and the other way round")
    radio = board.get("radio")
    if radio is not None:
        if radio["part"] not in RADIOS:
            raise _Fault("radio.part", f"is {radio['part']!r}; known are {', '.join(RADIOS)}")
        for part, key in RADIOS.items():
            if part == radio["part"] and key not in radio:
                raise _Fault(f"radio.{key}", "is missing")
            if part != radio["part"] and key in radio:
                raise _Fault(f"radio.{key}", f"is not a pin of the {radio['part']}")


def _pins(board: Board, chip: Chip) -> None:
    by_maker = set(board.get("strapping_by_maker", ()))
    taken: dict[int, str] = {}
    for section, key, pin, _ in pins_of(board):
        kind, name = SHAPE[section][key], f"{section}.{key}"
        assert isinstance(kind, _Pin)
        if pin in taken:
            raise _Fault(name, f"pin {pin} is already {taken[pin]}")
        taken[pin] = name
        if pin not in chip.pins:
            raise _Fault(name, f"pin {pin} does not exist on the {chip.title}")
        if pin in chip.flash_pins:
            raise _Fault(name, f"pin {pin} is wired to the flash chip")
        if pin in chip.psram_pins[board["psram"]]:
            raise _Fault(name, f"pin {pin} is wired to the external RAM")
        if pin in chip.console_pins:
            raise _Fault(name, f"pin {pin} is the console's UART")
        if pin in chip.usb_pins:
            raise _Fault(name, f"pin {pin} is the chip's USB")
        if pin in chip.strapping_pins and name not in by_maker:
            raise _Fault(name, f"pin {pin} decides how the chip boots (strapping pin)")
        if pin not in chip.strapping_pins and name in by_maker:
            raise _Fault("strapping_by_maker", f"names {name}, but pin {pin} is no strapping pin of the {chip.title}")
        by_maker.discard(name)
        if pin in chip.input_only_pins and kind.drives:
            raise _Fault(name, f"pin {pin} can only be an input")
        if pin in chip.input_only_pins and kind.pulled_up:
            raise _Fault(name, f"pin {pin} has no pull-up resistor, and the switch needs it")
        if kind.analogue and pin not in chip.adc1_pins:
            raise _Fault(name, f"pin {pin} is not on ADC1 ({min(chip.adc1_pins)} to {max(chip.adc1_pins)})")
    for name in sorted(by_maker):
        raise _Fault("strapping_by_maker", f"names {name}, which is not a pin of this board")


def _partitions(flash: Board) -> None:
    rows = flash["partitions"]
    if flash["size_bytes"] & (flash["size_bytes"] - 1):
        raise _Fault("flash.size_bytes", f"{flash['size_bytes']:#x} is not a size that flash chips have")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _Fault("flash.partitions", "must be an array of tables")
    end, before = TABLE_END, "the partition table"
    labels: set[str] = set()
    for number, row in enumerate(rows):
        key = f"flash.partitions[{number}]"
        _keys(row, key, PARTITION, set())
        for field, kind in PARTITION.items():
            _value(row[field], f"{key}.{field}", kind, None)
        label = row["label"]
        if len(label.encode()) > 16:
            raise _Fault(f"{key}.label", "is longer than 16 bytes")
        if label in labels:
            raise _Fault(f"{key}.label", f"{label!r} is there twice")
        labels.add(label)
        if row["offset"] < end:
            raise _Fault(f"{key}.offset", f"{label!r} at {row['offset']:#x} overlaps {before}, which ends at {end:#x}")
        align = APP_ALIGN_BYTES if row["type"] == APP else SECTOR_BYTES
        if row["offset"] % align:
            raise _Fault(f"{key}.offset", f"{row['offset']:#x} is not a multiple of {align:#x}")
        if row["size"] % SECTOR_BYTES:
            raise _Fault(f"{key}.size", f"{row['size']:#x} is not a multiple of the sector, {SECTOR_BYTES:#x}")
        end, before = row["offset"] + row["size"], repr(label)
        if end > flash["size_bytes"]:
            raise _Fault(f"{key}.size", f"{label!r} ends at {end:#x}, beyond the flash's {flash['size_bytes']:#x}")
    for label in sorted(NEEDED_PARTITIONS - labels):
        raise _Fault("flash.partitions", f"has no {label!r}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Check a board file and print the board.py it becomes.",
        epilog="example: .venv/bin/python tools/boards.py boards/esp32-devkit.toml --wiring > wiring.svg")
    parser.add_argument("board", type=pathlib.Path)
    parser.add_argument("--wiring", action="store_true", help="print the wiring picture (SVG) instead")
    args = parser.parse_args()
    try:
        board = load(args.board)
    except BoardError as error:
        print(error, file=sys.stderr)
        return 1
    if args.wiring:
        from wiring import draw

        print(draw(board), end="")
    else:
        print(render(board), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
