"""A file of signed entries, each holding the hash of the one before: what the registry is written in.

An entry is a JSON object; its signature covers a domain string, the network id and the entry in canonical form (RFC
8785). So an entry cannot be altered, left out of the middle, put in or moved. That the newest are missing cannot be
seen from the file alone. Knows nothing of what an entry means.
"""

import hashlib
import json
import pathlib
from typing import Any

from holdfire_protocol import enrolment, fields

from . import ed25519_strict, files
from .authority import Authority
from .errors import RegistryError

FORMAT = 2
FIRST_PREV = "00" * fields.HASH_BYTES
MAX_FILE_BYTES = 16 << 20  # some 10,000 stations; more is not a registry
_REPAIR = "Never edit this file: restore it from a copy (every base and every party has one)"

Entry = dict[str, Any]


def canonical(entry: Entry) -> bytes:
    """RFC 8785, for what entries are made of: texts, whole numbers, and objects of them with ASCII keys."""
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def entry_hash(entry: Entry) -> bytes:
    """SHA-256 of a whole signed entry: its name, and the `prev` of the next."""
    return hashlib.sha256(canonical(entry)).digest()


def sign(entry: Entry, network: bytes, authority: Authority) -> Entry:
    """The entry with its signature."""
    return {**entry, "signature": authority.sign(_signed(entry, network, ())).hex()}


def consent(entry: Entry, network: bytes, new: Authority) -> Entry:
    """The entry, not yet signed, with the word of the key that it puts in office."""
    return {**entry, "consent": new.sign(_signed(entry, network, ())).hex()}


def check(path: pathlib.Path, number: int, prev: str, entry: Entry, network: bytes, authority_public: bytes) -> None:
    """Number, hash and signature of the entry that must be the next. Raises RegistryError."""
    where = f"{path}: entry {number}"
    if type(entry.get("number")) is not int or entry["number"] != number or entry.get("prev") != prev:
        raise RegistryError(f"{where}: does not follow the one before: something is missing or moved. {_REPAIR}")
    if not _holds(entry, "signature", ("signature",), network, authority_public):
        raise RegistryError(f"{where}: not as the authority signed it: altered or damaged. {_REPAIR}")


def check_consent(where: str, entry: Entry, network: bytes, new_public: bytes) -> None:
    """Raises RegistryError where the key that an entry puts in office did not agree to it."""
    if not _holds(entry, "consent", ("signature", "consent"), network, new_public):
        raise RegistryError(f"{where}consent: not by the new key: it did not agree to this. {_REPAIR}")


def _signed(entry: Entry, network: bytes, without: tuple[str, ...]) -> bytes:
    return enrolment.REGISTRY + network + canonical({k: v for k, v in entry.items() if k not in without})


def _holds(entry: Entry, member: str, without: tuple[str, ...], network: bytes, public_key: bytes) -> bool:
    try:
        signature = bytes.fromhex(entry.get(member, ""))
        if signature.hex() != entry[member]:
            return False  # capital or spaced hex
        ed25519_strict.verify(public_key, _signed(entry, network, without), signature)
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
    return True



def read(path: pathlib.Path) -> list[Entry]:
    """The entries of a file; only its outer form is checked. Raises RegistryError."""
    content = _read_json(path)
    if not isinstance(content, dict):
        raise RegistryError(f"{path}: not a registry: the file is not an object")
    if content.get("format") != FORMAT or isinstance(content.get("format"), bool):
        raise RegistryError(
            f"{path}: format: this holdfire reads {FORMAT}; an older or newer one wrote it, or it is damaged"
            " (the unsigned format 1 is not read: found the deployment anew in another directory)"
        )
    if set(content) != {"format", "entries"}:
        odd = sorted(set(content) ^ {"format", "entries"})[0]
        raise RegistryError(f"{path}: {ascii(odd[:60])[1:-1]}: missing, or no such key in format {FORMAT}")
    entries = content["entries"]
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise RegistryError(f"{path}: entries: not a list of objects with at least one")
    return entries


def write(path: pathlib.Path, entries: list[Entry], new: bool) -> None:
    """Write atomically: readers see the old file or the new one, whatever happens. `new` refuses to overwrite."""
    data = json.dumps({"format": FORMAT, "entries": entries}, indent=2, ensure_ascii=False) + "\n"
    try:
        files.write_atomically(path, data.encode(), 0o644, new)
    except OSError as error:
        raise RegistryError(f"cannot write {path}: {files.why(error)}") from None


def _read_json(path: pathlib.Path) -> Any:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise RegistryError(f"no registry at {path}: `holdfire init` founds a deployment; or name its --dir") from None
    except OSError as error:
        raise RegistryError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise RegistryError(f"{path}: larger than {MAX_FILE_BYTES} bytes; this is not a registry")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        taken: dict[str, Any] = {}
        for key, value in pairs:
            if key in taken:  # json keeps the last one silently; two readers must not see two registries
                raise RegistryError(f"{path}: {ascii(key[:60])[1:-1]}: stands twice in one object")
            taken[key] = value
        return taken

    try:
        return json.loads(data.decode(), object_pairs_hook=once)
    except RegistryError:
        raise
    except (ValueError, RecursionError) as error:
        raise RegistryError(f"{path}: not JSON ({str(error)[:120]}); restore it from a copy") from None
