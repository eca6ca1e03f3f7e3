"""The set of all factorisations that fit alike, walked by hit-and-run.

Every factorisation of the same matrix is ``W = U inv(S)``, ``H = S V``, with S (k, k)
the components in the coordinates of orthonormal V. It is feasible if no weight and no
value of a component is below zero by more than a tolerance. Along a line on which one
component moves, all these conditions become linear when multiplied by a positive
number. The feasible piece of the line is then known exactly, and a point on it is
drawn at random (Smith, Oper. Res. 32, 1296, 1984). Directions do not depend on the
place of the component, so that the set is covered evenly. The ends of each piece are
feasible too and count towards the range. The set itself: Borgen & Kowalski, Anal.
Chim. Acta 174, 1 (1985).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.core.kernels.compiling import njit

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Cube, Floats, FloatTable


#: Number of steps from which a walk also climbs to the ends of the weights.
_CLIMBING = 10_000
#: Up to this many components corners are few, and cheap to find.
_HULL = 5
#: Smallest fraction of its volume that the space of components keeps in one move.
_FLAT = 1e-9


@dataclass
class Range:
    """Hold the ranges that a walk has found.

    Parameters
    ----------
    rotations
        (draws, k, k): ``rotation @ components`` and ``weights' @ inv(rotation)`` fit
        as well as the factors from which the walk started.
    weights, components
        Lowest and highest values, (2, k, samples) and (2, k, points).
    moved
        Fraction of the steps that could move.
    """

    rotations: np.ndarray
    weights: np.ndarray
    components: np.ndarray
    moved: float


class Scatter(NamedTuple):
    """Hold the noise of the data, and the part of it in the components.

    Parameters
    ----------
    level
        Standard deviation of a value of the data.
    covariance
        (k, k) covariance of the components at each point, in units of the variance of
        the data; by default as for components that are all free.
    samples
        (samples,) deviation of each pattern over the level; None for equal ones.
    given
        (k, samples) known weights, which have no noise, NaN where they are free.
    memory
        Variance of a weight over that for noise without memory, see `adding_up`.
    """

    level: float
    covariance: np.ndarray | None = None
    samples: np.ndarray | None = None
    given: np.ndarray | None = None
    memory: float = 1.0


class Walk(NamedTuple):
    """Set how long a walk is.

    Parameters
    ----------
    steps
        Moves of one component.
    draws
        Number of factorisations to return, evenly spaced along the walk.
    points
        Give the ranges of the components at all points. False gives them at those
        alone that bound the others: the same walk in less time.
    """

    steps: int = 40_000
    draws: int = 400
    points: bool = True


_USUAL = Walk()


def explore(
    weights: np.ndarray,
    components: np.ndarray,
    fixed: np.ndarray,
    rng: np.random.Generator,
    *,
    closure: bool,
    noise: Scatter,
    walk: Walk = _USUAL,
) -> Range:
    """Walk over all factorisations that fit as well as the given one.

    Parameters
    ----------
    weights, components
        (k, samples) and (k, points), non-negative.
    fixed
        (k,) bool: components that do not move.
    rng
        Random numbers.
    closure
        Weights sum to one; otherwise each component keeps its sum over the points.
    noise
        Noise of the data. It sets how far below zero weights and components may go: if
        all were zero, one of them would exceed this limit with probability 1/20.
    walk
        How long the walk is.
    """
    from scipy.special import ndtri

    k, (steps, draws, points) = len(components), walk
    if fixed.all():
        low = _twice(weights), _twice(components)
        return Range(np.eye(k)[None], *low, 0.0)
    q, r = np.linalg.qr(components.T)
    axes, s = np.ascontiguousarray(q.T), np.ascontiguousarray(r.T)
    scores = np.ascontiguousarray(weights.T @ s)
    outer = slice(None) if points else _outer(axes)
    # Directions that keep the sum of the weights, or the area of the component.
    keep = np.linalg.solve(s, np.ones(k)) if closure else axes.sum(axis=1)
    thin = max(steps // draws, 1)
    low = _twice(weights), _twice(components[:, outer])
    covariance = noise.covariance
    slack = [
        noise.level * float(ndtri(1 - 0.05 / x.size)) for x in (weights, components)
    ]
    slack[0] *= float(np.sqrt(noise.memory))
    samples = np.ones(weights.shape[1]) if noise.samples is None else noise.samples
    if covariance is None:
        spread = np.linalg.pinv(scores.T @ scores, hermitian=True)
    else:
        back = np.linalg.inv(s)
        spread = back @ covariance @ back.T
        # Weights err by the noise of their pattern, and by that of the components.
        own = np.einsum("is,ij,js->s", weights, covariance, weights)
        samples = np.sqrt(samples**2 + own.max())
    place = _Place(
        np.ascontiguousarray(weights, dtype=np.float64),
        np.ascontiguousarray(components[:, outer], dtype=np.float64),
        scores,
        np.ascontiguousarray(axes[:, outer]),
        s,
    )
    edges = _Edges(
        keep / np.linalg.norm(keep),
        np.flatnonzero(~fixed),
        np.ascontiguousarray(spread),
        slack[0] * np.ascontiguousarray(samples, dtype=np.float64),
        slack[1],
        *_limits(weights, noise.given),
    )
    seen = _Seen(*low)
    turns, moved = _walk(rng, place, edges, thin * draws, thin, seen, -1)
    # A random walk seldom reaches the corners, where the truth often lies.
    if k > 2 and steps >= _CLIMBING:
        for goal in range(2 * k):
            _walk(rng, place, edges, steps // (4 * k), steps, seen, goal)
    return Range(turns @ np.linalg.inv(s), *low, moved)


def _outer(axes: np.ndarray) -> np.ndarray | slice:
    """Return the points (k, points) between which all others lie.

    A component is a sum of axes. It is lowest at a corner of their convex hull: where
    it is high enough at all corners, it is so at all points.
    """
    from scipy.spatial import ConvexHull, QhullError  # type: ignore[attr-defined]

    if not 1 < len(axes) <= _HULL:
        return slice(None)
    try:
        return np.asarray(np.sort(ConvexHull(axes.T).vertices))
    except QhullError:  # too few points, or flat ones
        return slice(None)


def _twice(values: np.ndarray) -> np.ndarray:
    """Return an array stacked twice, in the memory layout of compiled functions."""
    return np.array([values, values], order="C")


def _limits(
    weights: np.ndarray, given: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and highest value of each weight, (k, samples)."""
    least, most = np.zeros(weights.shape), np.full(weights.shape, np.inf)
    if given is not None:
        known = ~np.isnan(given)
        # Do not demand known weights more strictly than the fit itself met them.
        least[known] = np.minimum(given, weights)[known]
        most[known] = np.maximum(given, weights)[known]
    return least, most


