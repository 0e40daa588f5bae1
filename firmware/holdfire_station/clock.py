"""UTC with a stated uncertainty, from GNSS pulses, GNSS sentences or beacons, over the chip's crystal.

Pure: monotonic microseconds and UTC in, (source, utc_us, uncertainty_us) out; owns no pin and reads no timer but
through `Monotonic`. Does not steer anything: it keeps the offset between the crystal and UTC, and says how far it may
be wrong.
"""

from holdfire_protocol.fields import TIME_BEACON, TIME_CRYSTAL, TIME_GNSS, TIME_GNSS_PPS, TIME_NONE, U32, UTC_MIN_US

AGREEMENTS_NEEDED = 3  # fixes in a row that tell the same time, before the first is believed
AGREEMENTS_TO_JUMP = 10  # as many that contradict what is believed, before that is given up
FRESH_GNSS_US = 5_000_000
FRESH_BEACON_US = 60_000_000
NMEA_LATENCY_US = 500_000  # a sentence arrives within a second after the instant it names: the middle of that
PPS_FLOOR_US = 50  # least claim for a pulse seen by a scheduled interrupt; the measured spread is added
PPS_START_US = 5_000  # assumed spread before it was measured: a busy station serves an interrupt late
DRIFT_PPM = 40  # crystal over the range of temperature, undisciplined
DISCIPLINED_PPM = 15  # after its rate was measured against GNSS: what temperature can still do
RATE_BASE_US = 64_000_000  # a pulse seen 1 ms late over this base is 16 ppm
RATE_LIMIT_PPB = 100_000


class Monotonic:
    """Microseconds since boot, unbounded. `ticks_us` wraps every 18 minutes on the chip: call well within 9."""

    def __init__(self, time):
        self._time = time
        self._last = time.ticks_us()
        self._us = 0

    def us(self) -> int:
        """Microseconds since this object was made."""
        now = self._time.ticks_us()
        self._us += self._time.ticks_diff(now, self._last)
        self._last = now
        return self._us

    def at(self, ticks_us: int) -> int:
        """The same scale for a recent reading of `ticks_us`."""
        self.us()
        return self._us + self._time.ticks_diff(ticks_us, self._last)

    def ms(self) -> int:
        """Milliseconds since this object was made."""
        return self.us() // 1000


