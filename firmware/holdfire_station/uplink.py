"""Records out and beacons in, over the console's cable: what is sent when, and what follows from an answer.

Knows nothing of how records are made. Runs in safe mode as well.
"""

import asyncio

from holdfire_protocol import fields, frame

from .beacon import BeaconError, BeaconReader
from .outbox import Outbox

TYPE_CHECKING = False  # MicroPython has no typing; mypy takes this name for true
if TYPE_CHECKING:
    from typing import Any

BEACONS_WAITING = 4
LOOK_MS = 20  # for something to do


class Uplink:
    """`run` sends and reads for ever once `begin` was called; whoever has work for it, or time to ask, sets `wake`."""

    def __init__(self, console, journal, monotonic, clock):
        self._console = console
        self._journal = journal
        self._monotonic = monotonic
        self._clock = clock
        self._outbox = Outbox(journal)
        self._identity: Any = None
        self._beacons: Any = None
        self._waiting = []  # beacons not yet read, and when they came
        self.wake = False
        self.refused = 0

    def begin(self, identity, first_seq_of_boot) -> None:
        """Send as `identity`. The function gives the number of this boot's first record, None before there is one."""
        self._identity = identity
        self._beacons = BeaconReader(identity, self._journal, first_seq_of_boot)

    def made(self, seq: int) -> None:
        """A record was journaled: it goes out at once."""
        self._outbox.made(seq, self._monotonic.ms())
        self.wake = True

    def on_frame(self, data: bytes) -> None:
        """A frame came in."""
        if self._identity is None:
            return
        try:
            kind, body = frame.decode(data, self._identity.network)
        except frame.FrameError as error:
            self._refuse(str(error))
            return
        if kind == fields.FRAME_BEACON:
            if len(self._waiting) == BEACONS_WAITING:
                self._waiting.pop(0)  # it is repeated every few seconds
            self._waiting.append((body, self._monotonic.us()))
            self.wake = True

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            while not self.wake:
                await asyncio.sleep_ms(LOOK_MS)
            self.wake = False
            while self._beacons is not None:
                if self._waiting:
                    await self._read(*self._waiting.pop(0))
                else:
                    seq = self._outbox.next(self._monotonic.ms())[0]
                    if seq is None:
                        break
                    self._send(seq)
                await asyncio.sleep_ms(0)

    def _send(self, seq: int) -> None:
        message = self._journal.read(seq)
        if message is not None:
            self._beacons.sent(seq, self._monotonic.us())
            self._console.send(frame.encode(fields.FRAME_RECORD, self._identity.network, message))

    async def _read(self, message: bytes, came_us: int) -> None:
        try:
            seq, sent_us, (_, utc_us, uncertainty_us) = await self._beacons.read(message)
        except BeaconError as error:
            self._refuse("beacon refused: %s" % error)
            return
        if sent_us is not None:
            self._clock.on_beacon(utc_us, uncertainty_us, sent_us, came_us)
        if seq is not None:
            self._journal.receipt(seq)
            self._console.say("receipt: the base holds record %d and all before it" % seq)
        self._outbox.heard(self._monotonic.ms())

    def _refuse(self, reason: str) -> None:
        self.refused += 1
        self._console.say(reason[:79])
