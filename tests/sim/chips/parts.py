"""The parts that are not chips: a switch that bounces and a battery behind a divider."""

from chips import world

_BOUNCE_US = (0, 700, 1100, 2600, 2900)  # edges of a lever switch: it settles on the last


class Switch:
    """Closes the pin to ground; open, it leaves the pin to its pull-up."""

    def __init__(self, net):
        self._net = net
        self._closed = True
        net.driven = 0

    def set(self, closed):
        if closed == self._closed:
            return
        self._closed = closed
        now_us = world.now_us()
        for i, after_us in enumerate(_BOUNCE_US):
            world.at(now_us + after_us, self._closes if closed ^ (i & 1) else self._opens)

    def _closes(self, due_us):
        self._net.drive(0)

    def _opens(self, due_us):
        self._net.drive(None)


class Battery:
    def __init__(self, divider_top_ohms, divider_bottom_ohms, millivolts=3900):
        self._top_ohms = divider_top_ohms
        self._bottom_ohms = divider_bottom_ohms
        self.millivolts = millivolts
        self._noise = 1

    def microvolts_at_pin(self):
        self._noise = (self._noise * 1103515245 + 12345) & 0x7FFFFFFF
        ripple_uv = (self._noise >> 8) % 4001 - 2000
        return self.millivolts * 1000 * self._bottom_ohms // (self._top_ohms + self._bottom_ohms) + ripple_uv
