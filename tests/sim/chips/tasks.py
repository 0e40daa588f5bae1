"""Tasks of asyncio in plain Python, so that they go by the simulated clock: the port's built-in ones read the host's.

Stands in for `_asyncio` and behaves as it does, with a list in order of time for a queue; nothing else uses it.
"""

import sys
from time import ticks_diff, ticks_ms


def _core():
    return sys.modules["asyncio.core"]


class TaskQueue:
    def __init__(self):
        self._waiting = []

    def peek(self):
        return self._waiting[0] if self._waiting else None

    def push(self, task, ticks=None):
        task.data = None
        task.ph_key = ticks = ticks_ms() if ticks is None else ticks
        i = len(self._waiting)
        while i and ticks_diff(ticks, self._waiting[i - 1].ph_key) < 0:
            i -= 1
        self._waiting.insert(i, task)

    def pop(self):
        return self._waiting.pop(0)

    def remove(self, task):
        self._waiting.remove(task)


class Task:
    def __init__(self, coro, context=None):
        self.coro = coro
        self.data = None  # what it waits for, or its result
        self.state = True  # True: running; a TaskQueue: awaited by those; None: ended; False: ended and awaited
        self.ph_key = 0  # when it is to run

    def done(self):
        return not self.state

    def __iter__(self):
        if not self.state:
            self.state = False
        elif self.state is True:
            self.state = TaskQueue()
        elif not isinstance(self.state, TaskQueue):
            raise RuntimeError("can't wait")
        return self

    def __next__(self):
        if not self.state:
            raise self.data
        waiter = _core().cur_task
        self.state.push(waiter)
        waiter.data = self

    def cancel(self):
        if not self.state:
            return False
        core = _core()
        if self is core.cur_task:
            raise RuntimeError("can't cancel self")
        task = self
        while isinstance(task.data, Task):
            task = task.data
        if hasattr(task.data, "remove"):
            task.data.remove(task)
            core._task_queue.push(task)
        elif ticks_diff(task.ph_key, ticks_ms()) > 0:
            core._task_queue.remove(task)
            core._task_queue.push(task)
        task.data = core.CancelledError
        return True
