"""The printable serial line: frames and human text on one cable, readable in any terminal program.

A frame is the line `!HF1:` base64 `:` CRC-32 of the frame in 8 hex digits. Everything else is text for people. No byte
of a frame line is a control character, so none can be mistaken for Ctrl-C. A line ends with CR, LF or both: terminal
programs send a bare CR for Enter. `LineReader` takes bytes as they come and never raises.
"""

import binascii

from .fields import MAX_FRAME_BYTES, MAX_LINE_BYTES

TYPE_CHECKING = False  # MicroPython has no typing; mypy takes this name for true
if TYPE_CHECKING:
    from typing import Any

MARK = b"!HF1:"

TEXT = 0
FRAME = 1
BAD = 2

_ENDING_BYTES = 9


def encode(frame: bytes) -> bytes:
    """The line of a frame, with CR LF."""
    return MARK + binascii.b2a_base64(frame)[:-1] + _ending(frame) + b"\r\n"


def decode(line: bytes) -> bytes:
    """The frame of a line that begins with MARK and has no line end. Raises ValueError with the reason.

    In a chip's memory a line is long, so that nothing of it is copied but the frame.
    """
    view = memoryview(line)
    end = len(line) - _ENDING_BYTES
    if view[: len(MARK)] != MARK or end < len(MARK) or line[end] != 0x3A:
        raise ValueError("line: cut short")
    try:
        frame = binascii.a2b_base64(view[len(MARK) : end])  # type: ignore[arg-type,unused-ignore]
    except ValueError:
        raise ValueError("base64: malformed")
    if len(frame) > MAX_FRAME_BYTES:
        raise ValueError("frame: too long")
    # One spelling a frame: decoders forgive stray bits, blanks and capitals that the CRC would not notice.
    if view[end:] != _ending(frame) or view[len(MARK) : end] != memoryview(binascii.b2a_base64(frame))[:-1]:
        raise ValueError("crc: does not match, or not the one spelling of this frame")
    return frame


def _ending(frame: bytes) -> bytes:
    return b":%08x" % (binascii.crc32(frame) & 0xFFFFFFFF)


class LineReader:
    """Bytes in, lines out. Bounded: a line longer than MAX_LINE_BYTES is given up and skipped to its end.

    `bad` counts damaged frame lines and given-up lines.
    """

    def __init__(self) -> None:
        self.bad = 0
        self._buffer = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> "list[tuple[int, Any]]":
        """Items completed by `data`: (TEXT, bytes), (FRAME, bytes) or (BAD, reason str). Empty lines give nothing."""
        items: list[tuple[int, Any]] = []
        data = data.replace(b"\r", b"\n")
        start = 0
        while True:
            end = data.find(b"\n", start)
            if end < 0:
                self._keep(data[start:], items)
                return items
            self._keep(data[start:end], items)
            if not self._skipping:
                self._finish(items)
            self._buffer = bytearray()
            self._skipping = False
            start = end + 1

    def _keep(self, part: bytes, items: "list[tuple[int, Any]]") -> None:
        if self._skipping:
            return
        if len(self._buffer) + len(part) > MAX_LINE_BYTES:
            self._skipping = True
            self._buffer = bytearray()
            self._bad(items, "line: longer than %d bytes" % MAX_LINE_BYTES)
        else:
            self._buffer.extend(part)

    def _finish(self, items: "list[tuple[int, Any]]") -> None:
        line = bytes(self._buffer)
        self._buffer = bytearray()
        text_end = line.find(MARK)
        if text_end < 0:
            text_end = len(line)
        if text_end:
            items.append((TEXT, line[:text_end]))
        # A frame cut by a reset is followed on its line by what came after: only the last mark can begin a whole one.
        last = line.rfind(MARK)
        if text_end < last:
            self._bad(items, "line: cut short by another")
        if last >= 0:
            try:
                items.append((FRAME, decode(line[last:] if last else line)))
            except ValueError as error:
                self._bad(items, str(error))

    def _bad(self, items: "list[tuple[int, Any]]", reason: str) -> None:
        self.bad += 1
        items.append((BAD, reason))
