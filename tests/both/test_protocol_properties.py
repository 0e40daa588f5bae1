"""Properties of every codec, on inputs that hypothesis draws; then the same inputs under MicroPython, word for word."""

import functools
import struct
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfire_protocol import cbor, cose, fields, frame, line, record, schema
from holdfire_protocol.shape import Shape
from tests.both import interpreters
from tests.both import protocol_strategies as draw
from tests.mpy import run_micropython

sys.path.insert(0, str(interpreters.HERE))
import protocol_replay

quick = settings(max_examples=150, deadline=None, derandomize=True, database=None,
                 suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large])


def plain_tuples(value):
    """Lists where tuples were: what CBOR keeps of either."""
    if isinstance(value, dict):
        return {key: plain_tuples(item) for key, item in value.items()}
    return [plain_tuples(item) for item in value] if isinstance(value, (list, tuple)) else value


@quick
@given(draw.values)
def test_cbor_gives_back_what_it_was_given(value):
    assert cbor.decode(cbor.encode(value)) == value


@quick
@given(draw.records)
def test_a_record_gives_back_its_fields(named):
    assert record.decode_record(record.encode_record(named)) == named


@quick
@given(draw.beacons)
def test_a_beacon_gives_back_its_fields(named):
    assert record.decode_beacon(record.encode_beacon(named)) == named


@quick
@given(draw.framed)
def test_a_frame_survives_the_line(data):
    assert line.decode(line.encode(data)[:-2]) == data


@pytest.mark.parametrize("name", sorted(draw.INPUTS))
def test_what_is_accepted_has_one_encoding(name):
    """And nothing but the module's own error comes out, whatever goes in."""
    for data in corpus(name):
        assert "NOT ONE ENCODING" not in protocol_replay.run(name, data)


@quick
@given(draw.records, st.data())
def test_a_flipped_bit_of_a_signed_message_is_refused_or_changes_what_was_signed(named, data):
    """Whatever still comes apart differs in kid, in the bytes that are signed, or in the signature itself."""
    message = cose.join(b"kkkkkkkk", record.encode_record(named), bytes(range(64)))
    whole = cose.parse(message)
    bit = data.draw(st.integers(0, len(message) * 8 - 1))
    changed = bytearray(message)
    changed[bit // 8] ^= 1 << bit % 8
    try:
        parts = cose.parse(bytes(changed))
    except cose.CoseError:
        return
    assert sum(getattr(parts, part) != getattr(whole, part) for part in ("kid", "payload", "signature")) == 1


def test_every_flipped_bit_of_one_line_is_refused():
    text = line.encode(frame.encode(1, draw.NETWORK, bytes(range(100))))[:-2]
    for bit in range(len(text) * 8):
        changed = bytearray(text)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError):
            line.decode(bytes(changed))


@quick
@given(draw.streams(), st.lists(st.integers(0, 3000), max_size=6))
def test_a_reader_gives_the_same_however_the_stream_is_split(stream, cuts):
    whole, split = line.LineReader(), line.LineReader()
    at_once = whole.feed(stream)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    piecewise = [item for start, end in zip(edges, edges[1:]) for item in split.feed(stream[start:end])]
    assert piecewise == at_once
    assert split.bad == whole.bad == sum(kind == line.BAD for kind, _ in at_once)


@quick
@given(draw.streams(), draw.framed)
def test_whatever_came_before_the_next_line_is_read(noise, data):
    reader = line.LineReader()
    reader.feed(noise + b"\n")
    assert reader.feed(line.encode(data)) == [(line.FRAME, data)]


def test_ten_megabytes_of_noise_need_no_more_memory_than_a_line():
    """Noise with line ends, and 10 MB without one: never more than MAX_LINE_BYTES are kept."""
    import random

    noise = random.Random(8949)
    for remove in (b"", b"\r\n"):
        reader = line.LineReader()
        for _ in range(160):
            reader.feed(noise.randbytes(1 << 16).translate(None, remove))
            assert len(reader._buffer) <= fields.MAX_LINE_BYTES
        assert reader.feed(b"\n" + line.encode(b"still here"))[-1] == (line.FRAME, b"still here")


