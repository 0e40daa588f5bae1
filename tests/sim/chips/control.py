"""What the experimenter does to the world: a line a command, from a file that grows or from a timed script.

    play PATH GAIN_Q8 [UTC_US]    a sound reaches the microphone now, or at that true UTC; gain 256 is as recorded
    tamper open|closed            battery MILLIVOLTS            gnss on|off
    mic ok|muffled|cut            time SECONDS                  (adds to true UTC, as a spoofed sky would)

A script line has virtual milliseconds since power-on before the command. What happens is reported on standard error,
which is the simulator's: lines that start with `~`.
"""

import sys

import uselect
from micropython import const

from chips import world

_LOOK_EVERY_US = const(20000)
_LOOK_EVERY_VIRTUAL_US = const(1000000)


def report(*words):
    print("~", *words, file=sys.stderr)


class Control:
    def __init__(self, parts, path=None, script_path=None):
        self._parts = parts
        self._file = open(path, "rb") if path else None
        self._script = open(script_path) if script_path else None
        self._partial = b""
        if self._file:
            world.at(0, self._look)
        if self._script:
            self._next_scripted(0)

    def _look(self, due_us):
        while True:
            line = self._partial + self._file.readline()
            if not line.endswith(b"\n"):
                self._partial = line
                break
            self._partial = b""
            self._obey(line.decode().split(), world.now_us())
        return due_us + (_LOOK_EVERY_VIRTUAL_US if world.virtual else _LOOK_EVERY_US)

    def _next_scripted(self, due_us):
        line = self._script.readline().split(None, 1)
        if line:
            self._line = line[1]
            world.at(int(line[0]) * 1000, self._scripted)

    def _scripted(self, due_us):
        self._obey(self._line.split(), due_us)
        self._next_scripted(due_us)

    def _obey(self, words, true_us):
        try:
            getattr(self, "_" + words[0])(true_us, *words[1:])
        except Exception as error:  # a slip of the experimenter must not look like a fault of the firmware
            report("refused", " ".join(words), repr(error))

    def _play(self, true_us, path, gain_q8, utc_us=None):
        if utc_us is not None:
            true_us = int(utc_us) - world.utc_us(0)
        self._parts["mic"].play(path, int(gain_q8), true_us)
        report("play", world.utc_us(true_us), path)

    def _tamper(self, true_us, state):
        self._parts["tamper"].set({"open": False, "closed": True}[state])

    def _battery(self, true_us, millivolts):
        self._parts["battery"].millivolts = int(millivolts)

    def _gnss(self, true_us, state):
        self._parts["gnss"].set_sky({"on": True, "off": False}[state])

    def _mic(self, true_us, condition):
        self._parts["mic"].set_condition(condition)

    def _time(self, true_us, seconds):
        world.shift_utc(int(seconds))


class Umbilical:
    """Ends the process when the launcher is gone: its end of the console hangs up."""

    def __init__(self):
        self._poll = uselect.poll()
        self._poll.register(sys.stdin, uselect.POLLHUP)

    def __call__(self, due_us):
        for _, event in self._poll.poll(0):
            if event & (uselect.POLLHUP | uselect.POLLERR):
                world.stop("KILL", 0)
        return due_us + _LOOK_EVERY_US * 10
