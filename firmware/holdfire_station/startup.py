"""Puts a station together at power-on. In memory only then.

Each part is made alone: one that is missing, worn or broken is named in `station.missing`, on the console and in the
status records, and the others go on. Without a part the station has None in its place.
"""

import gc

import machine
from esp32 import Partition
from holdfire_protocol import fields, record

from . import overlay
from .counters import BOOT_SECTOR, SEQUENCE_SECTOR, Counter
from .journal import Journal
from .uplink import Uplink

CLIPS_ROOM_BYTES = 26_000  # 9 KB for sound; the rest comes and goes, and a clip wants 2 KB in one piece
IMPULSES_POOLED = 3  # taken after every block of 16 ms, and no two begin within 60 ms: one can wait
FASTEST_HZ = (240_000_000, 160_000_000)  # the C3 stops at 160 MHz


def assemble(station, board: dict) -> None:
    """Make every part that can be made. Raises what is not the board's fault in a part that records depend on."""
    for name, make in PARTS:
        try:
            make(station, board)
        except Exception as error:
            if make in NEEDED and not isinstance(error, (OSError, ValueError)):
                raise
            station.lacks(name, error)
        gc.collect()


def _watchdog(station, _) -> None:
    station.watchdog = machine.WDT(timeout=station.WATCHDOG_MS)


def _speed(_, __) -> None:
    for hz in FASTEST_HZ:
        try:
            machine.freq(hz)
            return
        except Exception:
            pass
    raise ValueError("runs at %d MHz only" % (machine.freq() // 1_000_000))


def _programs(station, _) -> None:
    station.firmware = overlay.with_module("holdfire_station.digest", "of_programs")


def _journal(station, _) -> None:
    journal = Journal(partition("journal"))
    journal.recover()
    _erase_ahead(journal)
    station.journal = journal
    station.uplink = Uplink(station.console, journal, station.monotonic, station.clock)


def _sequence(station, _) -> None:
    sequence = Counter(partition("counters"), SEQUENCE_SECTOR)
    _erase_ahead(sequence)
    station.sequence = sequence


def _boots(station, _) -> None:
    try:
        station.boot = Counter(partition("counters"), BOOT_SECTOR).next()
    except Exception:  # the newest record knows how many there were
        last = station.journal.last if station.journal else None
        payload = last[1][: -fields.SIGNATURE_BYTES] if last else b""
        station.boot = record.decode_record(payload)["boot"] + 1 if last else 1
        raise


def _microphone(station, board) -> None:
    from .microphone import Microphone
    from .sensing import acoustic

    detector = acoustic.Detector(board["microphone"]["sample_rate_hz"], pool=IMPULSES_POOLED)
    station.microphone = Microphone(board["microphone"], station.monotonic, detector, station.on_impulse)
    station.detector = detector


def _clips(station, _) -> None:
    """A station keeps records before it keeps sound: without PSRAM there may be no room for both."""
    if station.detector is None:
        return
    if gc.mem_free() < CLIPS_ROOM_BYTES:
        station.console.say("no clips are kept: %d bytes free, wanted %d" % (gc.mem_free(), CLIPS_ROOM_BYTES))
        return
    from .clips import Clips

    clips = Clips(partition("clips"), station.detector, station.microphone, station.boot)
    _erase_ahead(clips.ring)
    station.clips = clips


def _gnss(station, board) -> None:
    from .gnss import Gnss

    station.gnss = Gnss(board["gnss"], station.monotonic, station.clock)


def _tamper(station, board) -> None:
    from .sensing.tamper import Tamper

    station.tamper = Tamper(board["tamper"], station.on_tamper)


def _battery(station, board) -> None:
    from .sensing.power import Battery

    station.battery = Battery(board["battery"])
    if station.battery.read_mv() is None:
        raise OSError("the converter does not answer")


def _identity(station, _) -> None:
    from . import identity

    try:
        identity.mount(partition("keys"))
        station.begin(identity.load())
    except identity.IdentityError as error:
        station.identity_fault = str(error)
    finally:
        overlay.forget("holdfire_station.identity")


def _settings(station, _) -> None:
    overlay.with_module("holdfire_station.settings", "apply", station)


PARTS = (
    ("watchdog", _watchdog),
    ("clock speed", _speed),
    ("program digest", _programs),
    ("journal", _journal),
    ("sequence counter", _sequence),
    ("boot counter", _boots),
    ("microphone", _microphone),
    ("gnss", _gnss),
    ("tamper switch", _tamper),
    ("battery", _battery),
    ("keys", _identity),
    ("settings", _settings),
    ("clips", _clips),
)
NEEDED = (_journal, _sequence, _identity)


def _erase_ahead(part) -> None:
    """All that would be due: nobody listens yet, so no erase stalls anything, and the first records wait for none."""
    while part.maintain():
        pass


def partition(label: str):
    """The data partition of that name. Raises OSError."""
    found = Partition.find(Partition.TYPE_DATA, label=label)
    if not found:
        raise OSError("no partition %s: flash this board anew" % label)
    return found[0]
