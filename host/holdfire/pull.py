"""A copy of what a station still holds, over its console's cable: records first, then clips of sound.

The station, the cable and whoever sits between are believed in nothing: a record is kept when its signature holds and
it is of the enrolled station that answered a fresh challenge. Whatever comes, this ends, or goes on; every wait and
every repetition has its bound, but the wait for a cable that was pulled, which Ctrl-C ends. Frees nothing on the
station, and no collector is needed. Where the copy is kept is pulled.py's; how it is told, commands/pull.py's.
"""

import abc
import base64
import binascii
import itertools
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from holdfire_protocol import fields, frame, line

from . import clips, enrol
from .console import LOOK_AGAIN_S
from .errors import (
    DAMAGED,
    NOT_CANONICAL,
    SEQUENCE_REUSE,
    UNKNOWN_STATION,
    WRONG_NETWORK,
    PortError,
    Refused,
    RegistryError,
    Unplugged,
    UsageError,
)
from .output import clean
from .pulled import ClipFolder, RecordFile, Refusals
from .registry import Registry, Station
from .statement import Statement
from .verify import Verified, Verifier

TRIES = 4  # of one question
ANSWER_S = 20.0  # for all of them; six records take half a second of a 115200 baud cable
MISSED_AT_ONCE = 12  # records in a row that are announced and do not come: something else is wrong than the line
REFUSED_MOST = 200
CLIPS_MOST = 10_000
CLIPS_MISSED_AT_ONCE = 20
PIECE_BYTES = 256

_PULL = re.compile(rb"pull first=(\d{1,10}) sent=(none|\d{1,10}(?:,\d{1,10}){0,15}) last=(\d{1,10})")
_CLIPS = re.compile(rb"clips (?:none|first=(\d{1,10}) last=(\d{1,10}))")
_CLIP = re.compile(rb"clip (\d{1,10}) (?:none|(\d{1,10}) (\d{1,10}) ([0-9A-Za-z+/]{4,344}={0,2}))")
_MACHINE = (b"pull ", b"clip ", b"clips ")
_ERROR = re.compile(rb"error: (.{1,200})")


@dataclass
class Progress:
    """How far it is. `what` is "records" or "clips"; `done` of `total` counts numbers, since some may be gone."""

    what: str = "records"
    done: int = 0
    total: int = 0


@dataclass
class Outcome:
    """What became of it; what the records say is for audit.py to find in the file."""

    file: RecordFile | None = None
    refusals: Refusals | None = None
    folder: ClipFolder | None = None
    station: Station | None = None
    warning: str = ""  # why the station's key may not be believed
    before: int = 0  # records in the file when this began
    taken: int = 0
    missed: list[int] = field(default_factory=list)  # announced by the station, and did not come whole
    damaged_lines: int = 0
    clips_taken: int = 0
    clips_known: int = 0
    clips_gone: int = 0  # overwritten meanwhile, or unreadable
    keeps_clips: bool | None = None  # None: not asked


@dataclass
class Watch:
    """Who looks on."""

    note: Callable[[str], object]
    progress: Callable[[Progress], object]


