"""The few settings that an operator may change in the field: bounded, kept beside the key, used from the next start.

In memory only at boot and while they are asked for. The file is written whole under another name and renamed, so a
power cut leaves the old or the new one; a damaged one counts as none.
"""

import os

from holdfire_protocol import cbor

from .identity import FOLDER

PATH = FOLDER + "/settings.cbor"
FILE_BYTES = 128
NAME_CHARACTERS = 20


def _interval_s(text: str) -> int:
    seconds = int(text) if text.isdigit() and len(text) < 6 else 0
    if not 60 <= seconds <= 3600:
        raise ValueError("interval_s: whole seconds, 60 to 3600")
    return seconds


def _name(text: str) -> bytes:
    if len(text) > NAME_CHARACTERS:
        raise ValueError("name: at most %d characters" % NAME_CHARACTERS)
    return text.encode()


SETTINGS = (
    ("interval_s", 1, "seconds from one status record to the next", _interval_s),
    ("name", 2, "what the console calls this station", _name),
)


def apply(station) -> None:
    """Let the station use what was set."""
    kept = _load()
    station.interval_s = kept.get(1, station.interval_s)
    if 2 in kept:
        station.console.say("name: " + kept[2].decode())


def command(station, words) -> list:
    """The console's `set`."""
    kept = _load()
    if len(words) == 2:
        for name, key, _, parse in SETTINGS:
            if name == words[0]:
                kept[key] = parse(words[1])
                _save(kept)
                return ["%s is %s from the next start on (`reboot`)" % (name, words[1])]
        raise ValueError("%s: no such setting; `set` lists them" % words[0][:20])
    if words:
        raise ValueError("set takes NAME VALUE, or nothing")
    return ["%-12s %-8s %s" % (name, _shown(kept.get(key)), text) for name, key, text, _ in SETTINGS]


def _shown(value) -> str:
    return "-" if value is None else value.decode() if isinstance(value, bytes) else str(value)


def _load() -> dict:
    """What was kept, as far as it is within bounds."""
    try:
        with open(PATH, "rb") as file:
            found = cbor.decode(file.read(FILE_BYTES))
        return {key: parse(_shown(found[key])) for _, key, _, parse in SETTINGS if key in found}
    except (OSError, ValueError, TypeError):
        return {}


def _save(kept: dict) -> None:
    try:
        with open(PATH + ".new", "wb") as file:
            file.write(cbor.encode(kept))
        os.rename(PATH + ".new", PATH)
    except OSError as error:
        raise ValueError("not kept: %s; is the keys partition there?" % error)
