"""Vectors of all signed messages: fields, every bound, rules between fields, the signature."""

import hashlib

from generate import samples
from generate.samples import AUTHORITY, COLLECTOR, NETWORK, OTHER_NETWORK, STATION
from generate.vector_form import AUTHORITY_KEYS, KEYS, bad, good
from holdfire_protocol import cbor, cose, enrolment, fields, handover, record, schema, update

L = 2**252 + 27742317777372353535851937790883648493  # order of the base point, RFC 8032 section 5.1
SMALL_ORDER = bytes([1]) + bytes(31)  # the neutral element
SMALL_ORDER_LONG = bytes.fromhex(
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"
)  # it again, y = p + 1
BASE_POINT = bytes.fromhex("58" + "66" * 31)


def plain(value):
    """Fields as JSON can say them: byte strings in hex, tuples as arrays."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value.hex() if isinstance(value, bytes) else value


def records() -> dict:
    base = {**samples.ALERT, "observations": [samples.IMPULSE, samples.TAMPER], "restart": 3, "thinned": [(1, 1)]}
    base["status"] = {**samples.STATUS, "unrecorded": 2, "fault": b"gnss: OSError: -258", "clips": bytes(32)}
    small = {"seq": 1, "prev": bytes(32), "boot": 1, "time": samples.NO_TIME, "uptime_ms": 0}
    accepted = [
        ("first record", "no time yet, linked to genesis", samples.FIRST),
        ("alert", "one impulse, timed by GNSS with PPS", samples.ALERT),
        ("heartbeat", "status alone, timed by a free-running crystal", samples.HEARTBEAT),
        ("everything", "both kinds of observation, status, a restart and numbers given up in one record", base),
        ("smallest", "every field at its least, nothing optional", {**small, "status": _edge(fields.STATUS, 3, False)}),
        (
            "largest status",
            "every field of a status at its greatest",
            {
                "seq": fields.U32,
                "prev": b"\xff" * 32,
                "boot": fields.U32,
                "uptime_ms": 1 << 48,
                "time": (fields.TIME_HOST, fields.UTC_MAX_US, fields.U32),
                "status": _edge(fields.STATUS, 4, True),
            },
        ),
        (
            "largest observations",
            "every field of both kinds at its greatest",
            {**small, "observations": [_edge(variant, 4, True) for _, variant in fields.OBSERVATION.variants]},
        ),
        (
            "burst",
            "as many observations as a record may hold",
            {**samples.ALERT, "observations": [samples.TAMPER] * 16},
        ),
        (
            "earliest time",
            "the first moment a clock may claim",
            {**small, "time": (fields.TIME_CRYSTAL, fields.UTC_MIN_US, 0), "restart": fields.RESTART_JOURNAL_LOST},
        ),
    ]
    return {
        "about": "Signed records (SPEC.md sections 3 to 10). `good`: `message` verifies under the station's key and "
        "reads as `fields`. `bad_payloads`: payloads that must be refused whoever signed them; `cddl` is true when "
        "holdfire.cddl refuses them too. `bad_messages`: messages that must be refused; `public_key` is the key to "
        "check under; `code` is the refusal reason (SPEC.md section 15).",
        **KEYS,
        "good": [_good(name, why, STATION.record(named), named) for name, why, named in accepted],
        "bad_messages": _signature_faults(samples.ALERT_MESSAGE, STATION, fields.AAD_RECORD, fields.AAD_BEACON),
        "bad_payloads": _cbor_faults(base) + _field_faults(fields.RECORD, base) + _record_rules(small),
    }


def beacons() -> dict:
    base = samples.BEACON
    accepted = [
        ("one receipt", "acknowledges an alert", base),
        ("time only", "no receipts: time for stations without a fix", {**base, "receipts": []}),
        (
            "full",
            "as many receipts as a beacon may hold",
            {
                **base,
                "number": (1 << 53) - 1,
                "receipts": [(bytes([i]) * 8, fields.U32, hashlib.sha256(bytes([i])).digest()) for i in range(16)],
            },
        ),
    ]
    return {
        "about": "Signed beacons (SPEC.md section 11), as record.json.",
        **KEYS,
        "good": [_good(name, why, COLLECTOR.beacon(named), named) for name, why, named in accepted],
        "bad_messages": _signature_faults(samples.BEACON_MESSAGE, COLLECTOR, fields.AAD_BEACON, fields.AAD_RECORD),
        "bad_payloads": _field_faults(fields.BEACON, base)
        + [
            _refused(
                "time before Holdfire",
                "no honest clock says so",
                "time.utc_us: ",
                _swap(schema.pack(fields.BEACON, base), 2, [fields.TIME_HOST, fields.UTC_MIN_US - 1, 0]),
            ),
            _refused(
                "no time",
                "stations without a fix take their time from a beacon",
                "time.source: a beacon has a time",
                _swap(schema.pack(fields.BEACON, base), 2, samples.NO_TIME),
            ),
        ],
    }


def enrolments() -> dict:
    base = samples.ENROLMENT
    accepted = [
        ("an ESP32", "its chip id is the factory MAC address", base),
        ("longest", "all fields at their longest", {**base, "chip": bytes(16), "board": b"~" * 32}),
        ("shortest", "all fields at their shortest", {**base, "board": b"!"}),
    ]
    return {
        "about": "Signed enrolments (SPEC.md section 17), as record.json.",
        **KEYS,
        "good": [_good(name, why, STATION.enrolment(named), named) for name, why, named in accepted],
        "bad_messages": _signature_faults(
            samples.ENROLMENT_MESSAGE, STATION, enrolment.AAD_ENROLMENT, fields.AAD_RECORD
        ),
        "bad_payloads": _field_faults(enrolment.ENROLMENT, base) + _board_faults(enrolment.ENROLMENT, base, 4),
    }


def updates() -> dict:
    base = samples.UPDATE
    accepted = [
        ("programs", "for a plain ESP32", base),
        ("longest", "all fields at their greatest", {**_edge(update.UPDATE, 4, True), "board": b"~" * 32}),
        ("shortest", "all fields at their least", {**_edge(update.UPDATE, 3, True), "board": b"!"}),
    ]
    return {
        "about": "Signed updates (SPEC.md section 19), as record.json; the authority signs.",
        **KEYS,
        **AUTHORITY_KEYS,
        "good": [_good(name, why, AUTHORITY.update(named), named) for name, why, named in accepted],
        "bad_messages": _signature_faults(
            samples.UPDATE_MESSAGE, AUTHORITY, update.AAD_UPDATE, handover.AAD_HANDOVER
        ),
        "bad_payloads": _field_faults(update.UPDATE, base) + _board_faults(update.UPDATE, base, 2),
    }


def handovers() -> dict:
    base = samples.HANDOVER
    accepted = [
        ("the collector's", "another collector from now on", base),
        (
            "the authority's",
            "another authority from now on",
            {**base, "office": handover.AUTHORITY, "kid": AUTHORITY.kid},
        ),
    ]
    return {
        "about": "Signed handovers (SPEC.md section 20), as record.json; the authority signs.",
        **KEYS,
        **AUTHORITY_KEYS,
        "good": [_good(name, why, AUTHORITY.handover(named), named) for name, why, named in accepted],
        "bad_messages": _signature_faults(
            samples.HANDOVER_MESSAGE, AUTHORITY, handover.AAD_HANDOVER, update.AAD_UPDATE
        ),
        "bad_payloads": _field_faults(handover.HANDOVER, base),
    }


def _good(name: str, why: str, message: bytes, named: dict) -> dict:
    return good(
        name,
        why,
        message=message.hex(),
        payload=cose.parse(message).payload.hex(),
        hash=record.record_hash(message).hex(),
        fields=plain(named),
    )


def _refused(name: str, why: str, says: str, packed, cddl: bool = True) -> dict:
    return bad(name, why, "FieldError", says, payload=cbor.encode(packed).hex(), cddl=cddl)


def _edge(shape, bound: int, optional: bool) -> dict:
    return _edge_rows(shape.rows, bound, optional)


def _edge_rows(rows, bound: int, optional: bool) -> dict:
    """A dict of fields with each at its least (bound 3) or greatest (bound 4)."""
    made = {}
    for row in rows:
        if row[5] or optional:
            if row[2] == fields.TUPLE:
                made[row[1]] = tuple(inner[bound] for inner in row[6].rows)
            else:
                made[row[1]] = b"\xff" * row[bound] if row[2] == fields.BYTES else row[bound]
    return made


def _cbor_faults(base: dict) -> list[dict]:
    """One of each way not to be canonical, in a payload that is otherwise right."""
    whole = record.encode_record(base)
    rest = whole[3:]  # after the head of the map, key 1, seq 2
    one_more = bytes([whole[0] + 1])
    faults = [
        ("seq in two bytes", whole[:2] + b"\x18\x02" + rest, "head longer than needed", False),
        ("seq as a float", whole[:2] + b"\xf9\x40\x00" + rest, "float or simple", True),
        ("seq as a bignum", whole[:2] + b"\xc2\x41\x02" + rest, "a tag", True),
        ("seq twice", one_more + b"\x01\x02" + whole[1:], "map key repeated", True),
        ("text key", one_more + whole[1:] + b"\x61\x61\x01", "map key is neither", True),
        (
            "keys out of order",
            whole[:1]
            + _pair(base, 3)
            + whole[1:3]
            + _pair(base, 2)
            + whole[3 + len(_pair(base, 2)) + len(_pair(base, 3)) :],
            "out of order",
            False,
        ),
        ("indefinite map", b"\xbf" + whole[1:] + b"\xff", "indefinite length", False),
        ("a byte after the end", whole + b"\x00", "trailing", True),
        ("last byte missing", whole[:-1], "bytes follow", True),
        ("nothing", b"", "ends early", True),
    ]
    return [
        bad(name, "not deterministic CBOR", "CborError", says, payload=payload.hex(), cddl=cddl)
        for name, payload, says, cddl in faults
    ]


def _pair(base: dict, key: int) -> bytes:
    return bytes([key]) + cbor.encode(schema.pack(fields.RECORD, base)[key])


def _swap(packed, key, value):
    return {**packed, key: value}


def _record_rules(small: dict) -> list[dict]:
    packed = schema.pack(fields.RECORD, {**small, "restart": 1})
    says_nothing = {key: packed[key] for key in packed if key != 6}
    return [
        _refused(
            "says nothing",
            "neither observations, status, restart nor thinned",
            "record: says nothing",
            says_nothing,
            cddl=False,
        ),
        _refused(
            "first record, yet not number 1",
            "a station begins once; later it says that its journal was lost",
            "restart: 1, the first record, yet seq is 2",
            {**packed, 1: 2},
            cddl=False,
        ),
        *(
            _refused(what, why, "thinned: runs must rise", {**packed, 1: 9, 6: 3, 9: runs}, cddl=False)
            for what, why, runs in (
                ("thinned backwards", "last below first", [[5, 4]]),
                ("thinned twice", "runs overlap", [[1, 3], [3, 4]]),
                ("thinned in pieces", "runs touch: one run says it", [[1, 3], [4, 5]]),
                ("thinned itself", "a record gives up only what was made before it", [[1, 9]]),
            )
        ),
        _refused(
            "no source but a time",
            "a time without a source",
            "time: source is none",
            _swap(packed, 4, [0, fields.UTC_MIN_US, fields.U32]),
        ),
        _refused(
            "no source but an uncertainty",
            "an uncertainty without a source",
            "time: source is none",
            _swap(packed, 4, [0, 0, 0]),
        ),
        _refused(
            "time before Holdfire",
            "no honest clock says so",
            "time.utc_us: ",
            _swap(packed, 4, [3, fields.UTC_MIN_US - 1, 0]),
        ),
        _refused("not a map", "the payload is an array", "record: not a map", [1, 2]),
        _refused("two unknown keys", "one is named, the same by everybody", "unknown key 98", {**packed, 99: 0, 98: 0}),
        _refused("a byte string as key", "no such key", "record: unknown key", {**packed, b"\x01": 1}),
    ]


def _board_faults(shape, base: dict, key: int) -> list[dict]:
    """Names of a board, the field with that key, that would do harm where they are printed."""
    packed = schema.pack(shape, base)
    names = (("an escape", b"a\x1b[2J"), ("a blank", b"a b"), ("a byte above 0x7e", b"\x7f"))
    says = "board: not printable ASCII"
    return [
        _refused(f"board with {what}", "it is printed", says, _swap(packed, key, name), cddl=False)
        for what, name in names
    ]


def _field_faults(shape, base: dict) -> list[dict]:
    """For each field of a message, at every depth: missing, of the wrong type, just below and just above its range."""
    out = []

    def visit(rows, packed, where, build, is_tuple):
        for row in rows:
            key, name, kind, required = row[0], row[1], row[2], row[5]
            inner = row[6] if len(row) > 6 else None
            path = where + name

            def put(value, key=key):
                changed = list(packed) if is_tuple else dict(packed)
                changed[key] = value
                return build(changed)

            def without(key=key):
                return build(
                    [v for i, v in enumerate(packed) if i != key]
                    if is_tuple
                    else {k: v for k, v in packed.items() if k != key}
                )

            if required and not is_tuple:
                says = "unknown kind" if name == "kind" else "missing"
                out.append(_refused(f"{path} missing", "a required field", f"{path}: {says}", without()))
            if name == "kind":  # the other kind's number would only change which rows apply
                row = (*row[:3], 1, len(fields.OBSERVATION.variants), *row[5:])
            for what, value, says in _wrong_values(row, packed[key]):
                says = "unknown kind" if name == "kind" else says
                out.append(_refused(f"{path} {what}", "outside what fields.py allows", f"{path}: {says}", put(value)))
            if kind == fields.MAP:
                visit(inner.rows, packed[key], path + ".", put, False)
            elif kind == fields.TUPLE:
                visit(inner.rows, packed[key], path + ".", put, True)
            elif kind == fields.LIST:
                seen = [variant.rows for _, variant in inner.variants] if inner.variants else [inner.rows]
                for index, element_rows in enumerate(seen):

                    def put_element(value, index=index, put=put, key=key):
                        return put([value if i == index else old for i, old in enumerate(packed[key])])

                    out.append(
                        _refused(
                            f"{path}[{index}] is an integer",
                            "an element of the wrong type",
                            f"{path}[{index}]: ",
                            put_element(1),
                        )
                    )
                    visit(element_rows, packed[key][index], f"{path}[{index}].", put_element, inner.is_tuple)
        if not is_tuple:
            out.append(
                _refused(
                    f"{where or shape.name + '.'}99 unknown", "no such key", "unknown key 99", build({**packed, 99: 0})
                )
            )

    visit(shape.rows, schema.pack(shape, base), "", lambda packed: packed, False)
    return out


def _wrong_values(row, right) -> list[tuple]:
    """(what is wrong, value, what the refusal says) for each way a value can break its row."""
    kind, low, high = row[2:5]
    if kind == fields.BYTES:
        sizes = [("too short", low - 1), ("too long", high + 1)]
        return [("is an integer", 1, "not a byte string")] + [(w, bytes(n), f"{n} bytes, allowed") for w, n in sizes]
    if kind in (fields.UINT, fields.INT):
        edges = [("too small", low - 1), ("too large", high + 1)]
        return [("is a byte string", b"\x01", "not an integer")] + [(w, v, f"{v} is outside") for w, v in edges]
    if kind == fields.LIST:
        sizes = [("too few", low - 1)] * bool(low) + [("too many", high + 1)]
        return [("is an integer", 1, "not an array")] + [(w, right[:1] * n, f"{n} elements, allowed") for w, n in sizes]
    if kind == fields.TUPLE:
        changed = [("too short", right[:-1]), ("too long", [*right, 0])]
        return [("is an integer", 1, "not an array")] + [(w, v, f"{len(v)} elements, not") for w, v in changed]
    return [("is an array", [], "not a map")]


def _signature_faults(message: bytes, signer, aad: bytes, other_aad: bytes) -> list[dict]:
    parts = cose.parse(message)
    r, s = parts.signature[:32], int.from_bytes(parts.signature[32:], "little")
    signed = cose.sig_structure(aad + NETWORK, parts.payload)

    def resigned(signature: bytes) -> bytes:
        return cose.join(parts.kid, parts.payload, signature)

    flipped = bytearray(message)
    flipped[40] ^= 1
    faults = [
        (
            "one bit of the payload",
            bytes(flipped),
            signer.public,
            "bad-signature",
            "InvalidSignature",
            "the payload is signed",
        ),
        (
            "one bit of R",
            resigned(bytes([r[0] ^ 1]) + parts.signature[1:]),
            signer.public,
            "bad-signature",
            "InvalidSignature",
            "R is hashed",
        ),
        (
            "s + L",
            resigned(r + (s + L).to_bytes(32, "little")),
            signer.public,
            "bad-signature",
            "InvalidSignature",
            "s must be below L, or anyone could make a second valid signature",
        ),
        (
            "R of small order",
            resigned(_small_order_r(signer, signed, SMALL_ORDER)),
            signer.public,
            "bad-signature",
            "InvalidSignature",
            "sB = R + hA holds, and R is of small order",
        ),
        (
            "R not canonical",
            resigned(_small_order_r(signer, signed, SMALL_ORDER_LONG)),
            signer.public,
            "bad-signature",
            "InvalidSignature",
            "y of R is not below p",
        ),
        (
            "all zero signature",
            resigned(bytes(64)),
            signer.public,
            "bad-signature",
            "InvalidSignature",
            "nothing was signed",
        ),
        (
            "signed for another deployment",
            signer.seal(parts.payload, aad, OTHER_NETWORK),
            signer.public,
            "bad-signature",
            "InvalidSignature",
            "the network id is signed, so a message cannot move to another deployment",
        ),
        (
            "signed for another purpose",
            signer.seal(parts.payload, other_aad),
            signer.public,
            "bad-signature",
            "InvalidSignature",
            "the domain string is signed, so a record is never a beacon and a beacon never a record",
        ),
        (
            "signed without external_aad",
            signer.seal(parts.payload, b"", b""),
            signer.public,
            "bad-signature",
            "InvalidSignature",
            "a plain COSE signature says neither purpose nor deployment",
        ),
        (
            "another's kid",
            cose.join(bytes(8), parts.payload, parts.signature),
            signer.public,
            "unknown-station",
            "CoseError",
            "the kid is not enrolled",
        ),
        (
            "key of small order",
            cose.join(cose.key_id(SMALL_ORDER), parts.payload, BASE_POINT + (1).to_bytes(32, "little")),
            SMALL_ORDER,
            "bad-signature",
            "InvalidSignature",
            "any message verifies under this key: B = B + h * neutral",
        ),
        ("cut short", message[:-1], signer.public, "not-canonical", "CoseError", "the signature is incomplete"),
    ]
    return [
        bad(name, why, error, "", message=m.hex(), public_key=key.hex(), code=code)
        for name, m, key, code, error, why in faults
    ]


def _small_order_r(signer, signed: bytes, r: bytes) -> bytes:
    """A signature with R the neutral element, made with the secret scalar: s = h * a."""
    scalar = bytearray(hashlib.sha512(signer.secret).digest()[:32])
    scalar[0] &= 248
    scalar[31] = (scalar[31] & 127) | 64
    h = int.from_bytes(hashlib.sha512(r + signer.public + signed).digest(), "little")
    return r + (h * int.from_bytes(scalar, "little") % L).to_bytes(32, "little")
