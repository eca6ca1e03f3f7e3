"""Objects of many energies on disk: registered and coupled a few rows at a time."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import zarr

from batteryxr.cdi import _ptycho_coupling as coupling
from batteryxr.cdi import _ptycho_scratch as scratch
from batteryxr.cdi.kernels.ptycho_kk import Constraint

ENERGY = np.linspace(5450.0, 5510.0, 9)
SHAPE = (ENERGY.size, 40, 50)


@pytest.fixture
def store(tmp_path):
    path = str(tmp_path / "a.zarr")
    zarr.create_group(path)
    return path


def test_images_come_back_whole_and_by_rows(store, recwarn):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((2, *SHAPE)).astype(np.float32)
    images = (values[0] + 1j * values[1]).astype(np.complex64)
    kept = scratch.Scratch(store, "fields", SHAPE)
    for k, image in enumerate(images):
        kept.write(k, image)
    np.testing.assert_array_equal(kept.read(3), images[3])
    np.testing.assert_array_equal(kept.rows(slice(5, 9)), images[:, 5:9])
    kept.write(2, images[0, :4], start=7)
    images[2, 7:11] = images[0, :4]
    # To zarr it is an array as any other.
    array = zarr.open_array(store, path="_journal/fields", mode="r")
    np.testing.assert_array_equal(array[...], images)
    assert len(list(zarr.open_group(store).members(max_depth=None))) >= 1
    kept.remove()
    assert "_journal/fields" not in dict(zarr.open_group(store).members(max_depth=None))
    assert not recwarn.list


def test_tiles_change_nothing(store, monkeypatch):
    rng = np.random.default_rng(1)
    y, x = np.mgrid[-1:1:40j, -1:1:50j]
    body = np.exp(-3 * (y**2 + x**2))
    fields = scratch.Scratch(store, "fields", SHAPE)
    for k in range(ENERGY.size):
        noise = 0.01 * rng.standard_normal((2, *body.shape))
        a, p = body * (0.1 + 0.02 * k) + noise[0], body * (0.5 - 0.03 * k) + noise[1]
        fields.write(k, np.exp(-a + 1j * p))
    grid = SimpleNamespace(inside=np.ones(body.shape, bool))
    found = coupling.Registered(
        fields, coupling.mean_of(fields), np.zeros((9, 2)), body < 0.05, grid
    )
    table = np.unique(np.r_[np.geomspace(100, 2e5, 500), ENERGY])
    constraint = Constraint(ENERGY, table, (5480 / table) ** 2.5)
    results = []
    for size in (scratch.TILE, 3 * 9 * 50 * 8, 1):
        monkeypatch.setattr(scratch, "TILE", size)
        factor = scratch.Scratch(store, f"factor{size}", SHAPE)
        misfit = coupling.constrain(found, ENERGY, constraint, 0.5, factor)
        results.append((misfit, factor.rows(slice(None))))
    assert len(list(fields.tiles())) == 40
    assert np.abs(results[0][1] - 1).max() > 0.01
    for misfit, factor in results[1:]:
        np.testing.assert_allclose(misfit, results[0][0], rtol=1e-9)
        np.testing.assert_allclose(factor, results[0][1], rtol=1e-6)