def test_micropython_reads_two_megabytes_of_noise_in_its_heap():
    source = """
import gc
from holdfire_protocol import line
state, reader, most = 1, line.LineReader(), 0
for _ in range(1000):
    piece = bytearray(2000)
    for i in range(0, 2000, 4):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        piece[i:i + 4] = state.to_bytes(4, "big")
    reader.feed(bytes(piece) if state >> 16 & 3 else b"z" * 2000)
    gc.collect()
    most = max(most, gc.mem_alloc())
    if _ == 10:
        early = most
reader.feed(b"\\n")
print(most - early < 8000, reader.feed(line.encode(b"still here")), reader.bad > 100)
"""
    assert run_micropython(source).stdout.strip() == f"True {[(line.FRAME, b'still here')]} True"


def test_a_status_record_of_a_hard_year_fits_one_lora_packet():
    """Years of records without a fix, below 6,500 m; the journal full; fewer than 256 boots and 65,536 refusals."""
    status = {"interval_s": 65535, "reset_cause": 5, "selftest": 255, "heard_ms": fields.U32, "lost_ms": 65535,
              "impulses": 65535, "floor_db10": -2000, "floor_min_db10": -2000, "floor_max_db10": -2000,
              "battery_mv": 65535, "position": (-900_000_000, -1_800_000_000, 65_000, 255), "satellites": 99,
              "journal_permille": 1000, "pending": 65535, "firmware": bytes(8), "heap_free": 204_800,
              "refused": 65535}
    time = (fields.TIME_CRYSTAL, fields.UTC_MAX_US, fields.U32)
    named = {"seq": fields.U32, "prev": bytes(32), "boot": 255, "time": time, "uptime_ms": 1 << 40, "status": status}
    assert framed_size(named) <= fields.LORA_FRAME_BYTES


def test_any_record_with_one_observation_fits_one_lora_packet():
    for kind, shape in fields.OBSERVATION.variants:
        greatest = {row[1]: b"\xff" * row[4] if row[2] == fields.BYTES else row[4] for row in shape.rows}
        greatest["onset_us"] = -(1 << 40)
        named = {"seq": fields.U32, "prev": bytes(32), "boot": fields.U32, "time": (4, fields.UTC_MAX_US, fields.U32),
                 "uptime_ms": 1 << 48, "restart": 3, "observations": [greatest]}
        assert framed_size(named) <= fields.LORA_FRAME_BYTES
        if kind == fields.KIND_IMPULSE:
            record.encode_record({**named, "observations": [greatest] * 12})  # SPEC.md section 6: 12 always fit


def framed_size(named) -> int:
    message = cose.join(bytes(8), record.encode_record(named), bytes(64))
    return len(frame.encode(fields.FRAME_RECORD, bytes(16), message))


def test_what_would_be_refused_is_not_encoded():
    impulse = {row[1]: b"\xff" * row[4] if row[2] == fields.BYTES else row[4] for row in fields.IMPULSE_ROWS}
    named = {"seq": fields.U32, "prev": bytes(32), "boot": 1, "time": (0, 0, fields.U32), "uptime_ms": 0,
             "observations": [impulse] * 16}
    with pytest.raises(record.FieldError, match="allowed 938: say less"):
        record.encode_record(named)
    deep = 1
    for _ in range(cbor.MAX_DEPTH + 1):
        deep = [deep]
    unsayable = (True, None, 1.0, "text", {(1, 2): 1}, {"text": 1}, {None: 1}, {True: 1}, 1 << 64, -(1 << 64) - 1, deep)
    for value in unsayable:
        with pytest.raises(cbor.CborError):
            cbor.encode(value)
    assert cbor.decode(cbor.encode(deep[0])) == deep[0]
    for kid, payload, signature in ((7, 1, 64), (8, 939, 64), (8, 1, 63)):
        with pytest.raises(cose.CoseError):
            cose.join(bytes(kid), bytes(payload), bytes(signature))


