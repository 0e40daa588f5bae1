"""The two keys of a deployment that are no station's, and who had them when: the authority's and the collector's.

A key is replaced by an entry of the registry (`registry.py`) in which the authority, for stations, states the
replacement in a message of its own (SPEC, section "Handover"), and the new key agrees. Here is what follows for
evidence: a beacon counts when it is signed by the collector that was in office at the time it states.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from holdfire_protocol import cose, fields, handover, record

from . import ed25519_strict, times
from .authority import Authority

NAMES = {handover.AUTHORITY: "authority", handover.COLLECTOR: "collector"}


class Holder(NamedTuple):
    """A key and its time in office. `until_us` is None while that lasts."""

    public_key: bytes
    from_us: int
    until_us: int | None = None
    entry: int = 1  # the number of the one that put it in office
    message: bytes = b""  # what tells stations so, signed by the authority before
    broken: bool = False  # the authority before did not sign: its key was lost, or so it is said

    @property
    def kid(self) -> bytes:
        return cose.key_id(self.public_key)


class NotInOffice(ValueError):
    """A beacon by a key that was not the collector's at the time the beacon states."""


def sign_handover(office: int, old: bytes, new: bytes, network: bytes, authority: Authority) -> bytes:
    """What makes stations believe the public key `new` where they believed that of the kid `old`."""
    payload = handover.encode({"office": office, "kid": old, "public_key": new})
    kid = cose.key_id(authority.public)
    return record.sign1(payload, kid, handover.AAD_HANDOVER, network, authority.sign)


def check_handover(message: bytes, stated: dict[str, Any], network: bytes, authority_public: bytes) -> None:
    """Raises ValueError when the message is not that authority's word, with the fields `stated`."""
    payload = record.verify1(message, authority_public, handover.AAD_HANDOVER, network, ed25519_strict.verify)
    if handover.decode(payload) != stated:
        raise ValueError("states another handover than the entry")


def open_beacon(
    message: bytes, collectors: Sequence[Holder], network: bytes,
    verify: Callable[[bytes, bytes, bytes], Any] = ed25519_strict.verify,
) -> dict[str, Any]:  # fmt: skip
    """Fields of a beacon that a collector signed while it was in office.

    Raises CoseError, CborError or FieldError for a wrong form or kid, NotInOffice, and ValueError for the signature.
    """
    kid = cose.parse(message).kid
    signer = next((holder for holder in collectors if holder.kid == kid), collectors[-1])
    named = record.decode_beacon(record.verify1(message, signer.public_key, fields.AAD_BEACON, network, verify))
    _, utc_us, uncertainty_us = named["time"]
    if utc_us + uncertainty_us < signer.from_us:
        raise NotInOffice(f"signed with collector key {kid.hex()} before its time, {times.text(signer.from_us, 0)}")
    if signer.until_us is not None and utc_us + uncertainty_us >= signer.until_us:
        raise NotInOffice(
            f"signed with collector key {kid.hex()}, which is not believed from {times.text(signer.until_us, 0)} on"
        )
    return named
