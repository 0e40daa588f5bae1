"""Lock a chip down: level 1 switches debugging off, 2 encrypts the flash, 3 is secure boot. FUSES ARE FOR EVER.

Without --burn nothing is burned: the plan is shown, with what each step takes away. With --burn every step is asked for
by a word of its own. A run that was cut goes on where it was. Read docs/lockdown.md first: it says what each level is
worth, what a stock MicroPython cannot do, and that none of this was tried on real chips. --practise needs no board.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from rich.text import Text

from .. import harden, lockdown
from ..errors import UsageError
from ..harden import CHIPS, LEVELS, Material, Plan, Step
from ..output import BAD, DIM, GOOD, WARN, clean, console_for

HELP = "lock a chip down: debugging, flash encryption, secure boot"
EXAMPLES = (
    "holdfire harden /dev/ttyUSB0",
    "holdfire harden /dev/ttyUSB0 --level 1 --burn",
    "holdfire harden --practise /tmp/practice --chip esp32 --level 2 --image build/image/esp32-devkit.json --keys keys",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("port", metavar="PORT", nargs="?", help="the board's serial port, as in /dev/ttyUSB0")
    parser.add_argument(
        "--level", type=int, default=1, metavar="N", choices=sorted(LEVELS),
        help="how far: " + "; ".join(f"{number} {text}" for number, text in LEVELS.items()) + ": --level 1",
    )  # fmt: skip
    parser.add_argument("--burn", action="store_true", help="do it, asking before each step: --burn")
    parser.add_argument("--image", type=Path, metavar="FILE",
                        help="levels 2 and 3: the image's manifest, as in --image build/image/esp32-devkit.json")
    parser.add_argument("--keys", type=Path, metavar="DIR",
                        help="levels 2 and 3: the folder of flash keys, one file a chip: --keys /media/safe/keys")
    parser.add_argument("--signing-key", type=Path, metavar="FILE",
                        help="level 3: the key that signs, or its public half: --signing-key boot.pem")  # fmt: skip
    parser.add_argument("--practise", type=Path, metavar="DIR",
                        help="use virtual fuses and flash in a folder, no board: --practise /tmp/practice")
    parser.add_argument("--chip", choices=sorted(CHIPS), default="esp32",
                        help="of --practise, as in --chip esp32s3 (default: %(default)s)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    try:
        import esptool  # noqa: F401
    except ImportError:
        raise UsageError("harden needs esptool: pip install 'esptool>=5.1,<6' into the same Python") from None
    from .. import fuses

    if (args.port is None) == (args.practise is None):
        raise UsageError("name the board's PORT, or a folder to --practise in")
    board = fuses.RealBoard(args.port) if args.port else fuses.VirtualBoard(args.practise, args.chip)
    args.opened.callback(board.close)
    material = _material(args, board)
    plan = harden.make_plan(board, args.level, material)
    _show(board, plan, args.level, args.practise is not None)
    if plan.refusals or not plan.todo or not args.burn:
        return _end(plan, args.burn)
    return _burn(args, board, material, plan)


def _material(args: argparse.Namespace, board: harden.Board) -> Material:
    from .. import fuses

    key = b""
    if args.keys is not None and args.level > 1:
        unburned = board.key_state(harden.FLASH_KEY, b"") == harden.ERASED
        key = lockdown.flash_key(args.keys, board.mac, may_make=args.burn and unburned)
        if not key and unburned:
            key = bytes(range(32))  # a dry run makes none; the plan does not depend on its value
    with tempfile.TemporaryDirectory() as scratch:
        return lockdown.gather(
            board.chip, key, args.image if args.level > 1 else None, args.signing_key if args.level > 2 else None,
            lambda path: fuses.digest_of(path, Path(scratch)), fuses.is_signed,
        )  # fmt: skip


def _show(board: harden.Board, plan: Plan, level: int, practising: bool) -> None:
    console = console_for()
    chip = CHIPS[board.chip]
    kind = "virtual " if practising else ""
    revision = f"{board.revision // 100}.{board.revision % 100}"
    console.print(Text(f"{kind}{chip.title}, revision {revision}, {board.mac}", style="bold"))
    console.print(Text(f"level {level}: " + "; ".join(text for number, text in LEVELS.items() if number <= level)))
    for step in plan.steps:
        if step not in plan.todo:
            console.print(Text.assemble(("done   ", GOOD), f"{step.name:<15}", (step.does, DIM)))
            continue
        console.print(Text.assemble(("to do  ", WARN), (f"{step.name:<15}", "bold"), step.does))
        console.print(Text(f"{'':22}{clean(step.burns())}"))
        console.print(Text(f"{'':22}for ever: {step.forever}", style=DIM))
    for refusal in plan.refusals:
        console.print(Text.assemble(("REFUSED  ", BAD), clean(refusal)))


def _end(plan: Plan, burn: bool) -> int:
    console = console_for()
    if not plan.todo:
        console.print("nothing left to do for this level")
        return 0
    if plan.refusals:
        console.print("nothing was burned: see REFUSED")
        return 1 if burn else 0
    console.print("dry run, nothing was burned; --burn does it, step by step, each confirmed by a word")
    return 0


def _burn(args: argparse.Namespace, board: harden.Board, material: Material, plan: Plan) -> int:
    console = console_for()
    while plan.todo:
        step = plan.todo[0]
        if not _confirmed(step, board.mac):
            console.print(f"ended before {step.name}: nothing of it was done; the same command goes on from here")
            return 1
        harden.carry_out(step, board, material)
        console.print(Text.assemble(("done   ", GOOD), step.name))
        plan = harden.make_plan(board, args.level, material)  # by what the chip says now
        if step in plan.todo or plan.refusals:
            unseen = f"{step.name}: the chip does not show it; run the command again"
            raise UsageError("; ".join(plan.refusals) or unseen)
        if step.look and plan.todo:
            console.print(Text("now see that the board starts (press RESET, `holdfire console`), then run the same "
                               "command again for the rest", style=WARN))  # fmt: skip
            return 0
    keys = "; keep the key files apart from the board, or destroy them: docs/lockdown.md" if args.level > 1 else ""
    console.print(f"level {args.level} is done{keys}")
    return 0


def _confirmed(step: Step, mac: str) -> bool:
    """Ask for this step. Anything but its word, and the end of input, is a no."""
    console = console_for()
    console.print()
    console.print(Text(f"{step.name}: {step.does}", style="bold"))
    console.print(Text(f"  {clean(step.burns())}"))
    console.print(Text(f"  for ever: {step.forever}", style=WARN))
    word = harden.word_for(step, mac)
    print(f"  type {word} to do it, anything else ends: ", end="", flush=True)
    typed = sys.stdin.readline()
    if not sys.stdin.isatty():
        print()
    return typed.strip() == word
