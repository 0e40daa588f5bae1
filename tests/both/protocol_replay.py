"""Puts inputs through the decoders and prints what comes of each: value or refusal. Runs on CPython and MicroPython.

A line of the input file is an operation and hex. Values are printed in one notation, so that outputs can be compared.
"""

import gc
import sys

from protocol_vectors import diag, plain, refusal, spelt

from holdfire_protocol import cbor, cose, frame, line, record

NETWORK = bytes(range(16))


def same(decoded, encoded, data):
    """What was decoded, and whether it encodes to the same bytes: what is accepted has one encoding."""
    return "%s %s" % (decoded, "" if encoded == data else "NOT ONE ENCODING")


def do_cbor(data):
    value = cbor.decode(data)
    return same(diag(value), cbor.encode(value), data)


def do_record(data):
    named = record.decode_record(data)
    return same(pairs(named), record.encode_record(named), data)


def do_beacon(data):
    named = record.decode_beacon(data)
    return same(pairs(named), record.encode_beacon(named), data)


def do_cose(data):
    parts = cose.parse(data)
    return same([parts.kid.hex(), spelt(parts.payload), parts.signature.hex()],
                cose.join(parts.kid, parts.payload, parts.signature), data)


def do_frame(data):
    kind, body = frame.decode(data, NETWORK)
    return same([kind, spelt(body)], frame.encode(kind, NETWORK, body), data)


def do_line(data):
    whole = line.decode(data)
    return same(spelt(whole), line.encode(whole), data + b"\r\n")


def do_reader(data):
    """The first byte says how large the pieces are."""
    reader = line.LineReader()
    items = []
    size = data[0] + 1
    for at in range(1, len(data), size):
        items += reader.feed(data[at : at + size])
    return "%s %d" % ([[kind, value if kind == line.BAD else spelt(value)] for kind, value in items], reader.bad)


def pairs(named):
    """Fields in the order of their names, at every depth: dicts print in any order."""
    if isinstance(named, dict):
        return [[name, pairs(named[name])] for name in sorted(named)]
    return [pairs(item) for item in named] if isinstance(named, list) else plain(named)


DO = {"cbor": do_cbor, "record": do_record, "beacon": do_beacon, "cose": do_cose, "frame": do_frame, "line": do_line,
      "reader": do_reader}


def run(name, data):
    return refusal(DO[name], data)


if __name__ == "__main__":
    with open(sys.argv[1]) as lines:
        for text in lines:
            name, _, hexed = text.strip().partition(" ")
            print(run(name, bytes.fromhex(hexed)))
            gc.collect()
