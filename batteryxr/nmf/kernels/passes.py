"""Full passes over many samples: exact weights, and sums to update the components.

One pass reads each value once. For a block of samples that stays in cache, it solves
the weights and adds to the two products from which components are updated. Memory
holds a block, plus the weights where they are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from batteryxr.core.kernels.compiling import njit
from batteryxr.nmf.kernels import nnls, normal

#: Samples per block: data and weights of a block fit in a core's cache.
BLOCK = 4096


@dataclass
class Sums:
    """Hold the sums of a pass over samples, under their statistical weights.

    Parameters
    ----------
    gram
        w w', (k, k); or (points, k, k) where points have different weights.
    rhs
        w x', (k, points).
    total
        Sum of x squared.
    count
        Number of measured values.
    used
        Sum of w, (k,).
    misfit
        Sum of squared residuals of the components for which the weights were solved;
        NaN if not asked for.
    """

    gram: np.ndarray
    rhs: np.ndarray
    total: float
    count: int
    used: np.ndarray
    misfit: float = np.nan

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.gram + other.gram,  # a shared Gram broadcasts over those per point
            self.rhs + other.rhs,
            self.total + other.total,
            self.count + other.count,
            self.used + other.used,
            self.misfit + other.misfit,
        )


@dataclass
class Unmixed:
    """Hold weights (samples, k) and, per sample, sums of squares and a count.

    Parameters
    ----------
    weights
        NaN where a sample has no data.
    misfit, chi2
        Sum of squares of the residual, in units of the data and of their errors.
    power
        Sum of squares of the data before the shift.
    count
        Number of measured values.
    """

    weights: np.ndarray
    misfit: np.ndarray
    chi2: np.ndarray
    power: np.ndarray
    count: np.ndarray


def gather(
    x: np.ndarray,
    components: np.ndarray,
    *,
    closure: bool,
    sigma: np.ndarray | None = None,
    misfit: bool = False,
) -> Sums:
    """Solve the weights of all samples and return the sums to update components.

    Parameters
    ----------
    x
        (samples, points); any strides, NaN where nothing was measured.
    components
        (k, points).
    closure
        Weights of each sample sum to one.
    sigma
        Standard deviations, (points,) or (samples, points).
    misfit
        Sum the squared residual too.
    """
    solver = _Solver(components, closure, x.dtype, sigma)
    parts = []
    for a in range(0, len(x), BLOCK):
        power = _power_of(x, a, a + BLOCK) if sigma is None else np.nan
        complete = bool(np.isfinite(power))
        values, v, w = solver(x[a : a + BLOCK], a, complete=complete)
        sums = _sums(values, w, v, power)
        if misfit:
            sums.misfit = _misfit_of(values, solver.h, w, v)
        parts.append(sums)
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def unmix(
    x: np.ndarray,
    components: np.ndarray,
    *,
    closure: bool,
    sigma: np.ndarray | None = None,
    shift: np.ndarray | None = None,
) -> Unmixed:
    """Return the exact weights of all samples for given components.

    Parameters are as in `gather`; `shift` (points,) was subtracted from the data.
    """
    samples = len(x)
    kind = np.float32 if x.dtype == np.float32 else np.float64
    weights = np.empty((len(components), samples), dtype=kind)
    out = Unmixed(weights.T, *(np.empty(samples) for _ in range(4)))
    solver = _Solver(components, closure, x.dtype, sigma)
    h = np.ascontiguousarray(components.T, dtype=x.dtype)
    for a in range(0, samples, BLOCK):
        part = slice(a, a + BLOCK)
        pattern = x[part].T
        whole = pattern if shift is None else pattern + shift[:, None]
        power = _square_sums(whole)
        complete = sigma is None and bool(np.isfinite(power.sum()))
        _, v, w = solver(x[part], a, complete=complete)
        residual = pattern - h @ w.astype(x.dtype, copy=False)
        if v is None:
            out.count[part] = x.shape[1]
            out.misfit[part] = _square_sums(residual)
            out.power[part] = power
        else:
            out.count[part] = np.count_nonzero(v, axis=1)
            out.misfit[part] = np.nansum(residual.astype(float) ** 2, axis=0)
            out.power[part] = np.nansum(whole.astype(float) ** 2, axis=0)
            w[:, out.count[part] == 0] = np.nan
        out.chi2[part] = solver.chi2(residual, a) if sigma is not None else np.nan
        weights[:, part] = w
    return out


class _Solver:
    """Solve the weights of blocks of samples for given components."""

    def __init__(
        self,
        components: np.ndarray,
        closure: bool,
        dtype: np.dtype,
        sigma: np.ndarray | None,
    ) -> None:
        self.components = components
        self.closure = closure
        self.sigma = sigma
        self.h = np.ascontiguousarray(components, dtype=dtype)
        self.gram = components @ components.T
        self.tables = None
        alike = closure or nnls.units_apart(self.gram) is None
        if alike and len(components) <= nnls.TABULATED:
            self.tables = nnls.tabulate(self.gram, closure)

    def __call__(
        self, x: np.ndarray, start: int, *, complete: bool = False
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Return values (zero where missing), statistical weights, and weights."""
        values, v = (x, None) if complete else weigh(x, self._sigma(start, len(x)))
        if v is not None:
            grams = normal.grams(self.components, v.T)
            rhs = self.components @ (v * values).T
            return values, v, nnls.solve(grams, rhs, closure=self.closure)
        rhs = self.h @ x.T
        if self.tables is None:
            return x, None, nnls.solve(self.gram, rhs, closure=self.closure)
        w = np.empty(rhs.shape)
        rhs = rhs.astype(np.float64, copy=False)
        nnls.solve_tabulated(self.gram, *self.tables, rhs, self.closure, w)
        return x, None, w

    def chi2(self, residual: np.ndarray, start: int) -> np.ndarray:
        sigma = self._sigma(start, residual.shape[1])
        assert sigma is not None
        return np.asarray(np.nansum((residual.T / sigma) ** 2, axis=1, dtype=float))

    def _sigma(self, start: int, n: int) -> np.ndarray | None:
        if self.sigma is None or self.sigma.ndim == 1:
            return self.sigma
        return self.sigma[start : start + n]


