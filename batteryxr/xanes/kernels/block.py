"""Fit one block of an image or series: mask, fit, and put results in place."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from batteryxr.xanes.kernels.batch import MASKED, fit_rows
from batteryxr.xanes.kernels.problem import Out

if TYPE_CHECKING:
    from batteryxr.xanes.kernels.problem import Problem

#: Rows that are copied to float64 at a time.
SLAB = 8192


class Accepted(NamedTuple):
    """Set which spectra are fitted, and which fits are kept.

    Attributes
    ----------
    windows : (2, m) bool
        Energies before and after the edge. A pixel is fitted if its mean level rises
        by more than `threshold` between them.
    threshold
        Least rise between `windows`.
    paper : (m,) bool
        Energies below the pre-edge. A fitted jump below the standard deviation there
        is masked afterwards.
    """

    windows: np.ndarray | None = None
    threshold: float = 0.0
    paper: np.ndarray | None = None


ALL_ACCEPTED = Accepted()


def fit_block(
    data: np.ndarray,
    keep: np.ndarray | None = None,
    own: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    *,
    problem: Problem,
    selection: Accepted = ALL_ACCEPTED,
    threads: int = 1,
    dtype: Any = np.float64,
) -> Out:
    """Fit all spectra of a block; masked ones are skipped and cost nothing.

    Parameters
    ----------
    data : (..., m)
        Spectra.
    keep : (...) bool, own : (..., n), weights : (..., m)
        Pixels to fit, start of each, and inverse standard deviations.
    problem
        Axis, model, search and noise, as for `fit_rows`.
    selection
        Further rules that leave out pixels.
    threads
        Number of threads that share the rows of this block.
    dtype
        Type of the results.

    Returns
    -------
    Out
        Shaped like the block: (..., n), (..., n), (..., k', 4), (..., 4), (...).
    """
    shape = data.shape[:-1]
    rows = data.reshape(-1, data.shape[-1])
    n = problem.model.low.size
    results = _empty(len(rows), problem, dtype)
    results.flags[:] = MASKED
    chosen = np.ones(len(rows), bool)
    if keep is not None:
        chosen = np.broadcast_to(keep, shape).reshape(-1).copy()
    if selection.windows is not None:
        chosen &= rises(rows, selection.windows, selection.threshold)
    where = np.flatnonzero(chosen)
    if own is not None:
        own = np.broadcast_to(own, (*shape, n)).reshape(-1, n)
        own = np.where(np.isfinite(own), own, problem.search.starts[0])
    if weights is not None:
        weights = np.broadcast_to(weights, data.shape).reshape(rows.shape)

    def fit(part: np.ndarray) -> None:
        y = np.ascontiguousarray(rows[part], np.float64)
        p0 = np.empty((0, n)) if own is None else np.array(own[part], np.float64)
        w = np.empty((0, y.shape[1]))
        if weights is not None:
            w = np.array(weights[part], np.float64)
        out = _empty(len(y), problem, np.float64)
        fit_rows(problem, y, w, p0, out)
        if selection.paper is not None:
            _mask_by_paper(y[:, selection.paper], problem.model.jump, out)
        for target, source in zip(results, out, strict=True):
            target[part] = source

    parts = [where[i : i + SLAB] for i in range(0, len(where), SLAB)]
    if threads > 1 and len(parts) > 1:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fit, parts))
    else:
        for part in parts:
            fit(part)
    return Out(*(a.reshape((*shape, *a.shape[1:])) for a in results))


def _empty(size: int, problem: Problem, dtype: Any) -> Out:
    """Return empty results: NaN and without flags."""
    n, n_peaks = problem.model.low.size, len(problem.model.peak_offsets)
    shapes = (size, n), (size, n), (size, n_peaks, 4), (size, 4)
    values, errors, peaks, quality = (np.full(s, np.nan, dtype) for s in shapes)
    return Out(values, errors, peaks, quality, np.zeros(size, np.uint8))


def rises(rows: np.ndarray, windows: np.ndarray, threshold: float) -> np.ndarray:
    """Tell which rows rise over the edge, or are empty (the fit flags those)."""
    before, after = (_level(rows[:, w]) for w in windows.astype(bool))
    with np.errstate(invalid="ignore"):
        rises = after - before > threshold
    unknown = np.flatnonzero(np.isnan(before) | np.isnan(after))
    rises[unknown] = ~np.isfinite(rows[unknown]).any(axis=1)
    return np.asarray(rises)


def _level(part: np.ndarray) -> np.ndarray:
    """Return the mean of each row over its finite values."""
    finite = np.isfinite(part)
    count = finite.sum(axis=1)
    total = np.where(finite, part, 0).sum(axis=1, dtype=np.float64)
    level = np.full(len(part), np.nan)
    return np.divide(total, count, out=level, where=count > 0)


def _mask_by_paper(before: np.ndarray, jump: int, out: Out) -> None:
    """Mask rows whose fitted jump is below the standard deviation before the edge."""
    finite = np.where(np.isfinite(before), before, np.nan)
    count = np.isfinite(finite).sum(axis=1)
    enough = np.flatnonzero(count > 1)
    deviation = np.full(len(before), np.nan)
    deviation[enough] = np.nanstd(finite[enough], axis=1, ddof=1)
    with np.errstate(invalid="ignore"):
        below = out.values[:, jump] < deviation
    for array in out[:4]:
        array[below] = np.nan
    out.flags[below] = MASKED
