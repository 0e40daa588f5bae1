"""The case switch: debounced openings and closings."""

import asyncio

from machine import Pin

POLL_MS = 50
STABLE_POLLS = 3  # wind makes a lid's switch chatter


class Tamper:
    """`run` calls `on_change(open: bool)` for ever; `open` is the debounced state."""

    def __init__(self, settings: dict, on_change):
        self._pin = Pin(settings["pin"], Pin.IN, Pin.PULL_UP)
        self._open_level = settings["open_level"]
        self._on_change = on_change
        self.open = self._pin.value() == self._open_level

    async def run(self) -> None:
        """Watch until cancelled."""
        differing = 0
        while True:
            await asyncio.sleep_ms(POLL_MS)
            if (self._pin.value() == self._open_level) == self.open:
                differing = 0
                continue
            differing += 1
            if differing == STABLE_POLLS:
                self.open = not self.open
                differing = 0
                self._on_change(self.open)


def uncertainty_us() -> int:
    """How late a change may be seen."""
    return POLL_MS * (STABLE_POLLS + 1) * 1000
