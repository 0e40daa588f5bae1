"""PyPI `cwt`, a COSE implementation that shares no code with ours: it verifies our records; we take its own."""

import cbor2
import pytest
from cwt import COSE, COSEKey, VerifyError

from generate import samples
from holdfire import ed25519_strict
from holdfire_protocol import cbor, cose, fields, record

STATION = samples.STATION
AAD = fields.AAD_RECORD + samples.NETWORK
PUBLIC = COSEKey.new({1: 1, -1: 6, -2: STATION.public, 3: -19, 2: STATION.kid})
SECRET = COSEKey.new({1: 1, -1: 6, -2: STATION.public, -4: STATION.secret, 3: -19, 2: STATION.kid})
PAYLOAD = cose.parse(samples.ALERT_MESSAGE).payload


def read(message: bytes) -> dict:
    """Fields of a record as a receiver of ours takes it: form, signature, content."""
    return record.decode_record(record.verify1(message, STATION.public, fields.AAD_RECORD, samples.NETWORK,
                                               ed25519_strict.verify))


@pytest.mark.parametrize("message", [samples.FIRST_MESSAGE, samples.ALERT_MESSAGE, samples.HEARTBEAT_MESSAGE])
def test_cwt_verifies_our_records(message):
    reader = COSE.new(verify_kid=True)
    assert reader.decode(message, keys=[PUBLIC], external_aad=AAD) == cose.parse(message).payload


@pytest.mark.parametrize("aad", [b"", samples.NETWORK, fields.AAD_BEACON + samples.NETWORK,
                                 fields.AAD_RECORD + samples.OTHER_NETWORK])
def test_cwt_refuses_our_record_for_another_purpose_or_deployment(aad):
    with pytest.raises(VerifyError):
        COSE.new(verify_kid=True).decode(samples.ALERT_MESSAGE, keys=[PUBLIC], external_aad=aad)


def test_cwt_signs_the_same_bytes_as_we_do():
    maker = COSE.new(alg_auto_inclusion=True, kid_auto_inclusion=True)
    assert maker.encode_and_sign(PAYLOAD, key=SECRET, external_aad=AAD) == samples.ALERT_MESSAGE
    assert read(samples.ALERT_MESSAGE) == samples.ALERT


@pytest.mark.parametrize("protected, unprotected, part", [
    ({1: -19, 4: STATION.kid}, {}, "protected header"),
    ({1: -19, 3: 0}, {4: STATION.kid}, "protected header"),
    ({}, {1: -19, 4: STATION.kid}, "protected header"),
    ({1: -19}, {}, "unprotected header"),
    ({1: -19}, {4: STATION.kid, 3: 0}, "unprotected header"),
    ({1: -19}, {4: STATION.kid, 33: b"x"}, "unprotected header"),
])
def test_what_cwt_signs_with_other_headers_is_refused_though_cwt_accepts_it(protected, unprotected, part):
    message = COSE.new().encode_and_sign(PAYLOAD, SECRET, protected, unprotected, external_aad=AAD)
    assert COSE.new().decode(message, keys=[PUBLIC], external_aad=AAD) == PAYLOAD
    with pytest.raises(cose.CoseError, match=f"^{part}"):
        cose.parse(message)


def test_eddsa_that_is_not_fully_specified_is_refused():
    key = COSEKey.new({1: 1, -1: 6, -2: STATION.public, -4: STATION.secret, 3: -8, 2: STATION.kid})
    maker = COSE.new(alg_auto_inclusion=True, kid_auto_inclusion=True)
    with pytest.raises(cose.CoseError, match="algorithm is not Ed25519"):
        cose.parse(maker.encode_and_sign(PAYLOAD, key=key, external_aad=AAD))


def signed(payload: bytes) -> bytes:
    """Signed by cwt, so only the payload is in question."""
    maker = COSE.new(alg_auto_inclusion=True, kid_auto_inclusion=True)
    return maker.encode_and_sign(payload, key=SECRET, external_aad=AAD)


PACKED = cbor2.loads(PAYLOAD)


@pytest.mark.parametrize("name, payload", [
    ("keys in another order", cbor2.dumps(dict(reversed(PACKED.items())))),
    ("inner keys in another order", cbor2.dumps({**PACKED, 7: [dict(reversed(PACKED[7][0].items()))]})),
    ("seq as a float", cbor2.dumps({**PACKED, 1: 2.0})),
    ("seq as true", cbor2.dumps({**PACKED, 1: True})),
    ("key 1 as true", cbor2.dumps({True if k == 1 else k: v for k, v in PACKED.items()})),
    ("key 1 as a float", cbor2.dumps({1.0 if k == 1 else k: v for k, v in PACKED.items()})),
    ("seq in a longer head", b"\xa6\x01\x18\x02" + PAYLOAD[3:]),
    ("seq as a bignum", b"\xa6\x01\xc2\x41\x02" + PAYLOAD[3:]),
    ("self-described CBOR", b"\xd9\xd9\xf7" + PAYLOAD),
    ("an indefinite map", b"\xbf" + PAYLOAD[1:] + b"\xff"),
    ("prev as text", cbor2.dumps({**PACKED, 2: "x" * 32})),
    ("a field more", cbor2.dumps({**PACKED, 99: 0})),
    ("prev shared", cbor2.dumps({**PACKED, 2: cbor2.CBORTag(28, PACKED[2])})),
])
def test_the_same_fields_in_another_encoding_are_refused(name, payload):
    assert payload != PAYLOAD
    message = signed(payload)
    assert COSE.new().decode(message, keys=[PUBLIC], external_aad=AAD) == payload
    with pytest.raises((cbor.CborError, record.FieldError)):
        read(message)


def test_the_same_fields_in_the_same_encoding_are_accepted_whoever_made_them():
    by_cbor2 = cbor2.dumps({key: PACKED[key] for key in sorted(PACKED)})
    assert read(signed(by_cbor2)) == samples.ALERT
