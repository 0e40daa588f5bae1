"""The authority's key on a token: SoftHSM of Debian (`apt-get install softhsm2`) is the token, the commands are real.

Each command is a process of its own: a PKCS#11 module reads its configuration once, and a PIN is remembered with it.
"""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holdfire import hardware_token
from holdfire.errors import RegistryError, UsageError
from holdfire.registry import Registry
from tests.mpy import REPO

MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so",
           "/opt/homebrew/lib/softhsm/libsofthsm2.so", "/usr/lib64/libsofthsm2.so")  # fmt: skip
PIN = "4938170526"


class Token:
    """A SoftHSM token of its own, labelled "holdfire"."""

    def __init__(self, folder, module):
        self.folder = folder
        self.module = module
        (folder / "tokens").mkdir()
        self.configure()
        self.util("--init-token", "--free", "--label", "holdfire", "--pin", PIN, "--so-pin", "12345678")

    def configure(self, more=""):
        text = f"directories.tokendir = {self.folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n{more}"
        (self.folder / "conf").write_text(text)

    @property
    def environment(self):
        paths = os.pathsep.join(str(REPO / part) for part in ("host", "protocol"))
        return {**os.environ, "SOFTHSM2_CONF": str(self.folder / "conf"), "PYTHONPATH": paths,
                "HOLDFIRE_DIR": str(self.folder / "base"), "HOLDFIRE_PASSPHRASE": PIN}  # fmt: skip

    def util(self, *argv):
        command = ["softhsm2-util", *map(str, argv)]
        subprocess.run(command, check=True, env=self.environment, capture_output=True, timeout=60)

    def uri(self, path="token=holdfire;object=authority", query=""):
        return f"pkcs11:{path}?module-path={self.module}{query}"

    def run(self, *argv, **environment):
        done = subprocess.run(
            [sys.executable, "-m", "holdfire", *map(str, argv)], env={**self.environment, **environment},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    def refused(self, code, says, *argv, **environment):
        before = self.registry_bytes()
        found, out, err = self.run(*argv, **environment)
        assert (found, out) == (code, "") and says in err, (found, out, err)
        assert err.count("\n") == 1 and PIN not in err
        assert self.registry_bytes() == before

    def registry_bytes(self):
        path = self.folder / "base" / "registry.json"
        return path.read_bytes() if path.exists() else b""

    def registry(self):
        return Registry.load(self.folder / "base" / "registry.json")


@pytest.fixture
def token(tmp_path):
    pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed")
    module = next((path for path in MODULES if pathlib.Path(path).exists()), None)
    if module is None or not shutil.which("softhsm2-util"):
        pytest.skip("softhsm2 is not installed (Debian: apt-get install softhsm2)")
    return Token(tmp_path, module)


def test_a_deployment_lives_from_a_key_that_never_leaves_the_token(token, tmp_path):
    """Founded with a key made on the token, changed, handed over to a file and back to another key on the token."""
    code, out, err = token.run("init", "--name", "Valley line", "--key", token.uri())
    assert (code, err) == (0, "") and "on the token" in out
    made = token.registry()
    assert not (tmp_path / "base" / "authority.key").exists()
    code, out, err = token.run("registry", "collector", "--why", "stolen", "--key", token.uri())
    assert (code, err) == (0, "")
    new = tmp_path / "authority.key"
    code, _, err = token.run("registry", "authority", "--why", "a file", "--key", token.uri(), "--new-key", new)
    assert (code, err) == (0, "")
    again = token.uri("token=holdfire;object=second")
    code, _, err = token.run("registry", "authority", "--why", "back", "--key", new, "--new-key", again)
    assert (code, err) == (0, "")
    third = token.uri("token=holdfire;object=third")  # both on one token: it has one login for both
    code, _, err = token.run("registry", "authority", "--why", "on", "--key", again, "--new-key", third)
    assert (code, err) == (0, "")
    registry = token.registry()  # every signature is checked by reading it
    assert len({holder.kid for holder in registry.authorities}) == 4
    assert registry.authorities[0].kid == made.authority_kid
    token.refused(3, "this authority key", "registry", "collector", "--why", "x", "--key", token.uri())
    assert token.run("registry", "verify", "--authority", made.authority_kid.hex())[0] == 0


def test_a_key_that_another_tool_imported_is_found_by_label_or_id(token, tmp_path):
    key = Ed25519PrivateKey.generate()
    pem = tmp_path / "key.pem"
    from cryptography.hazmat.primitives import serialization as form

    pem.write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()))
    token.util("--import", pem, "--token", "holdfire", "--label", "authority", "--id", "0a0b", "--pin", PIN)
    uri = token.uri("token=holdfire;id=%0A%0B")
    assert token.run("init", "--name", "Valley line", "--key", uri)[0] == 0
    assert token.registry().authority_public == key.public_key().public_bytes_raw()
    assert token.run("registry", "collector", "--why", "x", "--key", token.uri("object=authority"))[0] == 0


