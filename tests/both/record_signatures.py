"""Verifies every signed vector and prints the outcome: on CPython with the host's verifier, on MicroPython with ours.

Not a test by itself: test_record_signatures.py compares the two.
"""

import gc
import json
import sys

from holdfire_protocol import cose, fields, record

if sys.implementation.name == "micropython":
    from holdfire_station.crypto import InvalidSignature, verify
else:
    from holdfire.ed25519_strict import InvalidSignature, verify


def outcome(message, public, aad, network):
    try:
        record.verify1(message, public, aad, network, verify)
        return "valid"
    except InvalidSignature:
        return "InvalidSignature"
    except cose.CoseError:
        return "CoseError"


def main(folder):
    for name, who, aad in (("record", "station", fields.AAD_RECORD), ("beacon", "collector", fields.AAD_BEACON)):
        with open(folder + "/" + name + ".json") as lines:
            part = None
            for text in lines:
                if text.startswith(' "network"'):
                    network = bytes.fromhex(json.loads(text.strip().rstrip(",").split(": ", 1)[1]))
                elif text.startswith(' "%s"' % who):
                    own = json.loads(text.strip().rstrip(",").split(": ", 1)[1])["public_key"]
                elif text.startswith(' "'):
                    part = text.split('"')[1]
                elif text.startswith("  ") and part != "bad_payloads":
                    vector = json.loads(text.strip().rstrip(","))
                    key = bytes.fromhex(vector.get("public_key", own))
                    got = outcome(bytes.fromhex(vector["message"]), key, aad, network)
                    right = got == vector.get("error", "valid")
                    print(name, vector["name"], got, "" if right else "WRONG")
                    gc.collect()


main(sys.argv[1])
