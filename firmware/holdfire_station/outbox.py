"""What to send next. Sans-I/O: milliseconds in, sequence numbers and waiting times out.

A record made now goes out at once. What no receipt covers is sent in passes: alerts first, each kind from old to new,
in windows, and each window waits until the base was heard again. No answer, and the pass starts over, less and less
often. Nothing is ever given up here: only a receipt takes a record out of the journal.
"""

WINDOW = 8  # records sent before the base must be heard: 8 lines are 0.2 s of a 115200 baud cable
RETRY_FIRST_MS = 4_000
RETRY_LONGEST_MS = 60_000


class Outbox:
    """`made`, `heard` tell it what happened; `next` says what to send. `journal` is asked for what is pending."""

    def __init__(self, journal):
        self._journal = journal
        self._fresh = []  # made and never sent; at most WINDOW, the passes find the others
        self._pass = None  # iterator over what is pending
        self._pass_last_seq = 0
        self._window = []
        self._answered = False
        self._retry_ms = RETRY_FIRST_MS
        self._next_window_ms = 0

    def made(self, seq: int, now_ms: int) -> None:
        """A record was journaled."""
        if len(self._fresh) < WINDOW:
            self._fresh.append(seq)
        if self._pass is None:  # give its receipt time to come before sending it again
            self._next_window_ms = max(self._next_window_ms, now_ms + RETRY_FIRST_MS)

    def heard(self, now_ms: int) -> None:
        """A verified beacon came: the base is there, and has had what was sent."""
        self._answered = True
        self._retry_ms = RETRY_FIRST_MS
        self._next_window_ms = now_ms if self._pass is not None else now_ms + RETRY_FIRST_MS

    def next(self, now_ms: int):
        """(sequence number to send now or None, milliseconds until it is worth asking again)."""
        if self._fresh:
            return self._fresh.pop(0), 0
        if not self._window:
            if now_ms < self._next_window_ms:
                return None, self._next_window_ms - now_ms
            self._fill(now_ms)
            if not self._window:
                return None, max(self._next_window_ms - now_ms, 1)
        return self._window.pop(0), 0

    def _fill(self, now_ms: int) -> None:
        """The next window of this pass, or the first of a new one."""
        if not self._answered:
            self._pass = None
        self._answered = False
        self._next_window_ms = now_ms + self._retry_ms
        self._retry_ms = min(2 * self._retry_ms, RETRY_LONGEST_MS)
        if self._pass is None:
            self._pass = self._journal.pending()
            self._pass_last_seq = self._journal.last_seq
        for seq in self._pass:
            if seq <= self._pass_last_seq:  # later ones went out when they were made
                self._window.append(seq)
                if len(self._window) == WINDOW:
                    return
        self._pass = None
