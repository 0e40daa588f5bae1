"""The wiring pictures beside the board files."""

import pathlib

import boards
from wiring import draw


def outputs() -> dict[pathlib.Path, str]:
    files = sorted(boards.BOARDS.glob("*.toml"))
    return {file.with_suffix(".svg"): draw(boards.load(file)) for file in files}
