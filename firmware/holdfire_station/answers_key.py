"""The console's answers about the station's key, for who enrols it. In memory only while one is asked for."""

from holdfire_protocol import fields

from . import enrolment as maker
from . import overlay
from .identity import SEED_BYTES


def identity(station, _) -> list:
    if station.recorder is None:
        return [station.identity_fault or "identity network=none public=none kid=none"]
    who = station.identity
    return ["identity network=%s public=%s kid=%s" % (who.network.hex(), who.public.hex(), who.kid.hex())]


def enrol(station, words) -> list:
    if len(words) != 3:
        raise ValueError("enrol takes NETWORK COLLECTOR ENTROPY; `holdfire provision` on the laptop sends them")
    network = hex_bytes(words[0], "network", fields.NETWORK_BYTES)
    collector = hex_bytes(words[1], "collector", fields.PUBLIC_KEY_BYTES)
    entropy = hex_bytes(words[2], "entropy", SEED_BYTES)
    who = maker.create(network, collector, entropy)
    station.begin(who)
    return ["enrolled public=%s kid=%s" % (who.public.hex(), who.kid.hex())]


def enrolment(station, words) -> list:
    if len(words) != 1:
        raise ValueError("enrolment takes CHALLENGE; `holdfire provision` on the laptop sends it")
    challenge = hex_bytes(words[0], "challenge", 16)
    return overlay.with_module("holdfire_station.statement", "lines", station, challenge)


def hex_bytes(text: str, name: str, size: int) -> bytes:
    """Bytes from hex digits. Raises ValueError naming the argument."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        raise ValueError("%s: not hex digits" % name)
    if len(value) != size:
        raise ValueError("%s: %d bytes, not %d" % (name, len(value), size))
    return value