def inherited(
    weights: np.ndarray,
    scan: np.ndarray,
    free: np.ndarray,
    samples: np.ndarray | None = None,
) -> np.ndarray:
    """Return the covariance of components (k, k) for noise of variance one.

    Free components are found by least squares. They have the averaged noise of the
    patterns, and inherit the noise of each fixed scan in proportion to its weight in
    the same patterns.

    Parameters
    ----------
    weights
        (k, samples).
    scan, free
        (k,) masks of the fixed scans, and of the free components (found ones included).
    samples
        (samples,) deviation of each pattern; None if all are one.
    """
    out = np.zeros((len(weights), len(weights)))
    own_scan = np.ones(int(scan.sum()))
    if samples is not None:
        own_scan = samples[weights[scan].argmax(axis=1)]
        weights = weights / samples
    out[np.ix_(scan, scan)] = np.diag(own_scan**2)
    if not free.any():
        return out
    own = np.linalg.pinv(weights[free] @ weights[free].T, hermitian=True)
    carried = own @ weights[free] @ weights[scan].T
    out[np.ix_(free, free)] = own + (carried * own_scan**2) @ carried.T
    out[np.ix_(free, scan)] = -carried * own_scan**2
    out[np.ix_(scan, free)] = out[np.ix_(free, scan)].T
    return out


def left_over(
    weights: np.ndarray,
    scan: np.ndarray,
    free: np.ndarray,
    points: int,
    *,
    closure: bool,
) -> float:
    """Return the fraction of the squared noise that is left as residual.

    Free components absorb the noise of as many patterns, and weights that of as many
    points of each pattern. A fixed scan leaves no residual of its own, and its noise
    enters all other patterns.

    Parameters
    ----------
    weights
        (k, samples).
    scan, free
        (k,) as in `inherited`.
    points
        Number of points of a pattern.
    closure
        Whether weights sum to one.
    """
    samples = weights.shape[1]
    w, s = weights[free], weights[scan]
    rows = float(samples - free.sum() - 2 * scan.sum()) + float((s**2).sum())
    if free.any() and scan.any():
        both = w @ s.T
        rows -= float(np.trace(both.T @ np.linalg.pinv(w @ w.T, hermitian=True) @ both))
    also = (len(weights) - int(closure)) / max(points, 1)
    return max(rows / max(samples, 1) * (1.0 - also), 0.1)


