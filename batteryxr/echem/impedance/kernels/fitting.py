"""Fit a circuit to many spectra: initial guesses, search, errors, and neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.echem.impedance.circuit import Element
from batteryxr.echem.impedance.kernels import levenberg, linear, starts
from batteryxr.echem.impedance.kernels.elements import EXPONENT_NAMES, EXPONENTS, KINDS
from batteryxr.echem.impedance.kernels.levenberg import CircuitProblem, Space
from batteryxr.echem.impedance.kernels.network import elements, impedance, shape, span

if TYPE_CHECKING:
    from batteryxr.echem.impedance.circuit import Node, Series

#: Bits of ``fit_flag``.
NOT_CONVERGED, AT_BOUND, UNDETERMINED, TOO_FEW, OUTLIERS, MISFIT = 1, 2, 4, 8, 16, 32
ANOTHER = 64
#: Outlier limit in standard deviations of each part; median modulus of noise in these
#: units; rounds of leaving points out; largest fraction of points left out.
_OFF, _MEDIAN, _ROUNDS, _SHARE = 4.0, 1.1774, 8, 0.3
#: The same of points that are told though they were fitted, and the least part of the
#: modulus by which they are off.
_FAR, _SEEN = 5.0, 1e-4
#: Initial guesses for each spectrum, and the iterations that choose between them.
_STARTS, _FIRST_STEPS = 8, 12
#: Difference of parameters (ln) of one minimum and another; the same in errors, and
#: difference of the squares in units of the noise, of two minima that fit alike.
_OTHER, _DISTINCT, _ALIKE = 0.1, 4.0, 6.0
#: The same difference up to which what moves along a valley is an error.
_TRUSTED = 25.0
#: Spectra that are fitted at once: more do not fit the processor's cache.
_BLOCK = 256
#: Iterations of the fit of a chain of spectra.
_CHAIN_STEPS = 60
_WIDE = 27.6  # of the logarithm: 12 decades about the start


class Task(NamedTuple):
    """Hold the settings of a fit.

    Parameters
    ----------
    root
        Root of the circuit.
    omega
        (frequencies,) in rad/s.
    given
        (parameters,) the user's values, else NaN.
    fixed
        (parameters,) whether a given value is kept fixed.
    modulus
        Whether errors are in proportion to the modulus; else all are the same.
    robust
        Whether points far from the fit are left out.
    smoothing
        Change of parameters from one spectrum to the next; 0: unlimited.
    max_iter
        Maximum number of iterations.
    seed
        Seed of random choices.
    """

    root: Series
    omega: np.ndarray
    given: np.ndarray
    fixed: np.ndarray
    modulus: bool
    robust: bool
    smoothing: float
    max_iter: int
    seed: int


def fit(
    measured: np.ndarray, *, task: Task
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Fit spectra (..., frequencies).

    Returns
    -------
    tuple of numpy.ndarray
        Parameters and their errors (..., parameters), the fitted impedance
        (..., frequencies), the relative residual and flags (...).
    """
    lead = measured.shape[:-1]
    flat = measured.reshape(-1, measured.shape[-1])
    if task.smoothing > 0:
        # Each series is a chain of its own.
        whole = max(measured.shape[-2], 1)
        edges = range(0, max(len(flat), 1), whole)
        parts = [_fit(flat[a : a + whole], task) for a in edges]
    else:
        edges = range(0, max(len(flat), 1), _BLOCK)
        parts = [_fit(flat[a : a + _BLOCK], task) for a in edges]
    columns = [np.concatenate(c) for c in zip(*parts, strict=True)]
    return tuple(c.reshape((*lead, *c.shape[1:])) for c in columns)  # type: ignore[return-value]


class Independent(NamedTuple):
    """Hold fits of single spectra, and what else is known of them.

    Parameters
    ----------
    found
        Parameters, misfit, and whether the search converged.
    rival
        Parameters of another fit that is as good (NaN: none).
    reach
        Lower bounds of the errors of the parameters: how far they move along a curved
        valley of the misfit.
    """

    found: tuple[np.ndarray, np.ndarray, np.ndarray]
    rival: np.ndarray
    reach: np.ndarray


