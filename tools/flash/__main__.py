"""Flashes boards: writes what differs from the image, verifies it, and leaves a station's key and records alone.

    make flash                                  one image built, one board plugged in
    make flash BOARD=esp32-devkit PORT=/dev/ttyUSB0
    make flash PORT=all                         every board on the hub, at once
    make flash ERASE=1                          also erase the key and the records, after asking
"""

import argparse
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from flash import chip, job, ports
from flash.errors import AGAIN, FlashError, explain
from flash.manifest import Image, find, load

BUILD = pathlib.Path(__file__).resolve().parent.parent.parent / "build" / "image"
INTERRUPTED = 130


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tools/flash", description="Flash a board and leave a station's key and records alone.",
        epilog="example: .venv/bin/python tools/flash --board esp32-devkit --port /dev/ttyUSB0")
    parser.add_argument("--board", help="whose image; not needed while only one is built")
    parser.add_argument("--port", help="serial port, several by commas, or all; not needed for one board")
    parser.add_argument("--erase", action="store_true", help="erase all that the station keeps: it is then new")
    parser.add_argument("--images", type=pathlib.Path, default=BUILD, metavar="FOLDER", help="default: build/image")
    args = parser.parse_args()
    try:
        manifest = find(args.images, args.board)
        ready = load(manifest)
        chosen = ports.choose(args.port)
        if args.erase and not _confirmed(chosen):
            raise FlashError("not confirmed; nothing was erased or written")
        return _flash_many(chosen, manifest, args.erase) if len(chosen) > 1 else _flash(chosen[0], ready, args.erase)
    except FlashError as error:
        print(f"flash: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nflash: interrupted: {AGAIN}", file=sys.stderr)
        return INTERRUPTED


def _confirmed(chosen: list[str]) -> bool:
    print(f"This erases the key, the counters and every record of the station at {', '.join(chosen)}.\n"
          "What the base has not receipted is lost, and the station has to be enrolled as a new one.")
    return input("Type ERASE=1 once more to go on: ").strip() == "ERASE=1"


def _flash(port: str, ready: Image, erase: bool) -> int:
    progress = _Progress(port)
    started = False
    try:
        with chip.connected(port) as board:
            started = True
            progress.line(f"{board.title}, {board.mac()}; image {ready.board}, firmware {ready.firmware}")
            written = job.run(board, ready, erase, progress.tell)
            board.reset()
    except chip.FAILURES as error:
        raise FlashError(explain(error, port, started)) from None
    except FlashError as error:
        raise FlashError(f"{port}: {error}") from None
    finally:
        progress.end()
    done = f"{written} bytes written and verified" if written else "everything was there already, verified"
    progress.line(f"{done}; {'the station is new' if erase else 'key and records untouched'}")
    return 0


def _flash_many(chosen: list[str], manifest: pathlib.Path, erase: bool) -> int:
    """A process a board, since esptool keeps its state by process; their lines come as they are."""
    command = [sys.executable, str(pathlib.Path(__file__).parent), "--board", manifest.stem,
               "--images", str(manifest.parent), *(["--erase"] if erase else [])]
    running = [subprocess.Popen([*command, "--port", port], stdin=subprocess.PIPE) for port in chosen]
    for process in running:
        assert process.stdin is not None
        if erase:
            process.stdin.write(b"ERASE=1\n")  # asked and answered for all of them
        process.stdin.close()
    failed = [port for port, process in zip(chosen, running, strict=True) if process.wait()]
    if failed:
        raise FlashError(f"{len(failed)} of {len(chosen)} boards failed: {', '.join(failed)}; see above")
    return 0


class _Progress:
    """One line that changes on a terminal; one line a step elsewhere."""

    def __init__(self, port: str):
        self._port, self._on_terminal, self._step, self._open = port, sys.stdout.isatty(), "", False

    def tell(self, step: str, done: int, total: int) -> None:
        if self._on_terminal:
            percent = 100 * done // total if total else 100
            print(f"\r{self._port}: {step} {percent:3} %\x1b[K", end="", flush=True)
            self._open = True
        elif step != self._step:
            self.line(step)
        self._step = step

    def line(self, text: str) -> None:
        self.end()
        print(f"{self._port}: {text}", flush=True)

    def end(self) -> None:
        if self._open:
            print("\r\x1b[K", end="", flush=True)
            self._open = False


if __name__ == "__main__":
    sys.exit(main())
