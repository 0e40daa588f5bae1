"""What a person watches on the console. In memory only while someone does."""

from . import overlay
from .report import decibels
from .sensing import levels

LOWEST_DB10 = -1000
DB10_A_MARK = 20  # 50 marks
LONGEST_MS = 300_000  # somebody went away and left the terminal open
BYTES_A_SAMPLE = 4


def level(station):
    """A function to call a few times a second: it writes the peak level of the newest block of sound."""
    received, end_ms = station.console.received, station.monotonic.ms() + LONGEST_MS

    def show() -> None:
        if station.console.received != received or station.monotonic.ms() > end_ms:
            station.live = None
            overlay.forget("holdfire_station.live", "holdfire_station.report", "holdfire_protocol.words")
            station.console.say("mic: ended")
            return
        level_db10 = peak_db10(station.microphone.newest)
        marks = max((level_db10 - LOWEST_DB10) // DB10_A_MARK, 0)
        station.console.say("%10s %s" % (decibels(level_db10), "#" * marks))

    return show


def peak_db10(block) -> int:
    """Half of peak to peak of a block of samples as I2S delivers them, against full scale: offset does not count."""
    least, most = 1 << 23, -(1 << 23)
    for at in range(0, len(block), BYTES_A_SAMPLE):
        sample = block[at + 1] | block[at + 2] << 8 | block[at + 3] << 16
        if sample >> 23:
            sample -= 1 << 24
        least, most = min(least, sample), max(most, sample)
    return levels.db10((most - least) // 2, 1 << 23)
