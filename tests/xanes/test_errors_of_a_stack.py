"""Errors that a stack brings along weigh its spectra."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.special import erf

from batteryxr.xanes import Edge, effective_electrons, fit_edge

ENERGY = np.linspace(5440.0, 5520.0, 41)


def stack(noise: float, seed: int) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    clean = 0.2 + 0.5 * (1 + erf((ENERGY - 5478.0) / 3.0))
    # Every second energy is ten times as noisy, and says so.
    error = noise * np.where(np.arange(ENERGY.size) % 2, 10.0, 1.0)
    shape = (ENERGY.size, 3, 4)
    error = np.broadcast_to(error[:, None, None], shape)
    values = clean[:, None, None] + error * rng.standard_normal(shape)
    dims = ("energy", "y", "x")
    axis = ("energy", ENERGY, {"units": "eV"})
    one = {"units": "1"}
    return xr.Dataset(
        {"absorption": (dims, values, one), "absorption_error": (dims, error, one)},
        coords={"energy": axis},
    )


def test_fit_edge_takes_the_errors_of_a_dataset():
    data = stack(0.005, 0)
    model = {"edge": Edge((5470, 5486), width=(1.0, 6.0)), "mask": None}
    own = fit_edge(data, **model)
    told = fit_edge(data.absorption, errors=data.absorption_error, **model)
    np.testing.assert_array_equal(own.edge_energy_error, told.edge_energy_error)
    plain = fit_edge(data.absorption, **model)
    assert float(own.edge_energy_error.mean()) < 0.5 * float(
        plain.edge_energy_error.mean()
    )
    pull = (own.edge_energy - 5478.0) / own.edge_energy_error
    assert 0.4 < float(np.sqrt((pull**2).mean())) < 1.7
    # One value without an error, and they are of no use.
    gap = data.assign(absorption_error=data.absorption_error.where(data.energy > 5450))
    np.testing.assert_array_equal(
        fit_edge(gap, **model).edge_energy_error, plain.edge_energy_error
    )


def test_effective_electrons_take_the_errors_of_the_phase():
    data = stack(0.01, 1)
    phase = xr.Dataset(
        {
            "phase": -data.absorption.assign_attrs(units="rad"),
            "phase_error": data.absorption_error.assign_attrs(units="rad"),
        }
    )
    found = effective_electrons(phase)
    share = found.effective_electrons_error / abs(found.effective_electrons)
    expected = data.absorption_error / abs(data.absorption)
    np.testing.assert_allclose(share, expected, rtol=1e-6)
