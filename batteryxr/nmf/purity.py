"""Components taken from the purest patterns, with nothing refined.

In images every pixel adds free weights, and the lowest residual fits noise with
them: pure pixels give truer maps where some pixels are pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batteryxr.nmf.problem import Answer, refuse_rank
from batteryxr.nmf.shifts import refuse_negative

if TYPE_CHECKING:
    import xarray as xr

    from batteryxr.nmf.layout import Layout
    from batteryxr.nmf.problem import Problem

#: Images are binned down to about this many pixels, which lowers the noise.
_PIXELS = 16_384


def pick_pure(problem: Problem) -> Answer:
    """Return the purest patterns, after binning and denoising. Reads once."""
    from batteryxr.nmf.kernels import alternate, nnls, starts

    layout = problem.layout
    binned = _binned(layout)
    x = binned.values.reshape(-1, layout.n_points).astype(np.float64)
    points = np.isfinite(x).any(axis=0)
    x = x[:, points]
    x = x[np.isfinite(x).all(axis=1)]
    refuse_rank(problem.n, len(x), "the number of (binned) patterns without gaps")
    total = float((x**2).sum())
    refuse_negative(float((np.minimum(x, 0) ** 2).sum()), total, problem.shifted)
    scores, axes = starts.denoise(x, problem.n)
    fixed = problem.rules.fixed
    given = problem.given()[:, points]
    components = given.copy()
    rows = starts.pure_samples(x, int((~fixed).sum()), given[fixed])
    components[~fixed] = np.maximum(scores[rows] @ axes.T, 0.0)
    data = alternate.Plain(x)
    gram, rhs = data.for_weights(components)
    weights = nnls.solve(gram, rhs, closure=problem.rules.closure)
    gram, rhs = data.for_components(weights)
    misfit = max(data.misfit(weights, components, gram, rhs), 0.0)
    svd = max(total - float((scores**2).sum()), 0.0)
    whole = np.full((problem.n, layout.n_points), np.nan)
    whole[:, points] = components
    same = binned.shape == layout.data.shape and len(x) == layout.n_samples
    return Answer(
        components=whole,
        used=weights.sum(axis=1),
        error=float(np.sqrt(misfit / total)),
        svd_error=float(np.sqrt(svd / total)),
        weights=weights if same else None,
    )


def _binned(layout: Layout) -> xr.DataArray:
    if layout.series:
        return layout.data
    factor = max(1, int(np.sqrt(layout.n_samples / _PIXELS)))
    windows = {
        d: min(factor, layout.data.sizes[d])
        for d in layout.samples[-2:]
        if layout.data.sizes[d] > 1
    }
    return layout.data.coarsen(windows, boundary="trim").mean()
