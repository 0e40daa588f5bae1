"""Vectors of the layers that know nothing of fields: CBOR, COSE_Sign1, frames, the serial line."""

from generate.samples import (
    ALERT_MESSAGE,
    BEACON_MESSAGE,
    COLLECTOR,
    FIRST_MESSAGE,
    HEARTBEAT_MESSAGE,
    NETWORK,
    STATION,
)
from generate.vector_form import KEYS, bad, good
from holdfire_protocol import cbor, cose, fields, frame, line

RFC8949 = "RFC 8949 Appendix A"


def cbor_vectors() -> dict:
    accepted = [  # diagnostic notation (RFC 8949 section 8), encoding
        ("0", "00"),
        ("1", "01"),
        ("10", "0a"),
        ("23", "17"),
        ("24", "1818"),
        ("100", "1864"),
        ("1000", "1903e8"),
        ("1000000", "1a000f4240"),
        ("1000000000000", "1b000000e8d4a51000"),
        ("18446744073709551615", "1bffffffffffffffff"),
        ("-1", "20"),
        ("-10", "29"),
        ("-100", "3863"),
        ("-1000", "3903e7"),
        ("-18446744073709551616", "3bffffffffffffffff"),
        ("h''", "40"),
        ("h'01020304'", "4401020304"),
        ("[]", "80"),
        ("[1, 2, 3]", "83010203"),
        ("[1, [2, 3], [4, 5]]", "8301820203820405"),
        ("{}", "a0"),
        ("{1: 2, 3: 4}", "a201020304"),
    ]
    edges = [
        ("255", "18ff", "last one-byte argument"),
        ("256", "190100", "first two-byte argument"),
        ("65535", "19ffff", "last two-byte argument"),
        ("65536", "1a00010000", "first four-byte argument"),
        ("4294967295", "1affffffff", "last four-byte argument"),
        ("4294967296", "1b0000000100000000", "first eight-byte argument"),
        ("-24", "37", "last negative in the head"),
        ("-25", "3818", "first negative beyond the head"),
        ("h'" + "aa" * 24 + "'", "5818" + "aa" * 24, "byte string with a one-byte length"),
        (
            "{24: 1, -1: 2, h'00': 3}",
            "a3181801200241" + "0003",
            "keys in bytewise order of their encoding, not by value",
        ),
        ("[[[[[[[]]]]]]]", "818181818181" + "80", "nested as deep as allowed"),
        ("[[[[[[1]]]]]]", "818181818181" + "01", "a value at the greatest depth"),
    ]
    refused = [
        ("", "ends early", "no bytes at all"),
        ("18", "ends early", "head cut short"),
        ("1800", "longer than needed", "0 in two bytes"),
        ("1817", "longer than needed", "23 in two bytes"),
        ("1900ff", "longer than needed", "255 in three bytes"),
        ("1a0000ffff", "longer than needed", "65535 in five bytes"),
        ("1b00000000ffffffff", "longer than needed", "4294967295 in nine bytes"),
        ("3800", "longer than needed", "-1 in two bytes"),
        ("580100", "longer than needed", "byte string length in two bytes"),
        ("980101", "longer than needed", "array count in two bytes"),
        ("b8010101", "longer than needed", "map count in two bytes"),
        ("1c", "reserved head", "additional information 28"),
        ("5f4100ff", "indefinite length", "indefinite byte string"),
        ("9f01ff", "indefinite length", "indefinite array"),
        ("bf0101ff", "indefinite length", "indefinite map"),
        ("6161", "text", "text string"),
        ("c11a514b67b0", "a tag", "tag 1, time"),
        ("c249010000000000000000", "a tag", "bignum"),
        ("f4", "float or simple", "false"),
        ("f6", "float or simple", "null"),
        ("f7", "float or simple", "undefined"),
        ("f0", "float or simple", "simple value 16"),
        ("f90000", "float or simple", "half float 0.0"),
        ("fb3ff199999999999a", "float or simple", "double float 1.1"),
        ("ff", "float or simple", "break without a start"),
        ("a201010102", "map key repeated", "the same key twice"),
        ("a202010102", "map key out of order", "keys 2, 1"),
        ("a241000101" + "02", "map key out of order", "byte string key before an integer"),
        ("a1800" + "1", "map key is neither", "array as a key"),
        ("a1a0" + "01", "map key is neither", "map as a key"),
        ("a1f401", "map key is neither", "false as a key"),
        ("a1616101", "map key is neither", "text as a key"),
        ("0000", "trailing", "two items"),
        ("8101" + "00", "trailing", "a byte after an array"),
        ("4201", "claims 2, only 1", "byte string cut short"),
        ("8201", "claims 2, only 1", "array cut short"),
        (
            "9bffffffffffffffff",
            "claims 18446744073709551615",
            "array of 2^64 - 1 items: refused before memory is taken",
        ),
        ("5b7fffffffffffffff", "claims 9223372036854775807", "byte string of 2^63 - 1 bytes"),
        ("bb" + "00" * 3 + "ff" * 5, "claims 1099511627775", "map of 2^40 - 1 pairs"),
        ("a101", "ends early", "map cut short"),
        ("81" * 7 + "80", "nested too deep", "eight levels"),
        ("81" * 500, "nested too deep", "an attack on the stack"),
    ]
    return {
        "about": "Deterministic CBOR subset (SPEC.md section 2). `diag` is the value in diagnostic notation. What is "
        "accepted encodes to itself; what is refused raises `error` with `says` in its message.",
        "good": [good(d, "must decode to this value and encode back", RFC8949, hex=h, diag=d) for d, h in accepted]
        + [good(why, "must decode to this value and encode back", hex=h, diag=d) for d, h, why in edges],
        "bad": [
            bad(why, "not the deterministic encoding of a value of the subset", "CborError", says, hex=h)
            for h, says, why in refused
        ],
    }