def test_the_pin_comes_from_where_it_is_said_and_a_wrong_one_is_tried_once(token, tmp_path):
    assert token.run("init", "--name", "Valley line", "--key", token.uri(query=f"&pin-value={PIN}"))[0] == 0
    change = ("registry", "collector", "--why", "x", "--key")
    (tmp_path / "pin").write_text(PIN + "\n")
    assert token.run(*change, token.uri(query=f"&pin-source=file:{tmp_path}/pin"), HOLDFIRE_PASSPHRASE="")[0] == 0
    pin_file = ("--passphrase-file", tmp_path / "pin")
    assert token.run(*change, token.uri(), *pin_file, HOLDFIRE_PASSPHRASE="wrong")[0] == 0
    token.refused(3, "token holdfire: the PIN is wrong", *change, token.uri(), HOLDFIRE_PASSPHRASE="000000")
    token.refused(3, "cannot read the PIN file /nowhere: ", *change, token.uri(query="&pin-source=/nowhere"))
    environment = {key: value for key, value in token.environment.items() if key != "HOLDFIRE_PASSPHRASE"}
    done = subprocess.run([sys.executable, "-m", "holdfire", *change, token.uri()], env=environment, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=120)  # fmt: skip
    assert done.returncode == 3 and "the authority's PIN is needed and nobody is there to type it" in done.stderr


def test_what_is_missing_or_wrong_is_one_clear_line_and_changes_nothing(token, tmp_path):
    assert token.run("init", "--name", "Valley line", "--key", token.uri())[0] == 0
    change = ("registry", "collector", "--why", "x", "--key")
    for uri, code, says in (
        ("pkcs11:token=holdfire", 2, "which PKCS#11 module? Add ?module-path="),
        ("pkcs11:token=holdfire?module-path=/nowhere.so", 3, "module /nowhere.so: cannot be loaded; install"),
        (f"pkcs11:token=holdfire?module-path={__file__}", 3, "cannot be loaded; install"),
        (token.uri("token=other"), 3, "no such token is plugged in (there is: holdfire (serial "),
        (token.uri("token=holdfire;object=nothing"), 3, "no such Ed25519 key (there is: authority (id "),
        (token.uri("token=holdfire;colour=red"), 2, "the key's URI: colour: not understood"),
    ):
        token.refused(code, says, *change, uri)
    token.run("init", token.folder / "other", "--name", "Other", "--key", token.uri("token=holdfire;object=second"))
    token.refused(3, "several Ed25519 keys (there is: ", *change, token.uri("token=holdfire"))
    token.refused(3, "this authority key", *change, token.uri("token=holdfire;object=second"))
    token.configure("slots.mechanisms = CKM_SHA256\n")
    token.refused(3, "token holdfire: does not know Ed25519 (CKM_EDDSA)", *change, token.uri())
    token.configure()
    shutil.rmtree(tmp_path / "tokens")
    (tmp_path / "tokens").mkdir()
    token.refused(3, "no such token is plugged in (there is: none)", *change, token.uri())
    (tmp_path / "conf").unlink()
    token.refused(3, "see its module's configuration", *change, token.uri())


def test_a_token_that_signs_something_else_or_goes_away_is_found_out():
    pkcs11 = pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed")
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()

    class Private:
        def sign(self, message, mechanism):
            if message == b"unplugged":
                raise pkcs11.exceptions.DeviceRemoved
            return key.sign(message)

    assert len(hardware_token.KeyOnToken(Private(), key.public_key().public_bytes_raw(), "token a").sign(b"x")) == 64
    with pytest.raises(RegistryError, match="token a: what it signed does not hold"):
        hardware_token.KeyOnToken(Private(), other.public_key().public_bytes_raw(), "token a").sign(b"x")
    with pytest.raises(RegistryError, match="token a: was unplugged: nothing was changed"):
        hardware_token.KeyOnToken(Private(), key.public_key().public_bytes_raw(), "token a").sign(b"unplugged")


def test_without_python_pkcs11_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(UsageError, match="pip install 'python-pkcs11"):
        hardware_token.open_key("pkcs11:token=a?module-path=/x.so", lambda: "")


def test_the_uri_is_read_as_rfc_7512_has_it():
    named = hardware_token.parse("pkcs11:token=The%20Token;object=a%3Bb;id=%01%FE?module-path=/a/b.so&pin-value=1")
    assert (named["token"], named["object"], named["module-path"]) == ("The Token", "a;b", "/a/b.so")
    assert named["id"].encode(errors="surrogateescape") == b"\x01\xfe"
    assert hardware_token.parse("pkcs11:") == {}
    for wrong, says in (
        ("pkcs11:token=holdfire;token=other", "token: stands twice"),
        ("pkcs11:token=holdfire;type=public", "type: must be private"),
        ("pkcs11:holdfire", "holdfire: not understood"),
        ("pkcs11:module-path=/x.so", "module-path: not understood"),
        ("pkcs11:?token=holdfire", "token: not understood"),
        ("pkcs11:\x1b[2J=1", "not understood"),
    ):
        with pytest.raises(UsageError, match=says) as caught:
            hardware_token.parse(wrong)
        assert "\x1b" not in str(caught.value)


def test_a_pin_in_a_uri_is_not_shown():
    for uri, shown in (
        ("pkcs11:token=a;object=b", "pkcs11:token=a;object=b"),
        ("pkcs11:token=a?pin-value=1234", "pkcs11:token=a"),
        ("pkcs11:token=a?module-path=/m.so&pin-value=1234", "pkcs11:token=a?module-path=/m.so"),
        ("pkcs11:token=a?pin-value=1234&module-path=/m.so", "pkcs11:token=a?module-path=/m.so"),
        ("/media/pin-value=1/x?pin-value=2", "/media/pin-value=1/x?pin-value=2"),
    ):
        assert hardware_token.without_pin(uri) == shown
