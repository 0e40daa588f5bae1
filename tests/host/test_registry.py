"""The registry refuses what could let a wrong key in, survives a crash while saving, and gives no private key away."""

import json
import os
import pathlib
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfire import files, ledger, times
from holdfire.authority import KeyInMemory
from holdfire.errors import RegistryError
from holdfire.registry import Deployment, Registry, Station, load_collector_key
from holdfire.statement import check
from holdfire_protocol import cose

from .made import AUTHORITY, COLLECTOR, NETWORK, START_US, Signer, eventful

NOW_US = 1_795_000_000_123_456
DAY_US = 86_400_000_000


def station(name="Ridge north", seed=1):
    public = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32).public_key().public_bytes_raw()
    return Station(cose.key_id(public), public, name, NOW_US)


@pytest.fixture
def deployment(tmp_path):
    deployment = Deployment(tmp_path / "base")
    registry = deployment.found("Valley line", NOW_US, AUTHORITY)
    registry.add(station())
    registry.add(station("Bridge", 2))
    registry.save()
    return deployment


def edit(path, change, sign_again=False):
    """The file with `change` made to its entries; `sign_again` as only the authority could."""
    content = json.loads(path.read_text())
    change(content["entries"])
    if sign_again:
        prev = ledger.FIRST_PREV
        for number, entry in enumerate(content["entries"], 1):
            entry.update(number=number, prev=prev)
            entry.pop("signature", None)
            content["entries"][number - 1] = signed = ledger.sign(entry, NETWORK, AUTHORITY)
            prev = ledger.entry_hash(signed).hex()
    path.write_text(json.dumps(content))


# What is in it


def test_what_is_saved_is_what_is_loaded(deployment):
    loaded = Registry.load(deployment.registry_path)
    assert loaded.name == "Valley line"
    assert len(loaded.network) == 16
    assert loaded.founded_at_us == NOW_US
    assert loaded.authority_public == AUTHORITY.public
    assert list(loaded.stations.values()) == [station(), station("Bridge", 2)]
    assert loaded.find("ridge NORTH") == loaded.find(station().kid.hex()) == station()


def test_every_kind_of_entry_survives_the_file(tmp_path):
    made = eventful(tmp_path / "registry.json")
    made.save()
    loaded = Registry.load(made.path)
    assert loaded.stations == made.stations and loaded.entries == made.entries and loaded.head == made.head
    assert [entry["what"] for entry in loaded.entries] == (
        ["founded"] + ["enrolled"] * 3 + ["renamed", "moved", "lost", "found", "rotated", "revoked"]
    )
    assert all(entry["why"] and times.parse(entry["at"]) for entry in loaded.entries)


def test_the_file_is_lines_that_a_person_can_read(deployment):
    text = deployment.registry_path.read_text()
    assert '\n      "name": "Ridge north",\n' in text and max(map(len, text.splitlines())) < 160


def test_the_registry_is_public_and_the_key_is_not(deployment):
    key = load_collector_key(deployment.key_path, Registry.load(deployment.registry_path).collector_public)
    secret = key.private_bytes_raw()
    public_text = deployment.registry_path.read_text()
    assert secret.hex() not in public_text and "PRIVATE" not in public_text
    assert os.stat(deployment.key_path).st_mode & 0o777 == 0o600
    assert os.stat(deployment.registry_path).st_mode & 0o777 == 0o644


