"""What the registry's entries are read into: stations, and the typed reading of an entry's fields.

Everything here is about one entry or one station at a time; `registry.py` knows how they follow each other.
"""

import pathlib
from dataclasses import dataclass
from typing import Any, NamedTuple

from holdfire_protocol import cose, fields

from . import times
from .errors import RegistryError
from .statement import Statement, check

MAX_NAME_CHARS = 40
MAX_TEXT_CHARS = 200
PHOTO_HASH_BYTES = 32


class Doubt(NamedTuple):
    """A time in which a station's key is not believed. `until_us` is None while that lasts."""

    from_us: int
    until_us: int | None
    words: str  # "revoked", "lost", "replaced by key 0123456789abcdef"
    why: str


@dataclass(frozen=True)
class Station:
    """One enrolled key. Its name is for people; `kid` (from its key) is what records carry.

    `statement` is what the station signed of itself, or None where only its key was entered. `retired`: its key was
    revoked or replaced, for good. `lost`: it was reported lost and not found again.
    """

    kid: bytes
    public_key: bytes
    name: str
    enrolled_at_us: int
    place: str = ""
    mounting: str = ""
    photo: bytes = b""
    statement: Statement | None = None
    doubts: tuple[Doubt, ...] = ()
    retired: bool = False
    lost: bool = False

    def doubt_at(self, utc_us: int, uncertainty_us: int = 0) -> str | None:
        """Why what this key signed at that time is not to be believed, or None. In doubt, it is not."""
        for doubt in self.doubts:
            ended = doubt.until_us is not None and utc_us - uncertainty_us >= doubt.until_us
            if utc_us + uncertainty_us >= doubt.from_us and not ended:
                until = f" until {times.text(doubt.until_us, 0)}" if doubt.until_us is not None else ""
                return (
                    f"{self.name} is not believed from {times.text(doubt.from_us, 0)}{until}:"
                    f" {doubt.words} ({doubt.why})"
                )
        return None


class Row:
    """Takes known keys out of one JSON object and refuses what is left over."""

    def __init__(self, path: pathlib.Path, where: str, value: Any):
        if not isinstance(value, dict):
            raise RegistryError(f"{path}: {where.rstrip('.')}: not an object")
        self.path = path
        self.where = where
        self.left = dict(value)

    def take(self, key: str) -> Any:
        if key not in self.left:
            raise RegistryError(f"{self.path}: {self.where}{key}: missing")
        return self.left.pop(key)

    def finish(self) -> None:
        for key in self.left:
            raise RegistryError(f"{self.path}: {self.where}{ascii(key[:60])[1:-1]}: no such key")

    def fail(self, key: str, reason: str) -> RegistryError:
        return RegistryError(f"{self.path}: {self.where}{key}: {reason}")

    def text(self, key: str) -> str:
        value = self.take(key)
        if not isinstance(value, str):
            raise self.fail(key, "not a text")
        return value

    def name(self, key: str) -> str:
        value = self.text(key)
        check_name(value, self.path, self.where + key)
        return value

    def words(self, key: str, optional: bool = False) -> str:
        """A line of prose; "" when it is optional and not there."""
        if optional and key not in self.left:
            return ""
        value = self.text(key)
        check_words(value, self.path, self.where + key)
        return value

    def hex(self, key: str, size: int, optional: bool = False) -> bytes:
        if optional and key not in self.left:
            return b""
        value = self.text(key)
        if len(value) != 2 * size or value.strip("0123456789abcdef"):
            raise self.fail(key, f"not {2 * size} lower-case hex digits")
        return bytes.fromhex(value)

    def time(self, key: str) -> int:
        try:
            return times.parse(self.text(key))
        except ValueError as error:
            raise self.fail(key, str(error)) from None

    def key(self) -> bytes:
        """The public key of an object that states `kid` and `public_key`; the two must agree."""
        public_key = self.hex("public_key", fields.PUBLIC_KEY_BYTES)
        if self.hex("kid", fields.KID_BYTES) != cose.key_id(public_key):
            raise self.fail("kid", f"is not of this public key, which has {cose.key_id(public_key).hex()}")
        return public_key

    def message(self, key: str) -> bytes:
        """A signed message, of which only the outermost form is checked."""
        value = self.text(key)
        if len(value) > 2 * fields.MAX_RECORD_BYTES or value.strip("0123456789abcdef") or len(value) % 2:
            raise self.fail(key, "not the lower-case hex digits of a signed message")
        return bytes.fromhex(value)

    def statement(self, public_key: bytes, network: bytes) -> Statement | None:
        """The station's own signed statement, if the entry has one; it must be of this key and deployment."""
        if "enrolment" not in self.left:
            return None
        message = self.message("enrolment")
        try:
            found = check(message, network)
        except ValueError as error:
            raise self.fail("enrolment", str(error)) from None
        if found.public_key != public_key:
            raise self.fail("enrolment", "states another key than the entry")
        return found


def check_name(name: str, path: pathlib.Path, where: str) -> None:
    """Names are printed on terminals and in statements: printable, not blank at the ends, bounded."""
    if not 1 <= len(name) <= MAX_NAME_CHARS or not name.isprintable() or name != name.strip():
        raise RegistryError(
            f"{path}: {where}: a name has 1 to {MAX_NAME_CHARS} printable characters and no blanks at its ends"
        )


def check_words(text: str, path: pathlib.Path, where: str) -> None:
    """A line of prose about a station or a change."""
    if not 1 <= len(text) <= MAX_TEXT_CHARS or not text.isprintable() or text != text.strip():
        raise RegistryError(
            f"{path}: {where}: write 1 to {MAX_TEXT_CHARS} printable characters, no blanks at the ends"
        )
