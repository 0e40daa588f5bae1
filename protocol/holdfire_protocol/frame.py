"""What travels: one signed record or beacon, its kind and the deployment it belongs to. A frame itself is unsigned."""

from . import cbor, fields


class FrameError(ValueError):
    """Not a frame, or not for us. The message names the field; `foreign` is True when it is another deployment's."""

    def __init__(self, reason: str, foreign: bool = False):
        super().__init__(reason)
        self.foreign = foreign


def encode(kind: int, network: bytes, body: bytes) -> bytes:
    """Frame of `body`, a signed message. `kind` is fields.FRAME_RECORD or FRAME_BEACON."""
    return cbor.encode([kind, network[: fields.NETWORK_TAG_BYTES], body])


def decode(data: bytes, network: bytes) -> tuple[int, bytes]:
    """(kind, body). Raises FrameError."""
    if len(data) > fields.MAX_FRAME_BYTES:
        raise FrameError("frame: %d bytes, allowed %d" % (len(data), fields.MAX_FRAME_BYTES))
    try:
        parts = cbor.decode(data, 1)
    except cbor.CborError as error:
        raise FrameError("frame: " + str(error))
    if not isinstance(parts, list) or len(parts) != 3:
        raise FrameError("frame: not an array of 3")
    kind, tag, body = parts
    if kind not in (fields.FRAME_RECORD, fields.FRAME_BEACON):
        raise FrameError("kind: unknown")
    if not isinstance(tag, bytes) or len(tag) != fields.NETWORK_TAG_BYTES:
        raise FrameError("network: not a byte string of 4")
    if not isinstance(body, bytes):
        raise FrameError("body: not a byte string")
    if tag != network[: fields.NETWORK_TAG_BYTES]:
        raise FrameError("network: frame of another deployment", True)
    return kind, body
