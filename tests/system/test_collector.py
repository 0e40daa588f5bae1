"""The whole daemon on pseudo-terminals: plugging, stopping, failing disks, blocked displays, dead receivers."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holdfire import config, errors, times
from holdfire.authority import KeyInMemory
from holdfire.collector import Collector, check_clock, only_one
from holdfire.registry import Registry, Station
from holdfire.store import Reader
from holdfire_protocol import cose
from tests.mpy import REPO
from tests.system.peer import Chain, Peer, found_deployment
from tests.system.receiver import Receiver

QUICK = {"receipt_spacing_ms": 10, "rescan_ms": 50, "beacon_interval_ms": 300, "forward_retry_ms": 10}


class Running:
    """A collector on a thread, with its events; `end` stops it in order and raises what it raised."""

    def __init__(self, deployment, patterns, on_event=None, **settings):
        self.events = []
        self.error = None
        take = on_event or self.events.append
        self.collector = Collector(deployment, config.make({**QUICK, **settings}), [str(p) for p in patterns], take)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        try:
            asyncio.run(self.collector.run())
        except errors.HoldfireError as error:
            self.error = error

    def kinds(self):
        return [event.kind for event in self.events]

    def saw(self, kind, words=""):
        until(lambda: any(e.kind == kind and words in e.text for e in self.events), f"no event {kind} {words}")

    def end(self, stop=True):
        if stop:
            self.collector.stop()
        self._thread.join(20)
        assert not self._thread.is_alive()


def until(condition, complaint="the condition never held", timeout_s=20):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.01)


@pytest.fixture
def base(tmp_path):
    deployment, registry, keys = found_deployment(tmp_path / "base")
    peers = {}
    for number, (name, key) in enumerate(keys.items()):
        peers[name] = Peer(tmp_path / f"{name}.tty", registry, Chain(key, registry.network), number)
    yield deployment, registry, peers, tmp_path / "*.tty"
    for peer in peers.values():
        if peer.is_alive():
            peer.stop()
        assert peer.faults == []


def test_records_arrive_are_receipted_and_forwarded_and_stopping_leaves_nothing(base):
    deployment, _, peers, pattern = base
    threads = threading.active_count()
    for peer in peers.values():
        peer.start()
    running = Running(deployment, [pattern])
    until(lambda: all(peer.acknowledged > 60 for peer in peers.values()))
    for peer in peers.values():
        peer.producing = False
    until(lambda: all(peer.acknowledged == peer.chain.seq for peer in peers.values()))
    for peer in peers.values():
        peer.stop()
    running.end()
    assert running.error is None
    until(lambda: threading.active_count() == threads, "a thread is left over")
    assert not list(deployment.directory.glob("*-wal")), "SQLite closed cleanly"
    kinds = running.kinds()
    assert (kinds[0], kinds[-1]) == ("started", "stopped")
    assert {"port-opened", "record", "text", "beacon", "forwarded"} <= set(kinds)
    reader = Reader(deployment.database_path)
    assert [row["waiting"] for row in reader.stations()] == [0, 0, 0]
    assert reader.destinations()[0]["waiting"] == 0, "the files are complete when it stops in order"
    reader.close()


def test_a_cable_pulled_and_put_back_goes_on_where_it_was(base):
    deployment, _, peers, pattern = base
    peer = peers["alpha"]
    running = Running(deployment, [pattern])
    running.saw("port-opened", "alpha")
    for _ in range(2):
        peer.unplug()
        running.saw("port-lost", "alpha")
        running.events.clear()
        peer.plug()
        running.saw("port-opened", "alpha")
    peer.start()
    until(lambda: peer.acknowledged > 40)
    running.end()


def test_a_port_that_opens_gets_the_time_at_once_and_again_at_every_interval(base):
    deployment, _, peers, pattern = base
    peer = peers["bravo"]
    peer.producing = False
    peer.start()
    running = Running(deployment, [pattern], beacon_interval_ms=200)
    until(lambda: len(peer.beacons) >= 4)
    running.end()


def test_a_lost_beacon_is_made_good_by_the_next(base):
    deployment, _, peers, pattern = base
    peer = peers["bravo"]
    peer.start()
    running = Running(deployment, [pattern], beacon_interval_ms=200)
    until(lambda: peer.acknowledged > 0)
    peer.producing = False
    until(lambda: peer.acknowledged == peer.chain.seq)
    peer.acknowledged = 0  # as if it had heard none of them; it sends nothing that would be answered
    until(lambda: peer.acknowledged == peer.chain.seq)
    running.end()


def test_a_port_plugged_in_later_does_not_wait_for_the_interval(base):
    deployment, _, peers, pattern = base
    peer = peers["bravo"]
    peer.producing = False
    peer.unplug()
    running = Running(deployment, [pattern], beacon_interval_ms=60_000)
    running.saw("beacon")  # on the other ports
    peer.plug()
    peer.start()
    until(lambda: peer.beacons)
    running.end()


def test_a_delivery_under_way_is_finished_and_noted_when_it_stops(base):
    deployment, _, peers, pattern = base
    receiver = Receiver()
    receiver.answer = lambda event: time.sleep(0.2) or 200
    peers["alpha"].start()
    running = Running(deployment, [pattern], forward_url=receiver.url, forward_in_flight=4)
    until(lambda: receiver.requests > 8)
    running.end()
    reader = Reader(deployment.database_path)
    (delivered,) = [row["delivered"] for row in reader.destinations() if row["name"] == receiver.url]
    reader.close()
    receiver.close()
    assert delivered == len(receiver.events), "nothing will come twice"


def test_a_station_enrolled_meanwhile_is_accepted(base):
    deployment, registry, peers, pattern = base
    newcomer = registry.stations[peers["charlie"].chain.kid]
    registry.path.unlink()
    without = Registry(registry.path, registry.name, registry.network, registry.founded_at_us,
                       registry.collector_public, registry.authority)  # fmt: skip
    for station in registry.stations.values():
        if station != newcomer:
            without.add(station)
    without.save()
    peer = peers["charlie"]
    peer.start()
    running = Running(deployment, [pattern])
    running.saw("refused", "no station")
    assert peer.acknowledged == 0
    with deployment.changing_registry(registry.authority) as changing:
        changing.add(Station(newcomer.kid, newcomer.public_key, "charlie", times.now_us()))
    running.saw("registry", "3 stations")
    until(lambda: peer.acknowledged > 0)
    other = Registry.create(registry.path, "Other", registry.collector_public, times.now_us(), registry.authority)
    other.save()
    running.saw("registry", "is another deployment's now")
    registry.path.write_text("{ damaged")
    running.saw("registry", "the old one stays in use")
    before = peer.acknowledged
    until(lambda: peer.acknowledged > before)
    running.end()


def test_a_collector_key_replaced_meanwhile_signs_from_then_on(base):
    deployment, registry, peers, pattern = base
    peer = peers["alpha"]
    peer.start()
    running = Running(deployment, [pattern])
    until(lambda: peer.acknowledged > 0)
    with deployment.changing_registry(registry.authority) as changing:
        new, _ = deployment.make_collector_key()
        now_us = times.now_us()
        changing.hand_over_collector(new, now_us, now_us, "laptop stolen")
    running.saw("registry", "stations enrolled")
    until(lambda: peer.faults, "the old key still signs")  # this station does not know the new one yet
    peer.collector, before = new.public, peer.acknowledged
    until(lambda: peer.acknowledged > before)
    assert all("kid: not of this key" in fault for fault in peer.faults)
    peer.faults.clear()
    with deployment.changing_registry(registry.authority) as changing:  # whose new key is not at this base
        lost, path = deployment.make_collector_key()
        path.unlink()
        now_us = times.now_us()
        changing.hand_over_collector(lost, now_us, now_us, "again")
    running.saw("registry", "the old one stays in use")
    running.end()


def test_a_registry_that_does_not_go_on_from_the_one_in_use_is_not_taken_up(base):
    deployment, registry, peers, pattern = base
    whole = deployment.registry_path.read_text()
    running = Running(deployment, [pattern])
    running.saw("started")
    older = Registry.load(deployment.registry_path)
    older.entries.pop()
    older.authority = registry.authority
    older.save()
    running.saw("registry", "it is older or another history")
    deployment.registry_path.write_text(whole)
    running.saw("registry", "stations enrolled")
    thief = KeyInMemory(Ed25519PrivateKey.generate())
    with deployment.changing_registry(thief, refounding=True) as changing:
        changing.refound(thief, times.now_us(), "trust me")
    running.saw("registry", "puts another authority in place, and the one before did not sign it")
    running.end()


def test_a_receiver_that_never_answers_holds_up_nothing(base):
    deployment, _, peers, pattern = base
    gate = threading.Event()
    receiver = Receiver()
    receiver.answer = lambda event: gate.wait(30) and 200
    peers["alpha"].start()
    running = Running(deployment, [pattern], forward_url=receiver.url)
    until(lambda: peers["alpha"].acknowledged > 200)
    assert receiver.events == []
    gate.set()
    running.end()
    receiver.close()


def test_a_display_that_blocks_holds_up_nothing_and_says_what_it_missed(base):
    deployment, _, peers, pattern = base
    gate, shown = threading.Event(), []

    def slow(event):
        gate.wait(30)
        shown.append(event)

    peers["alpha"].start()
    running = Running(deployment, [pattern], on_event=slow)
    until(lambda: peers["alpha"].acknowledged > 2500, timeout_s=40)
    gate.set()
    until(lambda: any(event.kind == "dropped" for event in shown))
    running.end()


def test_one_directory_one_collector(base):
    deployment, _, _, pattern = base
    running = Running(deployment, [pattern])
    running.saw("started")
    second = Running(deployment, [pattern])
    second.end(stop=False)
    assert isinstance(second.error, errors.AlreadyRunning)
    assert str(os.getpid()) in str(second.error)
    running.end()
    with only_one(deployment.directory):
        pass


def test_a_clock_before_the_registry_is_refused(base):
    _, registry, _, _ = base
    newest = max(station.enrolled_at_us for station in registry.stations.values())
    check_clock(registry, newest - 1_000_000, 2_000_000)
    with pytest.raises(errors.ClockError, match="set the clock"):
        check_clock(registry, newest - 3_000_000, 2_000_000)
    deployment, _, _, pattern = base
    key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    registry.add(Station(cose.key_id(key), key, "of tomorrow", newest + 86_400_000_000))
    registry.save()
    running = Running(deployment, [pattern])
    running.end(stop=False)
    assert isinstance(running.error, errors.ClockError)


def start_process(deployment, pattern, limit_bytes=None):
    """A collector as its own process, with a limit on the size of files if asked."""
    script = f"""
