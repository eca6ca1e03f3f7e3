"""Shared parameters: one joint optimum, and steadier thin pixels."""

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import least_squares

from batteryxr import xanes
from batteryxr.core.errors import ArgumentError, ConvergenceError

SHARED = ("edge_width", "peak_position", "peak_width")


@pytest.fixture(scope="module")
def common(phantom, curve, energies):
    """A particle whose widths and peak positions are the same everywhere."""
    stack, truth = phantom(n=32)
    rng = np.random.default_rng(5)
    jump = truth["edge_jump"]
    clean = curve(
        energies[:, None, None],
        truth["level"],
        jump,
        truth["edge_energy"],
        3.9,
        (truth["peak_height"][0], 6.0 + 5460.6, 1.45),
        (truth["peak_height"][1], 5489.0, 7.0),
    )
    noisy = clean + 0.006 * rng.standard_normal(clean.shape)
    return stack.copy(data=noisy), truth


def test_recovers_what_is_shared(common, model):
    stack, truth = common
    fit = xanes.fit_edge_shared(stack, shared=SHARED, **model)
    expected = {
        "edge_width": 3.9,
        "peak_position": [5466.6, 5489.0],
        "peak_width": [1.45, 7.0],
    }
    for name, value in expected.items():
        pull = (fit[name] - value) / fit[f"{name}_error"]
        assert float(abs(pull).max()) < 4
        assert float((fit[f"{name}_error"] / fit[name]).max()) < 0.02
        assert set(fit[name].dims) <= {"peak"}
    free = xanes.fit_edge(stack, **model)
    kept = fit.edge_jump.notnull().values & (truth["edge_jump"] > 0.05)
    rms = [
        np.sqrt(np.mean((f.edge_energy.values - truth["edge_energy"])[kept] ** 2))
        for f in (fit, free)
    ]
    assert rms[0] < 0.9 * rms[1]
    assert fit.attrs["shared"] == list(SHARED)


def test_is_the_joint_optimum(common, energies, curve):
    """Three pixels and a shared width, solved at once by SciPy."""
    stack, _ = common
    few = stack.isel(y=16, x=[10, 16, 22]).transpose("x", "energy")
    edge = xanes.Edge((5470, 5486), width=(0.5, 12))
    fit = xanes.fit_edge_shared(
        few, shared=["edge_width"], edge=edge, pre=(5420, 5461), post=(5500, 5540)
    )

    def residuals(p):
        rows = [
            y - curve(energies, *p[1 + 3 * i : 4 + 3 * i], p[0])
            for i, y in enumerate(few.values)
        ]
        return np.concatenate(rows)

    start = [4.0, *([0.1, 0.4, 5478.0] * 3)]
    best = least_squares(residuals, start, method="lm", xtol=1e-12, ftol=1e-12)
    assert float(fit.edge_width) == pytest.approx(best.x[0], abs=1e-4)
    np.testing.assert_allclose(fit.edge_energy, best.x[3::3], atol=1e-4)
    covariance = np.linalg.inv(best.jac.T @ best.jac)
    variance = 2 * best.cost / (best.fun.size - best.x.size)
    error = np.sqrt(variance * covariance[0, 0])
    assert float(fit.edge_width_error) == pytest.approx(error, rel=0.01)


def test_chunks_change_nothing(common, model):
    stack, _ = common
    eager = xanes.fit_edge_shared(stack, shared=SHARED, **model)
    lazy = xanes.fit_edge_shared(stack.chunk(y=9, x=13), shared=SHARED, **model)
    assert lazy.edge_energy.chunks
    xr.testing.assert_allclose(
        eager.drop_attrs(), lazy.drop_attrs().compute(), rtol=1e-7
    )


def test_messages(common, model):
    stack, _ = common
    with pytest.raises(ArgumentError, match=r"shared=\['edge_jump'\]"):
        xanes.fit_edge_shared(stack, shared=["edge_jump"], **model)
    with pytest.raises(ConvergenceError, match="no pixel"):
        xanes.fit_edge_shared(stack, shared=SHARED, threshold=1e6, **model)
