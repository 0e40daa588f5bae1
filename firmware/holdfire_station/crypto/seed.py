"""The seed of a new key. In memory only while one is made."""

from .sha512 import Sha512

_DOMAIN = b"holdfire-key-seed-v1\x00"


def make_seed(chip_random: bytes, host_entropy: bytes) -> bytes:
    """The 32-byte seed of a new key, from at least 32 bytes of each of two sources.

    The ESP32's generator is only guaranteed to be random while its radio or the boot loader's entropy source is on
    (ESP-IDF, "Random Number Generation"), and a station that signs may have neither; the host cannot be trusted alone,
    since it would then know every key. Hashed together, one good source is enough. Lengths are hashed too, so no two
    pairs give the same input.
    """
    if len(chip_random) < 32 or len(host_entropy) < 32:
        raise ValueError("key entropy is short: give at least 32 bytes from the chip and 32 from the host")
    mixed = Sha512()
    mixed.update(_DOMAIN)
    for source in (chip_random, host_entropy):
        mixed.update(len(source).to_bytes(4, "big"))
        mixed.update(source)
    digest = bytearray(64)
    mixed.finish_into(digest)
    return bytes(digest[:32])
