"""The authority's key: encrypted, in a form that others read too, and opened by nothing but its passphrase."""

import io
import os
import shutil
import stat
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from holdfire import authority
from holdfire.errors import RegistryError

from .made import PASSPHRASE

REAL_N = authority.SCRYPT_N  # the fixture that makes tests quick comes later


@pytest.fixture
def path(tmp_path):
    return tmp_path / "stick" / "authority.key"


def test_what_is_written_is_what_is_loaded_and_signs(path):
    made = authority.create(path, PASSPHRASE)
    loaded = authority.load(path, PASSPHRASE)
    assert loaded.public == made.public
    Ed25519PublicKey.from_public_bytes(made.public).verify(loaded.sign(b"entry"), b"entry")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with pytest.raises(RegistryError, match="cannot write"):
        authority.create(path, PASSPHRASE)
    assert authority.load(path, PASSPHRASE).public == made.public


def test_the_passphrase_is_stretched_as_stated_and_openssl_reads_the_file(path, monkeypatch):
    monkeypatch.setattr(authority, "SCRYPT_N", REAL_N)
    made = authority.create(path, "five random words are good")
    # OWASP's least for scrypt: N = 2^14 with r = 8 and p = 5, or as much by other numbers.
    assert authority.SCRYPT_N * authority.SCRYPT_R * authority.SCRYPT_P >= (1 << 14) * 8 * 5
    if not shutil.which("openssl"):
        pytest.skip("no openssl here to read the file with")
    reading = ["openssl", "pkey", "-in", path, "-passin", "pass:five random words are good"]
    done = subprocess.run([*reading, "-pubout", "-outform", "DER"], capture_output=True, check=True)
    assert done.stdout[-32:] == made.public
    shown = subprocess.run(["openssl", "asn1parse", "-in", path], capture_output=True, text=True, check=True).stdout
    assert ":scrypt" in shown and ":aes-256-cbc" in shown and f":{authority.SCRYPT_N:X}" in shown


def test_two_files_of_one_passphrase_have_nothing_in_common(tmp_path):
    made = [authority.create(tmp_path / name, PASSPHRASE) for name in "ab"]
    assert made[0].public != made[1].public
    salts = {(tmp_path / name).read_text().splitlines()[2] for name in "ab"}
    assert len(salts) == 2


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.unlink(), "no authority key at"),
        (lambda path: path.chmod(0o644), "chmod 600"),
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "the passphrase is wrong, or the file is damaged"),
        (lambda path: path.write_bytes(b""), "not an encrypted private key"),
        (lambda path: path.write_bytes(unencrypted()), "not an encrypted private key"),
        (lambda path: path.write_bytes(os.urandom(1 << 17)), "not an encrypted private key"),
    ],
)
def test_a_key_file_that_is_not_in_order_is_refused(path, spoil, says):
    authority.create(path, PASSPHRASE)
    spoil(path)
    with pytest.raises(RegistryError, match=says) as caught:
        authority.load(path, PASSPHRASE)
    assert PASSPHRASE not in str(caught.value) and "\n" not in str(caught.value)


def unencrypted():
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.mark.parametrize("wrong", ["", PASSPHRASE[:-1], PASSPHRASE + " ", PASSPHRASE.upper(), "\x00" * 1000])
def test_another_passphrase_opens_nothing(path, wrong):
    authority.create(path, PASSPHRASE)
    with pytest.raises(RegistryError, match="the passphrase is wrong"):
        authority.load(path, wrong)


def test_a_short_passphrase_is_refused(path):
    with pytest.raises(RegistryError, match="8 characters or more"):
        authority.create(path, "1234567")
    assert not path.exists()


def test_a_passphrase_comes_from_file_environment_or_terminal(tmp_path, monkeypatch):
    file = tmp_path / "secret.txt"
    file.write_text("from the file\n")
    assert authority.ask_passphrase(str(file)) == "from the file"
    assert authority.ask_passphrase(None) == PASSPHRASE
    with pytest.raises(RegistryError, match="cannot read the passphrase file"):
        authority.ask_passphrase(str(tmp_path / "none"))
    monkeypatch.delenv(authority.VARIABLE)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(RegistryError, match="nobody is there to type it"):
        authority.ask_passphrase(None)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    typed = iter(["typed twice", "typed twice", "typed once", "typed otherwise", "once"])
    monkeypatch.setattr(authority.getpass, "getpass", lambda _: next(typed))
    assert authority.ask_passphrase(None, new=True) == "typed twice"
    with pytest.raises(RegistryError, match="differ"):
        authority.ask_passphrase(None, new=True)
    assert authority.ask_passphrase(None) == "once"
