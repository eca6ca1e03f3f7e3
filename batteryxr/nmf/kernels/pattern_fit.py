"""Fits of patterns by models that are linear in their scales.

The scales, never negative, are solved exactly for any parameters of the models. The
effect of a change of scale is projected out (variable projection: Golub & Pereyra,
SIAM J. Numer. Anal. 10, 413, 1973; Kaufman, BIT 15, 49, 1975).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.nmf.kernels.noise import together

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass
class PatternFit:
    """Hold the outcome of a fit.

    Parameters
    ----------
    values, errors
        Values and errors of the parameters, the scale last. Errors are NaN where the
        data do not determine a parameter.
    r_w
        Root of the misfit over the misfit of a zero model.
    model
        (points,) the fitted pattern.
    covariance
        (parameters, parameters), the scale last.
    """

    values: np.ndarray
    errors: np.ndarray
    r_w: float
    model: np.ndarray
    covariance: np.ndarray


class Mixing(NamedTuple):
    """Define the fit of patterns by sums of models.

    Parameters
    ----------
    goal
        (scans, points) patterns over their deviations.
    shapes
        Function of the parameters; returns (scans, models, points) over deviations.
    slopes
        Function of parameters and scales (scans, models); returns the derivatives of
        the sum, (scans, points, parameters).
    bounds
        ``low`` and ``high``, (parameters,), and ``step``, the typical change.
    closure
        Whether the scales of a pattern sum to one.
    """

    goal: np.ndarray
    shapes: Callable[[np.ndarray], np.ndarray]
    slopes: Callable[[np.ndarray, np.ndarray], np.ndarray]
    bounds: Mapping[str, np.ndarray]
    closure: bool = False


class Mixed(NamedTuple):
    """Hold the solution of a problem.

    Parameters
    ----------
    values, scales
        (parameters,) and (scans, models).
    shapes, rest
        Models (scans, models, points) and residuals (scans, points) at the solution.
    """

    values: np.ndarray
    scales: np.ndarray
    shapes: np.ndarray
    rest: np.ndarray

    @property
    def r_w(self) -> float:
        """Return the root of the misfit over the misfit of a zero model."""
        goal = self.rest + np.einsum("sk,skp->sp", self.scales, self.shapes)
        power = float((goal**2).sum())
        return float(np.sqrt((self.rest**2).sum() / power)) if power > 0 else np.nan


def solve(problem: Mixing, start: np.ndarray, rounds: int) -> Mixed:
    """Fit by least squares with the scales projected out; `rounds` evaluations."""
    from scipy.optimize import least_squares

    low, high = problem.bounds["low"], problem.bounds["high"]
    # The stopping rule of the search works for numbers near one only.
    unit = float(np.sqrt((problem.goal**2).mean())) or 1.0

    def residual(p: np.ndarray) -> np.ndarray:
        return _solved(problem, p).rest.ravel() / unit

    def jacobian(p: np.ndarray) -> np.ndarray:
        here = _solved(problem, p)
        slopes = problem.slopes(p, here.scales)
        slopes = _projected(problem, here, slopes)
        return -slopes.reshape(here.rest.size, p.size) / unit

    found = least_squares(
        residual,
        np.clip(start, low, high),
        jac=jacobian,
        bounds=(low, high),
        x_scale=problem.bounds["step"],
        max_nfev=rounds,
    )
    return _solved(problem, found.x)


def _solved(problem: Mixing, p: np.ndarray) -> Mixed:
    """Return the solution with the best scales for given parameters."""
    from batteryxr.nmf.kernels import nnls

    goal, shapes = problem.goal, problem.shapes(p)
    right = np.einsum("skp,sp->ks", shapes, goal)
    gram = shapes @ shapes.transpose(0, 2, 1)
    if shapes.shape[1] == 1 and not problem.closure:
        power = gram[:, 0]
        scales = np.maximum(right.T / np.where(power > 0, power, np.inf), 0.0)
    else:
        scales = nnls.solve(gram, right, closure=problem.closure).T
    rest = goal - np.einsum("sk,skp->sp", scales, shapes)
    return Mixed(p, scales, shapes, rest)


def _moves(problem: Mixing, here: Mixed, scan: int) -> np.ndarray:
    """Return how one pattern changes with its scales, (points, moves)."""
    used = here.shapes[scan, here.scales[scan] > 0]
    if problem.closure:
        used = used[1:] - used[:1]
    return used.T


def _projected(problem: Mixing, here: Mixed, slopes: np.ndarray) -> np.ndarray:
    """Project out the scale (variable projection, Kaufman 1975)."""
    out = np.empty_like(slopes)
    for scan, rows in enumerate(slopes):
        moves = _moves(problem, here, scan)
        out[scan] = rows
        if moves.size:
            q, _ = np.linalg.qr(moves)
            out[scan] -= q @ (q.T @ rows)
    return out


class Spread(NamedTuple):
    """Hold the covariance of parameters, and errors of scales (scans, models)."""

    values: np.ndarray
    scales: np.ndarray


def spread_of(problem: Mixing, here: Mixed, known: bool) -> Spread:
    """Return the covariance of parameters and the errors of scales.

    They follow from the Jacobian of all parameters together. They are scaled by chi2
    per degree of freedom (with `known` errors only if that is above 1), and by how many
    neighbouring points and scans deviate together. Sampling more finely than the
    measurement resolves adds no information, nor does the same misfit repeated.
    """
    raw = problem.slopes(here.values, here.scales)
    slopes = _projected(problem, here, raw)
    flat = slopes.reshape(-1, slopes.shape[-1])
    # Parameters are known to lie within their bounds, even for an absent phase.
    room = problem.bounds["high"] - problem.bounds["low"]
    scans, points = here.rest.shape
    free = points * scans - flat.shape[1] - int((here.scales > 0).sum())
    chi2 = float((here.rest**2).sum()) / max(free, 1)
    chi2 = max(chi2, 1.0) if known else chi2
    chi2 *= together(here.rest) * together(here.rest.T)
    values = np.linalg.inv(flat.T @ flat + np.diag(12 * chi2 / room**2))
    scales = np.zeros(here.scales.shape)
    for scan in range(scans):
        shapes = here.shapes[scan].T
        used = np.flatnonzero(here.scales[scan] > 0)
        moves = _moves(problem, here, scan)
        own = np.zeros((0, 0))
        back = np.linalg.pinv(moves) if moves.size else moves.T
        if moves.size:
            turn = back @ raw[scan]
            own = back @ back.T + turn @ values @ turn.T
        if problem.closure:  # the first scale is the rest of the others
            last = -np.ones(len(own))
            own = np.vstack([last @ own, own])
            own = np.column_stack([own @ last, own])
        scales[scan, used] = np.sqrt(np.maximum(np.diag(own), 0.0))
        for k in np.flatnonzero(here.scales[scan] <= 0):
            # At zero: the scale that noise alone could reach.
            other = shapes[:, k] - (shapes[:, used[0]] if problem.closure else 0.0)
            other = other - moves @ (back @ other)
            scales[scan, k] = 1.0 / max(float(np.linalg.norm(other)), 1e-300)
        if problem.closure and used.size == 1 and shapes.shape[1] > 1:
            scales[scan, used] = scales[scan].max()
    return Spread(values * chi2, scales * np.sqrt(chi2))


Model = tuple[
    "Callable[[np.ndarray], np.ndarray]", np.ndarray, "Mapping[str, np.ndarray]"
]


def slope(
    model: Callable[[np.ndarray], np.ndarray],
    p: np.ndarray,
    i: int,
    bounds: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Return the derivative of a model by its parameter i, within its bounds."""
    ends = [p.copy(), p.copy()]
    reach = 0.05 * bounds["step"][i]
    ends[0][i] = max(p[i] - reach, bounds["low"][i])
    ends[1][i] = min(p[i] + reach, bounds["high"][i])
    return (model(ends[1]) - model(ends[0])) / (ends[1][i] - ends[0][i])


