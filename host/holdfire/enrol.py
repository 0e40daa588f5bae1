"""Enrolment over a station's serial console: let it make its key, take its signed statement, notice copies.

The console is made for people, so its answers stand between echoes, prompts, log lines and frames; only lines that
match in full are believed, and everything in them is checked again. Changes the registry in memory only.
"""

import dataclasses
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import serial

from holdfire_protocol import cose, enrolment, line

from . import sources
from .enrolled import Station, check_name, check_words
from .errors import PortError, RegistryError, Unplugged
from .output import clean
from .registry import Registry
from .statement import Statement, check

BAUD = 115_200
TIMEOUT_S = 20.0  # a station that opening the port has reset is back in 5 s; making a key takes it under one
ASK_AGAIN_S = 3.0  # a question that fell into a reset is lost
ENTROPY_BYTES = 32

_IDENTITY = re.compile(rb"identity network=([0-9a-f]{32}|none) public=([0-9a-f]{64}|none) kid=([0-9a-f]{16}|none)")
_ENROLLED = re.compile(rb"enrolled public=([0-9a-f]{64}) kid=([0-9a-f]{16})")
_STATEMENT = re.compile(rb"enrolment ((?:[0-9a-f]{2}){80,600})")
_NO_IDENTITY = re.compile(rb"identity file (damaged.{1,200})")
_REFUSED = re.compile(rb"error: (.{1,200})")


class Console:
    """A station's console: one question, one matching line."""

    def __init__(self, port: str, timeout_s: float = TIMEOUT_S):
        self.port = port
        self._timeout_s = timeout_s
        self._reader = line.LineReader()
        self._heard = 0
        self._serial = sources.open_serial(port, BAUD)
        self._serial.timeout, self._serial.write_timeout = 0.1, timeout_s

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
        while time.monotonic() < end:
            if time.monotonic() >= next_ask:
                self.send(question)
                next_ask = time.monotonic() + ASK_AGAIN_S if again else end
            for kind, content in self.items():
                if kind != line.TEXT:
                    continue
                found = answer.fullmatch(content)
                if found:
                    return found
                refused = refusal.fullmatch(content)
                if refused:
                    said = clean(refused[1].decode("ascii", "replace"))
                    raise PortError(f"{self.port}: the station says: {said}")
        what = "what it sends is no Holdfire station's" if self._heard else "nothing at all came back"
        raise PortError(
            f"{self.port}: no answer in {self._timeout_s:.0f} s, {what}: check cable, power and port, then try again"
        )

    def send(self, question: str) -> None:
        """Type a line. Raises PortError, Unplugged where the port is gone."""
        try:
            self._serial.write(b"\r\n" + question.encode() + b"\r\n")
        except serial.SerialTimeoutException:
            raise PortError(f"{self.port}: the station does not read what is sent; press its reset button") from None
        except (OSError, TypeError) as error:  # TypeError: pyserial on a port that failed already
            raise self._unplugged(error) from None

    def items(self) -> list[tuple[int, Any]]:
        """What came, as line.LineReader gives it, after a tenth of a second at most. Raises Unplugged."""
        try:
            received = self._serial.read(self._serial.in_waiting or 1)
        except (OSError, TypeError) as error:  # pyserial's own exceptions are OSErrors
            raise self._unplugged(error) from None
        self._heard += len(received)
        return self._reader.feed(received)

    @property
    def damaged(self) -> int:
        """Lines that were damaged or too long."""
        return self._reader.bad

    def _unplugged(self, error: Exception) -> Unplugged:
        code = getattr(error, "errno", None)
        why = f" ({os.strerror(code)})" if isinstance(code, int) else ""
        return Unplugged(f"{self.port}: the station went away{why}; plug it in and run the same command again")


class Outcome:
    """`what` happened, in words, and the station that is now enrolled."""

    def __init__(self, what: str, station: Station):
        self.what = what
        self.station = station


@dataclass(frozen=True)
class Details:
    """What the operator knows of a station and its board does not."""

    name: str
    place: str = ""
    mounting: str = ""
    photo: bytes = b""


