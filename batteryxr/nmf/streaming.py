"""Factorise stacks of any size: a sample to convergence, then exact full passes.

Memory is a few tiles and the sample, whatever the number of pixels. A random sample
of the patterns, in the subspace of its first singular vectors, finds the components;
a bounded number of passes over all patterns then makes them exact. Tiles are summed
in a fixed order.
"""

from __future__ import annotations

import itertools
import math
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.blocks import is_lazy
from batteryxr.core.errors import ArgumentError
from batteryxr.core.progress import bar
from batteryxr.core.seeds import generator
from batteryxr.nmf.shifts import refuse_negative
from batteryxr.nmf.solving import factorise_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batteryxr.nmf.kernels.passes import Sums
    from batteryxr.nmf.layout import Layout
    from batteryxr.nmf.problem import Answer, Problem

Tile = dict[str, slice]

#: Patterns in the sample, unless they would take more than `_SAMPLE_BYTES`.
SAMPLE = 16_384
_SAMPLE_BYTES = 128e6
#: Values in one tile of data held in memory.
_TILE = 4_000_000


def solve_in_passes(problem: Problem, *, progress: bool | None = None) -> Answer:
    """Factorise from a sample, then by full passes. Reads ``1 + passes`` times."""
    with bar(None, "Unmixing", total=1 + problem.passes, progress=progress) as shown:
        values, v, points = sample(problem)
        shown.update(1)
        answer = factorise_samples(problem, values, v, points, subspace=v is None)
        components = np.zeros((problem.n, problem.layout.n_points))
        components[:, points] = answer.components
        for _ in range(problem.passes):
            sums = full_pass(problem, components)
            components, error = _improve(problem, components, sums)
            # The sample tells how near the error is to that of the SVD.
            answer.svd_error *= error / answer.error if answer.error else 1.0
            answer.error, answer.used = error, sums.used
            answer.full_passes += 1
            shown.update(1)
    components[:, ~points] = np.nan
    answer.components = components
    answer.weights = answer.weights_spread = None
    if answer.components_spread is not None:
        spread = np.full_like(components, np.nan)
        spread[:, points] = answer.components_spread
        answer.components_spread = spread
    return answer


def full_pass(problem: Problem, components: np.ndarray) -> Sums:
    """Return the sums over all patterns that the components need. Reads once."""
    from threadpoolctl import threadpool_limits

    from batteryxr.nmf.kernels.passes import gather

    known = np.nan_to_num(components)

    def one(x: np.ndarray, sigma: np.ndarray | None, tile: Tile) -> Sums:
        return gather(x, known, closure=problem.rules.closure, sigma=sigma)

    with threadpool_limits(1, "blas"):
        total = None
        for part in over_tiles(problem, one):
            total = part if total is None else total + part
    assert total is not None
    return total


def _improve(
    problem: Problem, components: np.ndarray, sums: Sums
) -> tuple[np.ndarray, float]:
    """Return the best components for the weights of a pass, and the error."""
    from batteryxr.nmf.kernels import nnls

    fixed = problem.rules.fixed
    new = components.copy()
    gram, rhs = sums.gram, sums.rhs
    free = ~fixed
    if free.any():
        right = rhs[free]
        cross = gram[..., free, :][..., fixed]
        if fixed.any():
            subtract = "fx,xq->fq" if gram.ndim == 2 else "qfx,xq->fq"
            right = right - np.einsum(subtract, cross, components[fixed])
        new[free] = nnls.solve(gram[..., free, :][..., free], right)
    spec = "kq,lq,kl->" if gram.ndim == 2 else "kq,lq,qkl->"
    square = float(np.einsum(spec, new, new, gram, optimize=True))
    misfit = sums.total - 2 * float(np.vdot(new, rhs)) + square
    return new, float(np.sqrt(max(misfit, 0.0) / sums.total)) if sums.total else 0.0


