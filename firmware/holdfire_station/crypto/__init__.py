"""Ed25519 and SHA-512 for the station. This is the whole face; the modules beside it are its own business."""

from .ed25519 import InvalidKey as InvalidKey
from .ed25519 import InvalidSignature as InvalidSignature
from .ed25519 import PrivateKey as PrivateKey
from .ed25519 import busy as busy
from .ed25519 import check_public_key as check_public_key
from .ed25519 import verify as verify
from .ed25519 import verify_async as verify_async
from .sha512 import sha512 as sha512
