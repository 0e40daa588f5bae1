"""Kill -9 the collector under load, again and again, and hold it to what it promised.

Three stations on pseudo-terminals send without pause, a little out of order; an HTTP receiver fails now and then; the
collector, a real process, is killed at random moments, also while it starts. After every kill: whatever a verified
beacon acknowledged is in the database. At the end, after one undisturbed run: every record ever made is stored, and
every stored record was forwarded at least once, to disk and by HTTP, under its hash.
"""

import base64
import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

REPO = pathlib.Path(__file__).resolve().parent.parent.parent
SETTINGS = {
    "receipt_spacing_ms": 10,
    "rescan_ms": 50,
    "beacon_interval_ms": 500,
    "forward_retry_ms": 10,
    "forward_retry_max_ms": 200,
    "forward_timeout_ms": 2000,
}


class Nursery:
    """Starts collectors fast: a process that has imported everything, and forks one on each request."""

    def __init__(self, folder, patterns, settings):
        path = os.pathsep.join(str(folder) for folder in (REPO, REPO / "host", REPO / "protocol"))
        environment = {**os.environ, "PYTHONPATH": path}
        arguments = [str(folder), json.dumps(patterns), json.dumps(settings)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.system.kill9", *arguments], cwd=REPO, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError("the nursery did not start")

    def start(self):
        """pid of a new collector."""
        self._process.stdin.write("start\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def wait(self):
        """How the collector ended: exit code, or minus the signal."""
        return int(self._process.stdout.readline())

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def nursery_main(folder, patterns, settings):
    import aiohttp  # noqa: F401  imported here once, so that children start at once

    from holdfire import collector, config

    chosen = config.make(settings)
    print("ready", flush=True)
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                collector.run(folder, patterns, None, chosen)
            except BaseException as error:
                print(f"collector: {error!r}", file=sys.stderr, flush=True)
                os._exit(getattr(error, "exit_code", 1))
            os._exit(0)
        print(pid, flush=True)
        status = os.waitpid(pid, 0)[1]
        print(os.waitstatus_to_exitcode(status), flush=True)


def run(folder, kills, seed, progress=False):
    """Returns a report in words. Raises AssertionError when a promise was broken; the message has the seed."""
    from holdfire.registry import Deployment  # noqa: F401
    from holdfire.store import Reader
    from tests.system.peer import Chain, Peer, found_deployment
    from tests.system.receiver import Receiver

    chance = random.Random(seed)
    deployment, registry, keys = found_deployment(folder / "base")
    receiver = Receiver(seed, trouble=0.1)
    peers = [
        Peer(folder / f"{name}.tty", registry, Chain(key, registry.network), seed + i, window=50)
        for i, (name, key) in enumerate(keys.items())
    ]
    nursery = Nursery(deployment.directory, [str(folder / "*.tty")], {**SETTINGS, "forward_url": receiver.url})
    checks = 0
    try:
        for peer in peers:
            peer.start()
        longest_s = 0.0
        for number in range(kills):
            pid = nursery.start()
            if number == 0:  # how long this machine takes to the first receipts: half of the kills come before them
                started = time.monotonic()
                _until(lambda: all(peer.acknowledged for peer in peers), f"seed {seed}: it does not even start")
                longest_s = 2 * (time.monotonic() - started)
            else:
                time.sleep(chance.uniform(0.0, longest_s))
            os.kill(pid, signal.SIGKILL)
            ended = nursery.wait()
            assert ended == -signal.SIGKILL, f"seed {seed}: before kill {number} the collector ended with {ended}"
            if deployment.database_path.exists():
                checks += _check_promises(Reader, deployment, peers, seed)
            if progress and number % 20 == 19:
                print(f"{number + 1} kills, {sum(p.acknowledged for p in peers)} records acknowledged", flush=True)
        for peer in peers:
            peer.producing = False
        pid = nursery.start()
        _until(lambda: all(peer.acknowledged == peer.chain.seq for peer in peers), f"seed {seed}: not all acknowledged")
        reader = Reader(deployment.database_path)
        _until(lambda: all(row["waiting"] == 0 for row in reader.destinations()), f"seed {seed}: outboxes do not empty")
        reader.close()
        os.kill(pid, signal.SIGTERM)
        ended = nursery.wait()
        assert ended == 0, f"seed {seed}: at SIGTERM the collector ended with {ended}"
    finally:
        for peer in peers:
            peer.stop()
        nursery.close()
        receiver.close()
    faults = [fault for peer in peers for fault in peer.faults]
    assert not faults, f"seed {seed}: {faults[:5]}"
    return _check_all(Reader, deployment, peers, receiver, seed, kills, checks)


def _check_promises(Reader, deployment, peers, seed):
    """Everything acknowledged is there, under the right hash. Returns how many records were promised."""
    reader = Reader(deployment.database_path)
    promised = 0
    for peer in peers:
        upto = peer.acknowledged
        stored = {row["seq"]: row["hash"] for row in _rows(reader, peer.chain.kid)}
        missing = [seq for seq in range(1, upto + 1) if stored.get(seq) != peer.sent[seq]]
        assert not missing, f"seed {seed}: {peer.path} was promised {upto}, and these are not stored: {missing[:10]}"
        promised += upto
    reader.close()
    return promised


def _check_all(Reader, deployment, peers, receiver, seed, kills, checks):
    reader = Reader(deployment.database_path)
    stored = {}
    for peer in peers:
        rows = _rows(reader, peer.chain.kid)
        assert [row["seq"] for row in rows] == sorted(peer.sent), f"seed {seed}: stored and made records differ"
        assert all(row["hash"] == peer.sent[row["seq"]] and row["link"] == 2 for row in rows), f"seed {seed}: chain"
        stored |= {row["hash"].hex(): row["message"] for row in rows}
    refused = {reason for reason in reader.refusal_totals() if reason not in ("replay", "damaged")}
    assert not refused, f"seed {seed}: refused {refused}"
    reader.close()
    lines = []
    for path in deployment.forward_directory.iterdir():
        data = path.read_bytes()
        assert data.endswith(b"\n"), f"seed {seed}: {path.name} ends in the middle of a line"
        lines += [json.loads(text) for text in data.splitlines()]
    for where, events in (("the files", lines), ("the receiver", receiver.events)):
        seen = set()
        for event in events:
            message = base64.b64decode(event["data"]["signed_record"])
            assert hashlib.sha256(message).hexdigest() == event["id"], f"seed {seed}: an id is not its record's hash"
            assert stored.get(event["id"]) == message, f"seed {seed}: {where} got a record that is not stored"
            seen.add(event["id"])
        assert seen == set(stored), f"seed {seed}: {where} lack {len(set(stored) - seen)} stored records"
    return (
        f"seed {seed}: {kills} kills; {len(stored)} records stored, none of {checks} promises checked was broken; "
        f"files: {len(lines)} deliveries, HTTP: {len(receiver.events)} of {receiver.requests} requests taken; every "
        "stored record in both, under its hash"
    )


def _rows(reader, kid):
    return sorted(reader.records(kid=kid, limit=1 << 31), key=lambda row: row["seq"])


def _until(condition, complaint, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.05)


if __name__ == "__main__":
    nursery_main(sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3]))
