"""Ed25519 and SHA-512 for the station. This is the whole face; the modules beside it are its own business."""

from .ed25519 import PrivateKey, check_public_key, make_seed, verify, verify_async
from .errors import InvalidKey, InvalidSignature
from .sha512 import sha512

__all__ = ("InvalidKey", "InvalidSignature", "PrivateKey", "check_public_key", "make_seed", "sha512", "verify", "verify_async")
