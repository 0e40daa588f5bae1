"""`time` as the ESP32 has it: ticks that wrap at 2**30, and a clock that knows nothing of the date at power-on.

gmtime, localtime and mktime are absent: their epoch (2000) is not this host's, and firmware keeps UTC itself.
"""


from chips import world

_WRAP = 0x3FFFFFFF
_HALF = 0x20000000


def ticks_us():
    return world.ticks_us() & _WRAP


def ticks_ms():
    return world.ticks_us() // 1000 & _WRAP


def ticks_cpu():
    return world.ticks_us() * 240 & _WRAP


def ticks_add(ticks, delta):
    return (ticks + delta) & _WRAP


def ticks_diff(end, start):
    return ((end - start + _HALF) & _WRAP) - _HALF


def sleep_us(us):
    world.wait(world.true_us_at(world.ticks_us() + us))


def sleep_ms(ms):
    sleep_us(ms * 1000)


def sleep(seconds):
    sleep_us(int(seconds * 1000000))


def time_ns():
    return world.ticks_us() * 1000


def time():
    return world.ticks_us() // 1000000
