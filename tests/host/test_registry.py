"""The registry refuses what could let a wrong key in, survives a crash while saving, and gives no private key away."""

import json
import os
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfire import registry as registry_module
from holdfire import times
from holdfire.errors import RegistryError
from holdfire.registry import Deployment, Registry, Station, load_collector_key
from holdfire_protocol import cose

SOME_TIME = "2026-11-24T13:20:00Z"
NOW_US = 1_795_000_000_123_456


def station(name="Ridge north", seed=1):
    public = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32).public_key().public_bytes_raw()
    return Station(cose.key_id(public), public, name, NOW_US)


@pytest.fixture
def deployment(tmp_path):
    deployment = Deployment(tmp_path / "base")
    registry = deployment.found("Valley line", NOW_US)
    registry.add(station())
    registry.add(station("Bridge", 2))
    registry.save()
    return deployment


def edit(deployment, change):
    content = json.loads(deployment.registry_path.read_text())
    change(content)
    deployment.registry_path.write_text(json.dumps(content))


def test_what_is_saved_is_what_is_loaded(deployment):
    loaded = Registry.load(deployment.registry_path)
    assert loaded.name == "Valley line"
    assert len(loaded.network) == 16
    assert loaded.founded_at_us == NOW_US
    assert list(loaded.stations.values()) == [station(), station("Bridge", 2)]
    assert loaded.find("ridge NORTH") == loaded.find(station().kid.hex()) == station()


def test_the_registry_is_public_and_the_key_is_not(deployment):
    key = load_collector_key(deployment.key_path, Registry.load(deployment.registry_path).collector_public)
    secret = key.private_bytes_raw()
    public_text = deployment.registry_path.read_text()
    assert secret.hex() not in public_text and "PRIVATE" not in public_text
    assert os.stat(deployment.key_path).st_mode & 0o777 == 0o600
    assert os.stat(deployment.registry_path).st_mode & 0o777 == 0o644


def test_founding_never_overwrites(deployment):
    before = deployment.key_path.read_bytes(), deployment.registry_path.read_bytes()
    with pytest.raises(RegistryError, match="founded here"):
        deployment.found("Another", NOW_US)
    deployment.registry_path.unlink()
    with pytest.raises(RegistryError, match="collector.key exists"):
        deployment.found("Another", NOW_US)
    assert deployment.key_path.read_bytes() == before[0]


