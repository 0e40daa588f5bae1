"""Program images of the chips (boot loader, MicroPython): how long they are, whether they are whole, for which chip and
how large a flash.

Header of 24 bytes, segments, padding up to a checksum byte, SHA-256 (esptool documentation, "Firmware Image Format").
"""

import hashlib
import struct

from image.errors import ImageError

_MAGIC = 0xE9
_CHECKSUM_SEED = 0xEF
_HEADER_BYTES, _SEGMENT_HEADER_BYTES, _HASH_BYTES = 24, 8, 32
_CHIP_ID_AT, _FLASH_SIZE_AT, _HASHED_AT = 12, 3, 23
_FLASH_SIZES = {0x100000 << code: code << 4 for code in range(5)}  # 1 to 16 MB, in the upper half of byte 3


def cut(data: bytes, what: str) -> bytes:
    """The image at the start of `data`, without what follows. Raises ImageError when it is damaged."""
    try:
        size = _HEADER_BYTES
        if data[0] != _MAGIC:
            raise ImageError(f"there is no {what} where it should be")
        checksum = _CHECKSUM_SEED
        for _ in range(data[1]):
            (length,) = struct.unpack_from("<I", data, size + 4)
            size += _SEGMENT_HEADER_BYTES
            if size + length > len(data):
                raise ImageError(f"the {what} is cut off: download it again")
            for byte in data[size : size + length]:
                checksum ^= byte
            size += length
        size = (size + 16) & ~15  # the checksum is the last byte of sixteen
        if data[size - 1] != checksum:
            raise ImageError(f"the {what} is damaged (checksum): download it again")
        if data[_HASHED_AT] != 1:
            raise ImageError(f"the {what} has no SHA-256 appended, as official builds have")
        if data[size : size + _HASH_BYTES] != hashlib.sha256(data[:size]).digest():
            raise ImageError(f"the {what} is damaged (SHA-256): download it again")
    except (IndexError, struct.error):
        raise ImageError(f"the {what} is cut off: download it again") from None
    return data[: size + _HASH_BYTES]


def chip_id(image: bytes) -> int:
    return int.from_bytes(image[_CHIP_ID_AT : _CHIP_ID_AT + 2], "little")


def with_flash_size(image: bytes, flash_bytes: int) -> bytes:
    """A boot loader that believes the flash to be of this size: beyond what its header says it refuses partitions."""
    changed = bytearray(image[:-_HASH_BYTES])
    changed[_FLASH_SIZE_AT] = changed[_FLASH_SIZE_AT] & 0x0F | _FLASH_SIZES[flash_bytes]
    return bytes(changed) + hashlib.sha256(changed).digest()
