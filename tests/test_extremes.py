"""Data of any size give the numbers of that size, or a refusal, never numpy's warning.

A unit may make data as large or as small as numbers can be: a method that squares them
then loses what it looks for, and says nothing.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

from batteryxr import echem, nmf, xanes
from batteryxr.core.errors import BatteryxrWarning, DataError

SIZES = [1e200, 1e-200, 5e-320]


@pytest.fixture(autouse=True)
def _no_warning_of_others():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", BatteryxrWarning)
        yield


def _spectra():
    energy = np.arange(8300.0, 8400.0)
    values = np.tile(1 / (1 + np.exp((8345 - energy) / 2)), (7, 1))
    values += np.random.default_rng(0).normal(0, 0.01, values.shape)
    there = {"energy": ("energy", energy, {"units": "eV"}), "scan": np.arange(7)}
    return xr.DataArray(values, there, ("scan", "energy"), "absorption", {"units": "1"})


def _stack(values):
    energy = ("energy", np.arange(8300.0, 8400.0), {"units": "eV"})
    return xr.DataArray(
        np.broadcast_to(values, (2, 3, 100)).transpose(2, 0, 1),
        {"energy": energy},
        ("energy", "y", "x"),
        "optical_density",
        {"units": "1"},
    )


def _times(array, size):
    return (array * size).assign_attrs(array.attrs).rename(array.name)


@pytest.mark.parametrize("size", SIZES[:2])
def test_scans_are_merged_alike(size):
    spectra = _spectra()
    spectra[0] += np.sin(spectra.energy)
    here, there = xanes.merge(spectra), xanes.merge(_times(spectra, size))
    assert here.outlier.values.tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert there.outlier.equals(here.outlier)
    for name in ("absorption", "absorption_error", "distance"):
        np.testing.assert_allclose(there[name] / size, here[name], rtol=1e-9)


def test_scans_without_a_value_are_refused():
    with pytest.raises(DataError, match="no scan has a value"):
        xanes.merge(_spectra() * np.nan)


@pytest.mark.parametrize("size", SIZES[:2])
def test_scans_are_aligned_alike(size):
    from batteryxr.xanes.kernels.calibration import best_shifts

    spectra = _spectra()
    x = spectra.energy.values
    known = {"x": x, "true": x - 1.0}
    here = best_shifts(spectra.values, values=spectra.values[0], **known)
    there = best_shifts(size * spectra.values, values=size * spectra.values[0], **known)
    np.testing.assert_allclose(here[0], -1.0, atol=0.2)
    np.testing.assert_allclose(there, here, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_principal_components_of_what_has_no_squares_are_refused(size):
    with pytest.raises(DataError, match="beyond what numbers hold"):
        xanes.pca(_times(_stack(_spectra().values[:6].reshape(2, 3, 100)), size))


@pytest.mark.parametrize("size", [0.0, *SIZES[1:]])
def test_pixels_without_a_signal_are_flagged(size):
    fit = xanes.fit_edge(_stack(size * _spectra().values[0]), edge=(8330, 8370))
    assert (fit.flag > 0).all()
    assert fit.edge_energy.isnull().all()


def test_a_stack_without_squares_is_refused():
    with pytest.raises(DataError, match="beyond what numbers hold"):
        xanes.fit_edge(_stack(1e200 * _spectra().values[0]), edge=(8330, 8370))


@pytest.mark.parametrize("size", SIZES)
def test_patterns_are_factorised(size):
    rng = np.random.default_rng(0)
    values = rng.dirichlet([1, 1], 12) @ abs(rng.normal(size=(2, 19)))
    r = ("r", np.arange(1.0, 20.0), {"units": "Angstrom"})
    patterns = xr.DataArray(values, {"r": r}, ("scan", "r"), "g", {"units": "1"})
    found = nmf.fit(_times(patterns, size), n_components=2)
    assert np.isfinite(found["weights"]).all()


@pytest.mark.parametrize("size", [1e200, 1e-200])
@pytest.mark.parametrize("name", ["current", "voltage", "test_time"])
def test_records_are_counted_or_refused(name, size):
    time = np.arange(0.0, 4000.0, 10)
    charging = time // 1000 % 2 < 1
    values = {
        "current": (np.where(charging, 1.0, -1.0), "mA"),
        "voltage": (3 + np.where(charging, time % 1000, 1000 - time % 1000) / 1e3, "V"),
        "test_time": (time, "s"),
    }
    record = xr.Dataset(
        {
            n: ("record", v * (size if n == name else 1), {"units": u})
            for n, (v, u) in values.items()
        }
    )
    try:
        found = echem.half_cycles(record)
    except DataError:
        return
    if name == "current" and size > 1:
        np.testing.assert_allclose(found.capacity / size, 1 / 3.6, rtol=0.02)


@pytest.mark.parametrize("size", [1e200, 1e-200, 5e-324])
@pytest.mark.parametrize("name", ["drt", "fit_circuit", "kramers_kronig"])
def test_spectra_that_are_no_impedance_are_refused(name, size):
    f = np.logspace(-1, 4, 30)
    z = 2 + 10 / (1 + (2e-2j * np.pi * f) ** 0.9)
    frequency = ("frequency", f, {"units": "Hz"})
    spectra = xr.DataArray(
        z[None] * size, {"frequency": frequency}, ("spectrum", "frequency")
    ).assign_attrs(units="ohm")
    circuit = ("R0-p(R1,CPE1)",) if name == "fit_circuit" else ()
    with pytest.raises(DataError, match="has points of"):
        getattr(echem, name)(spectra, *circuit)
    lazy = getattr(echem, name)(spectra.chunk(spectrum=1), *circuit).compute()
    assert lazy["fitted"].isnull().all()  # no points
