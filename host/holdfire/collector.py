"""The daemon of the base: ports in, committed records, beacons out, forwarders beside it. Composition and timing only.

asyncio conducts; the work is done on threads that own their thing: each port's reader and writer (sources.py), one
thread that verifies and one that owns the store (ingest.py). While one batch is at work the next gathers in the bounded
inboxes, so commits are shared when it is busy and immediate when it is not. A beacon with a receipt is made only after
the commit that it speaks of.

Nothing here is retried against the disk: StorageError ends the run, nothing more is acknowledged, and the next start
recovers from what SQLite finds.
"""

import asyncio
import contextlib
import fcntl
import functools
import gc
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from . import config, times
from .beacons import Beacons
from .config import Settings
from .errors import AlreadyRunning, ClockError, HoldfireError, RegistryError
from .events import Event, Sink
from .forward import FileForwarder, Forwarder, HttpForwarder
from .ingest import Ingest, Judged
from .registry import Deployment, Registry, load_collector_key
from .sources import END, Inbox, Ports
from .store import Store

# A batch holds tens of thousands of containers for a moment and none of them in a circle: with Python's own thresholds,
# looking for circles is a thirtieth of the work of tools/bench collector.
GC_THRESHOLD = (50_000, 20, 20)
NEWCOMER_US = 86_400_000_000  # a deployment as young as this may well have a database that is new
IMPORT = "`holdfire import` a copy (host/README.md: Back up and restore)"
FINISH_S = 2.0  # for forwarders to end in order; what they leave is sent at the next start


def run(
    directory: str | os.PathLike[str],
    ports: Sequence[str] | None = None,
    on_event: Callable[[Event], None] | None = None,
    settings: Settings | None = None,
    past_clock: bool = False,
) -> None:
    """Collect until SIGINT or SIGTERM. `past_clock`: also while the registry has entries later than this clock.

    `ports` (paths or patterns) and `settings` default to what the directory's config.toml says.
    `on_event` is called on a thread of its own. Raises a HoldfireError, whose `exit_code` is the command's.
    """
    deployment = Deployment(Path(directory))
    settings = settings or config.load(deployment.config_path)
    gc.set_threshold(*GC_THRESHOLD)
    ports = settings.ports if ports is None else ports
    asyncio.run(Collector(deployment, settings, ports, on_event, past_clock).run())


