"""Only what a station signed, in its one form, is accepted; each refusal names its reason and the part to blame."""

import random
from decimal import Decimal

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfire import errors
from holdfire.clocks import Clocks
from holdfire.verify import PayloadDecoder, Verifier, check_date
from holdfire_protocol import cbor, cose, fields, record, schema
from tests.system.peer import Chain, found_deployment, impulse

STATUS = {
    "interval_s": 600, "reset_cause": 1, "selftest": 0, "heard_ms": 600_000, "lost_ms": 0, "impulses": 3,
    "floor_db10": -620, "floor_min_db10": -640, "floor_max_db10": -600, "battery_mv": 3900,
    "position": (473_000_000, 85_000_000, 4080, 9), "satellites": 9, "journal_permille": 12, "pending": 0,
    "firmware": bytes(8), "heap_free": 90_000, "refused": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    _, registry, keys = found_deployment(tmp_path_factory.mktemp("base") / "base")
    return registry, keys


@pytest.fixture
def chain(base):
    return Chain(base[1]["alpha"], base[0].network)


def payload_of(**named):
    full = {"seq": 5, "prev": bytes(32), "boot": 1, "time": (3, 1_795_000_000_000_000, 10), "uptime_ms": 7}
    return record.encode_record({**full, **named})


VALID = [
    payload_of(observations=[impulse()]),
    payload_of(observations=[impulse(clipped=300), impulse(kind=1, onset_us=-(1 << 40))], restart=3),
    payload_of(status=STATUS),
    payload_of(status={k: v for k, v in STATUS.items() if k not in ("position", "battery_mv")}, restart=1, seq=1),
    payload_of(restart=2, time=(0, 0, 0xFFFFFFFF)),
    payload_of(observations=[{"kind": 2, "onset_us": 0, "onset_uncertainty_us": 5, "open": 1}]),
]


def strict(payload):
    """What the protocol's own decoder makes of it: (map, None) or (None, words)."""
    try:
        record.decode_record(payload)
        return cbor.decode(payload), None
    except (cbor.CborError, schema.FieldError) as error:
        return None, str(error)


def fast(decoder, payload):
    try:
        return decoder.decode(payload), None
    except (cbor.CborError, schema.FieldError) as error:
        return None, str(error)


def test_the_usual_payloads_take_the_fast_path():
    decoder = PayloadDecoder()
    for payload in VALID:
        assert decoder._decode_fast(payload) == cbor.decode(payload)


def test_mutated_payloads_are_accepted_exactly_when_the_strict_decoder_accepts_them():
    chance = random.Random(20261124)
    decoder = PayloadDecoder()
    accepted = 0
    for number in range(30_000):
        data = bytearray(chance.choice(VALID))
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(data))
            match chance.randrange(5):
                case 0:
                    data[at] ^= 1 << chance.randrange(8)
                case 1:
                    data[at] = chance.choice(b"\xf5\xf9\xfb\xc2\xc5\xd8\x5f\x9f\xbf\xff\x1b" + chance.randbytes(1))
                case 2:
                    data.insert(at, chance.randrange(256))
                case 3:
                    del data[at]
                case 4:
                    other = chance.choice(VALID)
                    start = chance.randrange(len(other))
                    data[at:at] = other[start : start + chance.randrange(1, 30)]
            if not data:
                data = bytearray(b"\xa0")
        payload = bytes(data)
        expected = strict(payload)
        accepted += expected[1] is None
        assert fast(decoder, payload) == expected, (number, payload.hex())
    assert accepted > 1000  # flips inside values stay valid: both verdicts are tried


def variations(value):
    """The value with one thing in it taken away or put in another's place, everywhere."""
    for strange in (True, 1.0, 0, -1, 1 << 64, b"", bytes(32), [], [1, 2, 3], {}, {1: 1}, None, "x"):
        if strange != value or strange.__class__ is not value.__class__:
            yield strange
    if isinstance(value, dict):
        for key in value:
            yield {k: v for k, v in value.items() if k != key}
            yield {(float(k) if k == key else k): v for k, v in value.items()}
            for other in variations(value[key]):
                yield {**value, key: other}
    elif isinstance(value, list):
        for at in range(len(value)):
            yield value[:at] + value[at + 1 :]
            for other in variations(value[at]):
                yield [*value[:at], other, *value[at + 1 :]]


def test_one_thing_missing_or_of_another_type_anywhere_is_judged_as_the_strict_decoder_judges_it():
    decoder = PayloadDecoder()
    tried = 0
    for payload in VALID:
        for changed in variations(cbor2.loads(payload)):
            encoded = cbor2.dumps(changed)
            assert fast(decoder, encoded) == strict(encoded), changed
            tried += 1
    assert tried > 1000


