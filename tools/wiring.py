"""The wiring picture of a board (SVG), drawn from its board file: what the engineer solders, and what the maker did.

Needs a checked board; knows how the pins of each part are called on the part, and nothing of the chip.
"""

from html import escape
from typing import Any

Board = dict[str, Any]
Row = tuple[str, str, str]  # the part's own pin, what it goes to on the board, colour

ROW, GAP, TOP = 22, 20, 70
BOARD_X, BOARD_WIDTH, PART_X, PART_WIDTH, WIDTH = 30, 150, 400, 310, 740
RED, BLACK, GREY = "#c0392b", "#222222", "#9a9a9a"
SIGNALS = ("#2563a8", "#1e8449", "#b9770e", "#7d3c98", "#0e7c86", "#a04000", "#5d6d7e")
POWER: tuple[Row, Row] = (("VDD", "3V3", RED), ("GND", "GND", BLACK))


def draw(board: Board) -> str:
    """The picture, the same bytes for the same file."""
    on_board = set(board.get("on_board", ()))
    parts = [(title, section in on_board, rows) for section, title, rows in _parts(board)]
    parts.sort(key=lambda part: part[1])  # what has to be wired comes first
    body, y = [], TOP
    for title, is_on_board, rows in parts:
        body += _part(title, is_on_board, rows, y)
        y += ROW * (len(rows) + 1) + GAP
    height = y + 34
    frame = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="DejaVu Sans, Verdana, sans-serif" font-size="12">',
        f"<title>Wiring of {escape(board['title'])}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{BOARD_X}" y="28" font-size="17" font-weight="bold">{escape(board["title"])}</text>',
        f'<text x="{BOARD_X}" y="48" fill="#555">boards/{escape(board["name"])}.toml; '
        f"numbers are GPIO; solid: your wires, dashed: on the board already</text>",
        f'<rect x="{BOARD_X}" y="{TOP - 8}" width="{BOARD_WIDTH}" height="{y - TOP}" rx="6" fill="#eef3f8" '
        f'stroke="#4a6785"/>',
    ]
    return "\n".join([*frame, *body, "</svg>"]) + "\n"


def _part(title: str, is_on_board: bool, rows: list[Row], y: int) -> list[str]:
    lines = [
        f'<rect x="{PART_X}" y="{y - 8}" width="{PART_WIDTH}" height="{ROW * (len(rows) + 1) + 4}" rx="6" '
        f'fill="{"#f4f4f4" if is_on_board else "#fdf6e9"}" stroke="#888"/>',
        f'<text x="{PART_X + 10}" y="{y + 9}" font-weight="bold">{escape(title)}</text>',
    ]
    for number, (pin, place, colour) in enumerate(rows, 1):
        wire_y = y + ROW * number + 5
        stroke = f'stroke="{GREY}" stroke-dasharray="4 4"' if is_on_board else f'stroke="{colour}"'
        lines += [
            f'<text x="{BOARD_X + BOARD_WIDTH - 10}" y="{wire_y + 4}" text-anchor="end">{escape(place)}</text>',
            f'<line x1="{BOARD_X + BOARD_WIDTH}" y1="{wire_y}" x2="{PART_X}" y2="{wire_y}" {stroke} stroke-width="2"/>',
            f'<text x="{PART_X + 10}" y="{wire_y + 4}">{escape(pin)}</text>',
        ]
    return lines


def _signals(section: Board, names: list[tuple[str, str]]) -> list[Row]:
    """Rows for (name on the part, key in the section), in the colours' order; absent keys are left out."""
    rows = [(name, f"GPIO {section[key]}") for name, key in names if key in section]
    return [(name, place, SIGNALS[i % len(SIGNALS)]) for i, (name, place) in enumerate(rows)]


def _parts(board: Board) -> list[tuple[str, str, list[Row]]]:
    mic, gnss, battery = board["microphone"], board["gnss"], board["battery"]
    top_k, bottom_k = battery["divider_top_ohms"] // 1000, battery["divider_bottom_ohms"] // 1000
    middle = f"middle: {top_k}k to the cell's plus, {bottom_k}k to GND"
    parts = [
        ("microphone", f"Microphone {mic['part'].upper()}", [
            *_signals(mic, [("SCK", "sck_pin"), ("WS", "ws_pin"), ("SD", "sd_pin")]), ("L/R", "GND", BLACK), *POWER]),
        ("gnss", f"GNSS {gnss['part'].upper().replace('_', '-')}", [
            *_signals(gnss, [("TX (it talks)", "rx_pin"), ("RX (it listens)", "tx_pin"), ("PPS", "pps_pin")]), *POWER]),
        ("tamper", "Lid switch, closed while the lid is shut", [
            *_signals(board["tamper"], [("one side", "pin")]), ("other side", "GND", BLACK)]),
        ("battery", "Battery", [
            *_signals(battery, [(middle, "adc_pin"), ("divider on", "enable_pin")]), ("minus", "GND", BLACK)]),
    ]
    if "led" in board:
        lamp = "lit by 1" if board["led"]["on_level"] else "lit by 0"
        parts.append(("led", f"Lamp, {lamp}", _signals(board["led"], [("lamp and resistor", "pin")])))
    if "radio" in board:
        names = ("sck", "mosi", "miso", "cs", "reset", "busy", "dio0", "dio1")
        parts.append(("radio", f"Radio {board['radio']['part'].upper()}",
                      _signals(board["radio"], [(name.upper(), name + "_pin") for name in names])))
    if "power" in board:
        parts.append(("power", "Power chip", _signals(board["power"], [("SDA", "sda_pin"), ("SCL", "scl_pin")])))
    return parts
