"""A deployment with signed records, made with the real protocol package and fixed keys.

`Signer` is what a station is to the base: a key and a chain. Records reach the database through the collector's own
`Ingest`, as lines on a port.
"""

import itertools
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holdfire.authority import KeyInMemory
from holdfire.config import Settings
from holdfire.ingest import Ingest
from holdfire.registry import Deployment, Registry, Station
from holdfire.statement import check
from holdfire.store import Store
from holdfire_protocol import cose, enrolment, fields, frame, line, record

START_US = 1_795_000_000_000_000  # 2026-11-18T10:26:40Z
NETWORK = bytes(range(16))
COLLECTOR = Ed25519PrivateKey.from_private_bytes(b"\x11" * 32)
AUTHORITY = KeyInMemory(Ed25519PrivateKey.from_private_bytes(b"\x12" * 32))
PASSPHRASE = "kept apart from the key"
INTERVAL_S = 60


class Signer:
    """A station's key and chain."""

    def __init__(self, name, seed, network=NETWORK):
        self.name = name
        self.key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.public = self.key.public_key().public_bytes_raw()
        self.kid = cose.key_id(self.public)
        self.network = network
        self.boot = 1
        self.boot_at_us = START_US
        self.seq = 0
        self.prev = record.genesis(network, self.public)

    def fields_of(self, utc_us, **content):
        named = {
            "seq": self.seq + 1,
            "prev": self.prev,
            "boot": self.boot,
            "time": (fields.TIME_GNSS_PPS, utc_us, 40),
            "uptime_ms": (utc_us - self.boot_at_us) // 1000,
            **content,
        }
        if self.seq == 0:
            named.setdefault("restart", fields.RESTART_FIRST)
        return named

    def sign(self, named):
        """Signed record of these fields, whatever they say; the chain does not move."""
        payload = record.encode_record(named)
        return record.sign1(payload, self.kid, fields.AAD_RECORD, self.network, self.key.sign)

    def make(self, utc_us, **content):
        """The next record of the chain."""
        named = self.fields_of(utc_us, **content)
        message = self.sign(named)
        self.seq, self.prev = named["seq"], record.record_hash(message)
        return message

    def station(self, enrolled_at_us=START_US, **details):
        return Station(self.kid, self.public, self.name, enrolled_at_us, **details)

    def statement(self, **changes):
        """What a board says of itself when it is enrolled, signed; `changes` overrides fields."""
        named = {
            "public_key": self.public,
            "collector": COLLECTOR.public_key().public_bytes_raw(),
            "chip": bytes.fromhex("240ac4") + self.public[:3],
            "board": b"esp32-devkit",
            "firmware": bytes.fromhex("00112233445566aa"),
            "challenge": bytes(16),
            **changes,
        }
        payload = enrolment.encode(named)
        return record.sign1(payload, self.kid, enrolment.AAD_ENROLMENT, self.network, self.key.sign)


def impulse(**changes):
    return {
        "kind": fields.KIND_IMPULSE,
        "onset_us": -1_250_000,
        "onset_uncertainty_us": 125,
        "peak": 2_097_152,
        "rise_us": 1250,
        "duration_ms": 340,
        "snr_db10": 352,
        "floor_db10": -724,
        "bands": bytes((60, 50, 44, 40, 48, 70, 255)),
        "zero_crossings": 87,
        "clipped": 0,
        **changes,
    }


def tamper(opened):
    return {"kind": fields.KIND_TAMPER, "onset_us": -20_000, "onset_uncertainty_us": 10_000, "open": opened}


def status(**changes):
    return {
        "interval_s": INTERVAL_S,
        "reset_cause": 1,
        "selftest": 0,
        "heard_ms": INTERVAL_S * 1000,
        "lost_ms": 0,
        "impulses": 0,
        "floor_db10": -724,
        "floor_min_db10": -731,
        "floor_max_db10": -698,
        "battery_mv": 3912,
        "position": (469_480_900, 74_474_400, 5405, 9),
        "satellites": 11,
        "journal_permille": 21,
        "pending": 3,
        "firmware": bytes.fromhex("00112233445566aa"),
        "heap_free": 91_216,
        "refused": 0,
        **changes,
    }


class Base:
    """A deployment in a directory, and its collector's ingest."""

    def __init__(self, directory, *signers, network=NETWORK):
        self.deployment = Deployment(directory)
        self.registry = Registry(
            self.deployment.registry_path, "Valley line", network, START_US, COLLECTOR.public_key().public_bytes_raw(),
            AUTHORITY,
        )  # fmt: skip
        for signer in signers:
            self.registry.add(signer.station())
        directory.mkdir(parents=True, exist_ok=True)
        self.registry.save()
        self.now_us = START_US
        self.beacon_number = itertools.count(1)

    def receive(self, *messages, at_us=None, port="/dev/ttyUSB0", raw=b""):
        """Messages as a station's port brings them, then `raw` bytes."""
        self.now_us = at_us or self.now_us
        store = Store(self.deployment.database_path)
        try:
            ingest = Ingest(self.registry, store, Settings(), clock=lambda: self.now_us)
            ingest.take([(port, b"".join(lines_of(*messages, network=self.registry.network)) + raw)])
        finally:
            store.close()

    def beacon_line(self, utc_us, *receipts):
        payload = record.encode_beacon(
            {"number": next(self.beacon_number), "time": (fields.TIME_HOST, utc_us, 1000), "receipts": list(receipts)}
        )
        kid = cose.key_id(COLLECTOR.public_key().public_bytes_raw())
        message = record.sign1(payload, kid, fields.AAD_BEACON, self.registry.network, COLLECTOR.sign)
        return line.encode(frame.encode(fields.FRAME_BEACON, self.registry.network, message))


