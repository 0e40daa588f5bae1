"""Stored records on their way to others: JSON lines on disk, and HTTP POST of CloudEvents. At least once, for ever.

A forwarder reads the outbox (`store.py`: a cursor over the records), delivers, and moves the cursor only when the
receiver has the records; so a crash repeats a delivery and never skips one, and the record's hash, the event's `id`, is
the key by which a receiver drops repeats. A receiver that is slow or away holds up nothing but its own cursor. Both
forms are the same CloudEvents 1.0 object, and carry the signed record itself: no receiver need believe us.
"""

import abc
import asyncio
import base64
import contextlib
import json
import os
import random
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import times, views
from .config import Settings
from .errors import ConfigError
from .events import Event, harmless
from .registry import Registry
from .store import Store

if TYPE_CHECKING:
    import aiohttp

EVENT_TYPE = "holdfire.record.v1"
CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
FILES = "files"  # the destination's name in the store

_PAGE = 200
_WINDOW = 1000  # records past the first one that a receiver has not taken; bounds memory and what a crash repeats
_PARKED_LOOK_S = 2.0
_NOTE_S = 0.25  # the cursor is stored at most this often
_RETRIED = (408, 425, 429)  # of 4xx: these ask for another try (RFC 9110, 8470, 6585)


def cloud_event(row: sqlite3.Row, registry: Registry) -> dict[str, Any]:
    """A stored record as a CloudEvents 1.0 object in structured mode."""
    source = f"urn:holdfire:{registry.network.hex()}:{row['kid'].hex()}"
    happened_us = row["utc_us"] if row["time_source"] and row["problem"] != "time-range" else row["received_at_us"]
    data = views.as_json(row, views.named_of(row["message"]), registry)
    return {
        "specversion": "1.0",
        "id": row["hash"].hex(),
        "source": source,
        "type": EVENT_TYPE,
        "subject": str(row["seq"]),
        "time": times.text(happened_us),
        "datacontenttype": "application/json",
        "data": {
            **data,
            "network": registry.network.hex(),
            "signed_record": base64.b64encode(row["message"]).decode(),
        },
    }


def event_bytes(row: sqlite3.Row, registry: Registry) -> bytes:
    return json.dumps(cloud_event(row, registry), ensure_ascii=True, separators=(",", ":")).encode()


class Forwarder(abc.ABC):
    """What both kinds share. `on_writer(function, *args)` runs a store function on the store's thread."""

    def __init__(
        self,
        name: str,
        store: Store,
        on_writer: Callable[..., Awaitable[Any]],
        registry: Callable[[], Registry],
        settings: Settings,
        tell: Callable[[Event], None],
    ):
        self.name = name
        self.more = asyncio.Event()  # set when records were stored
        self._store = store
        self._on_writer = on_writer
        self._registry = registry
        self._settings = settings
        self._tell = tell
        self._stalled = ""
        self._finishing = asyncio.Event()

    @abc.abstractmethod
    async def run(self) -> None:
        """Until cancelled, or after `finish` until what is under way is through."""

    def finish(self) -> None:
        """The collector is stopping: end in order, if that is quickly done."""
        self._finishing.set()
        self.more.set()

    async def _note_stalled(self, error: str) -> None:
        if error != self._stalled:
            self._stalled = error
            await self._on_writer(self._store.note_stalled, self.name, error)
            self._tell(Event("forward-stalled", f"{self.name}: {error}; trying again", reason=error))

    async def _note_delivered(self, cursor: int, count: int) -> None:
        await self._on_writer(self._store.note_delivered, self.name, cursor, count)
        if count:
            self._stalled = ""
            self._tell(Event("forwarded", f"{self.name}: {count} records"))

    async def _pause(self, tries: int, at_least_s: float = 0.0) -> None:
        """Between two tries: doubling, and never in step with other bases that the same receiver failed. `finish`
        cuts it short."""
        longest_s = self._settings.forward_retry_max_ms / 1000
        pause_s = random.uniform(0.5, 1) * min(longest_s, self._settings.forward_retry_ms * 2 ** min(tries, 20) / 1000)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(pause_s, min(at_least_s, longest_s))):
                await self._finishing.wait()


