"""What is loaded for one answer is forgotten with it."""

from tests.mpy import DEVICE_PATH, run_micropython

SCRIPT = """
import sys
from holdfire_protocol import cose
from holdfire_station import overlay

before = sorted(sys.modules)
assert overlay.alone("holdfire_station.report_record", "selftest_lines", 0) == ["self-test: all well"]
assert sorted(sys.modules) == before
try:
    overlay.alone("holdfire_station.report_record", "record_lines", b"no record")
    raise AssertionError("taken for a record")
except cose.CoseError:
    pass
assert sorted(sys.modules) == before
assert overlay.with_module("holdfire_station.report_record", "selftest_lines", 0)
assert [name for name in sorted(sys.modules) if name not in before and name.endswith("report")]  # kept by this one
assert "holdfire_station.report_record" not in sys.modules
"""


def test_alone_leaves_nothing_behind_even_after_an_error_and_with_module_only_what_others_may_use():
    run_micropython(SCRIPT, path=DEVICE_PATH)
