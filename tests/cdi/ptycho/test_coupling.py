"""Objects of many energies on disk: registered and coupled a few rows at a time."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from batteryxr.cdi.ptycho import coupling
from batteryxr.cdi.ptycho.kernels.constraint import Constraint, constrain
from batteryxr.cdi.ptycho.kernels.images import mean_of
from batteryxr.cdi.ptycho.kernels.registration import Registered
from batteryxr.core.store.places import location_of

ENERGY = np.linspace(5450.0, 5510.0, 9)
SHAPE = (ENERGY.size, 40, 50)


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "a.zarr"
    path.mkdir()
    return location_of(path)


def test_images_come_back_whole_and_by_rows(store):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((2, *SHAPE)).astype(np.float32)
    images = (values[0] + 1j * values[1]).astype(np.complex64)
    with coupling.ImageFile(store, SHAPE) as kept:
        for k, image in enumerate(images):
            kept.write(k, image)
        np.testing.assert_array_equal(kept.read(3), images[3])
        np.testing.assert_array_equal(kept.rows(slice(5, 9)), images[:, 5:9])
        kept.write(2, images[0, :4], start=7)
        images[2, 7:11] = images[0, :4]
        np.testing.assert_array_equal(kept.rows(slice(None)), images)
    # Neither the store nor its folder holds anything of it.
    assert [*store.folder.parent.rglob("*")] == [store.folder]


def test_images_are_read_by_many_threads(store):
    from concurrent.futures import ThreadPoolExecutor

    with coupling.ImageFile(store, SHAPE) as kept:
        for k in range(SHAPE[0]):
            kept.write(k, np.full(SHAPE[1:], k, np.complex64))
        with ThreadPoolExecutor(4) as pool:
            for k, image in zip(
                [*range(SHAPE[0])] * 50,
                pool.map(kept.read, [*range(SHAPE[0])] * 50),
                strict=True,
            ):
                np.testing.assert_array_equal(image, k)


def test_tiles_change_nothing(store, monkeypatch):
    rng = np.random.default_rng(1)
    y, x = np.mgrid[-1:1:40j, -1:1:50j]
    body = np.exp(-3 * (y**2 + x**2))
    fields = coupling.ImageFile(store, SHAPE)
    for k in range(ENERGY.size):
        noise = 0.01 * rng.standard_normal((2, *body.shape))
        a, p = body * (0.1 + 0.02 * k) + noise[0], body * (0.5 - 0.03 * k) + noise[1]
        fields.write(k, np.exp(-a + 1j * p))
    grid = SimpleNamespace(inside=np.ones(body.shape, bool))
    found = Registered(fields, mean_of(fields), np.zeros((9, 2)), body < 0.05, grid)
    table = np.unique(np.r_[np.geomspace(100, 2e5, 500), ENERGY])
    constraint = Constraint(ENERGY, table, (5480 / table) ** 2.5)
    results = []
    for size in (coupling.TILE, 3 * 9 * 50 * 8, 1):
        monkeypatch.setattr(coupling, "TILE", size)
        factor = coupling.ImageFile(store, SHAPE)
        misfit = constrain(found, ENERGY, constraint, 0.5, factor)
        results.append((misfit, factor.rows(slice(None))))
    assert len(list(fields.tiles())) == 40
    assert np.abs(results[0][1] - 1).max() > 0.01
    for misfit, factor in results[1:]:
        np.testing.assert_allclose(misfit, results[0][0], rtol=1e-9)
        np.testing.assert_allclose(factor, results[0][1], rtol=1e-6)


def test_shift_is_found_though_contrast_changes():
    from batteryxr.cdi.ptycho.kernels.alignment import Drift, subpixel_shift

    rng = np.random.default_rng(0)
    y, x = np.meshgrid(np.arange(80.0) - 40, np.arange(90.0) - 45, indexing="ij")

    def image(shift=(0.0, 0.0), first=1.0, second=1.0):
        v, u = y - shift[0], x - shift[1]
        body = 1 / (1 + np.exp((np.hypot(v, u) - 18) / 1.3))
        share = 1 / (1 + np.exp(-(v + 0.4 * u) / 1.5))
        phase = -0.7 * body * (first * share + second * (1 - share))
        noise = 0.004 * rng.standard_normal((2, *y.shape))
        return np.exp(1j * phase) + noise[0] + 1j * noise[1]

    reference = np.mean([image() for _ in range(9)], axis=0)
    where = np.hypot(y, x) < 36
    drift = Drift(reference, np.angle(reference), where)
    moved = image((0.3, -0.2), first=0.88, second=0.96)
    found = drift(moved)
    assert np.linalg.norm(found - [-0.3, 0.2]) < 0.1
    # A correlation takes much of the change of contrast for a shift.
    correlated = subpixel_shift(
        np.angle(moved) * where, np.angle(reference) * where, upsample=200
    )
    assert np.linalg.norm(correlated - [-0.3, 0.2]) > 0.15
    assert np.abs(drift(image((9.0, 0.0)))).max() <= 1.0  # no leap
