"""Making a station's identity, once, when its deployment enrols it. In memory only while it is used.

The file is written whole under another name and renamed, so a power cut leaves none or a good one.
"""

import os

from holdfire_protocol import cbor
from holdfire_protocol.fields import NETWORK_BYTES

from .crypto.seed import make_seed
from .recorder import Identity


def create(network: bytes, collector_public: bytes, host_entropy: bytes) -> Identity:
    """Make a key from the chip's randomness mixed with the host's, and keep it. Raises IdentityError if there is one.

    The chip's generator is only true while the radio or the bootloader feeds it, hence the host's share.
    """
    from .identity import PATH, SEED_BYTES, IdentityError, load

    if load() is not None:
        raise IdentityError("already enrolled: `identity` shows in which deployment")
    if len(network) != NETWORK_BYTES or len(host_entropy) < SEED_BYTES:
        raise IdentityError("network must be 16 bytes and entropy at least 32")
    seed = make_seed(os.urandom(SEED_BYTES), host_entropy)
    with open(PATH + ".new", "wb") as file:
        file.write(cbor.encode([seed, network, collector_public]))
    os.rename(PATH + ".new", PATH)
    return Identity(seed, network, collector_public)
