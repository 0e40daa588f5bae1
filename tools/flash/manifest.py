"""A built image and its manifest, read back and checked against each other."""

import hashlib
import json
import pathlib
from dataclasses import dataclass

import boards
from flash.errors import FlashError

FORMAT = 1


@dataclass(frozen=True)
class Region:
    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class Image:
    """`parts` are written, `kept` belong to the station."""

    board: str
    chip: str
    flash_bytes: int
    firmware: str
    data: bytes
    parts: list[Region]
    kept: list[Region]

    def bytes_of(self, region: Region) -> bytes:
        return self.data[region.offset : region.offset + region.size]


def find(folder: pathlib.Path, board: str | None) -> pathlib.Path:
    """The manifest of that board's image; of the only image there is when no board is named."""
    there = sorted(folder.glob("*.json"))
    if board is not None:
        path = folder / f"{board}.json"
        if not path.exists():
            try:
                boards.find(board)
            except boards.BoardError as error:
                raise FlashError(str(error)) from None
            raise FlashError(f"no image for {board!r} yet: make image BOARD={board}")
        return path
    if not there:
        raise FlashError("no image yet: make image BOARD=... (the boards: ls boards)")
    if len(there) > 1:
        raise FlashError("several images: say which, BOARD=" + " or BOARD=".join(path.stem for path in there))
    return there[0]


def load(manifest: pathlib.Path) -> Image:
    """Raises FlashError when image and manifest do not belong together, byte for byte."""
    try:
        said = json.loads(manifest.read_text())
        if said["format"] != FORMAT:
            raise FlashError(f"{manifest}: of another version of these tools: make image BOARD={said['board']}")
        data = (manifest.parent / said["image"]["file"]).read_bytes()
        parts = [Region(part["name"], part["offset"], part["size"]) for part in said["parts"]]
        kept = [Region(row["label"], row["offset"], row["size"]) for row in said["kept"]]
        image = Image(said["board"], said["chip"], said["flash_bytes"], said["firmware"], data, parts, kept)
        sums = [(data, said["image"])] + [
            (image.bytes_of(region), part) for region, part in zip(parts, said["parts"], strict=True)]
        for content, of in sums:
            if hashlib.sha256(content).hexdigest() != of["sha256"]:
                raise FlashError(f"{manifest.stem}: image and manifest differ: make image BOARD={said['board']}")
    except OSError as error:
        raise FlashError(f"{error.filename}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise FlashError(f"{manifest}: not a manifest of an image: make image again") from None
    return image
