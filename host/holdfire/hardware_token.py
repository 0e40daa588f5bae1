"""The authority's key on a hardware token: it signs inside, and never leaves it.

Any PKCS#11 module whose token knows Ed25519 (CKM_EDDSA, of PKCS#11 3.0). A key is named by a URI (RFC 7512):

    pkcs11:token=holdfire;object=authority?module-path=/usr/lib/softhsm/libsofthsm2.so

Every signature is checked before it is used. Whatever goes wrong is one line, a RegistryError or UsageError; a PIN is
tried once only, because tokens lock themselves after a few wrong ones. Needs `python-pkcs11`; nothing else here does.
"""

import os
import urllib.parse
from collections.abc import Callable
from typing import Any

from . import authority, ed25519_strict
from .errors import RegistryError, UsageError
from .output import clean

SCHEME = "pkcs11:"
MODULE_VARIABLE = "HOLDFIRE_PKCS11_MODULE"
LABEL = "holdfire authority"  # of a key that is made where the URI names none
_EDWARDS25519 = b"\x13\x0cedwards25519"  # CKA_EC_PARAMS of PKCS#11 3.0: curveName, a PrintableString
_PATH = ("token", "manufacturer", "serial", "model", "object", "id", "type")
_QUERY = ("module-path", "pin-source", "pin-value")


class KeyOnToken:
    """An authority (`authority.Authority`) whose private key is on a token. Open until the process ends."""

    def __init__(self, private: Any, public: bytes, where: str):
        self._private = private
        self._where = where
        self.public = public

    def sign(self, message: bytes) -> bytes:
        import pkcs11

        with _errors(self._where):
            signature: bytes = self._private.sign(message, mechanism=pkcs11.Mechanism.EDDSA)
        try:
            ed25519_strict.verify(self.public, message, signature)
        except ValueError:
            raise RegistryError(f"{self._where}: what it signed does not hold under its public key") from None
        return signature


def open_key(uri: str, ask_pin: Callable[[], str], make: bool = False) -> KeyOnToken:
    """The key that a URI names; with `make`, a new one where it names none. Raises UsageError or RegistryError."""
    named = parse(uri)
    pkcs11 = _library()
    path = named.get("module-path") or os.environ.get(MODULE_VARIABLE)
    if not path:
        raise UsageError(
            "which PKCS#11 module? Add ?module-path=/usr/lib/softhsm/libsofthsm2.so (or your token's) to the key's"
            f" URI, or set ${MODULE_VARIABLE}"
        )
    where = f"PKCS#11 module {path}"
    try:
        module = pkcs11.lib(path)
    except pkcs11.PKCS11Error as error:
        if "loading" not in str(error):
            raise _translated(where, error) from None
        raise RegistryError(f"{where}: cannot be loaded; install the token's module, or correct the path") from None
    token = _find_token(module, named, where)
    where = f"token {clean(token.label)}"
    if pkcs11.Mechanism.EDDSA not in token.slot.get_mechanisms():
        raise RegistryError(f"{where}: does not know Ed25519 (CKM_EDDSA): take a token that does, or a key file")
    with _errors(where):
        try:
            session = token.open(rw=make, user_pin=_pin(named, ask_pin))
        except pkcs11.UserAlreadyLoggedIn:  # for the other key of a handover: a token has one login for all its keys
            session = token.open(rw=make)
        return _find_key(session, named, where, make)


def parse(uri: str) -> dict[str, str]:
    """Attributes of a URI that name a token and a key on it. Raises UsageError."""
    path, _, query = uri.removeprefix(SCHEME).partition("?")
    named: dict[str, str] = {}
    for part, known, separator in ((path, _PATH, ";"), (query, _QUERY, "&")):
        for attribute in filter(None, part.split(separator)):
            name, equals, value = attribute.partition("=")
            if name not in known or not equals or name in named:
                why = "stands twice" if name in named else f"not understood (there is: {', '.join(known)})"
                raise UsageError(f"the key's URI: {clean(name)[:40]}: {why}")
            named[name] = urllib.parse.unquote(value, errors="surrogateescape")
    if named.get("type", "private") != "private":
        raise UsageError("the key's URI: type: must be private, or left out")
    return named


def without_pin(uri: str) -> str:
    """As it may be shown; what is no such URI stays as it is."""
    path, _, query = uri.partition("?")
    kept = "&".join(part for part in query.split("&") if not part.startswith("pin-value="))
    return uri if not uri.startswith(SCHEME) else f"{path}?{kept}" if kept else path


def _library() -> Any:
    try:
        import pkcs11
    except ImportError:
        raise UsageError("a key on a token needs python-pkcs11: pip install 'python-pkcs11>=0.9'") from None
    return pkcs11