import resource, signal, sys
from holdfire import collector, config, errors
if {limit_bytes!r}:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes!r}, {limit_bytes!r}))
try:
    collector.run({str(deployment.directory)!r}, [{str(pattern)!r}],
        lambda event: print(event.kind, event.text, flush=True), config.make({QUICK!r}))
except errors.HoldfireError as error:
    print("error:", error, flush=True)
    sys.exit(error.exit_code)
"""
    path = os.pathsep.join(str(folder) for folder in (REPO, REPO / "host", REPO / "protocol"))
    return subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    )


def test_a_full_disk_ends_it_with_a_message_and_every_promise_is_kept(base):
    deployment, registry, peers, pattern = base
    peer = peers["alpha"]
    peer.start()
    process = start_process(deployment, pattern, limit_bytes=300_000)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == errors.StorageError.exit_code
    assert "holdfire.sqlite" in said.splitlines()[-1]
    assert "then start again" in said.splitlines()[-1]
    promised = peer.acknowledged
    assert promised > 0
    reader = Reader(deployment.database_path)
    stored = {row["seq"]: row["hash"] for row in reader.records(kid=peer.chain.kid, limit=1 << 31)}
    reader.close()
    assert all(stored.get(seq) == peer.sent[seq] for seq in range(1, promised + 1))
    running = Running(deployment, [pattern])
    until(lambda: peer.acknowledged > promised, "it does not recover when there is room again")
    running.end()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(base, number):
    deployment, _, peers, pattern = base
    peers["alpha"].start()
    process = start_process(deployment, pattern)
    until(lambda: peers["alpha"].acknowledged > 0)
    process.send_signal(number)
    said, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert said.splitlines()[-1].startswith("stopped")


def test_what_cannot_start_says_why(tmp_path):
    deployment, registry, _ = found_deployment(tmp_path / "base")
    key = deployment.key_path.read_bytes()
    deployment.key_path.write_bytes(b"nonsense")
    running = Running(deployment, [])
    running.end(stop=False)
    assert isinstance(running.error, errors.RegistryError)
    deployment.key_path.write_bytes(key)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(registry.path)
    running = Running(deployment, [])
    running.end(stop=False)
    assert isinstance(running.error, errors.RegistryError)
