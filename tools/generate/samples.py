"""The fixed keys, deployment and records that the vectors and the pages of SPEC.md are made of; for nothing else.

The keys are published: RFC 8032 section 7.1, test 1 is the station, test 2 the collector, test 3 the authority.
"""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holdfire_protocol import cose, enrolment, fields, handover, record, update

STATION_SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
COLLECTOR_SECRET = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
AUTHORITY_SECRET = bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7")
NETWORK = bytes.fromhex("00112233445566778899aabbccddeeff")
OTHER_NETWORK = bytes.fromhex("00112233445566778899aabbccddeefe")  # the same frame tag, another deployment


class Signer:
    """A published key and what follows from it."""

    def __init__(self, secret: bytes):
        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        self.secret = secret
        self.public = self._key.public_key().public_bytes_raw()
        self.kid = cose.key_id(self.public)

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)

    def seal(self, payload: bytes, aad: bytes, network: bytes = NETWORK) -> bytes:
        """Signed message round any payload, right or wrong."""
        return record.sign1(payload, self.kid, aad, network, self.sign)

    def record(self, named: dict) -> bytes:
        return self.seal(record.encode_record(named), fields.AAD_RECORD)

    def enrolment(self, named: dict) -> bytes:
        return self.seal(enrolment.encode(named), enrolment.AAD_ENROLMENT)

    def update(self, named: dict) -> bytes:
        return self.seal(update.encode(named), update.AAD_UPDATE)

    def handover(self, named: dict) -> bytes:
        return self.seal(handover.encode(named), handover.AAD_HANDOVER)

    def beacon(self, named: dict) -> bytes:
        return self.seal(record.encode_beacon(named), fields.AAD_BEACON)


STATION = Signer(STATION_SECRET)
COLLECTOR = Signer(COLLECTOR_SECRET)
AUTHORITY = Signer(AUTHORITY_SECRET)
GENESIS = record.genesis(NETWORK, STATION.public)

NO_TIME = (fields.TIME_NONE, 0, fields.U32)
STATUS = {
    "interval_s": 600, "reset_cause": 1, "selftest": 0, "heard_ms": 599_840, "lost_ms": 160, "impulses": 1,
    "floor_db10": -612, "floor_min_db10": -640, "floor_max_db10": -588, "battery_mv": 3912,
    "position": (501_112_345, 368_765_432, 1420, 9), "satellites": 11, "journal_permille": 3, "pending": 1,
    "firmware": bytes.fromhex("5a11c0de00000001"), "heap_free": 71_344, "refused": 0,
}
IMPULSE = {
    "kind": fields.KIND_IMPULSE, "onset_us": -412_375, "onset_uncertainty_us": 63, "peak": 1_904_211, "rise_us": 375,
    "duration_ms": 84, "snr_db10": 287, "floor_db10": -612, "bands": bytes.fromhex("4f4640383c47"),
    "zero_crossings": 46, "clipped": 0,
}
TAMPER = {"kind": fields.KIND_TAMPER, "onset_us": -2_000, "onset_uncertainty_us": 10_000, "open": 1}

FIRST = {
    "seq": 1, "prev": GENESIS, "boot": 1, "time": NO_TIME, "uptime_ms": 4_210, "restart": fields.RESTART_FIRST,
}
FIRST_MESSAGE = STATION.record(FIRST)
ALERT = {
    "seq": 2, "prev": record.record_hash(FIRST_MESSAGE), "boot": 1,
    "time": (fields.TIME_GNSS_PPS, 1_795_525_200_250_000, 12), "uptime_ms": 604_650, "observations": [IMPULSE],
}
ALERT_MESSAGE = STATION.record(ALERT)
HEARTBEAT = {
    "seq": 3, "prev": record.record_hash(ALERT_MESSAGE), "boot": 1,
    "time": (fields.TIME_CRYSTAL, 1_795_525_245_600_000, 1_440), "uptime_ms": 650_000, "status": STATUS,
}
HEARTBEAT_MESSAGE = STATION.record(HEARTBEAT)

BEACON = {
    "number": 7, "time": (fields.TIME_HOST, 1_795_525_200_900_000, 50_000),
    "receipts": [(STATION.kid, 2, record.record_hash(ALERT_MESSAGE))],
}
BEACON_MESSAGE = COLLECTOR.beacon(BEACON)

ENROLMENT = {
    "public_key": STATION.public, "collector": COLLECTOR.public, "chip": bytes.fromhex("240ac4813977"),
    "board": b"esp32-devkit", "firmware": STATUS["firmware"], "challenge": bytes(range(0xC0, 0xD0)),
}
ENROLMENT_MESSAGE = STATION.enrolment(ENROLMENT)

UPDATE = {
    "number": 99_999_999, "board": b"esp32-devkit", "mpy": 0x0A06, "firmware": STATUS["firmware"], "size": 41 * 4096,
    "image": bytes(range(0x20)),
}
UPDATE_MESSAGE = AUTHORITY.update(UPDATE)
HANDOVER = {"office": handover.COLLECTOR, "kid": COLLECTOR.kid, "public_key": STATION.public}
HANDOVER_MESSAGE = AUTHORITY.handover(HANDOVER)
