"""The partition of the key: made on a new board, kept ever after, and never formatted over an identity."""

from tests.mpy import DEVICE_PATH, REPO, run_micropython

SIM_PATH = (*DEVICE_PATH, REPO / "tests" / "sim")

START = """
import esp32, os, vfs
from chips.nor_flash import Faults, NorFlash, PowerCut
from holdfire_station import enrolment, identity

def part(faults=None):
    global flash
    flash = NorFlash(IMAGE, 8 * 4096, faults)
    esp32.attach(flash, [("keys", 1, 0x81, 0, 8 * 4096)])
    return esp32.Partition("keys")

def off():
    vfs.umount("/keys")
    flash.close()

NETWORK = b"n" * 16
COLLECTOR = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
"""


def run(tmp_path, source):
    return run_micropython(f"IMAGE = {str(tmp_path / 'flash.bin')!r}\n{START}{source}", path=SIM_PATH, heap="400K")


def test_a_new_board_gets_a_file_system_and_keeps_its_identity(tmp_path):
    run(tmp_path, """
identity.mount(part())
assert identity.load() is None
public = enrolment.create(NETWORK, COLLECTOR, b"e" * 32).public
off()
for _ in range(3):
    identity.mount(part())
    assert flash.erases == flash.programs == 0
    assert identity.load().public == public and os.listdir("/keys") == ["identity.cbor"]
    off()
""")


def test_a_first_formatting_that_is_cut_anywhere_is_done_again(tmp_path):
    run(tmp_path, """
cuts = 0
for how in ("not_applied", "torn", "unreported"):
    for operation in range(1000):
        try:
            os.remove(IMAGE)
            os.remove(IMAGE + ".wear")
        except OSError:
            pass
        try:
            identity.mount(part(Faults(operation, how, seed=operation)))
            off()
            break
        except PowerCut:
            cuts += 1
        identity.mount(part())
        assert identity.load() is None
        enrolment.create(NETWORK, COLLECTOR, b"e" * 32)
        off()
assert cuts > 9, cuts
""")


def test_a_damaged_identity_is_told_and_not_formatted_over(tmp_path):
    run(tmp_path, """
identity.mount(part())
enrolment.create(NETWORK, COLLECTOR, b"e" * 32)
off()
partition = part()
head = bytearray(64)
for block in range(8):  # the first bytes of every block: no superblock is left
    partition.writeblocks(block, bytes(64), 0)
    partition.readblocks(block, head)
    assert head == bytes(64)
flash.reset_counts()
try:
    identity.mount(partition)
    raise SystemExit("mounted")
except identity.IdentityError as error:
    assert "ERASE=1" in str(error), error
assert flash.erases == 0
""")


def test_the_battery_s_divider_is_connected_where_a_transistor_does_it(tmp_path):
    run_micropython("""
from chips import world
world.begin(True, 0, 0)
from machine import Pin
from holdfire_station.sensing.power import Battery
settings = {"adc_pin": 35, "divider_top_ohms": 390000, "divider_bottom_ohms": 100000, "empty_mv": 3300, "full_mv": 4150}
net = world.net(27)
Battery(settings)
assert net.driven is None
settings.update(enable_pin=27, enable_level=0)
world.voltages[35] = lambda: 800000 if net.driven == 0 else 0
assert 3900 <= Battery(settings).read_mv() <= 3940
assert net.driven == 0
""", path=SIM_PATH)
