"""The world outside the chip: true time, the crystal that misses it, what hangs on which pin, and what happens next.

Two clocks. `now_us()` is true time since power-on; sky, sound and switches follow it. `ticks_us()` is what the
station's crystal counts, `ppm` fast; sampling and the watchdog follow that one. Real mode reads the host's clock.
Virtual mode moves only when somebody waits (`step`), or by a microsecond a reading so that a busy loop ends.

Not here: anything a chip does. Chips schedule themselves with `at()`.
"""

import os
import sys

import utime
from micropython import const

virtual = False
ppm = 0
utc_start_us = 0  # true UTC at power-on
_origin_us = utime.ticks_us()
_virtual_us = 0
_agenda = []  # [due, action] in order of time; an action may return when it wants to run again
nets = {}  # pin number -> Net
microphones = {}  # (sck, ws, sd) -> chip
uarts = {}  # (rx pin, tx pin) of the board -> chip
voltages = {}  # pin number -> function giving millivolts
_busy = False

# A host sleep wakes up to a millisecond late; what is due sooner than this is waited for here, so that an edge reaches
# its handler within tens of microseconds whenever the firmware is idle.
_SPIN_US = const(1500)


def begin(clock_is_virtual, crystal_ppm, utc_us):
    """Power-on. In real mode `utc_us` is how far true UTC is from the host's, in virtual mode it is true UTC itself."""
    global virtual, ppm, utc_start_us, _origin_us
    virtual, ppm = clock_is_virtual, crystal_ppm
    _origin_us = utime.ticks_us()
    utc_start_us = utc_us if virtual else utime.time_ns() // 1000 + utc_us


def now_us():
    global _virtual_us
    if virtual:
        _virtual_us += 1
        return _virtual_us
    return utime.ticks_diff(utime.ticks_us(), _origin_us)


def stop(signal, why):
    """The process ends at once, as a chip stops: no `finally`, nothing flushed. The launcher starts it again."""
    print("~ reset", why, utc_us(now_us()), file=sys.stderr)
    while True:
        os.system("kill -%s $PPID" % signal)


def ticks_us():
    true_us = now_us()
    return true_us + true_us * ppm // 1000000


def true_us_at(ticks):
    """True time at which the crystal will have counted `ticks`: never early, so who waits for it finds it reached."""
    true_us = ticks * 1000000 // (1000000 + ppm)
    while true_us + true_us * ppm // 1000000 < ticks:
        true_us += 1
    return true_us


def utc_us(true_us):
    return utc_start_us + true_us


def shift_utc(seconds):
    global utc_start_us
    utc_start_us += seconds * 1000000


def at(due_us, action):
    i = 0
    while i < len(_agenda) and _agenda[i][0] <= due_us:
        i += 1
    _agenda.insert(i, (due_us, action))


def run_due():
    """Let happen what is due by now. Called whenever the firmware waits, polls or reads."""
    global _busy
    if _busy:  # a pin handler that reads its pin is not interrupted by the next edge
        return
    _busy = True
    try:
        _run_due()
    finally:
        _busy = False


def _run_due():
    while _agenda:
        due_us, action = _agenda[0]
        ahead_us = due_us - (_virtual_us if virtual else now_us())
        if ahead_us > 0:
            if virtual or ahead_us > _SPIN_US:
                break
            utime.sleep_us(ahead_us)
        _agenda.pop(0)
        again_us = action(due_us)
        if again_us is not None:
            at(again_us, action)


def step(limit_us):
    """Towards the next thing to happen, or true time `limit_us` if that is sooner. Returns the milliseconds of host
    time that the caller may sleep, in whichever way it likes, before it comes again; none in virtual time, which is
    simply moved."""
    global _virtual_us
    due_us = min(_agenda[0][0], limit_us) if _agenda else limit_us
    if not virtual:
        return max(0, min(1000, (due_us - now_us()) // 1000))
    _virtual_us = max(_virtual_us, due_us)
    run_due()
    return 0


def wait(limit_us):
    while now_us() < limit_us:
        utime.sleep_ms(step(limit_us))
        run_due()


class Net:
    """One pin's wire: what drives it, what the chip set up, who hears its edges."""

    def __init__(self):
        self.driven = None  # None: nobody drives it
        self.pull = None
        self.handler = None
        self.trigger = 0
        self.pin = None
        self.floating = 0

    def level(self):
        if self.driven is not None:
            return self.driven
        if self.pull is not None:
            return self.pull
        self.floating ^= 1  # an unconnected input reads anything
        return self.floating

    def drive(self, level):
        before = self.level()
        self.driven = level
        after = self.level()
        if before != after and self.handler and self.trigger & (1 if after else 2):
            self.handler(self.pin)


def net(number):
    if number not in nets:
        nets[number] = Net()
    return nets[number]
