"""What to send next, and what a beacon says of it. Sans-I/O: milliseconds in, sequence numbers and deadlines out.

Order: a record made now goes out at once; then every alert no receipt covers, once a session; then the oldest, in windows,
each window answered by a receipt before the next. Nothing is dropped: what no receipt covers is sent again, for ever, ever
less often while no base answers.
"""

WINDOW = 8  # records sent per receipt awaited: 8 lines are 0.2 s of a 115200 baud cable
RETRY_FIRST_MS = 4_000
RETRY_LONGEST_MS = 60_000
SESSION_GAP_MS = 60_000  # a base not heard for so long may be another one, or have lost what it was sent


class Outbox:
    """`journal` is asked what is pending; `next` says what to send; `receipt` and `heard` tell of the base."""

    def __init__(self, journal):
        self._journal = journal
        self._fresh = []  # made but never sent, newest last; bounded by WINDOW, the journal keeps the rest
        self._alert_cursor = 0  # alerts up to here were sent in this session
        self._window = []  # sequence numbers still to send in this window
        self._retry_ms = RETRY_FIRST_MS
        self._next_window_ms = 0
        self._heard_ms = None
        self.sent = 0

    def made(self, seq: int) -> None:
        """A record was journaled: send it at once."""
        if len(self._fresh) < WINDOW:
            self._fresh.append(seq)

    def next(self, now_ms: int):
        """(sequence number to send now or None, ms until this is worth asking again)."""
        if self._fresh:
            seq = self._fresh.pop(0)
            self._alert_cursor = max(self._alert_cursor, seq) if not self._journal.pending_count else self._alert_cursor
            return self._send(seq)
        if not self._window:
            if now_ms < self._next_window_ms:
                return None, self._next_window_ms - now_ms
            self._window = self._fill()
            self._next_window_ms = now_ms + self._retry_ms
            self._retry_ms = min(2 * self._retry_ms, RETRY_LONGEST_MS)
            if not self._window:
                return None, self._retry_ms
        return self._send(self._window.pop(0))

    def heard(self, now_ms: int) -> None:
        """A verified beacon came: the base is there."""
        if self._heard_ms is None or now_ms - self._heard_ms > SESSION_GAP_MS:
            self._alert_cursor = 0
            self._next_window_ms = now_ms
        self._heard_ms = now_ms
        self._retry_ms = RETRY_FIRST_MS

    def receipt(self, now_ms: int) -> None:
        """Something new was acknowledged: go on with the next window now."""
        self._window = []
        self._next_window_ms = now_ms
        self._retry_ms = RETRY_FIRST_MS

    def _send(self, seq: int):
        self.sent += 1
        return seq, 0

    def _fill(self):
        raise NotImplementedError