def cose_vectors() -> dict:
    head, kid, signature = bytes.fromhex("d28443a10132a10448"), STATION.kid, bytes(range(64))

    unprotected_header, signature_part = "a10448" + kid.hex(), "5840" + signature.hex()

    def message(
        protected="43a10132",
        unprotected=unprotected_header,
        payload="420102",
        tag="d2",
        array="84",
        end=signature_part,
    ) -> str:
        return tag + array + protected + unprotected + payload + end

    sizes = (0, 2, 23, 24, 255, 256, cose.MAX_PAYLOAD_BYTES)
    accepted = []
    for size in sizes:
        payload = bytes(i & 0xFF for i in range(size))
        accepted.append(
            good(
                f"payload of {size} bytes",
                "must come apart into these parts and go back together",
                message=cose.join(kid, payload, signature).hex(),
                kid=kid.hex(),
                payload=payload.hex(),
                signature=signature.hex(),
                external_aad=(fields.AAD_RECORD + NETWORK).hex(),
                to_be_signed=cose.sig_structure(fields.AAD_RECORD + NETWORK, payload).hex(),
            )
        )
    refused = [
        (message(tag=""), "tag", "no tag"),
        (message(tag="d83d"), "tag", "tag 61"),
        (message(tag="d9d9f7d2"), "tag", "tag 55799 first"),
        (message(tag="d812"), "tag", "tag 18 in two bytes"),
        (message(tag="d862"), "tag", "COSE_Sign, tag 98"),
        (message(array="83"), "array of 4", "three parts"),
        (message(array="85") + "00", "array of 4", "five parts"),
        (message(array="9804"), "array of 4", "count in two bytes"),
        (message(array="9f") + "ff", "array of 4", "indefinite array"),
        (message(protected="43a10127"), "algorithm", "EdDSA (-8), not fully specified"),
        (message(protected="43a10126"), "algorithm", "ES256 (-7)"),
        (message(protected="44a1013818"), "algorithm", "ESP512 (-25)"),
        (message(protected="45a201320300"), "protected header", "a content type too"),
        (message(protected="40"), "protected header", "empty protected header"),
        (message(protected="41a0"), "protected header", "protected header that is an empty map"),
        (message(protected="a10132"), "protected header", "a map, not a byte string"),
        (message(protected="5803a10132"), "protected header", "length in two bytes"),
        (message(protected="44a1013812"), "algorithm", "-19 in two bytes"),
        (message(protected="43a20132"), "protected header", "map that claims a second pair"),
        (message(unprotected="a0"), "unprotected header", "no kid"),
        (message(unprotected="a10447" + kid.hex()[:14]), "unprotected header", "kid of 7 bytes"),
        (message(unprotected="a10449" + kid.hex() + "00"), "unprotected header", "kid of 9 bytes"),
        (message(unprotected="a20448" + kid.hex() + "0540"), "unprotected header", "a second parameter"),
        (message(unprotected="a10132"), "unprotected header", "the algorithm, unprotected"),
        (message(payload="f6"), "payload", "detached payload"),
        (message(payload="6161"), "payload", "text payload"),
        (message(payload="580100"), "payload", "length in two bytes"),
        (message(payload="590017" + "00" * 23), "payload", "length in three bytes"),
        (message(payload="5a00000001" + "00"), "payload", "length in five bytes"),
        (message(payload="5f4101ff"), "payload", "indefinite payload"),
        (message(end="583f" + "00" * 63), "signature", "63 bytes"),
        (message(end="5841" + "00" * 65), "signature", "65 bytes"),
        (message(end="590040" + "00" * 64), "signature", "length in three bytes"),
        (message() + "00", "signature", "a byte after the end"),
        (message()[:-2], "signature", "last byte missing"),
        (message(end=""), "signature", "no signature"),
        (head.hex() + kid.hex()[:8], "payload", "cut inside the kid"),
        (head.hex() + kid.hex(), "payload", "cut before the payload"),
        (head.hex()[:8], "protected header", "cut inside the protected header"),
        ("", "tag", "nothing"),
        (message(payload="5903ab" + "00" * 939), "message", "one byte longer than a message may be"),
    ]
    keys = [
        good(
            source,
            "COSE Key Thumbprint with SHA-256 (RFC 9679) and the kid cut from it",
            source,
            public_key=key.public.hex(),
            thumbprint=cose.key_thumbprint(key.public).hex(),
            kid=key.kid.hex(),
        )
        for source, key in (("RFC 8032 section 7.1, test 1", STATION), ("RFC 8032 section 7.1, test 2", COLLECTOR))
    ]
    return {
        "about": "COSE_Sign1 profile (SPEC.md section 3): taking messages apart, before any signature is checked; the "
        "signatures here are not real. `to_be_signed` is the Sig_structure.",
        "good": accepted,
        "keys": keys,
        "bad": [
            bad(why, "not of the one form of a signed message", "CoseError", says, message=m)
            for m, says, why in refused
        ],
    }


