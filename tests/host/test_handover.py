"""Keys that take another's place: who must sign that, what the old ones are worth then, and what everybody sees."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holdfire import authority, cli, ledger, offices, times
from holdfire.authority import KeyInMemory
from holdfire.commands import registry as registry_commands
from holdfire.errors import RegistryError
from holdfire.registry import Registry, load_collector_key
from holdfire_protocol import cose, fields, record

from .made import AUTHORITY, COLLECTOR, NETWORK, PASSPHRASE, START_US, Base, Signer, status

HOUR_US = 3_600_000_000
SECOND, THIRD, NEXT_COLLECTOR, STRANGER = (
    KeyInMemory(Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)) for seed in (0x21, 0x22, 0x23, 0x66)
)
OLD_COLLECTOR = KeyInMemory(COLLECTOR)


@pytest.fixture
def base(tmp_path, monkeypatch):
    made = Base(tmp_path / "base", Signer("Ridge", 1))
    monkeypatch.setenv("HOLDFIRE_DIR", str(made.deployment.directory))
    return made


@pytest.fixture
def handed_over(base):
    """Authority: AUTHORITY, SECOND, THIRD; collector: a new one from hour 20 on; a station enrolled under each."""
    registry = base.registry
    registry.hand_over_authority(SECOND, START_US + 10 * HOUR_US, "Anna leaves")
    registry.add(Signer("Bridge", 2).station(START_US + 11 * HOUR_US))
    registry.hand_over_collector(NEXT_COLLECTOR, START_US + 20 * HOUR_US, START_US + 21 * HOUR_US, "laptop stolen")
    registry.hand_over_authority(THIRD, START_US + 30 * HOUR_US, "Bert leaves")
    registry.add(Signer("Mill", 3).station(START_US + 31 * HOUR_US))
    registry.save()
    return registry


def run(capsys, *argv):
    code = cli.main([str(a) for a in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def beacon(key, utc_us, number=1, receipts=()):
    payload = record.encode_beacon(
        {"number": number, "time": (fields.TIME_HOST, utc_us, 1000), "receipts": list(receipts)}
    )
    return record.sign1(payload, cose.key_id(key.public), fields.AAD_BEACON, NETWORK, key.sign)


# The registry


def test_a_registry_is_read_across_handovers_from_the_file_alone(handed_over):
    loaded = Registry.load(handed_over.path)
    assert [holder.public_key for holder in loaded.authorities] == [AUTHORITY.public, SECOND.public, THIRD.public]
    assert [holder.public_key for holder in loaded.collectors] == [OLD_COLLECTOR.public, NEXT_COLLECTOR.public]
    assert loaded.collectors[0].until_us == loaded.collectors[1].from_us == START_US + 20 * HOUR_US
    assert sorted(s.name for s in loaded.stations.values()) == ["Bridge", "Mill", "Ridge"]
    assert loaded.head == handed_over.head


@pytest.mark.parametrize("late", [AUTHORITY, SECOND])
def test_a_key_that_handed_over_can_change_nothing_more(handed_over, base, late):
    handed_over.authority = late
    handed_over.add(Signer("Late", 7).station())
    handed_over.save()
    with pytest.raises(RegistryError, match="entry 8: not as the authority signed it"):
        Registry.load(handed_over.path)
    with pytest.raises(RegistryError, match="entry 8"), base.deployment.changing_registry(late):
        pass


def resigned(registry, number, key, change, consenting=None):
    """The file up to an entry that `change` was made to, signed anew by `key`, with the consent of `consenting`."""
    entry = {k: v for k, v in registry.entries[number - 1].items() if k not in ("signature", "consent")}
    consent = registry.entries[number - 1].get("consent")
    change(entry)
    if consenting is not None:
        entry = ledger.consent(entry, NETWORK, consenting)
    elif consent is not None:
        entry["consent"] = consent
    ledger.write(registry.path, [*registry.entries[: number - 1], ledger.sign(entry, NETWORK, key)], new=False)


def word(office, old, new, key=AUTHORITY, network=NETWORK):
    return offices.sign_handover(office, cose.key_id(old.public), new.public, network, key).hex()


def key_object(key):
    return {"kid": cose.key_id(key.public).hex(), "public_key": key.public.hex()}


@pytest.mark.parametrize(
    ("number", "key", "change", "consenting", "says"),
    [
        (3, AUTHORITY, lambda e: e.update(why="another"), None, "entry 3.consent: not by the new key"),
        (3, AUTHORITY, lambda e: None, STRANGER, "entry 3.consent: not by the new key"),
        (3, AUTHORITY, lambda e: e.update(authority=key_object(STRANGER)), SECOND, "entry 3.consent: not by the new"),
        (3, AUTHORITY, lambda e: e.pop("authority"), SECOND, "entry 3.authority: not an object"),
        (3, AUTHORITY, lambda e: e.pop("handover"), SECOND, "entry 3.handover: missing"),
        (3, AUTHORITY, lambda e: e.update(handover="d284"), SECOND, "entry 3.handover: "),
        (3, AUTHORITY, lambda e: e.update(handover=word(1, AUTHORITY, STRANGER)), SECOND, "another handover than"),
        (3, AUTHORITY, lambda e: e.update(handover=word(2, AUTHORITY, SECOND)), SECOND, "another handover than"),
        (3, AUTHORITY, lambda e: e.update(handover=word(1, AUTHORITY, SECOND, STRANGER)), SECOND, "3.handover: kid"),
        (3, AUTHORITY, lambda e: e.update(handover=word(1, AUTHORITY, SECOND, network=bytes(16))), SECOND, "handover"),
        (3, SECOND, lambda e: None, SECOND, "entry 3: not as the authority signed it"),
        (3, AUTHORITY, lambda e: e.update(note="x"), SECOND, "entry 3.note: no such key"),
        (5, SECOND, lambda e: e.update({"from": times.text(START_US + 99 * HOUR_US)}), NEXT_COLLECTOR, "in the future"),
        (5, SECOND, lambda e: e.update({"from": times.text(START_US - 1)}), NEXT_COLLECTOR, "before the key that is"),
        (5, SECOND, lambda e: e.update(collector=key_object(SECOND)), SECOND, "was in use in this deployment before"),
        (5, SECOND, lambda e: e.update(collector=key_object(OLD_COLLECTOR)), OLD_COLLECTOR, "was in use"),
        (5, SECOND, lambda e: e.update(collector=key_object(AUTHORITY)), AUTHORITY, "was in use"),
        (5, SECOND, lambda e: e.update(collector=key_object(KeyInMemory(Signer("", 2).key))),
         KeyInMemory(Signer("", 2).key), "was in use"),
        (5, SECOND, lambda e: e.update(handover=word(2, NEXT_COLLECTOR, NEXT_COLLECTOR, SECOND)), NEXT_COLLECTOR,
         "another handover than"),
    ],
)  # fmt: skip
def test_a_handover_that_one_of_the_two_keys_did_not_sign_so_is_refused(
    handed_over, number, key, change, consenting, says
):
    resigned(handed_over, number, key, change, consenting)
    with pytest.raises(RegistryError, match=says) as caught:
        Registry.load(handed_over.path)
    assert "\n" not in str(caught.value)


def test_signing_again_is_what_the_tests_above_do(handed_over):
    resigned(handed_over, 3, AUTHORITY, lambda e: None, SECOND)
    assert Registry.load(handed_over.path).authority_public == SECOND.public


def test_no_station_gets_a_key_that_was_an_office_s(handed_over):
    for key in (AUTHORITY, SECOND, THIRD, OLD_COLLECTOR, NEXT_COLLECTOR):
        signer = Signer("Odd", 9)
        signer.public, signer.kid = key.public, cose.key_id(key.public)
        with pytest.raises(RegistryError, match="'s own"):
            handed_over.add(signer.station())


# Evidence


def verify(capsys, base, *messages):
    path = base.deployment.directory / "night.cbor"
    path.write_bytes(b"".join(messages))
    code, out, _ = run(capsys, "verify", path, "--json")
    return code, json.loads(out)


def test_evidence_across_handovers_is_verified_with_the_newest_registry_alone(handed_over, base, capsys):
    ridge, mill = Signer("Ridge", 1), Signer("Mill", 3)
    first = ridge.make(START_US + HOUR_US, status=status())
    late = mill.make(START_US + 32 * HOUR_US, status=status())
    receipt = (ridge.kid, 1, record.record_hash(first))
    old = beacon(OLD_COLLECTOR, START_US + 2 * HOUR_US, 1, [receipt])
    new = beacon(NEXT_COLLECTOR, START_US + 33 * HOUR_US, 2, [receipt, (mill.kid, 1, record.record_hash(late))])
    code, found = verify(capsys, base, first, late, old, new)
    assert (code, found["held"], found["beacons"], found["passed"]["beacon"]) == (0, True, 2, 2)
    text = run(capsys, "verify", base.deployment.directory / "night.cbor")[1]
    until = times.text(START_US + 20 * HOUR_US, 0)
    assert f"{OLD_COLLECTOR.public.hex()}, until {until}" in text
    assert f"{NEXT_COLLECTOR.public.hex()}, since {until}" in text


@pytest.mark.parametrize(
    ("key", "hours", "says"),
    [
        (OLD_COLLECTOR, 20, "which is not believed from"),
        (OLD_COLLECTOR, 20 - 1e-7, "which is not believed from"),  # its uncertainty reaches into the handover
        (NEXT_COLLECTOR, 19, "before its time"),
    ],
)
def test_a_receipt_counts_only_by_the_collector_of_its_time(handed_over, base, capsys, key, hours, says):
    ridge = Signer("Ridge", 1)
    first = ridge.make(START_US + HOUR_US, status=status())
    forged = beacon(key, START_US + int(hours * HOUR_US), 1, [(ridge.kid, 1, record.record_hash(first))])
    code, found = verify(capsys, base, first, forged)
    assert code == 1 and len(found["failures"]) == 1
    assert says in found["failures"][0]["reason"]


def test_a_copy_of_the_base_s_receipts_is_taken_in_across_a_handover(handed_over, base, capsys):
    ridge = Signer("Ridge", 1)
    first = ridge.make(START_US + HOUR_US, status=status())
    receipt = (ridge.kid, 1, record.record_hash(first))
    good = beacon(OLD_COLLECTOR, START_US + 2 * HOUR_US, 1, [receipt])
    late = beacon(OLD_COLLECTOR, START_US + 25 * HOUR_US, 2)
    path = base.deployment.directory / "copy.cbor"
    path.write_bytes(first + good + late)
    code, out, _ = run(capsys, "import", path)
    assert code == 1 and "1 record" in out and "1 receipt" in out.replace("beacon", "receipt")
    assert "which is not believed from" in run(capsys, "refusals")[1]


# The commands


@pytest.fixture
def keys(base, tmp_path, monkeypatch):
    """The deployment's own authority in a file, as commands look for it."""
    monkeypatch.setattr(authority.Ed25519PrivateKey, "generate", lambda: AUTHORITY._private)
    authority.create(base.deployment.authority_path, PASSPHRASE)
    monkeypatch.undo()
    monkeypatch.setenv("HOLDFIRE_DIR", str(base.deployment.directory))
    monkeypatch.setenv(authority.VARIABLE, PASSPHRASE)
    monkeypatch.setattr(authority, "SCRYPT_N", 1 << 4)
    return base


