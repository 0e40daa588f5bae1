"""Who the station is: its private key, its deployment, and the collector it believes. One small file in a partition of
its own, so that the programs can be written anew and no key ever leaves the chip for it.

Only reads; `enrolment` makes the file, once, and `handover` names another collector in it. In memory at boot and for
these two.
"""

import vfs

from holdfire_protocol import cbor
from holdfire_protocol.fields import NETWORK_BYTES, PUBLIC_KEY_BYTES

from .recorder import Identity

FOLDER = "/keys"
NAME = "identity.cbor"
PATH = FOLDER + "/" + NAME
SEED_BYTES = 32
DAMAGED = "identity file damaged: re-flash with ERASE=1 and enrol the station as a new one"


class IdentityError(ValueError):
    """The station cannot be enrolled, or its identity file is damaged. The message says what to do."""


def mount(partition) -> None:
    """Make the partition's file system the folder of the key; a new board's gets one first.

    Raises IdentityError where there is no file system but a trace of an identity: formatting would make that final.
    """
    try:
        vfs.mount(vfs.VfsLfs2(partition), FOLDER)  # type: ignore[abstract]  # a fault of the stubs
    except OSError:
        if _has_trace_of_identity(partition):
            raise IdentityError(DAMAGED)
        vfs.VfsLfs2.mkfs(partition)
        vfs.mount(vfs.VfsLfs2(partition), FOLDER)  # type: ignore[abstract]  # a fault of the stubs


def _has_trace_of_identity(partition) -> bool:
    """A new board is blank, or its first formatting was cut: then no block names the file."""
    block = bytearray(partition.ioctl(5, 0))
    for number in range(partition.ioctl(4, 0)):
        partition.readblocks(number, block)
        if NAME.encode() in block:
            return True
    return False


def load():
    """The Identity, or None when the station was never enrolled. Raises IdentityError when the file is damaged."""
    try:
        with open(PATH, "rb") as file:
            data = file.read(256)
    except OSError:
        return None
    try:
        seed, network, collector_public = cbor.decode(data)
        if len(seed) != SEED_BYTES or len(network) != NETWORK_BYTES or len(collector_public) != PUBLIC_KEY_BYTES:
            raise ValueError("wrong lengths")
    except (ValueError, TypeError):
        raise IdentityError(DAMAGED)
    return Identity(seed, network, collector_public)
