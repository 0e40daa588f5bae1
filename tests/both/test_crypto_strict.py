"""One rule for everyone: the station, libsodium and OpenSSL give the same verdict, and the same reason, on every edge
case.

The verdict expected is worked out here, in plain integers, from the rule: s < L; A and R canonical, on the curve and
not of small order; s * B = R + k * A with k = SHA-512(R, A, M) mod L. (For A of mixed order k and k mod L are not the
same; every library reduces.) Nothing of it comes from the code under test.
"""

import hashlib
import itertools
import json
import random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holdfire import ed25519_strict
from tests.mpy import data_path, run_micropython

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
NEUTRAL = (0, 1)


def add(a, b):
    (x1, y1), (x2, y2) = a, b
    k = D * x1 * x2 * y1 * y2
    return (x1 * y2 + x2 * y1) * pow(1 + k, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - k, -1, P) % P


def times(k, point):
    out = NEUTRAL
    for bit in bin(k)[2:]:
        out = add(out, out)
        if bit == "1":
            out = add(out, point)
    return out


def decode(data):
    """A point, or None unless it is canonical and on the curve."""
    number = int.from_bytes(data, "little")
    y, sign = number & (2**255 - 1), number >> 255
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    if x * x % P != square or (x == 0 and sign):
        return None
    return (P - x if x & 1 != sign else x), y


BASE = decode((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def valid(public, message, signature) -> bool:
    if len(public) != 32 or len(signature) != 64:
        return False
    a, r, s = decode(public), decode(signature[:32]), int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L or NEUTRAL in (times(8, a), times(8, r)):
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    return times(s, BASE) == add(r, times(k, a))


def wycheproof():
    for group in json.loads(data_path("ed25519", "wycheproof", "ed25519_test.json").read_text())["testGroups"]:
        for case in group["tests"]:
            yield bytes.fromhex(group["publicKey"]["pk"]), bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])


def speccheck(name):
    for case in json.loads(data_path("ed25519", "speccheck", name).read_text()):
        yield tuple(bytes.fromhex(case[part]) for part in ("pub_key", "message", "signature"))


def torsion():
    """Points of order 1, 2, 4 and 8, in their canonical encodings and in every other that could decode to them."""
    y = random.Random(8)
    while True:
        point = decode(y.randbytes(31) + b"\0")
        if point and times(4 * L, point) != NEUTRAL:
            break
    generator = times(L, point)
    for i in range(8):
        x, y = times(i, generator)
        for value, sign in itertools.product((y, y + P), (x & 1, 1 - x & 1)):
            if value < 2**255:
                yield (value | sign << 255).to_bytes(32, "little")


def made_here():
    """A valid signature; then each part of it replaced by what the rule refuses, with s made to fit the equation where
    that can be.
    """
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    public, message = key.public_key().public_bytes_raw(), b"no shell fell"
    good = key.sign(message)
    yield public, message, good
    s = int.from_bytes(good[32:], "little")
    for raised in (s + L, s + 2 * L, L, 2**253, 2**255, 2**256 - 1):
        yield public, message, good[:32] + raised.to_bytes(32, "little")
    yield public, message, good[:32] + bytes(32)
    for bit in range(0, 512, 31):
        broken = bytearray(good)
        broken[bit >> 3] ^= 1 << (bit & 7)
        yield public, message, bytes(broken)
    for encoding in torsion():
        yield public, message, encoding + good[32:]
        yield encoding, message, good
        # s = 0, R = neutral and small A: the equation holds for one message in eight
        for k in range(4):
            yield encoding, bytes([k]), (1).to_bytes(32, "little") + bytes(32)
    for y in (*range(P, P + 19), *range(2, 20)):
        for sign in (0, 1):
            encoding = (y | sign << 255).to_bytes(32, "little")
            yield public, message, encoding + good[32:]
            yield encoding, message, good
    yield public[:31], message, good
    yield public, message, good[:63]
    yield public, message, good + b"\0"