def _find_token(module: Any, named: dict[str, str], where: str) -> Any:
    with _errors(where):
        tokens = [slot.get_token() for slot in module.get_slots(token_present=True)]
    there = [token for token in tokens if token.label]  # one without is not initialised
    wanted = {key: named[name] for name, key in (
        ("token", "label"), ("manufacturer", "manufacturer_id"), ("serial", "serial"), ("model", "model"),
    ) if name in named}  # fmt: skip
    found = [token for token in there if all(_text(getattr(token, key)) == value for key, value in wanted.items())]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{clean(token.label)} (serial {clean(_text(token.serial))})" for token in there) or "none"
    what = "several tokens are" if found else "no such token is" if wanted else "no token is"
    raise RegistryError(f"{where}: {what} plugged in (there is: {listed}): name one with token= or serial=")


def _find_key(session: Any, named: dict[str, str], where: str, make: bool) -> KeyOnToken:
    from pkcs11 import Attribute, KeyType, ObjectClass

    wanted: dict[Any, Any] = {Attribute.KEY_TYPE: KeyType.EC_EDWARDS}
    if "object" in named:
        wanted[Attribute.LABEL] = named["object"]
    if "id" in named:
        wanted[Attribute.ID] = named["id"].encode(errors="surrogateescape")
    found = list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY, **wanted}))
    if not found and make:
        return _make_key(session, wanted, where)
    if len(found) != 1:
        private = {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.KEY_TYPE: KeyType.EC_EDWARDS}
        listed = ", ".join(f"{clean(key.label)} (id {key.id.hex()})" for key in session.get_objects(private)) or "none"
        what = "several Ed25519 keys" if found else "no such Ed25519 key"
        raise RegistryError(f"{where}: {what} (there is: {listed}): name one with object= or id=")
    (private,) = found
    wanted |= {Attribute.LABEL: private.label, Attribute.ID: private.id}
    public = list(session.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY, **wanted}))
    if len(public) != 1:
        raise RegistryError(f"{where}: beside key {clean(private.label)} its public half is missing: import it, too")
    return KeyOnToken(private, _point(public[0][Attribute.EC_POINT], where), f"{where}, key {clean(private.label)}")


def _make_key(session: Any, wanted: dict[Any, Any], where: str) -> KeyOnToken:
    from pkcs11 import Attribute, KeyType, Mechanism

    label, id_ = wanted.get(Attribute.LABEL, LABEL), wanted.get(Attribute.ID) or os.urandom(8)
    curve = session.create_domain_parameters(KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: _EDWARDS25519}, local=True)
    public, private = curve.generate_keypair(
        mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN, store=True, label=label, id=id_
    )
    return KeyOnToken(private, _point(public[Attribute.EC_POINT], where), f"{where}, key {clean(label)}")


def _point(stored: bytes, where: str) -> bytes:
    """32 bytes; tokens store them as they are, or in DER as an OCTET STRING or BIT STRING."""
    point = bytes(stored)
    for head in (b"", b"\x04\x20", b"\x03\x21\x00"):
        if len(point) == len(head) + 32 and point.startswith(head):
            return point[len(head) :]
    raise RegistryError(f"{where}: its public key is not of Ed25519")


def _pin(named: dict[str, str], ask: Callable[[], str]) -> str:
    if "pin-value" in named:
        return named["pin-value"]
    if "pin-source" not in named:
        return ask()
    return authority.read_secret(named["pin-source"].removeprefix("file:"), "PIN")


class _errors:
    """Turns what python-pkcs11 raises into one line."""

    def __init__(self, where: str):
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        import pkcs11

        if isinstance(error, pkcs11.PKCS11Error):
            raise _translated(self._where, error) from None


def _translated(where: str, error: Exception) -> RegistryError:
    name = type(error).__name__
    why = {
        "PinIncorrect": "the PIN is wrong; it locks itself after a few wrong ones",
        "PinInvalid": "the PIN is wrong; it locks itself after a few wrong ones",
        "PinLenRange": "the PIN is too short or too long",
        "PinLocked": "the PIN is locked after too many wrong ones: unlock it with the token's own tool",
        "PinExpired": "the PIN has expired: set a new one with the token's own tool",
        "UserPinNotInitialized": "it has no PIN yet: set one with the token's own tool",
        "MechanismInvalid": "does not know Ed25519 (CKM_EDDSA): take a token that does, or a key file",
        "DeviceRemoved": "was unplugged: nothing was changed; plug it in and try again",
        "TokenNotPresent": "was unplugged: nothing was changed; plug it in and try again",
        "TokenWriteProtected": "is write-protected: make the key with the token's own tool",
    }.get(name, f"fails ({name}{': ' + clean(str(error))[:80] if str(error) else ''}): see its module's configuration")
    return RegistryError(f"{where}: {why}")


def _text(value: str | bytes) -> str:
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else value).rstrip()
