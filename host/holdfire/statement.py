"""A station's signed statement of its own enrolment: key, chip, board, program (SPEC, section "Enrolment").

Signed with the very key it states, so it proves that whoever made it holds that key, for this deployment and, by the
challenge, now. The rest is the station's word: a hostile board can state any chip id.
"""

from dataclasses import dataclass

from holdfire_protocol import cose, enrolment, record

from . import ed25519_strict


@dataclass(frozen=True)
class Statement:
    """A statement whose form and signature hold."""

    message: bytes
    public_key: bytes
    collector: bytes
    chip: bytes
    board: str
    firmware: bytes
    challenge: bytes

    @property
    def kid(self) -> bytes:
        return cose.key_id(self.public_key)


def check(message: bytes, network: bytes) -> Statement:
    """The statement in a message. Raises ValueError saying which part does not hold.

    The payload is decoded before the signature is checked, since the key is in it; both are bounded by the profile.
    """
    named = enrolment.decode(cose.parse(message).payload)
    try:
        record.verify1(message, named["public_key"], enrolment.AAD_ENROLMENT, network, ed25519_strict.verify)
    except cose.CoseError:
        raise
    except ValueError:
        raise ValueError("signature: not by the key that it states, or not for this deployment") from None
    return Statement(
        message, named["public_key"], named["collector"], named["chip"], named["board"].decode("ascii"),
        named["firmware"], named["challenge"],
    )  # fmt: skip
