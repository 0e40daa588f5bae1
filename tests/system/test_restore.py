"""A base that lost its database, with serial lines and the real collector: what comes back, and what may go on."""

import contextlib
import json

import pytest

from holdfire import cli, collector, errors, importing
from holdfire.store import Reader
from tests.system.peer import Chain, Peer, found_deployment
from tests.system.test_collector import Running, until


@pytest.fixture
def base(tmp_path, monkeypatch):
    deployment, registry, keys = found_deployment(tmp_path / "base", ("alpha",))
    peer = Peer(tmp_path / "alpha.tty", registry, Chain(keys["alpha"], registry.network), 1)
    monkeypatch.setenv("HOLDFIRE_DIR", str(deployment.directory))
    yield deployment, peer, tmp_path / "*.tty"
    if peer.is_alive():
        peer.stop()
    assert peer.faults == []


def lose_the_database(deployment):
    for path in deployment.directory.glob("holdfire.sqlite*"):
        path.unlink()


def stored(deployment):
    """One row a station; none before the collector has made the database."""
    try:
        with contextlib.closing(Reader(deployment.database_path)) as reader:
            return reader.stations()
    except errors.StorageError:
        return []


def test_after_an_import_the_stations_backlog_is_receipted(base, tmp_path, capsys, monkeypatch):
    deployment, peer, pattern = base
    peer.start()
    running = Running(deployment, [pattern])
    until(lambda: peer.acknowledged > 60)
    running.end()
    assert cli.main(["export", "--all", "-o", str(tmp_path / "backup.cbor")]) == 0
    held = stored(deployment)[0]["records"]
    assert "receipt" in capsys.readouterr().out, "what the base signed is in the export"
    lose_the_database(deployment)

    # With nothing but a new database, what the station still has comes in, and no receipt goes out.
    promised = peer.acknowledged
    monkeypatch.setattr(collector, "NEWCOMER_US", 0)
    running = Running(deployment, [pattern])
    running.saw("warning", "the database is new. If this base had records before, end this and take them in first")
    until(lambda: stored(deployment) and stored(deployment)[0]["waiting"] > 20)
    peer.producing = False
    running.end()
    assert peer.acknowledged == promised
    running = Running(deployment, [pattern])
    running.saw("warning", "alpha is not receipted: record ")
    running.end()

    (found,) = importing.run(deployment, [str(tmp_path / "backup.cbor")])
    assert (found.refused, found.beacons > 0, found.stored + found.repeated) == ({}, True, held)
    running = Running(deployment, [pattern])
    running.saw("beacon", "alpha")
    until(lambda: peer.acknowledged == peer.chain.seq)
    running.end()
    (row,) = stored(deployment)
    assert (row["missing"], row["waiting"], row["records"]) == (0, 0, peer.chain.seq)


def test_from_the_files_that_the_collector_itself_wrote(base, capsys):
    deployment, peer, pattern = base
    peer.start()
    running = Running(deployment, [pattern])
    until(lambda: peer.acknowledged > 60)
    peer.producing = False
    until(lambda: peer.acknowledged == peer.chain.seq)
    with contextlib.closing(Reader(deployment.database_path)) as reader:
        until(lambda: reader.destinations()[0]["waiting"] == 0)
    running.end()
    lose_the_database(deployment)
    files = [str(path) for path in deployment.forward_directory.glob("*.jsonl")]
    assert cli.main(["import", "--json", *files]) == 0
    found = [json.loads(row) for row in capsys.readouterr().out.splitlines()]
    held = peer.chain.seq
    assert sum(each["stored"] for each in found) == held
    running = Running(deployment, [pattern])
    running.saw("started")
    peer.producing = True
    until(lambda: peer.acknowledged > held + 20)
    peer.producing = False
    until(lambda: peer.acknowledged == peer.chain.seq)
    running.end()
    (row,) = stored(deployment)
    assert (row["missing"], row["waiting"], row["records"]) == (0, 0, peer.chain.seq)
