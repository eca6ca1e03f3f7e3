"""Between a measured pattern and the network's grid; nothing here needs PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

from batteryxr.cdi.bragg.kernels.align import align, conjugate_twin
from batteryxr.cdi.bragg.learned.kernels.network_input import (
    SIZE,
    orientations,
    scene,
    standard,
)


def pattern_of(obj: np.ndarray) -> np.ndarray:
    field = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(obj)))
    return np.abs(field) ** 2


def at_nodes(obj: np.ndarray, view: tuple[float, ...]) -> np.ndarray:
    """Evaluate the Fourier series of an object at the nodes of the network's grid."""
    for axis, length in enumerate(view):
        n = obj.shape[axis]
        k = np.arange(n) - n // 2
        x = (np.arange(SIZE) - SIZE // 2) * length / SIZE
        away = x[:, None, None] - k[None, :, None]
        matrix = np.exp(2j * np.pi * away * k / n).sum(-1) / n
        obj = np.moveaxis(np.tensordot(matrix, obj, axes=(1, axis)), 0, axis)
    return obj


def level(obj: np.ndarray, centre: tuple[float, ...]) -> np.ndarray:
    """Take out a phase ramp."""
    for axis, step in enumerate(centre):
        n = obj.shape[axis]
        wave = np.exp(-2j * np.pi * step * (np.arange(n) - n // 2))
        obj = obj * wave.reshape([-1 if a == axis else 1 for a in range(3)])
    return obj


def test_there_and_back(crystal):
    """The pattern on the grid is that of the object on the grid, and that returns."""
    found = scene(pattern_of(crystal))
    small = at_nodes(level(crystal, found.centre), found.view)
    modulus = np.sqrt(pattern_of(small))
    modulus /= np.sqrt((modulus**2).mean())
    residual = ((modulus - found.modulus) ** 2).sum() / (modulus**2).sum()
    assert residual < 0.01
    assert align(crystal, found.whole(small), ramp=False).overlap > 0.98


def test_extent_sets_the_view(crystal):
    """Edges of 14, 12 and 11 voxels: the longer one is seen from further away."""
    found = scene(pattern_of(crystal))
    filled = np.array([14, 12, 11]) / np.array(found.view)
    np.testing.assert_allclose(filled, 0.65 / 2, rtol=0.25)


def test_any_shape_and_padding_give_the_same(crystal):
    """More voxels round the same object: the same view of it."""
    wide = np.zeros((40, 48, 45), complex)
    wide[:, 4:44, 2:42] = crystal
    a, b = scene(pattern_of(crystal)), scene(pattern_of(wide))
    np.testing.assert_allclose(a.view, b.view, rtol=0.1)
    difference = (a.modulus - b.modulus)[12:20, 12:20, 12:20]
    assert np.abs(difference).max() < 0.1 * a.modulus.max()
    assert b.whole(np.ones((SIZE,) * 3, complex)).shape == wide.shape


def test_centre_is_found_and_put_back(crystal):
    moved = np.roll(pattern_of(crystal), (2, -3), (0, 2))
    here, there = scene(pattern_of(crystal)), scene(moved)
    steps = np.array(there.centre) - np.array(here.centre)
    np.testing.assert_allclose(steps * 40, [2, 0, -3], atol=1e-6)
    np.testing.assert_allclose(there.modulus, here.modulus, atol=1e-3)
    whole = there.whole(at_nodes(level(crystal, here.centre), here.view))
    ramp = np.exp(2j * np.pi * (np.arange(40) - 20) / 40)
    steep = crystal * (ramp**2)[:, None, None] * ramp**-3
    overlap = align(steep.astype(np.complex64), whole, ramp=False, twin=False).overlap
    assert overlap > 0.98


def test_gaps_are_filled_and_weighted(crystal, volume):
    gaps = np.array(volume.values)
    gaps[:, 14:16] = np.nan
    whole, holed = scene(volume.values), scene(gaps)
    assert whole.weight.min() > 0.999
    assert holed.weight.min() < 0.1
    np.testing.assert_allclose(holed.weight.mean(), 0.95, atol=0.03)
    assert np.isfinite(holed.modulus).all()
    residual = ((whole.modulus - holed.modulus) ** 2).sum() / (whole.modulus**2).sum()
    assert residual < 0.02


def test_twin_and_phase_have_one_standard(crystal):
    wanted = standard(crystal)
    for other in (crystal, conjugate_twin(crystal)):
        np.testing.assert_allclose(standard(other * np.exp(2j)), wanted, atol=1e-5)
    again = align(crystal, wanted)
    assert again.overlap == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("shape", [(4, 4, 4), (3, 5, 4)])
def test_orientations_turn_patterns_as_objects(shape):
    rng = np.random.default_rng(0)
    obj = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    ways = orientations()
    assert len({(w.axes, w.reversed_axes) for w in ways}) == 48
    assert ways[0].axes == (0, 1, 2)
    assert not ways[0].reversed_axes
    for way in ways:
        turned = np.fft.fftn(way.turn(obj))
        np.testing.assert_allclose(turned, way.turn(np.fft.fftn(obj)), atol=1e-9)
        np.testing.assert_array_equal(way.undo(way.turn(obj)), obj)
