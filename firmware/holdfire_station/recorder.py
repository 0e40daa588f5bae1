"""Observations and status in; signed, chained, durable records out.

The order is the promise: a sequence number is reserved durably, the record is signed and journaled, and only then is
it anybody's to send. So whatever is cut, no number ever names two records, and nothing that was sent is forgotten.
"""

import asyncio
import hashlib

from holdfire_protocol import cose, fields, record

from . import overlay
from .crypto import PrivateKey
from .journal import JournalFull

_SIGNATURE = fields.SIGNATURE_BYTES
_SPARING_FROM_PERMILLE = 250
_SPARING_FACTOR = 6
_THINNING = "holdfire_station.thinning"
TURN_MS = 5  # between looks whether another record is still being made


class Identity:
    """`key` signs; `kid` and `public` name the station; `network` and `collector_public` are whom it serves."""

    def __init__(self, seed: bytes, network: bytes, collector_public: bytes):
        self.key = PrivateKey.from_seed(seed)
        self.public = self.key.public_bytes
        self.kid = cose.key_id(self.public)
        self.network = network
        self.collector_public = collector_public
        self.collector_kid = cose.key_id(collector_public)
        self.genesis = record.genesis(network, self.public)


class Recorder:
    """`record` makes one. `last_seq` is the newest; `new_records` counts those made since boot."""

    def __init__(self, identity, journal, sequence, boot: int, monotonic, clock):
        self._identity = identity
        self._journal = journal
        self._sequence = sequence
        self._boot = boot
        self._monotonic = monotonic
        self._clock = clock
        self._busy = False
        # Payload and signature are kept; the rest of a message is the same in all of this station's, and 21 bytes of
        # each: a tenth of the journal.
        journal.whole = lambda kept: cose.join(identity.kid, kept[:-_SIGNATURE], kept[-_SIGNATURE:])
        if sequence.value < journal.last_seq:  # the counters were wiped: no number may come again
            sequence.advance_to(journal.last_seq)
        self.restart = self._find_restart()
        last = journal.last
        self._prev = record.record_hash(last[1]) if last else identity.genesis
        self.last_seq = last[0] if last else 0
        self.first_seq = None  # of this boot
        self.new_records = 0

    def status_interval_s(self, interval_s: int) -> int:
        """Seconds to the next status record: longer while many records wait for a base that is away.

        Every 10 minutes for two weeks they would take a third of the journal, and say little that each hour does not.
        """
        journal = self._journal
        sparing = journal.used_bytes * 1000 >= journal.capacity_bytes * _SPARING_FROM_PERMILLE
        return interval_s * _SPARING_FACTOR if sparing else interval_s

    def _find_restart(self):
        """Why the next record does not simply follow the journal's last, or None when it does."""
        last = self._journal.last
        if self._sequence.value == 0 and last is None:
            return fields.RESTART_FIRST
        if last is None:
            return fields.RESTART_JOURNAL_LOST
        # The cut fell between reserving and journaling (the number was never sent), or the journal lost its tail
        # (it may have been): both leave a number unaccounted for, and the record says so.
        return None if last[0] == self._sequence.value else fields.RESTART_UNCLEAN

    async def record(self, observations=None, status=None, alert: bool = False) -> int:
        """Make, sign and keep one record; returns its number. Observations hold `at_us` (monotonic) for `onset_us`.

        Raises journal.JournalFull when there is no room; that costs no number.
        """
        await self._take_turn()
        try:
            now_us = self._monotonic.us()
            named = {}
            if observations:
                named["observations"] = [self._relative(o, now_us) for o in observations]
            if status:
                named["status"] = status
            return await self._make(named, now_us, alert, False)
        finally:
            self._busy = False

    async def make_room(self):
        """While the journal is tight, from an idle task: give up the oldest routine records, and say so first.

        Returns the number of the record that says it, or None when nothing was to be done.
        """
        await self._take_turn()
        try:
            journal = self._journal
            runs = overlay.with_module(_THINNING, "plan", journal) if journal.tight else None
            if runs is None:
                return None
            seq = await self._make({"thinned": runs}, self._monotonic.us(), True, True)
            overlay.with_module(_THINNING, "thin", journal, runs)
            return seq
        finally:
            self._busy = False

    async def _take_turn(self) -> None:
        while self._busy:
            await asyncio.sleep_ms(TURN_MS)
        self._busy = True

    async def _make(self, named: dict, now_us: int, alert: bool, last_resort: bool) -> int:
        named["boot"] = self._boot
        named["prev"] = self._prev
        named["time"] = self._clock.utc(now_us)
        named["uptime_ms"] = now_us // 1000
        if self.restart is not None:
            named["restart"] = self.restart
            alert = True  # never given up for room: what follows could not be linked to what was before
        named["seq"] = self._sequence.value + 1
        # What cannot be said or kept is refused before it costs a number.
        length = len(record.encode_record(named)) + _SIGNATURE
        if not self._journal.has_room(length, alert, last_resort):
            raise JournalFull("journal full: waits for a receipt")
        named["seq"] = seq = self._sequence.next()
        try:
            payload = record.encode_record(named)
            signed = cose.sig_structure(fields.AAD_RECORD + self._identity.network, payload)
            kept = payload + await self._identity.key.sign_async(signed)
            self._journal.append(seq, kept, alert, last_resort)
        except BaseException:  # a cancelled task, too
            # The number is spent and names nothing: the next record says so. Number 1 alone is a first record.
            lost_first = self._prev == self._identity.genesis
            self.restart = fields.RESTART_JOURNAL_LOST if lost_first else fields.RESTART_UNCLEAN
            raise
        self._prev = hashlib.sha256(self._journal.whole(kept)).digest()
        self.restart = None
        self.last_seq = seq
        self.first_seq = self.first_seq or seq
        self.new_records += 1
        return seq

    def _relative(self, observation: dict, now_us: int) -> dict:
        """The onset relative to the record's time, by the clock's idea of the crystal's rate where it has one."""
        relative = dict(observation)
        at_us = relative.pop("at_us")
        source, onset_utc_us, _ = self._clock.utc(at_us)
        if source == fields.TIME_NONE:
            relative["onset_us"] = at_us - now_us
        else:
            relative["onset_us"] = onset_utc_us - self._clock.utc(now_us)[1]
        return relative
