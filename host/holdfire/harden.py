"""Locking a chip down: which fuses each level burns on which chip, in which order, and what may not be done.

A plan is made from what the chip says now, so a run that was cut goes on where it was: what is burned already is left
out. Pure but for `carry_out`, which hands one step to the board; asks nobody and prints nothing. docs/lockdown.md says
what a level is worth. Facts: ESP-IDF programming guide, "Security Features Enablement Workflows", and esptool's tables.

Nothing here has burned a real chip; it is tested on espefuse's virtual fuses.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .errors import UsageError

LEVELS = {
    1: "debugging off: JTAG and the ROM's own interpreters",
    2: "the flash is encrypted with a key that only the chip can use",
    3: "secure boot: only boot loaders and programs signed with your key start; the download mode is shut",
}
FLASH_KEY, FLASH_WRITE, BOOT_KEY, PROTECT = "flash key", "flash write", "boot key", "write protection"
ERASED, PARTIAL, BURNED, FOREIGN = "erased", "partial", "burned", "foreign"  # of a key block


@dataclass(frozen=True)
class Chip:
    """The fuses of one kind of chip, by espefuse's names."""

    title: str
    jtag: tuple[tuple[str, int], ...]
    interpreters: tuple[tuple[str, int], ...]
    flash_on: str  # the counter: odd numbers of bits encrypt
    flash_full: int  # all its bits
    flash_settings: tuple[tuple[str, int], ...]  # before it is switched on
    flash_doors: tuple[tuple[str, int], ...]  # ways to have the download mode decrypt or encrypt
    brick: str  # a fuse that only bricks the chip; protecting it protects its group
    boot_on: str
    boot_revoked: tuple[tuple[str, int], ...]  # key slots that stay empty
    download: str
    least_revision: int = 0  # for secure boot V2
    aes_xts: bool = True


