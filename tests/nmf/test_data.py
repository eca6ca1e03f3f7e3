"""Which dimension is what, envelopes, and several data sets as one."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr import nmf
from batteryxr.core.errors import ArgumentError, DataError, DimensionError


def test_envelope_is_below_all_data_and_tighter_than_the_minimum(series):
    curve = nmf.lower_envelope(series.data)
    assert (curve <= series.data.min("scan")).all()
    assert curve.mean() > series.data.min()
    assert curve.attrs["units"] == "1/Angstrom2"
    narrow = nmf.lower_envelope(series.data, window=0)
    np.testing.assert_array_equal(narrow, series.data.min("scan"))
    lazy = nmf.lower_envelope(series.data.chunk(scan=7))
    np.testing.assert_allclose(lazy, curve)


def test_envelope_refuses_a_negative_window(series):
    with pytest.raises(ArgumentError, match="window"):
        nmf.lower_envelope(series.data, window=-1.0)


def test_the_signal_must_be_plain(series):
    odd = series.data.rename(r="angle")
    with pytest.raises(DimensionError, match="signal='angle'"):
        nmf.fit(odd, 2, constraints=nmf.Constraints(shift="minimum"))
    assert nmf.fit(
        odd, 2, n_starts=1, constraints=nmf.Constraints(signal="angle", shift="minimum")
    ).sizes["angle"]
    with pytest.raises(DimensionError, match="several patterns"):
        nmf.fit(series.data.isel(scan=0), 1)


def test_a_mask_is_no_data(series):
    with pytest.raises(DataError, match=r"true or false.*astype\(float\)"):
        nmf.fit(series.data > 0, 2)


def test_transposed_data_give_the_same(series):
    a = series.data.nmf.fit(
        3, n_starts=1, constraints=nmf.Constraints(shift="envelope")
    )
    b = series.data.T.nmf.fit(
        3, n_starts=1, constraints=nmf.Constraints(shift="envelope")
    )
    xr.testing.assert_allclose(a, b)


def test_two_dimensional_coordinates_are_kept(stack):
    data = stack.data.isel(y=slice(0, 12), x=slice(0, 12))
    grain = ("y", "x"), np.arange(144).reshape(12, 12)
    result = data.assign_coords(grain=grain).nmf.fit(3, closure=False, n_starts=1)
    np.testing.assert_array_equal(result["grain"].values, grain[1])


def test_join_marks_the_runs(series):
    joined = nmf.join([series.data, series.data.isel(scan=slice(5))])
    assert joined.sizes["scan"] == 65
    assert list(np.unique(joined["run"])) == ["1", "2"]


def test_join_refuses_other_grids(series):
    with pytest.raises(DimensionError, match="interp"):
        nmf.join([series.data, series.data.isel(r=slice(0, 100))])
    moved = series.data.assign_coords(r=series.data["r"] + 0.005)
    with pytest.raises(DimensionError, match="differs"):
        nmf.join([series.data, moved])
    with pytest.raises(DimensionError, match="like data"):
        nmf.join([series.data, series.data.rename(scan="particle")])
    with pytest.raises(ArgumentError, match="at least one"):
        nmf.join([])


def test_extra_arrays_must_fit(series):
    with pytest.raises(DimensionError, match="which the data lack"):
        nmf.fit(
            series.data,
            2,
            errors=xr.DataArray([1.0], dims="q"),
            constraints=nmf.Constraints(shift="minimum"),
        )
    with pytest.raises(DimensionError, match="the data 60"):
        nmf.fit(
            series.data,
            2,
            constraints=nmf.Constraints(
                shift="minimum", mask=xr.DataArray([True], dims="scan")
            ),
        )
    level = xr.DataArray(np.zeros(60), dims="scan")
    with pytest.raises(DataError, match="<= 0"):
        nmf.fit(
            series.data,
            2,
            constraints=nmf.Constraints(shift="minimum", pattern_scale=level),
        )


def test_a_dataset_of_one_series_is_that_series(series):
    data = series.data.to_dataset().assign(level=("scan", np.arange(60.0)))
    fit = data.nmf.fit(2, constraints=nmf.Constraints(shift="minimum"), n_starts=1)
    alone = nmf.fit(
        series.data, 2, constraints=nmf.Constraints(shift="minimum"), n_starts=1
    )
    xr.testing.assert_equal(fit, alone)
    assert data.nmf.pca(2).sizes["component"] == 2


def test_a_dataset_says_what_to_call(series):
    both = series.data.to_dataset().assign(other=series.data + 1)
    with pytest.raises(DataError, match=r"'pdf', 'other'.*data\['pdf'\].nmf.fit"):
        both.nmf.fit(2)
    with pytest.raises(DataError, match="without a variable of patterns"):
        series.data[:, 0].drop_vars("r").to_dataset().nmf.fit(2)
    fit = series.data.nmf.fit(
        2, constraints=nmf.Constraints(shift="minimum"), n_starts=1
    )
    with pytest.raises(DataError, match="components already"):
        fit.nmf.fit(2)


def test_errors_of_scans_may_carry_a_scalar_coordinate(series):
    """One column of errors still has its place along the signal."""
    sigma = xr.full_like(series.data, series.noise)[:, 3]
    minimum = nmf.Constraints(shift="minimum")
    fit = series.data.nmf.fit(2, constraints=minimum, errors=sigma, n_starts=1)
    assert "chi2" in fit


def test_other_units_are_converted(series):
    data = series.data

    def of(array):
        return (100.0 * array).assign_attrs(units="1/nm2")

    plain = nmf.Constraints(shift=data.min("scan").assign_attrs(data.attrs) - 0.1)
    known = nmf.fit(
        data, 3, fixed={"a": data[0]}, errors=0.1, n_starts=1, constraints=plain
    )
    curve = of(data.min("scan") - 0.1)
    found = nmf.fit(
        data,
        3,
        fixed={"a": of(data[0])},
        errors=of(xr.full_like(data, 0.1)),
        n_starts=1,
        constraints=nmf.Constraints(shift=curve),
    )
    np.testing.assert_allclose(found["weights"], known["weights"], atol=1e-5)
    np.testing.assert_allclose(found["chi2"], known["chi2"], rtol=1e-6, atol=1e-12)
    both = nmf.join([data, of(data)])
    assert both.attrs["units"] == "1/Angstrom2"
    np.testing.assert_allclose(both[60:], data, rtol=1e-12)
