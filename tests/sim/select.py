"""`select` that lets the chips run while the firmware waits: until the next thing that happens to them, or until a file
descriptor (the console) is ready. In virtual time the wait takes none. The port's own poll would sleep a millisecond at
every call in which a chip takes part, ready or not.
"""

import uselect
from uselect import POLLERR, POLLHUP, POLLIN, POLLOUT  # noqa: F401  they are part of the module

from chips import world

_STREAM_POLL = 3


class _Poll:
    def __init__(self):
        self._descriptors = uselect.poll()
        self._chips = {}  # id -> [stream, events]

    def register(self, stream, events=POLLIN | POLLOUT):
        if hasattr(stream, "ioctl"):
            self._chips[id(stream)] = [stream, events]
        else:
            self._descriptors.register(stream, events)

    def modify(self, stream, events):
        if id(stream) in self._chips:
            self._chips[id(stream)][1] = events
        else:
            self._descriptors.modify(stream, events)

    def unregister(self, stream):
        if id(stream) in self._chips:
            del self._chips[id(stream)]
        else:
            self._descriptors.unregister(stream)

    def poll(self, timeout=-1):
        world.run_due()
        limit_us = world.now_us() + (timeout * 1000 if timeout >= 0 else 1 << 60)
        wait_ms = 0
        while True:
            ready = self._descriptors.poll(wait_ms)
            world.run_due()
            for stream, events in self._chips.values():
                event = stream.ioctl(_STREAM_POLL, events)
                if event:
                    ready.append((stream, event))
            if ready or world.now_us() >= limit_us:
                return ready
            wait_ms = world.step(limit_us)

    def ipoll(self, timeout=-1):
        return self.poll(timeout)


def poll():
    return _Poll()