def _of_models(y: np.ndarray, models: Sequence[Model], weight: np.ndarray) -> Mixing:
    """Set up the fit of one pattern by a sum of models, each with own parameters."""
    sizes = [len(start) for _, start, _ in models]
    cuts = np.cumsum(sizes)[:-1]

    def shapes(p: np.ndarray) -> np.ndarray:
        parts = np.split(p, cuts)
        rows = [weight * f(q) for (f, _, _), q in zip(models, parts, strict=True)]
        return np.array(rows)[None]

    def slopes(p: np.ndarray, scales: np.ndarray) -> np.ndarray:
        columns = [
            scale * weight * slope(model, part, i, bounds)
            for (model, _, bounds), part, scale in zip(
                models, np.split(p, cuts), scales[0], strict=True
            )
            for i in range(len(part))
        ]
        return np.column_stack(columns)[None]

    bounds = {
        key: np.concatenate([ends[key] for _, _, ends in models])
        for key in ("low", "high", "step")
    }
    return Mixing((weight * y)[None], shapes, slopes, bounds)


def fit_pattern(
    y: np.ndarray,
    model: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    bounds: Mapping[str, np.ndarray],
    sigma: np.ndarray | None = None,
) -> PatternFit:
    """Fit parameters and a scale by least squares; the scale is solved exactly.

    Parameters
    ----------
    y
        (points,) the pattern.
    model
        Function of the parameters; returns (points,) at unit scale.
    start
        (parameters,) initial guess.
    bounds
        ``low`` and ``high``, (parameters,), and ``step``, the typical change.
    sigma
        (points,) standard deviations of `y`; None for equal and unknown.

    Returns
    -------
    PatternFit
        Errors are scaled by chi2 per degree of freedom (with `sigma` only if that is
        above 1), and by how many neighbouring points deviate together. Sampling more
        finely than the measurement resolves adds no information.
    """
    weight = np.ones_like(y) if sigma is None else 1.0 / sigma
    problem = _of_models(y, [(model, start, bounds)], weight)
    found = solve(problem, start, 60)
    slopes = problem.slopes(found.values, found.scales)[0]
    every = np.column_stack([slopes, found.shapes[0, 0]])
    rest, scale = found.rest[0], float(found.scales[0, 0])
    chi2 = float(rest @ rest) / max(y.size - every.shape[1], 1)
    if sigma is not None:
        chi2 = max(chi2, 1.0)
    covariance = _covariance(every) * chi2 * together(rest)
    return PatternFit(
        values=np.append(found.values, scale),
        errors=np.sqrt(np.maximum(np.diag(covariance), 0.0)),
        r_w=found.r_w,
        model=scale * found.shapes[0, 0] / weight,
        covariance=covariance,
    )


