"""New programs for a station over its serial console: signed by the authority, sent where they differ, tried, kept.

Takes what `make image` built. The station does the judging (firmware/holdfire_station/update.py); here nothing is
believed but what a later question confirms. MicroPython itself, main.py and the partition table are not replaced.
"""

import base64
import hashlib
import json
import pathlib
import re
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from holdfire_protocol import cbor, cose, fields, record
from holdfire_protocol import update as signed

from . import ed25519_strict, enrol, files
from .authority import Authority
from .errors import PortError, RegistryError, UsageError
from .offices import Holder
from .registry import Registry

SECTOR_BYTES = 4096
PIECE_BYTES = 128
SUMS = 8
TRIES = 5  # of a piece that the line damages
OFFERS = 5  # in all, to a station that starts anew meanwhile
EPOCH_S = fields.UTC_MIN_US // 1_000_000
DAY_S = 86_400
TRIAL_TIMEOUT_S = 420.0
MAX_SIGNED_BYTES = 1 << 24
POLL_S = 5.0

_STATE = re.compile(
    rb"update board=([!-~]{1,32}) mpy=(\d{1,5}) size=(\d{1,8}) number=(\d{1,10}) trial=([01])"
    rb" authority=([0-9a-f]{16}|none) collector=([0-9a-f]{16})"
)
_TRUSTS = re.compile(rb"update trusts ([0-9a-f]{16})")
_TOOK = re.compile(rb"update believes ([0-9a-f]{16})")
_ACCEPTED = re.compile(rb"update accepted ([0-9a-f]{16})")
_INSTALLED = re.compile(rb"update installed: .*")
_REFUSED = re.compile(rb"error: (.{1,200})")


@dataclass(frozen=True)
class Programs:
    """One half of the partition "programs", as an image holds it."""

    board: str
    mpy: int
    firmware: bytes
    image: bytes


@dataclass(frozen=True)
class State:
    """What a station says of its updates. Nothing of it is proven."""

    board: str
    mpy: int
    size: int
    number: int
    on_trial: bool
    authority: bytes | None  # its kid
    collector: bytes  # its kid


