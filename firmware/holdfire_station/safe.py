"""Safe mode: what is left when ordinary starts fail. It answers the console and sends signed records that say "I am
broken, and why"; it does not listen. After an hour it tries an ordinary start again.

Stands on as little as it can: console, key, journal, numbers, recorder. Without the module that sends (`uplink`) it
sends its newest record by itself. Nothing here is shared with `startup` or `station`, for they may be what is broken.
"""

import asyncio
import gc
import sys
import time

import machine
from esp32 import Partition
from holdfire_protocol import fields, frame

from . import identity, overlay
from .clock import Clock, Monotonic
from .console import Console, error_text
from .counters import BOOT_SECTOR, SEQUENCE_SECTOR, Counter
from .journal import Journal
from .recorder import Recorder

TYPE_CHECKING = False  # MicroPython has no typing; mypy takes this name for true
if TYPE_CHECKING:
    from typing import Any

STATUS_INTERVAL_S = 600
TRY_AGAIN_MS = 3_600_000
RESEND_MS = 30_000
WATCHDOG_MS = 30_000
NO_FLOOR_DB10 = -2000
ALL_IS_MISSING = fields.SELFTEST_SAFE | fields.SELFTEST_PART | fields.SELFTEST_MIC_STUCK | fields.SELFTEST_GNSS
HELP = ("help, status, identity; pull, clips: for `holdfire pull`", "reboot   try an ordinary start")


