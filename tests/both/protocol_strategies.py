"""What hypothesis draws for the protocol: values, fields by the tables of fields.py, and damage to bytes."""

from hypothesis import strategies as st

from holdfire_protocol import cbor, cose, fields, frame, line, record

NETWORK = bytes(range(16))

integers = st.one_of(st.integers(-(1 << 64), (1 << 64) - 1), st.sampled_from(
    [edge + d for edge in (0, 24, 256, 1 << 16, 1 << 32, -24, -256, -(1 << 16), -(1 << 32)) for d in (-1, 0, 1)]))
scalars = integers | st.binary(max_size=300)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(integers | st.binary(max_size=30), inner, max_size=5),
    max_leaves=12,
).filter(lambda value: depth(value) <= cbor.MAX_DEPTH)


def depth(value) -> int:
    if isinstance(value, dict):
        return 1 + max([depth(v) for v in value.values()], default=0)
    return 1 + max([depth(v) for v in value], default=0) if isinstance(value, list) else 0


def field(row):
    """Values that a row of a table allows; its bounds more often than chance would have them."""
    _, name, kind, low, high, _, *inner = row
    if kind in (fields.UINT, fields.INT):
        return st.sampled_from([low, high]) | st.integers(low, high)
    if kind == fields.BYTES:
        return st.binary(min_size=low, max_size=high)
    if kind == fields.LIST:
        return st.lists(of_shape(*inner), min_size=low, max_size=min(high, 5))
    return times if name == "time" else of_shape(*inner)


def of_rows(rows):
    rows = list(rows)
    return st.fixed_dictionaries({row[1]: field(row) for row in rows if row[5]},
                                 optional={row[1]: field(row) for row in rows if not row[5]})


def of_shape(shape):
    if shape.variants:
        return st.one_of([of_shape(variant) for _, variant in shape.variants])
    if shape.is_tuple:
        return st.tuples(*[field(row) for row in shape.rows])
    return of_rows(shape.rows)


known_times = st.tuples(st.integers(1, fields.TIME_HOST), st.integers(fields.UTC_MIN_US, fields.UTC_MAX_US),
                        st.integers(0, fields.U32))
times = st.just((fields.TIME_NONE, 0, fields.U32)) | known_times


def first_is_number_1(named):
    return {**named, "seq": 1} if named.get("restart") == fields.RESTART_FIRST else named


def runs_rise(named):
    """Runs of `thinned` put in order, below seq and apart; left out where none is left."""
    named, numbers = dict(named), set()
    for run in named.pop("thinned", ()):
        numbers |= {number for number in run if number < named["seq"]}
    runs: list = []
    for number in sorted(numbers):
        if not runs or number > runs[-1][1] + 1:
            runs.append((number, number))
        else:
            runs[-1] = (runs[-1][0], number)
    return {**named, "thinned": runs} if runs else named


records = of_rows(fields.RECORD.rows).map(first_is_number_1).map(runs_rise).filter(
    lambda named: {"observations", "status", "restart", "thinned"} & set(named))
beacons = st.builds(lambda named, time: {**named, "time": time}, of_rows(fields.BEACON.rows), known_times)
signed = st.builds(cose.join, st.binary(min_size=8, max_size=8), st.binary(max_size=cose.MAX_PAYLOAD_BYTES),
                   st.binary(min_size=64, max_size=64))
framed = st.builds(lambda kind, body: frame.encode(kind, NETWORK, body), st.integers(1, 2), st.binary(max_size=300))


@st.composite
def damaged(draw, sources):
    """Valid bytes with a few edits: bits flipped, bytes put in, taken out, doubled, cut."""
    data = bytearray(draw(sources))
    for edit in draw(st.lists(st.integers(0, 4), min_size=1, max_size=3)):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        if edit == 0 and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif edit == 1:
            data[at:at] = draw(st.binary(min_size=1, max_size=4))
        elif edit == 2:
            del data[at : at + draw(st.integers(1, 4))]
        elif edit == 3:
            data[at:at] = data[at : at + draw(st.integers(1, 9))]
        else:
            del data[at:]
    return bytes(data)


@st.composite
def streams(draw):
    """A stream on the serial line: frames, text, noise, cut and damaged frames, endless lines, NULs."""
    lines = framed.map(line.encode)
    often = [b"\r\n", b"\n", b"\r", b"\0" * 50, b"x" * 1399, b"y" * 1402, b"!HF1:", b"status\r"]
    piece = st.one_of(lines, lines.map(lambda text: text.rstrip()), damaged(lines), st.binary(max_size=40),
                      st.sampled_from(often))
    return b"".join(draw(st.lists(piece, max_size=8)))


cbor_bytes = values.map(cbor.encode)
record_bytes = records.map(record.encode_record)
beacon_bytes = beacons.map(record.encode_beacon)
line_bytes = framed.map(lambda data: line.encode(data)[:-2])


def both(sources):
    """Valid bytes, damaged ones, and noise."""
    return sources | damaged(sources) | st.binary(max_size=60)


# operation of protocol_replay.py -> its inputs
INPUTS = {
    "cbor": both(cbor_bytes), "record": both(record_bytes), "beacon": both(beacon_bytes), "cose": both(signed),
    "frame": both(framed), "line": both(line_bytes),
    "reader": st.tuples(st.binary(min_size=1, max_size=1), streams()).map(lambda pair: pair[0] + pair[1]),
}
