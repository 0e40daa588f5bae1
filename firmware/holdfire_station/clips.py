"""The sound around detections, kept in a ring of its own, newest over oldest, and bound into what is signed.

A clip cannot be hashed before its end, 1.2 s after the onset, and an alert does not wait for that; nor do 35 bytes more
in each alert fit 14 days of them. So clips form a chain: each names the hash of the one before, and the next status
record holds the hash of the newest, which vouches for all before it (SPEC.md section 10).

The ring is a journal whose oldest entries are let go for new ones, so what journal.py promises holds here too.
"""

import hashlib

from holdfire_protocol import fields

from . import overlay
from .journal import Journal, JournalFull
from .sensing.clip import BLOCK_SAMPLES, BLOCKS, RATE_HZ, History

BEFORE = 16  # blocks of 32 ms before the one of the onset: 0.5 s
AFTER = 38  # and from it on: 1.2 s
LONGEST = BEFORE + AFTER
assert LONGEST + 40 < BLOCKS  # `keep` has more than a second before a block is overwritten


class Clips:
    """`on_impulse` notes a detection, `keep` (each second) stores what is whole; `head` is the newest clip's hash."""

    def __init__(self, partition, detector, microphone, boot: int):
        self.ring = Journal(partition)
        self.ring.recover()
        self.history = History(detector)
        self._microphone = microphone
        self._boot = boot
        self._block_samples = BLOCK_SAMPLES * self.history.hop
        self._first = -1  # block that the next clip begins with, -1: none is wanted
        self._wanted = 0  # up to this block, not included
        self._kept_to = 0
        last = self.ring.last
        self.head = hashlib.sha256(last[1]).digest() if last and last[1] else None
        self.missed = 0
        microphone.on_block = self.history.feed

    def on_impulse(self, onset_sample: int) -> None:
        """A sound began at that sample. One within a clip, or just after, makes the next clip go on from there."""
        block = onset_sample // self._block_samples
        if self._first < 0:
            self._first = max(block - BEFORE, self._kept_to)
        self._wanted = block + AFTER

    def keep(self) -> bool:
        """Store a clip if one is whole; True if it did. A failing flash costs clips, and nothing else."""
        if self._first < 0:
            return False
        first = self._first
        end = min(self._wanted, first + LONGEST)
        if self.history.blocks < end:
            return False
        self._kept_to = end
        self._first = end if end < self._wanted else -1
        if not self.history.holds(first) or end <= first:
            self.missed += 1
            return False
        try:
            self._store(first, end - first)
        except (OSError, JournalFull):
            self.missed += 1
            return False
        return True

    def _store(self, first: int, count: int) -> None:
        hop = self.history.hop
        number = self.ring.last_seq + 1
        named = {
            "number": number,
            "prev": self.head or bytes(fields.HASH_BYTES),
            "boot": self._boot,
            "start_us": max(self._microphone.moment_us(first * self._block_samples - 7 * hop), 0),
            "rate_hz": RATE_HZ,
            "data": bytes(self.history.copy(first, count)),
        }
        clip = overlay.with_module("holdfire_protocol.clip", "encode", named)
        try:
            self.ring.append(number, clip, True)
        except JournalFull:
            self.ring.drop_oldest()
            self.ring.append(number, clip, True)
        self.head = hashlib.sha256(clip).digest()
