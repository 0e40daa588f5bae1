"""The form of a vector file, and the keys that every file repeats so that it stands alone."""

import json

from generate.samples import AUTHORITY, COLLECTOR, GENESIS, NETWORK, STATION

MADE = "made by tools/generate"
KEYS = {
    "network": NETWORK.hex(), "genesis": GENESIS.hex(),
    **{name: {"secret_key": key.secret.hex(), "public_key": key.public.hex(), "kid": key.kid.hex()}
       for name, key in (("station", STATION), ("collector", COLLECTOR))},
}
AUTHORITY_KEYS = {"authority": {
    "secret_key": AUTHORITY.secret.hex(), "public_key": AUTHORITY.public.hex(), "kid": AUTHORITY.kid.hex()}}


def good(name: str, reason: str, source: str = MADE, **parts) -> dict:
    """A vector that must be accepted; `parts` are the input and the expected result."""
    return {"name": name, "reason": reason, "source": source, **parts}


def bad(name: str, reason: str, error: str, says: str, source: str = MADE, **parts) -> dict:
    """`error` is the exception's name; `says` is part of its message: the part or field at fault and the rule."""
    return {"name": name, "reason": reason, "source": source, "error": error, "says": says, **parts}


def render(parts: dict) -> str:
    """JSON with one member of each list on a line of its own, so that a chip can read a file larger than its memory."""
    lines = []
    for key, value in parts.items():
        if isinstance(value, list):
            members = ",\n".join("  " + json.dumps(item, sort_keys=True) for item in value)
            lines.append(f" {json.dumps(key)}: [\n{members}\n ]")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value, sort_keys=True)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"
