"""Compare a factorisation with others, and with held-out data."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.nmf.kernels import alternate, normal, starts

if TYPE_CHECKING:
    from batteryxr.nmf.kernels.alternate import Rules
    from batteryxr.nmf.kernels.normal import Normal

#: Number of blocks of points; neighbours share their noise and are left out together.
_BLOCKS = 8
#: Largest number of samples whose pairs measure how consistent groupings are.
_PAIRED = 1000


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cosines between rows of a (k, points) and of b (l, points)."""
    a = a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-300)
    b = b / np.maximum(np.linalg.norm(b, axis=1, keepdims=True), 1e-300)
    return a @ b.T


def match(reference: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of `other` that match those of `reference`, and the cosines."""
    from scipy.optimize import linear_sum_assignment

    table = cosines(reference, other)
    _, order = linear_sum_assignment(-table)
    return order, table[np.arange(len(order)), order]


def appearance(weights: np.ndarray) -> np.ndarray:
    """Return the order in which components appear along the samples.

    The order is by the centre of mass of their weights (k, samples).
    """
    place = np.arange(weights.shape[1])
    mass = np.maximum(weights.sum(axis=1), 1e-300)
    return np.argsort((weights @ place) / mass, kind="stable")


def fold(
    samples: int, points: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return masks of the held-out samples and points: about half of each.

    Points are held out in contiguous blocks, as noise along a pattern is correlated.
    """
    rows = np.zeros(samples, dtype=bool)
    rows[rng.permutation(samples)[: samples // 2]] = True
    blocks = min(_BLOCKS, points)
    out = rng.permutation(blocks)[: blocks // 2]
    edges = np.linspace(0, points, blocks + 1)[1:-1]
    columns = np.isin(np.searchsorted(edges, np.arange(points), side="right"), out)
    return rows, columns


def held_out(
    x: np.ndarray,
    v: np.ndarray | None,
    rules: Rules,
    n: int,
    rng: np.random.Generator,
    *,
    out: tuple[np.ndarray, np.ndarray],
) -> float:
    """Return the relative error on a held-out block.

    Both factors are fitted on the rest. The weights of held-out rows come from the kept
    points, the components at held-out points from the kept rows (Owen & Perry, Ann.
    Appl. Stat. 3, 564, 2009). Both may be negative: the purest pattern may be held out
    and then lies outside the range of the others, which is no reason for another
    component. `out` is the result of `fold`.
    """
    rows, columns = out
    rules = replace(rules, max_iter=200, tol=1e-4)
    kept = _block(x, v, ~rows, ~columns)
    best = None
    for kind in ("pure", "random"):
        free = np.zeros(n, dtype=bool)
        start = starts.complete(
            x[~rows][:, ~columns], free, np.zeros((n, kept.shape[1])), kind, rng
        )
        run = alternate.factorise(kept, start, rules)
        if best is None or run.error < best.error:
            best = run
    assert best is not None
    gram, rhs = _block(x, v, rows, ~columns).for_weights(best.components)
    weights = _least_squares(gram, rhs, rules.closure)
    gram, rhs = _block(x, v, ~rows, columns).for_components(best.weights)
    components = _least_squares(gram, rhs, False)
    target = x[rows][:, columns]
    residual = target - weights.T @ components
    u = np.ones_like(target) if v is None else v[rows][:, columns]
    return float(np.sqrt((u * residual**2).sum() / (u * target**2).sum()))


def _block(
    x: np.ndarray, v: np.ndarray | None, rows: np.ndarray, columns: np.ndarray
) -> Normal:
    part = np.ascontiguousarray(x[rows][:, columns])
    if v is None:
        return normal.Plain(part)
    return normal.Weighted(part, v[rows][:, columns])


def _least_squares(gram: np.ndarray, rhs: np.ndarray, closure: bool) -> np.ndarray:
    """Solve all columns (k, q) without bounds; under closure each sums to one."""
    k = len(rhs)
    size = np.trace(gram, axis1=-2, axis2=-1)[..., None, None] / k
    stiff = gram + (1e-10 * size + 1e-300) * np.eye(k)
    right = rhs.T[..., None] if gram.ndim == 3 else rhs
    out = np.linalg.solve(stiff, right)
    out = out[..., 0].T if gram.ndim == 3 else out
    if closure:
        lift = np.linalg.solve(stiff, np.ones((k, 1)))[..., 0].T
        lift = lift / lift.sum(axis=0)
        out = out + lift.reshape(k, -1) * (1 - out.sum(axis=0))
    return np.asarray(out)


def cophenetic(assignments: np.ndarray) -> float:
    """Return how consistently runs (runs, samples) group the samples.

    This is the correlation between the consensus of all runs and the distances of its
    average linkage tree (Brunet et al., PNAS 101, 4164, 2004); it is 1 for identical
    groupings. From many samples some are drawn at random, because the matrix of all
    pairs grows with their square.
    """
    from scipy.cluster.hierarchy import cophenet, linkage
    from scipy.spatial.distance import squareform

    if assignments.shape[1] > _PAIRED:
        rng = np.random.default_rng(0)
        drawn = rng.choice(assignments.shape[1], _PAIRED, replace=False)
        assignments = assignments[:, np.sort(drawn)]
    together = np.zeros((assignments.shape[1],) * 2)
    for run in assignments:
        together += run[:, None] == run[None, :]
    distance = squareform(1.0 - together / len(assignments), checks=False)
    if np.ptp(distance) == 0:
        return 1.0
    correlation, _ = cophenet(linkage(distance, "average"), distance)
    return float(correlation)


def silhouette(components: list[np.ndarray]) -> float:
    """Return the lowest mean silhouette of a component over runs.

    Components of all runs are matched to the first run. The value is near 1 where runs
    agree, and low where they differ (Alexandrov et al., Nature 500, 415, 2013).
    """
    n = len(components[0])
    if n == 1:
        return 1.0
    aligned = [c[match(components[0], c)[0]] for c in components]
    rows = np.concatenate(aligned)
    group = np.tile(np.arange(n), len(aligned))
    distance = 1.0 - cosines(rows, rows)
    own = group[:, None] == group[None, :]
    others = np.stack([distance[:, group == g].mean(axis=1) for g in range(n)], axis=1)
    count = len(aligned) - 1
    inside = np.where(own, distance, 0).sum(axis=1) / max(count, 1)
    others[np.arange(len(rows)), group] = np.inf
    outside = others.min(axis=1)
    values = (outside - inside) / np.maximum(np.maximum(inside, outside), 1e-300)
    return float(min(values[group == g].mean() for g in range(n)))
