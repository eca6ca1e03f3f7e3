from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

from batteryxr.cdi import retrieve
from batteryxr.cdi.bragg.kernels.align import align
from batteryxr.cdi.bragg.kernels.coherence import Coherence
from batteryxr.cdi.bragg.kernels.iteration import iterate
from batteryxr.cdi.bragg.kernels.schedule import parse
from batteryxr.cdi.bragg.kernels.support import autocorrelation_support
from batteryxr.cdi.bragg.settings import RetrievalSettings

WIDTHS = (0.6, 0.4, 0.5)


def gaussian(shape, widths):
    kernel = np.ones((1, 1, 1))
    for axis, (n, width) in enumerate(zip(shape, widths, strict=True)):
        line = np.exp(-0.5 * (np.fft.fftfreq(n, 1 / n) / width) ** 2)
        kernel = kernel * line.reshape([-1 if a == axis else 1 for a in range(3)])
    return kernel / kernel.sum()


@pytest.fixture(scope="module")
def blurred(crystal):
    """Return coherent and partially coherent intensity, origin in the corner."""
    intensity = np.abs(np.fft.fftn(np.fft.ifftshift(crystal))) ** 2
    intensity *= 1e8 / intensity.sum()
    blur = np.fft.fftn(gaussian(crystal.shape, WIDTHS))
    mixed = np.fft.ifftn(np.fft.fftn(intensity) * blur).real
    counts = np.random.default_rng(2).poisson(np.maximum(mixed, 0))
    return intensity.astype(np.float32), counts.astype(np.float32)


def widths(kernel):
    """Return the standard deviations of a blur along its axes."""
    found = []
    for axis, n in enumerate(kernel.shape):
        line = kernel.sum(axis=tuple(a for a in range(3) if a != axis))
        found.append(np.sqrt((line * np.fft.fftfreq(n, 1 / n) ** 2).sum()))
    return found


def test_estimates_the_blur_of_a_known_object(blurred, as_array):
    coherent, counts = blurred
    coherence = Coherence(as_array(np.sqrt(counts)), iterations=60)
    coherence.update(as_array(coherent))
    kernel = np.asarray(coherence.kernel)
    assert kernel.sum() == pytest.approx(1, rel=1e-5)
    assert kernel.min() >= 0
    np.testing.assert_allclose(widths(kernel), WIDTHS, rtol=0.15)


def test_without_an_estimate_nothing_is_blurred(blurred):
    coherent, _ = blurred
    assert Coherence(np.sqrt(coherent)).blur(coherent) is coherent


def test_unmeasured_voxels_teach_nothing(blurred):
    coherent, counts = blurred
    amplitude = np.sqrt(counts)
    amplitude[3:5, 2:9] = -1
    damaged = amplitude.copy()
    damaged[3:5, 2:9] = -7
    kernels = []
    for a in (amplitude, damaged):
        coherence = Coherence(a)
        coherence.update(coherent)
        kernels.append(coherence.kernel)
    np.testing.assert_array_equal(*kernels)


def test_retrieval_with_the_blur_is_nearer_to_the_truth(blurred, crystal):
    _, counts = blurred
    support = autocorrelation_support(counts)
    overlaps = []
    for every in (0, 20):
        settings = RetrievalSettings(
            schedule=parse("150 HIO + 150 RAAR + 50 ER"), coherence_every=every
        )
        rng = np.random.default_rng(0)
        start = iterate(np.sqrt(counts), support, settings, rng)
        overlaps.append(align(crystal, np.fft.fftshift(start.rho)).overlap)
    assert overlaps[1] > 0.97
    assert 1 - overlaps[1] < 0.5 * (1 - overlaps[0])


def pattern_of(crystal, width):
    small = crystal[4:-4, 4:-4, 4:-4]
    mean = abs(np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(small)))) ** 2
    if width:
        blur = np.fft.fftn(gaussian(small.shape, (width,) * 3))
        mean = np.maximum(np.fft.ifftn(np.fft.fftn(mean) * blur).real, 0)
    counts = np.random.default_rng(3).poisson(mean * 1e7 / mean.sum())
    return xr.DataArray(counts, dims=("rocking", "detector_y", "detector_x")), small


@pytest.mark.parametrize("width", [0.0, 0.8])
def test_a_blur_is_fitted_where_it_gains(crystal, width):
    volume, truth = pattern_of(crystal, width)
    told = {"schedule": "80 HIO + 60 RAAR + 40 ER", "n_starts": 2, "progress": False}
    errors = []
    for every, words in ((0, "Fit it"), (None, "It was fitted")):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = retrieve(volume, coherence_every=every, **told)
        texts = [str(w.message) for w in said if "a blur lowers" in str(w.message)]
        assert [words in text for text in texts] == [True] * bool(width)
        assert (float(found["blur_gain"]) < 0.85) == bool(width)
        assert ("blur" in found) == (every is None)
        errors.append(1 - align(truth, found["object"].values).overlap)
    assert float(found["blur"].sum()) == pytest.approx(1, rel=1e-4)
    assert (float(found["blur"].max()) == 1) == (width == 0)
    assert errors[1] < (0.6 * errors[0] if width else 1.001 * errors[0]), errors
