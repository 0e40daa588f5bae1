"""The modelled flash chip keeps the rules of the real one, and its faults are as bad as they should be."""

import signal

from tests.mpy import REPO, run_micropython

SIM_PATH = (REPO / "tests" / "sim",)


def run(tmp_path, source, **options):
    start = f"IMAGE = {str(tmp_path / 'flash.bin')!r}\n"
    start += "import esp32\nfrom chips.nor_flash import Faults, NorFlash, PowerCut\n"
    return run_micropython(start + source, path=SIM_PATH, **options)


def test_program_clears_bits_and_erase_sets_them_against_a_bytearray(tmp_path):
    run(tmp_path, """
import random
random.seed(1)
flash = NorFlash(IMAGE, 4 * 4096)
model = bytearray(b"\\xff" * (4 * 4096))
for step in range(400):
    if random.getrandbits(4) == 0:
        sector = random.getrandbits(2)
        flash.erase(sector * 4096)
        model[sector * 4096 : sector * 4096 + 4096] = b"\\xff" * 4096
    else:
        data = bytes(random.getrandbits(8) | random.getrandbits(8) for _ in range(1 + random.getrandbits(9)))
        at = random.getrandbits(14) % (4 * 4096 - len(data))
        flash.program(at, data)
        for i in range(len(data)):
            model[at + i] &= data[i]
    got = bytearray(700)
    at = random.getrandbits(14) % (4 * 4096 - 700)
    flash.read(at, got)
    assert got == model[at : at + 700], step
flash.close()
again = NorFlash(IMAGE, 4 * 4096)
got = bytearray(4 * 4096)
again.read(0, got)
assert got == model
""")


def test_out_of_range_and_unaligned_access_is_refused(tmp_path):
    run(tmp_path, """
flash = NorFlash(IMAGE, 8192)
for call in (lambda: flash.read(8190, bytearray(3)), lambda: flash.program(-1, b"x"), lambda: flash.erase(100),
             lambda: flash.erase(8192), lambda: NorFlash(IMAGE, 5000)):
    try:
        call()
    except ValueError:
        continue
    assert False
""")


def test_time_follows_the_data_sheet(tmp_path):
    run(tmp_path, """
flash = NorFlash(IMAGE, 8192)
flash.program(0, bytes(1))
assert flash.program_ns == 30_000
flash.reset_counts()
flash.program(100, bytes(256))  # two pages: 156 and 100 bytes
assert flash.program_ns == (30_000 + 155 * 2_500) + (30_000 + 99 * 2_500) and flash.programmed_bytes == 256
flash.erase(0)
flash.erase(0)
assert flash.erase_ns == 90_000_000 and flash.erase_count(0) == 2 and flash.erase_count(1) == 0
""")


def test_a_cut_comes_three_ways_and_the_dead_chip_refuses_everything(tmp_path):
    run(tmp_path, """
def after_cut(how, operation, seed):
    flash = NorFlash(IMAGE, 4096)
    flash.erase(0)
    flash.faults = Faults(operation, how, seed)
    done = 0
    try:
        for i in range(5):
            flash.program(i * 16, bytes(16))
            done += 1
    except PowerCut:
        pass
    assert done == operation
    for call in (lambda: flash.read(0, bytearray(1)), lambda: flash.program(0, b"x"), lambda: flash.erase(0)):
        try:
            call()
            assert False
        except PowerCut:
            pass
    flash.close()
    got = bytearray(80)
    NorFlash(IMAGE, 4096).read(0, got)
    return sum(1 for byte in got if byte == 0), sum(1 for byte in got if byte != 255)

for operation in range(5):
    assert after_cut("not_applied", operation, 1) == (16 * operation, 16 * operation)
    assert after_cut("unreported", operation, 1) == (16 * operation + 16, 16 * operation + 16)
seen = set()
for seed in range(60):
    zero, touched = after_cut("torn", 2, seed)
    assert 32 <= zero <= touched <= 48
    seen.add(zero)
assert len(seen) > 12, seen  # any number of bytes may be done
""")


def test_a_cut_after_a_byte_leaves_that_many(tmp_path):
    run(tmp_path, """
for n in range(40):
    flash = NorFlash(IMAGE, 4096)
    flash.erase(0)
    flash.faults = Faults(at_byte=n)
    try:
        flash.program(0, bytes(20))
        flash.program(20, bytes(20))
        assert False
    except PowerCut:
        pass
    flash.close()
    got = bytearray(60)
    NorFlash(IMAGE, 4096).read(0, got)
    assert got[:n] == bytes(n) and got[n + 1 :] == b"\\xff" * (59 - n), (n, got)
""")


def test_a_half_erased_sector_reads_differently_until_it_is_erased_in_full(tmp_path):
    run(tmp_path, """
kinds = set()
for seed in range(1, 30):
    flash = NorFlash(IMAGE, 8192)
    flash.erase(0)
    flash.program(0, bytes(4096))
    flash.faults = Faults(0, "torn", seed)
    try:
        flash.erase(0)
        assert False
    except PowerCut:
        pass
    flash.close()
    flash = NorFlash(IMAGE, 8192, Faults(seed=seed))
    first, second = bytearray(4096), bytearray(4096)
    flash.read(0, first)
    flash.read(0, second)
    assert first != second
    kinds.add(first.count(b"\\xff") // 1024)
    assert first.count(b"\\x00") + first.count(b"\\xff") < 4096  # and noise
    flash.erase(0)
    flash.read(0, first)
    assert first == b"\\xff" * 4096
    assert flash.erase_count(0) == 3 * seed
    flash.close()
assert len(kinds) > 2, kinds  # from hardly begun to nearly done
""")