@pytest.mark.parametrize("changed, field", [
    ({"unknown": 1}, "unknown"), ({"seq": None}, "seq"), ({"time": 5}, "time"), ({"time": (0, 0)}, "time"),
    ({"time": (True, 0, fields.U32)}, "time.source"), ({"prev": bytearray(32)}, "prev"), ({"status": 5}, "status"),
    ({"status": {}}, "status.interval_s"), ({"observations": 5}, "observations"),
    ({"observations": [5]}, "observations[0]"),
    ({"observations": []}, "observations"), ({"observations": [{"kind": 9}]}, "observations[0].kind"),
    ({"observations": [{"kind": 2, "onset_us": 0}]}, "observations[0].onset_uncertainty_us"),
    ({"observations": [{}]}, "observations[0].kind"), ({"restart": 0}, "restart"),
])
def test_a_station_is_told_which_field_it_got_wrong(changed, field):
    right = {"seq": 1, "prev": bytes(32), "boot": 1, "time": (0, 0, fields.U32), "uptime_ms": 0, "restart": 1}
    record.encode_record(right)
    with pytest.raises(schema.FieldError) as caught:
        record.encode_record({**right, **changed})
    assert caught.value.field == field and str(caught.value).startswith(field + ": ")


@pytest.mark.parametrize("missing", ["seq", "prev", "boot", "time", "uptime_ms"])
def test_a_record_without_a_required_field_is_not_encoded(missing):
    right = {"seq": 1, "prev": bytes(32), "boot": 1, "time": (0, 0, fields.U32), "uptime_ms": 0, "restart": 1}
    with pytest.raises(schema.FieldError, match=f"{missing}: missing"):
        record.encode_record({name: value for name, value in right.items() if name != missing})


def test_what_only_equals_an_integer_is_refused_in_fields():
    """A host may decode with a library that knows true and 1.0; both equal 1 as a value and as a key."""
    tamper = {1: 2, 2: 0, 3: 0, 4: 1}
    packed = {1: 1, 2: bytes(32), 3: 1, 4: [0, 0, fields.U32], 5: 0, 7: [tamper]}
    assert schema.unpack(fields.RECORD, packed)["seq"] == 1

    def refused(changed):
        with pytest.raises(schema.FieldError):
            schema.unpack(fields.RECORD, changed)

    for one in (True, 1.0):
        refused({**packed, 1: one})
        refused({one if key == 1 else key: value for key, value in packed.items()})
        refused({**packed, 4: [one, fields.UTC_MIN_US, 0]})
        refused({**packed, 7: [{**tamper, 4: one}]})
        impulse = {1: one, **{row[0]: b"x" if row[2] == fields.BYTES else row[3] for row in fields.IMPULSE_ROWS[1:]}}
        refused({**packed, 7: [impulse]})
        with pytest.raises(schema.FieldError, match="kind: unknown kind"):
            schema.unpack(fields.OBSERVATION, impulse)


@functools.cache
def corpus(name: str) -> list[bytes]:
    """Inputs of one operation, the same in every run."""
    found = []

    @quick
    @given(draw.INPUTS[name])
    def collect(data):
        found.append(data)

    collect()
    return found


def test_micropython_gives_the_same_for_every_input(tmp_path):
    answers = interpreters.replay(tmp_path, [(name, data) for name in sorted(draw.INPUTS) for data in corpus(name)])
    accepted = sum(text.startswith("accepted") for text in answers)
    assert min(accepted, len(answers) - accepted) > len(answers) // 5  # else it compares little


def test_a_shape_gives_back_the_rows_it_was_made_of():
    rows = ((1, "small", fields.INT, -0x8000, fields.U32, True), (2, "low", fields.INT, -0x8001, 0, False),
            (255, "high", fields.UINT, 0x7FFF, 1 << 32, True), (0, "above", fields.UINT, 0x8000, 0x8000, False),
            (3, "within", fields.MAP, 0, 0, True, fields.STATUS), (4, "below", fields.INT, -2, -1, True))
    assert tuple(Shape("any", rows).rows) == rows
    assert tuple(Shape("impulse", fields.IMPULSE_ROWS).rows) == fields.IMPULSE_ROWS
    with pytest.raises(struct.error):
        Shape("any", ((256, "key", fields.UINT, 0, 1, True),))