# Who may change it


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_registry_loads_equal_or_not_at_all(tmp_path, data):
    made = eventful(tmp_path / "registry.json")
    made.save()
    whole = made.path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[at] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.json"
    path.write_bytes(bytes(damaged[: data.draw(st.sampled_from([len(whole), at]))]))
    try:
        loaded = Registry.load(path)
    except RegistryError as error:
        assert "\n" not in str(error) and str(path) in str(error)
        return
    assert loaded.entries == made.entries  # a blank, or an escape that says the same letter


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda e: e[1].update(name="Ridge south"), "entry 2: not as the authority signed it"),
        (lambda e: e[1].update(why="another"), "entry 2: not as the authority signed it"),
        (lambda e: e[9].update({"from": "2030-01-01T00:00:00Z"}), "entry 10: not as the authority signed it"),
        (lambda e: e[0].update(name="Other line"), "entry 1: not as the authority signed it"),
        (lambda e: e[0].update(network="00" * 16), "entry 1: not as the authority signed it"),
        (lambda e: e[2].update(note="x"), "entry 3: not as the authority signed it"),
        (lambda e: e[2].update(signature=e[2]["signature"].upper()), "entry 3: not as the authority signed it"),
        (lambda e: e[2].update(signature=e[3]["signature"]), "entry 3: not as the authority signed it"),
        (lambda e: e[2].pop("signature"), "entry 3: not as the authority signed it"),
        (lambda e: e[2].update(signature=7), "entry 3: not as the authority signed it"),
        (lambda e: e[2].update(name="\ud800"), "entry 3: not as the authority signed it"),
        (lambda e: e[2].update(number=3.0), "entry 3: does not follow"),
        (lambda e: e[2].update(number=True), "entry 3: does not follow"),
        (lambda e: e.pop(6), "entry 7: does not follow"),
        (lambda e: e.insert(4, e[3]), "entry 5: does not follow"),
        (lambda e: e.reverse(), "entry 1.what: a registry begins with its founding"),
        (lambda e: e.__setitem__(slice(1, 3), [e[2], e[1]]), "entry 2: does not follow"),
    ],
)
def test_an_altered_registry_is_refused_with_what_to_do(tmp_path, change, says):
    path = tmp_path / "registry.json"
    eventful(path).save()
    edit(path, change)
    with pytest.raises(RegistryError, match=says) as caught:
        Registry.load(path)
    assert "restore it from a copy" in str(caught.value) or "founding" in str(caught.value)


def test_another_authority_cannot_take_over(tmp_path):
    path = tmp_path / "registry.json"
    made = eventful(path)
    made.save()
    stranger = KeyInMemory(Ed25519PrivateKey.from_private_bytes(b"\x66" * 32))
    made.authority = stranger
    made.add(station("Stranger", 9))
    made.save()
    with pytest.raises(RegistryError, match="entry 11: not as the authority signed it"):
        Registry.load(path)
    (tmp_path / "base").mkdir()
    deployment = Deployment(tmp_path / "base")
    eventful(deployment.registry_path).save()
    with pytest.raises(RegistryError, match="name the right one with --key"), deployment.changing_registry(stranger):
        pass


def test_a_signature_of_one_deployment_is_nothing_in_another(tmp_path):
    """The same authority, another network id: an entry cannot be carried over."""
    ours = eventful(tmp_path / "registry.json")
    other = Registry(tmp_path / "other.json", "Valley line", bytes(16), START_US,
                     COLLECTOR.public_key().public_bytes_raw(), AUTHORITY)  # fmt: skip
    other.entries[0] = {**other.entries[0], "signature": ours.entries[0]["signature"]}
    other.save()
    with pytest.raises(RegistryError, match="entry 1: not as the authority signed it"):
        Registry.load(other.path)


def test_two_histories_cannot_be_mixed(tmp_path):
    """A backup went on by itself: both are signed, both number their entries alike, and the hash tells them apart."""
    ours, other = (eventful(tmp_path / name) for name in ("registry.json", "backup.json"))
    for registry, why in ((ours, "seen"), (other, "heard")):
        registry.report_lost(registry.find("Bridge"), NOW_US, NOW_US + 30 * DAY_US, why)
        registry.report_found(registry.find("Bridge"), NOW_US + 31 * DAY_US, why)
        registry.save()
        Registry.load(registry.path)
    ours.entries[11] = other.entries[11]
    ours.save()
    with pytest.raises(RegistryError, match="entry 12: does not follow"):
        Registry.load(ours.path)


def test_nothing_is_saved_that_no_authority_signed(tmp_path):
    registry = Registry(tmp_path / "registry.json", "Valley line", NETWORK, START_US, bytes(32))
    registry.add(station())
    with pytest.raises(RegistryError, match="no authority signed it"):
        registry.save()
    assert not registry.path.exists()


def test_the_signature_covers_what_the_specification_says(tmp_path):
    """By other means: RFC 8785 put together by hand, the signature by another library's verify."""
    registry = eventful(tmp_path / "registry.json")
    entry = registry.entries[6]
    text = "{" + ",".join(f'"{key}":{json.dumps(entry[key])}' for key in sorted(entry) if key != "signature") + "}"
    signed = b"holdfire.registry.1\x00" + NETWORK + text.encode()
    public = Ed25519PrivateKey.from_private_bytes(b"\x12" * 32).public_key()
    public.verify(bytes.fromhex(entry["signature"]), signed)


