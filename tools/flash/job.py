"""Flashing one board: look, refuse what would do harm, write what differs, prove it.

A station's own partitions (key, counters, journal, clips, NVS) are never written. They are erased when the operator
asked for it, and on a board that never was a station, where they hold what some other program left.
"""

import hashlib
from collections.abc import Callable, Iterator

from flash.chip import SECTOR_BYTES, Chip
from flash.errors import FlashError
from flash.manifest import Image, Region
from image import partition_table
from image.errors import ImageError

CHUNK_BYTES = 0x10000  # flash chips erase so much at once, ten times faster than by sectors
_SUPERBLOCK_NAME = (8, b"littlefs")

Tell = Callable[[str, int, int], None]  # what is done, bytes done, bytes in all


def run(chip: Chip, image: Image, erase: bool, tell: Tell) -> int:
    """Bring the board to the image; returns how many bytes were written. Raises FlashError before harm is done."""
    _refuse_unsuitable(chip, image)
    chip.ready()
    _refuse_small(chip, image)
    for region in _to_erase(chip, image, erase):
        if chip.md5(region.offset, region.size) == hashlib.md5(b"\xff" * region.size).hexdigest():
            continue
        tell(f"erasing {region.name}", 0, region.size)
        chip.erase(region.offset, region.size)
    before = {region.name: chip.md5(region.offset, region.size) for region in image.kept}
    changed = list(_differing(chip, image, tell))
    total, done = sum(len(data) for _, _, data in changed), 0
    for name, offset, data in changed:
        tell(f"writing {name}", done, total)
        chip.write(offset, data)
        done += len(data)
    _verify(chip, image, before, tell)
    return total


def _refuse_unsuitable(chip: Chip, image: Image) -> None:
    if chip.name != image.chip:
        raise FlashError(f"this is an {chip.title}, and {image.board} has {image.chip}: wrong board, or wrong BOARD=; "
                         "nothing was written")
    if chip.locked:
        raise FlashError("this chip is locked (flash encryption or secure download): it takes no plain image; "
                         "nothing was written")


def _refuse_small(chip: Chip, image: Image) -> None:
    size = chip.flash_bytes()
    if size is None:
        raise FlashError("the flash does not tell its size: bad contact or a broken board; nothing was written")
    if size < image.flash_bytes:
        raise FlashError(f"its flash has {size >> 20} MB, and {image.board} needs {image.flash_bytes >> 20}: "
                         "wrong board, or wrong BOARD=; nothing was written")


def _to_erase(chip: Chip, image: Image, erase: bool) -> list[Region]:
    """Which of the station's partitions are to be blank first."""
    if erase:
        return image.kept
    try:
        there = partition_table.decode(chip.read(partition_table.OFFSET, partition_table.SIZE))
    except ImageError:
        there = []  # blank, or a flashing was cut while it wrote the table
    places = {row["label"]: (row["offset"], row["size"]) for row in there}
    ours = {region.name: (region.offset, region.size) for region in image.kept}
    if all(places.get(label) == place for label, place in ours.items()):
        return []
    if "keys" in places or "journal" in places:
        raise FlashError("this station was flashed with another layout, and its key or records would be lost: flash it "
                         "with the tools it was made with, or give ERASE=1; nothing was written")
    keys = next(region for region in image.kept if region.name == "keys")
    return [] if _is_station(chip, keys) else image.kept


def _is_station(chip: Chip, keys: Region) -> bool:
    """Whether a station has made its key partition. Reads the name of the file system and not what is in it."""
    at, name = _SUPERBLOCK_NAME
    blocks = (keys.offset, keys.offset + SECTOR_BYTES)
    return any(chip.read(block + at, len(name)) == name for block in blocks)


def _differing(chip: Chip, image: Image, tell: Tell) -> Iterator[tuple[str, int, bytes]]:
    """(part, offset, data) of what has to be written, in chunks; the chip itself makes the checksums."""
    for part in image.parts:
        tell(f"comparing {part.name}", part.offset, len(image.data))
        data = _whole_sectors(image.bytes_of(part))
        if chip.md5(part.offset, len(data)) == hashlib.md5(data).hexdigest():
            continue
        for start in range(0, len(data), CHUNK_BYTES):
            chunk = data[start : start + CHUNK_BYTES]
            if chip.md5(part.offset + start, len(chunk)) != hashlib.md5(chunk).hexdigest():
                yield part.name, part.offset + start, chunk


def _verify(chip: Chip, image: Image, before: dict[str, str], tell: Tell) -> None:
    """Every part by the chip's own checksum, the table by reading it back, and what is the station's as it was."""
    for part in image.parts:
        tell(f"verifying {part.name}", part.offset, len(image.data))
        data = _whole_sectors(image.bytes_of(part))
        if chip.md5(part.offset, len(data)) != hashlib.md5(data).hexdigest():
            raise FlashError(f"{part.name} is not in the flash as written: run this again; if it stays so, the board's "
                             "flash is worn out")
    table = next(part for part in image.parts if part.offset == partition_table.OFFSET)
    if chip.read(table.offset, table.size) != image.bytes_of(table):
        raise FlashError("what is read back is not what was written: bad cable? Try another, and run this again")
    for region in image.kept:
        if chip.md5(region.offset, region.size) != before[region.name]:
            raise FlashError(f"partition {region.name} changed while flashing, which must not be: keep the board")


def _whole_sectors(data: bytes) -> bytes:
    return data + b"\xff" * (-len(data) % SECTOR_BYTES)
