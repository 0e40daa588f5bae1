"""From a shot at the microphone to bytes of sound that a signed record vouches for: chips, firmware, cable."""

import base64
import hashlib
import re

import pytest

from holdfire import sound
from holdfire_protocol import clip
from simulate.device import find_micropython, native_arch
from simulate.station import SimulatedStation, synthetic_sound
from tests.mpy import REPO, find_tool
from tests.system.cabled import Place

HEAP_BYTES = 224 << 10  # what keeping clips beside all else takes with room to spare
SHOT_S = 20
AGAIN_S = 110


@pytest.fixture
def start(tmp_path):
    find_tool("micropython", "MICROPYTHON")
    place = Place()

    def start(script="", heap_bytes=HEAP_BYTES):
        place.clear()
        path = tmp_path / "script"
        path.write_text(script)
        return place.put(SimulatedStation(REPO / "boards" / "esp32-devkit.toml", tmp_path / "station", "clips",
                                          "virtual", baud=None, heap_bytes=heap_bytes, script=path, fix_s=100_000))

    yield start
    place.clear()


def test_without_room_for_it_no_sound_is_kept_and_nothing_else_suffers(start):
    if native_arch(find_micropython()) != "x64":
        pytest.skip("objects are smaller here: there is room")
    station, cabled = start(heap_bytes=160 << 10)
    said = cabled.read_until("no clips are kept: ")
    free, wanted = map(int, re.findall(r"\d+", said))
    assert 10_000 < free < wanted
    cabled.enrol()
    status = cabled.record_with(lambda named: "status" in named)["status"]
    assert "fault" not in status and "clips" not in status


def fetch(cabled, number):
    """A clip's bytes, piece by piece over the cable."""
    data, total = b"", 1
    while len(data) < total:
        said = cabled.ask(f"clips {number} {len(data)}", f"clip {number} {len(data)} ")
        total = int(said.split()[3])
        data += base64.b64decode(re.split(r"\s", said)[4])
    return data


def vouched(cabled, after=b""):
    """The first status record with the hash of a clip other than that one."""
    return cabled.record_with(lambda named: named.get("status", {}).get("clips", after) != after)


def test_a_shot_leads_to_a_clip_that_a_status_record_vouches_for_within_a_minute(start):
    _, cabled = start()
    cabled.enrol()
    raw = synthetic_sound("gunshot", 150)
    _, cabled = start(f"{SHOT_S}000 play {raw} 256\n{AGAIN_S}000 play {raw} 256\n")
    first = vouched(cabled)
    alert = cabled.record_with(lambda named: "observations" in named)
    second = vouched(cabled, first["status"]["clips"])
    for status, shot_s in ((first, SHOT_S), (second, AGAIN_S)):
        assert shot_s * 1000 < status["uptime_ms"] < (shot_s + 60) * 1000  # the next due one is at 600 s

    one, two = fetch(cabled, 1), fetch(cabled, 2)
    assert hashlib.sha256(one).digest() == first["status"]["clips"] == clip.decode(two)["prev"]
    assert hashlib.sha256(two).digest() == second["status"]["clips"] and clip.decode(one)["prev"] == bytes(32)

    named = clip.decode(one)
    values = sound.samples(named["data"])
    onset_ms = (alert["uptime_ms"] * 1000 + alert["observations"][0]["onset_us"] - named["start_us"]) // 1000
    assert named["boot"] == alert["boot"] == 2 and 400 < onset_ms < 600 and len(values) > 1500
    loudest_ms = max(range(len(values)), key=lambda i: abs(values[i]))
    assert abs(loudest_ms - onset_ms) < 60, (loudest_ms, onset_ms)
    assert max(map(abs, values[: onset_ms - 50])) * 20 < abs(values[loudest_ms])

    _, cabled = start()  # whatever ended that boot: the first record of the next vouches for the newest clip on flash
    again = cabled.record_with(lambda named: named["boot"] == 3)
    assert again["status"]["clips"] == hashlib.sha256(two).digest()


def test_no_record_is_made_for_a_clip_while_the_base_is_away(start):
    """Two weeks of alerts must fit: what a clip costs then is its own ring's."""
    _, cabled = start()
    cabled.enrol()
    raw = synthetic_sound("gunshot", 150)
    _, cabled = start("".join(f"{second}000 play {raw} 256\n" for second in range(10, 550, 20)))
    late = cabled.record_with(lambda named: "status" in named and named["uptime_ms"] > 599_000)
    statuses = [named["uptime_ms"] for named in cabled.records.values() if named["boot"] == 2 and "status" in named]
    alerts = [named for named in cabled.records.values() if "observations" in named]
    assert len(alerts) == 27 and "clips" in late["status"]
    assert not [ms for ms in statuses if 400_000 < ms < 599_000], statuses