def mixed_order():
    """A and R with a part of small order: refused by nobody here unless the equation without the cofactor fails."""
    point = decode(next(e for e in torsion() if decode(e) and times(4, decode(e)) != NEUTRAL))
    chance = random.Random(1)
    for i in range(24):
        a, r = chance.randrange(L), chance.randrange(L)
        public_point = add(times(a, BASE), times(i % 8, point))
        nonce_point = add(times(r, BASE), times(i // 8, point))
        public, nonce = ((y | (x & 1) << 255).to_bytes(32, "little") for x, y in (public_point, nonce_point))
        message = bytes([i])
        k = int.from_bytes(hashlib.sha512(nonce + public + message).digest(), "little") % L
        yield public, message, nonce + ((r + k * a) % L).to_bytes(32, "little")


SETS = {
    "wycheproof": wycheproof,
    "speccheck cases": lambda: speccheck("cases.json"),
    "speccheck scripts": lambda: speccheck("scripts-cases.json"),
    "made here": made_here,
    "mixed order": mixed_order,
}
# How many of each the rule accepts; a change here is a change of the protocol. (Ed25519 libraries at large differ on
# speccheck.)
ACCEPTED = {"wycheproof": 88, "speccheck cases": 1, "speccheck scripts": 1, "made here": 1}

ON_STATION = """
import sys
from binascii import unhexlify
from holdfire_station.crypto import verify, InvalidSignature
with open(sys.argv[1]) as lines:
    for line in lines:
        try:
            verify(*[unhexlify(part) for part in line.strip().split(":")])
        except InvalidSignature as refused:
            print(refused)
        else:
            print("valid")
"""


def verdict(verify, case) -> str:
    try:
        verify(*case)
    except ed25519_strict.InvalidSignature as refused:
        return str(refused)
    return "valid"


@pytest.mark.parametrize("name", SETS)
def test_station_libsodium_and_openssl_hold_to_the_rule(name, tmp_path):
    cases = list(SETS[name]())
    file = tmp_path / "cases"
    file.write_text("".join(":".join(part.hex() for part in case) + "\n" for case in cases))
    station = run_micropython(ON_STATION, file).stdout.splitlines()
    openssl = [verdict(ed25519_strict.verify_with(ed25519_strict.openssl), case) for case in cases]
    assert [answer == "valid" for answer in openssl] == [valid(*case) for case in cases]
    assert station == openssl
    if ed25519_strict.sodium is not None:
        assert [verdict(ed25519_strict.verify_with(ed25519_strict.sodium), case) for case in cases] == openssl
    if name in ACCEPTED:
        assert openssl.count("valid") == ACCEPTED[name]


def test_wycheproof_s_own_verdicts_are_the_rule_s():
    """Nothing in that set is valid elsewhere and not here, or the other way round."""
    groups = json.loads(data_path("ed25519", "wycheproof", "ed25519_test.json").read_text())["testGroups"]
    theirs = [case["result"] == "valid" for group in groups for case in group["tests"]]
    assert theirs == [verdict(ed25519_strict.verify, case) == "valid" for case in wycheproof()]


def test_reasons_name_the_part():
    cases = {case: verdict(ed25519_strict.verify, case) for case in made_here()}
    assert len(set(cases.values())) == 10, sorted(set(cases.values()))


def test_key_check_agrees_on_both_sides(tmp_path):
    """check_public_key alone, on small orders, non-canonical encodings, and ordinary y of which half are no point."""
    keys = [*torsion(), *(y.to_bytes(32, "little") for y in range(2, 60)), bytes(31), bytes(33)]
    file = tmp_path / "keys"
    file.write_text("".join(key.hex() + "\n" for key in keys))
    script = """
import sys
from binascii import unhexlify
from holdfire_station.crypto import check_public_key, InvalidKey
with open(sys.argv[1]) as lines:
    for line in lines:
        try:
            check_public_key(unhexlify(line.strip()))
        except InvalidKey as refused:
            print(refused)
        else:
            print("valid")
"""
    host = [verdict(ed25519_strict.check_public_key, (key,)) for key in keys]
    assert run_micropython(script, file).stdout.splitlines() == host
    assert 10 < host.count("valid") < len(keys) - 10
    refuses_small = {verdict(ed25519_strict.check_public_key, (key,)) for key in torsion()}
    assert "valid" not in refuses_small
