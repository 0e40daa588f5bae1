"""UTC as microseconds since 1970 and as RFC 3339 text: the only two forms of time on the host."""

import datetime
import re
import time

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?([Zz]|[+-]\d\d:\d\d)")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_US = datetime.timedelta(microseconds=1)


def now_us() -> int:
    """The machine's clock."""
    return time.time_ns() // 1000


def text(utc_us: int, digits: int = 6) -> str:
    """RFC 3339 in UTC, as `2026-11-24T13:20:00.123456Z`; `digits` (0 to 6) of the second are kept, the rest cut off."""
    moment = _EPOCH + datetime.timedelta(microseconds=utc_us)
    fraction = f".{utc_us % 1_000_000:06d}"[: digits + 1] if digits else ""
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"


def parse(written: str) -> int:
    """Microseconds of an RFC 3339 time; a zone is required. Raises ValueError."""
    found = _RFC3339.fullmatch(written)
    if not found:
        raise ValueError(f"{written!r} is not a time like 2026-11-24T13:20:00Z")
    day, clock, fraction, zone = found.groups()
    try:
        moment = datetime.datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in 'Zz' else zone}")
    except ValueError as error:
        raise ValueError(f"{written!r}: {error}") from None
    return (moment - _EPOCH) // _US + int((fraction or "0").ljust(6, "0"))
