"""Updates signed into a file: what is sent from a laptop without the key is what the authority signed, or nothing."""

import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holdfire import authority, cli, times, update
from holdfire.authority import KeyInMemory
from holdfire.registry import Registry
from holdfire_protocol import cbor

from .made import AUTHORITY, NETWORK, PASSPHRASE, START_US, Base

IMAGE = bytes(range(256)) * 32
PROGRAMS = update.Programs("esp32-devkit", 0x0A06, bytes.fromhex("5a11c0de00000001"), IMAGE)
STRANGER = KeyInMemory(Ed25519PrivateKey.from_private_bytes(b"\x66" * 32))


@pytest.fixture
def base(tmp_path, monkeypatch):
    made = Base(tmp_path / "base")
    monkeypatch.setenv("HOLDFIRE_DIR", str(made.deployment.directory))
    monkeypatch.setattr(authority.Ed25519PrivateKey, "generate", lambda: AUTHORITY._private)
    authority.create(made.deployment.authority_path, PASSPHRASE)
    return made


@pytest.fixture
def manifest(tmp_path):
    """An image as `make image` leaves it, as far as an update looks at it."""
    data = b"other parts" + IMAGE + b"\xff" * len(IMAGE)
    (tmp_path / "devkit.bin").write_bytes(data)
    part = {"name": "programs", "offset": 11, "size": 2 * len(IMAGE), "sha256": hashlib.sha256(data[11:]).hexdigest()}
    path = tmp_path / "devkit.json"
    path.write_text(json.dumps({"board": PROGRAMS.board, "mpy": PROGRAMS.mpy, "firmware": PROGRAMS.firmware.hex(),
                                "image": {"file": "devkit.bin"}, "parts": [part]}))  # fmt: skip
    return path


def run(capsys, *argv):
    code = cli.main([str(a) for a in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_what_is_signed_into_a_file_is_what_is_read_from_it(base, manifest, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(times, "now_us", lambda: START_US + 86_400_000_000)
    out_file = tmp_path / "devkit.update"
    code, out, err = run(capsys, "update", "--sign-only", out_file, "--from", manifest)
    assert (code, err) == (0, "") and "registry.json" in out and PROGRAMS.firmware.hex() in out
    programs, message, number = update.read_signed(out_file, NETWORK, base.registry.authorities)
    assert programs == PROGRAMS and number == (START_US + 86_400_000_000) // 1_000_000 - update.EPOCH_S
    assert message == update.sign(PROGRAMS, number, NETWORK, AUTHORITY)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda message, image: [message, image[:-1] + b"x"], "not as the authority signed it"),
        (lambda message, image: [message, image[:-1]], "not as the authority signed it"),
        (lambda message, image: [message[:-1] + bytes([message[-1] ^ 1]), image], "not as the authority signed it"),
        (lambda message, image: [message[:60] + bytes([message[60] ^ 1]) + message[61:], image], "not as the"),
        (lambda message, image: [update.sign(PROGRAMS, 1, bytes(16), AUTHORITY), image], "not as the authority signed"),
        (lambda message, image: [update.sign(PROGRAMS, 1, NETWORK, STRANGER), image], "signed by another authority"),
        (lambda message, image: [message], "not a file of holdfire update --sign-only"),
        (lambda message, image: [message, image, image], "not a file of holdfire update --sign-only"),
        (lambda message, image: [message, 7], "not as the authority signed it"),
        (lambda message, image: [7, image], "not a file of holdfire update --sign-only"),
        (lambda message, image: [1 << 40, image], "not a file of holdfire update --sign-only"),
        (lambda message, image: [(1 << 64) - 1, image], "not a file of holdfire update --sign-only"),
        (lambda message, image: 7, "not a file of holdfire update --sign-only"),
    ],
)
def test_a_file_that_is_not_as_signed_is_refused_before_a_port_is_opened(base, capsys, tmp_path, change, says):
    path = tmp_path / "devkit.update"
    path.write_bytes(cbor.encode(change(update.sign(PROGRAMS, 1, NETWORK, AUTHORITY), IMAGE)))
    code, out, err = run(capsys, "update", "/dev/ttyNONE9", "--signed", path)
    assert (code, out) == (2, "") and says in err and err.count("\n") == 1


def test_a_file_cut_short_at_any_byte_is_refused(base, capsys, tmp_path):
    path = tmp_path / "devkit.update"
    whole = cbor.encode([update.sign(PROGRAMS, 1, NETWORK, AUTHORITY), IMAGE])
    for size in (*range(300), len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(update.UsageError, match="cut short: copy it again"):
            update.read_signed(path, NETWORK, base.registry.authorities)


def test_an_authority_before_signs_no_more(base, capsys, tmp_path):
    path = tmp_path / "devkit.update"
    update.write_signed(path, PROGRAMS, update.sign(PROGRAMS, 1, NETWORK, AUTHORITY))
    base.registry.hand_over_authority(STRANGER, START_US + 1, "Anna leaves")
    base.registry.save()
    code, _, err = run(capsys, "update", "/dev/ttyNONE9", "--signed", path)
    assert code == 2 and "signed by an authority before" in err and "sign it anew" in err


def test_wrong_uses_are_one_clear_line(base, manifest, capsys, tmp_path):
    signed = tmp_path / "devkit.update"
    update.write_signed(signed, PROGRAMS, update.sign(PROGRAMS, 1, NETWORK, AUTHORITY))
    for argv, code, says in (
        ([], 2, "name the station's PORT; to sign without one, --sign-only OUT"),
        (["--sign-only", tmp_path / "x"], 2, "--sign-only takes --from FILE"),
        (["/dev/ttyUSB0", "--sign-only", tmp_path / "x", "--from", manifest], 2, "neither PORT nor --signed"),
        (["--sign-only", "/nowhere/x", "--from", manifest], 2, "cannot write /nowhere/x"),
        (["--sign-only", tmp_path / "x", "--from", tmp_path / "no.json"], 2, "`make image BOARD=no` builds it"),
        (["/dev/ttyNONE9", "--signed", "/nowhere/x"], 2, "/nowhere/x: cannot be read"),
        (["/dev/ttyNONE9", "--signed", signed, "--from", manifest], 2, "leave --from, --key and --past-clock out"),
        (["/dev/ttyNONE9", "--signed", signed], 4, "no such port"),
    ):
        found, out, err = run(capsys, "update", *argv)
        assert (found, out) == (code, "") and says in err and err.count("\n") == 1, argv
    assert not (tmp_path / "x").exists()
    older = update.State("esp32-devkit", 0x0A06, 8192, 5, False, None, bytes(8))
    with pytest.raises(update.UsageError, match="this file was signed at 2023-11-14 22:13, and .* 22:13"):
        update.check_newer(5, older)
    update.check_newer(6, older)


def test_no_update_is_signed_with_a_key_that_is_not_the_authority_s(base, manifest, capsys, tmp_path):
    base.registry.hand_over_authority(STRANGER, START_US + 1, "Anna leaves")
    base.registry.save()
    code, _, err = run(capsys, "update", "--sign-only", tmp_path / "x", "--from", manifest)
    assert code == 3 and "this key is not the deployment's authority" in err and not (tmp_path / "x").exists()
    assert Registry.load(base.registry.path).authority_kid != base.registry.authorities[0].kid