_JTAG = (("DIS_PAD_JTAG", 1), ("DIS_USB_JTAG", 1), ("SOFT_DIS_JTAG", 7))
_REVOKED = (("SECURE_BOOT_KEY_REVOKE1", 1), ("SECURE_BOOT_KEY_REVOKE2", 1))
CHIPS = {
    "esp32": Chip(
        "ESP32", (("JTAG_DISABLE", 1),), (("CONSOLE_DEBUG_DISABLE", 1),), "FLASH_CRYPT_CNT", 127,
        (("FLASH_CRYPT_CONFIG", 15),),
        (("DISABLE_DL_ENCRYPT", 1), ("DISABLE_DL_DECRYPT", 1), ("DISABLE_DL_CACHE", 1)), "DIS_CACHE",
        "ABS_DONE_1", (), "UART_DOWNLOAD_DIS", least_revision=300, aes_xts=False,
    ),
    "esp32s3": Chip(
        "ESP32-S3", _JTAG, (("DIS_DIRECT_BOOT", 1),), "SPI_BOOT_CRYPT_CNT", 7, (),
        (("DIS_DOWNLOAD_MANUAL_ENCRYPT", 1), ("DIS_DOWNLOAD_ICACHE", 1), ("DIS_DOWNLOAD_DCACHE", 1)), "DIS_ICACHE",
        "SECURE_BOOT_EN", _REVOKED, "ENABLE_SECURITY_DOWNLOAD",
    ),
    "esp32c3": Chip(
        "ESP32-C3", _JTAG, (("DIS_DIRECT_BOOT", 1),), "SPI_BOOT_CRYPT_CNT", 7, (),
        (("DIS_DOWNLOAD_MANUAL_ENCRYPT", 1), ("DIS_DOWNLOAD_ICACHE", 1)), "DIS_ICACHE",
        "SECURE_BOOT_EN", _REVOKED, "ENABLE_SECURITY_DOWNLOAD",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One thing that cannot be taken back. `forever` says what is lost by it."""

    name: str
    level: int
    does: str
    forever: str
    fuses: tuple[tuple[str, int], ...] = ()
    special: str = ""
    look: bool = False  # afterwards a person has to see that the board starts, before anything else is burned

    def burns(self) -> str:
        """What exactly, for people."""
        if self.special == FLASH_WRITE:
            return "writes the flash; no fuse"
        if self.special.startswith(PROTECT):
            return f"burns the write protection of {self.special.removeprefix(PROTECT).strip()}"
        return "burns " + (", ".join(f"{name} = {value}" for name, value in self.fuses) or "a key block of 256 bits")


@dataclass(frozen=True)
class Part:
    """A piece of the image: where it goes, as it would lie in a flash that is not encrypted."""

    name: str
    offset: int
    data: bytes
    encrypted: bool


@dataclass(frozen=True)
class Material:
    """What the levels above 1 need besides the chip."""

    parts: Sequence[Part] = ()
    erase: Sequence[tuple[int, int]] = ()  # (offset, size) of what is a station's own
    flash_key: bytes = b""
    boot_digest: bytes = b""  # of the public key that signs boot loader and program
    faults: Sequence[str] = ()  # what is wrong with it, in words


class Board(Protocol):
    """A chip and its flash. `fuses.py` has the real one and the virtual one."""

    chip: str
    revision: int
    mac: str

    def fuse(self, name: str) -> int: ...
    def fixed(self, name: str) -> bool:
        """Whether the fuse is protected from writing."""
        ...

    def key_state(self, kind: str, key: bytes) -> str:
        """ERASED, PARTIAL (ours, not protected yet), BURNED or FOREIGN. One burned flash key looks like any other."""
        ...

    def coding(self) -> int: ...
    def burn(self, fuses: Sequence[tuple[str, int]]) -> None: ...
    def burn_key(self, kind: str, key: bytes) -> None: ...
    def write_protect(self, name: str) -> None: ...
    def holds(self, parts: Sequence[Part], flash_key: bytes) -> bool: ...
    def write(self, parts: Sequence[Part], erase: Sequence[tuple[int, int]], flash_key: bytes) -> None: ...


@dataclass
class Plan:
    """`todo` in order; `refusals` forbid to begin; `notes` should be known before."""

    steps: list[Step]
    todo: list[Step] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)


def steps_for(chip: Chip, level: int) -> list[Step]:
    """All steps up to a level, in the order in which they must be done.

    Encryption comes before secure boot: secure boot ends with the protection of the read protection itself, and after
    it no flash key could be made unreadable any more.
    """
    steps = [
        Step("jtag", 1, "switches JTAG off", "no debugger can look into this chip again, yours included", chip.jtag),
        Step("interpreters", 1, "switches off the ROM's ways around the boot loader",
             "nothing that a station needs", chip.interpreters),
        Step("flash-key", 2, "burns a flash key that the chip can use and nobody can read",
             "the chip has one place for it, and it is taken", special=FLASH_KEY),
        *([Step("flash-settings", 2, "has all of an address take part in the encryption", "no other setting",
                chip.flash_settings)] if chip.flash_settings else []),
        Step("flash-write", 2, "erases the station's key, counters and journal, and writes the encrypted image",
             "the station's identity and every record that no base has: it must be enrolled anew", special=FLASH_WRITE),
        Step("flash-on", 2, "switches encryption on", "plain images no longer start; from here look whether the board "
             "starts before you go on", ((chip.flash_on, 1),), look=True),
        Step("flash-final", 2, "makes encryption final and shuts the download mode's ways round it",
             "encryption cannot be switched off; if the board did not start after flash-on, it never will",
             ((chip.flash_on, chip.flash_full), *chip.flash_doors)),
        Step("settings-fixed", 2, "protects the cache's fuse and its group, which only an attacker would burn now",
             "no other setting of the group",
             special=f"{PROTECT} {chip.brick}"),
        Step("boot-key", 3, "burns the digest of your signing key", "the first key slot is taken", special=BOOT_KEY),
        *([Step("boot-slots", 3, "revokes the key slots that stay empty", "no second signing key, ever: who loses the "
                "first can never change the program again", chip.boot_revoked)] if chip.boot_revoked else []),
        Step("boot-on", 3, "switches secure boot on", "what your key has not signed does not start",
             ((chip.boot_on, 1),)),
        Step("key-readable", 3, "protects the boot key from being made unreadable, which would brick the chip",
             "no other key of this chip can be made unreadable", special=f"{PROTECT} RD_DIS", look=True),
        Step("download", 3, "shuts the download mode",
             "esptool cannot read or repair this board any more: a board that does not start is scrap",
             ((chip.download, 1),)),
    ]  # fmt: skip
    return [step for step in steps if step.level <= level]


def make_plan(board: Board, level: int, material: Material) -> Plan:
    """What is left to do for this level, and why it may not be done. Raises UsageError for an unknown chip or level."""
    chip = CHIPS.get(board.chip)
    if chip is None:
        raise UsageError(f"no table for {board.chip}: harden knows {', '.join(c.title for c in CHIPS.values())}")
    if level not in LEVELS:
        raise UsageError(f"level {level}: there are {', '.join(map(str, LEVELS))}; docs/lockdown.md says what they do")
    plan = Plan(steps_for(chip, level))
    plan.todo = [step for step in plan.steps if not is_done(step, chip, board, material)]
    names = {step.name for step in plan.todo}
    plan.refusals = [*_refusals_of_chip(plan, chip, board)]
    if names & {"flash-key", "flash-write", "flash-on", "flash-final"} or names & {"boot-key", "boot-on", "download"}:
        plan.refusals += _refusals_of_material(names, board, chip, material)
    return plan


def is_done(step: Step, chip: Chip, board: Board, material: Material) -> bool:
    """Whether the chip shows that this step was carried out whole."""
    if step.special == FLASH_KEY:
        return board.key_state(FLASH_KEY, material.flash_key) == BURNED
    if step.special == BOOT_KEY:
        return board.key_state(BOOT_KEY, material.boot_digest) == BURNED
    if step.special == FLASH_WRITE:
        # Once the chip decrypts, a station may live in this flash, and nothing here erases it again.
        return _encrypts(board.fuse(chip.flash_on)) or (
            bool(material.flash_key and material.parts) and board.holds(material.parts, material.flash_key)
        )
    if step.special.startswith(PROTECT):
        return board.fixed(step.special.removeprefix(PROTECT).strip())
    return all(board.fuse(name) & value == value for name, value in step.fuses)


def carry_out(step: Step, board: Board, material: Material) -> None:
    """Do it. The board raises when the chip does not show it afterwards."""
    if step.special == FLASH_KEY:
        board.burn_key(FLASH_KEY, material.flash_key)
    elif step.special == BOOT_KEY:
        board.burn_key(BOOT_KEY, material.boot_digest)
    elif step.special == FLASH_WRITE:
        board.write(material.parts, material.erase, material.flash_key)
    elif step.special.startswith(PROTECT):
        board.write_protect(step.special.removeprefix(PROTECT).strip())
    else:
        board.burn(step.fuses)


def word_for(step: Step, mac: str) -> str:
    """What has to be typed: of this chip and this step, so that nothing pasted or repeated confirms another."""
    return f"{mac.replace(':', '')[-6:]}-{step.name}"


def _encrypts(counter: int) -> bool:
    return counter.bit_count() % 2 == 1


def _refusals_of_chip(plan: Plan, chip: Chip, board: Board) -> list[str]:
    """What the fuses themselves forbid."""
    found = []
    for step in plan.todo:
        for name, value in step.fuses:
            if board.fixed(name) and board.fuse(name) & value != value:
                found.append(f"{name} is protected from writing and not set: {step.name} is not possible on this chip")
    counter = board.fuse(chip.flash_on)
    if counter and not _encrypts(counter):
        found.append(f"{chip.flash_on} = {counter}: encryption was switched on and off before; use another board")
    if board.coding() != 0:
        found.append("this chip stores its keys in another coding (3/4): there is no room for a key of 256 bits")
    names = {step.name for step in plan.todo}
    if "flash-key" in names and board.fixed("RD_DIS"):
        found.append("RD_DIS is protected: no flash key can be made unreadable any more, so encryption is not possible")
    if "boot-on" in names and board.revision < chip.least_revision:
        least = f"{chip.least_revision // 100}.{chip.least_revision % 100}"
        found.append(f"revision {board.revision // 100}.{board.revision % 100}: secure boot V2 needs {least} or newer")
    return found


def _refusals_of_material(names: set[str], board: Board, chip: Chip, material: Material) -> list[str]:
    """What is missing, wrong, or not what the chip holds."""
    found = list(material.faults)
    if names & {"flash-key", "flash-write"} and not material.parts:
        found.append("level 2 writes an encrypted image: give --image build/image/NAME.json")
    if names & {"flash-key", "flash-write"} and not material.flash_key:
        found.append("level 2 makes a flash key: say where to keep it, --keys DIR")
    if names & {"boot-key", "boot-on"} and not material.boot_digest:
        found.append("level 3 needs the key that signs your boot loader and program: --signing-key FILE (PEM)")
    state = board.key_state(FLASH_KEY, material.flash_key)
    if "flash-key" in names and state == FOREIGN:
        found.append("the place of the flash key holds another one that is not protected: use another board")
    if names & {"flash-write"} and state == BURNED and not material.flash_key:
        found.append("its flash key is burned, and the file with it is not in --keys: nothing can be written without")
    if "boot-key" in names and board.key_state(BOOT_KEY, material.boot_digest) == FOREIGN:
        found.append("another signing key is burned already: find that one")
    if "boot-on" in names and "flash-on" not in names and material.parts and material.flash_key:
        if not board.holds(material.parts, material.flash_key):
            found.append("the flash does not hold this image, encrypted with the key in --keys: it might never start")
    elif "boot-on" in names and "flash-on" not in names:
        found.append("level 3 proves first that what is signed is what the flash holds: give --image and --keys")
    return found
