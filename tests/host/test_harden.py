"""Locking a chip down, on espefuse's virtual fuses: nothing is burned unasked, what is burned is what was named, and a
run that was cut anywhere goes on to the same end.
"""

import contextlib
import hashlib
import io
import json
import random
import struct
import sys
import warnings

import pytest
import yaml

with warnings.catch_warnings():  # esptool's packages use a part of click that click is going to drop
    warnings.simplefilter("ignore")
    import espefuse  # noqa: F401
    import espsecure
    from esptool import cmds

from holdfire import cli, fuses, harden, lockdown
from holdfire.errors import PortError, UsageError
from holdfire.harden import BURNED, CHIPS, ERASED, FOREIGN, PARTIAL, Material, Part
from tests.mpy import REPO

sys.path.insert(0, str(REPO / "tools"))

from image import partition_table

from .mock_board import MockBoard
from .stock import made, official

# The emulation leaves the file of its fuses to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in.*fuses:pytest.PytestUnraisableExceptionWarning")
CUTS_EACH = 6
KEY = bytes(range(1, 33))
OTHER_KEY = bytes(range(2, 34))
DIGEST = hashlib.sha256(b"signing key").digest()
PARTS = (Part("bootloader", 0x1000, b"boot" * 2000, True), Part("micropython", 0x10000, b"app!" * 9000, True))
OWN = ((0x2F4000, 0x8000),)
MATERIAL = Material(PARTS, OWN, KEY, DIGEST)
SMALL = Material(PARTS[:1], (), KEY, DIGEST)
ALL = sorted(CHIPS)