def _space(task: Task) -> Space:
    names = [n for e in elements(task.root) for n, _ in KINDS[e.kind].parameters]
    log = np.array([n not in EXPONENT_NAMES for n in names])
    low = np.where(log, -np.inf, EXPONENTS[0])
    high = np.where(log, np.inf, EXPONENTS[1])
    return Space(log, low, high, ~task.fixed)


def _fit(flat: np.ndarray, task: Task) -> tuple[np.ndarray, ...]:
    space = _space(task)
    there = np.isfinite(flat)
    clean = np.where(there, flat, 1.0)
    size = np.abs(clean) if task.modulus else np.ones(clean.shape)
    weights = np.where(there, 1.0 / np.maximum(size, 1e-300), 0.0)
    problem = CircuitProblem(task.root, task.omega, clean, weights)
    points, n_free = 2 * there.sum(axis=1), int(space.free.sum())
    enough = points > n_free
    size = np.full(task.given.shape, 1.0)
    theta = np.broadcast_to(space.theta(size), (len(flat), size.size)).copy()
    best, converged = np.full(len(flat), np.nan), np.zeros(len(flat), bool)
    rival, reach = np.full(theta.shape, np.nan), np.zeros(theta.shape)
    if enough.any():
        some = np.flatnonzero(enough)
        part = problem._replace(measured=clean[some], weights=weights[some])
        found, rival[some], reach[some] = _independent(part, space, task)
        if task.robust:
            part, found = _without_outliers(part, space, task, found)
            problem.weights[some] = part.weights
            points = 2 * (problem.weights > 0).sum(axis=1)
        theta[some], best[some], converged[some] = found
    theta = _sorted(task.root, space, theta)
    variance = best / np.maximum(points - n_free, 1)
    if task.smoothing > 0 and enough.any():
        some = np.flatnonzero(enough)
        part = problem._replace(measured=clean[some], weights=weights[some])
        spread = np.zeros((*theta.shape, theta.shape[1]))
        link = _links(space, task.smoothing, np.diff(some))
        theta[some], spread[some], settled = _neighbours(
            part, space, theta[some], variance[some], link
        )
        converged[some] = settled
    else:
        _, _, curvature = levenberg.normal(problem, space, theta)
        spread = levenberg.covariance(curvature, variance)
    sd = np.sqrt(np.maximum(np.einsum("bpp->bp", spread), 1e-300))
    wider = np.clip(reach / sd, 1.0, 1.0 if task.smoothing else _DISTINCT)
    spread = spread * wider[:, :, None] * wider[:, None, :]
    other = (np.abs(_sorted(task.root, space, rival) - theta) > _DISTINCT * sd).any(1)
    left_out = there.sum(axis=1) > (problem.weights > 0).sum(axis=1)
    *values, flag = _answer(problem, space, theta, spread, converged, enough)
    flag |= np.where(left_out, OUTLIERS, 0).astype(np.int8)
    return *values, flag | np.where(other & enough, ANOTHER, 0).astype(np.int8)


