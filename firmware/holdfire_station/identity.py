"""Who the station is: its private key, its deployment, and the collector it believes. One small file beside the
program.

Only reads; `enrolment` makes the file, once.
"""

from holdfire_protocol import cbor, cose, record
from holdfire_protocol.fields import NETWORK_BYTES, PUBLIC_KEY_BYTES

from .crypto import PrivateKey

PATH = "identity.cbor"
SEED_BYTES = 32


class IdentityError(Exception):
    """The station cannot be enrolled, or its identity file is damaged. The message says what to do."""


class Identity:
    """`key` signs; `kid` and `public` name the station; `network` and `collector_public` are whom it serves."""

    def __init__(self, seed: bytes, network: bytes, collector_public: bytes):
        self.key = PrivateKey.from_seed(seed)
        self.public = self.key.public_bytes
        self.kid = cose.key_id(self.public)
        self.network = network
        self.collector_public = collector_public
        self.collector_kid = cose.key_id(collector_public)
        self.genesis = record.genesis(network, self.public)


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
        raise IdentityError("identity file damaged: re-flash with ERASE=1 and enrol the station as a new one")
    return Identity(seed, network, collector_public)
