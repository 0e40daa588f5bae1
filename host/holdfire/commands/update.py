"""Bring new programs to the station on a serial port, without losing its key or a record.

The programs are those of a built image (`make image BOARD=name`); the authority signs them now. Only what differs is
sent, into the half that does not run, while the station listens on. It then starts anew, on trial: when it does not
hear and record within three minutes, or falls over twice, the programs it had run again and a signed record says so.
MicroPython itself is not replaced: that is `make flash`. Cut anywhere, the same command goes on from there. Who has the
key can sign a file at home (--sign-only) that others take to the stations (--signed).
"""

import argparse
import sys
from pathlib import Path

from .. import enrol, times, update
from ..authority import Authority
from ..errors import RegistryError, UsageError
from ..output import BAD, GOOD, Section, print_report
from ..registry import Registry
from . import common, provision

HELP = "new programs for the station on a port"
EXAMPLES = (
    "holdfire update /dev/ttyUSB0",
    "holdfire update /dev/ttyUSB0 --from build/image/esp32-devkit.json --key /media/stick/authority.key",
    "holdfire update --sign-only devkit.update --from build/image/esp32-devkit.json",
    "holdfire update /dev/ttyUSB0 --signed devkit.update",
)
BUILT = Path("build/image")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("port", metavar="PORT", nargs="?", help="the station's serial port, as in /dev/ttyUSB0")
    parser.add_argument("--from", dest="image", type=Path, metavar="FILE", default=None,
                        help="an image's manifest, as in --from build/image/esp32-devkit.json (default: of its board)")
    parser.add_argument("--sign-only", type=Path, metavar="OUT",
                        help="sign the programs of --from into a file, no station: --sign-only devkit.update")
    parser.add_argument("--signed", type=Path, metavar="FILE",
                        help="send such a file; no key is needed: --signed devkit.update")
    parser.add_argument("--past-clock", action="store_true",
                        help="sign although this clock is behind the station's last update: --past-clock")
    parser.add_argument("--no-wait", action="store_true", help="do not wait for the end of the trial: --no-wait")
    provision.add_timeout(parser)
    common.add_key(parser)
    common.add_directory(parser)


def run(args: argparse.Namespace) -> int:
    registry = Registry.load(common.deployment(args).registry_path)
    if args.sign_only is not None:
        return _sign_only(args, registry)
    if args.port is None:
        raise UsageError("name the station's PORT; to sign without one, --sign-only OUT")
    if args.signed is None:
        return _update(args, registry, None, _unlock(args, registry))
    if args.image or args.key or args.past_clock:
        raise UsageError("--signed has programs, key and number in it: leave --from, --key and --past-clock out")
    return _update(args, registry, update.read_signed(args.signed, registry.network, registry.authorities), None)


def _unlock(args: argparse.Namespace, registry: Registry) -> Authority:
    key = common.unlock(args)
    if key.public != registry.authority_public:
        raise RegistryError("this key is not the deployment's authority: name the right one with --key FILE")
    return key


def _sign_only(args: argparse.Namespace, registry: Registry) -> int:
    if args.port is not None or args.signed is not None or args.image is None:
        raise UsageError("--sign-only takes --from FILE, the image's manifest, and neither PORT nor --signed")
    programs = update.from_image(args.image)
    number = update.number_now(times.now_us())
    message = update.sign(programs, number, registry.network, _unlock(args, registry))
    update.write_signed(args.sign_only, programs, message)
    print(f"{args.sign_only}: programs {programs.firmware.hex()} for {programs.board}, signed. On any laptop that has"
          f" {registry.path.name}: holdfire update PORT --signed {args.sign_only.name}")  # fmt: skip
    return 0


def _update(
    args: argparse.Namespace, registry: Registry, signed: tuple[update.Programs, bytes, int] | None,
    key: Authority | None,
) -> int:  # fmt: skip
    with enrol.Console(args.port, args.timeout) as console:
        station, statement = enrol.enrolled(console, registry)
        found = update.state(console)
        if found.on_trial:
            print("an update is on trial already; it ends within three minutes of the station's start")
            return 1
        for told in update.entrust(console, registry):
            print(f"the station was told {told}")
        programs = signed[0] if signed else update.from_image(args.image or BUILT / f"{found.board}.json")
        update.check_fits(programs, found)
        if statement.firmware == programs.firmware:
            print(f"{station.name} runs these programs already ({programs.firmware.hex()})")
            return 0
        if signed:
            _, message, number = signed
            update.check_newer(number, found)
        else:
            assert key is not None
            number = update.number_for(found, times.now_us(), args.past_clock)
            message = update.sign(programs, number, registry.network, key)
        sent, of = update.send(console, programs, message, _progress)
        kept = None if args.no_wait else update.wait_for_verdict(console, number, _waiting)
    _end_line()
    section = Section(f"{station.name}: " + {None: "on trial", True: "updated", False: "UPDATE UNDONE"}[kept])
    section.add("firmware", programs.firmware.hex())
    section.add("sent", f"{sent} of {of} sectors")
    if kept is False:
        section.add("why", "the station's next status record tells: holdfire records", BAD)
    elif kept:
        section.add("trial", "it hears and records", GOOD)
    print_report([section])
    return 1 if kept is False else 0


def _progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        width = 40 * done // of if of else 40
        print(f"\rsending [{'#' * width}{'.' * (40 - width)}] {done} of {of} sectors", end="", file=sys.stderr)


def _waiting(seconds: float) -> None:
    if sys.stderr.isatty():
        print(f"\r{'on trial':<20}{seconds:5.0f} s of about 190{'':30}", end="", file=sys.stderr)


def _end_line() -> None:
    if sys.stderr.isatty():
        print(file=sys.stderr)
