"""A whole deployment on one machine: simulated stations with the real firmware, the real collector, things happening.

Stations listen, shots are fired somewhere among them, their sound travels, records are signed, verified, stored,
receipted and forwarded; a case is opened; a cable is pulled; and somebody offers the base a record that he changed a
little. All state is kept: started again, it goes on where it was. Ctrl-C ends everything.
"""

import argparse
import contextlib
import http.server
import json
import math
import os
import pathlib
import random
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import tty

REPO = pathlib.Path(__file__).resolve().parent.parent.parent
for folder in ("tools", "host", "protocol"):
    sys.path.insert(0, str(REPO / folder))

from rich.console import Console, Group  # noqa: E402
from rich.live import Live  # noqa: E402
from rich.text import Text  # noqa: E402

from holdfire import show, times  # noqa: E402
from holdfire.registry import Registry  # noqa: E402
from holdfire.views import View  # noqa: E402
from holdfire_protocol import fields, frame, line, words  # noqa: E402
from simulate.device import ToolMissing, prepare_device_tree  # noqa: E402
from simulate.sound import SPEED_OF_SOUND_M_S  # noqa: E402
from simulate.station import SimulatedStation  # noqa: E402

# name, metres east and north of the middle, crystal error
PLACES = (("ridge", 0, 900, 12), ("mill", -800, -500, -8), ("bridge", 700, -600, 20))
MIDDLE_LATITUDE_DEG, MIDDLE_LONGITUDE_DEG = 50.1234567, 36.2345678
METRES_PER_DEGREE = 111_320
BOARD = REPO / "boards" / "esp32-devkit.toml"
STATUS_INTERVAL_S = 30  # far more often than in the field, so that there is something to see
COLD_START_S = 6  # of the GNSS receivers; real ones take half a minute
STATUS_EVERY_S = 15  # when the output is not a terminal
STATION_SAYS = ("Holdfire station", "beacon refused", "task", "journal", "receipt:")  # the base itself tells the rest
OPERATOR_LINE = re.compile(r"^(\S+)  (\S.*?)\s{2,}(\S.*?)\s{2,}(.*)$")  # when, who, what kind, what
STYLES = {"REFUSED": "bold red", "says": "dim", "receipts": "green", "PORT LOST": "yellow", "port": "green"}


