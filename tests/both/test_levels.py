"""Integer decibels against floating point ones, and the same on both interpreters."""

import importlib.util
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.both.interpreters import on_cpython, on_micropython
from tests.mpy import REPO

LEVELS = REPO / "firmware/holdfire_station/sensing/levels.py"
spec = importlib.util.spec_from_file_location("levels", LEVELS)
levels = importlib.util.module_from_spec(spec)
spec.loader.exec_module(levels)
amplitude = st.integers(1, (1 << 30) - 1)


def test_both_interpreters_agree():
    assert on_cpython("levels_table.py") == on_micropython("levels_table.py") != ""


@given(amplitude)
def test_log2_is_right_to_five_steps(value):
    assert abs(levels.log2_q12(value) - 4096 * math.log2(value)) <= 5


@given(amplitude, amplitude)
def test_decibels_are_right_to_a_tenth(a, b):
    assert levels.db10(a, b) == pytest.approx(200 * math.log10(a / b), abs=0.6)


@given(st.integers(-700, 240), st.integers(1 << 12, 1 << 25))
def test_amplitude_at_is_the_least_that_reaches_the_level(level_db10, reference):
    found = levels.amplitude_at(level_db10, reference)
    assert levels.db10(found, reference) >= level_db10 > levels.db10(found - 1, reference)


@given(st.integers(-3000, 400))
def test_half_decibels_are_rounded_and_kept_in_a_byte(level_db10):
    byte = levels.half_decibels_below(level_db10)
    assert 0 <= byte <= 254
    if -1270 <= level_db10 <= 0:
        assert abs(-level_db10 - 5 * byte) <= 2.5


def test_nothing_is_far_below_anything():
    assert levels.db10(0, 1) < levels.db10(1, (1 << 30) - 1)
    assert levels.half_decibels_below(levels.db10(0, 1)) == 254
