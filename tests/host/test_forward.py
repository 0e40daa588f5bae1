"""Stored records reach others at least once, under one key; a bad receiver harms nobody; a torn line is repaired."""

import asyncio
import base64
import contextlib
import hashlib
import json
import threading

import pytest

from holdfire import config, errors
from holdfire.forward import CONTENT_TYPE, FileForwarder, HttpForwarder, public_name, repair_end
from holdfire.ingest import Ingest
from holdfire.store import Reader, Store, retry_parked
from tests.system.peer import Chain, found_deployment, frame_line
from tests.system.receiver import Receiver

QUICK = {"forward_retry_ms": 10, "forward_retry_max_ms": 50, "forward_timeout_ms": 500}


class Bench:
    """A store with records in it, and forwarders run as the collector runs them: store calls on one other thread."""

    def __init__(self, folder, **settings):
        self.deployment, self.registry, keys = found_deployment(folder / "base", ("alpha",))
        self.chain = Chain(keys["alpha"], self.registry.network)
        self.store = Store(self.deployment.database_path)
        self.settings = config.make({**QUICK, **settings})
        self.ingest = Ingest(self.registry, self.store, self.settings)
        self.reader = Reader(self.deployment.database_path)
        self.events = []
        self._lock = threading.Lock()

    def put(self, count):
        lines = b"".join(frame_line(self.registry.network, self.chain.make()) for _ in range(count))
        with self._lock:
            self.ingest.take([("usb0", lines)])

    async def on_writer(self, function, *args):
        def call():
            with self._lock:
                return function(*args)

        return await asyncio.to_thread(call)

    def run(self, forwarder, until, timeout_s=20):
        """Run a forwarder until a condition holds, then end it in order."""

        async def main():
            task = asyncio.ensure_future(made.run())
            for _ in range(int(timeout_s / 0.01)):
                if until() or task.done():
                    break
                await asyncio.sleep(0.01)
            else:
                pytest.fail("the condition never held")
            made.finish()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(task, 3)

        common = (self.store, self.on_writer, lambda: self.registry, self.settings, self.events.append)
        holder = {}

        async def make_and_run():
            nonlocal made
            made = forwarder(*common)
            holder["forwarder"] = made
            await main()

        made = None
        asyncio.run(make_and_run())
        return holder["forwarder"]

    def files(self, folder):
        return lambda *common: FileForwarder(folder, *common)

    def http(self, url):
        return lambda *common: HttpForwarder(url, *common)

    def destination(self):
        rows = self.reader.destinations()
        return rows[0] if rows else None

    def waiting(self):
        found = self.destination()
        return found["waiting"] if found else -1

    def kinds(self):
        return {event.kind for event in self.events}


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.reader.close()
    bench.store.close()


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()
    assert receiver.faults == []


def lines_of(folder):
    (path,) = folder.iterdir()
    return [json.loads(text) for text in path.read_text().splitlines()]


def test_a_line_is_a_cloudevent_that_proves_itself(bench, tmp_path):
    bench.put(3)
    bench.run(bench.files(tmp_path / "out"), lambda: bench.waiting() == 0)
    events = lines_of(tmp_path / "out")
    stored = list(bench.reader.records(newest_first=False))
    assert [event["id"] for event in events] == [row["hash"].hex() for row in stored]
    event, row = events[1], stored[1]
    assert event["specversion"] == "1.0"
    assert event["type"] == "holdfire.record.v1"
    assert event["source"] == f"urn:holdfire:{bench.registry.network.hex()}:{bench.chain.kid.hex()}"
    assert event["subject"] == "2"
    assert event["datacontenttype"] == "application/json"
    assert event["time"].endswith("Z")
    data = event["data"]
    message = base64.b64decode(data["signed_record"])
    assert message == row["message"]
    assert hashlib.sha256(message).hexdigest() == event["id"] == data["hash"]
    assert (data["station"], data["seq"], data["problem"], data["link"]) == ("alpha", 2, None, "contiguous")
    assert data["record"]["observations"][0]["peak"] == 4_000_000
    assert data["network"] == bench.registry.network.hex()


def test_a_torn_last_line_is_cut_off_and_its_record_comes_again(bench, tmp_path):
    folder = tmp_path / "out"
    bench.put(5)
    bench.run(bench.files(folder), lambda: bench.waiting() == 0)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-300])  # a crash in the middle of the write,
    bench.store.note_delivered("files", 4, 0)  # before the cursor moved
    bench.put(1)
    bench.run(bench.files(folder), lambda: bench.waiting() == 0)
    assert [event["data"]["seq"] for event in lines_of(folder)] == [1, 2, 3, 4, 5, 6]
    assert path.read_bytes().startswith(whole)


