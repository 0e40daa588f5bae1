"""Verifies signed messages: on CPython with the host's verifier, on MicroPython with the chip's.

Each line of the input file is a kind of message (see AAD), a public key, a network id and a message, in hex.
Prints an outcome for each. Not a test by itself: test_record_signatures.py compares.
"""

import gc
import sys

if sys.implementation.name == "micropython":
    from holdfire_station.crypto import InvalidSignature, verify
else:
    from holdfire.ed25519_strict import InvalidSignature, verify

try:  # once, while the heap is empty: the verifier keeps its workspace, the largest piece that anything here needs
    gc.collect()
    verify(bytes(32), b"", bytes(64))
except ValueError:
    pass

from holdfire_protocol import cose, enrolment, fields, handover, record, update

AAD = {"record": fields.AAD_RECORD, "beacon": fields.AAD_BEACON, "enrolment": enrolment.AAD_ENROLMENT,
       "update": update.AAD_UPDATE, "handover": handover.AAD_HANDOVER}


def outcome(kind, public, network, message):
    try:
        record.verify1(message, public, AAD[kind], network, verify)
        return "valid"
    except InvalidSignature:
        return "InvalidSignature"
    except cose.CoseError:
        return "CoseError"


gc.collect()
with open(sys.argv[1]) as lines:
    for text in lines:
        kind, *parts = text.split()
        print(outcome(kind, *[bytes.fromhex(part) for part in parts]))
        gc.collect()
