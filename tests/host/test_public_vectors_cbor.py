"""Other people's CBOR, under both interpreters: what is inside our subset comes back the same, all else is refused.

Which is which is stated here by hand for RFC 8949, and elsewhere read off cbor2's decoder, never off ours.
"""

import base64
import json

import cbor2
import pytest

from holdfire_protocol import cbor
from tests.both import interpreters
from tests.mpy import data_path

# RFC 8949 Appendix A: the values of our subset, in the shortest, definite form. Everything else there is outside it.
INSIDE_APPENDIX_A = {
    "00", "01", "0a", "17", "1818", "1819", "1864", "1903e8", "1a000f4240", "1b000000e8d4a51000", "1bffffffffffffffff",
    "20", "29", "3863", "3903e7", "3bffffffffffffffff",
    "40", "4401020304",
    "80", "83010203", "8301820203820405",
    "98190102030405060708090a0b0c0d0e0f101112131415161718181819",
    "a0", "a201020304",
}
# nlohmann's: JSON arrays of integers and empty ones. Fuzz findings, text, floats and indefinite lengths are outside.
INSIDE_NLOHMANN = {f"roundtrip{n:02}.json.cbor" for n in (4, 6, 7, 8, *range(11, 20))}


def appendix_a() -> list[tuple[str, bytes, bool]]:
    rows = json.loads(data_path("cbor", "appendix_a", "appendix_a.json").read_text())
    return [(row["hex"], bytes.fromhex(row["hex"]), row["hex"] in INSIDE_APPENDIX_A) for row in rows]


def appendix_f() -> list[tuple[str, bytes, bool]]:
    rows = json.loads(data_path("cbor", "rfc8949-appendix-f", "not_well_formed.json").read_text())["examples"]
    return [(row["label"], bytes.fromhex(row["hex"].replace(" ", "")), False) for row in rows]


def nlohmann() -> list[tuple[str, bytes, bool]]:
    folder = data_path("cbor", "nlohmann")
    files = sorted([*folder.rglob("*.cbor"), *(folder / "cbor_regression").iterdir()])
    return [(path.name, path.read_bytes(), path.name in INSIDE_NLOHMANN) for path in files]


def cbor2_examples() -> list[tuple[str, bytes, bool]]:
    data = base64.b64decode(data_path("cbor", "cbor2", "examples.cbor.b64").read_text())
    whole = cbor2.loads(data)
    items = [("whole file", data, False)]
    for name in ("integers", "bytes", "floats", "strings", "simples", "tagged"):
        for value in whole[name]:
            inside = type(value) is bytes or (type(value) is int and -(1 << 64) <= value < 1 << 64)
            items.append((f"{name} {value!r}", cbor2.dumps(value), inside))
    return items


def by_cbor2(data: bytes) -> bool:
    """Whether the bytes are one value of the subset in its one encoding, by cbor2's decoder and encoder."""
    try:
        value = cbor2.loads(data)
        return plain(value) and cbor2.dumps(value, canonical=True) == data
    except Exception:
        return False


def plain(value) -> bool:
    if type(value) is dict:
        return all(type(key) is not list and plain(key) and plain(item) for key, item in value.items())
    if type(value) is int:
        return -(1 << 64) <= value < 1 << 64  # beyond: a bignum, which is a tag
    return all(map(plain, value)) if type(value) is list else type(value) is bytes


SOURCES = {
    "RFC 8949 Appendix A": appendix_a, "RFC 8949 Appendix F": appendix_f, "nlohmann": nlohmann, "cbor2": cbor2_examples,
}


@pytest.mark.parametrize("source", SOURCES)
def test_inside_comes_back_the_same_and_outside_is_refused(source):
    items = SOURCES[source]()
    assert len(items) > 20
    for name, data, inside in items:
        if inside:
            assert cbor.encode(cbor.decode(data)) == data, name
        else:
            with pytest.raises(cbor.CborError):
                cbor.decode(data)
    assert any(inside for _, _, inside in items) != (source == "RFC 8949 Appendix F")


@pytest.mark.parametrize("source", SOURCES)
def test_cbor2_draws_the_line_in_the_same_place(source):
    for name, data, inside in SOURCES[source]():
        assert by_cbor2(data) == inside, name


def test_micropython_says_the_same_of_all_of_them(tmp_path):
    items = [item for source in SOURCES.values() for item in source()]
    answers = interpreters.replay(tmp_path, [("cbor", data) for _, data, _ in items])
    assert [answer.startswith("accepted") for answer in answers] == [inside for _, _, inside in items]
