"""Do a station's records agree about its clocks? One rule, for the collector and for who checks a file offline.

From record to record boots may only grow, and within a boot uptime. Within a boot UTC and uptime tell of the same
stretch of time, so they may part by no more than what both records state as uncertain and what a crystal drifts: in
either direction, for a forged satellite signal may push the clock ahead as well as back. Whether a date is possible at
all is `verify.check_date`'s to say.
"""

from holdfire_protocol import fields

from .verify import Verified

CRYSTAL_DRIFT_PPM = 100  # a free-running ESP32 crystal: 10 ppm at 25 °C, and the rest for heat, cold and age
ROUNDING_US = 2000  # uptime is in whole milliseconds at both records

Newest = tuple[int, int, int]  # seq, boot, uptime_ms
Dated = tuple[int, int, int, int, int]  # seq, boot, uptime_ms, utc_us, uncertainty_us


class Clocks:
    """One station's: its newest record, and its newest that has a time, and a possible one."""

    __slots__ = ("_dated", "_newest")

    def __init__(self, newest: Newest | None = None, dated: Dated | None = None):
        self._newest = newest
        self._dated = dated

    def judge(self, new: Verified, date_is_possible: bool) -> str | None:
        """Why the record contradicts those judged before, or None. Where UTC jumped, the record after the jump is
        refused and is the next one's measure: one jump is one finding, and so is the way back."""
        wrong = _out_of_order(new, self._newest)
        if wrong:
            return wrong
        if self._newest is None or new.seq > self._newest[0]:
            self._newest = (new.seq, new.boot, new.uptime_ms)
        source, utc_us, uncertainty_us = new.time
        if source == fields.TIME_NONE or not date_is_possible:
            return None
        wrong = _out_of_step(new, self._dated)
        if self._dated is None or new.seq > self._dated[0]:
            self._dated = (new.seq, new.boot, new.uptime_ms, utc_us, uncertainty_us)
        return wrong


def _out_of_order(new: Verified, newest: Newest | None) -> str | None:
    if newest is None or new.seq == newest[0]:
        return None
    seq, boot, uptime_ms = newest
    sign, side = (1, "before") if new.seq > seq else (-1, "after")
    if sign * (new.boot - boot) < 0:
        return f"is of boot {new.boot}, yet record {seq} {side} it is of boot {boot}"
    if new.boot == boot and sign * (new.uptime_ms - uptime_ms) < 0:
        first, last = (uptime_ms, new.uptime_ms)[::sign]
        return f"uptime runs backwards, from {first} to {last} ms"
    return None


def _out_of_step(new: Verified, dated: Dated | None) -> str | None:
    if dated is None or dated[1] != new.boot:
        return None
    _, _, other_uptime_ms, other_utc_us, other_uncertainty_us = dated
    _, utc_us, uncertainty_us = new.time
    elapsed_us = (new.uptime_ms - other_uptime_ms) * 1000
    gained_us = utc_us - other_utc_us - elapsed_us
    allowed_us = uncertainty_us + other_uncertainty_us + abs(elapsed_us) * CRYSTAL_DRIFT_PPM // 1_000_000 + ROUNDING_US
    if abs(gained_us) <= allowed_us:
        return None
    ran = "ahead of" if (gained_us > 0) == (elapsed_us >= 0) else "backwards against"
    return f"UTC ran {ran} uptime by {abs(gained_us) / 1e6:.3f} s within boot {new.boot}"
