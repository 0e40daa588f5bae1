"""What the collector tells its operator while it runs: structured events, handed over without ever holding it up.

Says nothing of how they are shown. Text in an event may come from a station and is made harmless here: no control
character, no direction mark, bounded.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from .times import now_us

KINDS = {
    "started": "the collector runs",
    "port-opened": "a serial port is in use",
    "port-lost": "a serial port went away; it is opened again when it returns",
    "port-failed": "a serial port cannot be used; the text says what to do",
    "port-missing": "a named serial port does not exist (yet)",
    "text": "a station wrote a line for people",
    "record": "a record was verified and is durably stored",
    "refused": "something was not accepted, or was kept with a problem; `reason` says which",
    "beacon": "a beacon went out: time, and receipts for the stations named",
    "forwarded": "a destination took records",
    "forward-stalled": "a destination does not take records now; it is tried again for ever",
    "forward-parked": "a destination will not take one record; it is kept aside until someone says retry",
    "registry": "the registry changed and was read again, or could not be",
    "dropped": "events were not shown because showing them was too slow; nothing else was lost",
    "warning": "something that a person should see to; the text says what to do",
    "stopped": "the collector ended",
}

MAX_TEXT_CHARS = 300
QUEUE_EVENTS = 2000


@dataclass(slots=True)
class Event:
    """`kind` is one of KINDS; `text` one line for people; the rest is set where it means something. Change none."""

    kind: str
    text: str
    port: str = ""
    station: str = ""
    kid: bytes = b""
    seq: int = 0
    hash: bytes = b""
    reason: str = ""
    message: bytes = b""  # kind record: the signed record
    at_us: int = field(default_factory=now_us)


class Sink:
    """Calls `on_event` on a thread of its own. A terminal that was stopped with Ctrl-S stops only what is shown."""

    def __init__(self, on_event: Callable[[Event], None] | None):
        self._on_event = on_event
        self._queue: queue.Queue[Event | None] = queue.Queue(QUEUE_EVENTS)
        self.dropped = 0
        self._told = 0
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        if on_event:
            self._thread.start()

    def put(self, event: Event) -> None:
        """Never blocks; beyond QUEUE_EVENTS not yet shown, the event is dropped and counted."""
        if not self._on_event:
            return
        try:
            if self.dropped > self._told:
                count = self.dropped - self._told
                self._queue.put_nowait(Event("dropped", f"{count} events not shown: the display is too slow"))
                self._told += count
            self._queue.put_nowait(event)
        except queue.Full:
            self.dropped += 1

    def close(self, timeout_s: float = 1.0) -> None:
        """Show what is waiting, within reason."""
        if self._on_event:
            try:
                self._queue.put(None, timeout=timeout_s)
            except queue.Full:
                return
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while (event := self._queue.get()) is not None:
            assert self._on_event
            self._on_event(event)


def harmless(raw: bytes) -> str:
    """Text of a station as it may be shown on a terminal."""
    text = raw[: 4 * MAX_TEXT_CHARS].decode("utf-8", "replace")[:MAX_TEXT_CHARS]
    return "".join(character if character.isprintable() else "·" for character in text)