def main() -> int:
    args = parse_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    network = Network(args)
    try:
        network.begin()
        network.run()
    except KeyboardInterrupt:
        pass
    except ToolMissing as missing:
        print(missing, file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        network.end()
    return 0 if network.collector_exit in (0, None) else 1


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tools/simulate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: .venv/bin/python tools/simulate --seconds 60 --dir run")
    parser.add_argument("--dir", type=pathlib.Path, default=REPO / "run", help="where all state is kept: --dir run")
    parser.add_argument("--seconds", type=float, default=math.inf, help="end by itself after so long: --seconds 60")
    parser.add_argument("--seed", type=int, default=None, help="the same happenings again: --seed 7")
    parser.add_argument("--pace", type=float, default=9.0, help="seconds between happenings, about: --pace 9")
    parser.add_argument("--wav", type=pathlib.Path, default=None, help="also play a folder's recordings: --wav sounds")
    return parser.parse_args()


class Network:
    """The stations, the base and what happens to them."""

    def __init__(self, args: argparse.Namespace):
        self.directory = args.dir.resolve()
        self.base = self.directory / "base"
        self.pace_s, self.until = args.pace, time.monotonic() + args.seconds
        self.random = random.Random(args.seed)
        self.recordings = sorted(args.wav.rglob("*.wav")) if args.wav else []
        self.console = Console(highlight=False, soft_wrap=True)
        self.stations: list[SimulatedStation] = []
        self.collector: subprocess.Popen[str] | None = None
        self.collector_exit: int | None = None
        self.receiver: Receiver | None = None
        self.intruder: Intruder | None = None
        self.told = ""

    # Beginning and ending

    def begin(self) -> None:
        self.say("simulate", f"three stations and a base; everything is kept in {shown(self.directory)}")
        self.say("simulate", "compiling the firmware for simulated chips")
        prepare_device_tree()
        if not (self.base / "registry.json").exists():
            self.command("init", str(self.base), "--name", "Simulated line", where=False)
        for name, east_m, north_m, ppm in PLACES:
            latitude = MIDDLE_LATITUDE_DEG + north_m / METRES_PER_DEGREE
            longitude = MIDDLE_LONGITUDE_DEG + east_m / METRES_PER_DEGREE / math.cos(math.radians(latitude))
            station = SimulatedStation(
                BOARD, self.directory / name, name, ppm=ppm, utc_us=times.now_us(), fix_s=COLD_START_S,
                lat_e7=round(latitude * 1e7), lon_e7=round(longitude * 1e7))
            station.board["status_interval_s"] = STATUS_INTERVAL_S
            self.stations.append(station)
            station.start()
            self.say(name, "power on", "cyan")
        for station in self.stations:
            station.wait_for("watchdog", timeout=30)
            self.say(station.name, "running", "cyan")
        enrolled = {known.name for known in Registry.load(self.base / "registry.json").stations.values()}
        for station in self.stations:
            if station.name not in enrolled:
                self.command("provision", str(station.port), "--name", station.name)
        self.receiver = Receiver()
        self.intruder = Intruder(self.directory / "intruder")
        ports = [str(station.port) for station in self.stations] + [str(self.intruder.path)]
        arguments = ["collect", *ports, "--verbose", "--set", f"forward_url={self.receiver.url}"]
        arguments += ["--dir", str(self.base)]
        self.say("$", "holdfire " + shlex.join(shown(part) for part in arguments), "bold")
        self.collector = subprocess.Popen(
            [sys.executable, REPO / "tools" / "simulate" / "minded.py", *arguments], cwd=REPO, env=environment(),
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        threading.Thread(target=self.relay, name="collector", daemon=True).start()

    def end(self) -> None:
        """Nothing is left behind: stations first, so that what they sent is still answered."""
        if self.stations:
            self.say("simulate", "ending")
        for station in self.stations:
            station.stop()
        if self.collector is not None:
            self.collector.terminate()  # a clean end, and heeded even while Python is still starting
            try:
                self.collector_exit = self.collector.wait(20)
            except subprocess.TimeoutExpired:
                self.collector.kill()
                self.collector_exit = self.collector.wait()
        if self.receiver is not None:
            self.receiver.shutdown()
        if self.intruder is not None:
            self.intruder.close()
        if self.stations:
            self.say("simulate", f"ended; `make run` goes on from {shown(self.directory)}")

    # Happenings

    def run(self) -> None:
        for what, command in (("list records", "records"), ("see one whole", "show HASH")):
            self.say("simulate", f"{what:<13}  .venv/bin/holdfire {command} --dir {shown(self.base)}", "bold")
        self.say("simulate", "to stop        Ctrl-C", "bold")
        with Live(console=self.console, refresh_per_second=2, transient=False, redirect_stdout=False,
                  get_renderable=self.status) as live:
            live.auto_refresh = self.console.is_terminal
            happenings = self.happenings()
            next_happening = time.monotonic() + COLD_START_S + 3
            next_status = time.monotonic() + STATUS_EVERY_S
            while time.monotonic() < self.until:
                if self.collector is not None and self.collector.poll() is not None:
                    self.say("simulate", "the collector ended; its last lines above say why", "bold red")
                    return
                if time.monotonic() >= next_happening:
                    next(happenings)()
                    next_happening = time.monotonic() + self.pace_s * self.random.uniform(0.6, 1.4)
                if not self.console.is_terminal and time.monotonic() >= next_status:
                    self.console.print(self.status())
                    next_status = time.monotonic() + STATUS_EVERY_S
                time.sleep(0.1)

    def happenings(self):
        """A shot, then in turn something else."""
        while True:
            for other in (self.tamper_with_record, self.open_case, self.burst, self.pull_cable, self.play_recording):
                yield self.shoot
                yield other

    def shoot(self, rounds: int = 1) -> None:
        kind = self.random.choice(("gunshot", "explosion", "artillery"))
        reach_m = 600 if kind == "gunshot" else 3000
        east_m, north_m = (self.random.uniform(-reach_m, reach_m) for _ in range(2))
        now_us = times.now_us()
        heard = []
        for station, (name, station_east_m, station_north_m, _) in zip(self.stations, PLACES, strict=True):
            # To 50 m, so that a few computed sounds serve all.
            distance_m = max(50, round(math.hypot(east_m - station_east_m, north_m - station_north_m) / 50) * 50)
            delay_us = round(distance_m / SPEED_OF_SOUND_M_S * 1e6)
            for shot in range(rounds):
                station.play_synth(kind, distance_m, now_us + 500_000 + delay_us + shot * 700_000)
            heard.append(f"{name} {distance_m} m")
        self.say("world", f"{kind}{f' x{rounds}' if rounds > 1 else ''} at {', '.join(heard)}", "magenta")

    def burst(self) -> None:
        self.shoot(rounds=5)

    def play_recording(self) -> None:
        if not self.recordings:
            return self.shoot()
        path, station = self.random.choice(self.recordings), self.random.choice(self.stations)
        station.play_wav(path, -12)
        return self.say("world", f"{path.name} played at {station.name}", "magenta")

    def open_case(self) -> None:
        station = self.random.choice(self.stations)
        self.say("world", f"somebody opens the case of {station.name}, and closes it", "magenta")
        station.control("tamper open")
        self.later(2.0, lambda: station.control("tamper closed"))

    def pull_cable(self) -> None:
        station = self.random.choice(self.stations)
        self.say("world", f"the cable of {station.name} is pulled, and put back", "magenta")
        station.cable.unplug()
        self.later(4.0, station.cable.plug)

    def tamper_with_record(self) -> None:
        """Change one bit of a stored record, wrap it up properly again, and offer it to the base."""
        with contextlib.closing(View(self.base / "holdfire.sqlite")) as view:
            row = next(iter(view.records(limit=1)), None)
        if row is None:
            return
        changed = bytearray(row["message"])
        changed[self.random.randrange(30, len(changed) - 70)] ^= 1 << self.random.randrange(8)
        network = Registry.load(self.base / "registry.json").network
        name = row["hash"].hex()[:12]
        self.say("world", f"somebody changes one bit of record {name} and offers it to the base", "magenta")
        self.intruder.offer(line.encode(frame.encode(fields.FRAME_RECORD, network, bytes(changed))))

    def later(self, seconds: float, action) -> None:
        timer = threading.Timer(seconds, action)
        timer.daemon = True
        timer.start()

    # What is shown

    def say(self, who: str, text: str, style: str = "") -> None:
        when = times.text(times.now_us(), 0)
        self.console.print(Text.assemble((when[11:] if self.console.is_terminal else when, "dim"), "  ",
                                         (f"{who:<10}", "bold"), "  ", (text, style or "default")))

    def relay(self) -> None:
        """The collector's lines, without what would be said twice here."""
        assert self.collector is not None and self.collector.stdout is not None
        receipted: dict[str, str] = {}
        for text in self.collector.stdout:
            parts = OPERATOR_LINE.match(text.rstrip())
            if not parts:
                self.console.print(Text(text.rstrip(), "red"))
                continue
            _, who, word, what = parts.groups()
            who = {str(station.port): station.name for station in self.stations}.get(who, shown(who))
            if word == "beacon":
                word, what = "receipts", what.partition("receipts: ")[2]
                if receipted.get(who) == what:  # a beacon for the time alone
                    continue
                receipted[who] = what
            if not what or word == "forwarded" or (word == "text" and not what.startswith(STATION_SAYS)):
                continue
            word = "says" if word == "text" else word
            self.say(who, f"{word:<10} {shown(what)}", STYLES.get(word, "yellow" if "impulse" in what else ""))

    def status(self):
        """A line a station."""
        lines = [Text("─" * 79, "dim")]
        try:
            registry = Registry.load(self.base / "registry.json")
            with contextlib.closing(View(self.base / "holdfire.sqlite")) as view:
                views = {found.station.name: found for found in view.station_views(registry)}
        except Exception as error:  # the database is made by the collector a moment after the start
            return Text(f"waiting for the base: {error}", "dim")
        for station in self.stations:
            found = views.get(station.name)
            if found is None or not found.last_seq:
                lines.append(Text(f"{station.name:<8} {'running' if station.running else 'DOWN'}, no record yet"))
                continue
            status = found.status or {}
            failed = show.selftest_words(status["selftest"]) if status else ""
            clock = words.TIME_SOURCES[found.time[0]] if found.time else "none"
            lines.append(Text(
                f"{station.name:<8} {'up' if station.running else 'DOWN'}  boot {found.boot}  record {found.last_seq}, "
                f"receipted to {found.contiguous_seq}  clock {clock}  "
                f"floor {status.get('floor_db10', 0) / 10:.1f} dBFS  {failed or 'all well'}"))
        if self.receiver is not None:
            lines.append(Text(f"forwarded by HTTP: {len(self.receiver.ids)} records, each under its hash", "dim"))
        return Group(*lines)

    def command(self, *arguments: str, where: bool = True) -> None:
        """Run a holdfire command as a person would, and show it."""
        whole = [*arguments, *(("--dir", str(self.base)) if where else ())]
        self.say("$", "holdfire " + shlex.join(shown(part) for part in whole), "bold")
        done = subprocess.run([sys.executable, "-m", "holdfire", *whole], cwd=REPO, env=environment(), text=True,
                              capture_output=True, check=False)
        if done.returncode:
            raise SystemExit((done.stderr or done.stdout).strip())


class Receiver(http.server.ThreadingHTTPServer):
    """The other end of forwarding: takes CloudEvents and remembers their ids."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _ReceiverHandler)
        self.ids: set[str] = set()
        self.url = f"http://127.0.0.1:{self.server_port}/records"
        threading.Thread(target=self.serve_forever, name="receiver", daemon=True).start()


class _ReceiverHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.ids.add(event["id"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args) -> None:
        pass


class Intruder:
    """A pseudo-terminal that somebody else plugged into the base."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._master, slave = os.openpty()
        tty.setraw(slave)
        path.unlink(missing_ok=True)
        path.symlink_to(os.ttyname(slave))
        self._slave = slave  # held open, so that the name stays good before the base opens it
        threading.Thread(target=self._drain, name="intruder", daemon=True).start()

    def offer(self, data: bytes) -> None:
        os.write(self._master, data)

    def close(self) -> None:
        self.path.unlink(missing_ok=True)

    def _drain(self) -> None:
        """The base answers him too: beacons are for everyone."""
        while True:
            try:
                os.read(self._master, 4096)
            except OSError:
                return


def environment() -> dict[str, str]:
    path = os.pathsep.join(str(REPO / part) for part in ("host", "protocol"))
    return {**os.environ, "PYTHONPATH": path, "NO_COLOR": "1", "HOLDFIRE_PASSPHRASE": "simulated, so no secret"}


def shown(text) -> str:
    """Paths as one would type them from here."""
    return str(text).replace(str(pathlib.Path.cwd()) + "/", "")


if __name__ == "__main__":
    sys.exit(main())