def test_a_new_registry_does_not_replace_one_that_came_in_between(deployment):
    other = Registry.create(deployment.registry_path, "Other", bytes(32), NOW_US)
    before = deployment.registry_path.read_bytes()
    with pytest.raises(RegistryError, match="cannot write"):
        other.save(new=True)
    assert deployment.registry_path.read_bytes() == before
    assert sorted(p.name for p in deployment.directory.iterdir()) == ["collector.key", "registry.json"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: r.pop("network"), "network: missing"),
        (lambda r: r.update(network="00"), "network: not 32 lower-case hex digits"),
        (lambda r: r.update(network="AB" * 16), "network: not 32 lower-case hex digits"),
        (lambda r: r.update({"\x1b[2J": 1}), "no such key"),
        (lambda r: r.update(format=2), "format: this holdfire reads 1"),
        (lambda r: r.update(format=True), "format: not a whole number"),
        (lambda r: r.update(authority="x"), "authority: no such key"),
        (lambda r: r.update(stations={}), "stations: not a list"),
        (lambda r: r.update(stations=[3]), r"stations\[0\]: not an object"),
        (lambda r: r["stations"][1].update(name=r["stations"][0]["name"].upper()), r"stations\[1\].name: .* is taken"),
        (lambda r: r["stations"].append(r["stations"][0]), r"stations\[2\].kid: .* enrolled already, as 'Ridge north'"),
        (lambda r: r["stations"][0].update(kid="00" * 8), r"stations\[0\].kid: is not of this public key"),
        (lambda r: r["stations"][0].update(name="a\x1b[2J"), r"stations\[0\].name: a name has"),
        (lambda r: r["stations"][0].update(name=" a"), r"stations\[0\].name: a name has"),
        (lambda r: r["stations"][0].update(name=7), r"stations\[0\].name: not a text"),
        (lambda r: r["stations"][0].update(enrolled_at="today"), r"stations\[0\].enrolled_at: 'today' is not a time"),
        (lambda r: r["stations"][0].update(note="x"), r"stations\[0\].note: no such key"),
        (lambda r: r["stations"].append({**r["collector"], "name": "C", "enrolled_at": SOME_TIME}), "collector's own"),
        (lambda r: r["collector"].update(kid="00" * 8), r"collector.kid: is not of this public key"),
    ],
)
def test_a_wrong_registry_is_refused_with_file_key_and_reason(deployment, change, says):
    edit(deployment, change)
    with pytest.raises(RegistryError, match=says) as caught:
        Registry.load(deployment.registry_path)
    assert "registry.json" in str(caught.value) and "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_key_standing_twice_is_refused(deployment):
    text = deployment.registry_path.read_text()
    deployment.registry_path.write_text(text.replace('"format": 1,', '"format": 1, "network": "' + "0" * 32 + '",'))
    with pytest.raises(RegistryError, match="network: stands twice"):
        Registry.load(deployment.registry_path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_registry_loads_equal_or_not_at_all(deployment, tmp_path, data):
    whole = deployment.registry_path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[at] = data.draw(st.integers(0, 255))
    path = tmp_path / "registry.json"
    path.write_bytes(bytes(damaged[: data.draw(st.sampled_from([len(whole), at]))]))
    try:
        loaded = Registry.load(path)
    except RegistryError:
        return
    # What no kid protects may change (a name, a time, the network id); keys may not.
    undamaged = Registry.load(deployment.registry_path)
    assert loaded.collector_public == undamaged.collector_public
    assert list(loaded.stations) == list(undamaged.stations)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b"[" * 100_000, b'"x"', b"null", b"{}"])
def test_what_is_no_registry_is_one_clear_line(tmp_path, content):
    path = tmp_path / "registry.json"
    path.write_bytes(content)
    with pytest.raises(RegistryError) as caught:
        Registry.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_registry_says_what_to_do(tmp_path):
    with pytest.raises(RegistryError, match="holdfire init"):
        Registry.load(tmp_path / "registry.json")
    with pytest.raises(RegistryError, match="cannot read"):
        Registry.load(tmp_path)


def test_a_crash_while_saving_leaves_the_old_file(deployment, monkeypatch):
    before = deployment.registry_path.read_bytes()
    registry = Registry.load(deployment.registry_path)
    registry.add(station("Third", 3))

    def power_cut(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(registry_module.os, "replace", power_cut)
    with pytest.raises(RegistryError, match="cannot write"):
        registry.save()
    monkeypatch.undo()
    assert deployment.registry_path.read_bytes() == before
    assert sorted(p.name for p in deployment.directory.iterdir()) == ["collector.key", "registry.json"]


def test_enrolments_at_the_same_time_are_all_kept(deployment):
    def enrol(number):
        with deployment.changing_registry() as registry:
            registry.add(station(f"Station {number}", 10 + number))

    threads = [threading.Thread(target=enrol, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Registry.load(deployment.registry_path).stations) == 18


def test_a_refused_change_saves_nothing(deployment):
    before = deployment.registry_path.read_bytes()
    with pytest.raises(RegistryError, match="taken"), deployment.changing_registry() as registry:
        registry.add(station("New", 7))
        registry.add(station("bridge", 8))
    assert deployment.registry_path.read_bytes() == before


def test_a_key_that_others_can_read_or_of_another_deployment_is_refused(deployment, tmp_path):
    deployment.key_path.chmod(0o640)
    with pytest.raises(RegistryError, match="chmod 600"):
        load_collector_key(deployment.key_path)
    deployment.key_path.chmod(0o600)
    other = Deployment(tmp_path / "other").found("Other", NOW_US)
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