# What it refuses although it is signed


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda e: e[0].pop("network"), "entry 1.network: missing"),
        (lambda e: e[0].update(network="AB" * 16), "entry 1.network: not 32 lower-case hex digits"),
        (lambda e: e[0]["collector"].update(kid="00" * 8), "entry 1.collector.kid: is not of this public key"),
        (lambda e: e[0].update(collector=e[0]["authority"]), "entry 1.authority: is the collector's own"),
        (lambda e: e[0].update(authority=3), "entry 1.authority: not an object"),
        (lambda e: e[1].update({"\x1b[2J": "1"}), "no such key"),
        (lambda e: e[1].update(what="\x1b[2J"), "entry 2.what: .* is not known to this holdfire"),
        (lambda e: e[1].update(at="today"), "entry 2.at: 'today' is not a time"),
        (lambda e: e[1].update(why=""), "entry 2.why: write 1 to 200"),
        (lambda e: e[1].update(name="a\x1b[2J"), "entry 2.name: a name has"),
        (lambda e: e[1].update(name=7), "entry 2.name: not a text"),
        (lambda e: e[1].update(kid="00" * 8), "entry 2.kid: is not of this public key"),
        (lambda e: e[1].update(place=" a"), "entry 2.place: write 1 to 200"),
        (lambda e: e[1].update(photo_sha256="00"), "entry 2.photo_sha256: not 64"),
        (lambda e: e[1].update(enrolment="d2" * 2000), "entry 2.enrolment: not the lower-case hex"),
        (lambda e: e[1].update(enrolment="d284"), "entry 2.enrolment: message: not an array of 4|entry 2.enrolment: "),
        (lambda e: e[1].update(enrolment=e[2]["enrolment"]), "entry 2.enrolment: states another key"),
        (lambda e: e[2].update(name=e[1]["name"].upper()), "entry 3.name: 'RIDGE' is taken"),
        (lambda e: e.insert(2, dict(e[1])), "entry 3.kid: .* is enrolled already, as 'Ridge'"),
        (lambda e: e[1].update(e[0]["collector"]), "entry 2.public_key: is the collector's own"),
        (lambda e: e[1].update(e[0]["authority"]), "entry 2.public_key: is the authority's own"),
        (lambda e: e.append(dict(e[0])), "entry 11.what: a registry begins with its founding, and has one"),
        (lambda e: e[4].update(station="00" * 8), "entry 5.station: 0000000000000000 is not enrolled"),
        (lambda e: e[4].update(name="bridge"), "entry 5.name: 'bridge' is taken"),
        (lambda e: [e[5].pop(key) for key in ("place", "photo_sha256")], "entry 6.place: nothing is said"),
        (lambda e: e.insert(7, dict(e[6])), "entry 8.station: Bridge is reported lost already"),
        (lambda e: e.pop(6), "entry 7.station: Bridge is not reported lost"),
        (lambda e: e[6].update({"from": "2099-01-01T00:00:00Z"}), "entry 7.from: .* lies in the future"),
        (lambda e: e[7].update(at="2026-11-01T00:00:00Z"), "entry 8.at: is before it was lost"),
        (lambda e: e.append({**e[9]}), "entry 11.station: Mill is retired for good: revoked"),
        (lambda e: e.append({**e[4], "station": e[8]["station"]}), "entry 11.station: Ridge east .* is retired"),
    ],
)
def test_a_wrong_registry_is_refused_with_file_entry_key_and_reason(tmp_path, change, says):
    path = tmp_path / "registry.json"
    eventful(path).save()
    edit(path, change, sign_again=True)
    with pytest.raises(RegistryError, match=says) as caught:
        Registry.load(path)
    assert "registry.json" in str(caught.value) and "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_editing_and_signing_again_is_what_the_tests_above_do(tmp_path):
    path = tmp_path / "registry.json"
    made = eventful(path)
    made.save()
    edit(path, lambda entries: None, sign_again=True)
    assert Registry.load(path).entries == made.entries


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"\xff\xfe", b"[" * 100_000, b'"x"', b"null", b"{}", b'{"format": 2}',
     b'{"format": true, "entries": []}', b'{"format": 2, "entries": {}}', b'{"format": 2, "entries": []}',
     b'{"format": 2, "entries": [3]}',
     b'{"format": 2, "entries": [{}]}', b'{"format": 2, "entries": [{"what": "founded"}]}',
     b'{"format": 2, "entries": [{"a": ' + b"[" * 900 + b"]" * 900 + b"}]}",
     b'{"format": 1, "name": "old"}', b'{"format": 2, "entries": [], "more": 1}'],
)  # fmt: skip
def test_what_is_no_registry_is_one_clear_line(tmp_path, content):
    path = tmp_path / "registry.json"
    path.write_bytes(content)
    with pytest.raises(RegistryError) as caught:
        Registry.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_member_standing_twice_is_refused(deployment):
    text = deployment.registry_path.read_text()
    deployment.registry_path.write_text(text.replace('"number": 1,', '"number": 1, "network": "' + "0" * 32 + '",'))
    with pytest.raises(RegistryError, match="network: stands twice"):
        Registry.load(deployment.registry_path)