class Pull:
    """`run` once. `path` gives the file for a station. `outcome` is right at any moment, whatever `run` raises."""

    def __init__(
        self, port: str, registry: Registry, path: Callable[[Station], Path], with_clips: bool, timeout_s: float,
        watch: Watch,
    ):  # fmt: skip
        self.outcome = Outcome()
        self.port, self._registry, self._path = port, registry, path
        self._with_clips, self._timeout_s, self._watch = with_clips, timeout_s, watch
        self._verifier = Verifier(registry)
        self._goal: int | None = None  # the last number there was when it began; later ones are for the next time
        self._records_done = False

    def run(self) -> None:
        """Until everything that was there at the beginning is here. Waits for a port that goes away meanwhile."""
        console = enrol.Console(self.port, self._timeout_s)
        while True:
            try:
                with console:
                    try:
                        self._copy(console)
                    finally:
                        self.outcome.damaged_lines += console.damaged
                return
            except Unplugged:
                self._watch.note(f"{self.port} IS GONE (unplugged?); waiting for it to come back, Ctrl-C ends")
                console = self._wait()
                self._watch.note(f"{self.port} is back")

    def close(self) -> None:
        if self.outcome.file is not None:
            self.outcome.file.close()

    def _wait(self) -> enrol.Console:
        said = ""
        while True:
            time.sleep(LOOK_AGAIN_S)
            try:
                return enrol.Console(self.port, self._timeout_s)
            except PortError as error:
                # That nothing is there is known already; no permission, or another program, is news.
                if os.path.exists(self.port) and str(error) != said:
                    said = str(error)
                    self._watch.note(said)

    def _copy(self, console: enrol.Console) -> None:
        self._identify(console)
        if not self._records_done:
            assert self.outcome.file is not None
            try:
                self._copy_records(console)
            finally:
                self.outcome.file.sync(at_once=True)
            self._records_done = True
        if self._with_clips:
            self._copy_clips(console)

    def _identify(self, console: enrol.Console) -> None:
        """Who is on the cable now, by a signature made for this very question."""

        kid, statement = self._ask_who(console)
        station = self._registry.stations.get(kid)
        if station is None:
            who = f"the station on {self.port} (kid {kid.hex()})"
            raise RegistryError(f"{who} is not in {self._registry.path}: name the right one with --registry or --dir")
        outcome = self.outcome
        if outcome.station is not None and outcome.station.kid != station.kid:
            raise UsageError(f"{station.name} is on {self.port} now, no longer {outcome.station.name}")
        if statement is not None:
            try:
                enrol.check_collector(statement, self._registry, self.port)
                enrol.check_same(station, statement, self.port)
            except RegistryError as error:  # its records are evidence all the same; each is judged by its time
                outcome.warning = str(error)
        if outcome.station is not None:
            return
        outcome.station = station
        path = self._path(station)
        outcome.file = RecordFile(path, station, self._verifier)
        outcome.refusals, outcome.folder = Refusals(path), ClipFolder(path)
        outcome.before = outcome.file.count
        if outcome.file.cut_bytes:
            self._watch.note(f"{path}: {outcome.file.cut_bytes} bytes of a torn record at its end were cut off")

    def _ask_who(self, console: enrol.Console) -> tuple[bytes, Statement | None]:
        """(kid, signed statement made now); in safe mode there is no statement."""

        def no_key() -> NoReturn:
            raise RegistryError(f"the station on {self.port} has no key yet, and so no records")

        try:
            statement, _ = enrol.state(console, self._registry, no_key)
            return statement.kid, statement
        except PortError as error:
            if "not in safe mode" not in str(error):
                raise
        _, _, kid = enrol.claimed(console)  # `state` has seen that the network is ours
        if kid is None:
            no_key()
        self._watch.note("the station is in safe mode: only its records' signatures will show who it is")
        return kid, None

    # Records

    def _copy_records(self, console: enrol.Console) -> None:
        outcome, file = self.outcome, self.outcome.file
        assert file is not None
        first = start = max(file.last_seq, 1)  # the last one again: it must be the same still
        missed_at_once = 0
        while self._goal is None or first <= self._goal:
            sent, last, got = self._ask_records(console, first)
            if self._goal is None:
                self._goal = last
                if last < file.last_seq:
                    lost = f"its newest record is {last}, the file has record {file.last_seq}: it lost its memory"
                    raise UsageError(f"{file.path} cannot be gone on with: {lost}; name another file with -o")
            if not sent:
                if last > file.last_seq:
                    outcome.missed.append(last)
                    self._watch.note(f"from record {first} on the station can read none, although it knows of {last}")
                break
            new = [got[seq] for seq in sent if seq in got and seq > file.last_seq]
            self._tell_broken_links(file.last, new)
            file.append(new)
            outcome.taken += len(new)
            for seq in sent:
                missed_at_once = 0 if seq in got or file.hash_of(seq) is not None else missed_at_once + 1
                if missed_at_once:
                    outcome.missed.append(seq)
                    self._watch.note(f"record {seq}: announced, and did not come whole in {TRIES} tries")
                if missed_at_once == MISSED_AT_ONCE:
                    raise PortError(
                        f"{self.port}: {MISSED_AT_ONCE} records in a row were announced and did not come; try another"
                        " cable, then the same command again"
                    )
            first = sent[-1] + 1
            self._watch.progress(Progress("records", min(first, self._goal + 1) - start, self._goal + 1 - start))

    def _ask_records(self, console: enrol.Console, first: int) -> tuple[list[int], int, dict[int, Verified]]:
        """(numbers that the station says it sends, the last it has, what came of them and holds)."""
        asked = _Records(self, first)
        said = self._converse(console, f"pull {first}", asked)
        if asked.answer is None:
            raise said or self._silent()
        return *asked.answer, asked.got

    def take(self, content: bytes, beside: dict[int, Verified]) -> Verified | None:
        """A record of this station out of a frame, or None; what is refused is kept with its reason. `beside`: those
        that came and are not in the file yet."""
        body = content
        try:
            kind, body = frame.decode(content, self._registry.network)
            if kind != fields.FRAME_RECORD:
                return None
            return self._check(body, beside)
        except frame.FrameError as error:
            self._refuse(WRONG_NETWORK if error.foreign else DAMAGED, str(error), body)
        except Refused as error:
            self._refuse(error.reason, error.text, body)
        return None

    def _check(self, message: bytes, beside: dict[int, Verified]) -> Verified:
        """Raises Refused."""
        station, file = self.outcome.station, self.outcome.file
        assert station is not None and file is not None
        new = self._verifier.check(message)
        if new.kid != station.kid:
            text = f"record {new.seq} of {new.station.name}, which is not the station on the cable"
            raise Refused(UNKNOWN_STATION, text)
        known = beside[new.seq].hash if new.seq in beside else file.hash_of(new.seq)
        if known is not None and known != new.hash:
            text = f"{station.name} signed two different records with number {new.seq}; the other: {file.path}"
            raise Refused(SEQUENCE_REUSE, text)
        return new

    def _refuse(self, reason: str, text: str, data: bytes) -> None:
        refusals = self.outcome.refusals
        assert refusals is not None
        if refusals.add(reason, text, data):
            self._watch.note(f"REFUSED {reason}: {text}")
        if refusals.count >= REFUSED_MOST:
            what = f"{REFUSED_MOST} messages were refused, see {refusals.path}"
            raise PortError(f"{self.port}: {what}: this is not a working station, or somebody plays with the cable")

    def _tell_broken_links(self, before: Verified | None, new: list[Verified]) -> None:
        """At once, for who may still look at the station; the whole judgement comes at the end."""
        for record in new:
            follows = before is None or before.seq != record.seq - 1 or record.prev == before.hash
            if not follows and record.restart is None:
                self._watch.note(f"CHAIN BREAK: record {record.seq} does not follow record {record.seq - 1} as it must")
            before = record

    # Clips

    def _copy_clips(self, console: enrol.Console) -> None:
        outcome = self.outcome
        listed = self._ask(console, "clips", _CLIPS)
        outcome.keeps_clips = listed[1] is not None
        if not outcome.keeps_clips:
            return
        first, last = int(listed[1]), int(listed[2])
        outcome.clips_known = outcome.clips_gone = 0  # a cable may have been put back meanwhile
        if last - first + outcome.clips_taken >= CLIPS_MOST:  # taken: of a device that goes and comes for ever
            raise PortError(f"{self.port}: clips {first} to {last} are more than any station holds: not believed")
        assert outcome.file is not None and outcome.folder is not None
        known: dict[int, list[bytes]] = {}
        for clip in outcome.folder.proven(outcome.file.clips):
            known.setdefault(clip.number, []).append(clip.data)
        missed_at_once = 0
        for number in range(first, last + 1):
            gone = not self._copy_clip(console, number, known.get(number, []))
            outcome.clips_gone += gone
            missed_at_once = missed_at_once + 1 if gone else 0
            if missed_at_once == CLIPS_MISSED_AT_ONCE:
                raise PortError(f"{self.port}: {missed_at_once} clips in a row are listed and not there: try again")
            self._watch.progress(Progress("clips", number - first + 1, last - first + 1))

    def _copy_clip(self, console: enrol.Console, number: int, known: list[bytes]) -> bool:
        """False when the station has it no longer. Of a `known` one, a proven one kept here, only the beginning comes:
        what is not proven is fetched whole each time, for it may have been altered on its way here."""
        outcome, folder = self.outcome, self.outcome.folder
        assert folder is not None
        data, total = b"", 0
        while not total or len(data) < total:
            found = self._ask(console, f"clips {number} {len(data)}", _CLIP, (number, len(data)))
            if found[2] is None:
                return False
            size, piece = int(found[3]), _decoded(found[4])
            fits = 0 < size <= clips.MOST_BYTES and total in (0, size)
            if not fits or len(piece) != min(PIECE_BYTES, size - len(data)):
                raise PortError(f"{self.port}: clip {number} comes in pieces that do not fit together: try again")
            total = size
            data += piece
            if len(data) == len(piece) and any(len(kept) == total and kept.startswith(piece) for kept in known):
                outcome.clips_known += 1
                return True
        try:
            clip = clips.read(data)
            if clip.number != number:
                raise ValueError(f"number: {clip.number}, asked for {number}")
        except ValueError as error:
            self._refuse(NOT_CANONICAL, f"clip {number}: {error}", data)
            return True
        if data in folder.of_number(number):
            outcome.clips_known += 1
        else:
            folder.keep(clip)
            outcome.clips_taken += 1
        return True

    def _ask(
        self, console: enrol.Console, question: str, answer: "re.Pattern[bytes]", about: tuple[int, int] | None = None
    ) -> "re.Match[bytes]":
        """The sealed line that answers; of a clip, the line about that number and offset."""
        asked = _Line(answer, about)
        said = self._converse(console, question, asked)
        if asked.found is None:
            raise said or self._silent()
        return asked.found

    # Both

    def _converse(self, console: enrol.Console, question: str, asked: "_Asked") -> PortError | None:
        """Ask, at most TRIES times, until there is enough. Gives what the station said against it, if it did."""
        said: PortError | None = None
        for _ in range(TRIES):
            asked.again()
            console.send(question)
            end = time.monotonic() + ANSWER_S / TRIES
            while time.monotonic() < end and not asked.in_vain():
                for kind, content in console.items():
                    refused = _ERROR.fullmatch(content) if kind == line.TEXT else None
                    if kind != line.TEXT:
                        asked.on_frame(content if kind == line.FRAME else None)
                    elif refused:  # perhaps of a question that the line damaged
                        said, end = self._refusal(refused[1], question), 0.0
                    elif content.startswith(_MACHINE):
                        text = _unsealed(content)
                        if text is None:
                            asked.damaged = True
                        else:
                            asked.on_text(text)
                if asked.enough():
                    return said
        return said

    def _silent(self) -> PortError:
        return PortError(f"{self.port}: the station no longer answers: look at cable and power, or press its reset")

    def _refusal(self, text: bytes, question: str) -> PortError:
        said = clean(text.decode("ascii", "replace"))
        if said.startswith(f"{question.split()[0]}: no such command"):
            old = "its programs are older than `holdfire pull`"
            return PortError(f"{self.port}: {old}: first holdfire update {self.port}")
        return PortError(f"{self.port}: the station says: {said}")


