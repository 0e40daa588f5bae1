"""The deployment's authority: the key whose signature makes an entry of the registry true.

It is kept apart from the collector's key: a base needs it only while a station is provisioned or the registry changed,
and it may live on a stick that is otherwise in a safe. The file is PKCS#8 in PEM, encrypted by scrypt and AES-256-CBC
(PBES2 with the scrypt of RFC 7914 section 7), so `openssl pkey -in authority.key` reads it too. What signs stands
behind `Authority`, one method and a public key; a key on a hardware token (`hardware_token.py`) is one, too.
"""

import base64
import getpass
import os
import pathlib
import stat
import sys
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import padding, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from . import files
from .errors import RegistryError
from .output import clean

MIN_PASSPHRASE_CHARS = 8
VARIABLE = "HOLDFIRE_PASSPHRASE"
# 16 MiB and five rounds: as much as OpenSSL reads without being told to (32 MiB at most), and a fifth of a second here.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 1 << 14, 8, 5


class Authority(Protocol):
    """What can sign for a deployment. `sign` returns 64 bytes: Ed25519 over exactly what it is given."""

    @property
    def public(self) -> bytes: ...

    def sign(self, message: bytes) -> bytes: ...


class KeyInMemory:
    """An authority whose private key this process holds."""

    def __init__(self, private: Ed25519PrivateKey):
        self._private = private
        self.public: bytes = private.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)


def create(path: pathlib.Path, passphrase: str) -> KeyInMemory:
    """A new key, written encrypted. Never overwrites. Raises RegistryError."""
    check_passphrase(passphrase)
    private = Ed25519PrivateKey.generate()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomically(path, _encrypted_pem(private, passphrase), 0o600, new=True)
    except OSError as error:
        raise RegistryError(f"cannot write the authority's key {path}: {files.why(error)}") from None
    return KeyInMemory(private)


def load(path: pathlib.Path, passphrase: str) -> KeyInMemory:
    """The key of a file. Raises RegistryError when it is missing, readable by others, or the passphrase is wrong."""
    try:
        mode = path.stat().st_mode
        with open(path, "rb") as file:
            pem = file.read(1 << 16)
    except FileNotFoundError:
        raise RegistryError(
            f"no authority key at {path}: only who holds it can change the registry; bring the stick or the laptop it"
            " is on and name it with --key FILE, or restore it from its copy"
        ) from None
    except OSError as error:
        hint = "; run this as the user whom it belongs to" if isinstance(error, PermissionError) else ""
        raise RegistryError(f"cannot read the authority's key {path}: {error.strerror}{hint}") from None
    if stat.S_IMODE(mode) & 0o077:
        raise RegistryError(f"{path}: others can read this private key; run: chmod 600 {path}")
    if b"BEGIN ENCRYPTED PRIVATE KEY" not in pem:
        raise RegistryError(f"{path}: not an encrypted private key in PEM form; restore it from its copy")
    try:
        private = serialization.load_pem_private_key(pem, passphrase.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm, MemoryError):
        raise RegistryError(f"{path}: does not open: the passphrase is wrong, or the file is damaged") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise RegistryError(f"{path}: not an Ed25519 key; restore it from its copy")
    return KeyInMemory(private)


def check_passphrase(passphrase: str) -> None:
    """Raises RegistryError for one that is too short to withstand anybody who has the file."""
    if len(passphrase) < MIN_PASSPHRASE_CHARS:
        raise RegistryError(
            f"the authority's passphrase needs {MIN_PASSPHRASE_CHARS} characters or more; five random words are good"
        )


def read_secret(file: str, what: str) -> str:
    """What the file holds, without the end of line. Raises RegistryError that calls it `what`."""
    try:
        with open(file, encoding="utf-8") as opened:
            return opened.read(4096).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise RegistryError(f"cannot read the {what} file {clean(file)}: {reason}") from None


def ask_passphrase(file: str | None, new: bool = False, what: str = "passphrase") -> str:
    """`what`, from `file`, else from $HOLDFIRE_PASSPHRASE, else asked for on the terminal; `new` asks twice."""
    if file is not None:
        return read_secret(file, what)
    if VARIABLE in os.environ:
        return os.environ[VARIABLE]
    if not sys.stdin.isatty():
        raise RegistryError(
            f"the authority's {what} is needed and nobody is there to type it: run this in a terminal,"
            f" or give --passphrase-file FILE or ${VARIABLE}"
        )
    passphrase = getpass.getpass("New passphrase for the authority's key: " if new else f"Authority's {what}: ")
    if new:
        check_passphrase(passphrase)
        if getpass.getpass("The same again: ") != passphrase:
            raise RegistryError("the two passphrases differ: try again")
    return passphrase


# cryptography's own encryption of PKCS#8 files stretches a passphrase with 2,048 rounds of PBKDF2, far too few; it
# reads scrypt, and does not write it. So the three nested structures are put together here.

_PBES2 = bytes.fromhex("06092a864886f70d01050d")  # 1.2.840.113549.1.5.13, RFC 8018 appendix A.4
_SCRYPT = bytes.fromhex("06092b06010401da47040b")  # 1.3.6.1.4.1.11591.4.11, RFC 7914 section 7
_AES_256_CBC = bytes.fromhex("060960864801650304012a")  # 2.16.840.1.101.3.4.1.42


def _encrypted_pem(private: Ed25519PrivateKey, passphrase: str) -> bytes:
    """EncryptedPrivateKeyInfo (RFC 5958 section 3) of a key."""
    plain = private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    salt, iv = os.urandom(16), os.urandom(16)
    key = Scrypt(salt=salt, length=32, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P).derive(passphrase.encode())
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES256(key), modes.CBC(iv)).encryptor()
    secret = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    kdf = _der(0x30, _SCRYPT, _der(0x30, _der(4, salt), *(_integer(n) for n in (SCRYPT_N, SCRYPT_R, SCRYPT_P))))
    scheme = _der(0x30, _AES_256_CBC, _der(4, iv))
    der = _der(0x30, _der(0x30, _PBES2, _der(0x30, kdf, scheme)), _der(4, secret))
    return _pem(der)


def _der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    head = bytes([size]) if size < 128 else bytes([0x81, size]) if size < 256 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + head + content


def _integer(value: int) -> bytes:
    return _der(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _pem(der: bytes) -> bytes:
    text = base64.b64encode(der)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return b"\n".join([b"-----BEGIN ENCRYPTED PRIVATE KEY-----", *lines, b"-----END ENCRYPTED PRIVATE KEY-----", b""])
