"""A station whose memory ran full, and the base that takes what it kept: firmware's records, host's judgement."""

import pytest

from holdfire import audit, config, evidence, show, store
from holdfire.ingest import Ingest
from holdfire.registry import Registry, Station
from holdfire.views import View
from holdfire_protocol import cose, fields, frame, line, record
from tests.firmware.test_journal import chips_only
from tests.mpy import REPO, run_micropython

NETWORK = bytes(range(16))
NOW_US = 1_795_525_300_000_000


@pytest.fixture(scope="module")
def life(tmp_path_factory):
    folder = tmp_path_factory.mktemp("thinned")
    done = run_micropython(REPO / "tests" / "firmware" / "thinned_life.py", folder / "flash.bin", folder / "out.txt",
                           heap="400K", path=chips_only(folder))
    said = dict(row.split() for row in done.stdout.splitlines())
    messages = [bytes.fromhex(row) for row in (folder / "out.txt").read_text().splitlines()]
    return said, messages


def named(message):
    return record.decode_record(cose.parse(message).payload)


def base_of(folder, public):
    registry = Registry(folder / "registry.json", "test", NETWORK, NOW_US, b"\x58" + b"\x66" * 31)
    registry.add(Station(cose.key_id(public), public, "Ridge", NOW_US))
    return registry


def take(ingest, messages):
    ingest.take([("usb0", line.encode(frame.encode(fields.FRAME_RECORD, NETWORK, message))) for message in messages])


def test_a_full_memory_costs_the_oldest_routine_records_and_no_alert_until_only_alerts_are_left(life):
    said, messages = life
    assert int(said["alerts_lost"]) == 0 and int(said["declared"]) > 3 and int(said["refused_routine"]) > 10
    gone = [run for message in messages for run in named(message).get("thinned", ())]
    kept = {named(message)["seq"] for message in messages}
    for first, last in gone:
        assert not kept & set(range(first, last + 1)) and last + 1 in kept | {run[0] for run in gone}
    assert kept | {n for first, last in gone for n in range(first, last + 1)} == set(range(1, max(kept) + 1))


@pytest.mark.parametrize("order", ["as sent", "newest first", "by turns"])
def test_receipts_go_on_across_declared_gaps_in_any_order(life, tmp_path, order):
    said, messages = life
    public = bytes.fromhex(said["public"])
    registry = base_of(tmp_path, public)
    writer = store.Store(tmp_path / "db")
    ingest = Ingest(registry, writer, config.Settings(), clock=lambda: NOW_US)
    sent = {"as sent": messages, "newest first": messages[::-1],
            "by turns": messages[::2] + messages[1::2]}[order]  # fmt: skip
    held = set()
    highest = max(named(message)["seq"] for message in messages)
    gone = {n for m in messages for first, last in named(m).get("thinned", ()) for n in range(first, last + 1)}
    for message in sent:
        take(ingest, [message])
        held.add(named(message)["seq"])
        for _, seq, _ in ingest.receipts([cose.key_id(public)]):
            assert set(range(1, seq + 1)) <= held | gone, "a receipt for what is not here"
    assert [seq for _, seq, _ in ingest.receipts([cose.key_id(public)])] == [highest]
    writer.close()
    again = store.Store(tmp_path / "db")  # declarations are known after a restart of the collector
    assert [seq for _, seq, _ in Ingest(registry, again, config.Settings(), clock=lambda: NOW_US).receipts(
        [cose.key_id(public)])] == [highest]  # fmt: skip
    again.close()
    view = View(tmp_path / "db")
    (found,) = view.station_views(registry)
    assert not found.missing and found.thinned
    assert f"{len(gone)} routine records" in show.thinned_words(found.thinned)
    view.close()


def test_one_record_withheld_stops_the_receipts_before_it_and_is_missing(life, tmp_path):
    said, messages = life
    public = bytes.fromhex(said["public"])
    registry = base_of(tmp_path, public)
    middle = sorted(named(m)["seq"] for m in messages)[len(messages) // 2]
    writer = store.Store(tmp_path / "db")
    ingest = Ingest(registry, writer, config.Settings(), clock=lambda: NOW_US)
    take(ingest, [m for m in messages if named(m)["seq"] != middle])
    assert all(seq < middle for _, seq, _ in ingest.receipts([cose.key_id(public)]))
    writer.close()
    view = View(tmp_path / "db")
    assert view.missing(cose.key_id(public))[0] == [(middle, middle)]
    view.close()


def test_the_offline_verifier_tells_thinned_from_missing(life, tmp_path):
    said, messages = life
    registry = base_of(tmp_path, bytes.fromhex(said["public"]))
    path = tmp_path / "pulled.cbor"
    path.write_bytes(b"".join(messages))
    outcome = audit.audit(evidence.read(str(path), NETWORK, registry.collector_kids), registry, NOW_US)
    assert outcome.held and outcome.complete and outcome.stations[0].thinned
    path.write_bytes(b"".join(m for m in messages if "thinned" not in named(m)))
    outcome = audit.audit(evidence.read(str(path), NETWORK, registry.collector_kids), registry, NOW_US)
    assert outcome.held and not outcome.complete and not outcome.stations[0].thinned
