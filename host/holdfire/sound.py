"""Clips of sound as a station keeps them: their samples, and the WAV file anyone can listen to.

Written from the text of SPEC.md section 10. Whether a clip is authentic is for others to say.
"""

import struct
from typing import Any

from holdfire_protocol import clip


def samples(data: bytes) -> list[int]:
    """The samples of a clip's blocks; full scale is 32768."""
    found: list[int] = []
    for at in range(0, len(data), clip.BLOCK_BYTES):
        exponent, *mantissas = struct.unpack_from("<B32b", data, at)
        found += [mantissa << exponent for mantissa in mantissas]
    return found


def wav(named: dict[str, Any]) -> bytes:
    """A clip, from its fields, as a WAV file: 16 bits, one channel."""
    values = samples(named["data"])
    rate = named["rate_hz"]
    body = struct.pack(f"<{len(values)}h", *values)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", 4 + len(form) + 8 + len(body), b"WAVE") + form + b"data" + struct.pack(
        "<I", len(body)) + body  # fmt: skip
