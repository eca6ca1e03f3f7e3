"""Figures of merit against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batteryxr.cdi.bragg.kernels import metrics

ALL = np.ones(3, bool)


def test_amplitude_residual_by_hand():
    found = metrics.amplitude_residual(
        np.array([1.0, 2, 2]), np.array([1.0, 1, 4]), ALL
    )
    assert found == pytest.approx((0 + 1 + 4) / (1 + 1 + 16))


def test_chi2_divides_by_the_reconstruction():
    measured, reconstructed = np.array([9.0, 4, 0]), np.array([4.0, 4, 1])
    found = metrics.chi2(measured, reconstructed, ALL)
    assert found == pytest.approx((1 + 0 + 1) / (4 + 4 + 1))
    other = metrics.chi2(reconstructed, measured, ALL)
    assert other == pytest.approx(2 / 13)


def test_log_likelihood_by_hand():
    calculated, observed = np.array([2.0, 1.0, 3.0]), np.array([4.0, 0.0, 3.0])
    found = metrics.log_likelihood(calculated, observed, ALL)
    assert found == pytest.approx(((2 - 4 + 4 * math.log(2)) + 1 + 0) / 3)
    assert math.isnan(metrics.log_likelihood(calculated, observed, ~ALL))


def test_log_likelihood_of_counting_noise_is_one_half():
    mean = np.full(200_000, 400.0)
    counts = np.random.default_rng(0).poisson(mean).astype(float)
    found = metrics.log_likelihood(mean, counts, np.ones(mean.shape, bool))
    assert found == pytest.approx(0.5, abs=0.01)


@given(st.floats(0.1, 1e6), st.floats(0.1, 1e6))
def test_log_likelihood_is_never_below_a_perfect_fit(a, b):
    one = np.ones(1, bool)
    assert metrics.log_likelihood(np.array([a]), np.array([b]), one) >= -1e-9 * b


@pytest.mark.parametrize(
    "name, at_100, at_infinity", [("1-bit", 0.4517, 1 / 3), ("1/2-bit", 0.3067, 0.1716)]
)
def test_thresholds_are_the_published_ones(name, at_100, at_infinity):
    found = metrics.correlation_threshold(np.array([100, 1e14]), metrics.SNR[name])
    np.testing.assert_allclose(found, [at_100, at_infinity], atol=1e-4)
    # Coefficients as printed by van Heel & Schatz (2005).
    n = np.arange(1, 4000)
    a, b, c, d = {
        "1-bit": (0.5, 2.4142, 1.5, 1.4142),
        "1/2-bit": (0.2071, 1.9102, 1.2071, 0.9102),
    }[name]
    printed = (a + b / np.sqrt(n)) / (c + d / np.sqrt(n))
    found = metrics.correlation_threshold(n, metrics.SNR[name])
    np.testing.assert_allclose(found, np.minimum(printed, 1), atol=2e-4)


def test_shell_correlation_of_an_object_with_itself_is_1(crystal):
    spectrum = np.fft.fftn(crystal)
    shells = metrics.Shells(crystal.shape)
    np.testing.assert_allclose(
        metrics.shell_correlation(spectrum, 3 * spectrum, shells), 1, atol=1e-6
    )


def test_shell_correlation_of_noise_is_nothing():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 32, 32, 32)) + 1j * rng.standard_normal(
        (2, 32, 32, 32)
    )
    shells = metrics.Shells(a.shape)
    count = shells.voxels(np.ones(a.shape, bool))
    found = metrics.shell_correlation(np.fft.fftn(a), np.fft.fftn(b), shells)
    assert (np.abs(found) < 3 / np.sqrt(count)).mean() > 0.9
    assert count.sum() == pytest.approx(4 / 3 * math.pi * 16**3, rel=0.02)


def test_shells_know_the_voxel_size():
    shells = metrics.Shells((16, 16, 16), spacing=(10.0, 5.0, 5.0), count=8)
    assert shells.frequency[-1] == pytest.approx(0.05 * 7.5 / 8)
    wave = np.zeros((16, 16, 16))
    wave[0, 4, 0] = 1  # 4 periods in 16 x 5 = 0.05: the edge of the last shell
    wave[0, 2, 0] = 1
    found = shells.sum(wave)
    assert found[4] == 1
    assert found.sum() == 1


def test_transfer_function_of_agreement_and_of_none(crystal):
    spectrum = np.fft.fftn(crystal)
    used = np.ones(crystal.shape, bool)
    shells = metrics.Shells(crystal.shape)
    one = metrics.prtf(spectrum, np.abs(spectrum), used, shells)
    np.testing.assert_allclose(one, 1, rtol=1e-6)
    rng = np.random.default_rng(0)
    turned = np.exp(2j * np.pi * rng.random((50, *crystal.shape))).mean(0)
    none = metrics.prtf(spectrum * turned, np.abs(spectrum), used, shells)
    assert none.max() < 3 / np.sqrt(50)


def test_crossing_is_interpolated():
    frequency, limit = np.arange(4) * 0.1, np.full(4, 0.5)
    found = metrics.crossing(frequency, np.array([1, 0.8, 0.4, 0.9]), limit)
    assert found == pytest.approx(0.175)
    assert math.isnan(metrics.crossing(frequency, np.ones(4), limit))
    late = metrics.crossing(frequency, np.array([0.2, 0.8, 0.4, 0.9]), limit)
    assert late == pytest.approx(0.175)