def test_a_torn_byte_may_read_both_ways_until_programmed_again(tmp_path):
    run(tmp_path, """
wavering = 0
for seed in range(1, 60):
    flash = NorFlash(IMAGE, 4096)
    flash.erase(0)
    flash.faults = Faults(0, "torn", seed)
    try:
        flash.program(0, bytes(64))
    except PowerCut:
        pass
    flash.close()
    flash = NorFlash(IMAGE, 4096, Faults(seed=seed))
    reads = []
    got = bytearray(64)
    for _ in range(12):
        flash.read(0, got)
        reads.append(bytes(got))
    wavering += len(set(reads)) > 1
    flash.program(0, bytes(64))
    for _ in range(12):
        flash.read(0, got)
        assert got == bytes(64)
    flash.close()
assert 20 < wavering, wavering
""")


def test_a_cut_by_kill_runs_no_handler(tmp_path):
    source = """
class Finaliser:
    def __del__(self):
        print("finaliser ran")
keep = Finaliser()
flash = NorFlash(IMAGE, 4096, Faults(1, "unreported", kill=True))
try:
    flash.program(0, b"one")
    flash.program(8, b"two")
except BaseException:
    print("handler ran")
finally:
    print("finally ran")
"""
    done = run(tmp_path, source, check=False)
    assert done.returncode == -signal.SIGKILL and "ran" not in done.stdout
    image = (tmp_path / "flash.bin").read_bytes()
    assert image[:11] == b"one\xff\xff\xff\xff\xfftwo"


def test_the_environment_can_order_a_cut(tmp_path, monkeypatch):
    monkeypatch.setenv("HOLDFIRE_FLASH_CUT", "1:not_applied:5")
    done = run(tmp_path, "f = NorFlash(IMAGE, 4096)\nf.program(0, b'a')\nf.program(1, b'b')", check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "flash.bin").read_bytes()[:2] == b"a\xff"


def test_bit_rot_changes_one_cell(tmp_path):
    run(tmp_path, """
flash = NorFlash(IMAGE, 4096)
flash.program(10, b"\\x0f")
flash.rot(10, 0)
flash.rot(11, 7)
got = bytearray(2)
flash.read(10, got)
assert got == b"\\x0e\\x7f"
""")


PARTITIONS = """
flash = NorFlash(IMAGE, 16 * 4096)
esp32.attach(flash, [("nvs", 1, 2, 0, 8192), ("ota", 0, 16, 8192, 8192), ("journal", 1, 0x41, 16384, 16384)])
P = esp32.Partition
"""


def test_partition_answers_as_the_port_does(tmp_path):
    run(tmp_path, PARTITIONS + """
assert [p.info()[4] for p in P.find()] == ["ota"]  # the default type is an application
assert [p.info() for p in P.find(P.TYPE_DATA, label="journal")] == [(1, 0x41, 16384, 16384, "journal", False)]
assert [p.info()[4] for p in P.find(P.TYPE_DATA, 2)] == ["nvs"] and P.find(P.TYPE_DATA, label="none") == []
part = P("journal")
assert part.ioctl(4, 0) == 4 and part.ioctl(5, 0) == 4096 and part.ioctl(3, 0) == 0 and part.ioctl(99, 0) is None
part.writeblocks(1, bytes(4096))         # erases, then programs
part.writeblocks(1, b"\\xff" * 4096)
got = bytearray(4)
part.writeblocks(1, b"\\x0f", 2)          # programs only
part.writeblocks(1, b"\\xf7", 2)
part.readblocks(1, got)
assert got == b"\\xff\\xff\\x07\\xff"
flash.read(16384 + 4096, got)
assert got[2] == 7
part.ioctl(6, 1)
part.readblocks(0, got, 4096 + 1)
assert got == b"\\xff" * 4
for call in (lambda: part.readblocks(3, got, 4093), lambda: part.writeblocks(4, b"x", 0),
             lambda: part.writeblocks(0, b"x"), lambda: P("none"), lambda: part.ioctl(6, 4)):
    try:
        call()
        assert False
    except OSError:
        pass
""")


def test_nvs_is_durable_after_commit(tmp_path):
    run(tmp_path, PARTITIONS + """
nvs = esp32.NVS("holdfire")
nvs.set_i32("a", -5)
nvs.set_blob("b", b"\\x00\\x01")
nvs.commit()
nvs.set_i32("a", 7)
assert nvs.get_i32("a") == 7
""")
    run(tmp_path, PARTITIONS + """
nvs = esp32.NVS("holdfire")
assert nvs.get_i32("a") == -5
buf = bytearray(4)
assert nvs.get_blob("b", buf) == 2 and buf[:2] == b"\\x00\\x01"
nvs.erase_key("a")
for call in (lambda: nvs.get_i32("a"), lambda: nvs.get_i32("b"), lambda: nvs.erase_key("zz"),
             lambda: esp32.NVS("other").get_i32("a"), lambda: nvs.get_blob("b", bytearray(1))):
    try:
        call()
        assert False
    except OSError as error:
        assert error.args[0] in (-0x1102, -0x110C)
""")
