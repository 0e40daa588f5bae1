"""One simulated station: the real firmware on modelled chips, its cable, and the hand that disturbs it.

Builds what the chip would run (compiled, as on the chip), starts the process, plays the part of the reset line and of a
watchdog that no software can hold back, and passes commands to the chip models. It never looks into the firmware.

    .venv/bin/python -m simulate.station boards/esp32-devkit.toml run/alpha      (PYTHONPATH=tools)
"""

import argparse
import hashlib
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

import boards
from simulate import sound
from simulate.cable import Cable, Noise
from simulate.device import BUILD, find_micropython, prepare_device_tree

MODELS_ROOM_BYTES = 128 << 10  # more than the chip models take; boot.py puts the rest of it out of the firmware's reach
BARE_BYTES = 2976  # a bare interpreter takes these: of -X heapsize=160K it leaves 160,864 bytes free
RESET_SIGNALS = {signal.SIGUSR1, signal.SIGUSR2}  # how a simulated chip resets itself; anything else is an end
POWER_ON = 1
WATCHDOG_RESET = 3
_CONSOLE_BUFFER = 2304  # the kernel's least: a chip's UART holds back its writer after 128 bytes


def _cached(name: str, make: Callable[[], bytes]) -> pathlib.Path:
    """A generated sound, made once for each version of the code that makes it."""
    version = hashlib.sha256(pathlib.Path(sound.__file__).read_bytes()).hexdigest()[:8]
    path = BUILD / "sim-sounds" / version / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
        beside.write_bytes(make())
        beside.replace(path)
    return path


def wav_sound(path: pathlib.Path) -> pathlib.Path:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return _cached(f"wav-{digest}.raw",
                   lambda: sound.encode(sound.resample(*sound.read_wav(path)), sound.FULL_SCALE + 1))


def synthetic_sound(kind: str, distance_m: float) -> pathlib.Path:
    return _cached(f"{kind}-{distance_m:g}m.raw",
                   lambda: sound.encode(sound.synthesise(kind, distance_m), sound.COUNTS_PER_PASCAL))


def quiet_place(ambient_db_spl: float) -> pathlib.Path:
    return _cached(f"quiet-{ambient_db_spl:g}.raw", lambda: sound.noise(1, ambient_db_spl))