class _Asked(abc.ABC):
    """What a question waits for. `on_text` gets lines whose CRC-32 holds, without it."""

    damaged = False  # an answer came, and was damaged on the line

    def again(self) -> None:
        self.damaged = False

    @abc.abstractmethod
    def on_text(self, text: bytes) -> None: ...

    @abc.abstractmethod
    def on_frame(self, content: bytes | None) -> None:
        """A frame; None for one that the line damaged."""

    @abc.abstractmethod
    def enough(self) -> bool: ...

    def in_vain(self) -> bool:
        """Whether it is better to ask again at once than to wait."""
        return self.damaged


class _Records(_Asked):
    """The line that says which records are sent, and these."""

    def __init__(self, pull: Pull, first: int):
        self.answer: tuple[list[int], int] | None = None
        self.got: dict[int, Verified] = {}
        self._pull, self._first = pull, first
        self._came = 0  # frames, whole or not, since the answer
        self._answered = False

    def again(self) -> None:
        super().again()
        self._came, self._answered = 0, False

    def on_text(self, text: bytes) -> None:
        found = _PULL.fullmatch(text)
        if not found or int(found[1]) != self._first:
            return
        sent = [] if found[2] == b"none" else [int(part) for part in found[2].split(b",")]
        last = int(found[3])
        if sent and any(later <= before for before, later in itertools.pairwise([self._first - 1, *sent, last + 1])):
            raise PortError(f"{self._pull.port}: the station contradicts itself ({text.decode()}): try again")
        self.answer, self._answered, self._came = (sent, last), True, 0

    def on_frame(self, content: bytes | None) -> None:
        self._came += 1
        new = self._pull.take(content, self.got) if content is not None else None
        if new is not None:
            self.got[new.seq] = new

    def enough(self) -> bool:
        return self.answer is not None and all(seq in self.got for seq in self.answer[0])

    def in_vain(self) -> bool:
        all_came = self._answered and self.answer is not None and self._came >= len(self.answer[0])
        return all_came or super().in_vain()


class _Line(_Asked):
    """The one line that answers; of a clip, the one about that number and offset."""

    def __init__(self, pattern: "re.Pattern[bytes]", about: tuple[int, int] | None):
        self.found: re.Match[bytes] | None = None
        self._pattern, self._about = pattern, about

    def on_text(self, text: bytes) -> None:
        found = self._pattern.fullmatch(text)
        about = self._about
        if found and (about is None or int(found[1]) == about[0] and int(found[2] or about[1]) == about[1]):
            self.found = found

    def on_frame(self, content: bytes | None) -> None:
        pass  # of a record that the station has just made

    def enough(self) -> bool:
        return self.found is not None


def _unsealed(content: bytes) -> bytes | None:
    """A line without its CRC-32, or None where that does not match."""
    text, _, seal = content.rpartition(b" ")
    return text if seal == b"%08x" % binascii.crc32(text) else None


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""
