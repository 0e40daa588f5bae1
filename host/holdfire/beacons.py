"""Signed beacons: the base's time and its receipts, as lines ready for a serial port.

Numbers are reserved durably in blocks before the first is used, so they grow across restarts and kill -9, with gaps.
Those of a run begin at the clock's milliseconds at its start, or above what is reserved where that is more: a database
restored from a backup has forgotten numbers that stations have accepted, and they take no lower one until they boot.
Decides neither when a beacon is due nor who is receipted.
"""

from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holdfire_protocol import cose, fields, frame, line, record

from .store import Store

_BLOCK = 1000
_RECEIPTS_EACH = next(row[4] for row in fields.BEACON.rows if row[1] == "receipts")


class Beacons:
    """Makes beacon lines. Belongs to the thread that owns the store; not to be called inside a transaction."""

    def __init__(
        self, key: Ed25519PrivateKey, network: bytes, store: Store, uncertainty_us: int, clock: Callable[[], int]
    ):
        self.use_key(key)
        self._network = network
        self._store = store
        self._uncertainty_us = uncertainty_us
        self._clock = clock
        self._least = clock() // 1000
        self._next = 0
        self._end = 0

    def use_key(self, key: Ed25519PrivateKey) -> None:
        """Sign with it from now on: the collector's key was replaced."""
        self._key = key
        self._kid = cose.key_id(key.public_key().public_bytes_raw())

    def lines(self, receipts: list[tuple[bytes, int, bytes]]) -> list[bytes]:
        """One line for every 16 receipts; one with none when there is nothing to receipt: the time is news too."""
        pages = range(0, max(1, len(receipts)), _RECEIPTS_EACH)
        return [self._line(receipts[at : at + _RECEIPTS_EACH]) for at in pages]

    def _line(self, receipts: list[tuple[bytes, int, bytes]]) -> bytes:
        number, now_us = self._number(), self._clock()
        payload = record.encode_beacon(
            {"number": number, "time": (fields.TIME_HOST, now_us, self._uncertainty_us), "receipts": receipts}
        )
        message = record.sign1(payload, self._kid, fields.AAD_BEACON, self._network, self._key.sign)
        self._store.note_beacon(number, now_us, message, receipts)
        return line.encode(frame.encode(fields.FRAME_BEACON, self._network, message))

    def _number(self) -> int:
        if self._next == self._end:
            self._next = self._store.reserve_beacon_numbers(_BLOCK, self._least)
            self._end = self._next + _BLOCK
        self._next += 1
        return self._next - 1