scalars = st.one_of(
    st.integers(-(1 << 70), 1 << 70), st.binary(max_size=40), st.booleans(), st.none(), st.floats(),
    st.text(max_size=3), st.just(Decimal("1.5")), st.builds(cbor2.CBORTag, st.integers(100, 300), st.integers()),
)  # fmt: skip
keys = st.one_of(st.integers(-2, 12), st.sampled_from([1.0, 2.0, True, b"\x01", "1"]))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=9), max_leaves=12
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(VALID), keys, values, st.booleans())
def test_any_cbor_in_any_place_is_judged_as_the_strict_decoder_judges_it(payload, key, value, canonical):
    changed = cbor2.loads(payload)
    changed[key] = value
    encoded = cbor2.dumps(changed, canonical=canonical)
    assert fast(PayloadDecoder(), encoded) == strict(encoded)


def hostile_payloads():
    head = VALID[0][:1]
    return {
        "nested arrays": b"\x81" * 900 + b"\x00",
        "nested maps": b"\xa1\x01" * 450 + b"\x00",
        "nested tags": b"\xc6" * 900 + b"\x00",
        "array of 2^60": b"\x9b\x10\x00\x00\x00\x00\x00\x00\x00",
        "bytes of 2^60": b"\x5b\x10\x00\x00\x00\x00\x00\x00\x00",
        "map of 2^60": b"\xbb\x10\x00\x00\x00\x00\x00\x00\x00",
        "bigfloat with a vast exponent": b"\xc5\x82\x1b" + b"\x7f" * 8 + b"\x03",
        "decimal with a vast exponent": b"\xc4\x82\x1b" + b"\x7f" * 8 + b"\x03",
        "bignum of 900 bytes": b"\xc2\x59\x03\x84" + b"\xff" * 900,
        "regular expression": b"\xd8\x23\x78\x18" + b"(((((a{9999}){9999}){9})b",
        "date beyond the calendar": b"\xc1\x1b" + b"\xff" * 8,
        "value that holds itself": b"\xd8\x1c\x81\xd8\x1d\x00",
        "map that holds itself": b"\xd8\x1c\xa1\x01\xd8\x1d\x00",
        "string references": b"\xd9\x01\x00\x82\x44abcd\xd8\x19\x00",
        "float as key 1": head + b"\xf9\x3c\x00" + VALID[0][2:],
        "true as key 1": head + b"\xf5" + VALID[0][2:],
        "break without a start": b"\xff",
        "endless array": b"\x9f" * 900,
        "nothing": b"",
    }


@pytest.mark.parametrize("name", hostile_payloads())
def test_hostile_payloads_signed_by_a_station_are_refused_and_leave_no_trace(base, chain, name):
    registry, _ = base
    verifier = Verifier(registry)
    payload = hostile_payloads()[name]
    good = chain.make()
    with pytest.raises(errors.Refused) as caught:
        verifier.check(chain.sign(payload))
    assert caught.value.reason == errors.NOT_CANONICAL
    assert caught.value.kid == chain.kid
    assert verifier.check(good).seq == 1


def test_a_refused_payload_leaves_nothing_behind_in_the_decoder():
    decoder = PayloadDecoder()
    for payload in hostile_payloads().values():
        for _ in range(500):  # more than the decoder's limit of depth
            decoder._decode_fast(payload)
    for payload in VALID:
        assert decoder._decode_fast(payload) is not None
    with pytest.raises(cbor.CborError):
        decoder.decode(b"\xd8\x1c" + VALID[0])  # marks the whole record as shared value 0
    with pytest.raises(cbor2.CBORDecodeError, match="shared reference"):
        decoder._decoder.decode_from_bytes(b"\xd8\x1d\x00")  # and this would be that record again


def test_a_valid_record_gives_its_fields(base, chain):
    registry, _ = base
    message = chain.make(status=STATUS, restart=1)
    found = Verifier(registry).check(message)
    assert found.prev == record.genesis(registry.network, chain.public)
    assert (found.seq, found.boot, found.restart) == (1, 1, 1)
    assert (found.hash, found.kid, found.station.name) == (record.record_hash(message), chain.kid, "alpha")
    assert found.time[0] == fields.TIME_GNSS
    assert (found.observation_kinds(), found.has_status()) == ([1], True)