def weigh(
    x: np.ndarray, sigma: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return values without gaps, and their statistical weights.

    The weights are None for complete data of equal error. They are zero where a value
    is missing or its error is not a positive number.
    """
    # A finite sum means finite values: ten times faster than a test of each.
    if sigma is None and np.isfinite(x.sum()):
        return x, None
    v = np.isfinite(x).astype(np.float64)
    if sigma is not None:
        usable = np.isfinite(sigma) & (sigma > 0)
        v *= np.where(usable, 1.0 / np.where(usable, sigma, 1.0) ** 2, 0.0)
    return np.where(v > 0, x, 0).astype(x.dtype, copy=False), v


def _sums(x: np.ndarray, w: np.ndarray, v: np.ndarray | None, power: float) -> Sums:
    used = w.sum(axis=1)
    if v is None:
        rhs = (w.astype(x.dtype, copy=False) @ x).astype(np.float64)
        return Sums(w @ w.T, rhs, power, x.size, used)
    vx = v * x
    total = float(np.vdot(vx, x))
    count = int(np.count_nonzero(v))
    return Sums(normal.grams(w, v), w @ vx, total, count, used)


def _power_of(x: np.ndarray, first: int, last: int) -> float:
    """Return the sum of squares of some samples; not finite if a value is not."""
    last = min(last, len(x))
    if x.T.flags.c_contiguous:
        return float(_power(x.T, 0, x.shape[1], first, last))
    return float(_power(x, first, last, 0, x.shape[1]))


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _power(x: np.ndarray, top: int, bottom: int, left: int, right: int) -> float:
    # Sum in float64: the misfit is a small difference of large sums.
    total = 0.0
    for i in range(top, bottom):
        row = x[i, left:right]
        for j in range(row.size):
            v = np.float64(row[j])
            total += v * v
    return total


def _misfit_of(
    x: np.ndarray, h: np.ndarray, w: np.ndarray, v: np.ndarray | None
) -> float:
    """Return the sum of squared residuals of some samples.

    It comes from the residuals themselves. As a small difference of the sums of a pass
    it would be less than their rounding in float32.
    """
    if v is not None:
        return float(np.vdot(v, (x - w.T @ h) ** 2))
    w = w.astype(x.dtype, copy=False)
    if x.strides[0] == x.itemsize:  # samples are next to one another
        return float(_misfit(x.T, np.ascontiguousarray(h.T), w))
    return float(_misfit(x, np.ascontiguousarray(w.T), h))


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _misfit(x: np.ndarray, left: np.ndarray, right: np.ndarray) -> float:
    """Return the sum of squares of x - left right, row by row."""
    total = 0.0
    rest = np.empty(x.shape[1], x.dtype)
    for i in range(x.shape[0]):
        rest[:] = x[i]
        for k in range(right.shape[0]):
            factor, row = left[i, k], right[k]
            for j in range(rest.size):
                rest[j] -= factor * row[j]
        for j in range(rest.size):
            r = np.float64(rest[j])
            total += r * r
    return total


def _square_sums(columns: np.ndarray) -> np.ndarray:
    """Return the sum of squares of each column."""
    return np.einsum("ij,ij->j", columns, columns).astype(np.float64)
