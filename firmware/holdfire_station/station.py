"""The station: puts sensors, clock, recorder and console together and keeps them running.

Each task runs under `_keep`: an exception in one is told, counted, and never stops the others. The watchdog is fed only
while the sound is being analysed and the main loop turns, so a hang ends in a reset whose cause is in the next record.
"""

import asyncio
import gc
import sys
import time

import machine
from esp32 import Partition
from holdfire_protocol import fields, frame

from . import crypto, identity, overlay
from .beacon import BeaconError, BeaconReader
from .clock import Clock, Monotonic
from .console import Console
from .counters import Counter
from .gnss import Gnss
from .journal import Journal, JournalFull
from .microphone import Microphone
from .outbox import Outbox
from .recorder import Recorder
from .sensing import acoustic, tamper
from .sensing.power import Battery

STATUS_INTERVAL_S = 600
WATCHDOG_MS = 30_000
STALLED_MS = 10_000  # no sound analysed for so long: the watchdog goes hungry
FULL_SCALE = 1 << 23
OBSERVATIONS_WAITING = 32
TAMPER_WAITING = 6  # of them
BEACONS_WAITING = 4
JOURNAL_FULL_RETRY_MS = 10_000
IMPULSES_POOLED = 4  # taken after every block of 32 ms, and no two begin within 60 ms: two can wait
OBSERVATIONS_A_RECORD = 12  # so many impulses always fit a record
SEQUENCE_SECTOR = 0  # in partition "counters"
BOOT_SECTOR = 2


