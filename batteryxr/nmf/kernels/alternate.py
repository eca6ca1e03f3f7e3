"""Alternating exact least squares with extrapolation.

Both factors are solved exactly in turn. The components are then pushed further along
their last step, with a restart where that overshoots (Ang & Gillis, Neural Comput.
31, 417, 2019). In practice this converges like a second-order method: in a few tens
of iterations where coordinate descent takes thousands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.nmf.kernels import nnls, normal

#: Iterations during which unused components get a new shape.
_REVIVING = 50
#: Largest number of projections that bend weights to one maximum.
_TURNS = 30
#: A misfit below this fraction of the sum of squares is rounding.
_ROUNDING = 1e-14

if TYPE_CHECKING:
    from collections.abc import Callable

    from batteryxr.nmf.kernels.normal import Normal


@dataclass(frozen=True)
class Rules:
    """Hold the constraints of the factors, and the rules to stop.

    Parameters
    ----------
    fixed
        (k,) bool: components that stay as given.
    closure
        Weights of each sample sum to one.
    sparsity
        Strength of the L1 penalty, in units of the mean signal of one component.
    smoothness
        Penalty on the squared second differences of each component's contribution,
        relative to the squared contribution itself.
    weight_smoothness
        The same for first differences of the weights along the samples.
    solver
        ``"active-set"`` solves each half exactly, ``"hals"`` by five sweeps,
        ``"coordinate"`` by one sweep without extrapolation.
    max_iter
        Largest number of alternations.
    given
        (k, samples) known weights, NaN where they are free; or None.
    unimodal
        (k,) bool: weights rise to one maximum and fall; or None.
    signed
        (k,) bool: components that may be negative; or None.
    enough
        Misfit at which to stop.
    tol
        Stop when ten alternations lower the error by less than this fraction.
    patience
        Number of alternations over which convergence is judged, with the tolerance
        scaled to that number.
    """

    fixed: np.ndarray
    closure: bool = False
    sparsity: float = 0.0
    smoothness: float = 0.0
    weight_smoothness: float = 0.0
    solver: str = "active-set"
    max_iter: int = 1000
    tol: float = 1e-5
    given: np.ndarray | None = None
    unimodal: np.ndarray | None = None
    signed: np.ndarray | None = None
    enough: float = 0.0
    patience: int = 10

    @property
    def told(self) -> bool:
        """Tell whether something is known of single components."""
        known = (self.given, self.unimodal, self.signed)
        return any(value is not None for value in known)

    @property
    def sweeps(self) -> int:
        """Return the sweeps over each half; 0 where it is solved exactly."""
        return {"hals": 5, "coordinate": 1}.get(self.solver, 0)


@dataclass
class Run:
    """Hold the outcome of one start."""

    weights: np.ndarray
    components: np.ndarray
    error: float
    n_iter: int
    converged: bool


def factorise(
    data: Normal,
    start: np.ndarray,
    rules: Rules,
    *,
    weights: np.ndarray | None = None,
    stop: Callable[[], None] | None = None,
) -> Run:
    """Factorise data from one start.

    Parameters
    ----------
    data
        `normal.Plain` or `normal.Weighted`.
    start
        (k, points), non-negative; fixed rows hold the fixed components.
    rules
        Constraints, penalties, and when to stop.
    weights
        (k, samples) initial weights of sweeps; equal ones by default.
    stop
        Called at each alternation; may raise an error to end the work.

    Returns
    -------
    Run
        Weights (k, samples) optimal for the components, relative error
        (of the Frobenius norm) without penalties.
    """
    best = start.astype(np.float64)
    fixed = np.asarray(rules.fixed, dtype=bool)
    floor = np.zeros((len(start), 1))
    if rules.signed is not None:
        floor[rules.signed] = -np.inf
    push, beta, cap = best.copy(), 0.5, 1.0
    if rules.solver == "coordinate" or rules.unimodal is not None:
        beta = cap = 0.0  # stay near the start
    if weights is None:
        weights = np.full((len(start), data.shape[0]), 1.0 / len(start))
    sparse = _strengths(rules, len(start), data.shape, data.mean)
    previous = np.inf
    trace: list[float] = []
    converged = False
    for _ in range(rules.max_iter):
        if stop is not None:
            stop()
        terms = data.for_weights(push)
        weights = _weights(terms, push, weights, rules, sparse=sparse)
        terms = data.for_components(weights)
        new = _components(terms, push, weights, rules, sparse=sparse)
        value = data.misfit(weights, new, terms)
        value += _penalty(weights, new, rules, sparse)
        trace.append(min(value, previous))
        if value > previous:
            if np.array_equal(push, best):
                converged = True
                break
            push, cap, beta = best.copy(), beta, beta / 1.5
            continue
        if len(trace) <= _REVIVING:
            dead = ~fixed & ((weights.max(axis=1) <= 0) | (abs(new).max(axis=1) <= 0))
            new = _revive(data, weights, new, dead) if dead.any() else new
        push = np.maximum(new + beta * (new - best), floor)
        push[fixed] = best[fixed]
        beta = min(cap, beta * 1.05)
        cap = min(1.0, cap * 1.01)
        best, previous = new, value
        least = max(_ROUNDING * data.total, rules.enough)
        if value <= least or _settled(trace, rules):
            converged = True
            break
    terms = data.for_weights(best)
    weights = _weights(terms, best, weights, rules, sparse=sparse)
    misfit = data.misfit(weights, best, data.for_components(weights))
    error = _relative(misfit, data.total)
    return Run(weights, best, error, len(trace), converged)


def _settled(trace: list[float], rules: Rules) -> bool:
    """Tell whether the last alternations no longer lower the error."""
    last = rules.patience
    if len(trace) <= last:
        return False
    limit = 0.2 * last * rules.tol * abs(trace[-1])
    return trace[-1 - last] - trace[-1] < limit


def _relative(misfit: float, total: float) -> float:
    return float(np.sqrt(max(misfit, 0.0) / total)) if total > 0 else 0.0


def _strengths(
    rules: Rules, k: int, shape: tuple[int, int], mean: float
) -> tuple[float, float]:
    """Return the L1 strengths on components and on weights."""
    samples, points = shape
    unit = rules.sparsity * abs(mean) / k
    # Weights that sum to one have a constant L1 norm.
    return unit * samples, 0.0 if rules.closure else unit * points


def _weights(
    terms: tuple[np.ndarray, np.ndarray],
    components: np.ndarray,
    before: np.ndarray,
    rules: Rules,
    *,
    sparse: tuple[float, float],
) -> np.ndarray:
    """Return the best weights for components; `terms` are their normal equations."""
    gram, rhs = terms
    rhs = rhs.astype(np.float64, copy=False)
    if rules.sparsity:
        rhs = rhs - sparse[1]
    if rules.smoothness:
        gram = gram + np.diag(rules.smoothness * normal.roughness(components))
    if rules.unimodal is not None and rules.unimodal.any():
        return _with_one_maximum(gram, rhs, rules)
    if rules.given is not None:
        return _around_given(gram, rhs, rules.given, closure=rules.closure)
    if rules.weight_smoothness:
        return _smooth_weights(gram, rhs, before, components, rules)
    if rules.sweeps and not rules.closure:
        weights = before.copy()
        normal.sweep(gram, rhs, weights, rules.sweeps)
        return weights
    return nnls.solve(gram, rhs, closure=rules.closure, before=before)


def _with_one_maximum(gram: np.ndarray, rhs: np.ndarray, rules: Rules) -> np.ndarray:
    """Solve all weights, bend some to one maximum, and solve the others again."""
    bent = np.asarray(rules.unimodal)
    given = rules.given if rules.given is not None else np.full(rhs.shape, np.nan)
    first = _around_given(gram, rhs, given, closure=rules.closure)
    known = given.copy()
    known[bent] = _bent(first, bent, given, closure=rules.closure)[bent]
    return _around_given(gram, rhs, known, closure=rules.closure)


def _bent(
    weights: np.ndarray, bent: np.ndarray, given: np.ndarray, *, closure: bool
) -> np.ndarray:
    """Return weights near these, some with one maximum, that sum to one.

    It projects on either condition in turn; known weights stay.
    """
    out, free = weights.copy(), np.isnan(given)
    for _ in range(_TURNS):
        out[bent] = [one_maximum(row) for row in out[bent]]
        out = np.where(free, out, given)
        excess = out.sum(axis=0) - 1.0
        if not closure or np.abs(excess).max() < 1e-4:
            break
        for _ in range(len(out)):
            moving = free & ((out > 0) | (excess < 0))
            out -= moving * excess / np.maximum(moving.sum(axis=0), 1)
            np.maximum(out, 0.0, out=out)
            excess = out.sum(axis=0) - 1.0
    if not closure:
        return out
    known = np.where(free, 0.0, out).sum(axis=0)
    rest = np.maximum(np.where(free, out, 0.0).sum(axis=0), 1e-300)
    return np.where(free, out * np.maximum(1.0 - known, 0.0) / rest, out)


def one_maximum(row: np.ndarray) -> np.ndarray:
    """Return the profile with one maximum that is nearest by least squares.

    It rises and falls, and the parts meet at the best place (Bro & Sidiropoulos, J.
    Chemom. 12, 223, 1998). Neighbours that are out of order are pooled (Kruskal,
    Psychometrika 29, 115, 1964).
    """
    _, rising = _pooled(row)
    _, falling = _pooled(row[::-1])
    cut = int(np.argmin(rising + falling[::-1]))  # that many values rise
    return np.concatenate([_pooled(row[:cut])[0], _pooled(row[cut:][::-1])[0][::-1]])


def _pooled(row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the best rising profile, and the misfits of the first 0, 1, ... values."""
    levels: list[float] = []
    sizes: list[int] = []
    misfits = [0.0]
    for value in row.tolist():
        level, size, lost = value, 1, misfits[-1]
        while levels and levels[-1] > level:
            before, many = levels.pop(), sizes.pop()
            lost += many * size / (many + size) * (before - level) ** 2
            level = (before * many + level * size) / (many + size)
            size += many
        levels.append(level)
        sizes.append(size)
        misfits.append(lost)
    return np.repeat(np.array(levels), sizes), np.array(misfits)


