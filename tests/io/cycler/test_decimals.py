"""Powers of ten keep the decimal numbers that people and cyclers write."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from batteryxr.io.cycler.decimals import shift, unshift


@st.composite
def decimals(draw):
    """Return numbers of up to 15 digits, as text and float64."""
    digits = draw(st.integers(-(10**15) + 1, 10**15 - 1))
    exponent = draw(st.integers(-16, 0))
    return f"{digits}e{exponent}"


@given(st.lists(decimals(), min_size=1, max_size=20), st.sampled_from([-6, -3, 3, 6]))
def test_the_point_moves(texts, places):
    values = np.array([float(t) for t in texts])
    expected = np.array(
        [float(f"{t.split('e')[0]}e{int(t.split('e')[1]) + places}") for t in texts]
    )
    moved = shift(values, places)
    np.testing.assert_array_equal(moved, expected)
    held = np.abs(moved) < 1e15
    np.testing.assert_array_equal(unshift(moved, places)[held], values[held])


@given(hnp.arrays(np.float64, 50, elements=st.floats(-1e9, 1e9, allow_subnormal=False)))
def test_what_was_read_is_written_so_that_it_is_read_again(values):
    held = shift(values, 3)
    np.testing.assert_array_equal(shift(unshift(held, 3), 3), held)


@pytest.mark.parametrize("value", [0.0, -0.0, np.nan, np.inf, -np.inf])
def test_what_has_no_digits(value):
    values = np.array([value, 1.5])
    moved = shift(values, 3)
    np.testing.assert_array_equal(moved, [value, 1500.0])
    assert np.signbit(moved[0]) == np.signbit(value)
    assert shift(values, 0) is values


def test_the_reason():
    assert 0.1649 * 1000 != 164.9
    np.testing.assert_array_equal(shift(np.array([0.1649]), 3), [164.9])
