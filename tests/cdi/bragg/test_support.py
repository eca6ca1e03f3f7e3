from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from batteryxr.cdi.bragg.kernels.free import free_voxels, radial_frequency
from batteryxr.cdi.bragg.kernels.support import (
    LostSupport,
    Shrinking,
    autocorrelation_support,
    half,
)


def test_autocorrelation_holds_the_object(crystal, volume):
    support = autocorrelation_support(np.fft.ifftshift(volume.values))
    inside = np.abs(crystal) > 0.5
    assert support[0, 0, 0]
    centred = np.fft.fftshift(support)
    assert (centred & inside).sum() == inside.sum()
    # Twice as far in each direction, and no more than that.
    assert support.sum() < 8 * inside.sum()


def test_shrink_wrap_finds_the_outline(crystal, as_array):
    inside = np.abs(crystal) > 0.5
    loose = ndimage.binary_dilation(inside, iterations=4)
    shrink = Shrinking(as_array(crystal), sigma=(1.0, 0.5), threshold=0.5)
    found = np.asarray(shrink(as_array(crystal), as_array(loose), 1.0))
    # To half a voxel all round.
    rim = loose & ~ndimage.binary_erosion(inside)
    assert not (found != inside)[~rim].any()
    assert (found != inside).sum() < 0.2 * inside.sum()


def test_shrink_wrap_is_one_thing_in_all_libraries(crystal, as_array):
    loose = np.abs(crystal) > 0.05
    wanted = Shrinking(crystal)(crystal, loose, 0.3)
    found = Shrinking(as_array(crystal))(as_array(crystal), as_array(loose), 0.3)
    assert (np.asarray(found) != wanted).sum() < 1e-3 * loose.sum()


@pytest.mark.parametrize("threshold", [-1.0, 50.0])
def test_a_lost_support_is_said(crystal, threshold):
    shrink = Shrinking(crystal, threshold=threshold)
    with pytest.raises(LostSupport, match="the support fills"):
        shrink(crystal, np.ones(crystal.shape, bool), 0.0)


def test_half_leaves_a_quarter_in_the_last_two_axes(as_array):
    kept = np.asarray(half(as_array(np.ones((6, 8, 10), bool))))
    assert kept[:, :4, :5].all()
    assert kept.sum() == 6 * 4 * 5


@pytest.mark.parametrize("fraction", [0.03, 0.05, 0.1])
def test_free_voxels_are_islands_of_the_fraction_asked_for(fraction):
    free = free_voxels((48, 40, 44), np.random.default_rng(0), fraction=fraction)
    assert free.mean() == pytest.approx(fraction, rel=0.15)
    assert not free[radial_frequency(free.shape) <= 0.05].any()
    inner = ndimage.binary_erosion(free)
    assert inner.sum() > 0.2 * free.sum()


def test_no_free_voxels_on_request():
    assert not free_voxels((8, 8, 8), np.random.default_rng(0), fraction=0.0).any()


def test_the_autocorrelation_of_a_point_is_a_point():
    """Smoothed it lies below the threshold: the support is no more for that."""
    support = autocorrelation_support(np.ones((8, 8, 8)))
    assert support[0, 0, 0]
    assert support.sum() == 1
