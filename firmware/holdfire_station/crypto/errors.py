"""What the signature code raises: ValueError > InvalidSignature > InvalidKey."""


class InvalidSignature(ValueError):
    """The signature does not hold; the message says which part of it failed."""


class InvalidKey(InvalidSignature):
    """Bytes that cannot be a public key under the project's rule, so that no signature holds against them."""
