"""Another authority or collector than the one that the station believes, by the signature of the authority it believes.

In memory only while it is told. Checks neither signature nor key; `update` does, between `read` and `begin`. What is
kept is written whole under another name and renamed: a power cut leaves the old key or the new one.
"""

import binascii
import os

from holdfire_protocol import cbor, cose
from holdfire_protocol import handover as payloads

from .update import AUTHORITY


def read(station, text: str, authority: bytes):
    """(what was signed, the signature, the fields); nothing was signed where it is done already. Raises ValueError."""
    parts = cose.parse(binascii.a2b_base64(text))
    named = payloads.decode(parts.payload)
    believed = authority if named["office"] == payloads.AUTHORITY else station.identity.collector_public
    if named["public_key"] == believed:  # asked again, because the answer was lost
        return None, None, named
    if parts.kid != cose.key_id(authority):
        raise ValueError("kid: not of the authority known here")
    if named["kid"] != cose.key_id(believed):
        raise ValueError("kid: not the key believed here: an old handover, or one left out")
    network = station.identity.network
    return cose.sig_structure(payloads.AAD_HANDOVER + network, parts.payload), parts.signature, named


def begin(station, named: dict) -> list:
    """Believe it from now on."""
    new = named["public_key"]
    if named["office"] == payloads.AUTHORITY:
        with open(AUTHORITY, "rb") as file:
            known = file.read(32)
        if known != new:
            _keep(AUTHORITY, new)
    elif station.identity.collector_public != new:
        from . import identity  # 1.4 KB, and not while a signature is verified

        with open(identity.PATH, "rb") as file:
            seed, network, _ = cbor.decode(file.read(256))
        _keep(identity.PATH, cbor.encode([seed, network, new]))
        station.identity.collector_public = new
        station.identity.collector_kid = cose.key_id(new)
        station.uplink._beacons.number = 0  # it numbers its beacons by itself
    return ["update believes %s" % cose.key_id(new).hex()]


def _keep(path: str, data: bytes) -> None:
    with open(path + ".new", "wb") as file:
        file.write(data)
    os.rename(path + ".new", path)
