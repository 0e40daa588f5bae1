"""What an update claims, and whether it is for this board, its partitions, and now. In memory only while it is read.

Checks no signature; `update` does, before anything of this is believed.
"""

import binascii
import sys

from esp32 import NVS, Partition
from holdfire_protocol import cose
from holdfire_protocol import update as payloads
from slots import TRIAL

SECTOR_BYTES = 4096
MPY_MASK = 0x3FFF  # version and processor; the bits above are extensions that programs do not use


def state(station, authority) -> list:
    """The line that answers the bare command."""
    return ["update board=%s mpy=%d size=%d number=%d trial=%d authority=%s collector=%s" % (
        station.board_name.decode(), _mpy(), _size_bytes(), _kept("number"), 1 if _on_trial() else 0,
        cose.key_id(authority).hex() if authority else "none",
        station.identity.collector_kid.hex())]  # fmt: skip


def trusts(authority: bytes) -> list:
    return ["update trusts %s" % cose.key_id(authority).hex()]


def read(station, text: str, authority: bytes):
    """(what was signed, the signature, the update's fields). Raises ValueError with what is wrong."""
    if _on_trial():
        raise ValueError("an update is on trial: ask again three minutes after its start")
    parts = cose.parse(binascii.a2b_base64(text))
    if parts.kid != cose.key_id(authority):
        raise ValueError("kid: not of this key")
    named = payloads.decode(parts.payload)
    board = station.board_name
    if named["board"] != board:
        raise ValueError("board: for %s, this is %s" % (named["board"].decode(), board.decode()))
    if named["mpy"] != _mpy():
        raise ValueError("mpy: other MicroPython or processor than this: `make flash` brings both")
    if named["size"] != _size_bytes():
        raise ValueError("size: for another partition table: `make flash`")
    if named["number"] <= _kept("number"):
        raise ValueError("number: signed before the update that runs: a replay? sign anew")
    return cose.sig_structure(payloads.AAD_UPDATE + station.identity.network, parts.payload), parts.signature, named


def _on_trial() -> bool:
    return _kept("slot") & TRIAL != 0


def _kept(name: str) -> int:
    try:
        return NVS("hf-station").get_i32(name)
    except OSError:
        return 0


def _mpy() -> int:
    return sys.implementation._mpy & MPY_MASK


def _size_bytes() -> int:
    found = Partition.find(Partition.TYPE_DATA, label="programs")
    if not found:
        raise ValueError("no partition programs: flash this board anew")
    return found[0].ioctl(4, 0) // 2 * SECTOR_BYTES