@pytest.mark.parametrize(
    ("before", "after"),
    [(b"", b""), (b"a\n", b"a\n"), (b"a\nb", b"a\n"), (b"b", b""), (b"a\n" + b"x" * 10_000, b"a\n"), (b"\n", b"\n")],
)
def test_repair_keeps_whole_lines(tmp_path, before, after):
    path = tmp_path / "lines"
    path.write_bytes(before)
    assert repair_end(path) == len(before) - len(after)
    assert path.read_bytes() == after


def test_a_folder_that_cannot_be_written_stalls_and_recovers(bench, tmp_path):
    folder = tmp_path / "out"
    folder.write_text("a file where the folder should be")
    bench.put(2)

    def stalled_then_freed():
        if folder.is_file() and "forward-stalled" in bench.kinds():
            assert bench.destination()["error"]
            folder.unlink()
        return bench.waiting() == 0

    bench.run(bench.files(folder), stalled_then_freed)
    assert len(lines_of(folder)) == 2
    assert bench.destination()["error"] is None


def test_http_posts_structured_cloudevents(bench, receiver):
    bench.put(30)
    bench.run(bench.http(receiver.url), lambda: bench.waiting() == 0)
    assert receiver.content_types == {CONTENT_TYPE}
    assert {event["id"] for event in receiver.events} == {row["hash"].hex() for row in bench.reader.records()}
    assert bench.destination()["delivered"] == 30
    assert bench.destination()["name"] == receiver.url


def test_http_troubles_are_tried_again_until_all_is_delivered(bench, receiver):
    receiver._trouble = 0.6
    bench.put(40)
    bench.run(bench.http(receiver.url), lambda: bench.waiting() == 0)
    assert set(receiver.counts) == {row["hash"].hex() for row in bench.reader.records()}
    assert receiver.requests > 60
    assert bench.reader.parked() == []
    assert "forward-stalled" in bench.kinds()


@pytest.mark.parametrize("status", [400, 404, 301])
def test_what_a_receiver_refuses_is_parked_with_its_answer_and_sent_again_on_request(bench, receiver, status):
    receiver.answer = lambda event: status if event["data"]["seq"] == 2 else 200
    bench.put(4)
    bench.run(bench.http(receiver.url), lambda: bench.waiting() == 0)
    (parked,) = bench.reader.parked()
    assert (parked["seq"], parked["retry"]) == (2, 0)
    assert f"answered {status}" in parked["reason"]
    assert parked["reason"].endswith(": no"), "what the receiver said"
    assert [event["data"]["seq"] for event in receiver.events if event["data"]["seq"] == 2] == []
    assert retry_parked(bench.deployment.database_path) == 1
    bench.run(bench.http(receiver.url), lambda: bench.reader.parked()[0]["retry"] == 0)  # refused again: parked again
    receiver.answer = lambda event: 200
    retry_parked(bench.deployment.database_path)
    bench.run(bench.http(receiver.url), lambda: not bench.reader.parked())
    assert [event["data"]["seq"] for event in receiver.events].count(2) == 1


def test_one_record_that_always_fails_does_not_hold_up_the_others(bench, receiver):
    receiver.answer = lambda event: 500 if event["data"]["seq"] == 1 else 200
    bench.put(50)
    made = bench.run(bench.http(receiver.url), lambda: len(receiver.events) == 49)
    assert made._cursor == 0, "but the cursor does not pass it"
    receiver.answer = lambda event: 200
    bench.run(bench.http(receiver.url), lambda: bench.waiting() == 0)
    assert receiver.events[-1] and {event["data"]["seq"] for event in receiver.events} == set(range(1, 51))


def test_requests_under_way_are_bounded(tmp_path):
    busy, most = 0, 0
    gate = threading.Event()
    receiver = Receiver()
    lock = threading.Lock()
    real_take = receiver._take

    def take(*args):
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        gate.wait(0.05)
        with lock:
            busy -= 1
        return real_take(*args)

    receiver._take = take
    bench = Bench(tmp_path, forward_in_flight=3)
    bench.put(20)
    bench.run(bench.http(receiver.url), lambda: bench.waiting() == 0)
    assert most == 3
    receiver.close()
    bench.reader.close()
    bench.store.close()


def test_nobody_listening_stalls_says_so_and_keeps_everything(bench, receiver):
    receiver.close()
    bench.put(3)
    bench.run(bench.http(receiver.url), lambda: "forward-stalled" in bench.kinds())
    assert "cannot reach the receiver" in bench.destination()["error"]
    assert bench.waiting() == 3


def test_a_url_shows_no_secrets():
    assert public_name("https://user:secret@example.org:8443/in?token=abc#x") == "https://example.org:8443/in"
    with pytest.raises(errors.ConfigError):
        public_name("https://")
