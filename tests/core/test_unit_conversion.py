"""Units come from anybody's files: read as units, never worked out as sums."""

from __future__ import annotations

import pytest

from batteryxr.core.errors import UnitsError
from batteryxr.core.units import affine


@pytest.mark.parametrize(
    "text", ["9**9**9**9", "m**999999999", "m" * 5000, "2^9^9 m", "(9**9)**9**9"]
)
def test_units_are_no_sums_to_work_out(text):
    with pytest.raises(UnitsError, match="no unit is written so"):
        affine(text, "m")


@pytest.mark.parametrize(
    "text, to, factor",
    [
        ("mA h g-1", "A h / kg", 1.0),
        ("cm**2/s", "m2 s-1", 1e-4),
        ("mol L-1", "mol m-3", 1e3),
    ],
)
def test_units_are_read_as_people_write_them(text, to, factor):
    assert affine(text, to) == pytest.approx((factor, 0.0))
