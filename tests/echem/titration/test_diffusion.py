"""The finite-length kernels against a numerical solution of the diffusion equation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import solve_banded

from batteryxr.echem.kernels import diffusion, pulses, titration

GEOMETRIES = (diffusion.SPHERE, diffusion.PLANAR)


def finite_volumes(flux, times, geometry, cells=400):
    """Surface minus mean content of a particle of L = D = 1, implicit in time.

    `flux` tells the rate of the mean (content per time) during each step.
    """
    # Cells shrink towards the surface, where the gradient is.
    edges = 1.0 - (1.0 - np.linspace(0.0, 1.0, cells + 1)) ** 2
    power = 3 if geometry == diffusion.SPHERE else 1
    volume = np.diff(edges**power)
    centre = 0.5 * (edges[1:] + edges[:-1])
    area = power * edges[1:-1] ** (power - 1)
    link = area / np.diff(centre)
    content, excess = np.zeros(cells), []
    for rate, dt in zip(flux, np.diff(times), strict=True):
        banded = np.zeros((3, cells))
        banded[1] = volume / dt
        banded[1, :-1] += link
        banded[1, 1:] += link
        banded[0, 1:] = -link
        banded[2, :-1] = -link
        source = volume / dt * content
        source[-1] += rate
        content = solve_banded((1, 1), banded, source)
        # Fick's law carries the outermost centre to the surface.
        surface = content[-1] + rate / power * (1.0 - centre[-1])
        excess.append(surface - volume @ content)
    return np.array(excess)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_excess_solves_the_diffusion_equation(geometry):
    times = np.concatenate([[0.0], np.geomspace(1e-6, 1.0, 4000)])
    numerical = finite_volumes(np.ones(4000), times, geometry)
    late = times[1:] > 1e-3
    exact = np.array([diffusion.excess(t, geometry)[0] for t in times[1:]])
    np.testing.assert_allclose(numerical[late], exact[late], rtol=3e-3)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_superposition_of_pulses_solves_the_diffusion_equation(geometry):
    on, off = np.array([0.0, 0.3]), np.array([0.1, 0.35])
    current = np.array([1.0, -2.0])
    times = np.linspace(0.0, 0.6, 12_001)
    middle = 0.5 * (times[1:] + times[:-1])
    flux = sum(
        c * ((middle > a) & (middle < b))
        for a, b, c in zip(on, off, current, strict=True)
    )
    numerical = finite_volumes(flux, times, geometry)
    # u counts the charge of the last pulse alone, as a mean: take it off.
    t = times[1:].copy()
    u, du = np.empty_like(t), np.empty_like(t)
    pulses = diffusion.Pulses(on, off, current)
    since = diffusion.since_switches(t, pulses, geometry)
    diffusion.surface(0.0, since, u, du)
    u -= current[-1] * np.clip(t - on[-1], 0.0, off[-1] - on[-1])
    away = np.min(np.abs(t[:, None] - np.concatenate([on, off])), axis=1) > 2e-3
    np.testing.assert_allclose(u[away], numerical[away], atol=4e-3)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_short_and_long_time_forms_meet(geometry):
    below, above = (diffusion.excess(t, geometry) for t in (0.04 - 1e-12, 0.04))
    np.testing.assert_allclose(below, above, rtol=1e-9)


@settings(deadline=None)
@given(
    theta=st.floats(1e-6, 3.0),
    geometry=st.sampled_from(GEOMETRIES),
)
def test_derivative_is_that_of_the_function(theta, geometry):
    step = 1e-5 * theta
    up, down = (diffusion.excess(theta + s, geometry)[0] for s in (step, -step))
    slope = diffusion.excess(theta, geometry)[1]
    assert (up - down) / (2 * step) == pytest.approx(slope, rel=1e-4, abs=1e-5)


@settings(deadline=None)
@given(seed=st.integers(0, 1000), p=st.integers(1, 6))
def test_projection_is_weighted_least_squares(seed, p):
    random = np.random.default_rng(seed)
    basis, target = random.normal(size=(p, 30)), random.normal(size=30)
    weight = random.uniform(0.5, 2.0, 30)
    found, residual, _ = diffusion.project(basis, target, weight)
    wanted = np.linalg.lstsq((basis * weight).T, target * weight, rcond=None)[0]
    np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(residual, (target - wanted @ basis) * weight, atol=1e-9)


def test_projection_marks_what_is_not_determined():
    column = np.linspace(0.0, 1.0, 9)
    found, _, _ = diffusion.project(np.stack([column, column]), column, np.ones(9))
    assert found[0] == pytest.approx(1.0)
    assert np.isnan(found[1])


def test_root_line_is_linear_regression():
    from scipy.stats import linregress

    random = np.random.default_rng(1)
    t = np.sort(random.uniform(0, 100, 50))
    v = 3 + 0.1 * np.sqrt(t) + random.normal(0, 1e-3, 50)
    inside = (t >= 1) & (t <= 60)
    wanted = linregress(np.sqrt(t[inside]), v[inside])
    slope, slope_error, intercept, intercept_error, _, n = titration.root_line(
        t, v, 1.0, 60.0
    )
    assert n == inside.sum()
    assert slope == pytest.approx(wanted.slope, rel=1e-9)
    assert slope_error == pytest.approx(wanted.stderr, rel=1e-9)
    assert intercept == pytest.approx(wanted.intercept, rel=1e-9)
    assert intercept_error == pytest.approx(wanted.intercept_stderr, rel=1e-9)


def test_thinned_rows_keep_means_and_leave_out_switch_and_nan():
    t = np.linspace(0.0, 100.0, 5001)
    v = np.sqrt(t)
    v[2500] = np.nan
    out = np.empty((4, t.size))
    n = pulses.thin(t, v, t * 0, 0.0, 1.0, 200, out, 0)
    kept = (t >= 1.0) & np.isfinite(v)
    assert n <= 201
    assert out[3, :n].sum() == kept.sum()
    assert out[0, :n] @ out[3, :n] == pytest.approx(t[kept].sum())
    np.testing.assert_allclose(out[1, :n], np.sqrt(out[0, :n]), rtol=1e-4)