def _around_given(
    gram: np.ndarray, rhs: np.ndarray, given: np.ndarray, *, closure: bool
) -> np.ndarray:
    """Solve the free weights, given the known ones."""
    weights = np.nan_to_num(given)
    free = np.isnan(given)
    kinds, group = np.unique(free, axis=1, return_inverse=True)
    for number in range(kinds.shape[1]):
        here, move = np.flatnonzero(group.ravel() == number), kinds[:, number]
        if not move.any():
            continue
        own = gram[here] if gram.ndim == 3 else gram
        cross = own[..., move, :][..., ~move]
        product = "fx,xq->fq" if gram.ndim == 2 else "qfx,xq->fq"
        known = weights[~move][:, here]
        right = rhs[move][:, here] - np.einsum(product, cross, known)
        left = np.maximum(1.0 - known.sum(axis=0), 0.0) if closure else 1.0
        right = right / np.maximum(left, 1e-12)
        found = nnls.solve(own[..., move, :][..., move], right, closure=closure)
        weights[np.ix_(move, here)] = found * left
    return weights


def _smooth_weights(
    gram: np.ndarray,
    rhs: np.ndarray,
    before: np.ndarray,
    components: np.ndarray,
    rules: Rules,
) -> np.ndarray:
    """Solve odd samples given the even ones, then the even given the odd."""
    weights = before.copy()
    strength = rules.weight_smoothness * (components**2).sum(axis=1)[:, None]
    samples = weights.shape[1]
    neighbours = np.full(samples, 2.0)
    neighbours[[0, -1]] = 1.0
    for _ in range(2):
        for parity in (1, 0):
            mine = np.arange(parity, samples, 2)
            beside = np.zeros((len(weights), samples + 2))
            beside[:, 1:-1] = weights
            pull = strength * (beside[:, mine] + beside[:, mine + 2])
            for count in np.unique(neighbours[mine]):
                group = neighbours[mine] == count
                own = gram[mine[group]] if gram.ndim == 3 else gram
                stiff = own + np.diag(count * strength[:, 0])
                right = rhs[:, mine[group]] + pull[:, group]
                weights[:, mine[group]] = nnls.solve(
                    stiff, right, closure=rules.closure
                )
    return weights