def sample(problem: Problem) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Return a random sample of the patterns, their weights, and points with data."""
    from batteryxr.nmf.kernels.passes import weigh

    layout = problem.layout
    size = int(min(SAMPLE, max(_SAMPLE_BYTES / (8 * layout.n_points), 512)))
    draws = generator(problem.seed).integers(0, layout.n_samples, 2 * size)
    chosen = np.sort(np.unique(draws)[np.argsort(_hash(np.unique(draws)))[:size]])
    shape = tuple(layout.data.sizes[d] for d in layout.samples)
    places = np.stack(np.unravel_index(chosen, shape))

    def pick(
        x: np.ndarray, sigma: np.ndarray | None, tile: Tile
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        starts = np.array([tile[d].start for d in layout.samples])
        stops = np.array([tile[d].stop for d in layout.samples])
        inside = ((starts <= places.T) & (stops > places.T)).all(axis=1)
        local = np.ravel_multi_index(
            tuple((places.T[inside] - starts).T), tuple(stops - starts)
        )
        rows = x[local].astype(np.float64)
        _, v = weigh(rows, sigma if sigma is None or sigma.ndim == 1 else sigma[local])
        gaps = np.ones_like(rows) if v is None else v
        return np.flatnonzero(inside), np.where(gaps > 0, rows, 0.0), gaps

    parts = list(over_tiles(problem, pick))
    order = np.argsort(np.concatenate([p[0] for p in parts]), kind="stable")
    values = np.concatenate([p[1] for p in parts])[order]
    v = np.concatenate([p[2] for p in parts])[order]
    measured = np.asarray((v > 0).any(axis=1))
    points = np.asarray((v > 0).any(axis=0))
    if not measured.any():
        raise ArgumentError("data", "no finite value", "some data")
    values, v = values[measured][:, points], v[measured][:, points]
    negative = float((np.minimum(values, 0) ** 2).sum())
    refuse_negative(negative, float((values**2).sum()), problem.shifted)
    return values, None if (v == 1.0).all() else v, points


def _hash(numbers: np.ndarray) -> np.ndarray:
    """Return a fixed shuffling key, so that a cut of a sorted list is unbiased."""
    mixed = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return mixed ^ (mixed >> np.uint64(29))


def over_tiles(problem: Problem, task: Callable[..., Any]) -> Iterator[Any]:
    """Yield ``task(x, sigma, tile)`` for every tile in order, a few ahead.

    `x` is (samples, points); `sigma` None, (points,) or (samples, points).
    """
    layout, errors = problem.layout, problem.errors
    workers = min(os.cpu_count() or 1, 4)

    def job(tile: Tile) -> Any:
        x = np.asarray(layout.data.isel(tile).data).reshape(-1, layout.n_points)
        return task(x, _errors(errors, layout, tile), tile)

    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Any] = deque()
        for tile in tiles(layout):
            waiting.append(pool.submit(job, tile))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _errors(errors: Any, layout: Layout, tile: Tile) -> np.ndarray | None:
    if errors is None:
        return None
    if errors.dims == (layout.signal,):
        return np.asarray(errors.data)
    part = errors.isel({d: s for d, s in tile.items() if d in errors.dims})
    like = layout.data.isel(tile)
    return np.asarray(part.broadcast_like(like).transpose(*like.dims).data).reshape(
        -1, layout.n_points
    )


def tiles(layout: Layout) -> list[Tile]:
    """Return the tiles of the sample dimensions: dask's chunks, or rows of views."""
    edges = []
    for number, dim in enumerate(layout.samples):
        size = layout.data.sizes[dim]
        if is_lazy(layout.data):
            chunks = layout.data.chunksizes.get(dim, (size,))
            cuts = [0, *np.cumsum(chunks).tolist()]
        elif number == 0:
            across = layout.data.size // max(size, 1)
            step = max(1, math.floor(_TILE / max(across, 1)))
            cuts = [*range(0, size, step), size]
        else:
            cuts = [0, size]
        edges.append([slice(a, b) for a, b in itertools.pairwise(cuts)])
    return [
        dict(zip(layout.samples, part, strict=True))
        for part in itertools.product(*edges)
    ]
