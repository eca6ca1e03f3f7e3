"""Factorise data that fit in memory, from several starts."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import ArgumentError
from batteryxr.core.progress import stopper
from batteryxr.core.seeds import generators
from batteryxr.nmf.problem import AGREEING, EQUAL, Answer, Problem, refuse_rank
from batteryxr.nmf.shifts import refuse_negative

if TYPE_CHECKING:
    from batteryxr.nmf.kernels.alternate import Normal, Run


def solve_in_memory(problem: Problem) -> Answer:
    """Factorise all samples at once. Reads once."""
    values, v, samples, points = gapless(problem)
    refuse_rank(problem.n, len(values), "the number of patterns with data")
    answer = factorise_samples(problem, values, v, points)
    return spread_out(answer, samples, points)


def gapless(
    problem: Problem,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray, np.ndarray]:
    """Return values, statistical weights, and which samples and points have data.

    Reads once. Samples and points without data are left out; other gaps are zero
    and have zero weight.
    """
    from batteryxr.nmf.kernels.passes import weigh

    layout, errors = problem.layout, problem.errors
    array = layout.data.compute()
    # One layout in memory, so that rounding does not depend on chunks.
    x = np.ascontiguousarray(array.values, dtype=np.float64)
    x = x.reshape(-1, layout.n_points)
    sigma = None
    if errors is not None:
        wide = errors.variable.set_dims(array.variable.sizes)
        sigma = wide.transpose(*array.dims).values.reshape(x.shape)
    values, v = weigh(x, sigma)
    samples, points = np.ones(len(x), dtype=bool), np.ones(x.shape[1], dtype=bool)
    if v is not None:
        samples = np.asarray((v > 0).any(axis=1))
        points = np.asarray((v > 0).any(axis=0))
        values, v = values[samples][:, points], v[samples][:, points]
        if errors is None and (v > 0).all():
            v = None
    if not values.size:
        raise ArgumentError("data", "no finite value", "some data")
    negative = float((np.minimum(values, 0) ** 2).sum())
    refuse_negative(negative, float((values**2).sum()), problem.shifted)
    return values, v, samples, points


def factorise_samples(
    problem: Problem,
    values: np.ndarray,
    v: np.ndarray | None,
    points: np.ndarray,
    *,
    subspace: bool = False,
) -> Answer:
    """Run all starts on (samples, points) and keep the best.

    Parameters
    ----------
    problem
        What is asked.
    values, v
        Data without gaps, and their statistical weights if these differ.
    points
        Which points of the pattern the columns are.
    subspace
        Work in the first singular vectors: quicker, not exact.
    """
    from threadpoolctl import threadpool_limits

    from batteryxr.nmf.kernels import alternate, starts

    with threadpool_limits(1, "blas"):  # small products: threads only spin
        scale, data, svd_error = normal_equations(problem, values, v, subspace)
        given = problem.given()[:, points] / scale
        scaled = values / scale if np.ndim(scale) else values
        fixed = problem.rules.fixed

        def run(kind: str, rng: np.random.Generator) -> Run:
            if kind == "given":
                start = np.maximum(np.asarray(problem.start)[:, points] / scale, 0.0)
                start[fixed] = given[fixed]
            else:
                start = starts.complete(scaled, fixed, given, kind, rng)
            return alternate.factorise(
                data,
                start,
                problem.rules,
                weights=_first_weights(problem, data, scaled, start, kind),
                max_iter=problem.max_iter,
                tol=problem.tol,
                stop=stop,
            )

        stop = stopper()
        kinds = problem.kinds()
        rngs = generators(problem.seed, len(kinds))
        with ThreadPoolExecutor(min(len(kinds), os.cpu_count() or 1)) as pool:
            runs = list(pool.map(run, kinds, rngs))
    for r in runs:
        r.components = r.components * scale
    return compare_runs(runs, svd_error, problem)


def _first_weights(
    problem: Problem, data: Normal, values: np.ndarray, start: np.ndarray, kind: str
) -> np.ndarray | None:
    """Return the weights that belong to a start, where the answer hangs on them."""
    from batteryxr.nmf.kernels import nnls, starts

    rules = problem.rules
    if rules.solver != "coordinate" or rules.closure:
        return None
    if kind == "singular" and not rules.fixed.any():
        return starts.singular(values, problem.n)[0]
    return nnls.solve(*data.for_weights(start))


def normal_equations(
    problem: Problem, values: np.ndarray, v: np.ndarray | None, subspace: bool
) -> tuple[np.ndarray, Normal, float]:
    """Return the scale of each point, the normal equations, and the SVD's error."""
    from batteryxr.nmf.kernels import alternate, starts

    n = problem.n
    one = np.ones(values.shape[1])
    if v is not None and (v > 0).all() and np.allclose(v, v[0], rtol=1e-12):
        # Errors that differ between points only: measure each point in its error.
        one = 1.0 / np.sqrt(v[0])
        values, v = values / one, None
    if v is not None:
        return one, alternate.Weighted(values, v), np.nan
    total = alternate.square_sum(values)
    scores, axes = starts.denoise(values, min(n + 3, *values.shape))
    power = (scores**2).sum(axis=0)
    left = max(total - float(power[:n].sum()), 0.0)
    rank = int((power > 1e-15 * max(values.shape) * power[0]).sum())
    if rank < min(n + 3, *values.shape):
        refuse_rank(n, rank, "the rank of the data")
    svd_error = float(np.sqrt(left / total)) if total > 0 else 0.0
    if subspace:
        mean = float(values.mean())
        return one, alternate.Plain(scores, axes, total, mean), svd_error
    return one, alternate.Plain(values, total=total), svd_error