class _Place(NamedTuple):
    """Hold a factorisation: both factors, and their coordinates.

    Parameters
    ----------
    weights, components
        (k, samples) and (k, points).
    scores, axes, s
        Orthonormal axes (k, points) and coordinates: ``components = s axes``, and
        `scores` (samples, k) of the samples.
    """

    weights: FloatTable
    components: FloatTable
    scores: np.ndarray
    axes: FloatTable
    s: np.ndarray


class _Edges(NamedTuple):
    """Hold the limits of a walk.

    Parameters
    ----------
    keep
        (k,) unit vector along which no component moves.
    moving
        Indices of the components that move.
    spread
        (k, k) inverse Gram of the scores.
    weight_slack, component_slack
        How far noise may take a weight, (samples,), and a component below zero.
    least, most
        (k, samples) limits of each weight, before noise.
    """

    keep: np.ndarray
    moving: np.ndarray
    spread: np.ndarray
    weight_slack: Floats
    component_slack: float
    least: FloatTable
    most: FloatTable


class _Seen(NamedTuple):
    """Hold the extremes so far, (2, k, samples) and (2, k, points)."""

    weights: np.ndarray
    components: np.ndarray


@njit(cache=True, nogil=True, error_model="numpy")
def _walk(
    rng: np.random.Generator,
    place: _Place,
    edges: _Edges,
    steps: int,
    thin: int,
    seen: _Seen,
    goal: int,
) -> tuple[np.ndarray, float]:
    """Walk through the feasible set, at random (goal -1) or towards an extreme.

    An even goal is the most, an odd one the least, of component ``goal // 2``.
    """
    components, axes, moving = place.components, place.axes, edges.moving
    k, points = components.shape
    first, s = place.s.copy(), place.s.copy()
    w, h = place.weights.copy(), components.copy()
    inverse = np.linalg.inv(s)
    out = np.empty((steps // thin, k, k))
    rate: Floats = np.empty(points)
    slack: Floats = np.empty(k)
    g: Floats = np.empty(k)
    moved = 0
    for step in range(steps):
        j = moving[int(rng.random() * moving.size)]
        d = _direction(rng, first, s, j, edges.keep)
        for i in range(k):
            g[i] = 0.0
            for a in range(k):
                g[i] += d[a] * inverse[a, i]
        for p in range(points):
            rate[p] = 0.0
        for i in range(k):
            for p in range(points):
                rate[p] += d[i] * axes[i, p]
        # The effect of noise depends on how alike the components are.
        alike = 0.0
        for i in range(k):
            square = 0.0
            for a in range(k):
                square += inverse[a, i] ** 2
                alike += s[j, a] * edges.spread[a, i] * s[j, i]
            slack[i] = np.sqrt(square)
        dip = edges.component_slack * np.sqrt(max(alike, 0.0))
        low, high = _along_components(h[j], rate, dip)
        low, high = _along_weights(w, g, j, slack, edges, low, high)
        if 0.0 < high - low < 1e12:
            _see_components(h[j], rate, low, high, seen.components[:, j])
            _see_weights(w, g, j, low, seen.weights)
            _see_weights(w, g, j, high, seen.weights)
            t = low + (high - low) * rng.random()
            if goal >= 0:
                t = _towards(w, g, j, goal, low, high, 0.1 * t)
            if abs(1 + t * g[j]) < _FLAT:  # one component would be a mix of others
                t = 0.0
            share = t / (1 + t * g[j])
            for i in range(k):
                if i != j:
                    for c in range(w.shape[1]):
                        w[i, c] -= share * g[i] * w[j, c]
            for c in range(w.shape[1]):
                w[j, c] /= 1 + t * g[j]
            for p in range(points):
                h[j, p] += t * rate[p]
            for a in range(k):
                s[j, a] += t * d[a]
            inverse = np.linalg.inv(s)
            moved += 1
        if step % thin == thin - 1:
            for i in range(k):
                for a in range(k):
                    out[step // thin, i, a] = s[i, a]
                for c in range(w.shape[1]):  # rounding ends here
                    w[i, c] = 0.0
                    for a in range(k):
                        w[i, c] += place.scores[c, a] * inverse[a, i]
    return out, moved / steps


@njit(cache=True, nogil=True, error_model="numpy")
def _towards(
    w: FloatTable,
    g: Floats,
    j: int,
    goal: int,
    low: float,
    high: float,
    otherwise: float,
) -> float:
    """Return nearly the end of a piece that holds more of a component, if any."""
    i, sign = goal // 2, 1.0 - 2.0 * (goal % 2)
    own, moving = 0.0, 0.0
    for c in range(w.shape[1]):
        own += w[i, c]
        moving += w[j, c]
    best, there = sign * own, otherwise
    for t in (0.9 * low, 0.9 * high):
        scale = 1.0 / (1.0 + t * g[j])
        total = moving * scale
        if i != j:
            total = own - t * g[i] * total
        if sign * total > best:
            best, there = sign * total, t
    return there


@njit(cache=True, nogil=True, error_model="numpy")
def _direction(
    rng: np.random.Generator,
    first: np.ndarray,
    s: np.ndarray,
    j: int,
    keep: np.ndarray,
) -> np.ndarray:
    """Return a direction for component j that does not depend on its place."""
    k = len(s)
    d = np.zeros(k)
    if k > 2 and rng.random() < 0.5:
        # Along an edge of the simplex of the others.
        a = int(rng.random() * (k - 1))
        b = int(rng.random() * (k - 2))
        a += a >= j
        for i in range(k):
            if i != j and i != a:
                if b == 0:
                    for c in range(k):
                        d[c] = s[a, c] - s[i, c]
                b -= 1
    else:
        for i in range(k):
            far = rng.normal()
            for c in range(k):
                d[c] += far * (first[i, c] - first[j, c])
        if k == 1:
            d[0] = rng.normal()
    along = 0.0
    for c in range(k):
        along += d[c] * keep[c]
    for c in range(k):
        d[c] -= along * keep[c]
    return d


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _along_components(h: Floats, rate: Floats, slack: float) -> tuple[float, float]:
    """Return the step limits at which a component falls below the slack."""
    up = down = 1e-300
    for p in range(h.size):
        ratio = rate[p] / max(h[p] + slack, 1e-300)
        up = max(up, -ratio)
        down = max(down, ratio)
    return -1 / down, 1 / up


@njit(cache=True, nogil=True, error_model="numpy")
def _along_weights(
    w: FloatTable,
    g: Floats,
    j: int,
    reach: Floats,
    edges: _Edges,
    low: float,
    high: float,
) -> tuple[float, float]:
    """Return the part of low..high in which each weight stays within its limits.

    After the step t the weights are ``w_i - t g_i w_j / (1 + t g_j)``, and
    ``w_j / (1 + t g_j)``; times ``1 + t g_j`` > 0 the conditions are linear in t.
    """
    own = g[j]
    if own > 0:
        low = max(low, -(1 - 1e-9) / own)
    elif own < 0:
        high = min(high, -(1 - 1e-9) / own)
    for i in range(len(w)):
        for c in range(w.shape[1]):
            slack = reach[i] * edges.weight_slack[c]
            least, most = edges.least[i, c] - slack, edges.most[i, c] + slack
            a = max(w[i, c] - least, 0.0)
            b = -least * own if i == j else a * own - g[i] * w[j, c]
            if b > 0:
                low = max(low, -a / b)
            elif b < 0:
                high = min(high, -a / b)
            if most < 1e300:
                a = max(most - w[i, c], 0.0)
                b = most * own if i == j else a * own + g[i] * w[j, c]
                if b > 0:
                    low = max(low, -a / b)
                elif b < 0:
                    high = min(high, -a / b)
    return low, high


@njit(cache=True, nogil=True, error_model="numpy")
def _see_components(
    h: Floats, rate: Floats, low: float, high: float, seen: FloatTable
) -> None:
    for p in range(h.size):
        a, b = h[p] + low * rate[p], h[p] + high * rate[p]
        seen[0, p] = min(seen[0, p], a, b)
        seen[1, p] = max(seen[1, p], a, b)


@njit(cache=True, nogil=True, error_model="numpy")
def _see_weights(w: FloatTable, g: Floats, j: int, t: float, seen: Cube[float]) -> None:
    scale = 1 / (1 + t * g[j])
    for i in range(len(w)):
        for c in range(w.shape[1]):
            v = w[j, c] * scale
            if i != j:
                v = w[i, c] - t * g[i] * v
            seen[0, i, c] = min(seen[0, i, c], v)
            seen[1, i, c] = max(seen[1, i, c], v)
