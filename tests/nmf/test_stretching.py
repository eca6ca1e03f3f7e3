"""Peaks that drift: one pattern per phase, and its stretch."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr import nmf
from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.nmf.kernels import stretch as kernel


def phase(rng: np.random.Generator):
    place = np.sort(rng.uniform(1.8, 15, 30))
    height = rng.gamma(2, 1, 30)
    return lambda r: (
        height[:, None] * np.exp(-0.5 * ((r - place[:, None]) / 0.1) ** 2)
    ).sum(0)


@pytest.fixture(scope="module")
def heated():
    rng = np.random.default_rng(2)
    r = np.arange(1.5, 12, 0.03)
    t = np.linspace(0, 1, 12)
    stretch = np.array([1 + 0.014 * t, 1 + 0.004 * t])
    phases = [phase(rng), phase(rng)]
    clean = np.array(
        [
            sum(0.5 * p(r / a[i]) for p, a in zip(phases, stretch, strict=True))
            for i in range(12)
        ]
    )
    data = xr.DataArray(
        clean + rng.normal(0, 0.005, clean.shape) - 1.0,
        dims=("scan", "r"),
        coords={"r": r, "temperature": ("scan", 300 + 20 * np.arange(12))},
        attrs={"units": "1/Angstrom2"},
    )
    return data, stretch


@pytest.mark.long
def test_constant_ratios_stay_constant_and_stretches_are_known(heated):
    data, stretch = heated
    plain = data.nmf.fit(2, constraints=nmf.Constraints(shift="minimum"))
    result = data.nmf.fit_stretched(2, constraints=nmf.Constraints(shift="minimum"))
    assert float(result["relative_error"]) < 0.2 * float(plain["relative_error"])
    assert np.abs(result["weights"] - 0.5).max() < 0.03
    ends = np.sort((result["stretch"][-1] / result["stretch"][0] - 1).values)
    np.testing.assert_allclose(ends, np.sort(stretch[:, -1]) - 1, rtol=0.05)
    np.testing.assert_allclose(result["weights"].sum("component"), 1, atol=1e-12)
    rebuilt = result.nmf.reconstruct()
    np.testing.assert_allclose(
        np.sqrt(((rebuilt - data) ** 2).mean("r")), result["residual"], rtol=0.2
    )


def test_one_phase_is_followed(heated):
    data, _ = heated
    pattern = data.values[0]
    r = data["r"].values
    rates = 0.01 * np.linspace(0, 1, 12)
    drifting = data.copy(data=[np.interp(r / (1 + a), r, pattern) for a in rates])
    result = drifting.nmf.fit_stretched(
        1, max_iter=60, constraints=nmf.Constraints(shift="minimum")
    )
    found = result["stretch"].values[:, 0]
    np.testing.assert_allclose(found[1:-1] - 1, rates[1:-1], atol=6e-4)


def test_gradient_is_that_of_the_misfit():
    rng = np.random.default_rng(0)
    x, h = rng.random((3, 40)), rng.random((2, 40))
    w, a = rng.random((2, 3)), 1 + 0.02 * rng.random((2, 3))
    grid = kernel.Spacing(1.0, 0.1)
    tables = kernel._tables(a, grid, 40)
    gradient = kernel._gradient(x, h, w, *tables)
    for j, p in ((0, 5), (1, 20), (0, 39)):
        step = np.zeros_like(h)
        step[j, p] = 1e-6
        up = kernel.misfit(x, kernel.Parts(h + step, w, a), grid)
        down = kernel.misfit(x, kernel.Parts(h - step, w, a), grid)
        assert gradient[j, p] == pytest.approx((up - down) / 4e-6, rel=1e-4)


def test_derivative_by_stretch():
    r = np.arange(1.0, 9.0, 0.02)
    h = np.exp(-0.5 * ((r - 5) / 0.3) ** 2)[None]
    grid = kernel.Spacing(1.0, 0.02)
    _, slope = kernel.stretched(h, np.array([1.01]), grid)
    up, _ = kernel.stretched(h, np.array([1.01 + 1e-5]), grid)
    down, _ = kernel.stretched(h, np.array([1.01 - 1e-5]), grid)
    np.testing.assert_allclose(slope, (up - down) / 2e-5, atol=1e-2)


def test_says_what_is_wrong(heated):
    data, _ = heated
    with pytest.raises(ArgumentError, match="A curve would stretch"):
        nmf.fit_stretched(data, 2, constraints=nmf.Constraints(shift="envelope"))
    with pytest.raises(ArgumentError, match="drift"):
        nmf.fit_stretched(
            data, 2, drift=0.0, constraints=nmf.Constraints(shift="minimum")
        )
    with pytest.raises(DataError, match="gaps"):
        nmf.fit_stretched(
            data.where(data["temperature"] > 300),
            2,
            constraints=nmf.Constraints(shift="minimum"),
        )
    uneven = data.isel(r=[0, 1, 3, 4, 9, 12])
    with pytest.raises(DataError, match="irregular"):
        nmf.fit_stretched(uneven, 2, constraints=nmf.Constraints(shift="minimum"))
