"""Runs every vector of protocol/vectors through the protocol and prints one line each. Runs on CPython and MicroPython.

Not a test by itself: test_protocol_vectors.py runs it on both and compares. Files are read a line at a time, as the
generator laid them out, for record.json alone is larger than the heap. Signatures are not checked here.
"""

import gc
import json
import sys

from holdfire_protocol import cbor, cose, enrolment, frame, handover, line, record, schema, update

UNHEX = bytes.fromhex


def spelt(data):
    """In hexadecimal: MicroPython 1.25's hex() gives b'' for nothing."""
    return data.hex() if data else ""


def diag(value):
    """Diagnostic notation, map keys in the order of their encoding."""
    if isinstance(value, dict):
        keys = sorted(value, key=cbor.encode)
        return "{" + ", ".join(["%s: %s" % (diag(k), diag(value[k])) for k in keys]) + "}"
    if isinstance(value, list):
        return "[" + ", ".join([diag(v) for v in value]) + "]"
    return "h'%s'" % spelt(value) if isinstance(value, bytes) else str(value)


def plain(value):
    """Fields as the vectors write them."""
    if isinstance(value, dict):
        return {key: plain(value[key]) for key in value}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return spelt(value) if isinstance(value, bytes) else value


def refusal(call, *args):
    """'ErrorName: message' of what the call raises, or what it returned."""
    try:
        return "accepted %s" % (call(*args),)
    except (cbor.CborError, cose.CoseError, schema.FieldError, frame.FrameError) as error:
        return "%s: %s" % (type(error).__name__, error)
    except ValueError as error:
        return "ValueError: %s" % error


def expect(vector, got, wanted=True):
    print(vector["name"], "ok" if got == wanted else "WRONG: %s" % (got,))


def expect_refusal(vector, got):
    right = got.startswith(vector["error"] + ": ") and vector["says"] in got
    print(vector["name"], "refused" if right else "WRONG", got)


def run_cbor(part, vector, head):
    data = UNHEX(vector["hex"])
    if part == "bad":
        expect_refusal(vector, refusal(cbor.decode, data))
        return
    value = cbor.decode(data)
    expect(vector, (diag(value), cbor.encode(value)), (vector["diag"], data))


def run_cose(part, vector, head):
    if part == "keys":
        public = UNHEX(vector["public_key"])
        expect(vector, (cose.key_thumbprint(public).hex(), cose.key_id(public).hex()),
               (vector["thumbprint"], vector["kid"]))
        return
    message = UNHEX(vector["message"])
    if part == "bad":
        expect_refusal(vector, refusal(cose.parse, message))
        return
    parts = cose.parse(message)
    expect(vector, [parts.kid.hex(), spelt(parts.payload), parts.signature.hex(),
                    cose.sig_structure(UNHEX(vector["external_aad"]), parts.payload).hex(),
                    cose.join(parts.kid, parts.payload, parts.signature)],
           [vector["kid"], vector["payload"], vector["signature"], vector["to_be_signed"], message])


def run_signed(encode, decode):
    def run(part, vector, head):
        if part == "bad_payloads":
            expect_refusal(vector, refusal(decode, UNHEX(vector["payload"])))
            return
        if part == "bad_messages":
            got = refusal(cose.parse, UNHEX(vector["message"]))
            print(vector["name"], "comes apart" if got.startswith("accepted") else got)
            return
        message = UNHEX(vector["message"])
        payload = cose.parse(message).payload
        named = decode(payload)
        expect(vector, [plain(named), encode(named), record.record_hash(message).hex(), spelt(payload)],
               [vector["fields"], payload, vector["hash"], vector["payload"]])
    return run


def run_frame(part, vector, head):
    data = UNHEX(vector["frame"])
    network = UNHEX(head["network"])
    if part == "bad":
        got = refusal(frame.decode, data, network)
        try:
            frame.decode(data, network)
        except frame.FrameError as error:
            if error.foreign != vector["foreign"]:
                got = "WRONG foreign %s" % error.foreign
        expect_refusal(vector, got)
        return
    kind, body = frame.decode(data, network)
    expect(vector, [kind, spelt(body), frame.encode(kind, network, body)], [vector["kind"], vector["body"], data])


def run_line(part, vector, head):
    if part == "bad":
        expect_refusal(vector, refusal(line.decode, UNHEX(vector["line"])))
        return
    if part == "good":
        text = vector["line"].encode()
        got = line.decode(text)
        expect(vector, [spelt(got), line.encode(got)], [vector["frame"], text + b"\r\n"])
        return
    reader = line.LineReader()
    got = []
    for piece in vector["pieces"]:
        got += reader.feed(UNHEX(piece))
    names = {line.TEXT: "text", line.FRAME: "frame", line.BAD: "bad"}
    right = reader.bad == vector["bad"] and len(got) == len(vector["items"])
    for (kind, value), (wanted_kind, wanted) in zip(got, vector["items"]):
        right = right and names[kind] == wanted_kind
        right = right and (wanted in value if kind == line.BAD else spelt(value) == wanted)
    expect(vector, right)


RUN = {
    "cbor": run_cbor, "cose": run_cose, "frame": run_frame, "line": run_line,
    "record": run_signed(record.encode_record, record.decode_record),
    "beacon": run_signed(record.encode_beacon, record.decode_beacon),
    "enrolment": run_signed(enrolment.encode, enrolment.decode),
    "update": run_signed(update.encode, update.decode),
    "handover": run_signed(handover.encode, handover.decode),
}


def main(folder):
    for name in sorted(RUN):
        head = {}
        part = None
        with open(folder + "/" + name + ".json") as lines:
            for text in lines:
                if text.startswith("  "):
                    RUN[name](part, json.loads(text.strip().rstrip(",")), head)
                    gc.collect()
                elif text.startswith(' "'):
                    key, value = text.strip().split(": ", 1)
                    part = json.loads(key)
                    if value != "[":
                        head[part] = json.loads(value.rstrip(","))
                    else:
                        print("#", name, part)


if __name__ == "__main__":
    main(sys.argv[1])
