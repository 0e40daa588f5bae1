"""Numbers that a station gave up by its own signed word, because its memory was full and nobody took its records.

A set of numbers as runs; the longest runs possible, so that one look tells where the gap round a number begins and
ends. What a gap means for a chain is chain.py's and audit.py's to say.
"""

from bisect import bisect_right
from collections.abc import Iterable

from holdfire_protocol import cose, record

Run = tuple[int, int]


def thinned_in(message: bytes) -> list[Run]:
    """The runs that a signed record declares."""
    return [(first, last) for first, last in record.decode_record(cose.parse(message).payload).get("thinned", ())]


class Thinned:
    """`runs`: numbers from first to last, both included; in order, and apart."""

    def __init__(self, runs: Iterable[Run] = ()):
        self.runs: list[Run] = []
        self.add(runs)

    def add(self, runs: Iterable[Run]) -> None:
        """Take in more of them, in any order, repeats included."""
        merged: list[Run] = []
        for first, last in sorted([*self.runs, *runs]):
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
            else:
                merged.append((first, last))
        self.runs = merged

    def run_of(self, number: int) -> Run | None:
        """The run that holds this number, or None."""
        at = bisect_right(self.runs, number, key=lambda run: run[0]) - 1
        return self.runs[at] if at >= 0 and number <= self.runs[at][1] else None

    def split(self, first: int, last: int) -> tuple[list[Run], list[Run]]:
        """The numbers from first to last as (runs that were given up, runs that were not)."""
        inside: list[Run] = []
        outside: list[Run] = []
        for low, high in self.runs[max(bisect_right(self.runs, first, key=lambda run: run[0]) - 1, 0) :]:
            if low > last:
                break
            if high < first:
                continue
            if low > first:
                outside.append((first, low - 1))
            inside.append((max(low, first), min(high, last)))
            first = high + 1
        if first <= last:
            outside.append((first, last))
        return inside, outside