def kid_of(path):
    return cose.key_id(authority.load(path, PASSPHRASE).public).hex()


def test_the_authority_hands_over_and_the_old_key_is_refused_with_what_to_do(keys, capsys, tmp_path):
    new = tmp_path / "stick" / "authority.key"
    code, out, err = run(capsys, "registry", "authority", "--new-key", new, "--why", "Anna leaves")
    assert (code, err) == (0, "") and kid_of(new) in out and "registry tell PORT" in out
    code, out, err = run(capsys, "registry", "lost", "Ridge", "--why", "gone")
    assert (code, out) == (3, "") and "name the right one with --key FILE" in err
    assert run(capsys, "registry", "lost", "Ridge", "--why", "gone", "--key", new)[0] == 0
    _, out, _ = run(capsys, "registry", "history")
    assert f"authority {kid_of(new)}" in out and "Anna leaves" in out
    old = cose.key_id(AUTHORITY.public).hex()
    code, out, _ = run(capsys, "registry", "verify", "--authority", old)
    assert code == 0 and "by handovers from the one you gave" in out
    assert f"{kid_of(new)} took the place of {old} in entry 3, which signed that" in out
    assert "as you gave it" in run(capsys, "registry", "verify", "--authority", kid_of(new))[1]


def test_a_new_collector_key_is_made_beside_the_old_one_and_used_by_the_base(keys, capsys):
    before = keys.deployment.directory / "collector.key"
    before.write_bytes(b"the old one")
    code, out, err = run(capsys, "registry", "collector", "--why", "stolen", "--from", times.text(START_US + HOUR_US))
    assert (code, err) == (0, "") and "keeps its records and takes no receipt" in out
    registry = Registry.load(keys.registry.path)
    path = keys.deployment.key_path_of(registry.collector_public)
    assert path.name == f"collector-{registry.collector_kid.hex()}.key" and path.stat().st_mode & 0o777 == 0o600
    assert load_collector_key(path, registry.collector_public) and before.read_bytes() == b"the old one"
    assert registry.collectors[0].until_us == START_US + HOUR_US
    assert f"{registry.collectors[0].kid.hex()} before, not believed from" in run(capsys, "registry", "verify")[1]


