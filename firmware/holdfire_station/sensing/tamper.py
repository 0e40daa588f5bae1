"""The case switch: debounced openings and closings."""

from machine import Pin

POLL_MS = 50
STABLE_POLLS = 3  # wind makes a lid's switch chatter
UNCERTAINTY_US = POLL_MS * (STABLE_POLLS + 1) * 1000  # how late a change may be seen


class Tamper:
    """Call `poll` every POLL_MS: it calls `on_change(open: bool, late_us)`; `open` is the debounced state."""

    def __init__(self, settings: dict, on_change):
        self._pin = Pin(settings["pin"], Pin.IN, Pin.PULL_UP)
        self._open_level = settings["open_level"]
        self._on_change = on_change
        self._differing = 0
        self.open = self._pin.value() == self._open_level

    def poll(self) -> None:
        """Look at the switch."""
        if (self._pin.value() == self._open_level) == self.open:
            self._differing = 0
            return
        self._differing += 1
        if self._differing == STABLE_POLLS:
            self.open = not self.open
            self._differing = 0
            self._on_change(self.open, UNCERTAINTY_US)