class Station:
    """`run` never returns. `why` tells how the last start ended, if that is known."""

    def __init__(self, _board: dict, crashes: int, why):
        self.console = Console(self._on_command, self._on_frame)
        self._monotonic = Monotonic(time)
        self._clock = Clock()
        self._reset_cause = min(machine.reset_cause(), fields.RESET_SOFT)
        self.why = why or "%d starts ended in a reset" % crashes
        self.console.say(("SAFE MODE: " + self.why)[:79])
        self.identity: Any = None
        self.recorder: Any = None
        self.journal: Any = None
        self.uplink: Any = None
        self.clips: Any = None  # only once they are asked for
        self._sequence: Any = None
        self._boot = 1
        for part in (self._find_journal, self._find_numbers, self._find_key, self._find_uplink):
            try:
                part()
            except Exception as error:
                self._tell(error)
            gc.collect()

    def _tell(self, error) -> None:
        sys.print_exception(error)
        self.console.say(("FAILED, goes on: " + error_text(error))[:79])

    def _find_journal(self) -> None:
        self.journal = Journal(_partition("journal"))
        self.journal.recover()

    def _find_numbers(self) -> None:
        self._boot = Counter(_partition("counters"), BOOT_SECTOR).next()
        self._sequence = Counter(_partition("counters"), SEQUENCE_SECTOR)

    def _find_key(self) -> None:
        identity.mount(_partition("keys"))
        self.identity = who = identity.load()
        if who is None:
            self.console.say("not enrolled: nothing can be signed")
        elif self.journal is not None and self._sequence is not None:
            self.recorder = Recorder(who, self.journal, self._sequence, self._boot, self._monotonic, self._clock)

    def _find_uplink(self) -> None:
        if self.recorder is None:
            return
        from .uplink import Uplink

        uplink = Uplink(self.console, self.journal, self._monotonic, self._clock)
        uplink.begin(self.identity, lambda: self.recorder.first_seq)
        self.uplink = uplink

    async def run(self) -> None:
        """Answer and tell until an ordinary start is tried."""
        watchdog: Any = None
        try:
            watchdog = machine.WDT(timeout=WATCHDOG_MS)
        except Exception as error:
            self._tell(error)
        asyncio.create_task(self._keep(self.console.run))
        if self.uplink is not None:
            asyncio.create_task(self._keep(self.uplink.run))
        if self.recorder is not None:
            asyncio.create_task(self._keep(self._record))
        while self._monotonic.ms() < TRY_AGAIN_MS:
            if watchdog is not None:
                watchdog.feed()
            if self.uplink is not None:
                self.uplink.wake = True
            await asyncio.sleep_ms(1000)
        self._restart("try_again")

    async def _keep(self, task) -> None:
        while True:
            try:
                await task()
            except Exception as error:
                self._tell(error)
            await asyncio.sleep_ms(5000)

    async def _record(self) -> None:
        while True:
            due_ms = self._monotonic.ms() + STATUS_INTERVAL_S * 1000
            seq = await self.recorder.record(None, self._status(), True)
            self.console.say("record %d: safe mode" % seq)
            if self.uplink is not None:
                self.uplink.made(seq)
            while self._monotonic.ms() < due_ms:
                if self.uplink is None:
                    message = self.journal.read(seq)
                    self.console.send(frame.encode(fields.FRAME_RECORD, self.identity.network, message))
                await asyncio.sleep_ms(RESEND_MS)

    def _status(self) -> dict:
        journal = self.journal
        gc.collect()
        return {
            "interval_s": STATUS_INTERVAL_S + 60,
            "reset_cause": self._reset_cause,
            "selftest": ALL_IS_MISSING,
            "heard_ms": 0,
            "lost_ms": 0,
            "impulses": 0,
            "floor_db10": NO_FLOOR_DB10,
            "floor_min_db10": NO_FLOOR_DB10,
            "floor_max_db10": NO_FLOOR_DB10,
            "journal_permille": min(journal.used_bytes * 1000 // journal.capacity_bytes, 1000),
            "pending": journal.pending_count,
            "firmware": self._digest(),
            "heap_free": gc.mem_free(),
            "refused": self.console.refused + self.console.damaged,
            "fault": self.why.encode()[: fields.FAULT_BYTES],
        }

    def _digest(self) -> bytes:
        try:
            return overlay.with_module("holdfire_station.digest", "of_programs")
        except Exception:
            return bytes(8)

    def _on_frame(self, data: bytes) -> None:
        if self.uplink is not None:
            self.uplink.on_frame(data)

    def _on_command(self, words) -> list:
        word = words[0].lower()
        if word == "help":
            return list(HELP)
        if word == "status":
            last = self.journal.last_seq if self.journal is not None else 0
            return [
                "SAFE MODE, boot %d, up %d s" % (self._boot, self._monotonic.ms() // 1000),
                "because    " + self.why,
                "records    last %d, %s" % (last, "recording" if self.recorder else "NOT RECORDING"),
                "heap       %d bytes free" % gc.mem_free(),
            ]
        if word == "identity" and self.identity is not None:
            who = self.identity
            return ["identity network=%s public=%s kid=%s" % (who.network.hex(), who.public.hex(), who.kid.hex())]
        if word in ("pull", "clips"):
            return self._fetched(word, words[1:])
        if word == "reboot":
            self._restart("settled")
        raise ValueError("%s: not in safe mode; `help` lists what is" % words[0][:20])

    def _fetched(self, word: str, words) -> list:
        """What it still holds, for `holdfire pull`."""
        if word == "clips" and self.clips is None:
            try:
                self.clips = _Clips()
            except (OSError, ValueError) as error:
                raise ValueError("the clips cannot be read: " + error_text(error))
        return overlay.alone("holdfire_station.answers_pull", word, self, words)

    def _restart(self, memory: str) -> None:
        try:
            overlay.with_module("holdfire_station.crash", memory)
        except Exception as error:
            self._tell(error)
        machine.reset()


class _Clips:
    """Those kept before it broke; none are made here."""

    def __init__(self):
        self.ring = Journal(_partition("clips"))
        self.ring.recover()


def _partition(label: str):
    found = Partition.find(Partition.TYPE_DATA, label=label)
    if not found:
        raise OSError("no partition %s: flash this board anew" % label)
    return found[0]
