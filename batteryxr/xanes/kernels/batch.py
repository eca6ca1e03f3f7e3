"""Fit one model to very many rows: initial guesses, retries, errors and flags.

Each row is fitted on its own. The result depends on its data and the shared guesses
only, not on its neighbours, its chunk or its thread.

Arrays are copied and summed in plain loops: numba compiles ``a[:] = b`` together with
the error message that it may raise, which takes longer than the fit itself.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.kernels.compiling import njit
from batteryxr.xanes.kernels.levenberg import covariance, descend
from batteryxr.xanes.kernels.memory import (
    Points,
    first_points,
    new_points,
    new_work,
    shorter_work,
)
from batteryxr.xanes.kernels.problem import (
    DOUBTFUL,
    FIRST_PEAK,
    INNER,
    NEVER,
    POLYNOMIAL,
    Axis,
    Model,
    Out,
    Problem,
)
from batteryxr.xanes.kernels.shapes import unit_area

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Floats, FloatTable, Ints

#: Bits of the quality flag.
MASKED, NO_DATA, NOT_CONVERGED, AT_BOUND, AMBIGUOUS, IMPRECISE = 1, 2, 4, 8, 16, 32
#: Error of an edge energy, in widths of the edge, above which the slopes of the model
#: at the solution hardly determine it.
COARSE = 0.2
#: Factor of chi2 within which solutions are ambiguous if more than noise is left: the
#: model is then wrong, and the data do not choose.
MISFIT = 2.0
#: Ratio of mean square residual to noise above which a fit is doubtful.
EXCESS = 2.0


@njit(**INNER)
def _quadratic(gradient: Floats, cov: FloatTable) -> float:
    """Return gᵀ C g over the parameters whose covariance is known."""
    s = 0.0
    for i in range(gradient.size):
        if gradient[i] == 0.0 or math.isnan(cov[i, i]):
            continue
        for j in range(gradient.size):
            if gradient[j] != 0.0 and not math.isnan(cov[j, j]):
                s += gradient[i] * gradient[j] * cov[i, j]
    return max(s, 0.0)


@njit(**INNER)
def _peaks(
    p: Floats, cov: FloatTable, model: Model, variance: float, out: FloatTable
) -> None:
    """Fill area, its error, area / jump and its error for each peak.

    A parameter at a bound counts as known, but a height at a bound gives no error.
    """
    kinds, offsets, jump = model.kinds, model.offsets, model.jump
    gradient: Floats = np.empty(p.size)
    row = 0
    for c in range(kinds.size):
        if kinds[c] < FIRST_PEAK or kinds[c] == POLYNOMIAL:
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


@njit(**INNER)
def scale_start(y: Floats, curve: Floats, p: Floats, model: Model, q: Floats) -> float:
    """Scale the linear parameters of start `p` to the data; return the factor."""
    m = y.size
    mean_y, mean_c = 0.0, 0.0
    for i in range(m):
        mean_y += y[i]
        mean_c += curve[i]
    mean_y, mean_c = mean_y / m, mean_c / m
    covariance, variance = 0.0, 0.0
    for i in range(m):
        covariance += (y[i] - mean_y) * (curve[i] - mean_c)
        variance += (curve[i] - mean_c) ** 2
    slope = covariance / variance if variance > 0.0 else 1.0
    slope = max(slope, 1e-6)
    for k in range(p.size):
        q[k] = p[k] * slope if model.linear[k] else p[k]
    if model.constant >= 0:
        q[model.constant] = mean_y - slope * mean_c
    return slope


@njit(**INNER)
def count_free(model: Model) -> int:
    """Return the number of parameters that are not fixed."""
    n = 0
    for k in range(model.low.size):
        n += model.low[k] < model.high[k]
    return n


@njit(**INNER)
def compress(
    axis: Axis,
    data: Floats,
    weights: Floats,
    points: Points,
    index: Ints,
) -> tuple[int, float]:
    """Copy the usable points of one row; return their number and sum of squares."""
    m = 0
    total = 0.0
    for i in range(data.size):
        if not math.isfinite(data[i]):
            continue
        w = weights[i] if points.weighted else 1.0
        if not (math.isfinite(w) and w > 0.0):
            continue
        index[m] = i
        points.x[m], points.scaled[m] = axis.x[i], axis.scaled[i]
        points.y[m], points.weight[m] = data[i], w
        total += (data[i] * w) ** 2
        m += 1
    return m, total


@njit(**INNER)
def _apart(p: Floats, best: Floats, error: float, model: Model) -> bool:
    """Tell whether two solutions differ by more than three standard errors."""
    for t in model.tracked:
        reach = 1e-3 * (model.high[t] - model.low[t])
        if abs(p[t] - best[t]) > max(3.0 * error, reach):
            return True
    return False


@njit(**INNER)
def _put(
    p: Floats, cov: FloatTable, model: Model, variance: float, row: int, out: Out
) -> tuple[int, float]:
    """Write a solution; return its flag, and the error that separates solutions."""
    flag, error = 0, 0.0
    for k in range(p.size):
        out.values[row, k] = p[k]
        out.errors[row, k] = math.sqrt(variance * cov[k, k])
        if model.low[k] == model.high[k]:
            out.errors[row, k] = 0.0
        elif not model.low[k] < p[k] < model.high[k]:
            flag = AT_BOUND
    for t in model.tracked:
        if out.errors[row, t] > error:
            error = out.errors[row, t]
    _peaks(p, cov, model, variance, out.peaks[row])
    return flag, error


@njit(**INNER)
def _cover(row: int, rival: float, model: Model, out: Out) -> None:
    """Extend the error of the edge energy to the rival solution, which is stored."""
    if model.jump < 0:
        return
    k = model.jump + 1
    out.quality[row, 3] = rival
    apart = abs(rival - out.values[row, k])
    if not out.errors[row, k] > apart:
        out.errors[row, k] = apart


@njit(**INNER)
def _is_coarse(row: int, model: Model, start: Floats, out: Out) -> bool:
    """Tell whether the error of an edge energy is too large for slopes.

    The error is compared with the smaller width of the fitted edge and of the mean
    spectrum's edge, since noise can make the fitted one wide.
    """
    if model.jump < 0:
        return False
    width = min(out.values[row, model.jump + 2], start[model.jump + 2])
    return not out.errors[row, model.jump + 1] <= COARSE * width


@njit(**INNER)
def _leave_out(row: int, out: Out) -> None:
    """Mark a row as having too few data."""
    out.values[row] = math.nan
    out.errors[row] = math.nan
    out.peaks[row] = math.nan
    out.quality[row] = math.nan
    out.flags[row] = NO_DATA


@njit(**INNER)
def _blank_absent(best: Floats, model: Model, row: int, out: Out) -> None:
    """Set position and width of components without height to NaN."""
    for c in range(model.kinds.size):
        o = model.offsets[c]
        if model.kinds[c] != POLYNOMIAL and best[o] == 0.0:
            out.values[row, o + 1 : o + 3] = math.nan
            out.errors[row, o + 1 : o + 3] = math.nan


@njit(nogil=True, cache=True, error_model="numpy")
def fit_rows(
    problem: Problem, data: FloatTable, weights: FloatTable, own: FloatTable, out: Out
) -> None:
    """Fit every row of `data`, writing into `out`.

    A later start replaces an earlier solution if it finds the same one with lower
    chi2, or another one that is better by more than noise explains. If solutions are
    closer than that, the earlier one stays, and the row is flagged.

    Parameters
    ----------
    problem
        Axis, model, search and noise.
    data : (N, m) float64
        Spectra. Values that are not finite are left out of their row.
    weights : (N, m) or (0, m) float64
        Inverse standard deviations. Empty for none; errors are then scaled to the
        residuals.
    own : (N, n) or (0, n) float64
        Start of each row, tried as it is before those of the search.
    out
        Output.
    """
    axis, model, search, noise = problem
    n_rows, m_all = data.shape
    n = model.low.size
    weighted = weights.shape[0] > 0
    p: Floats
    best: Floats
    p, best, cov = np.empty(n), np.empty(n), np.empty((n, n))
    room, row_points = new_work(n, m_all), new_points(m_all, weighted)
    index: Ints
    curve: Floats
    index, curve = np.empty(m_all, np.int64), np.empty(m_all)
    n_free = count_free(model)
    n_own = 1 if own.shape[0] > 0 else 0
    for row in range(n_rows):
        w_data = weights[row] if weighted else data[row]  # not read where unweighted
        m, total = compress(axis, data[row], w_data, row_points, index)
        if m <= n_free or total == 0.0:
            _leave_out(row, out)
            continue
        work = room if m == m_all else shorter_work(room, m)
        points = first_points(row_points, m)
        chi_best, rival, error = math.inf, math.inf, 0.0
        place = max(model.jump + 1, 0)
        at, rival_at = math.nan, math.nan
        margin = 1.0 + search.ambiguity * search.ambiguity / (m - n_free)
        converged = False
        flag = 0
        for s in range(search.starts.shape[0] + n_own):
            if s < n_own:
                for k in range(n):
                    p[k] = own[row, k]
                factor = 1.0
            else:
                for i in range(m):
                    curve[i] = search.curves[s - n_own, index[i]]
                start = search.starts[s - n_own]
                factor = scale_start(points.y, curve[:m], start, model, p)
            for k in range(n):
                p[k] = min(max(p[k], model.low[k]), model.high[k])
            chi, done, res, jacobian = descend(
                points, p, model, work, search.tolerance, search.limit
            )
            better = chi < chi_best
            if s > 0 and done and _apart(p, best, error, model):
                better = better and (not converged or chi * margin < chi_best)
                if (chi_best if better else chi) < rival:
                    rival = chi_best if better else chi
                    rival_at = at if better else p[place]
            if better:
                chi_best, converged, at = chi, done, p[place]
                for k in range(n):
                    best[k] = p[k]
                covariance(jacobian, res, p, model, work, cov)
                variance = 1.0 if weighted else chi / (m - n_free)
                flag, error = _put(p, cov, model, variance, row, out)
            if search.multistart == NEVER:
                break
            if search.multistart == DOUBTFUL and s == 0:
                variance = 1.0 if weighted else noise.sd * noise.sd
                known = variance > 0.0
                variance += noise.misfit * factor * factor
                excess = known and chi_best > EXCESS * variance * (m - n_free)
                if converged and flag == 0 and not excess:
                    break
        _blank_absent(best, model, row, out)
        if not converged:
            flag |= NOT_CONVERGED
        out.quality[row, 3] = math.nan
        usual = 0.0 if weighted else noise.sd * noise.sd * (m - n_free)
        if usual > 0.0 and chi_best > EXCESS * usual:
            margin = max(margin, MISFIT)
        if rival <= margin * chi_best:
            flag |= AMBIGUOUS
            _cover(row, rival_at, model, out)
        elif _is_coarse(row, model, search.starts[0], out):
            flag |= IMPRECISE
        out.quality[row, 0] = chi_best
        out.quality[row, 1] = m - n_free
        out.quality[row, 2] = chi_best / total
        out.flags[row] = flag