def compare_runs(runs: list[Run], svd_error: float, problem: Problem) -> Answer:
    """Keep the best run; tell how far the others agree with it."""
    from batteryxr.nmf.kernels.match import match

    # Of runs that fit alike the earlier: rounding must not choose among rotations.
    lowest = min(r.error for r in runs)
    best = next(r for r in runs if r.error <= EQUAL * lowest + 1e-12)
    norm = _scales(best.components, problem)
    similarity, components, weights = [], [], []
    for r in runs:
        order, cosine = match(best.components, r.components)
        similarity.append(float(cosine.min()))
        if r.error <= AGREEING * best.error + 1e-12:
            own = _scales(r.components, problem)[order]
            components.append(r.components[order] * (norm / own)[:, None])
            weights.append(r.weights[order] * (own / norm)[:, None])
    several = len(components) > 1
    return Answer(
        components=best.components,
        weights=best.weights,
        used=best.weights.sum(axis=1),
        error=best.error,
        svd_error=svd_error,
        start_error=[r.error for r in runs],
        start_iterations=[r.n_iter for r in runs],
        start_converged=[r.converged for r in runs],
        start_similarity=similarity,
        components_spread=np.ptp(components, axis=0) if several else None,
        weights_spread=np.ptp(weights, axis=0) if several else None,
    )


def _scales(components: np.ndarray, problem: Problem) -> np.ndarray:
    """Return what makes components of two runs comparable where scale is free."""
    scales = np.ones(len(components))
    if not problem.rules.closure:
        free = ~problem.rules.fixed
        scales[free] = np.maximum(np.linalg.norm(components[free], axis=1), 1e-300)
    return scales


def spread_out(answer: Answer, samples: np.ndarray, points: np.ndarray) -> Answer:
    """Put NaN back where samples or points have no data."""
    if samples.all() and points.all():
        return answer

    def back(array: np.ndarray | None, here: np.ndarray) -> np.ndarray | None:
        if array is None:
            return None
        out = np.full((len(array), here.size), np.nan)
        out[:, here] = array
        return out

    components = back(answer.components, points)
    assert components is not None
    answer.components = components
    answer.components_spread = back(answer.components_spread, points)
    answer.weights = back(answer.weights, samples)
    answer.weights_spread = back(answer.weights_spread, samples)
    return answer
