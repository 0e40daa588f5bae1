"""Power-on of a simulated ESP32 board: hangs chips on the pins, mounts the flash, runs the firmware's main.

    micropython -X heapsize=288K boot.py heap_free=160864 board=FOLDER flash=FILE noise=RAW muffled=RAW ...

`heap_free` is what the program gets, of a heap that holds the chip models, too; `board` is the folder with the board.py
that tools/boards.py rendered. tools/simulate/station.py knows all arguments and is the usual way here. Afterwards
nothing of this module stays: on the chip, too, only main.py runs.
"""

import gc
import os
import sys

_given = {"clock": "real", "ppm": "0", "utc_us": "0", "cause": "1", "uid": "240ac4000001", "fix_s": "26", "app": "main"}
_given.update([argument.split("=", 1) for argument in sys.argv[1:]])
sys.path[:] = [folder for folder in sys.path if folder.startswith("/") or folder == ".frozen"]

from chips import world  # noqa: E402

world.begin(_given["clock"] == "virtual", int(_given["ppm"]), int(_given["utc_us"]))

from chips import control, tasks  # noqa: E402

sys.modules["_asyncio"] = tasks

import machine  # noqa: E402

machine._cause = int(_given["cause"])
machine._uid = bytes.fromhex(_given["uid"])
machine._broken = tuple(_given.get("broken", "").split("+"))
for _number in range(40):  # on the chip pins are no objects of the heap
    try:
        machine.Pin(_number)
    except ValueError:
        pass


def _attach(board):
    from chips.inmp441 import Inmp441
    from chips.neo_m8 import NeoM8
    from chips.parts import Battery, Switch

    mic, gnss, battery = board["microphone"], board["gnss"], board["battery"]
    parts = {}
    if "noise" in _given:
        parts["mic"] = Inmp441(_given["noise"], _given["muffled"], int(_given["uid"][-4:], 16))
        world.microphones[mic["sck_pin"], mic["ws_pin"], mic["sd_pin"]] = parts["mic"]
    place = [int(_given.get(*default)) for default in (("lat_e7", 501234567), ("lon_e7", 362345678), ("alt_m", 152))]
    parts["gnss"] = NeoM8(world.net(gnss["pps_pin"]), *place, int(_given["fix_s"]) * 1000000,
                          int(_given.get("sentences", 0)))
    world.uarts[gnss["rx_pin"], gnss["tx_pin"]] = parts["gnss"]
    parts["tamper"] = Switch(world.net(board["tamper"]["pin"]))
    parts["battery"] = Battery(battery["divider_top_ohms"], battery["divider_bottom_ohms"])
    world.voltages[battery["adc_pin"]] = parts["battery"].microvolts_at_pin
    control.Control(parts, _given.get("control"), _given.get("script"))
    if "parent" in _given:
        world.at(0, control.Umbilical())


def _flash(board):
    import vfs

    import esp32
    from chips.nor_flash import NorFlash

    rows = [(p["label"], p["type"], p["subtype"], p["offset"], p["size"]) for p in board["flash"]["partitions"]]
    esp32.attach(NorFlash(_given["flash"], board["flash"]["size_bytes"]), rows)
    partition = esp32.Partition.find(esp32.Partition.TYPE_DATA, label="vfs")[0]
    try:
        vfs.mount(vfs.VfsLfs2(partition), "/flash")
    except OSError:
        vfs.VfsLfs2.mkfs(partition)
        vfs.mount(vfs.VfsLfs2(partition), "/flash")
    os.chdir("/flash")


def _power_on():
    sys.path.insert(0, _given["board"])
    from board import BOARD

    if BOARD["chip"] == "esp32c3":
        machine._fastest_hz = 160000000
    _attach(BOARD)
    if "flash" in _given:
        _flash(BOARD)
    del sys.modules["board"]  # the program imports it again, at its own cost


_power_on()
gc.collect()
# The models are silicon, not program: what they take comes on top of the chip's heap, and the rest is put out of reach.
# Names live in pools, each twice as large as the one before. The firmware's names, all that it can ever load, need four
# on the chip, which a test counts; here the models' names are in the way, and the next pool would be larger than those
# four. So it is opened now, beside the chip's heap, and the firmware pays for its four.
NAME_POOLS_BYTES = 544 + 1088 + 1856 + 3584  # room for 609 names


def _open_name_pool(least_bytes=12000):
    i = 0
    while True:
        gc.collect()
        before_bytes = gc.mem_alloc()
        getattr(world, "~%d" % i, None)  # looking a name up makes it known
        i += 1
        if gc.mem_alloc() - before_bytes > least_bytes:
            break


_open_name_pool()
gc.collect()
_models_bytes = gc.mem_alloc()
_ballast = bytearray(max(gc.mem_free() - int(_given.get("heap_free", gc.mem_free())) + NAME_POOLS_BYTES - 32, 0))
gc.collect()
control.report("models", _models_bytes, "free", gc.mem_free())
_app = _given["app"]
del _attach, _flash, _power_on, _given, control, tasks
gc.collect()
try:
    __import__(_app)
except SystemExit:
    world.stop("USR2", machine.SOFT_RESET)
except BaseException as error:
    sys.print_exception(error)
# The chip sits at its prompt, which is not modelled, until the watchdog bites.
print(">>> ")
while machine.WDT.armed():
    world.wait(world.now_us() + 1000000)
