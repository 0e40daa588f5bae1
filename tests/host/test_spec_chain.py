"""chain.json against the collector, from lines on a port to receipts: what becomes of records one after another."""

import json

import pytest

from holdfire import config, store
from holdfire.ingest import Ingest
from holdfire.registry import Registry, Station
from holdfire_protocol import fields, frame, line, record
from tests.mpy import REPO

VECTORS = json.loads((REPO / "protocol" / "vectors" / "chain.json").read_text())
NETWORK = bytes.fromhex(VECTORS["network"])
KID = bytes.fromhex(VECTORS["station"]["kid"])
LINKS = {store.PENDING: "pending", store.LINKED: "linked", store.CONTIGUOUS: "linked"}


@pytest.fixture
def base(tmp_path):
    """(what takes lines, what reads rows) of a collector whose clock and tolerances are those of the vectors."""
    registry = Registry(tmp_path / "registry.json", "vectors", NETWORK, VECTORS["enrolled_us"],
                        bytes.fromhex(VECTORS["collector"]["public_key"]))
    registry.add(Station(KID, bytes.fromhex(VECTORS["station"]["public_key"]), "station", VECTORS["enrolled_us"]))
    settings = config.make({
        "clock_uncertainty_ms": VECTORS["clock_uncertainty_us"] // 1000,
        "future_tolerance_s": VECTORS["tolerance_future_us"] // 1_000_000,
        "past_tolerance_s": VECTORS["tolerance_past_us"] // 1_000_000})
    writer = store.Store(tmp_path / "holdfire.sqlite")
    reader = store.Reader(tmp_path / "holdfire.sqlite")
    yield Ingest(registry, writer, settings, clock=lambda: VECTORS["now_us"]), reader
    reader.close()
    writer.close()


@pytest.mark.parametrize("story", VECTORS["good"], ids=lambda story: story["name"])
def test_the_collector_makes_of_a_chain_what_the_vectors_say(story, base):
    ingest, reader = base
    for step in story["steps"]:
        assert outcome(ingest, reader, bytes.fromhex(step["message"])) == step["expect"]
    promised = [{"seq": seq, "hash": digest.hex()} for _, seq, digest in ingest.receipts([KID])]
    assert promised == ([story["receipt"]] if story["receipt"] else [])


def outcome(ingest, reader, message: bytes) -> str:
    """What became of one record: how it is linked, or why it was refused."""
    replays = reader.refusal_totals().get("replay", (0, 0))
    ingest.take([("usb0", line.encode(frame.encode(fields.FRAME_RECORD, NETWORK, message)))])
    if reader.refusal_totals().get("replay", (0, 0)) != replays:
        return "replay"
    (row,) = reader.records_by_hash(record.record_hash(message).hex())
    return row["problem"] or LINKS[row["link"]]
