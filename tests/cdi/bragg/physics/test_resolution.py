"""Resolution along axes, of objects whose transfer is known."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr import cdi
from batteryxr.cdi.bragg.kernels.metrics import thinned
from batteryxr.core.errors import ArgumentError, DataError, DimensionError

VOLUME = ("rocking", "detector_y", "detector_x")
OBJECT = ("along_rocking", "along_y", "along_x")


@pytest.fixture(scope="module")
def measured(crystal):
    """Return a pattern without noise, its geometry, and its transform."""
    n = len(crystal)
    field = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(crystal)))
    axes = {d: np.arange(n) - n // 2 for d in VOLUME}
    axes["rocking"] = axes["rocking"] * 0.02 + 14.4
    values = (np.abs(field) ** 2).astype(np.float32)
    volume = xr.DataArray(values, dims=VOLUME, coords=axes, name="intensity")
    told = cdi.geometry(
        volume,
        beamline="theta",
        rocking="theta",
        motors={"two_theta": 28.8, "phi": 7.0},
        energy=9000,
        distance=400,
        pixel_size=55,
    )
    return volume, told, field


def test_a_known_transfer_by_axis(measured):
    """Amplitudes fall by exp(-(s / w)^2), with another w near the axis y."""
    volume, told, field = measured
    n = len(field)
    index = np.stack(np.mgrid[:n, :n, :n] - n // 2, -1)
    # In cycles per nm.
    s = index @ (told["reciprocal_step"].values * 10 / (2 * np.pi))
    length = np.linalg.norm(s, axis=-1)
    near = np.abs(s[..., 1]) > np.cos(np.deg2rad(30)) * length
    width = np.where(near, 0.010, 0.014)
    blurred = field * np.exp(-((length / width) ** 2))
    rho = np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(blurred)))
    object_ = xr.DataArray(rho.astype(np.complex64), dims=OBJECT)
    found = object_.cdi.resolution(volume=volume, geometry=told, n_starts=0)
    half = found["half_period_prtf"]
    for axis, w in {"x": 0.014, "y": 0.010, "z": 0.014}.items():
        assert float(half.sel(direction=axis)) == pytest.approx(0.5 / w, rel=0.04)
    middle = found["frequency"].values < 0.009
    curve = found["prtf"].sel(direction="y")[middle]
    expected = np.exp(-((found["frequency"][middle] / 0.010) ** 2))
    np.testing.assert_allclose(curve, expected, atol=0.05)
    assert "fsc" not in found
    # Beyond the pattern nothing can be told.
    sharp = xr.DataArray(
        np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(field))), dims=OBJECT
    )
    best = sharp.cdi.resolution(volume=volume, geometry=told, n_starts=0)
    assert np.isnan(best["half_period_prtf"]).all()
    assert (best["half_period_limit"] < 25).all()


def test_halves_hold_each_photon_once():
    counts = np.random.default_rng(0).poisson(3.0, (20, 20, 20)).astype(np.float32)
    counts[3] = np.nan
    halves = thinned(counts, np.random.default_rng(1))
    np.testing.assert_array_equal(halves.sum(0), counts)
    known = halves[:, np.isfinite(counts)]
    # Both are Poisson and know nothing of one another.
    assert known.mean() == pytest.approx(1.5, rel=0.03)
    assert known.var() == pytest.approx(1.5, rel=0.05)
    assert abs(np.corrcoef(known)[0, 1]) < 0.05


def test_both_measures_in_one_call(volume, measured):
    _, told, _ = measured
    angles = {"rocking": measured[0]["rocking"].values}
    few = (volume / 100).round().assign_coords(angles)
    few = few.assign_coords({d: measured[0][d] for d in VOLUME[1:]})
    quick = {"schedule": "30 HIO + 20 ER", "n_starts": 1}
    result = few.cdi.retrieve(**quick, progress=False)
    found = result.cdi.resolution(volume=few, geometry=told, **quick)
    assert list(found["direction"].values) == ["x", "y", "z", "all"]
    assert found["half_period_fsc"].attrs["units"] == "nm"
    near = found.sel(direction="all").isel(frequency=slice(1, 5))
    assert (near["fsc"] > 0.9).all()
    assert (near["fsc"] > found["fsc"].isel(frequency=-1).mean()).all()
    again = result.cdi.resolution(volume=few, geometry=told, **quick)
    xr.testing.assert_identical(found["fsc"], again["fsc"])


def test_resolution_refuses_what_does_not_belong(measured):
    volume, told, field = measured
    rho = xr.DataArray(field.astype(np.complex64), dims=OBJECT)
    with pytest.raises(DimensionError, match="very volume"):
        cdi.resolution(rho, volume=volume[2:-2], geometry=told)
    with pytest.raises(DataError, match="whole numbers"):
        cdi.resolution(rho, volume=volume / 1e9, geometry=told)
    with pytest.raises(ArgumentError, match="frame"):
        cdi.resolution(rho, volume=volume, geometry=told, frame="detector")
