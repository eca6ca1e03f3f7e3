"""Leading components of large matrices against the singular value decomposition."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr.core.decompose import principal_components
from batteryxr.core.kernels import decompose


def mixture(rows: int, points: int, noise: float = 0.01) -> np.ndarray:
    rng = np.random.default_rng(rows)
    clean = rng.random((rows, 5)) @ rng.random((5, points))
    return clean + noise * rng.normal(size=clean.shape)


@pytest.mark.parametrize("shape", [(500, 700), (700, 500)])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_what_stands_out_is_exact(shape, noise):
    x = mixture(*shape, noise)
    scores, axes = decompose.leading(x, 6)
    left, power, right = np.linalg.svd(x, full_matrices=False)
    np.testing.assert_allclose((scores**2).sum(axis=0)[:5], power[:5] ** 2, rtol=1e-10)
    overlap = np.abs((axes[:, :5] * right[:5].T).sum(axis=0))
    np.testing.assert_allclose(overlap, 1.0, atol=1e-10)
    lost = np.abs(scores[:, :5]) - np.abs(left[:, :5] * power[:5])
    assert np.abs(lost).max() < 1e-7 * power[0]
    # Within the noise a few per cent of the variance.
    assert (scores[:, 5] ** 2).sum() <= power[5] ** 2 * (1 + 1e-9) + 1e-9
    assert (scores[:, 5] ** 2).sum() >= 0.9 * power[5] ** 2 - 1e-9


@pytest.mark.parametrize("shape", [(400, 420), (900, 400)])
def test_shares_and_indicator_count_what_is_not_told(shape):
    x = mixture(*shape)
    data = xr.DataArray(x, dims=("scan", "r"))
    result = principal_components(data, "r", 5, centre=True)
    power = np.linalg.svd(x - x.mean(axis=0), compute_uv=False) ** 2
    assert result.sizes["eigenvalue_number"] == 20
    share = power[:5] / power.sum()
    np.testing.assert_allclose(result["explained_variance_ratio"], share, rtol=1e-9)
    c = min(shape[0] - 1, shape[1])
    n = np.arange(1, 6)
    left = np.array([power[k:c].sum() for k in n])
    expected = np.sqrt(left / (max(shape) * (c - n))) / (c - n) ** 2
    np.testing.assert_allclose(result["indicator"][:5], expected, rtol=1e-6)
    assert int(np.nanargmin(result["indicator"])) == 4
    lazy = principal_components(data.chunk(scan=100), "r", 5, centre=True, lazy=True)
    np.testing.assert_allclose(lazy["eigenvalue"][:5], power[:5] / (len(x) - 1))


def of_rank(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Return large patterns of which only a few differ."""
    if kind == "few phases":
        return rng.random((400, 20)) @ rng.normal(size=(20, 900))
    if kind == "few scans":
        x = np.zeros((400, 900))
        x[:30] = rng.normal(size=(30, 900))
        return x
    if kind == "few points":
        x = np.zeros((900, 500))
        x[:, :100] = rng.normal(size=(900, 100))
        return x
    return np.repeat(rng.normal(size=(20, 900)), 20, axis=0)


@pytest.mark.parametrize("kind", ["few phases", "few scans", "few points", "repeated"])
def test_no_component_is_found_twice_where_the_rank_ends(kind):
    x = of_rank(kind, np.random.default_rng(3))
    power = np.linalg.svd(x, compute_uv=False) ** 2
    data = xr.DataArray(x, dims=("scan", "r"))
    result = principal_components(data, "r", 10, centre=False)
    np.testing.assert_allclose(
        result["eigenvalue"], power[:20] / len(x), atol=1e-9 * power[0] / len(x)
    )
    share = result["explained_variance_ratio"]
    np.testing.assert_allclose(share, power[:10] / power.sum(), atol=1e-9)
    scores, axes = decompose.leading(x, 10)
    np.testing.assert_allclose(axes.T @ axes, np.eye(10), atol=1e-9)
    np.testing.assert_allclose(
        (scores**2).sum(axis=0), power[:10], atol=1e-9 * power[0]
    )


def test_components_that_are_not_there_are_zero():
    rng = np.random.default_rng(5)
    x = rng.random((400, 4)) @ rng.normal(size=(4, 900))
    scores, axes = decompose.leading(x, 7)
    np.testing.assert_allclose(axes.T @ axes, np.diag([1.0] * 4 + [0.0] * 3), atol=1e-9)
    np.testing.assert_allclose(scores @ axes.T, x, atol=1e-9 * np.abs(x).max())
