"""Sound through the detector's ring into the history of clips. Runs under MicroPython.

    micropython clip_feed.py SLOTS_FILE RATE_HZ LOCKED

Prints the blocks in hex. With LOCKED=1 the heap is locked while sound is taken.
"""

import sys
from binascii import hexlify

import micropython

from holdfire_station.sensing import acoustic, clip

detector = acoustic.Detector(int(sys.argv[2]))
history = clip.History(detector)
feed, detect = history.feed, detector.feed
block = bytearray(1024)
with open(sys.argv[1], "rb") as file:
    while file.readinto(block) == 1024:
        detect(block, 256)
        if sys.argv[3] == "1":
            micropython.heap_lock()
        feed(256)
        if sys.argv[3] == "1":
            micropython.heap_unlock()
count = min(history.blocks, clip.BLOCKS - 1)
print(hexlify(history.copy(history.blocks - count, count)).decode())