def test_a_handover_that_fails_leaves_no_key_behind(keys, capsys):
    files = sorted(keys.deployment.directory.iterdir())
    before = keys.registry.path.read_bytes()
    for argv, code, says in (
        (["collector", "--why", "x", "--from", "2099-01-01"], 3, "lies in the future"),
        (["collector", "--why", "x", "--from", "2024-01-01"], 3, "is before the key that is replaced"),
        (["collector", "--why", ""], 3, "why: write 1 to 200"),
        (["authority", "--why", "x", "--new-key", keys.deployment.authority_path], 3, "was in use in this deployment"),
        (["authority", "--why", "x", "--new-key", "/proc/no/authority.key"], 3, "cannot write"),
        (["refound", "--why", "x", "--lost", "00" * 8], 3, "--lost must name it"),
        (["refound", "--why", "x", "--lost", cose.key_id(AUTHORITY.public).hex()], 3, "was in use"),
    ):
        found, out, err = run(capsys, "registry", *argv)
        assert (found, out) == (code, "") and says in err and err.count("\n") == 1
    assert keys.registry.path.read_bytes() == before and sorted(keys.deployment.directory.iterdir()) == files


def test_a_lost_authority_is_replaced_in_the_open(keys, capsys, tmp_path):
    old, new = cose.key_id(AUTHORITY.public).hex(), tmp_path / "new.key"
    pinned = ledger.entry_hash(Registry.load(keys.registry.path).entries[-1]).hex()
    code, out, err = run(capsys, "registry", "refound", "--key", new, "--lost", old, "--why", "the safe burned")
    assert (code, err) == (0, "") and "by its own word alone" in out
    registry = Registry.load(keys.registry.path)
    assert registry.entries[-1]["prev"] == pinned and registry.authorities[-1].broken
    assert run(capsys, "registry", "lost", "Ridge", "--why", "gone", "--key", new)[0] == 0
    code, out, _ = run(capsys, "registry", "verify")
    assert code == 0 and f"{kid_of(new)} took the place of {old} in entry 3, whose key DID NOT SIGN that" in out
    code, out, err = run(capsys, "registry", "verify", "--authority", old)
    assert (code, out) == (3, "") and "entry 3 puts authority" in err and "did not sign that" in err
    assert run(capsys, "registry", "verify", "--authority", kid_of(new))[0] == 0
    night = tmp_path / "night.cbor"
    night.write_bytes(Signer("Ridge", 1).make(START_US + HOUR_US, status=status()))
    code, out, _ = run(capsys, "verify", night)
    assert code == 0 and "in entry 3 of the registry: the one before did not sign that" in out


def test_the_new_collector_s_key_stays_where_the_registry_names_it_whatever_comes_after(keys, capsys, monkeypatch):
    """Ctrl-C just then, or output that nobody reads: without the key no base could sign a receipt."""

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(registry_commands, "print", stopped, raising=False)
    assert run(capsys, "registry", "collector", "--why", "stolen")[0] == 130
    loaded = Registry.load(keys.registry.path)
    assert len(loaded.collectors) == 2
    load_collector_key(keys.deployment.key_path_of(loaded.collector_public), loaded.collector_public)