def fit_patterns(
    y: np.ndarray, models: Sequence[Model], sigma: np.ndarray | None = None
) -> tuple[Mixed, np.ndarray]:
    """Fit the sum of several models; their scales, never negative, are solved exactly.

    Parameters
    ----------
    y
        (points,) the pattern.
    models
        Function, initial guess and bounds of each model, as in `fit_pattern`.
    sigma
        (points,) standard deviations of `y`.

    Returns
    -------
    Mixed, numpy.ndarray
        The solution, and the norm of each model in the pattern, (models,).
    """
    weight = np.ones_like(y) if sigma is None else 1.0 / sigma
    problem = _of_models(y, models, weight)
    found = solve(problem, np.concatenate([s for _, s, _ in models]), 40)
    return found, found.scales[0] * np.linalg.norm(found.shapes[0], axis=1)


def _covariance(jacobian: np.ndarray) -> np.ndarray:
    """Return the covariance for unit noise; NaN for undetermined parameters."""
    size = np.linalg.norm(jacobian, axis=0)
    known = np.flatnonzero(size > 1e-12 * max(size.max(), 1e-300))
    out = np.full((size.size, size.size), np.nan)
    if known.size:
        part = jacobian[:, known] / size[known]
        inverse = np.linalg.pinv(part.T @ part, rcond=1e-12, hermitian=True)
        out[np.ix_(known, known)] = inverse / np.outer(size[known], size[known])
    return out