def provision(console: Console, registry: Registry, details: Details, now_us: int, why: str) -> Outcome:
    """Enrol the station behind `console`. Raises PortError or RegistryError, and then the registry is as it was."""
    check_name(details.name, registry.path, "name")
    for key, text in (("place", details.place), ("mounting", details.mounting)):
        if text:
            check_words(text, registry.path, key)
    holder = registry.by_name(details.name)

    def check_before_key() -> None:  # a key that could not be registered should not be made
        if holder is not None:
            hint = "choose another name, or, if this is its new board: holdfire registry rotate"
            raise RegistryError(f"the name {holder.name!r} is taken by station {holder.kid.hex()}; {hint}")

    found, made = obtain(console, registry, check_before_key)
    known = registry.stations.get(found.kid)
    if known is not None:
        check_same(known, found, console.port)
        if known.name.casefold() != details.name.casefold():
            raise RegistryError(
                f"this station is enrolled already, as {known.name!r}; holdfire registry rename gives it another name"
            )
        return Outcome(f"{known.name} was enrolled already; nothing changed", known)
    station = Station(
        found.kid, found.public_key, details.name, now_us, details.place, details.mounting, details.photo, found
    )
    registry.add(station, why=why)
    # Else its key was made before, and the registry did not get it: the power or the cable went in between.
    what = "" if made else ": the station had its key already, the registry has it now"
    return Outcome(f"Enrolled {details.name}{what}", registry.stations[found.kid])


def rotate(console: Console, registry: Registry, old: Station, from_us: int, now_us: int, why: str) -> Outcome:
    """The board behind `console` takes over from `old`, with its own key. Raises PortError or RegistryError."""
    found, _ = obtain(console, registry, lambda: None)
    known = registry.stations.get(found.kid)
    if known is not None:
        whose = "its old key still" if known.kid == old.kid else f"the key of {known.name}"
        raise RegistryError(
            f"the station on {console.port} has {whose}: a new key needs a board that is new, or flashed with ERASE=1"
        )
    registry.rotate(old, Station(found.kid, found.public_key, old.name, now_us, statement=found), from_us, why)
    return Outcome(f"{old.name} has a new key", registry.stations[found.kid])


def obtain(console: Console, registry: Registry, before_key: Callable[[], None]) -> tuple[Statement, bool]:
    """The station's statement, made now, after it made its key if it had none; and whether it had none.

    Raises PortError or RegistryError; `before_key` may raise too, and then no key is made.
    """
    found, made = state(console, registry, before_key)
    check_collector(found, registry, console.port)
    return found, made


def state(console: Console, registry: Registry, before_key: Callable[[], None]) -> tuple[Statement, bool]:
    """Like `obtain`, whatever collector the station believes."""
    network, public_key, kid = claimed(console)
    made = public_key is None
    if made:
        before_key()
        entropy = os.urandom(ENTROPY_BYTES)
        question = f"enrol {registry.network.hex()} {registry.collector_public.hex()} {entropy.hex()}"
        public_key, kid = (_bytes(part) for part in console.ask(question, _ENROLLED, _REFUSED, again=False).groups())
    elif network != registry.network:
        other = network.hex() if network else "none"
        raise RegistryError(
            f"the station on {console.port} belongs to another deployment (network {other});"
            " to take it over, flash it anew with ERASE=1"
        )
    if public_key is None or kid != cose.key_id(public_key):
        raise PortError(f"{console.port}: the station's kid is not of its public key: damaged on the line, try again")
    return _statement(console, registry, public_key), made


def claimed(console: Console) -> tuple[bytes | None, bytes | None, bytes | None]:
    """(network, public key, kid) that the station says it has, None for what it has not. Nothing of it is proven."""
    network, public_key, kid = console.ask("identity", _IDENTITY, _NO_IDENTITY, again=True).groups()
    return _bytes(network), _bytes(public_key), _bytes(kid)


def enrolled(console: Console, registry: Registry) -> tuple[Station, Statement]:
    """The station behind `console` and what it states now. Raises PortError, or RegistryError for one not enrolled."""

    def no_key() -> None:
        raise RegistryError(f"the station on {console.port} has no key yet: holdfire provision {console.port}")

    found, _ = obtain(console, registry, no_key)
    known = registry.stations.get(found.kid)
    if known is None:
        raise RegistryError(f"the station on {console.port} is not in the registry: holdfire provision {console.port}")
    check_same(known, found, console.port)
    return known, found