def _components(
    terms: tuple[np.ndarray, np.ndarray],
    before: np.ndarray,
    weights: np.ndarray,
    rules: Rules,
    *,
    sparse: tuple[float, float],
) -> np.ndarray:
    """Return the best components for weights; `terms` are their normal equations."""
    gram, rhs = terms
    new, fixed = before.copy(), np.asarray(rules.fixed, dtype=bool)
    if fixed.all():
        return new
    free = ~fixed
    rhs = rhs.astype(np.float64, copy=False)[free]
    if fixed.any():
        rhs = rhs - _product(gram, before, free, fixed)
    gram = gram[..., free, :][..., free]
    if rules.sparsity:
        rhs = rhs - sparse[0]
    if rules.weight_smoothness:
        steps = (np.diff(weights[free], axis=1) ** 2).sum(axis=1)
        gram = gram + np.diag(rules.weight_smoothness * steps)
    if rules.smoothness or rules.sweeps:
        rows = new[free]
        if rules.smoothness:
            stiffness = rules.smoothness * (weights[free] ** 2).sum(axis=1)
            normal.sweep_smooth(gram, rhs, rows, stiffness, 3)
        else:
            normal.sweep(gram, rhs, rows, rules.sweeps)
        new[free] = rows
    elif rules.signed is not None and rules.signed[free].any():
        new[free] = _with_signs(gram, rhs, rules.signed[free])
    else:
        new[free] = nnls.solve(gram, rhs, before=new[free])
    return new


