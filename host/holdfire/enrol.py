"""Enrolment over a station's serial console: ask who it is, let it make its key, take the public half.

The console is made for people, so its answers stand between echoes, prompts, log lines and frames; only lines that
match in full are believed, and everything in them is checked again. Changes the registry in memory only.
"""

import errno
import os
import re
import time
from types import TracebackType

import serial

from holdfire_protocol import cose, line

from .errors import PortError, RegistryError
from .output import clean
from .registry import Registry, Station, check_name

BAUD = 115_200
TIMEOUT_S = 20.0  # a station that opening the port has reset is back in 5 s; making a key takes it under one
ASK_AGAIN_S = 3.0  # a question that fell into a reset is lost
ENTROPY_BYTES = 32

_IDENTITY = re.compile(rb"identity network=([0-9a-f]{32}|none) public=([0-9a-f]{64}|none) kid=([0-9a-f]{16}|none)")
_ENROLLED = re.compile(rb"enrolled public=([0-9a-f]{64}) kid=([0-9a-f]{16})")
_NO_IDENTITY = re.compile(rb"identity file (damaged.{1,200})")
_REFUSED = re.compile(rb"error: (.{1,200})")


class Console:
    """A station's console: one question, one matching line."""

    def __init__(self, port: str, timeout_s: float = TIMEOUT_S):
        self.port = port
        self._timeout_s = timeout_s
        self._reader = line.LineReader()
        self._heard = 0
        try:
            self._serial = serial.Serial(port, BAUD, timeout=0.1, write_timeout=timeout_s, exclusive=True)
        except (OSError, ValueError) as error:
            raise PortError(_why_not(port, error)) from None

    def __enter__(self) -> "Console":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._serial.close()

    def ask(
        self, question: str, answer: "re.Pattern[bytes]", refusal: "re.Pattern[bytes]", again: bool
    ) -> "re.Match[bytes]":
        """The first line that matches `answer`. `again`: repeat the question while there is none.

        Raises PortError when a line matches `refusal`, or none comes in time.
        """
        end = time.monotonic() + self._timeout_s
        next_ask = 0.0
        try:
            while time.monotonic() < end:
                if time.monotonic() >= next_ask:
                    self._serial.write(b"\r\n" + question.encode() + b"\r\n")
                    next_ask = time.monotonic() + ASK_AGAIN_S if again else end
                received = self._serial.read(self._serial.in_waiting or 1)
                self._heard += len(received)
                for kind, content in self._reader.feed(received):
                    if kind != line.TEXT:
                        continue
                    found = answer.fullmatch(content)
                    if found:
                        return found
                    refused = refusal.fullmatch(content)
                    if refused:
                        said = clean(refused[1].decode("ascii", "replace"))
                        raise PortError(f"{self.port}: the station says: {said}")
        except OSError as error:  # pyserial's own exceptions are OSErrors
            raise PortError(f"{self.port}: the station went away ({error}); plug it in and try again") from None
        what = "what it sends is no Holdfire station's" if self._heard else "nothing at all came back"
        raise PortError(
            f"{self.port}: no answer in {self._timeout_s:.0f} s, {what}: check cable, power and port, then try again"
        )


class Outcome:
    """`what` happened, in words, and the station that is now enrolled."""

    def __init__(self, what: str, station: Station):
        self.what = what
        self.station = station


def enrol(console: Console, registry: Registry, name: str, now_us: int) -> Outcome:
    """Enrol the station behind `console` as `name`. Raises PortError or RegistryError, and changes nothing."""
    holder = registry.by_name(name)
    network, public_key, kid = (
        _bytes(part) for part in console.ask("identity", _IDENTITY, _NO_IDENTITY, again=True).groups()
    )
    if public_key is not None:
        if network != registry.network:
            other = network.hex() if network else "none"
            raise RegistryError(
                f"the station on {console.port} belongs to another deployment (network {other});"
                " to take it over, flash it anew with ERASE=1"
            )
        known = registry.stations.get(cose.key_id(public_key))
        if known is not None:
            if known.name.casefold() != name.casefold():
                raise RegistryError(f"this station is enrolled already, as {known.name!r}; names do not change")
            return Outcome(f"{known.name} was enrolled already; nothing changed", known)
        # Its key was made, but the registry did not get it: the power or the cable went in between.
        station = _checked(console, public_key, kid, name, now_us)
        registry.add(station)
        return Outcome(f"Enrolled {name}: the station had its key already, the registry has it now", station)
    if holder is not None:  # before the station makes a key that could not be registered
        raise RegistryError(f"the name {holder.name!r} is taken by station {holder.kid.hex()}; choose another")
    check_name(name, registry.path, "name")
    entropy = os.urandom(ENTROPY_BYTES)
    question = f"enrol {registry.network.hex()} {registry.collector_public.hex()} {entropy.hex()}"
    public_key, kid = (_bytes(part) for part in console.ask(question, _ENROLLED, _REFUSED, again=False).groups())
    assert public_key is not None
    station = _checked(console, public_key, kid, name, now_us)
    registry.add(station)
    return Outcome(f"Enrolled {name}", station)


def _checked(console: Console, public_key: bytes, kid: bytes | None, name: str, now_us: int) -> Station:
    if kid != cose.key_id(public_key):
        raise PortError(f"{console.port}: the station's kid is not of its public key: damaged on the line, try again")
    return Station(kid, public_key, name, now_us)


def _bytes(part: bytes) -> bytes | None:
    return None if part == b"none" else bytes.fromhex(part.decode())


def _why_not(port: str, error: Exception) -> str:
    """Why a port does not open, and what to do about it."""
    number = getattr(error, "errno", None)
    text = str(error)
    if number == errno.ENOENT:
        return f"{port}: no such port; is the station plugged in? (ls /dev/tty* shows the ports)"
    if number == errno.EACCES:
        return f"{port}: no permission; add yourself to the group that owns it (often dialout), then log in again"
    if number in (errno.EAGAIN, errno.EBUSY) or "lock" in text:
        return f"{port}: in use by another program; end it (holdfire collect? a terminal?), then try again"
    return f"{port}: cannot be used as a serial port ({clean(text)[:120]})"
