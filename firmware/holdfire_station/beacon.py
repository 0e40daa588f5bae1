"""What was sent when, which a beacon is measured against. What a beacon proves is `beacon_reading`'s to say."""

from . import overlay

SENT_KEPT = 16  # first transmissions remembered: a beacon usually answers the last few


class BeaconError(ValueError):
    """A beacon that is not believed. The message says why."""


class BeaconReader:
    """`sent` notes what goes out; `read` checks a beacon and says what follows from it."""

    def __init__(self, identity, journal, first_seq_of_boot):
        self.identity = identity
        self.journal = journal
        self._first_seq_of_boot = first_seq_of_boot  # function: None before the first record of this boot
        self.number = 0  # of the newest beacon that was believed
        self._sent = []  # (seq, monotonic us) of first transmissions in this boot, oldest first

    def sent(self, seq: int, at_us: int) -> None:
        """A record went out at monotonic `at_us`. Only the first time counts: the base may answer any later one."""
        first = self._first_seq_of_boot()
        if first is None or seq < first or (self._sent and seq <= self._sent[-1][0]):
            return
        if len(self._sent) == SENT_KEPT:
            self._sent.pop(0)
        self._sent.append((seq, at_us))

    async def read(self, message: bytes):
        """(receipt, sent_us, time) or raises BeaconError. Gives way to other tasks while the signature is verified.

        `receipt` is a sequence number newly acknowledged, or None; `sent_us` when a record it covers was first sent in
        this boot, or None; `time` the beacon's (source, utc_us, uncertainty_us).
        """
        return await overlay.with_module("holdfire_station.beacon_reading", "read", self, message)
