"""How a station ends when a person on the cable asks for it. In memory only then."""

import micropython

import machine

from . import crash

PROMPT_MS = 3_600_000  # a prompt that was forgotten must not leave the place unwatched


def reboot(_) -> None:
    """A reset that is no failure."""
    try:
        crash.settled()
    except OSError:
        pass
    machine.reset()


def maintenance(station) -> None:
    """Leave the program for MicroPython's prompt: `main.py` ends when this returns."""
    machine.WDT(timeout=PROMPT_MS)
    micropython.kbd_intr(3)
    station.console.say("MAINTENANCE: this is MicroPython; the station is deaf until it starts again:")
    station.console.say("  Ctrl-D, or the reset button, or by itself in an hour.")
