"""The station: puts sensors, clock, recorder and console together and keeps them running.

An exception in one part or task is told, counted, and never stops the others. The watchdog is fed only while the sound
is being analysed and the main loop turns, so a hang ends in a reset whose cause is in the next record.
"""

import asyncio
import gc
import sys
import time

import machine
from holdfire_protocol import fields

# Without these nothing can be recorded, so who cannot load them all ends in safe mode. Sensors are loaded one by one.
from . import counters, overlay, uplink  # noqa: F401
from .clock import Clock, Monotonic
from .console import Console, error_text
from .journal import JournalFull
from .recorder import Recorder

TYPE_CHECKING = False  # MicroPython has no typing; mypy takes this name for true
if TYPE_CHECKING:
    from typing import Any

STATUS_INTERVAL_S = 600
SETTLE_MS = 2000  # so that the first status says something of the microphone
STALLED_MS = 10_000  # no sound analysed for so long: the watchdog goes hungry
SETTLED_MS = 180_000  # a start that came so far is a good one
VOUCH_MS = 30_000  # after a clip of sound, a status record binds it, if the base takes what is made
BASE_IS_THERE = 16  # records without receipt at most
FULL_SCALE = 1 << 23
OBSERVATIONS_WAITING = 32
TAMPER_WAITING = 6  # of them
JOURNAL_FULL_RETRY_MS = 10_000
STATUS_RETRY_MS = 20_000
OBSERVATIONS_A_RECORD = 12  # so many impulses always fit a record
TURN_MS = 50  # of the main loop
TURNS_A_SECOND = 20


