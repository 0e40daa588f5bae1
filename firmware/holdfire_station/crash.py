"""What is remembered of runs that failed: how many in a row, and why the last one. In memory only while it is used.

Kept in the chip's NVS, which survives every reset and power cut, and is written only after a failure: a station that
runs well never touches it. A failure is counted at the start that follows a reset which was not a power-on (the
watchdog, a fault in C code, our own reset after an exception), or an exception that was noted. The count is dropped
after a run of an hour (trial.py), the longest that may pass between two status records unless somebody sets more: who
crashes sooner may never have signed what it heard, however often it starts. So a station that crashes every few minutes
ends in safe mode, too, and one that crashes twice a week does not. A failure costs four writes at most.

A mere power cut is no failure and begins anew: a cable that is plugged and unplugged must not end in a station that
does not listen. MicroPython has no cause of its own for a brown-out; where its release gives it as the watchdog's it
counts (three within an hour each, and the station rests for one), where it gives it as power-on it does not.
"""

import machine
from esp32 import NVS
from slots import TRIAL

LIMIT = 3  # runs that failed in a row: the next is one in safe mode
WHY_BYTES = 64
_SPACE = "hf-station"
_COUNT = "crashes"
_WHY = "why"


def starting():
    """(runs in a row that failed until now, why the last one did or None). Call once a boot.

    Where nothing can be remembered every start is the first.
    """
    try:
        return _starting(NVS(_SPACE))
    except OSError:
        return 0, None


def _starting(nvs):
    crashes, why = _count(nvs), _why(nvs)
    before = crashes
    power_on = machine.reset_cause() == machine.PWRON_RESET
    if power_on and crashes == LIMIT:
        crashes = LIMIT - 1  # somebody may have mended it: one try
    elif power_on and why is None:
        crashes = 0
    elif crashes < LIMIT:
        crashes += 1
    if crashes != before:
        nvs.set_i32(_COUNT, crashes)
        nvs.commit()
    return crashes or _on_trial(nvs), why


def note(error) -> None:
    """This start failed by an exception: remember it, for the next one to tell."""
    nvs = NVS(_SPACE)
    nvs.set_blob(_WHY, ("%s: %s" % (type(error).__name__, error)).encode()[:WHY_BYTES])
    nvs.commit()


def told() -> int:
    """Why the last run failed is in a record by now: a power cut from here on is a mere one. Gives the count."""
    nvs = NVS(_SPACE)
    if _why(nvs) is not None:
        nvs.erase_key(_WHY)
        nvs.commit()
    return _count(nvs)


def settled() -> None:
    """This run is a good one."""
    _restart_from(0)


def try_again() -> None:
    """The next start is an ordinary one, and should it fail, the one after is in safe mode again."""
    _restart_from(LIMIT - 2)


def _restart_from(crashes: int) -> None:
    nvs = NVS(_SPACE)
    nvs.set_i32(_COUNT, crashes)
    if _why(nvs) is not None:
        nvs.erase_key(_WHY)
    nvs.commit()


def _count(nvs) -> int:
    try:
        return nvs.get_i32(_COUNT)
    except OSError:
        return 0


def _on_trial(nvs) -> int:
    """1 for programs that have to prove themselves, though no start of theirs failed: it then tells `trial`."""
    try:
        return nvs.get_i32("slot") // TRIAL % 2
    except OSError:
        return 0


def _why(nvs):
    kept = bytearray(WHY_BYTES)
    try:
        length = nvs.get_blob(_WHY, kept)
    except OSError:
        return None
    return "".join([chr(byte) for byte in kept[:length] if 32 <= byte < 127])