def test_a_file_without_end_is_not_read_to_its_end(tmp_path):
    path = tmp_path / "registry.json"
    with open(path, "wb") as file:
        file.truncate(ledger.MAX_FILE_BYTES + 1)
    with pytest.raises(RegistryError, match="larger than"):
        Registry.load(path)


def test_a_missing_registry_says_what_to_do(tmp_path):
    with pytest.raises(RegistryError, match="holdfire init"):
        Registry.load(tmp_path / "registry.json")
    with pytest.raises(RegistryError, match="cannot read"):
        Registry.load(tmp_path)


# When a key is believed


def doubted(registry, name, day, uncertainty_us=0):
    return registry.find(name).doubt_at(START_US + int(day * DAY_US), uncertainty_us)


def test_a_key_is_believed_until_it_is_revoked_and_never_again(tmp_path):
    registry = eventful(tmp_path / "registry.json")
    assert doubted(registry, "Mill", 7.9) is None
    assert "revoked (opened)" in doubted(registry, "Mill", 8)
    assert doubted(registry, "Mill", 7.9, uncertainty_us=DAY_US), "not surely before"
    assert doubted(registry, "Mill", 1000)
    with pytest.raises(RegistryError, match="Mill is retired for good"):
        registry.rename(registry.find("Mill"), "Miller", NOW_US + 30 * DAY_US, "x")
    with pytest.raises(RegistryError, match="'Mill' is taken"):
        registry.add(station("Mill", 8))


def test_a_lost_station_is_believed_before_and_after_but_not_between(tmp_path):
    registry = eventful(tmp_path / "registry.json")
    assert doubted(registry, "Bridge", 3.9) is None and doubted(registry, "Bridge", 6) is None
    assert "lost (gone)" in doubted(registry, "Bridge", 4) and doubted(registry, "Bridge", 5.9)
    assert doubted(registry, "Bridge", 6, uncertainty_us=1), "not surely after"
    registry.report_lost(registry.find("Bridge"), START_US + 8 * DAY_US, START_US + 9 * DAY_US, "again")
    assert registry.find("Bridge").lost
    assert doubted(registry, "Bridge", 7) is None and doubted(registry, "Bridge", 5) and doubted(registry, "Bridge", 8)


def test_a_rotated_key_gives_place_and_name_to_the_new_one(tmp_path):
    registry = eventful(tmp_path / "registry.json")
    new, old = registry.find("Ridge east"), registry.find("Ridge east (key 1)")
    assert (new.kid, old.kid) == (Signer("", 4).kid, Signer("", 1).kid)
    assert (new.place, new.mounting, new.photo) == (old.place, old.mounting, old.photo) != ("", "", b"")
    assert old.retired and not new.retired and new.doubts == ()
    assert doubted(registry, "Ridge east (key 1)", 6.9) is None
    assert f"replaced by key {new.kid.hex()}" in doubted(registry, "Ridge east (key 1)", 7)
    assert doubted(registry, "Ridge east", 7) is None
    third = Signer("", 5)
    registry.rotate(new, third.station(START_US + 10 * DAY_US), START_US + 10 * DAY_US, "again")
    assert registry.find("Ridge east").kid == third.kid
    assert registry.find("Ridge east (key 2)").kid == new.kid and registry.find("Ridge east (key 1)").kid == old.kid


def test_one_board_is_one_station(tmp_path):
    """The same chip with another key: erased, or flashed anew. Once the old key is out of use, the board is free."""
    registry = eventful(tmp_path / "registry.json")
    bridge = Signer("Bridge", 2)
    again = Signer("Again", 7)
    same_chip = check(again.statement(chip=bytes.fromhex("240ac4") + bridge.public[:3]), NETWORK)
    with pytest.raises(RegistryError, match="this board .* is Bridge, .*: it was erased or flashed anew"):
        registry.add(again.station(statement=same_chip))
    mill_chip = check(again.statement(chip=bytes.fromhex("240ac4") + Signer("", 3).public[:3]), NETWORK)
    registry.add(again.station(statement=mill_chip))
    assert registry.by_chip(mill_chip.chip).name == "Again"


