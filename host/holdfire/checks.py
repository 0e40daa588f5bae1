"""Every check on one signed record, one by one, with what was compared: for `show` and for the offline verifier.

The collector decides with the fast decoder in `verify.py`; this walks the same rules again with the protocol's own
strict decoder, so that the two must agree, and goes on after a failure where that still means something. Links between
records are not judged here.
"""

from dataclasses import dataclass
from typing import Any

import cbor2

from holdfire_protocol import cbor, cose, fields, record, schema

from . import ed25519_strict, times
from .config import Settings
from .registry import Registry, Station
from .verify import Verified, check_date

_DEFAULTS = Settings()  # third parties check by the defaults, not by the settings of whoever they check
FUTURE_TOLERANCE_US = _DEFAULTS.future_tolerance_s * 1_000_000
PAST_TOLERANCE_US = _DEFAULTS.past_tolerance_s * 1_000_000

ORDER = ("form", "kid", "signature", "canonical", "fields", "enrolment", "chain", "time")


@dataclass(frozen=True)
class Step:
    """One check. `passed` is None when it could not be made."""

    name: str
    passed: bool | None
    text: str


@dataclass(frozen=True)
class Checked:
    """A record after its checks. `verified` is None unless form, signature and content hold."""

    hash: bytes
    named: dict[str, Any] | None
    verified: Verified | None
    steps: tuple[Step, ...]

    @property
    def failed(self) -> list[Step]:
        return [step for step in self.steps if step.passed is False]


def check(message: bytes, registry: Registry, now_us: int) -> Checked:
    """All steps but the chain. Never raises: what is wrong is in the steps."""
    digest = record.record_hash(message)
    try:
        parts = cose.parse(message)
    except cose.CoseError as error:
        return Checked(digest, None, None, (Step("form", False, f"not a signed record: {error}"),))
    form = f"COSE_Sign1 of {len(message)} bytes: Ed25519 (-19), kid, {len(parts.payload)} bytes of payload, signature"
    steps = [Step("form", True, form + "; nothing else")]
    station = registry.stations.get(parts.kid)
    if station is None:
        steps.append(Step("kid", False, f"{parts.kid.hex()} is no station of {registry.name}"))
    else:
        steps.append(Step("kid", True, f"{parts.kid.hex()}, from the thumbprint of the key of {station.name}"))
        steps.append(_signature(parts, station, registry))
    named, packed, content_steps = _content(parts.payload)
    steps += content_steps
    verified = None
    if station is not None:
        steps.append(_enrolment(station, registry, named))
        if packed is not None and all(step.passed for step in steps):
            verified = Verified(message, station, packed)
            steps.append(_time(verified, now_us))
    return Checked(digest, named, verified, tuple(steps))


def _signature(parts: cose.Sign1, station: Station, registry: Registry) -> Step:
    signed = cose.sig_structure(fields.AAD_RECORD + registry.network, parts.payload)
    what = f"the payload, as a record of network {registry.network.hex()}"
    try:
        ed25519_strict.verify(station.public_key, signed, parts.signature)
    except ValueError:
        return Step("signature", False, f"the key of {station.name} did not sign {what}: forged, altered or foreign")
    return Step("signature", True, f"Ed25519 by the key of {station.name} over {what}")


def _content(payload: bytes) -> tuple[dict[str, Any] | None, dict[int, Any] | None, list[Step]]:
    """(named fields, fields by key, steps) of a payload; the fields are None unless every rule holds."""
    try:
        packed = cbor.decode(payload)
    except cbor.CborError as error:
        return None, None, [Step("canonical", False, f"payload is not deterministic CBOR: {error}")]
    # Another library's encoder: a fault of ours that let a second encoding through would show here.
    if cbor2.dumps(packed, canonical=True) != payload:
        return None, None, [Step("canonical", False, "the payload's values, encoded again, give other bytes")]
    text = f"the payload's values, encoded again by cbor2, give the same {len(payload)} bytes"
    steps = [Step("canonical", True, text)]
    try:
        named = schema.unpack(fields.RECORD, packed)
        record.check_record(named)
    except schema.FieldError as error:
        return None, None, [*steps, Step("fields", False, str(error))]
    return named, packed, [*steps, Step("fields", True, f"{len(named)} fields, each known, of its type, in its range")]


def _enrolment(station: Station, registry: Registry, named: dict[str, Any] | None) -> Step:
    """Whether the key was to be believed when the record says it was made; one that does not say is left to audit."""
    if named is not None and named["time"][0] != fields.TIME_NONE:
        doubt = station.doubt_at(*named["time"][1:])
        if doubt is not None:
            return Step("enrolment", False, doubt)
    since = times.text(station.enrolled_at_us, 0)
    text = f"{station.name} is of {registry.name} since {since}, with public key {station.public_key.hex()}"
    return Step("enrolment", True, text)


def _time(verified: Verified, now_us: int) -> Step:
    source, utc_us, _ = verified.time
    if source == fields.TIME_NONE:
        return Step("time", True, "the station says that it did not know the time: nothing to contradict")
    wrong = check_date(verified, now_us, 0, FUTURE_TOLERANCE_US, PAST_TOLERANCE_US)
    if wrong:
        return Step("time", False, wrong)
    enrolled, now = times.text(verified.station.enrolled_at_us, 0), times.text(now_us, 0)
    return Step("time", True, f"{times.text(utc_us)} lies between enrolment, {enrolled}, and this clock, {now}")
