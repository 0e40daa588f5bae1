"""COSE_Sign1 (RFC 9052 section 4.2) in the one profile Holdfire uses.

Tagged (18); protected header exactly {1: -19} (Ed25519, RFC 9864); unprotected header exactly {4: kid}; payload
attached. Every byte but kid, payload and signature is thus fixed. Nothing here holds a key or computes a signature.
"""

import hashlib

from . import cbor
from .fields import KID_BYTES, MAX_RECORD_BYTES, PUBLIC_KEY_BYTES, SIGNATURE_BYTES

PROTECTED = b"\xa1\x01\x32"  # {1: -19}
_HEAD = b"\xd2\x84\x43" + PROTECTED + b"\xa1\x04\x48"  # tag 18, array(4), protected, {4: kid of 8 bytes}
_SIGNATURE_HEAD = b"\x58\x40"
_PAYLOAD_AT = len(_HEAD) + KID_BYTES
OVERHEAD_BYTES = _PAYLOAD_AT + 2 + len(_SIGNATURE_HEAD) + SIGNATURE_BYTES  # with a payload of 24 to 255 bytes
MAX_PAYLOAD_BYTES = MAX_RECORD_BYTES - OVERHEAD_BYTES - 1  # its length then takes three bytes, not two


class CoseError(ValueError):
    """Not a COSE_Sign1 message of this profile. The message names the part."""


class Sign1:
    """The parts of a parsed message: `kid`, `payload` and `signature`, as bytes. Nothing is verified yet."""

    def __init__(self, kid: bytes, payload: bytes, signature: bytes):
        self.kid = kid
        self.payload = payload
        self.signature = signature


def sig_structure(external_aad: bytes, payload: bytes, protected: bytes = PROTECTED) -> bytes:
    """The bytes that are signed: Sig_structure of RFC 9052 section 4.4 for COSE_Sign1."""
    return (
        b"\x84\x6aSignature1"
        + cbor.byte_string(protected)
        + cbor.byte_string(external_aad)
        + cbor.byte_string(payload)
    )


def join(kid: bytes, payload: bytes, signature: bytes) -> bytes:
    """The message from its parts. Raises CoseError rather than make what `parse` would refuse."""
    if len(kid) != KID_BYTES or len(signature) != SIGNATURE_BYTES or len(payload) > MAX_PAYLOAD_BYTES:
        raise CoseError("message: kid, payload or signature has a wrong length")
    return _HEAD + kid + cbor.byte_string(payload) + _SIGNATURE_HEAD + signature


def parse(message: bytes) -> Sign1:
    """Take a message apart. Raises CoseError naming the part that is not of this profile."""
    message = bytes(message)
    if len(message) > MAX_RECORD_BYTES:
        raise CoseError("message: %d bytes, allowed %d" % (len(message), MAX_RECORD_BYTES))
    if message[: len(_HEAD)] != _HEAD:
        raise CoseError(_explain(message))
    try:
        size, at = _payload_size(message)
    except IndexError:
        raise CoseError("payload: ends early")
    end = at + size
    if message[end : end + 2] != _SIGNATURE_HEAD or len(message) != end + 2 + SIGNATURE_BYTES:
        raise CoseError("signature: the payload is not followed by a byte string of 64 bytes and the end")
    return Sign1(message[len(_HEAD) : _PAYLOAD_AT], message[at:end], message[end + 2 :])


def key_thumbprint(public_key: bytes) -> bytes:
    """COSE Key Thumbprint with SHA-256 (RFC 9679 section 4) of an Ed25519 public key: 32 bytes."""
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise CoseError("public key: %d bytes, not 32" % len(public_key))
    # COSE_Key {1: 1 (OKP), -1: 6 (Ed25519), -2: x}: the required parameters of section 5.1, deterministically encoded.
    return hashlib.sha256(b"\xa3\x01\x01\x20\x06\x21\x58\x20" + public_key).digest()


def key_id(public_key: bytes) -> bytes:
    """The `kid` of a key: the first 8 bytes of its thumbprint."""
    return key_thumbprint(public_key)[:KID_BYTES]


def _payload_size(message: bytes) -> tuple[int, int]:
    """(size, offset) of the payload; its head must be a byte string in shortest form."""
    first = message[_PAYLOAD_AT]
    if 0x40 <= first < 0x58:
        return first - 0x40, _PAYLOAD_AT + 1
    if first == 0x58:
        size = message[_PAYLOAD_AT + 1]
        if size < 24:
            raise CoseError("payload: length not in shortest form")
        return size, _PAYLOAD_AT + 2
    if first == 0x59:
        size = message[_PAYLOAD_AT + 1] << 8 | message[_PAYLOAD_AT + 2]
        if size < 256:
            raise CoseError("payload: length not in shortest form")
        return size, _PAYLOAD_AT + 3
    raise CoseError("payload: not an attached byte string of at most %d bytes" % MAX_PAYLOAD_BYTES)


def _explain(message: bytes) -> str:
    """Why the fixed head differs, in the words of the standard. Only ever called to refuse."""
    if message[:1] != b"\xd2":
        return "tag: not a tagged COSE_Sign1 (18)"
    if message[1:2] != b"\x84":
        return "message: not an array of 4"
    if message[2:3] != b"\x43" or message[3:6] != PROTECTED:
        if message[3:5] == b"\xa1\x01":
            return "protected header: algorithm is not Ed25519 (-19)"
        return "protected header: not exactly {1: -19}"
    return "unprotected header: not exactly {4: kid of 8 bytes}"
