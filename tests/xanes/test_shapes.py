"""Shapes against SciPy, derivatives against differences."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf

from batteryxr.xanes.kernels import problem, shapes


@settings(deadline=None)
@given(st.floats(-30, 30))
def test_error_function_is_exact_to_a_trillionth(u):
    value = shapes.half_erf(u, shapes.exp_minus(u * u))
    assert value == pytest.approx(0.5 * (1 + erf(u)), abs=1e-12)


@settings(deadline=None)
@given(st.floats(0, 44))
def test_exponential(x):
    assert shapes.exp_minus(x) == pytest.approx(math.exp(-x), rel=1e-7, abs=1e-14)


CASES = {
    "erf": (problem.ERF, [0.4, 0.1, 0.5]),
    "arctan": (problem.ARCTAN, [0.4, 0.1, 0.5]),
    "lorentzian": (problem.LORENTZIAN, [0.7, -0.2, 0.4]),
    "gaussian": (problem.GAUSSIAN, [0.7, -0.2, 0.4]),
    "pseudo_voigt": (problem.PSEUDO_VOIGT, [0.7, -0.2, 0.4, 0.3]),
}


@pytest.mark.parametrize("name", CASES)
def test_derivatives(name):
    kind, p = CASES[name]
    x = np.linspace(-2, 2, 41)
    kinds = np.array([kind, problem.POLYNOMIAL])
    offsets = np.array([0, len(p)])
    p = np.array([*p, 0.1, 0.2, -0.3])
    residual, jacobian = np.empty(x.size), np.empty((p.size, x.size))
    shapes.evaluate(x, x, np.zeros(x.size), p, kinds, offsets, residual, jacobian)
    for k in range(p.size):
        step = np.zeros((2, p.size))
        step[:, k] = [1e-6, -1e-6]
        slopes = np.empty((2, p.size, x.size))
        up, down = shapes.curves(x, x, p + step, kinds, offsets, slopes)
        np.testing.assert_allclose(jacobian[k], (up - down) / 2e-6, atol=2e-8)
        np.testing.assert_allclose(slopes.mean(axis=0), jacobian, atol=1e-8)


def test_values_against_formulas():
    x = np.linspace(-2, 2, 9)
    u = (x - 0.1) / 0.5
    expected = {
        problem.ERF: 0.5 * (1 + erf(u)),
        problem.ARCTAN: 0.5 + np.arctan(u) / np.pi,
        problem.LORENTZIAN: 1 / (1 + u**2),
        problem.GAUSSIAN: np.exp(-np.log(2) * u**2),
    }
    for kind, y in expected.items():
        got = shapes.curves(
            x, x, np.array([[1.0, 0.1, 0.5]]), np.array([kind]), np.array([0]),
            np.empty((1, 3, x.size)),
        )  # fmt: skip
        np.testing.assert_allclose(got[0], y, atol=1e-12)


@pytest.mark.parametrize("name", ["lorentzian", "gaussian", "pseudo_voigt"])
def test_area_is_the_integral(name):
    kind, p = CASES[name]
    x = np.linspace(-2000, 2000, 2_000_001)
    kinds, offsets = np.array([kind]), np.array([0])
    slopes = np.empty((1, len(p), x.size))
    y = shapes.curves(x, x, np.array([p]), kinds, offsets, slopes)[0]
    unit, _ = shapes.unit_area(kind, np.array(p), 0)
    assert unit * p[0] * p[2] == pytest.approx(np.trapezoid(y, x), rel=1e-3)