def test_a_statement_must_be_signed_by_the_key_it_states_for_this_network():
    ridge = Signer("Ridge", 1)
    assert check(ridge.statement(), NETWORK).board == "esp32-devkit"
    with pytest.raises(ValueError, match="signature"):
        check(ridge.statement(), bytes(16))
    with pytest.raises(ValueError, match="kid"):
        check(ridge.statement(public_key=Signer("", 2).public), NETWORK)
    whole = ridge.statement()
    for at in range(len(whole)):
        with pytest.raises(ValueError):
            check(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], NETWORK)


def test_a_record_or_beacon_is_no_statement():
    ridge = Signer("Ridge", 1)
    with pytest.raises(ValueError):
        check(ridge.make(START_US), NETWORK)


# The file


def test_founding_never_overwrites(deployment):
    before = deployment.key_path.read_bytes(), deployment.registry_path.read_bytes()
    with pytest.raises(RegistryError, match="founded here"):
        deployment.found("Another", NOW_US, AUTHORITY)
    deployment.registry_path.unlink()
    with pytest.raises(RegistryError, match="collector.key exists"):
        deployment.found("Another", NOW_US, AUTHORITY)
    assert deployment.key_path.read_bytes() == before[0]


def test_a_new_registry_does_not_replace_one_that_came_in_between(deployment):
    other = Registry.create(deployment.registry_path, "Other", bytes(32), NOW_US, AUTHORITY)
    before = deployment.registry_path.read_bytes()
    with pytest.raises(RegistryError, match="cannot write"):
        other.save(new=True)
    assert deployment.registry_path.read_bytes() == before
    assert sorted(p.name for p in deployment.directory.iterdir()) == ["collector.key", "registry.json"]


def test_a_crash_while_saving_leaves_the_old_file(deployment, monkeypatch):
    before = deployment.registry_path.read_bytes()
    registry = Registry.load(deployment.registry_path)
    registry.authority = AUTHORITY
    registry.add(station("Third", 3))

    def power_cut(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files.os, "replace", power_cut)
    with pytest.raises(RegistryError, match="cannot write"):
        registry.save()
    monkeypatch.undo()
    assert deployment.registry_path.read_bytes() == before
    assert sorted(p.name for p in deployment.directory.iterdir()) == ["collector.key", "registry.json"]


def test_enrolments_at_the_same_time_are_all_kept(deployment):
    def enrol(number):
        with deployment.changing_registry(AUTHORITY) as registry:
            registry.add(station(f"Station {number}", 30 + number))

    threads = [threading.Thread(target=enrol, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Registry.load(deployment.registry_path).stations) == 18


def test_a_refused_change_saves_nothing(deployment):
    before = deployment.registry_path.read_bytes()
    with pytest.raises(RegistryError, match="taken"), deployment.changing_registry(AUTHORITY) as registry:
        registry.add(station("New", 7))
        registry.add(station("bridge", 8))
    assert deployment.registry_path.read_bytes() == before


def test_a_key_that_others_can_read_or_of_another_deployment_is_refused(deployment, tmp_path):
    deployment.key_path.chmod(0o640)
    with pytest.raises(RegistryError, match="chmod 600"):
        load_collector_key(deployment.key_path)
    deployment.key_path.chmod(0o600)
    other = Deployment(tmp_path / "other").found("Other", NOW_US, AUTHORITY)
    with pytest.raises(RegistryError, match="not the key that the registry names"):
        load_collector_key(deployment.key_path, other.collector_public)
    secret = deployment.key_path.read_text()
    deployment.key_path.write_text(secret[:60])
    with pytest.raises(RegistryError, match="not an unencrypted Ed25519") as caught:
        load_collector_key(deployment.key_path)
    assert secret.splitlines()[1][:20] not in str(caught.value)
    deployment.key_path.unlink()
    with pytest.raises(RegistryError, match="cannot read the collector's key"):
        load_collector_key(deployment.key_path)


@given(st.integers(0, 4_102_444_800_000_000))
def test_times_survive_text(utc_us):
    assert times.parse(times.text(utc_us)) == utc_us


def test_times_need_a_zone_and_are_cut_not_rounded():
    assert times.text(1_999_999, 3) == "1970-01-01T00:00:01.999Z"
    assert times.text(1_999_999, 0) == "1970-01-01T00:00:01Z"
    assert times.parse("1970-01-01T02:00:00.5+02:00") == 500_000
    for wrong in ("2026-11-24", "2026-11-24T13:20:00", "2026-13-24T13:20:00Z", "2026-11-24T13:20:00.1234567Z", ""):
        with pytest.raises(ValueError):
            times.parse(wrong)


def test_the_path_may_be_a_text(deployment):
    assert Registry.load(str(deployment.registry_path)).path == pathlib.Path(deployment.registry_path)
