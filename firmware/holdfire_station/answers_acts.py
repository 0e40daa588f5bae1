"""What else the console can be told to do. In memory only while it is asked for."""

from . import overlay


def mic(station, _) -> list:
    if not station.detector:
        return ["MISSING    microphone: %s" % station.missing.get("microphone", "")]
    from . import live

    station.live = live.level(station)
    return ["level above full scale's -100 dB, four times a second; any key ends it"]


def radio(_, __) -> list:
    return ["this firmware has no radio: records and beacons travel by this cable only"]


def set(station, words) -> list:
    return overlay.with_module("holdfire_station.settings", "command", station, words)


def reboot(station, _) -> list:
    station.leaving = "reboot"
    return ["resets in a second"]


def maintenance(station, words) -> list:
    if not station.may_maintain:
        raise ValueError("maintenance: forbidden by this board's file")
    if words != ["prompt"]:
        raise ValueError("the prompt makes it deaf and its key readable: `maintenance prompt`")
    station.leaving = "maintenance"
    return ["a record says that the prompt was opened; then it opens"]
