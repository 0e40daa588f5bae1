"""What the station says of itself to whoever enrols it, signed. In memory only while it is asked, a few times a life.

The one place that reads the chip's own id.
"""

import machine
from holdfire_protocol import enrolment, record

from . import crypto


def lines(station, challenge: bytes) -> list:
    """The console's answer: the signed enrolment in hex, or that it must wait its turn."""
    if station.recorder is None:
        return [station.identity_fault or "enrolment none"]
    if crypto.busy():
        return ["busy signing: ask again"]  # its buffers are taken, and 9 KB for others may not be free
    who = station.identity
    payload = enrolment.encode({
        "public_key": who.public,
        "collector": who.collector_public,
        "chip": machine.unique_id(),
        "board": station.board_name,
        "firmware": station.firmware,
        "challenge": challenge,
    })  # fmt: skip
    message = record.sign1(payload, who.kid, enrolment.AAD_ENROLMENT, who.network, who.key.sign)
    return ["enrolment " + message.hex()]
