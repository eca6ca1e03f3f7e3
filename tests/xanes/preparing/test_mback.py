"""MBACK: a table with a background of our own, and numbers that Larch gave."""

import numpy as np
import pytest
import xarray as xr

from batteryxr import xanes
from batteryxr.core.errors import ArgumentError, DataError, DataQualityWarning

xraydb = pytest.importorskip("xraydb")
E = np.concatenate(
    [np.arange(5300.0, 5450, 5), np.arange(5450, 5500, 0.5), np.arange(5500, 5950, 4)]
)


def table():
    return np.array([float(xraydb.f2_chantler("V", e)) for e in E])


def measured(scale=7.3, seed=None, noise=0.0):
    x = E - 5465.0
    line = 2.5 * np.exp(-((x - 25) ** 2) / 60)
    mu = (table() + line + 2 + 3e-3 * x + 2e-6 * x**2) / scale
    if seed is not None:
        mu = mu + noise * np.random.default_rng(seed).standard_normal(E.size)
    return mu, table() + line


def labelled(values):
    dims = ("scan", "energy")[-np.ndim(values) :]
    axis = {"energy": ("energy", E, {"units": "eV"})}
    return xr.DataArray(
        values, dims=dims, coords=axis, name="absorption", attrs={"units": "1"}
    )


def test_electrons_come_back_whatever_the_scale():
    one, truth = measured()
    other, _ = measured(scale=0.02)
    found = labelled(np.stack([one, other])).xanes.mback(element="V")
    np.testing.assert_allclose(
        found.f_double_prime, np.stack([truth, truth]), atol=1e-9
    )
    np.testing.assert_allclose(found.scale, [7.3, 0.02])
    low, high = (
        found.normalised.sel(energy=5350.0),
        found.normalised.sel(energy=5560.0, method="nearest"),
    )
    np.testing.assert_allclose(low, 0, atol=5e-3)
    np.testing.assert_allclose(high, 0.97, atol=0.03)  # f'' falls behind its edge


def test_lazy_and_gaps():
    one, truth = measured()
    stack = labelled(np.stack([one] * 3))
    stack[1, 40:45] = np.nan
    stack[2, E > 5400] = np.nan
    with pytest.warns(DataQualityWarning, match="1 spectra have no step"):
        found = stack.xanes.mback(element="V")
    lazy = stack.chunk(scan=1).xanes.mback(element="V")
    assert lazy.f_double_prime.chunks
    np.testing.assert_array_equal(lazy.f_double_prime, found.f_double_prime)
    known = np.isfinite(stack[1].values)
    np.testing.assert_allclose(found.f_double_prime[1, known], truth[known], atol=1e-9)
    assert np.isnan(found.f_double_prime[2]).all()


def test_what_cannot_be_meant_is_refused():
    one, _ = measured()
    for wrong, match in (
        ({"element": "Xx"}, "element="),
        ({"e0": 5600.0}, "e0="),
        ({"pre": (-20.0, -19.0)}, "pre="),
        ({"post": (470.0, 600.0)}, "post="),
        ({"degree": 9}, "degree="),
    ):
        with pytest.raises(ArgumentError, match=match):
            xanes.mback(labelled(one), **{"element": "V"} | wrong)
    with pytest.raises(DataError, match="do not span the K edge of Ni"):
        xanes.mback(labelled(one), element="Ni")
    with pytest.warns(DataQualityWarning, match="no step upwards"):
        down = xanes.mback(labelled(-one), element="V")
    assert np.isnan(down.scale)


def test_the_other_l_edge_is_told():
    x = np.arange(400.0, 700.0, 0.5)
    f2 = np.array([float(xraydb.f2_chantler("V", e)) for e in x])
    axis = {"energy": ("energy", x, {"units": "eV"})}
    array = xr.DataArray(f2, dims="energy", coords=axis, name="absorption")
    with pytest.warns(DataQualityWarning, match="L2"):
        xanes.mback(array, element="V", edge="L3", pre=(None, -20.0), post=(60.0, None))


def test_equal_to_larch():
    """What `mback` of Larch 2026.3.1 gives with order=3 and the same ranges."""
    x = E - 5465.0
    one, _ = measured()
    ripple = 0.4 * np.sin(x / 60) * np.exp(-abs(x) / 300) / 7.3
    found = xanes.mback(labelled(one + ripple), element="V", e0=5465.0).f_double_prime
    larch = {
        5320: 0.4546954909057881,
        5400: 0.47375429446479966,
        5466: 3.0276958435101022,
        5490: 5.614190146582525,
        5560: 3.8633889132481616,
        5700: 3.6084133939436365,
        5900: 3.477994920314896,
    }
    ours = found.sel(energy=list(larch), method="nearest")
    np.testing.assert_allclose(ours, list(larch.values()), rtol=1e-3)
