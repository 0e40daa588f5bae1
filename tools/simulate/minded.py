"""`holdfire` as a child that does not outlive who started it: standard input is a pipe from there, and nothing is sent.

However the parent ends, kill -9 included, the kernel closes its end of the pipe, on every system alike. Then this asks
itself to end in order, as Ctrl-C would. (The simulated chips have the same cord, in tests/sim/boot.py.)

    python tools/simulate/minded.py collect --dir run/base
"""

import os
import pathlib
import signal
import sys
import threading
import time

REPO = pathlib.Path(__file__).resolve().parent.parent.parent
GRACE_S = 20.0  # to end in order


def end_with_parent() -> None:
    """From now on the end of standard input is the end of this process."""
    threading.Thread(target=_watch, name="parent", daemon=True).start()


def _watch() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    for folder in ("host", "protocol"):
        sys.path.insert(0, str(REPO / folder))
    from holdfire import cli

    end_with_parent()
    sys.exit(cli.main(sys.argv[1:]))