def test_each_reason_has_its_case(base, chain):
    registry, keys = base
    stranger = Chain(Ed25519PrivateKey.generate(), registry.network)
    elsewhere = Chain(keys["alpha"], bytes(16))
    good = chain.make()
    parts = cose.parse(good)
    bravo = cose.key_id(keys["bravo"].public_key().public_bytes_raw())
    cases = [
        (good[1:], errors.NOT_CANONICAL, "tag"),
        (good + b"\x00", errors.NOT_CANONICAL, "signature"),
        (good.replace(cose.PROTECTED, b"\xa1\x01\x26"), errors.NOT_CANONICAL, "protected header"),
        (b"\xd2" + bytes(2000), errors.NOT_CANONICAL, "message"),
        (stranger.make(), errors.UNKNOWN_STATION, "kid"),
        (elsewhere.make(), errors.BAD_SIGNATURE, "signature"),
        (cose.join(parts.kid, parts.payload, bytes(64)), errors.BAD_SIGNATURE, "signature"),
        (cose.join(bravo, parts.payload, parts.signature), errors.BAD_SIGNATURE, "signature"),
        (chain.sign(b"\xa1\x01\x18\x05"), errors.NOT_CANONICAL, "payload"),
        (chain.sign(cbor.encode({1: 0})), errors.NOT_CANONICAL, "seq"),
        (chain.sign(cbor.encode({**cbor.decode(parts.payload), 99: 1})), errors.NOT_CANONICAL, "record"),
    ]  # fmt: skip
    verifier = Verifier(registry)
    for message, reason, field in cases:
        with pytest.raises(errors.Refused) as caught:
            verifier.check(message)
        assert (caught.value.reason, caught.value.field) == (reason, field), caught.value


def test_every_flipped_bit_of_a_record_is_refused(base, chain):
    verifier = Verifier(base[0])
    good = chain.make()
    for bit in range(8 * len(good)):
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(errors.Refused):
            verifier.check(bytes(damaged))


S = 1_000_000
NOW = 1_795_600_000 * S


@pytest.mark.parametrize(
    ("time", "uptime_ms", "dated", "words"),
    [
        ((0, 0, fields.U32), 0, None, None),
        ((3, NOW, 1000), 0, None, None),
        ((3, NOW + 121 * S, 1000), 0, None, None),  # our own second of uncertainty on top of the tolerance
        ((3, NOW + 122 * S, 1000), 0, None, "later than the base's clock"),
        ((1, NOW + 500 * S, 400 * S), 0, None, None),  # says itself that it is that uncertain
        ((3, NOW - 86_500 * S, 1000), 0, None, "long before alpha was enrolled"),
        ((3, NOW, 1000), 5000, (1, 0, NOW - 5 * S, 1000), None),
        ((3, NOW, 1000), 5000, (1, 4000, NOW, 1000), "backwards against uptime by 1.000 s"),
        ((3, NOW, 1000), 5000, (2, 4000, NOW, 1000), None),  # another boot has another uptime
        ((3, NOW, 1000), 5000, (1, 4000, NOW - 9 * S, 1000), "ahead of uptime by 8.000 s"),
        ((3, NOW, 1000), 5000, (1, 4000, NOW - 9 * S, 8 * S), None),  # a better clock came: the old one said so
        ((3, NOW, 1000), 5000, (1, 4000, NOW, 1 * S), None),  # the other record was this uncertain
        ((3, NOW, 1000), 5000, (1, 4000, NOW - 1_004_000, 1000), None),  # both uncertainties, and rounding
        ((3, NOW, 1000), 5000, (1, 4000, NOW - 1_005_000, 1000), "ahead"),
        ((3, NOW, 1000), 1_000_000, (1, 0, NOW - 999_900_000, 1000), None),  # 100 ppm in 1000 s
        ((3, NOW, 1000), 1_000_000, (1, 0, NOW - 999_800_000, 1000), "backwards"),
        ((3, NOW, 1000), 1_000_000, (1, 0, NOW - 1_000_100_000, 1000), None),
        ((3, NOW, 1000), 1_000_000, (1, 0, NOW - 1_000_200_000, 1000), "ahead"),
        ((3, NOW - 2 * S, 1000), 4000, (1, 5000, NOW, 1000), "ahead"),  # made earlier, arrived later
        ((3, NOW - 1 * S, 1000), 4000, (1, 5000, NOW, 1000), None),
        ((3, NOW, 1000), 4000, (1, 5000, NOW + 500_000, 1000), "backwards"),
    ],
)
def test_time_must_be_possible(base, chain, time, uptime_ms, dated, words):
    registry, _ = base
    new = Verifier(registry).check(chain.make(time=time, uptime_ms=uptime_ms))
    new.station = type(new.station)(new.station.kid, new.station.public_key, "alpha", NOW)
    clocks = Clocks(None, dated and (new.seq, *dated))
    said = check_date(new, NOW, 1 * S, 120 * S, 86_400 * S) or clocks.judge(new, True)
    assert (said is None) if words is None else (said and words in said), said
