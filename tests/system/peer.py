"""A stand-in for stations at the far end of serial lines: real keys, real signed chains, the real line protocol.

Not a model of the firmware (the simulator runs that): this one is fast, keeps what no verified beacon covers, sends it
again in disorder, and remembers exactly what the collector promised.
"""

import os
import pty
import random
import select
import threading
import time
import tty

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from holdfire.authority import KeyInMemory
from holdfire.registry import Deployment, Station
from holdfire_protocol import cose, fields, frame, line, record


def found_deployment(directory, names=("alpha", "bravo", "charlie")):
    """A deployment on disk with these stations enrolled. Returns (deployment, registry, station keys by name)."""
    deployment = Deployment(directory)
    now_us = time.time_ns() // 1000
    registry = deployment.found("Test line", now_us, KeyInMemory(Ed25519PrivateKey.generate()))
    keys = {}
    for name in names:
        key = Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes_raw()
        registry.add(Station(cose.key_id(public), public, name, now_us))
        keys[name] = key
    registry.save()
    return deployment, registry, keys


def impulse(**changed):
    return {
        "kind": fields.KIND_IMPULSE, "onset_us": -250_000, "onset_uncertainty_us": 90, "peak": 4_000_000,
        "rise_us": 800,
        "duration_ms": 140, "snr_db10": 310, "floor_db10": -620, "bands": bytes(range(8)), "zero_crossings": 40,
        "clipped": 0, **changed,
    }  # fmt: skip


class Chain:
    """One station's key and chain; `make` signs the next record."""

    def __init__(self, key, network, boot=1):
        self.key = key
        self.network = network
        self.public = key.public_key().public_bytes_raw()
        self.kid = cose.key_id(self.public)
        self.boot = boot
        self.seq = 0
        self.prev = record.genesis(network, self.public)
        self.started_us = time.time_ns() // 1000

    def make(self, keep=True, **changed):
        """The next signed record; `changed` overrides fields; `keep=False` leaves the chain where it is."""
        now_us = time.time_ns() // 1000
        named = {
            "seq": self.seq + 1,
            "prev": self.prev,
            "boot": self.boot,
            "time": (fields.TIME_GNSS, now_us, 1000),
            "uptime_ms": (now_us - self.started_us) // 1000,
            "observations": [impulse()],
        }
        if self.seq == 0:
            named["restart"] = fields.RESTART_FIRST
        named.update(changed)
        named = {name: value for name, value in named.items() if value is not None}
        message = self.sign(record.encode_record(named))
        if keep:
            self.seq = named["seq"]
            self.prev = record.record_hash(message)
        return message

    def sign(self, payload):
        return record.sign1(payload, self.kid, fields.AAD_RECORD, self.network, self.key.sign)


def frame_line(network, message):
    return line.encode(frame.encode(fields.FRAME_RECORD, network, message))


class Peer(threading.Thread):
    """One serial line with one station at its far end, on a pseudo-terminal; `path` is a link to the collector's end.

    Sends a window of what is not acknowledged, a little out of order, and again after `resend_s` without progress.
    `acknowledged` is the highest number that a beacon, verified with the collector's public key, has promised.
    """

    def __init__(self, path, registry, chain, seed, window=40, resend_s=0.25, produce=True):
        super().__init__(daemon=True, name=f"peer {path}")
        self.path = str(path)
        self.registry = registry
        self.chain = chain
        self.acknowledged = 0
        self.sent = {}  # seq -> hash, of every record ever made
        self.beacons = []  # numbers, in order of arrival
        self.faults = []
        self.producing = produce
        self._random = random.Random(seed)
        self._window = window
        self._resend_s = resend_s
        self._waiting = {}  # seq -> line
        self._ending = threading.Event()
        self._reader = line.LineReader()
        self.collector = registry.collector_public
        self.plug()

    def plug(self):
        self.master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self.master, False)
        if os.path.lexists(self.path):
            os.unlink(self.path)
        os.symlink(os.ttyname(self._slave), self.path)

    def unplug(self):
        os.unlink(self.path)
        os.close(self._slave)
        os.close(self.master)

    def stop(self):
        self._ending.set()
        self.join()

    def run(self):
        out = b""
        progress_at = 0.0
        while not self._ending.is_set():
            self._make()
            if not out and time.monotonic() - progress_at > self._resend_s:
                batch = sorted(self._waiting)[: self._window]
                # Out of order, as alerts overtake: each may move a few places.
                batch.sort(key=lambda seq: seq + self._random.randrange(6))
                lines = [self._waiting[seq] for seq in batch]
                if batch:
                    lines.append(b"heartbeat, for people\r\n")
                out = b"".join(lines)
                progress_at = time.monotonic()
            readable, writable, _ = select.select([self.master], [self.master] if out else [], [], 0.02)
            try:
                if writable:
                    out = out[os.write(self.master, out[:2000]) :]
                if readable and self._read(os.read(self.master, 4096)):
                    progress_at = 0.0
            except BlockingIOError:
                pass
            except OSError:
                time.sleep(0.02)  # nobody has the other end open

    def _make(self):
        while self.producing and len(self._waiting) < self._window:
            message = self.chain.make()
            self.sent[self.chain.seq] = record.record_hash(message)
            self._waiting[self.chain.seq] = frame_line(self.registry.network, message)

    def _read(self, data):
        """True when a beacon acknowledged something new."""
        before = self.acknowledged
        for kind, content in self._reader.feed(data):
            if kind != line.FRAME:
                continue  # the collector may be killed in the middle of a line
            kind, message = frame.decode(content, self.registry.network)
            if kind != fields.FRAME_BEACON:
                self.faults.append("the collector sent a frame that is no beacon")
                continue
            try:
                payload = record.verify1(
                    message, self.collector, fields.AAD_BEACON, self.registry.network,
                    lambda public, signed, signature: (
                        Ed25519PublicKey.from_public_bytes(public).verify(signature, signed)),
                )  # fmt: skip
            except (InvalidSignature, ValueError) as error:
                self.faults.append(f"a beacon does not verify: {error!r}")
                continue
            beacon = record.decode_beacon(payload)
            if self.beacons and beacon["number"] <= self.beacons[-1]:
                self.faults.append(f"beacon number {beacon['number']} after {self.beacons[-1]}")
            self.beacons.append(beacon["number"])
            for kid, seq, digest in beacon["receipts"]:
                if kid != self.chain.kid:
                    continue
                if self.sent.get(seq) != digest:
                    self.faults.append(f"receipt {seq} names a record that this station never made")
                self.acknowledged = max(self.acknowledged, seq)
        for seq in [seq for seq in self._waiting if seq <= self.acknowledged]:
            del self._waiting[seq]
        return self.acknowledged > before