class Collector:
    """One run over one directory."""

    def __init__(
        self,
        deployment: Deployment,
        settings: Settings,
        ports: Sequence[str],
        on_event: Callable[[Event], None] | None = None,
        past_clock: bool = False,
    ):
        self._past_clock = past_clock
        self._deployment = deployment
        self._settings = settings
        self._patterns = ports
        self._events = Sink(on_event)
        self._writer = ThreadPoolExecutor(1, "store")
        self._judge = ThreadPoolExecutor(1, "verify")
        self._heard: dict[str, set[bytes]] = {}  # port -> stations heard there since it opened
        self._due: dict[str, set[bytes]] = {}  # port -> stations whose receipt is to go out
        self._forwarders: list[Forwarder] = []

    async def run(self) -> None:
        """Until `stop`, or a signal, or an error that ends it."""
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            with only_one(self._deployment.directory):
                await self._run()
        finally:
            self._judge.shutdown()
            self._writer.shutdown()
            self._events.close()

    def stop(self) -> None:
        """End the run; from any thread."""
        self._loop.call_soon_threadsafe(self._stop.set)

    async def _run(self) -> None:
        registry = Registry.load(self._deployment.registry_path)
        key = self._load_key(registry)
        if not self._past_clock:
            check_clock(registry, times.now_us(), self._settings.future_tolerance_s * 1_000_000)
        settings = self._settings
        fresh = not self._deployment.database_path.exists()
        store = await self._on_writer(Store, self._deployment.database_path, settings.refusal_rows)
        inbox_filled, answers_due = asyncio.Event(), asyncio.Event()

        def on_data() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: so has the wish for data
                self._loop.call_soon_threadsafe(inbox_filled.set)

        inbox = Inbox(settings.port_bytes, on_data)
        ports = Ports(self._patterns, settings.baud, inbox, self._events.put)
        try:
            self._ingest = Ingest(registry, store, settings)
            beacons = Beacons(key, registry.network, store, settings.clock_uncertainty_ms * 1000, times.now_us)
            self._use_key = beacons.use_key
            self._make_forwarders(store)
            with self._signals():
                self._tell("started", f"collecting for {registry.name}: {len(registry.stations)} stations enrolled")
                for text in await self._on_writer(_warnings, registry, store, fresh, times.now_us()):
                    self._tell("warning", text)
                await self._until_one_ends(
                    self._take_forever(inbox, inbox_filled, answers_due),
                    self._scan_forever(ports, answers_due),
                    self._answer_forever(ports, beacons, answers_due),
                )
        except HoldfireError as error:
            self._tell("stopped", f"stopped: {error}", error)
            raise
        else:
            self._tell("stopped", "stopped; what is not acknowledged will be sent again")
        finally:
            inbox.close()
            await asyncio.to_thread(ports.close)
            await self._on_writer(store.close)

    async def _until_one_ends(self, *parts: Any) -> None:
        """Run all; when `stop` is set or one fails, end the others. Raises what failed."""
        tasks = [asyncio.ensure_future(part) for part in (self._stop.wait(), *parts)]
        forwarding = [asyncio.ensure_future(forwarder.run()) for forwarder in self._forwarders]
        tasks += forwarding
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if forwarding and self._stop.is_set():
                for forwarder in self._forwarders:
                    forwarder.finish()
                await asyncio.wait(forwarding, timeout=FINISH_S)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result

    async def _take_forever(self, inbox: Inbox, filled: asyncio.Event, answers_due: asyncio.Event) -> None:
        keeping: asyncio.Future[None] | None = None
        try:
            while True:
                await filled.wait()
                filled.clear()
                while chunks := inbox.take(self._settings.batch_bytes):
                    for port, data in chunks:
                        if data == END:
                            self._heard.pop(port, None)
                    judged = await self._loop.run_in_executor(self._judge, self._ingest.judge, chunks)
                    if keeping:
                        await keeping
                    # Verifying goes on once only the disk is at work; before, both would fight for the interpreter.
                    written = asyncio.Event()
                    keeping = asyncio.ensure_future(self._keep(judged, written, answers_due))
                    await written.wait()
                if keeping:
                    await keeping
                    keeping = None
        finally:
            if keeping:
                keeping.cancel()

    async def _keep(self, judged: Judged, written: asyncio.Event, answers_due: asyncio.Event) -> None:
        """Commit a batch, and only then let its answers go out. `written` is set before the commit."""
        try:
            on_kept = functools.partial(self._loop.call_soon_threadsafe, written.set)
            outcome = await self._on_writer(self._ingest.keep, judged, on_kept)
        finally:
            written.set()
        for port, kids in outcome.answers.items():
            self._heard.setdefault(port, set()).update(kids)
            self._due.setdefault(port, set()).update(kids)
            answers_due.set()
        for event in outcome.events:
            self._events.put(event)
        if outcome.stored:
            for forwarder in self._forwarders:
                forwarder.more.set()

    async def _scan_forever(self, ports: Ports, answers_due: asyncio.Event) -> None:
        seen = _stamp(self._deployment.registry_path)
        while True:
            before = set(ports.open)
            await asyncio.to_thread(ports.scan)
            if set(ports.open) - before:
                answers_due.set()  # a port that opened gets the time at once
            stamp = _stamp(self._deployment.registry_path)
            if stamp != seen:
                seen = stamp
                await self._read_registry_again()
            await asyncio.sleep(self._settings.rescan_ms / 1000)

    async def _answer_forever(self, ports: Ports, beacons: Beacons, answers_due: asyncio.Event) -> None:
        """Beacons: receipts soon after their commit, gathered for receipt_spacing_ms; and one at least every
        beacon_interval_ms, with the receipts of all stations heard on the port."""
        interval_s = self._settings.beacon_interval_ms / 1000
        spacing_s = self._settings.receipt_spacing_ms / 1000
        sent: dict[str, float] = {}
        while True:
            now = self._loop.time()
            next_at = now + interval_s
            sent = {port: at for port, at in sent.items() if port in ports.open}
            self._due = {port: kids for port, kids in self._due.items() if port in ports.open}
            for port in list(ports.open):
                last = sent.get(port, now - interval_s)
                due_at = last + (spacing_s if self._due.get(port) else interval_s)
                if now < due_at:
                    next_at = min(next_at, due_at)
                    continue
                kids = self._due.pop(port, set())
                if now >= last + interval_s:
                    kids |= self._heard.get(port, set())
                receipts, lines = await self._on_writer(self._make_beacons, beacons, kids)
                for line in lines:
                    ports.send(port, line)
                sent[port] = now
                self._tell_beacon(port, receipts)
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(next_at):
                    await answers_due.wait()
            answers_due.clear()

    def _make_beacons(
        self, beacons: Beacons, kids: Iterable[bytes]
    ) -> tuple[list[tuple[bytes, int, bytes]], list[bytes]]:
        receipts = self._ingest.receipts(kids)
        return receipts, beacons.lines(receipts)

    def _tell_beacon(self, port: str, receipts: list[tuple[bytes, int, bytes]]) -> None:
        stations = self._ingest.registry.stations
        said = ", ".join(f"{stations[kid].name} {seq}" for kid, seq, _ in receipts if kid in stations)
        self._events.put(Event("beacon", f"time, and receipts: {said}" if said else "time", port))

    async def _read_registry_again(self) -> None:
        """Someone enrolled a station. A registry that does not load or is another deployment's changes nothing."""
        old = self._ingest.registry
        try:
            new = await asyncio.to_thread(Registry.load, self._deployment.registry_path)
            _check_goes_on(old, new)
            if new.collector_public != old.collector_public:
                key = await asyncio.to_thread(self._load_key, new)
                await self._on_writer(self._use_key, key)
        except RegistryError as error:
            self._tell("registry", f"not read again, the old one stays in use: {error}", error)
            return
        await self._loop.run_in_executor(self._judge, self._ingest.use_registry, new)
        self._tell("registry", f"registry read again: {len(new.stations)} stations enrolled")

    def _load_key(self, registry: Registry) -> Ed25519PrivateKey:
        path = self._deployment.key_path_of(registry.collector_public)
        return load_collector_key(path, registry.collector_public)

    def _make_forwarders(self, store: Store) -> None:
        common = (store, self._on_writer, lambda: self._ingest.registry, self._settings, self._events.put)
        if self._settings.forward_files:
            self._forwarders.append(FileForwarder(self._deployment.forward_directory, *common))
        if self._settings.forward_url:
            self._forwarders.append(HttpForwarder(self._settings.forward_url, *common))

    async def _on_writer(self, function: Callable[..., Any], *args: Any) -> Any:
        return await self._loop.run_in_executor(self._writer, function, *args)

    def _tell(self, kind: str, text: str, error: HoldfireError | None = None) -> None:
        self._events.put(Event(kind, text, reason=type(error).__name__ if error else ""))

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        caught = []
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._loop.add_signal_handler(number, self._stop.set)
                caught.append(number)
            except (RuntimeError, ValueError):  # not on the main thread: whoever runs us there calls `stop`
                pass
        try:
            yield
        finally:
            for number in caught:
                self._loop.remove_signal_handler(number)