def check_collector(found: Statement, registry: Registry, port: str) -> None:
    """Raises RegistryError for a station that believes a collector which this registry does not know."""
    if found.collector not in [holder.public_key for holder in registry.collectors]:
        raise RegistryError(
            f"the station on {port} believes another collector ({cose.key_id(found.collector).hex()}): {registry.path}"
            " is older than that one, then take a newer copy; or someone else gave the station its key, then (its"
            " records are lost with it) flash it anew with ERASE=1"
        )


def check_same(known: Station, found: Statement, port: str) -> None:
    """Whether the enrolled station is what is on the port. Raises RegistryError for a copy or a key out of use."""
    if known.statement is not None and known.statement.chip != found.chip:
        raise RegistryError(
            f"the board on {port} (chip {found.chip.hex()}) has the key of {known.name}, which was made on chip"
            f" {known.statement.chip.hex()}: one of them is a copy, and its records cannot be told from real ones."
            f" Take both out of use, then: holdfire registry revoke {known.name!r}, with --from the last time you trust"
        )
    if known.retired:
        raise RegistryError(
            f"the station on {port} is {known.name}, whose key is out of use ({known.doubts[-1].words}); to use the"
            " board again, flash it with ERASE=1 and provision it anew"
        )
    if known.lost:
        raise RegistryError(
            f"the station on {port} is {known.name}, reported lost: look it over, then run holdfire registry found,"
            " or revoke it if anybody may have opened it"
        )


@dataclass(frozen=True)
class Seen:
    """What `look` found on a port: a statement, or why there is none; and what is wrong with it."""

    port: str
    name: str
    statement: Statement | None
    wrong: str


def look(ports: Sequence[str], registry: Registry, timeout_s: float) -> list[Seen]:
    """Who is on each port, compared with the registry and with each other. Makes no keys; raises nothing."""
    found = [_look_at(port, registry, timeout_s) for port in ports]
    for i, seen in enumerate(found):
        for other in found[:i]:
            if seen.statement and other.statement and seen.statement.public_key == other.statement.public_key:
                chips = {seen.statement.chip.hex(), other.statement.chip.hex()}
                boards = f"two boards, chips {' and '.join(sorted(chips))}" if len(chips) == 2 else "two ports"
                wrong = (
                    f"the same key as on {other.port}, on {boards}: one is a copy. Take both out of use and run"
                    " holdfire registry revoke"
                )
                found[i] = dataclasses.replace(seen, wrong=wrong)
    return found


def _look_at(port: str, registry: Registry, timeout_s: float) -> Seen:
    def no_key() -> None:
        raise RegistryError("it has no key yet: holdfire provision")

    try:
        with Console(port, timeout_s) as console:
            found, _ = obtain(console, registry, no_key)
    except (PortError, RegistryError) as error:
        return Seen(port, "", None, str(error))
    known = registry.stations.get(found.kid)
    if known is not None:
        try:
            check_same(known, found, port)
        except RegistryError as error:
            return Seen(port, known.name, found, str(error))
        old = found.collector != registry.collector_public
        wrong = f"believes the collector before: holdfire registry tell {port}" if old else ""
        return Seen(port, known.name, found, wrong)
    board = registry.by_chip(found.chip)
    if board is not None:
        wrong = f"this board was enrolled as {board.name} and has another key now: it was erased or flashed anew"
        return Seen(port, "", found, f"{wrong}; if that was you: holdfire registry rotate")
    return Seen(port, "", found, "not enrolled, though it has a key of this deployment: holdfire provision")


def _statement(console: Console, registry: Registry, public_key: bytes) -> Statement:
    """Ask the station for its signed statement, with a challenge that no earlier answer can meet."""
    challenge = os.urandom(enrolment.CHALLENGE_BYTES)
    answer = console.ask(f"enrolment {challenge.hex()}", _STATEMENT, _REFUSED, again=True)
    try:
        found = check(bytes.fromhex(answer[1].decode()), registry.network)
    except ValueError as error:
        raise PortError(f"{console.port}: the station's enrolment does not hold: {error}; try again") from None
    if found.public_key != public_key or found.challenge != challenge:
        raise PortError(f"{console.port}: the enrolment is not this station's, or not made now: another device answers")
    return found


def _bytes(part: bytes) -> bytes | None:
    return None if part == b"none" else bytes.fromhex(part.decode())