def frame_vectors() -> dict:
    tag = NETWORK[:4]
    body = FIRST_MESSAGE
    other = bytes.fromhex("00112234") + NETWORK[4:]
    accepted = [
        ("a record", fields.FRAME_RECORD, body),
        ("a beacon", fields.FRAME_BEACON, BEACON_MESSAGE),
        ("an empty body", fields.FRAME_RECORD, b""),
        ("the largest body", fields.FRAME_RECORD, bytes(fields.MAX_RECORD_BYTES)),
    ]
    refused = [
        (b"", "ends early", "nothing"),
        (cbor.encode([1, tag]), "array of 3", "two parts"),
        (cbor.encode([1, tag, body, 0]), "array of 3", "four parts"),
        (cbor.encode({1: tag}), "array of 3", "a map"),
        (cbor.encode(7), "array of 3", "an integer"),
        (cbor.encode([0, tag, body]), "kind", "kind 0"),
        (cbor.encode([3, tag, body]), "kind", "kind 3"),
        (cbor.encode([tag, tag, body]), "kind", "kind is a byte string"),
        (cbor.encode([[], tag, body]), "kind", "kind is an array"),
        (cbor.encode([1, tag[:3], body]), "network", "tag of 3 bytes"),
        (cbor.encode([1, tag + b"\0", body]), "network", "tag of 5 bytes"),
        (cbor.encode([1, 1, body]), "network", "tag is an integer"),
        (cbor.encode([1, tag, 5]), "body", "body is an integer"),
        (cbor.encode([1, tag, []]), "body", "body is an array"),
        (cbor.encode([1, tag, body]) + b"\0", "trailing", "a byte after the end"),
        (cbor.encode([1, tag, body])[:-1], "only", "last byte missing"),
        (b"\x98\x03" + cbor.encode([1, tag, body])[1:], "longer than needed", "count in two bytes"),
        (cbor.encode([1, tag, [[1]]]), "nested too deep", "nested too deep"),
        (
            cbor.encode([1, tag, bytes(fields.MAX_RECORD_BYTES + 1)]),
            "allowed 1034",
            "one byte longer than a frame may be",
        ),
    ]
    return {
        "about": "Frames (SPEC.md section 12), read by a station or collector of `network`. `foreign` is true when the "
        "frame is well-formed and another deployment's: refusal reason wrong-network, otherwise damaged.",
        **KEYS,
        "good": [
            good(
                name,
                "must decode to kind and body, and encode back",
                frame=frame.encode(kind, NETWORK, b).hex(),
                kind=kind,
                body=b.hex(),
            )
            for name, kind, b in accepted
        ],
        "bad": [bad(why, "not a frame", "FrameError", says, frame=f.hex(), foreign=False) for f, says, why in refused]
        + [
            bad(
                "another deployment's",
                "its network tag is not ours",
                "FrameError",
                "network: frame of another deployment",
                frame=frame.encode(fields.FRAME_RECORD, other, body).hex(),
                foreign=True,
            )
        ],
    }