@contextlib.contextmanager
def only_one(directory: Path) -> Iterator[None]:
    """Hold the directory's lock. The kernel lets go of it however the process ends. Raises AlreadyRunning."""
    try:
        lock = os.open(directory / "collector.lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise RegistryError(f"cannot use {directory}: {error.strerror}; `holdfire init` founds a deployment") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(lock, 20).decode("ascii", "replace").strip()
            raise AlreadyRunning(f"another collector (process {holder}) works on {directory}; stop it first") from None
        with contextlib.suppress(OSError):  # a full disk: the lock holds without the number, and the store says it
            os.ftruncate(lock, 0)
            os.pwrite(lock, b"%d\n" % os.getpid(), 0)
        yield
    finally:
        os.close(lock)


def _check_goes_on(old: Registry, new: Registry) -> None:
    """Whether a registry read while running is the one in use with more entries. Raises RegistryError."""
    again = "if that is right, end `holdfire collect` and start it again"
    if new.network != old.network:
        raise RegistryError(f"{new.path}: is another deployment's now")
    if new.entries[: len(old.entries)] != old.entries:
        raise RegistryError(f"{new.path}: does not go on from the one in use, it is older or another history; {again}")
    for holder in new.authorities[len(old.authorities) :]:
        if holder.broken:
            text = f"entry {holder.entry} puts another authority in place, and the one before did not sign it"
            raise RegistryError(f"{new.path}: {text}; {again}")


def check_clock(registry: Registry, now_us: int, tolerance_us: int) -> None:
    """Raises ClockError when the computer's clock is before times that it must be after."""
    newest = max([registry.founded_at_us, *(station.enrolled_at_us for station in registry.stations.values())])
    if now_us + tolerance_us < newest:
        raise ClockError(
            f"this computer's clock says {times.text(now_us, 0)}, but the registry was changed at"
            f" {times.text(newest, 0)}: set the clock (timedatectl, or date -u -s), then start again; if"
            " that date was the wrong one, add --past-clock"
        )


def _warnings(registry: Registry, store: Store, fresh: bool, now_us: int) -> list[str]:
    """What an operator should know at the start: losses that no receipt will go beyond."""
    oldest_us = min((station.enrolled_at_us for station in registry.stations.values()), default=now_us)
    if fresh and now_us - oldest_us > NEWCOMER_US:
        return [f"the database is new. If this base had records before, end this and take them in first: {IMPORT}"]
    found = []
    for station in registry.stations.values():
        first = store.first_pending(station.kid)
        receipt = store.highest_contiguous(station.kid)
        if first and first > (receipt[0] if receipt else 0):
            text = f"{station.name} is not receipted: record {first} waits for the one before"
            found.append(f"{text}. If the station does not send it, {IMPORT}")
    return found


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_size, found.st_mtime_ns)