@pytest.fixture(autouse=True)
def _tables_read_fast(monkeypatch):
    """espefuse parses 20 KB of YAML for every board."""
    monkeypatch.setattr(yaml, "safe_load", lambda text: yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


@pytest.fixture
def virtual(tmp_path):
    def virtual(chip="esp32", folder="board", revision=None):
        return fuses.VirtualBoard(tmp_path / folder, chip, revision)

    return virtual


def finish(board, level, material=MATERIAL):
    """All that is left, without asking anybody."""
    while (plan := harden.make_plan(board, level, material)).todo:
        assert not plan.refusals, plan.refusals
        harden.carry_out(plan.todo[0], board, material)


def state_of(board):
    """Every fuse by name, and who may still write or read it."""
    return {e.name: (str(e.get_raw()), e.is_writeable(), e.is_readable()) for e in board._commands.efuses}


def names(plan):
    return [step.name for step in plan.todo]


@pytest.mark.parametrize("chip", ALL)
@pytest.mark.parametrize("level", sorted(harden.LEVELS))
def test_a_level_burns_what_it_names_and_nothing_else(virtual, chip, level):
    board = virtual(chip)
    before = state_of(board)
    plan = harden.make_plan(board, level, MATERIAL)
    assert plan.todo == plan.steps and not plan.refusals
    named = {name for step in plan.steps for name, _ in step.fuses}
    finish(board, level)
    after = state_of(virtual(chip))  # from the file, as a new run finds it
    keys = {"BLOCK1", "BLOCK2"} if chip == "esp32" else {
        "BLOCK_KEY0", "BLOCK_KEY1", "KEY_PURPOSE_0", "KEY_PURPOSE_1"}  # fmt: skip
    changed = {name for name in after if after[name][0] != before[name][0]}
    assert named <= changed and changed <= named | {"WR_DIS", "RD_DIS"} | (keys if level > 1 else set())
    for step in plan.steps:
        for name, value in step.fuses:
            assert virtual(chip).fuse(name) & value == value
    unreadable = {name for name in after if not after[name][2]}
    assert unreadable == ({"BLOCK1" if chip == "esp32" else "BLOCK_KEY0"} if level > 1 else set())
    assert names(harden.make_plan(virtual(chip), level, MATERIAL)) == []


@pytest.mark.parametrize("chip", ALL)
def test_levels_can_be_climbed_one_after_the_other(virtual, chip):
    board = virtual(chip)
    for level in harden.LEVELS:
        finish(board, level)
    straight = virtual(chip, "straight")
    finish(straight, 3)
    assert state_of(board) == state_of(straight)


@pytest.mark.parametrize("chip", ALL)
def test_the_flash_then_holds_what_the_chip_decrypts_to_the_image(virtual, chip, tmp_path):
    board = virtual(chip)
    flash = fuses.FileFlash(tmp_path / "board" / f"{chip}.flash")
    flash.write(OWN[0][0], b"a station's private key" * 100 + bytes(-2300 % 4096))
    finish(board, 2)
    content = (tmp_path / "board" / f"{chip}.flash").read_bytes()
    assert b"private key" not in content and content[OWN[0][0] : OWN[0][0] + OWN[0][1]] == b"\xff" * OWN[0][1]
    for part in PARTS:
        size = len(part.data) + -len(part.data) % 4096
        there = content[part.offset : part.offset + size]
        assert part.data[:64] not in there
        out = io.BytesIO()
        with contextlib.redirect_stdout(io.StringIO()):
            espsecure.decrypt_flash_data(
                io.BytesIO(KEY), out, part.offset, 0xF, CHIPS[chip].aes_xts, io.BytesIO(there)
            )
        assert out.getvalue().rstrip(b"\xff") == part.data


class PowerCut(Exception):
    pass


def cut_at(board, count):
    """The power fails at the count-th write to the fuse controller's registers: what they held is gone."""
    esp = board._commands.esp
    write, left = esp.write_reg, [count]

    def write_reg(*arguments, **named):
        if left[0] == 0:
            raise PowerCut
        left[0] -= 1
        return write(*arguments, **named)

    esp.write_reg = write_reg
    return left


@pytest.mark.parametrize("chip", ALL)
def test_a_run_cut_anywhere_goes_on_to_the_same_end(virtual, chip, tmp_path):
    whole = virtual(chip, "whole")
    left = cut_at(whole, 1_000_000)
    finish(whole, 3, SMALL)
    writes = 1_000_000 - left[0]
    assert writes > 100
    chance = random.Random(chip)
    for number in range(CUTS_EACH):
        count = chance.randrange(number * writes // CUTS_EACH, (number + 1) * writes // CUTS_EACH)
        board = virtual(chip, f"cut{number}")
        cut_at(board, count)
        with pytest.raises(PowerCut):
            finish(board, 3, SMALL)
        virtual(chip, f"cut{number}")._commands.esp.clean_blocks_wr_regs()  # no fuses: a reset clears them
        board = virtual(chip, f"cut{number}")
        finish(board, 3, SMALL)
        assert state_of(board) == state_of(whole), f"cut at {count} of {writes}"


def test_a_flash_write_that_was_cut_is_done_again(virtual, tmp_path, monkeypatch):
    board = virtual()
    for step in harden.steps_for(CHIPS["esp32"], 2)[:4]:
        harden.carry_out(step, board, MATERIAL)
    put, left = fuses.FileFlash._put, [3]

    def cut(self, offset, data):
        left[0] -= 1
        if left[0] < 0:
            raise PowerCut
        put(self, offset, data[: len(data) // 2] if left[0] == 0 else data)

    monkeypatch.setattr(fuses.FileFlash, "_put", cut)
    with pytest.raises(PowerCut):
        finish(board, 2)
    monkeypatch.setattr(fuses.FileFlash, "_put", put)
    assert names(harden.make_plan(virtual(), 2, MATERIAL))[0] == "flash-write"
    finish(virtual(), 2)


@pytest.mark.parametrize("chip", ALL)
def test_a_station_that_lives_in_an_encrypted_flash_is_never_erased_again(virtual, chip, tmp_path):
    finish(virtual(chip), 2)
    path = tmp_path / "board" / f"{chip}.flash"
    flash = fuses.FileFlash(path)
    flash.write(OWN[0][0], b"its new key" * 100 + bytes(-1100 % 4096))
    before = path.read_bytes()
    newer = Material((PARTS[0], Part("micropython", 0x10000, b"newer" * 9000, True)), OWN, KEY, DIGEST)
    assert names(harden.make_plan(virtual(chip), 2, newer)) == []
    finish(virtual(chip), 3)
    assert path.read_bytes() == before


def refusals(board, level, material=MATERIAL):
    return "\n".join(harden.make_plan(board, level, material).refusals)


def test_what_would_brick_or_mislead_is_refused(virtual):
    assert "give --image" in refusals(virtual(), 2, Material(flash_key=KEY))
    assert "--keys DIR" in refusals(virtual(), 2, Material(PARTS, OWN))
    assert "--signing-key FILE" in refusals(virtual(), 3, Material(PARTS, OWN, KEY))
    assert "not signed" in refusals(virtual(), 3, Material(PARTS, OWN, KEY, DIGEST, ["micropython is not signed"]))
    assert "not signed" not in refusals(virtual(), 1, Material(faults=["micropython is not signed"]))
    old = virtual(folder="old", revision=0)
    assert "revision 0.0: secure boot V2 needs 3.0 or newer" in refusals(old, 3) and not refusals(old, 2)
    switched = virtual(folder="switched")
    switched.burn([("FLASH_CRYPT_CNT", 3)])
    assert "switched on and off before" in refusals(switched, 2)
    fixed = virtual(folder="fixed")
    fixed.write_protect("JTAG_DISABLE")
    assert "JTAG_DISABLE is protected from writing and not set" in refusals(fixed, 1)
    protected = virtual("esp32s3", "protected")
    protected.write_protect("RD_DIS")
    assert "no flash key can be made unreadable any more" in refusals(protected, 2) and not refusals(protected, 1)
    coded = virtual(folder="coded")
    coded._commands.esp.write_raw_coding_scheme(1)
    assert "another coding (3/4)" in refusals(virtual(folder="coded"), 2)


@pytest.mark.parametrize("chip", ALL)
def test_secure_boot_is_refused_when_the_flash_holds_something_else_than_what_was_signed(virtual, chip):
    finish(virtual(chip), 2)
    other = Material((Part("bootloader", 0x1000, b"BOOT" * 2000, True), PARTS[1]), OWN, KEY, DIGEST)
    assert "the flash does not hold this image" in refusals(virtual(chip), 3, other)
    assert "the flash does not hold this image" in refusals(virtual(chip), 3, Material(PARTS, OWN, OTHER_KEY, DIGEST))
    assert "give --image and --keys" in refusals(virtual(chip), 3, Material(boot_digest=DIGEST))
    assert not refusals(virtual(chip), 3)


@pytest.mark.parametrize("chip", ALL)
def test_keys_are_told_apart_as_far_as_they_can_be_read(virtual, chip):
    board = virtual(chip)
    for kind, key in ((harden.FLASH_KEY, KEY), (harden.BOOT_KEY, DIGEST)):
        assert board.key_state(kind, key) == board.key_state(kind, b"") == ERASED
        board.burn_key(kind, key)
        assert virtual(chip).key_state(kind, key) == virtual(chip).key_state(kind, b"") == BURNED
    assert virtual(chip).key_state(harden.BOOT_KEY, OTHER_KEY) == FOREIGN
    assert virtual(chip).key_state(harden.FLASH_KEY, OTHER_KEY) == BURNED  # unreadable: any could be it
    assert "another signing key is burned already" in refusals(virtual(chip), 3, Material(PARTS, OWN, KEY, OTHER_KEY))


def test_a_key_of_which_the_protection_was_cut_off_is_finished_and_another_one_is_refused(virtual, monkeypatch):
    board = virtual()
    with contextlib.redirect_stdout(io.StringIO()):
        board._commands.burn_key(["flash_encryption"], [io.BytesIO(KEY)], no_protect_key=True)
    assert virtual().key_state(harden.FLASH_KEY, KEY) == PARTIAL
    assert "holds another one that is not protected" in refusals(virtual(), 2, Material(PARTS, OWN, OTHER_KEY))
    with contextlib.redirect_stdout(io.StringIO()):
        virtual()._commands.read_protect_efuse(["BLOCK1"])
    board = virtual()
    assert board.key_state(harden.FLASH_KEY, KEY) == PARTIAL
    assert names(harden.make_plan(board, 2, MATERIAL))[2] == "flash-key"
    monkeypatch.setattr(board._commands, "burn_key", None)  # burned again, unseen, it could only be spoiled
    finish(board, 2)
    assert virtual().key_state(harden.FLASH_KEY, KEY) == BURNED


def test_the_page_names_every_level_and_every_fuse():
    page = (REPO / "docs" / "lockdown.md").read_text()
    for chip in CHIPS.values():
        for step in harden.steps_for(chip, max(harden.LEVELS)):
            fuses_named = [name for name, _ in step.fuses]
            fuses_named += [step.special.split()[-1]] if step.special.startswith(harden.PROTECT) else []
            for name in fuses_named:
                assert f"`{name}`" in page, name
        assert chip.title in page
    for level in harden.LEVELS:
        assert f"| {level} |" in page


def test_no_chip_or_level_that_is_not_in_the_table(virtual):
    board = virtual()
    with pytest.raises(UsageError, match="level 4: there are 1, 2, 3"):
        harden.make_plan(board, 4, MATERIAL)
    board.chip = "esp32c6"
    with pytest.raises(UsageError, match="no table for esp32c6: harden knows ESP32, ESP32-S3, ESP32-C3"):
        harden.make_plan(board, 1, MATERIAL)


# What docs/lockdown.md says about the official MicroPython, read off its own bytes.


def test_the_stock_boot_loader_knows_no_secure_boot_and_the_stock_program_writes_encrypted_partitions():
    stock = official().read_bytes()
    boot, program = stock[: 0x8000 - 0x1000], stock[0x10000 - 0x1000 :]
    assert b"secure_boot" not in boot and b"secure" not in boot.lower()
    assert b"flash encrypted write address must be 16 bytes aligned" in program
    assert b"encrypted=%u" in program  # esp32.Partition shows the flag


# The image, and the files of keys.


@pytest.fixture(scope="module")
def signing_key(tmp_path_factory):
    path = tmp_path_factory.mktemp("signing") / "boot.pem"
    with contextlib.redirect_stdout(io.StringIO()):
        espsecure.generate_signing_key("2", "rsa3072", str(path))
    return path


def signed(data, key, folder):
    (folder / "plain").write_bytes(data + b"\xff" * (-len(data) % 4096))
    with (
        contextlib.redirect_stdout(io.StringIO()), open(key, "rb") as keyfile, open(folder / "plain", "rb") as plain
    ):
        espsecure.sign_data("2", [keyfile], str(folder / "signed"), False, False, None, [], [], plain)
    return (folder / "signed").read_bytes()


def write_image(folder, chip="esp32", sign_with=None):
    """An image as `make image` writes it, of a made binary; signed, if wanted."""
    stock = made(folder, chip, with_vfs=True).read_bytes()
    start = 0x1000 if chip == "esp32" else 0
    boot, table, app = stock[: 0x8000 - start - 0x1000], stock[0x8000 - start :][:0xC00], stock[0x10000 - start :]
    boot = boot.rstrip(b"\xff")
    if sign_with:
        boot, app = signed(boot, sign_with, folder), signed(app, sign_with, folder)
    parts = [("bootloader", start, boot), ("partition table", 0x8000, table), ("micropython", 0x10000, app)]
    data = b""
    for _, offset, content in parts:
        data += b"\xff" * (offset - len(data)) + content
    said = {
        "board": "made", "chip": chip, "image": {"file": "made.bin", "sha256": hashlib.sha256(data).hexdigest()},
        "parts": [{"name": name, "offset": offset, "size": len(content)} for name, offset, content in parts],
        "kept": [{"label": "nvs", "offset": 0x9000, "size": 0x6000},
                 {"label": "keys", "offset": 0x2F4000, "size": 0x8000}],
    }  # fmt: skip
    (folder / "made.bin").write_bytes(data)
    (folder / "made.json").write_text(json.dumps(said))
    return folder / "made.json"


def test_the_table_marks_programs_and_key_as_encrypted_and_stays_valid(tmp_path):
    rows = [{"label": label, "type": 1, "subtype": 0x81, "offset": 0x10000 * n, "size": 0x1000}
            for n, label in enumerate(("nvs", "vfs", "keys", "journal"), 1)]  # fmt: skip
    plain = partition_table.encode(rows)
    marked = lockdown.mark_encrypted(plain)
    assert partition_table.decode(marked) == rows and len(marked) == len(plain)
    flags = [struct.unpack_from("<I", marked, 32 * n + 28)[0] for n in range(4)]
    assert flags == [0, 1, 1, 0]


def test_an_image_that_cannot_be_used_is_refused_in_one_line(tmp_path):
    manifest = write_image(tmp_path)
    parts, own = lockdown.load_image(manifest, "esp32")
    assert [part.name for part in parts] == ["bootloader", "partition table", "micropython"]
    assert own == [(0x2F4000, 0x8000)] and all(part.encrypted for part in parts)
    with pytest.raises(UsageError, match="an image for esp32, and this chip is esp32s3: wrong board"):
        lockdown.load_image(manifest, "esp32s3")
    (tmp_path / "made.bin").write_bytes(b"x")
    with pytest.raises(UsageError, match="image and manifest differ: make image"):
        lockdown.load_image(manifest, "esp32")
    with pytest.raises(UsageError, match="cannot be read"):
        lockdown.load_image(tmp_path / "none.json", "esp32")
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(UsageError, match="not a manifest"):
        lockdown.load_image(tmp_path / "bad.json", "esp32")


def test_a_flash_key_is_made_once_for_its_chip_alone_and_by_nobody_else_read(tmp_path):
    folder = tmp_path / "keys"
    assert lockdown.flash_key(folder, "24:0a:c4:a1:b2:c3", may_make=False) == b"" and not folder.exists()
    key = lockdown.flash_key(folder, "24:0a:c4:a1:b2:c3", may_make=True)
    (path,) = folder.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600 and len(key) == 32 and len(set(key)) > 8
    assert lockdown.flash_key(folder, "24:0a:c4:a1:b2:c3", may_make=True) == key
    assert lockdown.flash_key(folder, "24:0a:c4:a1:b2:c4", may_make=True) != key
    path.write_bytes(key[:31])
    with pytest.raises(UsageError, match="31 bytes, not 32: restore it"):
        lockdown.flash_key(folder, "24:0a:c4:a1:b2:c3", may_make=True)


# The command, on a folder of virtual fuses.


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    def run(*more, typed=""):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        capsys.readouterr()
        code = cli.main(["harden", "--practise", str(tmp_path / "p"), *map(str, more)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def words(*steps):
    return "".join(f"a1b2c3-{step}\n" for step in steps)


def files(folder):
    return {path: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("chip", ALL)
def test_a_dry_run_burns_nothing_and_makes_no_key(run, tmp_path, chip):
    manifest = write_image(tmp_path, chip)
    run("--chip", chip)
    before = files(tmp_path / "p")
    for level in harden.LEVELS:
        code, out, err = run("--chip", chip, "--level", level, "--image", manifest, "--keys", tmp_path / "keys",
                             typed=words("jtag"))  # fmt: skip
        assert code == 0 and err == "" and "to do  jtag" in out and "type" not in out
    assert files(tmp_path / "p") == before and not (tmp_path / "keys").exists()


def test_every_step_wants_its_own_word(run, tmp_path):
    run()
    before = files(tmp_path / "p")
    for typed in ("", "\n", "yes\n", "BURN\n", words("interpreters"), "ffffff-jtag\n", "a1b2c3\n"):
        code, out, _ = run("--burn", typed=typed)
        assert code == 1 and "ended before jtag: nothing of it was done" in out and files(tmp_path / "p") == before
    code, out, _ = run("--burn", typed=words("jtag", "jtag"))
    assert code == 1 and "ended before interpreters" in out
    code, out, _ = run("--burn", typed=words("interpreters"))
    assert code == 0 and "done   jtag" in out and "level 1 is done" in out
    code, out, _ = run("--burn", typed="")
    assert code == 0 and "nothing left to do for this level" in out


def test_all_the_way_to_secure_boot_with_a_look_at_the_board_in_between(run, tmp_path, signing_key):
    manifest = write_image(tmp_path, sign_with=signing_key)
    how = ["--level", 3, "--burn", "--image", manifest, "--keys", tmp_path / "keys", "--signing-key", signing_key]
    code, out, _ = run(*how, typed=words("jtag", "interpreters", "flash-key", "flash-settings", "flash-write",
                                         "flash-on", "flash-final"))  # fmt: skip
    assert code == 0 and out.count("now see that the board starts") == 1 and "type a1b2c3-flash-final" not in out
    code, out, _ = run(*how, typed=words("flash-final", "settings-fixed", "boot-key", "boot-on", "key-readable"))
    assert code == 0 and "now see that the board starts" in out and "type a1b2c3-download" not in out
    code, out, _ = run(*how, typed=words("download"))
    assert code == 0 and "level 3 is done; keep the key files apart" in out


def test_an_unsigned_image_never_comes_to_secure_boot(run, tmp_path, signing_key):
    how = ["--level", 3, "--keys", tmp_path / "keys", "--signing-key", signing_key]
    code, out, _ = run(*how, "--burn", "--image", write_image(tmp_path), typed=words("jtag"))
    assert code == 1 and "micropython in the image is not signed by boot.pem" in out and "bootloader in" in out
    assert "nothing was burned" in out and fuses.VirtualBoard(tmp_path / "p", "esp32").fuse("JTAG_DISABLE") == 0
    code, out, err = run(*how[:-1], manifest := write_image(tmp_path))
    assert code == 2 and f"{manifest}: no key for secure boot V2" in err


# The way to a board, with the real esptool against a mock of the boot loader. The mock has no fuse controller.


@pytest.mark.parametrize("chip", ALL)
def test_a_board_at_a_port_is_read_and_its_flash_written(chip, capsys, monkeypatch):
    monkeypatch.setattr("esp_pylib.serial_reset.time.sleep", lambda s: None)  # a mock has no reset line
    resets, reset = [], cmds.reset_chip
    monkeypatch.setattr(cmds, "reset_chip", lambda esp, how: (resets.append(how), reset(esp, how)))
    with MockBoard(chip) as there:
        assert cli.main(["harden", there.port]) == 0
        out = capsys.readouterr().out
        assert f"{CHIPS[chip].title}, revision 0.0, 24:0a:c4:" in out and "dry run, nothing was burned" in out
        assert resets == ["hard-reset"]  # or the station would sleep in its boot loader
        assert not there.flash.touched
        board = fuses.RealBoard(there.port)
        board.write(PARTS, OWN, KEY)
        assert board.holds(PARTS, KEY) and not board.holds(PARTS, OTHER_KEY)
        board.close()
        first = there.flash.data[PARTS[0].offset :][:4096]
        assert bytes(first) == fuses.encrypt(chip, KEY, PARTS[0].offset, PARTS[0].data[:4096])
        there.flash.operations, there.flash.cut_at = 0, 1
        board = fuses.RealBoard(there.port)
        with pytest.raises(PortError, match="lost the board half way .*run the same command again"):
            board.write(PARTS, OWN, OTHER_KEY)
        board.close()


def test_a_chip_that_does_not_burn_is_told_in_one_line(monkeypatch):
    monkeypatch.setattr("esp_pylib.serial_reset.time.sleep", lambda s: None)
    with MockBoard("esp32") as there:
        board = fuses.RealBoard(there.port)
        with pytest.raises(PortError, match="the chip did not do it .*run the same command again"):
            board.burn([("JTAG_DISABLE", 1)])
        board.close()


def test_wrong_moves_get_one_line(capsys, tmp_path):
    for argv, said in (
        ([], "name the board's PORT, or a folder to --practise in"),
        (["/dev/ttyUSB0", "--practise", str(tmp_path)], "name the board's PORT, or"),
        ([str(tmp_path / "ttyUSB0")], "no such port; is the station plugged in?"),
    ):
        assert cli.main(["harden", *argv]) in (2, 4)
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1