class Clock:
    """`on_pulse`, `on_fix`, `on_beacon` feed it; `utc` answers. `rejected` counts fixes that contradicted the rest."""

    def __init__(self):
        self.rejected = 0
        self.rate_ppb = 0
        self._rate_known = False
        self._source = TIME_NONE
        self._anchor_us = 0  # monotonic
        self._anchor_utc_us = 0
        self._anchor_uncertainty_us = 0
        self._spread_us = 0  # how much pulses scatter; decays
        self._pulse_us = None  # last PPS edge not yet named by a sentence
        self._agreed = 0
        self._disagreed = 0
        self._candidate_us = 0
        self._candidate_utc_us = 0
        self._rate_from = None

    def utc(self, at_us: int):
        """(source, utc_us, uncertainty_us) of monotonic instant `at_us`; (0, 0, 4294967295) while time is not known."""
        if self._source == TIME_NONE:
            return TIME_NONE, 0, U32
        elapsed_us = at_us - self._anchor_us
        age_us = abs(elapsed_us)
        ppm = DISCIPLINED_PPM if self._rate_known else DRIFT_PPM
        uncertainty_us = self._anchor_uncertainty_us + age_us * ppm // 1_000_000
        fresh_us = FRESH_BEACON_US if self._source == TIME_BEACON else FRESH_GNSS_US
        if uncertainty_us >= U32:  # beyond what a record can state: then it must not state a time at all
            return TIME_NONE, 0, U32
        return self._source if age_us <= fresh_us else TIME_CRYSTAL, self._predict(at_us), uncertainty_us

    def on_pulse(self, at_us: int) -> None:
        """A PPS edge was seen at monotonic `at_us`: a UTC second began. The sentence that follows says which."""
        self._pulse_us = at_us

    def on_fix(self, utc_s: int, at_us: int) -> None:
        """A sentence with a valid fix for UTC second `utc_s` arrived at monotonic `at_us`."""
        pulse_us = self._pulse_us
        self._pulse_us = None
        if utc_s * 1_000_000 < UTC_MIN_US:  # a week-number rollover, or a receiver that never had a fix
            self.rejected += 1
            return
        # A sentence names the second of the pulse before it; a pulse older than a second belongs to another one. That a
        # sentence is not more than a second late is the caller's to know (gnss.py looks how full the line is); of a
        # receiver that computes for more than a second and then finds its line idle, nothing here could tell.
        if pulse_us is not None and 0 < at_us - pulse_us < 1_000_000:
            self._anchor(TIME_GNSS_PPS, utc_s * 1_000_000, pulse_us, 0)
        else:
            self._anchor(TIME_GNSS, utc_s * 1_000_000 + NMEA_LATENCY_US, at_us, NMEA_LATENCY_US)

    def on_beacon(self, utc_us: int, uncertainty_us: int, sent_us: int, at_us: int) -> None:
        """A verified beacon, signed between monotonic `sent_us` (a record it acknowledges left) and `at_us` (now).

        True UTC now lies between the beacon's time and that plus the round trip; taken only when that is better than
        what is known.
        """
        half_us = (at_us - sent_us) // 2
        uncertainty_us += half_us + (at_us - sent_us) * DRIFT_PPM // 1_000_000 + 1
        if self._source == TIME_NONE or uncertainty_us < self.utc(at_us)[2]:
            self._source = TIME_BEACON
            self._set(utc_us + half_us, at_us, uncertainty_us)

    def _predict(self, at_us: int) -> int:
        elapsed_us = at_us - self._anchor_us
        return self._anchor_utc_us + elapsed_us + elapsed_us * self.rate_ppb // 1_000_000_000

    def _set(self, utc_us: int, at_us: int, uncertainty_us: int) -> None:
        self._anchor_utc_us = utc_us
        self._anchor_us = at_us
        self._anchor_uncertainty_us = uncertainty_us

    def _anchor(self, source: int, utc_us: int, at_us: int, uncertainty_us: int) -> None:
        """Believe a GNSS instant only when those before it agree (a cold receiver tells old or leaping times)."""
        # One sentence may come up to 1 s later than another; a pulse is late by at most a few ms.
        tolerance_us = 2 * uncertainty_us + 20_000
        step_us = (utc_us - self._candidate_utc_us) - (at_us - self._candidate_us)
        self._candidate_utc_us = utc_us
        self._candidate_us = at_us
        if abs(step_us) > tolerance_us:
            self._agreed = 0
            self.rejected += 1
            return
        self._agreed += 1
        believed = self._source in (TIME_GNSS, TIME_GNSS_PPS)
        if not believed:
            if self._agreed >= AGREEMENTS_NEEDED:
                self._adopt(source, utc_us, at_us, uncertainty_us)
            return
        error_us = utc_us - self._predict(at_us)
        if abs(error_us) > tolerance_us + self.utc(at_us)[2]:
            self._disagreed += 1
            self.rejected += 1
            if self._disagreed >= AGREEMENTS_TO_JUMP and self._agreed >= AGREEMENTS_TO_JUMP:
                self._adopt(source, utc_us, at_us, uncertainty_us)
            return
        self._disagreed = 0
        if source == TIME_GNSS_PPS:
            self._follow_pulse(utc_us, at_us, error_us)
        elif uncertainty_us < self.utc(at_us)[2]:  # pulses stopped, and free running has become worse than sentences
            self._adopt(source, utc_us, at_us, uncertainty_us)

    def _adopt(self, source: int, utc_us: int, at_us: int, uncertainty_us: int) -> None:
        self._source = source
        self._disagreed = 0
        self._spread_us = PPS_START_US
        self._rate_from = None
        self._set(utc_us, at_us, max(uncertainty_us, PPS_START_US))

    def _follow_pulse(self, utc_us: int, at_us: int, error_us: int) -> None:
        """Interrupts are only ever late: an earlier pulse than predicted is the better one."""
        if self._source != TIME_GNSS_PPS:
            self._adopt(TIME_GNSS_PPS, utc_us, at_us, 0)
            return
        corrected_utc_us = self._predict(at_us) + (error_us if error_us > 0 else error_us // 16)
        self._spread_us = max(abs(error_us), self._spread_us - self._spread_us // 32)
        self._set(corrected_utc_us, at_us, self._spread_us + PPS_FLOOR_US)
        if self._rate_from is None:
            self._rate_from = (corrected_utc_us, at_us)
            return
        from_utc_us, from_us = self._rate_from
        if at_us - from_us >= RATE_BASE_US:
            rate_ppb = ((corrected_utc_us - from_utc_us) - (at_us - from_us)) * 1_000_000_000 // (at_us - from_us)
            if abs(rate_ppb) <= RATE_LIMIT_PPB:
                self.rate_ppb += (rate_ppb - self.rate_ppb) // (4 if self._rate_known else 1)
                self._rate_known = True
            self._rate_from = (corrected_utc_us, at_us)
