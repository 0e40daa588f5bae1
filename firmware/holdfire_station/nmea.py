"""NMEA 0183 sentences from a GNSS receiver: only RMC (time, validity, position) and GGA (satellites, HDOP, height).

Pure and bounded: bytes in, `Fix` attributes updated, everything malformed refused and counted. Trusts nothing:
checksum, field count, digits and ranges are checked, for the wire is open and receivers spit out fragments while they
start.
"""

MAX_SENTENCE = 96  # the standard says 82 with CR LF; some receivers exceed it a little


class Fix:
    """What the receiver last said. `utc_s` is the second named by the last valid RMC, or None."""

    def __init__(self):
        self.refused = 0
        self.utc_s = None
        self.latitude_e7 = 0
        self.longitude_e7 = 0
        self.height_dm = 0
        self.hdop_x10 = 999
        self.satellites = 0
        self.has_height = False
        self._line = bytearray()

    def feed(self, data: bytes) -> int:
        """Take bytes as they come. Returns how many valid RMC sentences they completed; `utc_s` is the last one's."""
        fixes = 0
        for byte in data:
            if byte == 0x24:  # $ begins a sentence, whatever came before
                self._line = bytearray()
            if byte in (10, 13):
                if self._line:
                    fixes += self._sentence(bytes(self._line))
                    self._line = bytearray()
            elif len(self._line) < MAX_SENTENCE:
                self._line.append(byte)
            else:
                self.refused += 1
                self._line = bytearray()
        return fixes

    def _sentence(self, line: bytes) -> int:
        try:
            body = checked_body(line)
            part = body.split(b",")
            kind = part[0][-3:]
            if kind == b"RMC" and len(part) >= 10:
                return self._rmc(part)
            if kind == b"GGA" and len(part) >= 10:
                self._gga(part)
        except ValueError:
            self.refused += 1
        return 0

    def _rmc(self, part) -> int:
        if part[2] != b"A":
            self.utc_s = None
            return 0
        utc_s = utc_seconds(part[9], part[1])
        latitude_e7 = degrees_e7(part[3], 2, part[4], b"N", b"S")
        longitude_e7 = degrees_e7(part[5], 3, part[6], b"E", b"W")
        self.utc_s, self.latitude_e7, self.longitude_e7 = utc_s, latitude_e7, longitude_e7
        return 1

    def _gga(self, part) -> None:
        if part[6] in (b"", b"0"):
            self.satellites = 0
            self.has_height = False
            return
        satellites = digits(part[7])
        hdop_x10 = decimal(part[8], 1)
        height_dm = decimal(part[9], 1)
        if satellites > 99 or not -10_000 <= height_dm <= 1_000_000:
            raise ValueError("GGA out of range")
        self.satellites, self.hdop_x10, self.height_dm = satellites, min(hdop_x10, 999), height_dm
        self.has_height = True


def checked_body(line: bytes) -> bytes:
    """What stands between `$` and `*` of a sentence whose checksum holds. Raises ValueError."""
    star = len(line) - 3
    if line[:1] != b"$" or star < 6 or line[star] != 0x2A:
        raise ValueError("not a sentence")
    body = line[1:star]
    total = 0
    for byte in body:
        total ^= byte
    if int(line[star + 1 :], 16) != total:
        raise ValueError("checksum")
    return body


def digits(text: bytes) -> int:
    """An unsigned decimal number of digits only. Raises ValueError."""
    if not text or not text.isdigit():
        raise ValueError("not digits")
    return int(text)


def decimal(text: bytes, places: int) -> int:
    """A decimal fraction scaled by 10**places, further places cut off. Raises ValueError."""
    sign = 1
    if text[:1] == b"-":
        sign, text = -1, text[1:]
    whole, _, fraction = text.partition(b".")
    fraction = (fraction + b"0" * places)[:places]
    return sign * (digits(whole) * 10**places + (digits(fraction) if places else 0))


def degrees_e7(text: bytes, degree_digits: int, side: bytes, positive: bytes, negative: bytes) -> int:
    """`ddmm.mmmm` and a hemisphere as 1e-7 degrees. Raises ValueError."""
    degrees = digits(text[:degree_digits])
    minutes_e7 = decimal(text[degree_digits:], 7)
    value = degrees * 10_000_000 + minutes_e7 // 60
    if minutes_e7 < 0 or minutes_e7 >= 600_000_000 or value > (900_000_000 if degree_digits == 2 else 1_800_000_000):
        raise ValueError("degrees out of range")
    if side == positive:
        return value
    if side == negative:
        return -value
    raise ValueError("hemisphere")


def utc_seconds(date: bytes, time: bytes) -> int:
    """Unix time of `ddmmyy` and `hhmmss[.sss]`, years 2000 to 2079. Raises ValueError; a leap second is refused."""
    if len(date) != 6 or len(time) < 6:
        raise ValueError("date or time cut short")
    day, month, year = digits(date[:2]), digits(date[2:4]), 2000 + digits(date[4:])
    hour, minute, second = digits(time[:2]), digits(time[2:4]), digits(time[4:6])
    if len(time) > 6 and decimal(time[4:], 3) % 1000:
        raise ValueError("not on a full second")  # a navigation solution between pulses names no pulse
    leap = year % 4 == 0  # holds for 2000 to 2079
    lengths = (31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    if not (1 <= month <= 12 and 1 <= day <= lengths[month - 1] and year < 2080):
        raise ValueError("no such date")
    if not (hour < 24 and minute < 60 and second < 60):
        raise ValueError("no such time")
    days = (year - 1970) * 365 + (year - 1969) // 4 + sum(lengths[: month - 1]) + day - 1
    return ((days * 24 + hour) * 60 + minute) * 60 + second
