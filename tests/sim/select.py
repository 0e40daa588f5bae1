"""`select` that lets the chips run while the firmware waits. Real mode: the port's own poll with one stream more, which is
asked about once a millisecond. Virtual mode: nothing ready means that time moves to whatever happens next."""

import io

import uselect
from chips import world
from uselect import POLLERR, POLLHUP, POLLIN, POLLOUT


class _Chips(io.IOBase):
    def ioctl(self, request, arg):
        if request != 3:  # MP_STREAM_POLL
            return -22
        world.run_due()
        return 0


class _VirtualPoll:
    def __init__(self, real):
        self._real = real
        self.register = real.register
        self.modify = real.modify
        self.unregister = real.unregister

    def poll(self, timeout=-1):
        world.run_due()
        limit_us = world.now_us() + (timeout * 1000 if timeout >= 0 else 1 << 60)
        while True:
            ready = self._real.poll(0)
            if ready or world.now_us() >= limit_us:
                return ready
            world.step(limit_us)

    def ipoll(self, timeout=-1):
        return self.poll(timeout)


def poll():
    real = uselect.poll()
    if world.virtual:
        return _VirtualPoll(real)
    real.register(_Chips(), POLLIN)
    return real
