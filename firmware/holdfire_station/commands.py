"""What a person can type at the console, and the answers: lines of at most 80 columns."""

import gc

from holdfire_protocol import fields

from . import identity, report
from .console import hex_bytes


class Commands:
    """`table` is what the console asks. Reads the station; changes it only to enrol."""

    def __init__(self, station):
        self._station = station

    def table(self) -> dict:
        """Every command."""
        return {
            "help": ("this list", self._help),
            "status": ("how the station is", self._status),
            "last": ("the last record", self._last),
            "selftest": ("what works and what does not", self._selftest),
            "identity": ("key and deployment, for the collector", self._identity),
            "enrol": ("NETWORK COLLECTOR ENTROPY (hex): make a key, once", self._enrol),
        }

    def _help(self, _) -> list:
        table = self.table()
        return ["  %-9s %s" % (name, table[name][0]) for name in sorted(table)]

    def _selftest(self, _) -> list:
        return report.selftest_lines(self._station.selftest())

    def _status(self, _) -> list:
        station = self._station
        journal = station.journal
        detector = station.detector
        now_us = station.monotonic.us()
        battery_mv = station.battery.read_mv()
        failed = ["%s failed %d times" % item for item in station.failed_tasks.items()]
        return [
            "station    boot %d, up %d s, %s" % (
                station.boot, now_us // 1_000_000, "recording" if station.recorder else "NOT ENROLLED"),
            "time       " + report.time_text(station.clock.utc(now_us)),
            "gnss       %d satellites, %d sentences refused" % (station.gnss.fix.satellites, station.gnss.fix.refused),
            "microphone floor %s, %d s heard, %d samples lost" % (
                report.decibels(detector.floor_db10),
                detector.samples_heard // station.board["microphone"]["sample_rate_hz"],
                station.microphone.lost_samples),
            "records    last %d, receipted %d, waiting %d, journal %d permille" % (
                journal.last_seq, journal.receipted, journal.pending_count, station.journal_permille()),
            "battery    " + ("unknown" if battery_mv is None else "%d mV" % battery_mv),
            "case       " + ("OPEN" if station.tamper.open else "closed"),
            "refused    %d lines or beacons; %d observations not recorded" % (
                station.all_refused(), station.unrecorded),
            "tasks      " + (", ".join(failed) or "all well"),
            "heap       %d bytes free" % gc.mem_free(),
        ]  # fmt: skip

    def _last(self, _) -> list:
        last = self._station.journal.last
        return report.record_lines(last[1]) if last else ["no record yet"]

    def _identity(self, _) -> list:
        station = self._station
        if station.recorder is None:
            return [station.identity_fault or "identity network=none public=none kid=none"]
        who = station.identity
        return ["identity network=%s public=%s kid=%s" % (who.network.hex(), who.public.hex(), who.kid.hex())]

    def _enrol(self, words) -> list:
        if len(words) != 3:
            raise ValueError("enrol takes NETWORK COLLECTOR ENTROPY; `holdfire enrol` on the base laptop sends them")
        network = hex_bytes(words[0], "network", fields.NETWORK_BYTES)
        collector = hex_bytes(words[1], "collector", fields.PUBLIC_KEY_BYTES)
        entropy = hex_bytes(words[2], "entropy", identity.SEED_BYTES)
        try:
            who = identity.create(network, collector, entropy)
        except identity.IdentityError as error:
            raise ValueError(str(error))
        self._station.begin(who)
        return ["enrolled public=%s kid=%s" % (who.public.hex(), who.kid.hex())]
