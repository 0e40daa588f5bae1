"""Which of the two sets of programs runs: the one that is known to be good, or a newer one on trial. Never updated.

Partition "programs" has two halves, each a file system in small blocks that a laptop built and that is only read here.
What runs stands in one number in the NVS, which an update writes last, once the new half was read back and hashed. A
set on trial gets two starts that may fail; a mere power cut is no failure. Then the other set runs again and tells why.
"""

import sys

import vfs

import machine
from esp32 import NVS, Partition

SPACE = "hf-station"
STATE = "slot"
WHY = "why"  # as crash.py has it, which tells it in a signed record
CRASHES = "crashes"
WHY_BYTES = 64
ONE = 1  # in the number: the second half is the good set
TRIAL = 2  # the other one is on trial
HEARD = 4  # the station heard sound when it was updated
START = 8  # a start on trial that is not known to have ended in a mere power cut
STARTS_GRANTED = 2
FOLDER = "/lib"
BLOCK_BYTES = 512  # programs are small: in blocks of 4096 bytes they would take twice the room
BLOCKS_A_SECTOR = 8


class Half:
    """Half a partition as a block device, to be read only."""

    def __init__(self, partition, number: int):
        self._partition = partition
        self._blocks = partition.ioctl(4, 0) // 2 * BLOCKS_A_SECTOR
        self._first = number * self._blocks

    def readblocks(self, block: int, buffer, offset: int = 0) -> None:
        block += self._first
        self._partition.readblocks(block // BLOCKS_A_SECTOR, buffer, block % BLOCKS_A_SECTOR * BLOCK_BYTES + offset)

    def writeblocks(self, *_) -> None:
        raise OSError(30)  # EROFS

    def ioctl(self, request: int, _) -> int:
        return self._blocks if request == 4 else BLOCK_BYTES if request == 5 else 0


def choose() -> None:
    """Mount the set that is to run; where neither can be mounted, the programs have to be on the path already."""
    nvs, state = NVS(SPACE), 0
    try:
        state = nvs.get_i32(STATE)
    except OSError:
        pass  # never updated
    if state & TRIAL and (machine.reset_cause() != machine.PWRON_RESET or _why(nvs)):
        if state // START == STARTS_GRANTED:
            state = _undo(nvs, state, _why(nvs) or b"its start hung")
        else:
            state += START
            nvs.set_i32(STATE, state)
            nvs.commit()
    number = state & ONE ^ (1 if state & TRIAL else 0)
    if not _mount(number) and _mount(number ^ 1):  # flashed anew, or rotten
        _undo(nvs, number ^ 1, b"not readable")


def undone(error) -> bool:
    """Whether these programs were on trial. Then the next start is the other set's, and tells of `error`."""
    nvs = NVS(SPACE)
    try:
        state = nvs.get_i32(STATE)
    except OSError:
        return False
    if state & TRIAL:
        _undo(nvs, state, ("%s: %s" % (type(error).__name__, error)).encode())
    return bool(state & TRIAL)


def _undo(nvs, state: int, why: bytes) -> int:
    """The good set runs again. The number is written last: cut before it, all this is done again."""
    nvs.set_blob(WHY, (b"update undone: " + why)[:WHY_BYTES])
    nvs.set_i32(CRASHES, 0)
    nvs.set_i32(STATE, state & ONE)
    nvs.commit()
    return state & ONE


def _why(nvs) -> bytes:
    kept = bytearray(WHY_BYTES)
    try:
        return bytes(kept[: nvs.get_blob(WHY, kept)])
    except OSError:
        return b""


def _mount(number: int) -> bool:
    try:
        half = Half(Partition.find(Partition.TYPE_DATA, label="programs")[0], number)
        vfs.mount(vfs.VfsLfs2(half), FOLDER, readonly=True)  # type: ignore  # the stubs want what is never called
    except (OSError, IndexError):
        return False
    if FOLDER not in sys.path:
        sys.path.insert(0, FOLDER)
    return True
