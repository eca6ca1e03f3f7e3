"""One pattern against a model that is linear in its scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass
class PatternFit:
    """Outcome of a fit.

    Parameters
    ----------
    values, errors
        Of the parameters, the scale last. NaN errors where the data do not determine
        a parameter.
    r_w
        Root of the misfit over that of zero.
    model
        (points,) the fitted pattern.
    """

    values: np.ndarray
    errors: np.ndarray
    r_w: float
    model: np.ndarray


def fit_pattern(
    y: np.ndarray,
    model: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    bounds: Mapping[str, np.ndarray],
    sigma: np.ndarray | None = None,
) -> PatternFit:
    """Fit parameters and a scale by least squares; the scale is solved exactly.

    Golub & Pereyra, SIAM J. Numer. Anal. 10, 413 (1973).

    Parameters
    ----------
    y
        (points,) the pattern.
    model
        Takes parameters, returns (points,) for unit scale.
    start
        (parameters,) where to start.
    bounds
        ``low`` and ``high``, (parameters,), and ``step``, of typical changes.
    sigma
        (points,) standard deviations of `y`; None for equal and unknown.

    Returns
    -------
    PatternFit
        Errors are scaled by chi2 per degree of freedom, where `sigma` is given only
        if that is above 1, and by how many neighbouring points deviate together: a
        pattern that is sampled more finely than it was measured tells no more.
    """
    from scipy.optimize import least_squares

    weight = np.ones_like(y) if sigma is None else 1.0 / sigma
    goal = weight * y

    def scaled(p: np.ndarray) -> tuple[np.ndarray, float]:
        shape = weight * model(p)
        power = float(shape @ shape)
        scale = max(float(shape @ goal) / power, 0.0) if power > 0 else 0.0
        return shape, scale

    def residual(p: np.ndarray) -> np.ndarray:
        shape, scale = scaled(p)
        return goal - scale * shape

    def slopes(p: np.ndarray) -> np.ndarray:
        _, scale = scaled(p)
        columns = []
        for i, step in enumerate(bounds["step"]):
            ends = [p.copy(), p.copy()]
            ends[0][i] = max(p[i] - 0.05 * step, bounds["low"][i])
            ends[1][i] = min(p[i] + 0.05 * step, bounds["high"][i])
            change = weight * (model(ends[1]) - model(ends[0]))
            columns.append(scale * change / (ends[1][i] - ends[0][i]))
        return np.column_stack(columns)

    def jacobian(p: np.ndarray) -> np.ndarray:
        # What a change of the scale would do as well is no slope (Kaufman, 1975).
        shape, _ = scaled(p)
        columns = slopes(p)
        return np.outer(shape, shape @ columns / (shape @ shape)) - columns

    found = least_squares(
        residual,
        np.clip(start, bounds["low"], bounds["high"]),
        jac=jacobian,
        bounds=(bounds["low"], bounds["high"]),
        x_scale=bounds["step"],
        max_nfev=60,
    )
    shape, scale = scaled(found.x)
    rest = goal - scale * shape
    every = np.column_stack([slopes(found.x), shape])
    chi2 = float(rest @ rest) / max(y.size - every.shape[1], 1)
    if sigma is not None:
        chi2 = max(chi2, 1.0)
    errors = _errors(every) * np.sqrt(chi2 * _together(rest))
    power = float(goal @ goal)
    return PatternFit(
        values=np.append(found.x, scale),
        errors=errors,
        r_w=float(np.sqrt(rest @ rest / power)) if power > 0 else np.nan,
        model=scale * shape / weight,
    )


@dataclass
class PatternsFit:
    """Outcome of a fit of several models together.

    Parameters
    ----------
    values
        Of the parameters of all models, one after the other.
    scales, lengths
        (models,) and the norm of each model at unit scale.
    r_w
        Root of the misfit over that of zero.
    """

    values: np.ndarray
    scales: np.ndarray
    lengths: np.ndarray
    r_w: float


def fit_patterns(
    y: np.ndarray,
    models: Sequence[
        tuple[Callable[[np.ndarray], np.ndarray], np.ndarray, Mapping[str, np.ndarray]]
    ],
    sigma: np.ndarray | None = None,
) -> PatternsFit:
    """Fit the sum of several models; their scales, never negative, are solved exactly.

    Parameters
    ----------
    y
        (points,) the pattern.
    models
        Function, start and bounds of each, as of `fit_pattern`.
    sigma
        (points,) standard deviations of `y`.
    """
    from scipy.optimize import least_squares

    from batteryxr.nmf.kernels import nnls

    weight = np.ones_like(y) if sigma is None else 1.0 / sigma
    goal = weight * y
    sizes = [len(start) for _, start, _ in models]
    cuts = np.cumsum(sizes)[:-1]
    owner = np.repeat(np.arange(len(models)), sizes)
    ends = {
        key: np.concatenate([bounds[key] for _, _, bounds in models])
        for key in ("low", "high", "step")
    }

    def solved(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = np.split(p, cuts)
        shapes = np.column_stack(
            [weight * f(q) for (f, _, _), q in zip(models, parts, strict=True)]
        )
        right = (shapes.T @ goal)[:, None]
        return shapes, nnls.solve(shapes.T @ shapes, right)[:, 0]

    def residual(p: np.ndarray) -> np.ndarray:
        shapes, scales = solved(p)
        return goal - shapes @ scales

    def jacobian(p: np.ndarray) -> np.ndarray:
        shapes, scales = solved(p)
        parts = np.split(p, cuts)
        columns = []
        for i, step in enumerate(ends["step"]):
            model = owner[i]
            place = i - sum(sizes[:model])
            both = []
            for sign in (-0.05, 0.05):
                q = parts[model].copy()
                q[place] = np.clip(
                    q[place] + sign * step, ends["low"][i], ends["high"][i]
                )
                both.append((q[place], weight * models[model][0](q)))
            width = both[1][0] - both[0][0]
            columns.append(scales[model] * (both[1][1] - both[0][1]) / width)
        slopes = np.column_stack(columns)
        used = shapes[:, scales > 0]
        if used.size:  # what a change of the scales would do as well is no slope
            q, _ = np.linalg.qr(used)
            slopes = slopes - q @ (q.T @ slopes)
        return -slopes

    start = np.concatenate([s for _, s, _ in models])
    found = least_squares(
        residual,
        np.clip(start, ends["low"], ends["high"]),
        jac=jacobian,
        bounds=(ends["low"], ends["high"]),
        x_scale=ends["step"],
        max_nfev=40,
    )
    shapes, scales = solved(found.x)
    rest = goal - shapes @ scales
    power = float(goal @ goal)
    return PatternsFit(
        values=found.x,
        scales=scales,
        lengths=np.linalg.norm(shapes, axis=0),
        r_w=float(np.sqrt(rest @ rest / power)) if power > 0 else np.nan,
    )


def _together(rest: np.ndarray) -> float:
    """Return how many neighbouring residuals are worth one: 1 for white noise."""
    power = np.abs(np.fft.rfft(rest, 2 * rest.size)) ** 2
    alike = np.fft.irfft(power, 2 * rest.size)[: rest.size]
    if alike[0] <= 0.0:
        return 1.0
    ends = np.flatnonzero(alike <= 0.0)
    first = int(ends[0]) if ends.size else alike.size
    return 1.0 + 2.0 * float(alike[1:first].sum() / alike[0])


def _errors(jacobian: np.ndarray) -> np.ndarray:
    """Return standard deviations for unit noise; NaN where nothing is determined."""
    size = np.linalg.norm(jacobian, axis=0)
    known = size > 1e-12 * max(size.max(), 1e-300)
    errors = np.full(size.size, np.nan)
    if known.any():
        part = jacobian[:, known] / size[known]
        covariance = np.linalg.pinv(part.T @ part, rcond=1e-12, hermitian=True)
        errors[known] = np.sqrt(np.maximum(np.diag(covariance), 0.0)) / size[known]
    return errors
