"""Factorise data that fit in memory: from several starts, or from pure patterns."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.core.errors import DataError
from batteryxr.core.kernels.cores import allowed, single
from batteryxr.core.progress import stopper
from batteryxr.core.seeds import generators
from batteryxr.nmf.data import refuse_errors
from batteryxr.nmf.shifts import refuse_negative
from batteryxr.nmf.starting import refuse_rank

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

    from batteryxr.nmf.data import Patterns
    from batteryxr.nmf.kernels.alternate import Rules, Run
    from batteryxr.nmf.kernels.normal import Normal, Plain
    from batteryxr.nmf.starting import Starts

#: Starts whose error is within this factor of the best count as equally good.
AGREEING = 1.01
#: Among starts within this factor of the best error, the earliest is taken.
EQUAL = 1.0001
#: The first start is kept where its error is within this factor of the best.
NEAREST = 1.001
#: Up to this many free components all orders are tried against known weights.
_ORDERED = 5
#: Above this many values the alternations begin within the leading components.
_LARGE = 200_000
#: Images are binned to about this many pixels for pure ones, which lowers noise.
_PIXELS = 16_384


class Block(NamedTuple):
    """Hold patterns without gaps, as plain arrays of its own.

    Parameters
    ----------
    values
        (samples, points), zero where nothing was measured.
    v
        Their statistical weights; None where these are equal.
    samples, points
        Masks of the samples and points they came from, (all samples,), (all points,).
    """

    values: np.ndarray
    v: np.ndarray | None
    samples: np.ndarray
    points: np.ndarray


@dataclass
class Factors:
    """Hold the components found, and facts on the fit.

    Parameters
    ----------
    components
        (n, points), shifted like the data; NaN at points without data.
    weights
        (n, samples) where the solver holds them, else None.
    used
        (n,) sum of the weights over the samples used.
    spread
        (n, points) and (n, samples): range over the equally good starts.
    """

    components: np.ndarray
    used: np.ndarray
    error: float
    svd_error: float
    weights: np.ndarray | None = None
    start_error: list[float] = field(default_factory=list)
    start_iterations: list[int] = field(default_factory=list)
    start_converged: list[bool] = field(default_factory=list)
    start_similarity: list[float] = field(default_factory=list)
    components_spread: np.ndarray | None = None
    weights_spread: np.ndarray | None = None
    full_passes: int = 0


def gapless(patterns: Patterns, *, signed: bool = False) -> Block:
    """Return patterns without gaps. Reads once.

    Samples and points without data are left out; other gaps are zero and have zero
    weight. Data that may be signed need no shift.
    """
    from batteryxr.nmf.kernels.normal import square_sum
    from batteryxr.nmf.kernels.passes import weigh

    errors = patterns.errors
    array = patterns.data.compute()
    # A copy: what the user changes later changes no factors.
    x = _aligned(array.values.reshape(-1, patterns.n_points))
    sigma = None
    if errors is not None:
        wide = errors.variable.set_dims(array.variable.sizes)
        sigma = wide.transpose(*array.dims).values.reshape(x.shape)
        refuse_errors(sigma, x)
    values, v = weigh(x, sigma)
    samples, points = np.ones(len(x), dtype=bool), np.ones(x.shape[1], dtype=bool)
    if v is not None:
        samples = np.asarray((v > 0).any(axis=1))
        points = np.asarray((v > 0).any(axis=0))
        values, v = values[samples][:, points], v[samples][:, points]
        if errors is None and (v > 0).all():
            v = None
    if not values.size:
        raise DataError(
            "data", "no finite value", "Look whether the files were read whole."
        )
    if not values.any():
        raise DataError("data", "zero everywhere; expected patterns", "Look at them.")
    negative = 0.0 if signed else square_sum(np.minimum(values, 0))
    refuse_negative(negative, square_sum(values), patterns.shift is not None)
    return Block(values, v, samples, points)


def _aligned(values: np.ndarray) -> np.ndarray:
    """Return a copy of which no rounding depends on chunks or on who computed them.

    Sums of NumPy and of BLAS are rounded by where their numbers begin in memory.
    """
    room = np.empty(values.size + 8)
    start = -room.ctypes.data % 64 // 8
    copy = room[start : start + values.size].reshape(values.shape)
    copy[...] = values
    return copy


def run_starts(
    values: np.ndarray,
    v: np.ndarray | None,
    starts: Starts,
    rules: Rules,
    *,
    subspace: bool = False,
) -> Factors:
    """Run all starts and keep the best.

    Parameters
    ----------
    values, v
        Data without gaps, and their statistical weights.
    starts, rules
        Initial guesses at the points of the data, and constraints of the factors.
    subspace
        Work in the first singular vectors: faster, not exact.
    """
    from batteryxr.nmf.kernels import alternate
    from batteryxr.nmf.kernels.starts import complete, filled

    refuse_rank(starts.n, len(values), "the number of patterns with data")
    with single():  # products are small: threads would only wait
        scale, data, quick, svd_error = normal_equations(values, v, starts.n)
        data = quick or data if subspace else data
        given = starts.given() / scale
        scaled = values if v is None else filled(values / scale, v > 0, starts.n)
        fixed, span = rules.fixed, None
        if quick is not None and quick.basis is not None:
            span = quick.x, quick.basis

        def run(kind: str, rng: np.random.Generator) -> Run:
            if kind == "given":
                start = np.maximum(np.asarray(starts.first) / scale, 0.0)
                start[fixed] = given[fixed]
            else:
                start = complete(scaled, fixed, given, kind, rng, span=span)
            if rules.told and kind != "given":
                start = _arranged(start, data, rules)
            if rules.unimodal is not None:
                return _bent(data, start, rules, stop)
            weights = None
            if rules.solver == "coordinate" and not rules.closure:
                weights = _first_weights(rules, data, scaled, start, kind=kind)
            if quick is None or subspace or not _is_long(values, starts.n, rules):
                return alternate.factorise(
                    data, start, rules, weights=weights, stop=stop
                )
            near = alternate.factorise(quick, start, rules, stop=stop)
            left = max(rules.max_iter - near.n_iter, 1)
            brief = replace(rules, patience=3, max_iter=left)
            found = alternate.factorise(
                data, near.components, brief, weights=near.weights, stop=stop
            )
            found.n_iter += near.n_iter
            return found

        stop = stopper()
        kinds = starts.kinds()
        rngs = generators(starts.seed, len(kinds))
        if len(kinds) == 1:  # threads take longer to start than small series to fit
            runs = [run(kinds[0], rngs[0])]
        else:
            with ThreadPoolExecutor(min(len(kinds), allowed())) as pool:
                runs = list(pool.map(run, kinds, rngs))
    for r in runs:
        r.components = r.components * scale
    return compare_runs(runs, svd_error, rules)


def _bent(
    data: Normal, start: np.ndarray, rules: Rules, stop: Callable[[], None]
) -> Run:
    """Return the factors of one start, with weights bent no farther than they must.

    Many bent weights fit equally well: stop at the first that do.
    """
    from batteryxr.nmf.kernels import alternate

    loose = replace(rules, unimodal=None)
    found = alternate.factorise(data, start, loose, stop=stop)
    enough = AGREEING**2 * found.error**2 * data.total
    return alternate.factorise(
        data, found.components, replace(rules, enough=enough), stop=stop
    )


def _is_long(values: np.ndarray, n: int, rules: Rules) -> bool:
    """Tell whether a start should first run within the leading components."""
    large = values.size > _LARGE and 8 * (n + 3) < min(values.shape)
    return large and not rules.sweeps and rules.signed is None


def _arranged(start: np.ndarray, data: Normal, rules: Rules) -> np.ndarray:
    """Return a start with its free rows in the order that fits known weights best."""
    from batteryxr.nmf.kernels import alternate

    free = np.flatnonzero(~rules.fixed)
    if len(free) > _ORDERED:
        return start
    tried = []
    brief = replace(rules, max_iter=3)
    for order in itertools.permutations(free):
        other = start.copy()
        other[free] = start[list(order)]
        tried.append((alternate.factorise(data, other, brief).error, other))
    return min(tried, key=lambda pair: pair[0])[1]


def _first_weights(
    rules: Rules, data: Normal, values: np.ndarray, start: np.ndarray, *, kind: str
) -> np.ndarray:
    """Return the weights that go with a start."""
    from batteryxr.nmf.kernels import nnls, starts

    if kind == "singular" and not rules.fixed.any():
        return starts.singular(values, len(start))[0]
    return nnls.solve(*data.for_weights(start))


def normal_equations(
    values: np.ndarray, v: np.ndarray | None, n: int
) -> tuple[np.ndarray, Normal, Plain | None, float]:
    """Return the scale of each point, the normal equations, and the SVD's error.

    The third item holds the equations within the leading components; it is None where
    values have different weights.
    """
    from batteryxr.core.kernels.decompose import leading
    from batteryxr.nmf.kernels import normal

    one = np.ones(values.shape[1])
    if v is not None and (v > 0).all() and np.allclose(v, v[0], rtol=1e-12):
        # Errors differ between points only: measure each point in units of its error.
        one = 1.0 / np.sqrt(v[0])
        values, v = values / one, None
    if v is not None:
        return one, normal.Weighted(values, v), None, np.nan
    total = normal.square_sum(values)
    scores, axes = leading(values, min(n + 3, *values.shape), n)
    power = (scores**2).sum(axis=0)
    left = max(total - float(power[:n].sum()), 0.0)
    rank = int((power > 1e-15 * max(values.shape) * power[0]).sum())
    if rank < min(n + 3, *values.shape):
        refuse_rank(n, rank, "the rank of the data")
    svd_error = float(np.sqrt(left / total)) if total > 0 else 0.0
    whole = normal.Plain(values, total=total)
    return one, whole, normal.Plain(scores, axes, total, whole.mean), svd_error


def compare_runs(runs: list[Run], svd_error: float, rules: Rules) -> Factors:
    """Keep the best run, and compare the others with it."""
    from batteryxr.nmf.kernels.comparing import match

    best = runs[index_of_best(runs, NEAREST if rules.unimodal is None else AGREEING)]
    norm = _scales(best.components, rules)
    similarity, components, weights = [], [], []
    for r in runs:
        order, cosine = match(best.components, r.components)
        similarity.append(float(cosine.min()))
        if r.error <= AGREEING * best.error + 1e-12:
            own = _scales(r.components, rules)[order]
            components.append(r.components[order] * (norm / own)[:, None])
            weights.append(r.weights[order] * (own / norm)[:, None])
    several = len(components) > 1
    return Factors(
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


def index_of_best(runs: list[Run], near: float = NEAREST) -> int:
    """Return the index of the best run.

    Among equally good runs the earlier wins: rounding must not choose among
    rotations, and the first, which starts at the purest patterns, stays closest to
    them.
    """
    lowest = min(r.error for r in runs)
    if runs[0].error <= near * lowest:
        return 0
    return next(i for i, r in enumerate(runs) if r.error <= EQUAL * lowest + 1e-12)


def _scales(components: np.ndarray, rules: Rules) -> np.ndarray:
    """Return factors that make components of two runs comparable."""
    scales = np.ones(len(components))
    if not rules.closure:
        free = ~rules.fixed
        scales[free] = np.maximum(np.linalg.norm(components[free], axis=1), 1e-300)
    return scales


def spread_out(factors: Factors, samples: np.ndarray, points: np.ndarray) -> Factors:
    """Insert NaN where samples or points have no data."""
    if samples.all() and points.all():
        return factors

    def back(array: np.ndarray | None, here: np.ndarray) -> np.ndarray | None:
        if array is None:
            return None
        out = np.full((len(array), here.size), np.nan)
        out[:, here] = array
        return out

    components = back(factors.components, points)
    assert components is not None
    factors.components = components
    factors.components_spread = back(factors.components_spread, points)
    factors.weights = back(factors.weights, samples)
    factors.weights_spread = back(factors.weights_spread, samples)
    return factors


def pick_pure(patterns: Patterns, starts: Starts, rules: Rules) -> Factors:
    """Return the purest patterns, after binning and denoising. Reads once.

    In images each pixel adds free weights, and the lowest residual fits noise with
    them. Pure pixels give truer maps where some pixels are pure.
    """
    from batteryxr.core.kernels.decompose import leading
    from batteryxr.nmf.kernels import nnls, normal
    from batteryxr.nmf.kernels.starts import pure_samples

    binned = patterns.data if patterns.series else _binned(patterns)
    x = binned.values.reshape(-1, patterns.n_points).astype(np.float64)
    points = np.isfinite(x).any(axis=0)
    x = x[:, points]
    x = x[np.isfinite(x).all(axis=1)]
    refuse_rank(starts.n, len(x), "the number of (binned) patterns without gaps")
    total = float((x**2).sum())
    negative = float((np.minimum(x, 0) ** 2).sum())
    refuse_negative(negative, total, patterns.shift is not None)
    scores, axes = leading(x, starts.n)
    fixed = rules.fixed
    components = starts.given()[:, points]
    rows = pure_samples(x, int((~fixed).sum()), components[fixed])
    components[~fixed] = np.maximum(scores[rows] @ axes.T, 0.0)
    data = normal.Plain(x)
    gram, rhs = data.for_weights(components)
    weights = nnls.solve(gram, rhs, closure=rules.closure)
    misfit = max(data.misfit(weights, components, data.for_components(weights)), 0.0)
    svd = max(total - float((scores**2).sum()), 0.0)
    whole = np.full((starts.n, patterns.n_points), np.nan)
    whole[:, points] = components
    same = binned.shape == patterns.data.shape and len(x) == patterns.n_samples
    return Factors(
        components=whole,
        used=weights.sum(axis=1),
        error=float(np.sqrt(misfit / total)),
        svd_error=float(np.sqrt(svd / total)),
        weights=weights if same else None,
    )


def _binned(patterns: Patterns) -> xr.DataArray:
    """Return images binned to fewer, less noisy pixels."""
    factor = max(1, int(np.sqrt(patterns.n_samples / _PIXELS)))
    windows = {
        d: min(factor, patterns.data.sizes[d])
        for d in patterns.samples[-2:]
        if patterns.data.sizes[d] > 1
    }
    return patterns.data.coarsen(windows, boundary="trim").mean()
