"""New programs over the cable, for `holdfire update`: believed when the deployment's authority signed them, written
into the half that does not run, read back, hashed, and tried at the next start (slots.py). In memory only meanwhile.

The half in use, the key, the journal and the counters are never written. Cut anywhere, what ran before runs again.
In parts, because a signature is checked with the last of the memory: `update_offer` reads, `update_session` writes.
"""

import os

from . import crypto, overlay

AUTHORITY = "/keys/authority"


def update(station, words) -> list:
    """The console's answer. Raises ValueError with what was wrong."""
    if station.recorder is None:
        raise ValueError("not enrolled: whom to believe is not known; `holdfire provision` first")
    if not words:
        return overlay.alone("holdfire_station.update_offer", "state", station, _authority())
    if len(words) != 2 or words[0] not in ("trust", "offer", "handover"):
        raise ValueError("`holdfire update` on the laptop sends what follows this word")
    if crypto.busy():
        return ["busy signing: ask again"]  # its buffers are taken, and 9 KB for others may not be free
    if words[0] == "trust":
        return _trust(bytes.fromhex(words[1]))
    public = _authority()
    if not public:
        raise ValueError("no authority is known: `holdfire update` sends its key")
    if words[0] == "handover":
        signed, signature, named = overlay.alone("holdfire_station.handover", "read", station, words[1], public)
        if signed:
            crypto.verify(public, signed, signature)
            crypto.check_public_key(named["public_key"])
        return overlay.alone("holdfire_station.handover", "begin", station, named)
    signed, signature, named = overlay.alone(
        "holdfire_station.update_offer", "read", station, words[1], public)
    crypto.verify(public, signed, signature)  # nothing of `named` is believed before
    overlay.alone("holdfire_station.update_session", "begin", station, named)
    return ["update accepted %s" % named["firmware"].hex()]


def _trust(public: bytes) -> list:
    """Keep the authority's key, once."""
    crypto.check_public_key(public)
    known = _authority()
    if known and known != public:
        raise ValueError("another authority is known: flash with ERASE=1 and provision anew")
    if not known:
        with open(AUTHORITY + ".new", "wb") as file:
            file.write(public)
        os.rename(AUTHORITY + ".new", AUTHORITY)
    return overlay.alone("holdfire_station.update_offer", "trusts", public)


def _authority():
    try:
        with open(AUTHORITY, "rb") as file:
            return file.read(32)
    except OSError:
        return None
