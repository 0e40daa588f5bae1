"""What a full journal gives up, and the numbers that a signed record must say so of. In memory only while it is used.

One sector of routine records at a time, the oldest; alerts between them stay. A run begins with a record that is given
up and ends before the next one that is kept, so it holds numbers that no record bears as well: whoever follows the
chain then knows that nothing of that run will come (SPEC.md section 7).
"""

from .journal import ALERT, HEADER, ROUTINE

_NO_MORE = 1 << 32


def plan(journal):
    """[(first, last)] of the numbers to give up next, or None when there is nothing."""
    sector = journal.thinnable()
    if sector < 0:
        return None
    runs: list[tuple[int, int]] = []
    at = journal._next(sector, HEADER, journal.receipted, journal.last_seq)
    while at:
        seq = journal._entry_seq()
        end = min(_held_after(journal, ROUTINE, seq) - 1, _held_after(journal, ALERT, seq) - 1, journal.last_seq)
        if runs and runs[-1][1] == seq - 1:
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((seq, end))
        at = journal._next(sector, HEADER, seq, journal.last_seq)
    return runs or None


def thin(journal, runs) -> bool:
    """Give up what `plan` named; a record that declares it must already be here. False if the plan has changed."""
    if runs != plan(journal):
        return False
    journal._retire(journal.thinnable())
    journal._passed[ROUTINE] = 0
    return True


def _held_after(journal, lane, seq):
    """The lane's first number above seq."""
    sector = journal._before(lane, seq)
    at = journal._next(sector, HEADER, seq, journal.last_seq) if sector >= 0 else 0
    above = seq
    while not at:
        sector = journal._after(lane, above)
        if sector < 0:
            return _NO_MORE
        above = journal._first[sector]
        at = journal._next(sector, HEADER, seq, journal.last_seq)
    return journal._entry_seq()
