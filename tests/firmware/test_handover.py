"""What a station writes, and what it goes on knowing, when it is told of a key that took another's place."""

from tests.mpy import DEVICE_PATH, REPO, run_micropython

SIM_PATH = (*DEVICE_PATH, REPO / "tests" / "sim")

START = """
from binascii import b2a_base64
import esp32
from chips.nor_flash import NorFlash
from holdfire_protocol import cbor, cose, handover as payloads
from holdfire_station import enrolment, handover, identity, update
from holdfire_station.crypto import PrivateKey
from holdfire_station.uplink import Uplink

flash = NorFlash(IMAGE, 8 * 4096, None)
esp32.attach(flash, [("keys", 1, 0x81, 0, 8 * 4096)])
identity.mount(esp32.Partition("keys"))
AUTHORITY, FIRST, SECOND = [PrivateKey.from_seed(bytes([n]) * 32) for n in (1, 2, 3)]
NETWORK = b"n" * 16
enrolment.create(NETWORK, FIRST.public_bytes, b"e" * 32)
with open(update.AUTHORITY, "wb") as file:
    file.write(AUTHORITY.public_bytes)


class Journal:
    receipted = 0

    def pending(self):
        return iter(())


class Station:
    identity = identity.load()
    recorder = Journal
    Journal.first_seq = 1
    uplink = Uplink(None, Journal(), None, None)
    uplink.begin(identity, lambda: 1)


def said(office, old, new, signature=None, kid=None):
    payload = payloads.encode({"office": office, "kid": cose.key_id(old.public_bytes), "public_key": new.public_bytes})
    signed = cose.sig_structure(payloads.AAD_HANDOVER + NETWORK, payload)
    message = cose.join(kid or cose.key_id(AUTHORITY.public_bytes), payload, signature or AUTHORITY.sign(signed))
    return update.update(Station, ["handover", b2a_base64(message)[:-1].decode()])
"""


def run(tmp_path, source):
    run_micropython(f"IMAGE = {str(tmp_path / 'flash.bin')!r}\n{START}{source}", path=SIM_PATH, heap="400K")


def test_what_is_believed_already_writes_nothing_whoever_says_it(tmp_path):
    """Nobody has signed these: else whoever holds the cable could wear out the flash that the key is in."""
    run(tmp_path, """
programs, erases = flash.programs, flash.erases
for office, key in ((payloads.AUTHORITY, AUTHORITY), (payloads.COLLECTOR, FIRST)):
    for _ in range(3):
        assert said(office, SECOND, key, bytes(64), bytes(8))[0].startswith("update believes ")
assert (flash.programs, flash.erases) == (programs, erases)
""")


def test_a_record_was_first_sent_when_it_was_first_sent_whoever_is_the_collector_now(tmp_path):
    """Else a receipt by the new one, held back until the record is sent again, would set the clock by so much wrong."""
    run(tmp_path, """
Station.uplink._beacons.sent(1, 1_000_000)
Station.uplink._beacons.number = 9
assert said(payloads.COLLECTOR, FIRST, SECOND) == ["update believes " + cose.key_id(SECOND.public_bytes).hex()]
assert identity.load().collector_public == Station.identity.collector_public == SECOND.public_bytes
beacons = Station.uplink._beacons
assert beacons.number == 0  # the new one numbers its beacons by itself
beacons.sent(1, 60_000_000)  # again
assert beacons._sent == [(1, 1_000_000)]
""")