class Station:
    """`run` never returns. `board` is the rendered board file."""

    def __init__(self, board: dict):
        self.reset_cause = min(machine.reset_cause(), fields.RESET_SOFT)
        self.interval_s = board.get("status_interval_s", STATUS_INTERVAL_S)
        self.firmware = overlay.with_module("holdfire_station.digest", "of_programs")
        self.monotonic = Monotonic(time)
        self.clock = Clock()
        counters = Partition.find(Partition.TYPE_DATA, label="counters")[0]
        self.boot = Counter(counters, BOOT_SECTOR).next()
        self.sequence = Counter(counters, SEQUENCE_SECTOR)
        self.journal = Journal(Partition.find(Partition.TYPE_DATA, label="journal")[0])
        self.journal.recover()
        self._outbox = Outbox(self.journal)
        self.console = Console(self._on_command, self._on_frame)
        self.detector = acoustic.Detector(board["microphone"]["sample_rate_hz"], pool=IMPULSES_POOLED)
        self.microphone = Microphone(board["microphone"], self.monotonic, self.detector, self._on_impulse)
        self.gnss = Gnss(board["gnss"], self.monotonic, self.clock)
        self.tamper = tamper.Tamper(board["tamper"], self._on_tamper)
        self.battery = Battery(board["battery"])
        self.recorder: Recorder | None = None  # until enrolled
        self._beacons: BeaconReader | None = None
        self.identity_fault: str | None = None
        self._observations: list = []
        self._observed = asyncio.Event()
        self._to_send = asyncio.Event()
        self._new_beacons: list[tuple[bytes, int]] = []  # not yet read, and when they came
        self._beacon_came = asyncio.Event()
        self.failed_tasks: dict[str, int] = {}  # since boot, for the console
        self.failing = False  # since the last status record
        self._refused = 0
        self.impulses = 0
        self.unrecorded = self.unrecorded_before = 0  # observations that no record holds
        self.heard_before = 0  # samples, before the last status record
        self.lost_before = 0

    async def run(self) -> None:
        """Sense, record and send until the power goes."""
        self.console.say("Holdfire station, boot %d, firmware %s; type help" % (self.boot, self.firmware.hex()))
        try:
            identity.mount(Partition.find(Partition.TYPE_DATA, label="keys")[0])
            self.begin(identity.load())
        except identity.IdentityError as error:
            self.identity_fault = str(error)
        if self.recorder is None:
            self.console.say(self.identity_fault or "not enrolled: nothing is recorded until `holdfire enrol` runs")
        for name, task in (
            ("sound", self.microphone.run),
            ("gnss", self.gnss.run),
            ("tamper", self.tamper.run),
            ("console", self.console.run),
            ("observations", self._record_observations),
            ("status", self._record_status),
            ("sending", self._send),
            ("beacons", self._read_beacons),
            ("upkeep", self._maintain),
        ):
            asyncio.create_task(self._keep(name, task))
        await self._feed_watchdog()

    def begin(self, who) -> None:
        """Start recording as `who`; None: not enrolled."""
        if who is None:
            return
        self.identity = who
        self.recorder = Recorder(who, self.journal, self.sequence, self.boot, self.monotonic, self.clock)
        self._beacons = BeaconReader(who, self.journal, lambda: self.recorder.first_seq)

    async def _keep(self, name: str, task) -> None:
        while True:
            try:
                await task()
            except Exception as error:  # whatever it is: the other tasks go on, and this one gets another chance
                self._failed(name)
                self.console.say("task %s failed, starts again: %s: %s" % (name, type(error).__name__, error))
                sys.print_exception(error)
                gc.collect()
            await asyncio.sleep_ms(1000)

    def _failed(self, name: str) -> None:
        self.failed_tasks[name] = self.failed_tasks.get(name, 0) + 1
        self.failing = True

    # Sensing

    def _on_impulse(self, impulse) -> None:
        self.impulses += 1
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

    def _on_tamper(self, is_open: bool) -> None:
        if sum([o["kind"] == fields.KIND_TAMPER for o in self._observations]) >= TAMPER_WAITING:
            self.unrecorded += 1  # a chattering switch must not keep shots out of the queue
            return
        self._observe({
            "kind": fields.KIND_TAMPER,
            "at_us": self.monotonic.us() - tamper.uncertainty_us() // 2,
            "onset_uncertainty_us": tamper.uncertainty_us() // 2,
            "open": 1 if is_open else 0,
        })  # fmt: skip

    def _observe(self, observation: dict) -> None:
        if self.recorder is None or len(self._observations) >= OBSERVATIONS_WAITING:
            self.unrecorded += 1  # impulses are still counted in the next status record
            return
        self._observations.append(observation)
        self._observed.set()

    # Recording

    async def _record_observations(self) -> None:
        while True:
            await self._observed.wait()
            self._observed.clear()
            while self._observations:
                batch = self._observations[:OBSERVATIONS_A_RECORD]
                try:
                    await self._record(batch, None, True)
                    del self._observations[: len(batch)]
                except JournalFull:  # they wait here; what no longer fits is counted
                    await asyncio.sleep_ms(JOURNAL_FULL_RETRY_MS)

    async def _record_status(self) -> None:
        while self.recorder is None:
            await asyncio.sleep_ms(500)
        await asyncio.sleep_ms(2000)  # let the microphone settle, so that the first status says something of it
        while True:
            dated = self._knows_time()
            due_ms = self.monotonic.ms() + self.interval_s * 1000
            impulses, heard, lost = self.impulses, self.detector.samples_heard, self.microphone.lost_samples
            unrecorded = self.unrecorded
            try:
                kept = await self._record(None, overlay.with_module("holdfire_station.health", "status", self), False)
            except JournalFull:
                kept = False
            if kept:  # only now: what a status record says is counted from the last one that was kept
                self.impulses -= impulses
                self.heard_before, self.lost_before, self.unrecorded_before = heard, lost, unrecorded
                self.failing = False
                self.detector.reset_statistics()
            # Once time is known, say so at once: with its uptime this record dates those made before it in this boot.
            while self.monotonic.ms() < due_ms and (dated or not self._knows_time()):
                await asyncio.sleep_ms(1000)

    def _knows_time(self) -> bool:
        return self.clock.utc(self.monotonic.us())[0] != fields.TIME_NONE

    async def _record(self, observations, status, alert: bool) -> bool:
        """Make a record and have it sent; False when that failed, which is told and counted. Raises JournalFull."""
        assert self.recorder is not None
        try:
            seq = await self.recorder.record(observations, status, alert)
        except JournalFull as error:
            self.console.say("NOT RECORDED yet: %s" % error)
            raise
        except Exception as error:  # worn flash, a fault of ours: told, counted, and the next is tried
            self.unrecorded += len(observations or ())
            self._failed("recording")
            self.console.say("NOT RECORDED: %s: %s" % (type(error).__name__, error))
            return False
        self._outbox.made(seq, self.monotonic.ms())
        self._to_send.set()
        self.console.say("record %d: %s" % (seq, _summary(observations, status)))
        return True

    def journal_permille(self) -> int:
        return min(self.journal.used_bytes * 1000 // self.journal.capacity_bytes, 1000)

    def all_refused(self) -> int:
        return self._refused + self.console.refused + self.console.damaged

    # Sending and being answered

    async def _send(self) -> None:
        while True:
            self._to_send.clear()
            seq, wait_ms = self._outbox.next(self.monotonic.ms()) if self._beacons else (None, 1000)
            if seq is None:
                try:
                    await asyncio.wait_for_ms(self._to_send.wait(), wait_ms)
                except asyncio.TimeoutError:
                    pass
                continue
            message = self.journal.read(seq)
            if message is not None and self._beacons:
                self._beacons.sent(seq, self.monotonic.us())
                self.console.send(frame.encode(fields.FRAME_RECORD, self.identity.network, message))
            await asyncio.sleep_ms(0)

    def _on_frame(self, data: bytes) -> None:
        if self.recorder is None:
            return
        try:
            kind, body = frame.decode(data, self.identity.network)
        except frame.FrameError as error:
            self._refuse(str(error))
            return
        if kind == fields.FRAME_BEACON:
            if len(self._new_beacons) == BEACONS_WAITING:
                self._new_beacons.pop(0)  # it is repeated every few seconds
            self._new_beacons.append((body, self.monotonic.us()))
            self._beacon_came.set()

    async def _read_beacons(self) -> None:
        while True:
            await self._beacon_came.wait()
            self._beacon_came.clear()
            while self._new_beacons and self._beacons is not None:
                async with crypto.at_work:  # or it would need buffers beside those of a signature being made
                    self._read_beacon(*self._new_beacons.pop(0))
                await asyncio.sleep_ms(0)

    def _read_beacon(self, message: bytes, came_us: int) -> None:
        assert self._beacons is not None
        try:
            seq, sent_us, (_, utc_us, uncertainty_us) = self._beacons.read(message)
        except BeaconError as error:
            self._refuse("beacon refused: %s" % error)
            return
        if sent_us is not None:
            self.clock.on_beacon(utc_us, uncertainty_us, sent_us, came_us)
        if seq is not None:
            self.journal.receipt(seq)
            self.console.say("receipt: the base holds record %d and all before it" % seq)
        self._outbox.heard(self.monotonic.ms())
        self._to_send.set()

    def _refuse(self, reason: str) -> None:
        self._refused += 1
        self.console.say(reason[:79])

    # Upkeep

    async def _maintain(self) -> None:
        while True:
            await asyncio.sleep_ms(5000)
            # One sector a turn: an erase stalls the chip for 45 ms, which the microphone's ring bridges.
            if not self.journal.maintain():
                self.sequence.maintain()
            gc.collect()

    async def _feed_watchdog(self) -> None:
        watchdog = machine.WDT(timeout=WATCHDOG_MS)
        blocks, since_ms = -1, self.monotonic.ms()
        while True:
            now_ms = self.monotonic.ms()
            if self.microphone.blocks != blocks:
                blocks, since_ms = self.microphone.blocks, now_ms
            if now_ms - since_ms < STALLED_MS:
                watchdog.feed()
            await asyncio.sleep_ms(1000)

    def _on_command(self, words) -> list:
        return overlay.with_module("holdfire_station.commands", "run", self, words)


def _summary(observations, status) -> str:
    """What a record says, in a few words for the console; `last` tells it whole."""
    if status:
        return "status, impulses: %d, heard: %d s" % (status["impulses"], status["heard_ms"] // 1000)
    first = observations[0]
    if first["kind"] == fields.KIND_TAMPER:
        return "case opened" if first["open"] else "case closed"
    return "impulses: %d, the first %d dB above the floor" % (len(observations), first["snr_db10"] // 10)
