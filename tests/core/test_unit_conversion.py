"""Units come from anybody's files: read as units, never worked out as sums."""

from __future__ import annotations

import pytest
import xarray as xr

from batteryxr.core.errors import UnitsError
from batteryxr.core.units import affine, in_units_of


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


def test_what_measures_another_thing_is_not_taken_for_the_data():
    data, near, other, odd = (
        xr.DataArray(2.0, attrs={"units": u})
        for u in ("1/Angstrom2", "1/nm2", "eV", "arb. unit")
    )
    assert float(in_units_of(data, near)) == pytest.approx(0.02)
    assert float(in_units_of(data, odd)) == 2.0
    with pytest.raises(UnitsError, match="'eV', the data in '1/Angstrom2'"):
        in_units_of(data, other)
