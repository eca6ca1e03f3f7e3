"""Very many fits of one model: starts, retries, errors and flags, row by row.

Each row is fitted on its own: the answer depends on its data and the shared starts
alone, never on its neighbours, the chunk it lies in or the thread that ran it.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from batteryxr.xanes.kernels.levenberg import covariance, descend
from batteryxr.xanes.kernels.shapes import POLYNOMIAL, unit_area

#: Bits of the quality flag.
MASKED, NO_DATA, NOT_CONVERGED, AT_BOUND, AMBIGUOUS = 1, 2, 4, 8, 16
#: When further starts are tried.
NEVER, DOUBTFUL, ALWAYS = 0, 1, 2
#: A fit is doubtful when its mean square residual exceeds the noise by this factor.
EXCESS = 2.0


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _quadratic(gradient, cov):  # type: ignore[no-untyped-def]
    """Return gᵀ C g over the parameters whose covariance is known."""
    s = 0.0
    for i in range(gradient.size):
        if gradient[i] == 0.0 or math.isnan(cov[i, i]):
            continue
        for j in range(gradient.size):
            if gradient[j] != 0.0 and not math.isnan(cov[j, j]):
                s += gradient[i] * gradient[j] * cov[i, j]
    return max(s, 0.0)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _peaks(p, cov, kinds, offsets, jump, variance, out):  # type: ignore[no-untyped-def]
    """Fill area, its error, area / jump and its error for each peak.

    A parameter at a bound counts as known, but a height there leaves no error.
    """
    gradient = np.zeros(p.size)
    row = 0
    for c in range(kinds.size):
        if kinds[c] < 2 or kinds[c] == POLYNOMIAL:
            continue
        o = offsets[c]
        unit, by_share = unit_area(kinds[c], p, o)
        area = unit * p[o] * p[o + 2]
        gradient[:] = 0.0
        gradient[o] = unit * p[o + 2]
        gradient[o + 2] = unit * p[o]
        if by_share != 0.0:
            gradient[o + 3] = by_share * p[o] * p[o + 2]
        known = not math.isnan(cov[o, o])
        out[row, 0] = area
        error = math.sqrt(variance * _quadratic(gradient, cov))
        out[row, 1] = error if known else math.nan
        if jump >= 0:
            b1 = p[jump]
            for k in range(p.size):
                gradient[k] /= b1
            gradient[jump] = -area / (b1 * b1)
            error = math.sqrt(variance * _quadratic(gradient, cov))
            out[row, 2] = area / b1
            out[row, 3] = error if known else math.nan
        row += 1


@numba.njit(nogil=True, cache=True, error_model="numpy")
def scale_start(y, curve, p, linear, constant, q):  # type: ignore[no-untyped-def]
    """Scale the linear parameters of start `p` to the data; return the factor."""
    m = y.size
    mean_y, mean_c = y.mean(), curve.mean()
    covariance, variance = 0.0, 0.0
    for i in range(m):
        covariance += (y[i] - mean_y) * (curve[i] - mean_c)
        variance += (curve[i] - mean_c) ** 2
    slope = covariance / variance if variance > 0.0 else 1.0
    slope = max(slope, 1e-6)
    for k in range(p.size):
        q[k] = p[k] * slope if linear[k] else p[k]
    if constant >= 0:
        q[constant] = mean_y - slope * mean_c
    return slope


@numba.njit(nogil=True, cache=True, error_model="numpy")
def compress(x, scaled, data, weights, weighted, index, xs, ss, ys, ws):  # type: ignore[no-untyped-def]
    """Copy the usable points of one row; return their number and sum of squares."""
    m = 0
    total = 0.0
    for i in range(data.size):
        if not math.isfinite(data[i]):
            continue
        w = weights[i] if weighted else 1.0
        if not (math.isfinite(w) and w > 0.0):
            continue
        index[m] = i
        xs[m], ss[m], ys[m], ws[m] = x[i], scaled[i], data[i], w
        total += (data[i] * w) ** 2
        m += 1
    return m, total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _apart(p, best, error, tracked, low, high):  # type: ignore[no-untyped-def]
    """Tell whether two solutions differ beyond three standard errors."""
    for t in tracked:
        if abs(p[t] - best[t]) > max(3.0 * error, 1e-3 * (high[t] - low[t])):
            return True
    return False


@numba.njit(nogil=True, cache=True, error_model="numpy")
def fit_rows(  # type: ignore[no-untyped-def]
    x, scaled, data, weights, starts, own, start_curves, linear, constant,
    low, high, kinds, offsets, jump, tracked, noise, misfit, multistart, ambiguity,
    tolerance, limit, values, errors, peaks, quality, flags,
):  # fmt: skip
    """Fit every row of `data`, writing into the last five arguments.

    A later start replaces an earlier solution that it joins but improves on, or one
    that it beats by more than noise explains. Solutions that lie closer than that
    are left to the earlier start, and flagged.

    Parameters
    ----------
    x, scaled : (m,) float64
        Energies, and energies scaled for the baseline.
    data : (N, m) float64
        Spectra. Values that are not finite are left out of their row.
    weights : (N, m) or (0, m) float64
        Inverse standard deviations; empty for none, and then errors are scaled to
        the residuals.
    starts : (S, n) float64
        Start values; the first is tried on every row, the others where needed.
    own : (N, n) or (0, n) float64
        Start of each row, tried before those of `starts`, as it is.
    start_curves : (S, m) float64
        The model at `starts`, without its constant.
    linear : (n,) bool
        Parameters that scale with the data.
    constant : int
        Index of the baseline's constant, -1 for none.
    low, high : (n,) float64
        Bounds; equal ones fix a parameter.
    kinds, offsets : (k,) int64
        The model, see `shapes`.
    jump : int
        Index of the edge jump, -1 for none.
    tracked : (t,) int64
        Parameters by which two solutions are told apart.
    noise, misfit : float
        Standard deviation of the data where known, else 0; and the mean square
        residual that the model leaves on the spectrum that gave the first start.
    multistart : int
        NEVER, DOUBTFUL or ALWAYS.
    ambiguity : float
        Two solutions are ambiguous if their chi2 differ by less than the square of
        this, in units of the variance that the better one leaves.
    tolerance, limit : float, int
        Relative decrease of chi2 at which to stop; most iterations.
    values, errors : (N, n) float64
        Written: parameters and standard errors (NaN at a bound, 0 if fixed).
    peaks : (N, k', 4) float64
        Written: area, its error, area / jump, its error.
    quality : (N, 3) float64
        Written: chi2, degrees of freedom, R factor.
    flags : (N,) uint8
        Written: bits of the quality flag.
    """
    n_rows, m_all = data.shape
    n = low.size
    weighted = weights.shape[0] > 0
    p, best = np.empty(n), np.empty(n)
    cov = np.empty((n, n))
    a, b, lower = np.empty((n, n)), np.empty((n, n)), np.empty((n, n))
    g, d, q = np.empty(n), np.empty(n), np.empty(n)
    free = np.empty(n, np.bool_)
    index = np.empty(m_all, np.int64)
    x_row, s_row, y_row = np.empty(m_all), np.empty(m_all), np.empty(m_all)
    w_row, c_row = np.empty(m_all), np.empty(m_all)
    r, r2 = np.empty(m_all), np.empty(m_all)
    jac, jac2 = np.empty((n, m_all)), np.empty((n, m_all))
    n_free = int((low < high).sum())
    n_own = 1 if own.shape[0] > 0 else 0
    for row in range(n_rows):
        w_data = weights[row] if weighted else data[row]  # not read where unweighted
        m, total = compress(
            x, scaled, data[row], w_data, weighted, index, x_row, s_row, y_row, w_row
        )
        if m <= n_free or total == 0.0:
            values[row] = math.nan
            errors[row] = math.nan
            peaks[row] = math.nan
            quality[row] = math.nan
            flags[row] = NO_DATA
            continue
        if m == m_all:
            work = (r, r2, jac, jac2, a, b, lower, g, d, q, free)
        else:
            short = np.empty((2, n, m))
            work = (r[:m], r2[:m], short[0], short[1], a, b, lower, g, d, q, free)
        xs, ss, ys, ws = x_row[:m], s_row[:m], y_row[:m], w_row[:m]
        chi_best, rival, error = math.inf, math.inf, 0.0
        margin = 1.0 + ambiguity * ambiguity / (m - n_free)
        converged = False
        flag = 0
        for s in range(starts.shape[0] + n_own):
            if s < n_own:
                p[:] = own[row]
                factor = 1.0
            else:
                for i in range(m):
                    c_row[i] = start_curves[s - n_own, index[i]]
                factor = scale_start(
                    ys, c_row[:m], starts[s - n_own], linear, constant, p
                )
            for k in range(n):
                p[k] = min(max(p[k], low[k]), high[k])
            chi, done, res, jacobian = descend(
                xs, ss, ys, ws, weighted, p, low, high, kinds, offsets,
                tolerance, limit, work,
            )  # fmt: skip
            better = chi < chi_best
            if s > 0 and done and _apart(p, best, error, tracked, low, high):
                better = better and (not converged or chi * margin < chi_best)
                rival = min(rival, chi_best if better else chi)
            if better:
                chi_best, converged = chi, done
                best[:] = p
                covariance(jacobian, res, p, low, high, a, b, lower, g, d, free, cov)
                variance = 1.0 if weighted else chi / (m - n_free)
                flag = 0
                for k in range(n):
                    values[row, k] = p[k]
                    errors[row, k] = math.sqrt(variance * cov[k, k])
                    if low[k] == high[k]:
                        errors[row, k] = 0.0
                    elif not low[k] < p[k] < high[k]:
                        flag = AT_BOUND
                error = 0.0
                for t in tracked:
                    if errors[row, t] > error:
                        error = errors[row, t]
                _peaks(p, cov, kinds, offsets, jump, variance, peaks[row])
            if multistart == NEVER:
                break
            if multistart == DOUBTFUL and s == 0:
                variance = 1.0 if weighted else noise * noise
                known = variance > 0.0
                variance += misfit * factor * factor
                excess = known and chi_best > EXCESS * variance * (m - n_free)
                if converged and flag == 0 and not excess:
                    break
        for c in range(kinds.size):  # what is absent is nowhere
            o = offsets[c]
            if kinds[c] != POLYNOMIAL and best[o] == 0.0:
                values[row, o + 1 : o + 3] = math.nan
                errors[row, o + 1 : o + 3] = math.nan
        if not converged:
            flag |= NOT_CONVERGED
        if rival <= margin * chi_best:
            flag |= AMBIGUOUS
        quality[row, 0] = chi_best
        quality[row, 1] = m - n_free
        quality[row, 2] = chi_best / total
        flags[row] = flag
