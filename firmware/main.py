"""What the chip runs after boot, and no update changes: it chooses the programs (slots.py) and starts them.

What they do not catch themselves means that they cannot run at all. Then the programs before them run again; where
there are none, a person has a minute for MicroPython's prompt.
"""

import gc
import sys
import time

import micropython

import machine

WATCHDOG_MS = 30_000
PROMPT_S = 60

micropython.kbd_intr(-1)  # or a 0x03 in line noise would end the station, as Ctrl-C ends a program
# Loading programs leaves as much rubbish as program. Collected early and often, what stays lies close together, and the
# audio buffers still find room in one piece.
gc.threshold(4096)
try:
    machine.WDT(timeout=WATCHDOG_MS)  # a start that hangs has failed, too
except Exception as error:  # some emulated chips have none
    print(error)
try:
    try:
        import slots

        slots.choose()
        del slots, sys.modules["slots"]
    except Exception as error:  # a worn NVS: the programs may be on the path all the same
        sys.print_exception(error)
    import holdfire_station.start  # noqa: F401  # runs the station
except BaseException as error:
    sys.print_exception(error)
    again = False
    try:
        import slots

        again = slots.undone(error)
    except BaseException as error:
        sys.print_exception(error)
    if not again:
        print("BROKEN: flash this board anew; Ctrl-C within a minute gives MicroPython's prompt")
        micropython.kbd_intr(3)
        try:
            machine.WDT(timeout=2000 * PROMPT_S)
        except Exception as error:
            print(error)
        time.sleep(PROMPT_S)
    time.sleep(1)  # for the console
    machine.reset()
