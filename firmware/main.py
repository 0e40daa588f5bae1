"""What the chip runs after boot: the board's description in, a station out; after three failed starts one in safe mode.

Whatever is raised ends here: it is remembered for the next start to tell, and the chip is reset.
"""

import gc
import sys
import time

import micropython

import machine

SAFE_AFTER = 3  # failed starts in a row
WATCHDOG_MS = 30_000

micropython.kbd_intr(-1)  # or a 0x03 in line noise would end the station, as Ctrl-C ends a program
# Loading programs leaves as much rubbish as program. Collected early and often, what stays lies close together, and the
# audio buffers still find room in one piece.
gc.threshold(4096)


def run(crashes: int, why) -> None:
    """Returns only when a person asked for the prompt."""
    try:
        machine.WDT(timeout=WATCHDOG_MS)  # a start that hangs has failed, too
    except Exception as error:  # some emulated chips have none
        print(error)
    if crashes >= SAFE_AFTER:
        from holdfire_station.safe import Station
    else:
        from holdfire_station.station import Station
    import asyncio

    from board import BOARD

    station = Station(BOARD, crashes, why)
    del BOARD, sys.modules["board"]  # 3 KB of pins and partitions, in use by now
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
    from holdfire_station import overlay

    run(*overlay.with_module("holdfire_station.crash", "starting"))
except BaseException as error:
    try:
        fallen(error)
    except BaseException as error:
        sys.print_exception(error)
        print("BROKEN: flash this board anew; Ctrl-C within a minute gives MicroPython's prompt")
        micropython.kbd_intr(3)
        time.sleep(60)
    time.sleep(1)  # for the console
    machine.reset()
