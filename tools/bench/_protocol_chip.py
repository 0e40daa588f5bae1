"""Runs under MicroPython: what the protocol package costs. See protocol.py.

arguments: `import`, or `run` RECORD_FILE NETWORK_HEX SECONDS; prints a number, or (calls a second, bytes) a line.
"""

import gc
import sys
import time

gc.collect()
before = gc.mem_alloc()
from holdfire_protocol import cose, frame, line, record  # noqa: E402

gc.collect()
after = gc.mem_alloc()


def rate(step, seconds):
    """Calls a second."""
    done = 0
    start = time.ticks_ms()
    while time.ticks_diff(time.ticks_ms(), start) < seconds * 1000:
        step()
        done += 1
        gc.collect()  # as a station does between records: so the figure holds what the garbage costs
    return done * 1000 // time.ticks_diff(time.ticks_ms(), start)


def allocated(step):
    """Bytes that one call allocates, garbage included: no collection runs while so much of the heap is free."""
    gc.collect()
    start = gc.mem_alloc()
    step()
    return gc.mem_alloc() - start


def main(message, network, seconds):
    parts = cose.parse(message)
    named = record.decode_record(parts.payload)

    def encode():
        return record.encode_record(named)

    def decode():
        return record.decode_record(parts.payload)

    def collect():
        return None

    def send():
        return line.encode(frame.encode(1, network, message))

    framed = send()

    def receive():
        return cose.parse(frame.decode(line.decode(framed[:-2]), network)[1])

    for step in (collect, encode, decode, send, receive):
        print(rate(step, seconds), allocated(step))


if sys.argv[1] == "import":
    print(after - before)
else:
    with open(sys.argv[2], "rb") as signed:
        main(signed.read(), bytes.fromhex(sys.argv[3]), int(sys.argv[4]))
