"""Builds the flash image of a board: build/image/NAME.bin and its manifest NAME.json.

    make image BOARD=esp32-devkit FIRMWARE=ESP32_GENERIC-20250415-v1.25.0.bin
    make firmware BOARD=esp32-devkit
    make bundle BOARD=esp32-devkit
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import boards
from image import bundle, join, micropython
from image.errors import ImageError

BUILD = pathlib.Path(__file__).resolve().parent.parent.parent / "build" / "image"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tools/image", description="Build the flash image of a board, or fetch its MicroPython.",
        epilog="example: .venv/bin/python tools/image esp32-devkit --firmware ESP32_GENERIC-20250415-v1.25.0.bin")
    parser.add_argument("board", help="name of a file in boards/, without .toml")
    parser.add_argument("--firmware", type=pathlib.Path, metavar="PATH",
                        help="complete MicroPython binary to use instead of the pinned one")
    parser.add_argument("--sha256", metavar="HEX", help="SHA-256 of the official build, where none is pinned")
    parser.add_argument("--out", type=pathlib.Path, default=BUILD, metavar="FOLDER", help="default: build/image")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--fetch", action="store_true", help="only fetch the pinned MicroPython into the cache")
    what.add_argument("--bundle", action="store_true", help="also pack image, tools and wheels for an offline laptop")
    args = parser.parse_args()
    try:
        board = boards.load(boards.find(args.board))
        if args.fetch and args.firmware is None:
            print(micropython.fetch(board, args.sha256))
            return 0
        firmware = args.firmware or micropython.fetch(board, args.sha256)
        manifest = join.make(board, firmware, args.out)
        print(f"{manifest.with_suffix('.bin')} and {manifest.name}")
        if args.bundle:
            print(bundle.pack(manifest, firmware))
    except (boards.BoardError, ImageError) as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"image: {error.filename}: cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