def _with_signs(gram: np.ndarray, rhs: np.ndarray, signed: np.ndarray) -> np.ndarray:
    """Solve components of which some may be negative: these are eliminated first."""
    own, rest = gram[..., signed, :][..., signed], gram[..., ~signed, :]
    back = np.linalg.pinv(own, hermitian=True)
    cross = rest[..., signed]
    out = np.empty_like(rhs)
    if not signed.all():
        left = rest[..., ~signed] - cross @ back @ np.swapaxes(cross, -1, -2)
        right = rhs[~signed] - _times(cross @ back, rhs[signed])
        out[~signed] = nnls.solve(left, right)
    turned = np.swapaxes(cross, -1, -2)
    out[signed] = _times(back, rhs[signed] - _times(turned, out[~signed]))
    return out


def _times(matrix: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return a matrix, or one for each column, times rows (k, q)."""
    return matrix @ rows if matrix.ndim == 2 else np.einsum("qfx,xq->fq", matrix, rows)


def _product(
    gram: np.ndarray, rows: np.ndarray, free: np.ndarray, fixed: np.ndarray
) -> np.ndarray:
    return _times(gram[..., free, :][..., fixed], rows[fixed])


def _penalty(
    weights: np.ndarray,
    components: np.ndarray,
    rules: Rules,
    sparse: tuple[float, float],
) -> float:
    """Return the sum of the penalties."""
    value = 0.0
    if rules.sparsity:
        on_components, on_weights = sparse
        value += 2 * on_components * components.sum() + 2 * on_weights * weights.sum()
    if rules.smoothness:
        rough = normal.roughness(components) * (weights**2).sum(axis=1)
        value += rules.smoothness * float(rough.sum())
    if rules.weight_smoothness:
        steps = (np.diff(weights, axis=1) ** 2).sum(axis=1)
        power = (components**2).sum(axis=1)
        value += rules.weight_smoothness * float((steps * power).sum())
    return value


def _revive(
    data: Normal, weights: np.ndarray, components: np.ndarray, dead: np.ndarray
) -> np.ndarray:
    """Give unused components the shape of the worst explained samples."""
    if isinstance(data, normal.Plain) and data.basis is not None:
        return components
    residual = data.x - weights.T @ components  # type: ignore[attr-defined]
    worst = np.argsort(-(residual**2).sum(axis=1), kind="stable")
    revived = components.copy()
    for j, sample in zip(np.flatnonzero(dead), worst, strict=False):
        revived[j] = np.maximum(data.x[sample], 0.0)  # type: ignore[attr-defined]
    return revived
