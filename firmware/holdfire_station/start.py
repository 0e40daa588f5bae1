"""The start of the programs: the board's description in, a station out; after three failed starts one in safe mode.

Runs when it is imported, by main.py, which no update changes: so nothing here is known to it by a name. Whatever is
raised is remembered for the next start to tell, and the chip is reset.
"""

import gc
import sys
import time

import machine

from . import overlay

SAFE_AFTER = 3  # failed starts in a row


def run(crashes: int, why) -> None:
    """Returns only when a person asked for the prompt."""
    if crashes >= SAFE_AFTER:
        from .safe import Station
    else:
        from .station import Station  # type: ignore[assignment]  # of the same form
    import asyncio

    from board import BOARD

    station = Station(BOARD, crashes, why)
    del BOARD, sys.modules["board"]  # 3 KB of pins and partitions, in use by now
    overlay.forget("holdfire_protocol.fields")  # what is wanted, `record` has; numbers stand in place
    gc.collect()
    gc.threshold(16384)
    asyncio.run(station.run())


def fallen(error) -> None:
    """Remember the error and reset; where nothing can be remembered, go on in safe mode at once."""
    gc.collect()
    sys.print_exception(error)
    try:
        overlay.with_module("holdfire_station.crash", "note", error)
    except BaseException:
        run(SAFE_AFTER, "%s: %s" % (type(error).__name__, error))


try:
    run(*overlay.with_module("holdfire_station.crash", "starting"))
except BaseException as error:
    fallen(error)
    time.sleep(1)  # for the console
    machine.reset()
