"""u-blox NEO-M8 receiver as it leaves the factory: NMEA 4.0 at 9600 baud, one epoch a second, PPS with a fix.

From the M8 protocol specification and data sheet: time and position fields empty and status V before the fix; the
talker is GN when several systems are in use; PPS rises on the second and stays up 100 ms, and is still without a fix.
The sentences of a second follow it by 100 to 300 ms. Commands written to it are ignored.
"""

from micropython import const

from chips import world

_SECOND_US = const(1000000)
_PULSE_US = const(100000)
_GSV = "GPGSV,3,1,12,02,45,120,41,05,67,210,44,07,22,051,38,13,11,301,33"


def _checked(body):
    check = 0
    for byte in body.encode():
        check ^= byte
    return "$%s*%02X\r\n" % (body, check)


def _civil(days):
    """Year, month, day of a day counted from 1970-01-01, until February 2100; the year is made to begin in March."""
    days -= 11017  # 2000-03-01
    year = (4 * days + 3) // 1461
    day = days - 1461 * year // 4
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    month += 3 if month < 10 else -9
    return 2000 + year + (month <= 2), month, day + 1


def _angle(degrees_e7, width, signs):
    sign = signs[degrees_e7 < 0]
    degrees, fraction = divmod(abs(degrees_e7), 10000000)
    minutes_e5 = (fraction * 60 + 50) // 100
    if minutes_e5 >= 6000000:
        degrees, minutes_e5 = degrees + 1, 0
    return "%0*d%02d.%05d,%s" % (width, degrees, minutes_e5 // 100000, minutes_e5 % 100000, sign)


class NeoM8:
    def __init__(self, pps_net, latitude_e7, longitude_e7, altitude_m, first_fix_us, more_sentences=0):
        self._pps = pps_net
        self._place = _angle(latitude_e7, 2, "NS") + "," + _angle(longitude_e7, 3, "EW")
        self._altitude_m = altitude_m
        self._fix_at_us = first_fix_us
        self._more = "".join([_checked(_GSV)] * more_sentences).encode()  # as when it is set to tell of every satellite
        self._sky = True
        self.baud = 9600
        self.send = None  # the UART this is wired to sets it
        self._jitter = 12345
        pps_net.driven = 0
        world.at(self._next_second(0), self._second)

    def set_sky(self, visible):
        if visible and not self._sky:
            self._fix_at_us = world.now_us() + 2 * _SECOND_US  # hot start
        self._sky = visible

    def _next_second(self, after_us):
        return after_us + _SECOND_US - world.utc_us(after_us) % _SECOND_US

    def _fixed(self, true_us):
        return self._sky and true_us >= self._fix_at_us

    def _second(self, due_us):
        if self._fixed(due_us):
            self._pps.drive(1)
            world.at(due_us + _PULSE_US, self._pulse_ends)
        self._jitter = (self._jitter * 1103515245 + 12345) & 0x7FFFFFFF
        world.at(due_us + 100000 + (self._jitter >> 8) % 200000, self._report)
        self._epoch_us = world.utc_us(due_us)
        return due_us + _SECOND_US

    def _pulse_ends(self, due_us):
        self._pps.drive(0)

    def _report(self, due_us):
        if self.send is None:
            return
        days, seconds = divmod(self._epoch_us // _SECOND_US, 86400)
        year, month, day = _civil(days)
        clock = "%02d%02d%02d.00" % (seconds // 3600, seconds // 60 % 60, seconds % 60)
        date = "%02d%02d%02d" % (day, month, year % 100)
        if self._fixed(due_us):
            sentences = (
                "GNRMC,%s,A,%s,0.012,,%s,,,A" % (clock, self._place, date),
                "GNGGA,%s,%s,1,11,0.84,%d.0,M,46.9,M,," % (clock, self._place, self._altitude_m),
                "GNGSA,A,3,02,05,07,13,15,30,,,,,,,1.52,0.84,1.27",
            )
        else:
            sentences = (
                "GNRMC,,V,,,,,,,,,,N", "GNGGA,,,,,,0,00,99.99,,,,,,", "GNGSA,A,1,,,,,,,,,,,,,99.99,99.99,99.99"
            )
        for sentence in sentences:  # in pieces, most of them made once: this takes the firmware's memory
            self.send(_checked(sentence).encode(), due_us)
        if self._more:
            self.send(self._more, due_us)