def _independent(problem: CircuitProblem, space: Space, task: Task) -> Independent:
    """Fit each spectrum by itself, from the best of several initial guesses."""
    rng = np.random.default_rng(task.seed)
    choices = starts.candidates(task.root, task.omega, rng)
    given = np.isfinite(task.given)
    powers = [k for e in elements(task.root) for k in KINDS[e.kind].scales]
    scales = np.array(powers, np.float64)
    keep = 1 if given.all() else min(_STARTS, len(choices))
    tries = starts.best_starts(problem, choices, scales, keep)
    tries[..., given] = task.given[given]
    n = len(problem.measured)
    whole = problem._replace(
        measured=np.concatenate([problem.measured] * keep),
        weights=np.concatenate([problem.weights] * keep),
    )
    theta = space.theta(tries.reshape(keep * n, -1))
    bounded = _opened(space, theta)
    rival = np.full((n, theta.shape[1]), np.nan)
    if keep == 1:
        found = levenberg.search(problem, bounded, theta, task.max_iter)
        return Independent(found, rival, np.zeros(theta.shape))
    theta, value, done = levenberg.search(whole, bounded, theta, _FIRST_STEPS)
    theta, value = theta.reshape(keep, n, -1), value.reshape(keep, n)
    rows, done = np.arange(n), done.reshape(keep, n)
    first = np.argmin(value, axis=0)
    # A worse minimum may be reached sooner: one that is still on its way goes on too.
    apart = np.abs(theta - theta[first, rows]).max(axis=2) > _OTHER
    rest = np.where(apart & ~done, value, np.inf)
    second = np.argmin(rest, axis=0)
    best = levenberg.search(problem, bounded, theta[first, rows], task.max_iter)
    some = np.flatnonzero(np.isfinite(rest[second, rows]))
    at = second[some], some
    if some.size:
        part = problem._replace(
            measured=problem.measured[some], weights=problem.weights[some]
        )
        other = levenberg.search(part, bounded, theta[at], task.max_iter)
        theta[at], value[at], done[at] = other
        better = other[1] < best[1][some]
        theta[first[some], some], value[first[some], some] = (
            best[0][some],
            best[1][some],
        )
        done[first[some], some] = best[2][some]
        for kept, new in zip(best, other, strict=True):
            kept[some[better]] = new[better]
    apart = np.abs(theta - best[0]).max(axis=2) > _OTHER
    spare = np.maximum(2 * (problem.weights > 0).sum(axis=1) - space.free.sum(), 1)
    alike = value - best[1] < _ALIKE * best[1] / spare
    good = np.where(apart & done & alike, value, np.inf)
    which = np.argmin(good, axis=0)
    told = np.isfinite(good[which, rows])
    rival[told] = theta[which, rows][told]
    return _walked(problem, bounded, (best, rival), spare, task.max_iter)


def _walked(
    problem: CircuitProblem,
    space: Space,
    found: tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    spare: np.ndarray,
    max_iter: int,
) -> Independent:
    """Find better fits, rivals, and larger errors along an uncertain parameter."""
    (theta, best, done), rival = found
    theta, rows = _sorted(problem.root, space, theta), np.arange(len(rival))
    _, _, curvature = levenberg.normal(problem, space, theta)
    spread = levenberg.covariance(curvature, best / spare)
    sd = np.sqrt(np.maximum(np.einsum("bpp->bp", spread), 0.0))
    held, freed = levenberg.walk(problem, space, theta, sd, max_iter)
    for places, _, _ in (held, freed):
        places[:] = [_sorted(problem.root, space, one) for one in places]
    # What the others move beside it is their error, if the valley is bent.
    rise = (held[1] - best) / (best / spare)
    moved = np.abs(held[0] - theta) / np.abs(levenberg.AWAY)[:, None, None]
    trusted = ((rise >= 0) & (rise < _TRUSTED))[:, :, None]
    reach = np.where(trusted, moved, 0.0).max(axis=0)
    end = np.argmin(freed[1], axis=0)
    better = freed[1][end, rows] < best * (1 - 1e-6)
    kept = theta, best.copy(), done.copy()
    for one, new in zip(kept, freed, strict=True):
        one[better] = new[end, rows][better]
    for ends in (freed, held):
        apart = np.abs(ends[0] - kept[0])
        alike = ends[1] - kept[1] < _ALIKE * kept[1] / spare
        other = alike & (apart > np.maximum(_DISTINCT * sd, _OTHER)).any(axis=2)
        left = np.where(other, ends[1], np.inf)
        end = np.argmin(left, axis=0)
        told = np.isfinite(left[end, rows]) & ~np.isfinite(rival[:, 0])
        rival[told] = ends[0][end, rows][told]
    reach[better] = 0.0
    return Independent(kept, rival, reach)