def from_image(manifest: pathlib.Path) -> Programs:
    """The programs of a built image. Raises UsageError."""
    try:
        said = json.loads(manifest.read_text())
        data = (manifest.parent / said["image"]["file"]).read_bytes()
        (part,) = (part for part in said["parts"] if part["name"] == "programs")
        both = data[part["offset"] : part["offset"] + part["size"]]
        if hashlib.sha256(both).hexdigest() != part["sha256"]:
            raise UsageError(f"{manifest}: image and manifest differ: make image BOARD={said['board']}")
        return Programs(said["board"], said["mpy"], bytes.fromhex(said["firmware"]), both[: len(both) // 2])
    except OSError as error:
        text = f"{error.filename}: cannot be read: {error.strerror}; `make image BOARD={manifest.stem}` builds it"
        raise UsageError(text) from None
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{manifest}: not an image's manifest with programs in it: make image anew") from None


def sign(programs: Programs, number: int, network: bytes, authority: Authority) -> bytes:
    """What makes stations of this deployment and board take these programs. Raises FieldError."""
    payload = signed.encode(
        {
            "number": number,
            "board": programs.board.encode(),
            "mpy": programs.mpy,
            "firmware": programs.firmware,
            "size": len(programs.image),
            "image": hashlib.sha256(programs.image).digest(),
        }
    )
    return record.sign1(payload, cose.key_id(authority.public), signed.AAD_UPDATE, network, authority.sign)


def write_signed(path: pathlib.Path, programs: Programs, message: bytes) -> None:
    """Programs and signature in one file, for a laptop that has no key. Raises UsageError."""
    try:
        files.write_atomically(path, cbor.encode([message, programs.image]), 0o644, new=False)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {files.why(error)}") from None


def read_signed(path: pathlib.Path, network: bytes, authorities: Sequence[Holder]) -> tuple[Programs, bytes, int]:
    """Programs, signature and number of such a file, as the authority in office signed them. Raises UsageError."""
    try:
        with open(path, "rb") as file:
            message, image = cbor.decode(file.read(MAX_SIGNED_BYTES))
        if not isinstance(message, bytes):  # of a number, `bytes` would make so many zeros
            raise ValueError("no signed message")
        kid = cose.parse(message).kid
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, TypeError):
        raise UsageError(f"{path}: not a file of holdfire update --sign-only, or cut short: copy it again") from None
    if kid != authorities[-1].kid:
        former = "an authority before" if kid in [holder.kid for holder in authorities] else "another authority"
        raise UsageError(f"{path}: signed by {former} ({kid.hex()}), not by {authorities[-1].kid.hex()}: sign it anew")
    try:
        named = signed.decode(
            record.verify1(message, authorities[-1].public_key, signed.AAD_UPDATE, network, ed25519_strict.verify)
        )
        if named["size"] != len(image) or named["image"] != hashlib.sha256(image).digest():
            raise ValueError("other programs")
    except (ValueError, TypeError):
        raise UsageError(f"{path}: not as the authority signed it for this deployment: altered or damaged") from None
    return Programs(named["board"].decode(), named["mpy"], named["firmware"], image), message, named["number"]


def state(console: enrol.Console) -> State:
    """Ask. Raises PortError."""
    board, mpy, size, number, trial, kid, collector = console.ask("update", _STATE, _REFUSED, again=True).groups()
    known = None if kid == b"none" else bytes.fromhex(kid.decode())
    of = bytes.fromhex(collector.decode())
    return State(board.decode(), int(mpy), int(size), int(number), trial == b"1", known, of)


def entrust(console: enrol.Console, registry: Registry) -> list[str]:
    """See to it that the station believes the authority and the collector that are in office now.

    It takes an authority's key on trust once, and every other key by the signature of the authority that it believes;
    so it is told of them in the order in which they came. Gives what it did not know, in words. Raises PortError.
    """
    found, told = state(console), []
    collectors = _since(console, "collector", found.collector, registry.collectors)
    believed = found.authority
    if believed is None:
        end = collectors[0].entry if collectors else registry.authorities[-1].entry + 1
        first = [holder for holder in registry.authorities if holder.entry < end][-1]
        console.ask(f"update trust {first.public_key.hex()}", _TRUSTS, _REFUSED, again=True)
        told.append("whose updates to believe")
        believed = first.kid
    authorities = _since(console, "authority", believed, registry.authorities)
    for holder in sorted((*authorities, *collectors), key=lambda holder: holder.entry):
        if holder.broken:
            raise PortError(
                f"{console.port}: the station believes authority {believed.hex()}, whose key was lost (entry"
                f" {holder.entry} of the registry). It records on, but takes no updates and no new keys: for these,"
                " flash it with ERASE=1 and run holdfire registry rotate"
            )
        message = base64.b64encode(holder.message).decode()
        console.ask(f"update handover {message}", _TOOK, _REFUSED, again=True)
    told += [f"the authority's key is {holder.kid.hex()} now" for holder in authorities[-1:]]
    return told + [f"the collector's key is {holder.kid.hex()} now" for holder in collectors[-1:]]


def _since(console: enrol.Console, office: str, believed: bytes, holders: Sequence[Holder]) -> Sequence[Holder]:
    """Those who came after the one that the station believes."""
    kids = [holder.kid for holder in holders]
    if believed not in kids:
        raise PortError(
            f"{console.port}: the station believes another {office} ({believed.hex()}): someone else enrolled it first,"
            " or this registry is older; flash it with ERASE=1 and provision it anew"
        )
    return holders[kids.index(believed) + 1 :]


def number_for(found: State, now_us: int, past_clock: bool) -> int:
    """The number of an update signed now. Raises RegistryError when this clock is behind the station's last update."""
    now = number_now(now_us)
    if found.number > now + DAY_S and not past_clock:
        when = time.strftime("%Y-%m-%d", time.gmtime(found.number + EPOCH_S))
        raise RegistryError(
            f"the station's last update was signed on {when}, and this computer's clock is before that: set the clock,"
            " or, if that date was the wrong one, add --past-clock"
        )
    return max(now, found.number + 1)


def number_now(now_us: int) -> int:
    """The number of an update that is signed without a station to ask."""
    return max(now_us // 1_000_000 - EPOCH_S, 1)


def check_newer(number: int, found: State) -> None:
    """What the station would refuse. Raises UsageError."""
    if number <= found.number:
        signed_at, last = (time.strftime("%Y-%m-%d %H:%M", time.gmtime(n + EPOCH_S)) for n in (number, found.number))
        raise UsageError(
            f"this file was signed at {signed_at}, and the station's last update at {last}, by the signers' clocks:"
            " sign it anew"
        )


def check_fits(programs: Programs, found: State) -> None:
    """What the station would refuse, said before anything is signed. Raises UsageError."""
    if programs.board != found.board:
        raise UsageError(f"these programs are for {programs.board}, and the station is a {found.board}")
    if programs.mpy != found.mpy or len(programs.image) != found.size:
        raise UsageError(
            "the station's MicroPython or partition table is another than these programs need: an update brings"
            " neither, `make flash` does (it keeps key and records)"
        )


def send(
    console: enrol.Console, programs: Programs, message: bytes, progress: Callable[[int, int], None]
) -> tuple[int, int]:
    """Offer, send what differs, have it installed. Gives sectors sent and in all. Raises PortError.

    A station that lost its power goes on where it was when it is back, and so does the same command run again: sectors
    that are right already are not sent twice.
    """
    image = programs.image
    sectors = [image[at : at + SECTOR_BYTES] for at in range(0, len(image), SECTOR_BYTES)]
    sent = 0
    for left in reversed(range(OFFERS)):
        try:
            for number in _offer(console, programs, message, sectors, progress):
                _send_sector(console, number, sectors[number])
                sent += 1
            _ask(console, "install", _INSTALLED, again=False)
            return sent, len(sectors)
        except _StartedAnew:
            if not left:
                raise
    raise AssertionError("unreachable")


class _StartedAnew(PortError):
    """The station does not know what it accepted."""


def _offer(
    console: enrol.Console, programs: Programs, message: bytes, sectors: list[bytes],
    progress: Callable[[int, int], None],
) -> Iterator[int]:  # fmt: skip
    """Numbers of the sectors that the station has to be sent."""
    accepted = _ask(console, f"update offer {base64.b64encode(message).decode()}", _ACCEPTED)
    if bytes.fromhex(accepted[1].decode()) != programs.firmware:
        raise PortError(f"{console.port}: the station took another update for this one: try again")
    there = _sums(console, len(sectors))
    wanted = [number for number, sector in enumerate(sectors) if zlib.crc32(sector) != there[number]]
    for done, number in enumerate(wanted):
        progress(done, len(wanted))
        yield number
    progress(len(wanted), len(wanted))


def _ask(
    console: enrol.Console, question: str, answer: "re.Pattern[bytes]", again: bool = True
) -> "re.Match[bytes]":
    try:
        return console.ask(question, answer, _REFUSED, again)
    except PortError as error:
        if "no such command" in str(error):
            text = "the station starts anew again and again: see `holdfire console`"
            raise _StartedAnew(f"{console.port}: {text}") from None
        raise


def wait_for_verdict(console: enrol.Console, number: int, waiting: Callable[[float], None]) -> bool:
    """Whether the station kept the update after its trial. Raises PortError."""
    start = time.monotonic()
    while time.monotonic() - start < TRIAL_TIMEOUT_S:
        waiting(time.monotonic() - start)
        try:
            found = state(console)
        except PortError:  # it restarts
            continue
        if not found.on_trial:
            return found.number == number
        time.sleep(POLL_S)
    raise PortError(f"{console.port}: still on trial after {TRIAL_TIMEOUT_S:.0f} s: see `holdfire console`")


def _sums(console: enrol.Console, count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        size = min(SUMS, count - len(found))
        answer = re.compile(rb"sums %d ((?:[0-9a-f]{8}){%d})" % (len(found), size))
        text = _ask(console, f"sums {len(found)}", answer)[1].decode()
        found += [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    return found


def _send_sector(console: enrol.Console, number: int, sector: bytes) -> None:
    """Its first piece erases it, so that is always sent; blank ones after it need not be."""
    for offset in range(0, SECTOR_BYTES, PIECE_BYTES):
        piece = sector[offset : offset + PIECE_BYTES]
        if offset and piece == b"\xff" * PIECE_BYTES:
            continue
        total = zlib.crc32(piece, zlib.crc32(b"%d %d " % (number, offset)))
        question = f"= {number} {offset} {base64.b64encode(piece).decode()} {total:08x}"
        answer = re.compile(rb"= %d %d" % (number, offset))
        for left in reversed(range(TRIES)):
            try:
                _ask(console, question, answer)
                break
            except PortError as error:
                if not left or "damaged on the line" not in str(error):
                    raise
