"""What a beacon proves to this station: that the base holds its records, and what time it is.

Cheap checks first: a signature costs the chip a tenth of a second, and anybody can shout on the air.
"""

from holdfire_protocol import cose, fields, record

from .crypto import verify

SENT_KEPT = 16  # first transmissions remembered: a beacon usually answers the last few


class BeaconError(ValueError):
    """A beacon that is not believed. The message says why."""


class BeaconReader:
    """`sent` notes what goes out; `read` checks a beacon and says what follows from it."""

    def __init__(self, identity, journal, first_seq_of_boot):
        self._identity = identity
        self._journal = journal
        self._first_seq_of_boot = first_seq_of_boot  # function: None before the first record of this boot
        self._number = 0
        self._sent = []  # (seq, monotonic us) of first transmissions in this boot, oldest first

    def sent(self, seq: int, at_us: int) -> None:
        """A record went out at monotonic `at_us`. Only the first time counts: the base may answer any later one."""
        first = self._first_seq_of_boot()
        if first is None or seq < first or (self._sent and seq <= self._sent[-1][0]):
            return
        if len(self._sent) == SENT_KEPT:
            self._sent.pop(0)
        self._sent.append((seq, at_us))

    def read(self, message: bytes):
        """Returns (receipt, sent_us, time) or raises BeaconError.

        `receipt` is a sequence number newly acknowledged, or None; `sent_us` when a record it covers was first sent in
        this boot, or None; `time` the beacon's (source, utc_us, uncertainty_us).
        """
        identity = self._identity
        try:
            parts = cose.parse(message)
            if parts.kid != identity.collector_kid:
                raise BeaconError("kid: not our collector's")
            beacon = record.decode_beacon(parts.payload)
            if beacon["number"] <= self._number:
                raise BeaconError("number: %d is not above %d: a replay" % (beacon["number"], self._number))
            record.verify1(message, identity.collector_public, fields.AAD_BEACON, identity.network, verify)
        except BeaconError:
            raise
        except ValueError as error:
            raise BeaconError(str(error))
        self._number = beacon["number"]
        for kid, seq, digest in beacon["receipts"]:
            if kid == identity.kid:
                return self._receipt(seq, digest), self._sent_before(seq), beacon["time"]
        return None, None, beacon["time"]

    def _receipt(self, seq: int, digest: bytes):
        if seq <= self._journal.receipted:
            return None
        own = self._journal.read(seq)
        if own is None:
            raise BeaconError("receipt: record %d is not held here" % seq)
        if record.record_hash(own) != digest:
            raise BeaconError("receipt: names another record %d than ours" % seq)
        return seq

    def _sent_before(self, seq: int):
        """When the newest record that this receipt covers was first sent in this boot."""
        sent_us = None
        for sent_seq, at_us in self._sent:
            if sent_seq <= seq:
                sent_us = at_us
        return sent_us
