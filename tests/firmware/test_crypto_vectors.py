"""The station's signatures against everybody else's: RFC 8032, sign.input, FIPS 180-4, and cryptography on random
input.

All of it runs under MicroPython with 160 KB of heap. Edge cases of verification are in
tests/both/test_crypto_strict.py.
"""

import hashlib
import random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.mpy import data_path, run_micropython

# RFC 8032 section 7.1: secret key, public key, message, signature. (Its TEST 1024 is the last line of sign.input.)
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
        "655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aee"
        "b00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28d"
        "c027beceea1ec40a",
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e"
        "2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17a"
        "d9bef1177331a704",
    ),
]

# Reads lines of secret:public:message:signature in hexadecimal; the signature field may hold the message behind it, as
# in sign.input.
SIGN_LINES = """
import gc, sys
from binascii import unhexlify
from holdfire_station.crypto import PrivateKey, verify
count = 0
with open(sys.argv[1]) as lines:
    for line in lines:
        seed, public, message, signature = [unhexlify(part) for part in line.strip().split(":")[:4]]
        key = PrivateKey.from_seed(seed[:32])
        assert key.public_bytes == public, line
        assert key.sign(message) == signature[:64], line
        verify(public, message, signature[:64])
        count += 1
        gc.collect()  # a message of 4,096 bytes and its hexadecimal want contiguous room
print(count)
"""


def signed_lines(tmp_path, rows) -> int:
    file = tmp_path / "signatures"
    file.write_text("".join(":".join(row) + "\n" for row in rows))
    return int(run_micropython(SIGN_LINES, file).stdout)


def test_rfc_8032_section_7_1(tmp_path):
    assert signed_lines(tmp_path, RFC_8032) == 4


def test_the_1024_cases_of_sign_input():
    assert int(run_micropython(SIGN_LINES, data_path("ed25519", "rfc8032", "sign.input")).stdout) == 1024


def test_random_keys_and_messages_agree_with_cryptography(tmp_path):
    """Both ends: cryptography signs, the station makes the same signature of the same key and accepts it."""
    chance = random.Random(25519)
    rows = []
    for length in [*range(0, 260, 13), *(chance.randrange(4097) for _ in range(20)), 4096]:
        key, message = Ed25519PrivateKey.from_private_bytes(chance.randbytes(32)), chance.randbytes(length)
        rows.append([part.hex() for part in (
            key.private_bytes_raw(), key.public_key().public_bytes_raw(), message, key.sign(message))])
    assert signed_lines(tmp_path, rows) == len(rows)


# FIPS 180-4's examples (NIST "Examples with Intermediate Values", SHA-512): one block, two blocks; and the empty
# message.
NIST_SHA512 = [
    (
        b"abc",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    ),
    (
        b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
        b"hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
        "8e959b75dae313da8cf4f72814fc143f8f7779c6eb9f7fa17299aeadb6889018"
        "501d289e4900f7e4331b99dec4b5433ac7d329eeb6dd26545e96e55b874be909",
    ),
    (
        b"",
        "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
        "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
    ),
]


@pytest.mark.parametrize(("message", "digest"), NIST_SHA512, ids=["one block", "two blocks", "empty"])
def test_sha512_of_the_standards_examples(message, digest):
    script = "from binascii import hexlify\nfrom holdfire_station.crypto import sha512\nprint(hexlify(sha512(%r)))"
    assert run_micropython(script % message).stdout.strip() == repr(digest.encode())


def test_sha512_of_every_length_round_the_block_and_in_odd_parts():
    """Padding spills into a second block from 112 bytes on; parts must meet at any place."""
    script = """
from binascii import hexlify
from holdfire_station.crypto.sha512 import Sha512
data = bytes([i & 255 for i in range(4096)])
running, digest = Sha512(), bytearray(64)
for length in list(range(0, 300)) + [4096]:
    for part in (1000, 61):
        running.reset()
        for at in range(0, length, part):
            running.update_part(data, at, min(part, length - at))
        running.finish_into(digest)
        print(length, hexlify(digest).decode())
"""
    data = bytes(i & 255 for i in range(4096))
    expected = [f"{n} {hashlib.sha512(data[:n]).hexdigest()}" for n in [*range(300), 4096] for _ in range(2)]
    assert run_micropython(script).stdout.split("\n")[:-1] == expected