class FileForwarder(Forwarder):
    """Appends to `records-YYYY-MM-DD.jsonl`, by the UTC day of receiving; on disk (fsync) before the cursor moves."""

    def __init__(self, folder: Path, *common: Any):
        super().__init__(FILES, *common)
        self._folder = folder
        self._sound: set[Path] = set()  # files whose end has been looked at, and that no write has failed on since

    async def run(self) -> None:
        cursor = await self._on_writer(self._store.add_destination, self.name)
        tries = 0
        while True:
            self.more.clear()
            rows = await self._on_writer(self._store.outbox, cursor, _PAGE)
            if not rows:
                if self._finishing.is_set():
                    return
                await self.more.wait()
                continue
            try:
                await asyncio.to_thread(self._append, rows, self._registry())
            except OSError as error:
                await self._note_stalled(f"cannot write {self._folder}: {error.strerror}")
                await self._pause(tries)
                if self._finishing.is_set():
                    return
                tries += 1
                continue
            tries = 0
            cursor = rows[-1]["id"]
            await self._note_delivered(cursor, len(rows))

    def _append(self, rows: list[sqlite3.Row], registry: Registry) -> None:
        self._folder.mkdir(exist_ok=True)
        by_day: dict[str, list[bytes]] = {}
        for row in rows:
            by_day.setdefault(times.text(row["received_at_us"])[:10], []).append(event_bytes(row, registry))
        for day, lines in by_day.items():
            path = self._folder / f"records-{day}.jsonl"
            fresh = not path.exists()
            with open(path, "ab") as file:
                if path not in self._sound:
                    repair_end(path)
                try:
                    file.write(b"\n".join(lines) + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    self._sound.discard(path)
                    raise
            self._sound.add(path)
            if fresh:
                folder = os.open(self._folder, os.O_RDONLY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)


def repair_end(path: Path) -> int:
    """Cut off a last line without its end, which a crash tore; its record is not marked delivered, so it comes again.
    Returns how many bytes went."""
    with open(path, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        keep = size
        while keep:
            start = max(0, keep - 4096)
            file.seek(start)
            found = file.read(keep - start).rfind(b"\n")
            if found >= 0:
                keep = start + found + 1
                break
            keep = start
        if keep < size:
            file.truncate(keep)
            os.fsync(file.fileno())
    return size - keep


class HttpForwarder(Forwarder):
    """POSTs one event a request, several under way at once.

    2xx: delivered. 4xx other than 408, 425 and 429, and 3xx: the receiver will not have it; it is parked with the
    answer until someone says `retry`. All else, silence included: tried again, for ever. One record that a receiver
    keeps failing on holds up the others only when _WINDOW of them have gone past it.
    """

    def __init__(self, url: str, *common: Any):
        super().__init__(public_name(url), *common)
        self._url = url
        self._open: dict[int, asyncio.Task[str | None]] = {}  # record id -> the task that delivers it
        self._passed: deque[int] = deque()  # ids past the cursor, in order
        self._again: set[int] = set()  # ids under way that were parked before
        self._left: set[int] = set()  # ids that finishing left undelivered
        self._cursor = 0
        self._fresh = 0  # delivered since the cursor was last stored

    async def run(self) -> None:
        import aiohttp  # a fifth of a second: only for who forwards by HTTP

        self._cursor = await self._on_writer(self._store.add_destination, self.name)
        timeout = aiohttp.ClientTimeout(total=self._settings.forward_timeout_ms / 1000)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            try:
                await self._loop(session)
            finally:
                for task in self._open.values():
                    task.cancel()
                await asyncio.gather(*self._open.values(), return_exceptions=True)

    async def _loop(self, session: "aiohttp.ClientSession") -> None:
        loop = asyncio.get_running_loop()
        page: deque[sqlite3.Row] = deque()
        stored_cursor, noted_at, looked_at = self._cursor, loop.time(), 0.0
        newest = self._cursor
        while True:
            self.more.clear()
            if self._finishing.is_set():
                page.clear()
            elif not page and len(self._passed) < _WINDOW:
                page.extend(await self._on_writer(self._store.outbox, newest, _PAGE))
                newest = page[-1]["id"] if page else newest
            while page and len(self._open) < self._settings.forward_in_flight:
                row = page.popleft()
                self._passed.append(row["id"])
                self._open[row["id"]] = asyncio.create_task(self._deliver(session, row))
            if loop.time() - looked_at >= _PARKED_LOOK_S and not self._finishing.is_set():
                looked_at = loop.time()
                await self._take_parked(session)
            await self._wait(0.05 if self._cursor != stored_cursor or self._fresh else _PARKED_LOOK_S)
            await self._collect()
            idle = not self._open and not page
            changed = self._cursor != stored_cursor or self._fresh
            if changed and (idle or loop.time() - noted_at >= _NOTE_S):
                stored_cursor, noted_at = self._cursor, loop.time()
                count, self._fresh = self._fresh, 0
                await self._note_delivered(self._cursor, count)
            if idle and self._finishing.is_set():
                return

    async def _wait(self, timeout_s: float) -> None:
        more = asyncio.ensure_future(self.more.wait())
        try:
            await asyncio.wait([more, *self._open.values()], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            more.cancel()

    async def _take_parked(self, session: "aiohttp.ClientSession") -> None:
        for row in await self._on_writer(self._store.wanted_again, self.name, self._settings.forward_in_flight):
            if row["id"] not in self._open and len(self._open) < 2 * self._settings.forward_in_flight:
                self._again.add(row["id"])
                self._open[row["id"]] = asyncio.create_task(self._deliver(session, row))

    async def _collect(self) -> None:
        """Deal with the deliveries that ended, and move the cursor over them."""
        for record_id in [record_id for record_id, task in self._open.items() if task.done()]:
            refused = self._open.pop(record_id).result()
            again = record_id in self._again
            self._again.discard(record_id)
            if refused is None:
                self._left.add(record_id)
                continue
            if refused:
                await self._on_writer(self._store.park, self.name, record_id, refused)
                self._tell(Event("forward-parked", f"{self.name}: {refused}", reason=refused))
                continue
            self._fresh += 1
            if again:
                await self._on_writer(self._store.unpark, self.name, record_id)
        while self._passed and self._passed[0] not in self._open and self._passed[0] not in self._left:
            self._cursor = self._passed.popleft()

    async def _deliver(self, session: "aiohttp.ClientSession", row: sqlite3.Row) -> str | None:
        """"" when the receiver took it, or why it never will; None when there was no time left to try again."""
        import aiohttp

        body = event_bytes(row, self._registry())
        tries = 0
        while True:
            asked_s = 0.0
            try:
                async with session.post(
                    self._url, data=body, headers={"Content-Type": CONTENT_TYPE}, allow_redirects=False
                ) as answer:
                    if 200 <= answer.status < 300:
                        return ""
                    said = harmless(await answer.content.read(400))
                    error = f"the receiver answered {answer.status} {harmless((answer.reason or '').encode())}"
                    if 300 <= answer.status < 500 and answer.status not in _RETRIED:
                        return f"{error}: {said}" if said else error
                    after = answer.headers.get("Retry-After", "")
                    asked_s = float(after) if after.isdecimal() and len(after) < 7 else 0.0
            except TimeoutError:
                error = "the receiver did not answer in time"
            except (aiohttp.ClientError, OSError, ValueError) as failure:
                error = f"cannot reach the receiver, or it broke off ({type(failure).__name__})"
            await self._note_stalled(error)
            await self._pause(tries, asked_s)
            if self._finishing.is_set():
                return None
            tries += 1


def public_name(url: str) -> str:
    """A URL without what may be secret in it: user, password, query. The destination's name in store and messages."""
    import yarl

    try:
        parsed = yarl.URL(url)
        if not parsed.host:
            raise ValueError("no host")
        return str(parsed.with_user(None).with_query(None).with_fragment(None))
    except ValueError:
        raise ConfigError("forward_url: not a URL with a host, such as https://example.org/holdfire") from None
