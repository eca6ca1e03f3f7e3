"""Spacings of a peak and of voxels, against rotations written out."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.spatial.transform import Rotation

from batteryxr import cdi
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DataQualityWarning,
    VariableError,
)

VOLUME = ("rocking", "detector_y", "detector_x")
OBJECT = ("along_rocking", "along_y", "along_x")
N = 32
WAVE = 2 * np.pi * 9000 / 12398.419843320026


def counts(values=None):
    axes = {d: np.arange(N) - N // 2 + 100 for d in VOLUME}
    axes["rocking"] = (axes["rocking"] - 100) * 0.02 + 14.4
    values = np.zeros((N, N, N), np.float32) if values is None else values
    return xr.DataArray(values, dims=VOLUME, coords=axes, name="intensity")


def geometry(volume, **options):
    motors = {"two_theta": 28.8, "phi": 7.0}
    where = {"energy": 9000, "distance": 400, "pixel_size": 55, "centre": (100, 100)}
    made = {"beamline": "theta", "rocking": "theta", "motors": motors}
    return cdi.geometry(volume, **(made | where | options))


def length(row, column):
    """Return |Q| of a pixel: the arm turns by two_theta round y and -phi round x."""
    pixel = np.array([column * 55e-3 / 400, row * 55e-3 / 400, 1.0])
    arm = Rotation.from_euler("y", 28.8, degrees=True)
    arm = arm * Rotation.from_euler("x", -7.0, degrees=True)
    towards = arm.apply(pixel / np.linalg.norm(pixel))
    return WAVE * np.linalg.norm(towards - [0, 0, 1])


def test_a_table_of_one_peak():
    values = np.zeros((N, N, N), np.float32)
    values[3, 20, 9] = 30.0  # rocking does not change |Q|
    values[25, 10, 9] = 20.0
    found = counts(values).cdi.peak_spacings(
        geometry=geometry(counts()), reference=(2.716 * 3**0.5, (1, -1, 1))
    )
    places = [(0, 0), (4, -7), (0.6 * 4 + 0.4 * -6, -7)]
    lengths = [length(*place) for place in places] + [2 * np.pi / 2.716]
    np.testing.assert_allclose(found["q_length"], lengths, rtol=1e-7)
    np.testing.assert_allclose(found["d_spacing"], 2 * np.pi / np.array(lengths))
    parameter = found["d_spacing"] * 3**0.5
    np.testing.assert_allclose(found["lattice_parameter"], parameter)
    np.testing.assert_allclose(found["strain"], found["d_spacing"] / 2.716 - 1)


def test_the_error_of_a_centre_of_mass():
    index = np.mgrid[:N, :N, :N] - N // 2
    mean = 3 * np.exp(-0.5 * ((index / 4.0) ** 2).sum(0))
    rng = np.random.default_rng(0)
    told = geometry(counts())
    tables = [
        cdi.peak_spacings(counts(rng.poisson(mean).astype(np.float32)), geometry=told)
        for _ in range(40)
    ]
    found = xr.concat(tables, "draw").sel(place="centre_of_mass")
    scatter = float(found["d_spacing"].std("draw"))
    assert float(found["d_spacing_error"].mean()) == pytest.approx(scatter, rel=0.35)


@pytest.mark.parametrize("ramp", ["keep", "remove"])
def test_a_uniform_expansion_shows_in_every_voxel(ramp):
    told = geometry(counts())
    index = np.stack(np.mgrid[:N, :N, :N] - N // 2, -1)
    body = (np.abs(index) < 6).all(-1)
    along = (index @ told["voxel"].values) @ told["q"].values * 10  # Q.r
    expansion = 3e-4
    values = (body * np.exp(-1j * expansion * along)).astype(np.complex64)
    crystal = xr.DataArray(values, dims=OBJECT, coords={"fourier_sign": -1})
    fields = crystal.cdi.unwrap().cdi.displacement(geometry=told, ramp=ramp)
    cell = fields.cdi.strain(geometry=told).cdi.lattice_spacing(
        geometry=told, reference=(5.4, (0, 0, 2))
    )
    d = 2 * np.pi / length(0, 0) * (1 + expansion)
    inside = cell["d_spacing"].values[body]
    np.testing.assert_allclose(inside[np.isfinite(inside)], d, rtol=2e-6)
    np.testing.assert_allclose(
        float(cell["lattice_parameter"].mean()), 2 * d, rtol=2e-6
    )
    away = float(cell["lattice_strain"].mean())
    assert away == pytest.approx(d / 2.7 - 1, abs=2e-6)
    if ramp == "keep":
        for factor in (100, -1, 1e-3):
            other = cell.assign(strain=cell["strain"] * factor)
            other["strain"].attrs["units"] = "1"
            with pytest.warns(DataQualityWarning, match="times that of the displ"):
                other.cdi.lattice_spacing()


def test_what_would_give_another_spacing_is_refused():
    volume = counts(np.ones((N, N, N), np.float32))
    told = geometry(volume)
    with pytest.raises(ArgumentError, match="lattice parameter"):
        cdi.peak_spacings(volume, geometry=told, reference=4.7)
    d = float(told["d_spacing"])
    cubic = cdi.peak_spacings(volume, geometry=told, reference=[2 * d, [2, 0, 0]])
    assert float(cubic["d_spacing"][-1]) == pytest.approx(d)
    with pytest.raises(ArgumentError, match="points"):
        cdi.peak_spacings(volume[2:-2], geometry=told)
    moved = volume.assign_coords(detector_y=volume["detector_y"] + 3)
    with pytest.raises(ArgumentError, match="round"):
        cdi.peak_spacings(moved, geometry=told)
    with pytest.raises(ArgumentError, match="indices"):
        cdi.peak_spacings(volume, geometry=told, reference=(4.7, (0, 0, 0)))
    with pytest.raises(DataError, match="counts"):
        cdi.peak_spacings(0 * volume, geometry=told)
    with pytest.raises(VariableError, match="strain"):
        cdi.lattice_spacing(xr.Dataset({"phase": (OBJECT, volume.values)}))
