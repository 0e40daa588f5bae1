"""Whether a start was a good one, asked three minutes after it, and the run, after an hour. In memory only then.

Programs on trial are good ones when the station hears if it did before the update, and made a record if it is enrolled.
Else the next start is the other set's (slots.py), and says why.
"""

import machine
from esp32 import NVS
from slots import HEARD, ONE, START, STARTS_GRANTED, TRIAL

from . import crash

GOOD_RUN_MS = 3_600_000  # see crash.py
AGAIN_MS = 60_000
SPACE = "hf-station"  # names as in slots.py and update.py
STATE = "slot"


def settled(station) -> int:
    """This start is a good one, or is undone. Gives the uptime at which to ask again, or 0."""
    if station.monotonic.ms() > GOOD_RUN_MS:
        crash.settled()
        return 0
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
    if station.recorder is not None and station.fault:  # no status record could be made yet
        return station.monotonic.ms() + AGAIN_MS
    return GOOD_RUN_MS if crash.told() else 0


def _lacks(station, state: int) -> str:
    if state & HEARD and not (station.microphone is not None and station.microphone.blocks):
        return "it hears nothing"
    if station.recorder is not None and station.recorder.first_seq is None:
        return "it makes no records"
    return ""
