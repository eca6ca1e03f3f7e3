"""Fewer energies: what they cost is what refitting noisy stacks shows."""

import numpy as np
import pytest
import xarray as xr

from batteryxr import xanes
from batteryxr.core.errors import ArgumentError, DataError, VariableError


@pytest.fixture(scope="module")
def maps(phantom, model):
    stack, _ = phantom(24, noise=0.003)
    return stack, xanes.fit_edge(stack, **model)


def test_half_of_the_energies_cost_less_than_half_as_much_again(maps):
    stack, fit = maps
    found = fit.xanes.sparse_energies(axis=stack.energy, threshold=1.5)
    assert found.attrs["n_kept"] == int(found.kept.sum())
    assert 12 <= found.attrs["n_kept"] <= 22
    assert sorted(found["rank"].values) == list(range(1, stack.energy.size + 1))
    last = found.error_growth[int(np.argmax(found["rank"].values))]
    np.testing.assert_allclose(last, 1.0)
    at = found["rank"] == found.attrs["n_kept"]
    assert float(found.error_growth.where(at).max()) <= 1.5
    assert found["quantity"].values[0] == "edge energy"


def test_the_growth_is_that_of_refitted_noise(maps, curve, model):
    stack, fit = maps
    found = fit.xanes.sparse_energies(axis=stack.energy, threshold=1.4)
    e = stack.energy.values
    good = fit.where(fit.flag == 0).stack(p=("y", "x")).dropna("p", subset=["flag"])
    few = good.isel(p=slice(0, None, 25))
    peaks = zip(few.peak_height.values, few.peak_position.values,
                few.peak_width.values, strict=True)  # fmt: skip
    clean = curve(
        e[:, None], few.level.values, few.edge_jump.values, few.edge_energy.values,
        few.edge_width.values, *peaks,
    )  # fmt: skip
    rng = np.random.default_rng(2)
    noise = 1e-4 * rng.standard_normal((300, *clean.shape))
    many = xr.DataArray(
        clean + noise,
        dims=("scan", "energy", "p"),
        coords={"energy": stack.energy},
        attrs={"units": "1"},
    )
    spread = []
    for part in (many, many.isel(energy=found.kept.values)):
        again = xanes.fit_edge(part, mask=None, multistart="never", **model)
        sd = (again.edge_energy - few.edge_energy.values).std("scan")
        spread.append(sd.values)
    ratio = np.sqrt(np.mean((spread[1] / spread[0]) ** 2))
    at = found["rank"].values == found.attrs["n_kept"]
    assert ratio == pytest.approx(float(found.error_growth.values[at][0, 0]), rel=0.05)


def test_what_cannot_be_asked(maps):
    stack, fit = maps
    with pytest.raises(ArgumentError, match="axis=9"):
        xanes.sparse_energies(fit, axis=stack.energy[:9])
    with pytest.raises(ArgumentError, match="threshold"):
        xanes.sparse_energies(fit, axis=stack.energy, threshold=0.5)
    with pytest.raises(DataError, match="flag 0"):
        xanes.sparse_energies(fit.where(fit.flag < 0), axis=stack.energy)
    with pytest.raises(VariableError, match="fit_edge"):
        xanes.sparse_energies(fit.drop_attrs(), axis=stack.energy)
    kept = xanes.sparse_energies(fit, axis=stack.energy, threshold=1e9)
    assert kept.attrs["n_kept"] == 10


def test_energies_in_kev_are_the_same_energies(maps):
    stack, fit = maps
    kev = stack.energy / 1e3
    kev.attrs = {"units": "keV"}
    found = fit.xanes.sparse_energies(axis=kev)
    known = fit.xanes.sparse_energies(axis=stack.energy)
    np.testing.assert_array_equal(found.kept.values, known.kept.values)
    with pytest.raises(ArgumentError, match="where spectra were fitted"):
        fit.xanes.sparse_energies(axis=kev.values)
