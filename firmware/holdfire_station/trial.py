"""Whether programs on trial are good ones, asked once, minutes after their start. In memory only then.

They are when the station hears if it did before the update, and made a record if it is enrolled. Else the next start
is the other set's (slots.py), and says why.
"""

import machine
from esp32 import NVS
from slots import HEARD, ONE, START, STARTS_GRANTED, TRIAL

from . import crash

SPACE = "hf-station"  # names as in slots.py and update.py
STATE = "slot"


def settled(station) -> None:
    """This start is a good one, or is undone."""
    nvs = NVS(SPACE)
    try:
        state = nvs.get_i32(STATE)
    except OSError:
        state = 0
    if state & TRIAL:
        lacks = _lacks(station, state)
        if lacks:
            station.console.say("update undone: %s" % lacks)
            nvs.set_blob("why", lacks.encode())
            nvs.set_i32(STATE, state & (ONE | TRIAL) | STARTS_GRANTED * START)
            nvs.commit()
            machine.reset()
        nvs.set_i32("number", nvs.get_i32("offered"))
        nvs.set_i32(STATE, state & ONE ^ ONE)
        nvs.commit()
        station.console.say("update confirmed: these programs are kept")
    crash.settled()


def _lacks(station, state: int) -> str:
    if state & HEARD and not (station.microphone is not None and station.microphone.blocks):
        return "it hears nothing"
    if station.recorder is not None and station.recorder.first_seq is None:
        return "it makes no records"
    return ""
