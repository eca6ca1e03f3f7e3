"""The simulated crystal: its truth is consistent, its patterns are its own."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage

from batteryxr import cdi
from batteryxr.core.errors import ArgumentError
from batteryxr.simulate import bragg_states

SMALL = {"shape": (48, 48, 48), "size": 1200.0}


@pytest.fixture(scope="module")
def tree():
    return bragg_states(**SMALL)


@pytest.fixture(scope="module")
def truth(tree):
    return tree["truth"].to_dataset().compute()


def test_nothing_is_made_before_it_is_read(no_compute):
    with no_compute():
        lazy = bragg_states(**SMALL)
    assert lazy["states"]["intensity"].chunksizes["state"] == (1,) * 6


def test_the_geometry_is_that_of_the_beamline(tree, truth):
    found = cdi.geometry(tree["states"]["intensity"], beamline="theta")
    np.testing.assert_allclose(found["voxel"], truth["voxel"], atol=1e-6)
    np.testing.assert_allclose(found["q"], truth["q"], rtol=1e-9)


def test_counts_are_poisson_around_the_objects_pattern(tree, truth):
    counts = tree["states"]["intensity"].isel(state=2).values
    rho = np.fft.ifftshift(truth["object"].values[2])
    mean = np.abs(np.fft.fftshift(np.fft.fftn(rho))) ** 2
    mean *= 2e7 / mean.sum()
    assert np.unravel_index(counts.argmax(), counts.shape) == (24, 24, 24)
    bright = mean > 20
    chi2 = np.mean((counts - mean)[bright] ** 2 / mean[bright])
    assert chi2 == pytest.approx(1, abs=0.05)


def test_phase_displacement_and_strain_belong_together(truth):
    inside = truth["support"].values
    q = float(np.linalg.norm(truth["q"]))
    u, rho = truth["displacement"].values[3], truth["object"].values[3]
    np.testing.assert_allclose(
        np.angle(rho[inside] * np.exp(1j * q * u[inside])), 0, atol=1e-5
    )
    geometry = xr.Dataset({"voxel": truth["voxel"], "q": truth["q"]})
    fields = cdi.strain(
        cdi.displacement(
            cdi.unwrap(truth, support=truth["support"]), geometry=geometry
        ),
        geometry=geometry,
    )
    assert fields.attrs["sign"] == -1
    np.testing.assert_allclose(
        fields["displacement"].values[3][inside] - u[inside],
        np.nanmean(fields["displacement"].values[3] - u),
        atol=1e-5,
    )
    mine, exact = fields["strain"].values[3], truth["strain"].values[3]
    good = ndimage.binary_erosion(inside)
    assert np.corrcoef(mine[good], exact[good])[0, 1] > 0.85


def test_domains_grow_and_a_part_goes_dark(truth):
    domain = truth["domain"].values
    first = [(d == 1).sum() for d in domain]
    assert first[0] == 0
    assert first[1] < first[2] < first[3] > first[4] > first[5] > first[1]
    dark = truth["missing"].sum(("along_rocking", "along_y", "along_x"))
    assert (dark > 0).values.tolist() == [False] * 4 + [True, False]
    moduli = np.abs(truth["object"].values)
    assert moduli[4][truth["missing"].values[4]].max() <= 0.5
    outside = ~truth["missing"].values[4]
    np.testing.assert_allclose(moduli[4][outside], moduli[0][outside], atol=0.5)


def test_the_seed_decides(tree):
    again = bragg_states(**SMALL)["states"]["intensity"].isel(state=1)
    other = bragg_states(**SMALL, seed=1)["states"]["intensity"].isel(state=1)
    first = tree["states"]["intensity"].isel(state=1)
    np.testing.assert_array_equal(again, first)
    assert (other.values != first.values).any()


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"size": 4000.0}, "half of every axis"),
        ({"photons": 0}, "photons"),
        ({"shape": (8, 8, 8)}, "at least 16"),
        ({"missing_state": 6}, "0 to 5"),
    ],
)
def test_options_are_checked(option, says):
    with pytest.raises(ArgumentError, match=says):
        bragg_states(**(SMALL | option))