class Station:
    """`run` ends only for `maintenance`. `board` is the rendered board file; `why` tells how the last start ended."""

    WATCHDOG_MS = 30_000

    def __init__(self, board: dict, crashes: int = 0, why: str | None = None):
        self.console = Console(self._on_command, self._on_frame)
        self.monotonic = Monotonic(time)
        self.clock = Clock()
        self.reset_cause = min(machine.reset_cause(), fields.RESET_SOFT)
        self.board_name = board["name"].encode()
        self.interval_s = board.get("status_interval_s", STATUS_INTERVAL_S)
        self.missing: dict[str, str] = {}  # part: why
        self.fault = why  # since the last status record
        self.failing = False  # likewise
        self.failed_tasks: dict[str, int] = {}  # since boot, for the console
        self.firmware = bytes(8)
        self.boot = 1
        # Parts: None where missing
        self.watchdog: Any = None
        self.sequence: Any = None
        self.journal: Any = None
        self.uplink: Any = None
        self.identity: Any = None
        self.recorder: Any = None
        self.microphone: Any = None
        self.detector: Any = None
        self.clips: Any = None
        self.gnss: Any = None
        self.tamper: Any = None
        self.battery: Any = None
        self.identity_fault: str | None = None
        self.live: Any = None  # what a person watches on the console: called four times a second
        self.may_maintain = board["console"].get("maintenance", 1)
        self.leaving = ""  # "reboot" or "maintenance" when asked for
        self._vouch_ms = 0  # when to make a status record for the sake of a clip; 0: there is none
        self._settle_ms = SETTLED_MS if crashes > 0 or why is not None else 0
        self._observations: list = []
        self._to_record = False  # looked at every LOOK_MS: asyncio's Event would take 1.2 KB
        self._blocks, self._heard_ms = 0, 0
        self.impulses = 0
        self.unrecorded = self.unrecorded_before = 0  # observations that no record holds
        self.heard_before = 0  # samples, before the last status record
        self.lost_before = 0
        overlay.with_module("holdfire_station.startup", "assemble", self, board)

    def lacks(self, part: str, error) -> None:
        """A part cannot be had. It is told here and in every status record."""
        self.missing[part] = why = error_text(error)
        self.console.say(("MISSING %s: %s" % (part, why))[:79])

    async def run(self) -> None:
        """Sense, record and send until the power goes."""
        self.console.say("Holdfire station, boot %d, firmware %s; type help" % (self.boot, self.firmware.hex()))
        if self.recorder is None:
            self.console.say(self.identity_fault or "not enrolled: nothing is recorded until `holdfire provision` runs")
        self._start()
        turn = 0
        while not (self.leaving and await self._leave()):
            await asyncio.sleep_ms(TURN_MS)
            turn = (turn + 1) % (5 * TURNS_A_SECOND)
            try:
                self._turn(turn)
            except Exception as error:
                self._failed("main", error)
                await asyncio.sleep_ms(1000)

    def begin(self, who) -> None:
        """Start recording as `who`; None: not enrolled."""
        self.identity = who
        if who is None or self.journal is None or self.sequence is None:
            return
        self.recorder = Recorder(who, self.journal, self.sequence, self.boot, self.monotonic, self.clock)
        self.uplink.begin(who, lambda: self.recorder.first_seq)

    def _start(self) -> None:
        for name, part in (("sound", self.microphone), ("console", self.console), ("sending", self.uplink)):
            if part is not None:
                asyncio.create_task(self._keep(name, part.run))
        asyncio.create_task(self._keep("recording", self._record_all))

    async def _keep(self, name: str, task) -> None:
        while True:
            try:
                await task()
            except Exception as error:  # whatever it is: the other tasks go on, and this one gets another chance
                self._failed(name, error)
            await asyncio.sleep_ms(1000)

    def _failed(self, name: str, error) -> None:
        self.failed_tasks[name] = self.failed_tasks.get(name, 0) + 1
        self.failing = True
        gc.collect()  # first: it may be memory that was short
        sys.print_exception(error)
        self.fault = "%s: %s" % (name, error_text(error))
        self.console.say(("FAILED, goes on: " + self.fault)[:79])

    # The main loop

    def _turn(self, turn: int) -> None:
        if self.tamper is not None:
            self.tamper.poll()
        if self.gnss is not None:
            self.gnss.poll()
        if self.live is not None and turn % (TURNS_A_SECOND // 4) == 0:
            self.live()
        if turn % TURNS_A_SECOND:
            return
        if self.watchdog is not None and self._hears(self.monotonic.ms()):
            self.watchdog.feed()
        self._to_record = True  # something may have become due
        if self.uplink is not None:
            self.uplink.wake = True
        if 0 < self._settle_ms < self.monotonic.ms():
            self._settle_ms = 0  # first: what fails is not tried each second
            self._settle_ms = overlay.alone("holdfire_station.trial", "settled", self)
        if self.clips is not None and self.clips.keep():
            if not self._vouch_ms and self.journal is not None and self.journal.pending_count <= BASE_IS_THERE:
                self._vouch_ms = self.monotonic.ms() + VOUCH_MS
        if turn == 0:
            # One sector a turn: an erase stalls the chip for 45 ms, which the microphone's ring bridges.
            if self.journal is not None and not self.journal.maintain() and self.sequence is not None:
                if not self.sequence.maintain() and self.clips is not None:
                    self.clips.ring.maintain()
            gc.collect()

    def _hears(self, now_ms: int) -> bool:
        """Whether sound is being analysed. A microphone that never gave any is missing, and no reset would mend it."""
        microphone = self.microphone
        if microphone is None:
            return True
        if microphone.blocks != self._blocks:
            self._blocks, self._heard_ms = microphone.blocks, now_ms
            self.missing.pop("microphone", None)
        if now_ms - self._heard_ms < STALLED_MS:
            return True
        if self._blocks:
            return False
        if "microphone" not in self.missing:
            self.lacks("microphone", OSError("no samples come"))
        return True

    async def _leave(self) -> bool:
        """As asked on the console; False when it must not be."""
        how, self.leaving = self.leaving, ""
        if how == "maintenance" and self.identity and not await self._record_status(fields.SELFTEST_MAINTENANCE):
            self.console.say("no prompt: no record of it could be made")
            return False
        await asyncio.sleep_ms(1000)  # let the console's bytes out
        overlay.with_module("holdfire_station.leaving", how, self)
        return True

    # Sensing

    def on_impulse(self, impulse) -> None:
        """The detector found one."""
        self.impulses += 1
        if self.clips is not None:
            self.clips.on_impulse(impulse.onset_sample)
        self._observe({
            "kind": fields.KIND_IMPULSE,
            "at_us": self.microphone.moment_us(impulse.onset_sample),
            "onset_uncertainty_us": impulse.onset_uncertainty_us + self.microphone.late_us,
            "peak": min(impulse.peak, FULL_SCALE),  # the detector's high-pass can swing beyond what the microphone can
            "rise_us": impulse.rise_us,
            "duration_ms": min(impulse.duration_ms, fields.U16),
            "snr_db10": max(impulse.snr_db10, 0),
            "floor_db10": impulse.floor_db10,
            "bands": bytes(impulse.bands),
            "zero_crossings": min(impulse.zero_crossings, fields.U16),
            "clipped": min(impulse.clipped, fields.U16),
        })  # fmt: skip

    def on_tamper(self, is_open: bool, late_us: int) -> None:
        """The case was opened or closed, at most `late_us` ago."""
        if sum([o["kind"] == fields.KIND_TAMPER for o in self._observations]) >= TAMPER_WAITING:
            self.unrecorded += 1  # a chattering switch must not keep shots out of the queue
            return
        self._observe({
            "kind": fields.KIND_TAMPER,
            "at_us": self.monotonic.us() - late_us // 2,
            "onset_uncertainty_us": late_us // 2,
            "open": 1 if is_open else 0,
        })  # fmt: skip

    def _observe(self, observation: dict) -> None:
        if self.recorder is None or len(self._observations) >= OBSERVATIONS_WAITING:
            self.unrecorded += 1  # impulses are still counted in the next status record
            return
        self._observations.append(observation)
        self._to_record = True

    # Recording

    async def _record_all(self) -> None:
        while self.recorder is None:
            await asyncio.sleep_ms(500)
        while not self._observations and self.monotonic.ms() < SETTLE_MS:
            await asyncio.sleep_ms(TURN_MS)
        # The first record of a boot is a status record: whatever comes after it, how the boot came about is known.
        due_ms, retry_ms, dated = 0, 0, True
        while True:
            now_ms = self.monotonic.ms()
            knows_time = self.clock.utc(now_ms * 1000)[0] != fields.TIME_NONE
            # Once time is known, say so at once: with its uptime that record dates those made before it in this boot.
            if now_ms >= due_ms or knows_time and not dated or 0 < self._vouch_ms <= now_ms:
                self._vouch_ms = 0
                dated, due_ms = knows_time, now_ms + self.recorder.status_interval_s(self.interval_s) * 1000
                if not await self._record_status():  # within what the last one promised there is time for another try
                    due_ms = min(due_ms, self.monotonic.ms() + STATUS_RETRY_MS)
            elif self._observations and now_ms >= retry_ms:
                if not await self._record_observations():
                    retry_ms = self.monotonic.ms() + JOURNAL_FULL_RETRY_MS
            elif self.journal.tight:
                await self._make_room()
            else:
                while not self._to_record:
                    await asyncio.sleep_ms(uplink.LOOK_MS)
                self._to_record = False

    async def _make_room(self) -> None:
        seq = await self.recorder.make_room()
        if seq is not None:
            self.console.say("record %d: memory full, the oldest routine records were given up" % seq)
            self.uplink.made(seq)

    async def _record_observations(self) -> bool:
        """False when the journal is full: they wait; what no longer fits is counted."""
        batch = self._observations[:OBSERVATIONS_A_RECORD]
        try:
            await self._record(batch, None, True)
        except JournalFull:
            return False
        del self._observations[: len(batch)]
        return True

    async def _record_status(self, also: int = 0) -> bool:
        """True if made. `also`: self-test bits that only the caller knows of; such a record is kept like an alert."""
        try:
            status, kept = overlay.with_module("holdfire_station.health", "status", self, also)
            # The first of a boot is kept like an alert, too: it says why there was a reset.
            if await self._record(None, status, also != 0 or self.recorder.first_seq is None):
                kept()  # only now: what a status record says is counted from the last one that was kept
                return True
        except JournalFull:
            pass
        except Exception as error:  # no status is no reason to keep observations back
            self._failed("status", error)
        return False

    async def _record(self, observations, status, alert: bool) -> bool:
        """Make a record and have it sent; False when that failed, which is told and counted. Raises JournalFull."""
        try:
            seq = await self.recorder.record(observations, status, alert)
        except JournalFull as error:
            self.console.say("NOT RECORDED yet: %s" % error)
            raise
        except Exception as error:  # worn flash, a fault of ours: told, counted, and the next is tried
            self.unrecorded += len(observations or ())
            self._failed("NOT RECORDED", error)
            return False
        self.uplink.made(seq)
        self.console.say("record %d: %s" % (seq, _summary(observations, status)))
        return True

    # The console

    def _on_frame(self, data: bytes) -> None:
        if self.uplink is not None:
            self.uplink.on_frame(data)

    def _on_command(self, words) -> list:
        command = words[0].lower()
        answer = overlay.with_module("holdfire_station.commands", "find", command)
        if isinstance(answer, str):
            answer = overlay.alone(answer, command, self, words[1:])
        return answer


def _summary(observations, status) -> str:
    """What a record says, in a few words for the console; `last` tells it whole."""
    if status:
        return "status, impulses: %d, heard: %d s" % (status["impulses"], status["heard_ms"] // 1000)
    first = observations[0]
    if first["kind"] == fields.KIND_TAMPER:
        return "case opened" if first["open"] else "case closed"
    return "impulses: %d, the first %d dB above the floor" % (len(observations), first["snr_db10"] // 10)