class SimulatedStation:
    """`directory` keeps the flash image and everything else; a station built again on it finds its flash as it left it.

    `app_folder` holds the main.py to run instead of the firmware's. `extra` goes to boot.py: fix_s, lat_e7, lon_e7,
    alt_m, noise and muffled (raw files instead of the quiet place).
    """

    def __init__(self, board_file: pathlib.Path, directory: pathlib.Path, name: str, clock: str = "real", *,
                 ppm: int = 0, utc_us: int | None = None, script: pathlib.Path | None = None,
                 line_noise: Noise | None = None,
                 baud: int | None = 115200, native: bool | None = None, heap_bytes: int = 160 << 10,
                 ambient_db_spl: float = 42.0, app_folder: pathlib.Path | None = None, **extra: object):
        self.board = boards.load(pathlib.Path(board_file))
        self.directory, self.name, self.clock = pathlib.Path(directory).resolve(), name, clock
        self.directory.mkdir(parents=True, exist_ok=True)
        self.events: deque[list[str]] = deque(maxlen=1000)  # what the chips reported
        self.resets = 0
        self._settings = {"clock": clock, "ppm": ppm, "uid": hashlib.sha256(name.encode()).hexdigest()[:12], **extra}
        # True UTC at the next power-on where time is virtual; where it is real, its difference from the host's.
        host_us = time.time_ns() // 1000
        self.utc_us = (host_us if utc_us is None else utc_us) - (0 if clock == "virtual" else host_us)
        if script is not None:
            self._settings["script"] = pathlib.Path(script).resolve()
        self._native, self._heap_bytes = native, heap_bytes
        self._ambient_db_spl, self._app_folder = ambient_db_spl, app_folder
        self._environment: dict[str, str] = {}  # what the hand did and a reset does not undo
        self._process: subprocess.Popen[bytes] | None = None
        self._minder: threading.Thread | None = None
        self._ending = False
        self._power = threading.Lock()  # held while a process is launched or killed
        self._changed = threading.Condition()
        self.cable = Cable(self.directory / "port", baud=None if clock == "virtual" else baud, noise=line_noise)
        self.cable.plug()

    @property
    def port(self) -> pathlib.Path:
        return self.cable.path

    @property
    def running(self) -> bool:
        return self._minder is not None and self._minder.is_alive()

    @property
    def exit_code(self) -> int | None:
        return self._process.poll() if self._process else None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Power on."""
        if self.running:
            raise RuntimeError(f"station {self.name} is running")
        path = prepare_device_tree(self._native)
        if self._app_folder is not None:
            path.insert(0, pathlib.Path(self._app_folder).resolve())
        self._path = ":".join([*map(str, path), ".frozen"])
        (self.directory / "board").mkdir(exist_ok=True)
        (self.directory / "board" / "board.py").write_text(boards.render(self.board))
        for name, loudness in (("noise", self._ambient_db_spl), ("muffled", self._ambient_db_spl - 30)):
            if name not in self._settings:
                self._settings[name] = quiet_place(loudness)
        self._ending = False
        process = self._launch(POWER_ON)
        self._minder = threading.Thread(target=self._mind, args=(process,), name=f"station {self.name}", daemon=True)
        self._minder.start()

    def kill(self) -> None:
        """Cut the power: the process is gone this instant. `start()` powers it on again; the cable stays plugged."""
        with self._power:
            self._ending = True
            if self._process is not None:
                self._process.kill()
        if self._minder is not None:
            self._minder.join()
        self.cable.detach()

    def stop(self) -> None:
        """Power off and take the cable away."""
        self.kill()
        self.cable.close()

    def control(self, command: str) -> None:
        """A command for the chip models, see tests/sim/chips/control.py."""
        if "\n" in command:
            raise ValueError("one line at a time")
        word = command.split()[0]
        if word == "time":
            before = int(self._environment.get("time", "time 0").split()[1])
            self._environment[word] = f"time {before + int(command.split()[1])}"
        elif word != "play":
            self._environment[word] = command
        with open(self.directory / "control", "ab", buffering=0) as file:
            file.write(command.encode() + b"\n")

    def play_wav(self, path: pathlib.Path, gain_db: float = 0.0, utc_us: int | None = None) -> None:
        """A recording reaches the microphone, now or at a given UTC; at 0 dB its full scale is the chip's."""
        self._play(wav_sound(pathlib.Path(path)), gain_db, utc_us)

    def play_synth(self, kind: str, distance_m: float, utc_us: int | None = None) -> None:
        """A gunshot, artillery or explosion at that distance; `utc_us` is when its sound arrives."""
        self._play(synthetic_sound(kind, distance_m), 0.0, utc_us)

    def _play(self, raw: pathlib.Path, gain_db: float, utc_us: int | None) -> None:
        gain_q8 = round(256 * 10 ** (gain_db / 20))
        self.control(f"play {raw} {gain_q8}" + ("" if utc_us is None else f" {utc_us}"))

    def wait_for(self, *words: str, timeout: float = 10.0) -> list[str]:
        """The first event not yet waited for that begins with these words."""
        end = time.monotonic() + timeout
        with self._changed:
            while True:
                for event in list(self.events):
                    if event[: len(words)] == list(words):
                        self.events.remove(event)
                        return event
                left = end - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"station {self.name}: no {' '.join(words)!r} within {timeout:g} s; "
                                       f"see {self.directory}/log")
                self._changed.wait(left)

    def _launch(self, cause: int) -> subprocess.Popen[bytes]:
        control = self.directory / "control"
        control.write_text("".join(line + "\n" for line in self._environment.values()))
        arguments = {**self._settings, "utc_us": self.utc_us, "board": self.directory / "board",
                     "flash": self.directory / "flash.img", "control": control, "cause": cause, "parent": 1,
                     "heap_free": self._heap_bytes - BARE_BYTES}
        command = [find_micropython(), "-X", f"heapsize={self._heap_bytes + MODELS_ROOM_BYTES}", "-m", "boot",
                   *[f"{key}={value}" for key, value in arguments.items()]]
        stdin, to_station = os.pipe()
        ours, theirs = socket.socketpair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _CONSOLE_BUFFER)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _CONSOLE_BUFFER)
        try:
            self._process = process = subprocess.Popen(
                command, cwd=self.directory, env={**os.environ, "MICROPYPATH": self._path}, stdin=stdin,
                stdout=theirs.fileno(), stderr=subprocess.PIPE, start_new_session=True)
        finally:
            os.close(stdin)
            theirs.close()
        self.cable.attach(to_station, ours.detach())
        return process

    def _mind(self, process: subprocess.Popen[bytes]) -> None:
        """Watch one process after the other: its reports, its watchdog, its resets."""
        while True:
            with process:
                cause = self._follow(process)
            code = process.returncode
            if self._ending:
                return
            if cause is None or (code != -signal.SIGKILL and -code not in RESET_SIGNALS):
                self._happened(["ended", str(code)])
                return
            with self._power:
                if self._ending:
                    return
                self.resets += 1
                process = self._launch(cause)

    def _follow(self, process: subprocess.Popen[bytes]) -> int | None:
        """Read reports until the process ends. Returns the cause of its reset, None if it was none."""
        assert process.stderr is not None
        reports = process.stderr.fileno()
        cause: int | None = None
        timeout_s: float | None = None
        fed, partial = 0.0, b""
        with open(self.directory / "log", "ab", buffering=0) as log:
            while True:
                # The chip's own watchdog bites in the process; this one is for firmware that spins and never waits.
                left_s = None if timeout_s is None else fed + timeout_s - time.monotonic()
                if left_s is not None and left_s <= 0:
                    cause, timeout_s = WATCHDOG_RESET, None
                    process.kill()
                    continue
                if not select.select([reports], [], [], left_s)[0]:
                    continue
                data = os.read(reports, 4096)
                if not data:
                    return cause
                log.write(data)
                *lines, partial = (partial + data).split(b"\n")
                for line in lines:
                    words = line.decode(errors="replace").split()
                    if words[:1] != ["~"] or len(words) < 2:
                        continue
                    if words[1] in ("watchdog", "fed"):
                        fed = time.monotonic()
                        if words[1] == "watchdog" and self.clock == "real":
                            timeout_s = int(words[2]) / 1000 * 1.25 + 1.0  # feeds are reported at most every eighth
                    elif words[1] == "reset":
                        cause = int(words[2])
                        if self.clock == "virtual":
                            self.utc_us = int(words[3])
                    if words[1] != "fed":
                        self._happened(words[1:])

    def _happened(self, words: list[str]) -> None:
        with self._changed:
            self.events.append(words)
            self._changed.notify_all()


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Run one simulated station until Ctrl-C; open its port with any terminal program.",
        epilog="example: PYTHONPATH=tools .venv/bin/python -m simulate.station boards/esp32-devkit.toml run/alpha")
    parser.add_argument("board", type=pathlib.Path)
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--clock", choices=("real", "virtual"), default="real")
    parser.add_argument("--ppm", type=int, default=0, help="how fast the crystal runs, parts per million")
    parser.add_argument("--app", type=pathlib.Path, help="folder with the main.py to run instead of the firmware")
    parser.add_argument("--not-native", action="store_true", help="without viper, as on a Mac with ARM")
    args = parser.parse_args()
    try:
        station = SimulatedStation(args.board, args.directory, args.directory.name, args.clock, ppm=args.ppm,
                                   app_folder=args.app, native=False if args.not_native else None)
    except boards.BoardError as error:
        print(error, file=sys.stderr)
        return 1
    try:
        station.start()
        print(f"console: {station.port}")
        print("lines into standard input are commands, such as: play_synth gunshot 100, tamper open, mic muffled")
        for line in sys.stdin:
            words = line.split()
            if words[:1] == ["play_synth"]:
                station.play_synth(words[1], float(words[2]))
            elif words[:1] == ["play_wav"]:
                station.play_wav(pathlib.Path(words[1]))
            elif words:
                station.control(line.strip())
        while station.running:
            time.sleep(0.2)
    except KeyboardInterrupt:
        pass
    finally:
        station.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
