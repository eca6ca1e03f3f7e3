"""Projections against their published operator forms."""

from __future__ import annotations

import numpy as np
import pytest

from batteryxr.cdi.bragg.kernels.iteration import (
    OUTSIDE,
    _Step,
    combine,
    replace_blurred,
    replace_modulus,
)
from batteryxr.cdi.bragg.kernels.schedule import Stage
from batteryxr.cdi.fourier import Fourier

SHAPE = (9, 8, 10)


@pytest.fixture
def case():
    rng = np.random.default_rng(3)
    amplitude = rng.random(SHAPE).astype(np.float32) * 30
    amplitude[rng.random(SHAPE) < 0.1] = -1
    support = rng.random(SHAPE) < 0.4
    rho = rng.standard_normal(SHAPE) + 1j * rng.standard_normal(SHAPE)
    return amplitude, support, rho.astype(np.complex64)


def projections(amplitude, support):
    def modulus(rho):
        field = np.fft.fftn(rho)
        known = amplitude >= 0
        target = amplitude * np.exp(1j * np.angle(field))
        return np.fft.ifftn(np.where(known, target, field))

    return modulus, lambda rho: np.where(support, rho, 0)


def published(algorithm, beta, amplitude, support, rho):
    p_m, p_s = projections(amplitude, support)
    rho = rho.astype(complex)
    if algorithm == "ER":
        return p_s(p_m(rho))
    if algorithm == "SF":
        return 2 * p_s(p_m(rho)) - p_m(rho)
    if algorithm == "HIO":
        return np.where(support, p_m(rho), rho - beta * p_m(rho))
    if algorithm == "RAAR":
        r_m = 2 * p_m(rho) - rho
        r_s = 2 * p_s(r_m) - r_m
        return beta / 2 * (r_s + rho) + (1 - beta) * p_m(rho)
    f_m = (1 + 1 / beta) * p_m(rho) - rho / beta
    f_s = (1 - 1 / beta) * p_s(rho) + rho / beta
    return rho + beta * (p_s(f_m) - p_m(f_s))


def step(algorithm, beta, amplitude, support, rho):
    update = _Step(Fourier(amplitude), amplitude, None)
    return update(Stage(algorithm, 1, beta), rho, support)


@pytest.mark.parametrize("beta", [0.7, 0.9, 1.0])
@pytest.mark.parametrize("algorithm", ["ER", "SF", "HIO", "RAAR", "DM"])
def test_follows_the_operator_form(case, algorithm, beta, as_array):
    amplitude, support, rho = case
    wanted = published(algorithm, beta, amplitude, support, rho)
    arrays = (as_array(a.copy()) for a in (amplitude, support, rho))
    found, _, _ = step(algorithm, beta, *arrays)
    assert np.abs(np.asarray(found) - wanted).max() < 1e-6 * np.abs(wanted).max()


@pytest.mark.parametrize("algorithm", ["ER", "SF", "HIO", "RAAR"])
def test_is_the_operator_form_in_double_precision(case, algorithm):
    """What is left of the difference in single precision is rounding alone."""
    xp = pytest.importorskip("array_api_strict")
    amplitude, support, rho = case
    wanted = published(algorithm, 0.85, amplitude, support, rho)
    amplitude, support = xp.asarray(amplitude.astype(float)), xp.asarray(support)
    rho = xp.asarray(rho.astype(complex))
    field, _ = replace_modulus(xp.fft.fftn(rho), amplitude, 1.0)
    found = combine(rho, xp.fft.ifftn(field), support, OUTSIDE[algorithm](0.85))
    assert np.abs(np.asarray(found) - wanted).max() < 1e-11


def test_difference_map_of_beta_1_is_hybrid_input_output(case):
    amplitude, support, rho = case
    a, _, _ = step("DM", 1.0, amplitude, support, rho.copy())
    b, _, _ = step("HIO", 1.0, amplitude, support, rho.copy())
    np.testing.assert_allclose(a, b, atol=5e-6)


def test_unmeasured_voxels_float(case, as_array):
    amplitude, _, rho = case
    field, misfit = replace_modulus(as_array(rho.copy()), as_array(amplitude), 0.5)
    field = np.asarray(field)
    known = amplitude >= 0
    np.testing.assert_allclose(field[~known], rho[~known] * 0.5, rtol=1e-6)
    np.testing.assert_allclose(np.abs(field[known]), amplitude[known] / 2, rtol=1e-5)
    wanted = ((np.abs(rho) - amplitude)[known] ** 2).sum()
    assert misfit == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("weight", [0.2, 0.9, 3.0])
def test_the_likeliest_modulus_is_the_one_of_least_loss(case, as_array, weight):
    """Against a search on a fine grid, also where no photon was counted."""
    amplitude, _, rho = case
    amplitude = amplitude.copy()
    amplitude[0] = 0
    arrays = as_array(rho.copy()), as_array(amplitude)
    field, misfit = replace_modulus(*arrays, 1.0, weight)
    field = np.asarray(field)
    known = amplitude >= 0
    np.testing.assert_allclose(field[~known], rho[~known], rtol=1e-6)
    tried = np.linspace(1e-3, 32, 40_000)
    for place in np.argwhere(known)[::37]:
        n, m = float(amplitude[tuple(place)]) ** 2, abs(rho[tuple(place)])
        loss = tried**2 - n * np.log(tried**2) + weight * (tried - m) ** 2
        found = abs(field[tuple(place)])
        assert found == pytest.approx(tried[loss.argmin()], abs=2e-3)
    wanted = ((np.abs(rho) - amplitude)[known] ** 2).sum()
    assert misfit == pytest.approx(wanted, rel=1e-5)


def test_blurred_modulus_is_the_plain_one_without_blur(case, as_array):
    amplitude, _, rho = case
    blurred = as_array(np.abs(rho) ** 2)
    plain, a = replace_modulus(as_array(rho.copy()), as_array(amplitude), 0.5)
    found, b = replace_blurred(as_array(rho), blurred, as_array(amplitude), 0.5)
    np.testing.assert_allclose(np.asarray(found), np.asarray(plain), rtol=2e-5)
    assert a == pytest.approx(b, rel=1e-5)


def test_zero_field_gives_finite_numbers(as_array):
    zero = as_array(np.zeros((4, 4), np.complex64))
    field, misfit = replace_modulus(zero, as_array(np.ones((4, 4), np.float32)), 1.0)
    assert np.isfinite(np.asarray(field)).all()
    assert misfit == pytest.approx(16, rel=1e-5)