def eventful(path):
    """A registry in which everything happened that can; its stations are Ridge east (rotated), Bridge and Mill."""
    day_us = 86_400_000_000
    registry = Registry(path, "Valley line", NETWORK, START_US, COLLECTOR.public_key().public_bytes_raw(), AUTHORITY)
    ridge, bridge, mill, new = (Signer(name, seed) for seed, name in enumerate(("Ridge", "Bridge", "Mill", ""), 1))
    for signer in (ridge, bridge, mill):
        details = {"place": "a mast", "mounting": "4 m up", "photo": bytes(32)}
        stated = check(signer.statement(), NETWORK)
        registry.add(signer.station(START_US + day_us, statement=stated, **details))
    registry.rename(registry.find("Ridge"), "Ridge east", START_US + 2 * day_us, "there are two")
    registry.move(registry.find("Bridge"), START_US + 3 * day_us, "the rail", "west pillar", "", bytes(31) + b"1")
    registry.report_lost(registry.find("Bridge"), START_US + 4 * day_us, START_US + 5 * day_us, "gone")
    registry.report_found(registry.find("Bridge"), START_US + 6 * day_us, "in the river")
    fresh = new.station(START_US + 7 * day_us, statement=check(new.statement(), NETWORK))
    registry.rotate(registry.find("Ridge east"), fresh, START_US + 7 * day_us, "new board")
    registry.revoke(registry.find("Mill"), START_US + 8 * day_us, START_US + 9 * day_us, "opened")
    return registry


def lines_of(*messages, network=NETWORK):
    return [line.encode(frame.encode(fields.FRAME_RECORD, network, message)) for message in messages]


def story(directory):
    """One night on two hills: the deployment that the documentation shows. The same bytes every time."""
    dusk_us = 1_795_543_200_000_000  # 2026-11-24T18:00:00Z
    minute_us = 60_000_000
    ridge, bridge = Signer("Ridge north", 1), Signer("Bridge", 2)
    base = Base(directory)
    for signer in (ridge, bridge):
        signer.boot_at_us = dusk_us - 20 * minute_us
        place = {"Ridge north": "mast above the mill", "Bridge": "east pillar, downstream"}[signer.name]
        station = signer.station(dusk_us - 15 * minute_us, place=place, statement=check(signer.statement(), NETWORK))
        base.registry.add(station, why="one of the first two")
    base.registry.save()
    position = {"Ridge north": (469_480_900, 74_474_400, 5405, 9), "Bridge": (469_391_200, 74_601_700, 4980, 11)}
    shots = [(1, 0, 2_097_152), (1, 1_730_000, 1_883_000), (2, 2_214_000, 402_100)]  # station, after, peak
    for step in range(25):
        at_us = dusk_us + step * 30 * minute_us
        for number, signer in ((1, ridge), (2, bridge)):
            heard = 0
            if step == 7:
                fired = [(after, peak) for station, after, peak in shots if station == number]
                heard = len(fired)
                at_shot_us = at_us - 15 * minute_us + 3_000_000
                base.receive(
                    signer.make(
                        at_shot_us,
                        observations=[
                            impulse(onset_us=after - 3_000_000, peak=peak, snr_db10=352 - 60 * number)
                            for after, peak in fired
                        ],
                    ),
                    at_us=at_shot_us + 700_000,
                    port=f"/dev/ttyUSB{number - 1}",
                )
            message = signer.make(
                at_us,
                status=status(
                    interval_s=1800,
                    heard_ms=1_800_000,
                    impulses=heard,
                    battery_mv=4105 - 12 * step,
                    position=position[signer.name],
                    pending=0,
                    floor_db10=-724 - step % 7,
                    selftest=fields.SELFTEST_TAMPER if number == 2 and step >= 17 else 0,
                ),
            )
            if (number, step) != (2, 20):  # lost on the way, and not sent again yet
                base.receive(message, at_us=at_us + 400_000, port=f"/dev/ttyUSB{number - 1}")
        if step == 16:
            opened = bridge.make(at_us + 4 * minute_us, observations=[tamper(1)])
            base.receive(opened, at_us=at_us + 4 * minute_us + 300_000, port="/dev/ttyUSB1")
            forged = bytearray(opened)
            forged[60] ^= 1
            base.receive(bytes(forged), at_us=at_us + 5 * minute_us, port="/dev/ttyUSB1")
    base.now_us = dusk_us + 730 * minute_us  # 2026-11-25T06:10:00Z
    return base


def json_lines(text):
    return [json.loads(row) for row in text.splitlines()]
