"""The serial console: text for people, frames for the collector, on one cable.

Reads the line the way a hostile keyboard would write it: bounded, skipping what is damaged, never raising. Writes
whole lines only, so that frames and text never mix.
"""

import asyncio
import select
import sys

from holdfire_protocol import line

from .streams import readable

COMMAND_BYTES = 257  # `update offer` for the longest name of a board; `enrol` is 165
ERROR_CHARACTERS = 60


class Console:
    """`run` reads for ever; `on_command(words)` gives the lines of an answer, `on_frame(bytes)` takes a frame."""

    def __init__(self, on_command, on_frame):
        self._on_command = on_command
        self._on_frame = on_frame
        self._reader = line.LineReader()
        self._out = sys.stdout.buffer
        self.received = 0  # bytes, ever: whoever waits for a key sees it here
        self.refused = 0  # commands; damaged lines are counted by the reader

    @property
    def damaged(self) -> int:
        """Lines that were too long or damaged frames."""
        return self._reader.bad

    def say(self, text: str) -> None:
        """Write one line of text."""
        self._out.write(text.encode() + b"\r\n")

    def send(self, frame: bytes) -> None:
        """Write one frame as a line."""
        self._out.write(line.encode(frame))

    async def run(self) -> None:
        """Read commands and frames until cancelled."""
        source = sys.stdin.buffer
        poll = select.poll()
        poll.register(source, select.POLLIN)
        while True:
            # On the chip read(n) waits for n bytes, so one is read for each time the port says it has one.
            await readable(source)
            byte = source.read(1)
            if byte is None:
                continue
            if not byte:
                await asyncio.sleep_ms(1000)  # the cable was pulled
                continue
            received = bytearray(byte)
            while len(received) < 128 and poll.poll(0):
                byte = source.read(1)
                if not byte:
                    break
                received.extend(byte)
            self.received += len(received)
            for kind, content in self._reader.feed(bytes(received)):
                if kind == line.FRAME:
                    self._on_frame(content)
                elif kind == line.TEXT:
                    self._command(content)
            await asyncio.sleep_ms(0)

    def _command(self, content: bytes) -> None:
        words = printable(content[:COMMAND_BYTES]).split()
        if not words:
            return
        self.say("> " + words[0])
        try:
            for text in self._on_command(words):
                self.say(text)
        except ValueError as error:
            self.refused += 1
            self.say("error: %s" % error)


def error_text(error) -> str:
    """An exception in a few printable characters."""
    return printable(("%s: %s" % (type(error).__name__, error)).encode())[:ERROR_CHARACTERS]


def printable(content: bytes) -> str:
    """Text of what was typed, anything but printable ASCII left out."""
    kept, size = bytearray(content), 0  # a list of characters would be eight times as large
    for byte in content:
        if 32 <= byte < 127:
            kept[size] = byte
            size += 1
    return str(memoryview(kept)[:size], "ascii")