def line_vectors() -> dict:
    whole = frame.encode(fields.FRAME_RECORD, NETWORK, FIRST_MESSAGE)
    text = line.encode(whole)
    bare = text[:-2]
    other = line.encode(frame.encode(fields.FRAME_BEACON, NETWORK, BEACON_MESSAGE))
    flipped = bytearray(bare)
    flipped[40] ^= 1
    refused = [
        (bare[:-1], "cut short", "CRC of 7 digits"),
        (b"!HF1:", "cut short", "nothing after the mark"),
        (b"!HF2:" + bare[5:], "cut short", "another mark"),
        (bare[:-9], "cut short", "no CRC"),
        (bare[:-8] + bare[-8:].upper(), "spelling", "CRC in capitals"),
        (bytes(flipped), "spelling", "one bit of the base64 wrong"),
        (bare[:-1] + (b"0" if bare[-1:] != b"0" else b"1"), "spelling", "one digit of the CRC wrong"),
        (bare[:60] + b" " + bare[60:], "spelling", "a blank inside"),
        (bare[:5] + b"A:" + bare[-8:], "base64", "base64 of one digit"),
        (bare[:5] + b"AB==:" + b"d202ef8d", "spelling", "stray bits in the last digit"),
        (line.encode(bytes(fields.MAX_FRAME_BYTES + 1))[:-2], "too long", "one byte longer than a frame may be"),
    ]
    streams = [
        (
            "frame and text",
            [b"station ready\r\n", text, b"> "],
            [["text", b"station ready".hex()], ["frame", whole.hex()]],
            0,
        ),
        ("split anywhere", [text[:7], text[7:8], text[8:100], text[100:]], [["frame", whole.hex()]], 0),
        ("two at once", [text + other], [["frame", whole.hex()], ["frame", line.decode(other[:-2]).hex()]], 0),
        ("LF alone, CR alone", [bare + b"\n" + bare + b"\r"], [["frame", whole.hex()]] * 2, 0),
        ("empty lines give nothing", [b"\r\n\n\r\r\n"], [], 0),
        (
            "text before the mark on the same line",
            [b"> status" + text],
            [["text", b"> status".hex()], ["frame", whole.hex()]],
            0,
        ),
        (
            "cut by a reset, then whole",
            [text[:50] + text],
            [["bad", "cut short by another"], ["frame", whole.hex()]],
            1,
        ),
        ("cut by a reset, then text", [text[:50] + b"boot 2\r\n" + text], [["bad", ""], ["frame", whole.hex()]], 1),
        ("text in the middle", [text[:50] + b"oops\r\n" + text[50:]], [["bad", ""], ["text", bare[50:].hex()]], 1),
        ("damaged", [bytes(flipped) + b"\r\n" + text], [["bad", "spelling"], ["frame", whole.hex()]], 1),
        (
            "a line as long as allowed",
            [b"x" * fields.MAX_LINE_BYTES + b"\n"],
            [["text", (b"x" * fields.MAX_LINE_BYTES).hex()]],
            0,
        ),
        (
            "a line one byte longer",
            [b"x" * (fields.MAX_LINE_BYTES + 1) + b"\n" + text],
            [["bad", "longer"], ["frame", whole.hex()]],
            1,
        ),
        (
            "an endless line, then life goes on",
            [b"\0" * 1000] * 4 + [b"\n", text],
            [["bad", "longer"], ["frame", whole.hex()]],
            1,
        ),
        (
            "binary noise",
            [bytes(i for i in range(256) if i not in (10, 13)) + b"\n"],
            [["text", bytes(i for i in range(256) if i not in (10, 13)).hex()]],
            0,
        ),
        ("an unfinished line gives nothing yet", [bare], [], 0),
    ]
    return {
        "about": "The serial line (SPEC.md section 13). `line` vectors are one line without its end; `streams` are "
        "pieces of input as they come, the items a reader must give, and how many it must count as bad.",
        **KEYS,
        "good": [
            good(
                name,
                "must decode to this frame; the frame encodes to this line with CR LF",
                line=line.encode(f)[:-2].decode(),
                frame=f.hex(),
            )
            for name, f in (
                ("a record", whole),
                ("a beacon", line.decode(other[:-2])),
                ("an alert", frame.encode(1, NETWORK, ALERT_MESSAGE)),
                ("a heartbeat", frame.encode(1, NETWORK, HEARTBEAT_MESSAGE)),
                ("an empty frame", b""),
                ("the largest frame", bytes(fields.MAX_FRAME_BYTES)),
            )
        ],
        "bad": [
            bad(why, "not the one spelling of a frame", "ValueError", says, line=text.hex())
            for text, says, why in refused
        ],
        "streams": [
            good(name, "pieces in, items out", pieces=[p.hex() for p in pieces], items=items, bad=count)
            for name, pieces, items, count in streams
        ],
    }
