"""Paths of rays in a crystal, against the faces of a cube."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr import cdi
from batteryxr.cdi.bragg.kernels.voxels import path_inside
from batteryxr.core.errors import ArgumentError, DataError

VOLUME = ("rocking", "detector_y", "detector_x")
OBJECT = ("along_rocking", "along_y", "along_x")
INDEX, EDGE = 1 - 4.6e-5 + 4e-6j, 400.0


@pytest.fixture(scope="module")
def skewed() -> xr.Dataset:
    """Return the geometry of voxels of about 12 nm, none of them at right angles."""
    axes = {d: np.arange(64) - 32 for d in VOLUME}
    axes["rocking"] = axes["rocking"] * 0.022 + 14.4
    volume = xr.DataArray(np.zeros((64, 64, 64), np.float32), dims=VOLUME, coords=axes)
    motors = {"two_theta": 28.8, "phi": 7.0}
    where = {"energy": 9000, "distance": 400, "pixel_size": 55}
    return cdi.geometry(
        volume, beamline="theta", rocking="theta", motors=motors, **where
    )


def to_faces(points, direction, turn):
    """Return the way from points in a turned cube to its faces, by their planes."""
    place, along = points @ turn, direction @ turn / np.linalg.norm(direction)
    return np.maximum((EDGE / 2 - place) / along, (-EDGE / 2 - place) / along).min(-1)


def cube(geometry, sign):
    """Return a turned cube as it is seen, the same without refraction, and its path."""
    index = np.stack(np.mgrid[:64, :64, :64] - 32, -1)
    points = index @ geometry["voxel"].values
    turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))
    inside = (np.abs(points @ turn) <= EDGE / 2).all(-1)
    # Beam along z at 9 keV, in 1/nm; the scattered ray by the law of Bragg.
    beam = np.array([0.0, 0.0, 2 * np.pi * 9000 / 1239.8419843])
    scattered = beam + 10 * geometry["q"].values
    path = np.zeros(inside.shape)
    path[inside] = to_faces(points[inside], -beam, turn)
    path[inside] += to_faces(points[inside], scattered, turn)
    clean = inside * np.exp(sign * 0.4j * np.cos(0.1 * index[..., 0]))
    # A wave exp(i k n s) in a medium with n = 1 - delta + i beta.
    wave = np.exp(1j * beam[2] * (INDEX - 1) * path)
    seen = clean * (wave if sign == -1 else wave.conj())
    return seen.astype(np.complex64), clean, inside, path


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_cube_of_400_nm(skewed, sign):
    seen, clean, inside, path = cube(skewed, sign)
    crystal = xr.DataArray(seen, dims=OBJECT, coords={"fourier_sign": sign})
    support = xr.DataArray(inside, dims=OBJECT)
    found = crystal.cdi.correct_refraction(n=INDEX, geometry=skewed, support=support)
    away = found["optical_path"].values[inside] - path[inside]
    assert abs(away.mean()) < 0.01 * path[inside].mean()
    # No surface is known better than its voxels.
    assert away.std() < 0.75 * np.linalg.norm(skewed["voxel"], axis=1).max()
    assert np.isnan(found["optical_path"].values[~inside]).all()
    left = found["object"].values[inside] / clean[inside]
    was = seen[inside] / clean[inside]
    assert np.angle(left).std() < 0.1 * np.angle(was).std()
    assert np.abs(left).mean() == pytest.approx(1, abs=2e-3)
    assert np.abs(was).mean() < 0.95


def test_cavities_do_not_count():
    body = np.ones((9, 3, 3), bool)
    body[3:5, 1, 1] = False
    path = path_inside(body, np.eye(3) * 2.0, np.array([5.0, 0, 0]))
    np.testing.assert_allclose(path[:, 1, 1], [13, 11, 9, 0, 0, 7, 5, 3, 1])
    np.testing.assert_allclose(path[:, 0, 0], np.arange(17, 0, -2))


def test_the_same_in_the_laboratory(skewed):
    seen, _, inside, _ = cube(skewed, -1)
    noted = {"fourier_sign": -1}
    whole = xr.Dataset(
        {"object": (OBJECT, seen), "support": (OBJECT, inside)}, coords=noted
    )
    turned = cdi.to_laboratory(whole, geometry=skewed)
    found = cdi.correct_refraction(turned, n=INDEX, support=turned["support"])[
        "optical_path"
    ]
    before = cdi.correct_refraction(
        whole, n=INDEX, geometry=skewed, support=whole["support"]
    )["optical_path"]
    assert float(found.mean()) == pytest.approx(float(before.mean()), rel=0.01)


def test_refraction_is_refused_where_it_cannot_be_known(skewed):
    seen, _, inside, _ = cube(skewed, -1)
    support = xr.DataArray(inside, dims=OBJECT)
    crystal = xr.DataArray(seen, dims=OBJECT, coords={"fourier_sign": -1})
    options = {"n": INDEX, "geometry": skewed, "support": support}
    with pytest.raises(DataError, match="sign"):
        cdi.correct_refraction(crystal.drop_vars("fourier_sign"), **options)
    once = cdi.correct_refraction(crystal, **options)
    for again in (once, once["object"]):
        with pytest.raises(DataError, match="before"):
            cdi.correct_refraction(again, **options)
    with pytest.raises(DataError, match="geometry"):
        cdi.correct_refraction(crystal, n=INDEX, support=support)
    turned = cdi.to_laboratory(crystal, geometry=skewed, frame="sample")
    with pytest.raises(DataError, match="sample"):
        cdi.correct_refraction(turned, n=INDEX)
    for wrong in (4.6e-5 + 4e-6j, INDEX.conjugate(), 1 + 4.6e-5):
        with pytest.raises(ArgumentError, match="n="):
            cdi.correct_refraction(crystal, n=wrong, geometry=skewed)