def _without_outliers(
    problem: CircuitProblem,
    space: Space,
    task: Task,
    found: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> tuple[CircuitProblem, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Leave out points that are far from the fit, until all others are near it.

    A point is taken back if a better fit comes near it.
    """
    theta, best, converged = (one.copy() for one in found)
    whole, weights = problem.weights, problem.weights.copy()
    for _ in range(_ROUNDS):
        z, _ = impedance(task.root, task.omega, space.values(theta))
        off = np.where(whole > 0, np.abs(z - problem.measured) * whole, np.nan)
        limit = _OFF * np.nanmedian(off, axis=1) / _MEDIAN
        # Leave out no more than a fraction: else the circuit is wrong, not the points.
        limit = np.maximum(limit, np.nanquantile(off, 1 - _SHARE, axis=1))
        new = np.where(off <= limit[:, None], whole, 0.0)
        rows = np.flatnonzero((new != weights).any(axis=1))
        if not rows.size:
            break
        weights[rows] = new[rows]
        part = problem._replace(measured=problem.measured[rows], weights=new[rows])
        open_ = _opened(space, theta[rows])
        theta[rows], best[rows], converged[rows] = levenberg.search(
            part, open_, theta[rows], task.max_iter
        )
    return problem._replace(weights=weights), (theta, best, converged)


def _opened(space: Space, theta: np.ndarray) -> Space:
    """Return the space with bounds on sizes, wide about their present values."""
    return space._replace(
        low=np.where(space.log, theta.min(axis=0) - _WIDE, space.low),
        high=np.where(space.log, theta.max(axis=0) + _WIDE, space.high),
    )


def _sorted(root: Series, space: Space, theta: np.ndarray) -> np.ndarray:
    """Sort parts of the same kind by time constant, the faster first."""
    alike: dict[str, list[Node]] = {}
    for part in root.parts:
        if not isinstance(part, Element):
            alike.setdefault(shape(part), []).append(part)
    for parts in alike.values():
        if len(parts) < 2 or not space.free.all():
            continue
        spans = [span(part) for part in parts]
        delay = np.stack([_delay(part, space.values(theta)) for part in parts], axis=1)
        order = np.argsort(delay, axis=1)
        before = theta.copy()
        for k, (a, b) in enumerate(spans):
            for j, (c, d) in enumerate(spans):
                theta[:, a:b] = np.where(
                    order[:, [k]] == j, before[:, c:d], theta[:, a:b]
                )
    return theta


def _delay(part: Node, values: np.ndarray) -> np.ndarray:
    """Return the time constant of a part's first resistor and capacitor or CPE."""
    resistance = storage = exponent = np.ones(len(values))
    for e in reversed(elements(part)):
        if e.kind == "R":
            resistance = values[:, e.first]
        elif e.kind == "C":
            storage, exponent = values[:, e.first], np.ones(len(values))
        elif e.kind == "CPE":
            storage, exponent = values[:, e.first], values[:, e.first + 1]
    return (resistance * storage) ** (1.0 / exponent)


def _links(space: Space, smoothing: float, apart: np.ndarray) -> np.ndarray:
    """Return how firmly each spectrum is tied to the next (links, parameters).

    The tie across a left-out spectrum is half as firm.
    """
    free = np.where(space.free, 1.0 / smoothing**2, 0.0)
    return free / apart[:, None]


def _neighbours(
    problem: CircuitProblem,
    space: Space,
    theta: np.ndarray,
    variance: np.ndarray,
    link: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Fit all spectra together: each parameter changes little from one to the next.

    Gauss-Newton steps on a chain, in which each spectrum is tied to its neighbours.
    Returns parameters, their covariances, and whether the search converged.
    """
    size = theta.shape[1]
    bound = np.zeros_like(theta)
    bound[1:] += link
    bound[:-1] += link
    # An exact fit leaves only rounding.
    typical = max(float(np.median(variance)), 1e-40)
    damping, best, new, settled = 1e-6, np.inf, theta, False
    diagonal = np.eye(size)
    for _ in range(_CHAIN_STEPS):
        value, gradient, curvature = levenberg.normal(problem, space, new)
        steps = np.diff(new, axis=0)
        total = value.sum() / typical + float((link * steps**2).sum())
        if total < best * (1 + 1e-12):
            gain = (best - total) / max(total, 1e-300)
            theta, best, damping = new, total, max(damping * 0.2, 1e-9)
            pull = np.zeros_like(theta)
            pull[1:] += link * steps
            pull[:-1] -= link * steps
            slope = gradient / typical + pull
            blocks = curvature / typical + bound[:, :, None] * diagonal
            blocks += np.diag((~space.free).astype(float))
            if settled := gain < 1e-9:
                break
        else:
            damping *= 10.0
        eye = damping * np.einsum("bpp->bp", blocks)[:, :, None] * diagonal
        step = _chain(blocks + eye, link, -slope)
        new = np.clip(theta + np.clip(step, -1, 1), space.low, space.high)
    return theta, _marginal(blocks, link), settled


def _chain(blocks: np.ndarray, link: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve a chain: `blocks` on the diagonal, ``-link`` beside them."""
    n, size = right.shape
    s, r = blocks.copy(), right.copy()
    for k in range(1, n):
        beside = -np.diag(link[k - 1])
        factor = beside @ np.linalg.inv(s[k - 1])
        s[k] -= factor @ beside
        r[k] -= factor @ r[k - 1]
    x = np.zeros_like(right)
    for k in range(n - 1, -1, -1):
        after = -link[k] * x[k + 1] if k + 1 < n else np.zeros(size)
        x[k] = np.linalg.solve(s[k], r[k] - after)
    return x


def _marginal(blocks: np.ndarray, link: np.ndarray) -> np.ndarray:
    """Return the marginal covariance of each spectrum in a chain."""
    down, up = blocks.copy(), blocks.copy()
    for k in range(1, len(blocks)):
        beside = np.diag(link[k - 1])
        down[k] -= beside @ np.linalg.inv(down[k - 1]) @ beside
    for k in range(len(blocks) - 2, -1, -1):
        beside = np.diag(link[k])
        up[k] -= beside @ np.linalg.inv(up[k + 1]) @ beside
    return np.linalg.pinv(down + up - blocks, hermitian=True)


def _answer(
    problem: CircuitProblem,
    space: Space,
    theta: np.ndarray,
    spread: np.ndarray,
    converged: np.ndarray,
    enough: np.ndarray,
) -> tuple[np.ndarray, ...]:
    values = space.values(theta)
    scale = np.where(space.log, values, 1.0)
    spread_of = np.sqrt(np.maximum(np.einsum("bpp->bp", spread), 0.0))
    errors = np.where(space.free, scale * spread_of, 0.0)
    fitted, _ = impedance(problem.root, problem.omega, values)
    there = problem.weights > 0
    off = (fitted - problem.measured) / np.abs(problem.measured)
    relative = np.abs(off)
    with np.errstate(invalid="ignore", divide="ignore"):
        squares = np.where(there, relative**2, 0.0).sum(axis=1)
        residual = np.sqrt(squares / there.sum(axis=1))
    edge = ~space.log & space.free
    bound = (edge & ((theta <= space.low) | (theta >= space.high))).any(axis=1)
    loose = (space.free & (errors > np.abs(values))).any(axis=1)
    flag = np.where(converged, 0, NOT_CONVERGED) | np.where(bound, AT_BOUND, 0)
    flag |= np.where(loose, UNDETERMINED, 0)
    lies = np.where(
        there, relative * np.abs(problem.measured) * problem.weights, np.nan
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        free = np.maximum(1.0 - space.free.sum() / (2.0 * there.sum(axis=1)), 0.1)
        sd = np.nanmedian(np.where(enough[:, None], lies, 0.0), axis=1) / (
            _MEDIAN * np.sqrt(free)
        )
    far = (lies > _FAR * sd[:, None]) & (relative > _SEEN)
    flag |= np.where(far.any(axis=1), OUTLIERS, 0)
    odd = linear.systematic(np.where(there, off, np.nan), omega=problem.omega)
    flag |= np.where(odd, MISFIT, 0)
    flag = np.where(enough, flag, TOO_FEW).astype(np.int8)
    lost = ~enough
    values[lost], errors[lost] = np.nan, np.nan
    fitted[lost], residual[lost] = np.nan, np.nan
    return values, errors, fitted, residual, flag
