"""Runs under MicroPython: feeds a file of 32-bit slots to a Detector with the heap locked, prints what it found.

arguments: FILE, BLOCK [setting=value ...]; locked=0 leaves the heap unlocked, take=0 takes only at the end
"""

import sys

import micropython

from holdfire_station.sensing.acoustic import Detector


def main(path, block, *settings):
    block = int(block)
    settings = {s.split("=")[0]: int(s.split("=")[1]) for s in settings}
    take = settings.pop("take", 1)
    reset_at = settings.pop("reset_at", 0)
    locked = settings.pop("locked", 1)
    detector = Detector(**settings)
    buf = bytearray(4 * block)
    with open(path, "rb") as file:
        while True:
            n = file.readinto(buf) // 4
            if not n:
                break
            if locked:
                micropython.heap_lock()
            waiting = detector.feed(buf, n)
            if locked:
                micropython.heap_unlock()
            if reset_at and detector.samples_heard >= reset_at:
                detector.reset_statistics()
                reset_at = 0
            while take and waiting:
                show(detector.take())
                waiting -= 1
    while detector.feed(buf, 0):
        show(detector.take())
    print("state", detector.samples_heard, detector.events_dropped, detector.floor_db10, detector.floor_min_db10,
          detector.floor_max_db10, detector.clipped, int(detector.stuck), detector.self_test()[1],
          int(detector.self_test()[0]))


def show(e):
    print("impulse", e.onset_sample, e.onset_uncertainty_us, e.peak, e.peak_sample, e.rise_us, e.duration_ms,
          e.snr_db10, e.floor_db10, e.zero_crossings, e.clipped, e.bands.hex())


main(*sys.argv[1:])
