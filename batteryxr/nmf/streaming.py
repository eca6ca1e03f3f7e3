"""Factorise stacks of any size: a sample to convergence, then exact full passes.

Memory is a few tiles and the sample, whatever the number of pixels. A random sample
of the patterns, in the subspace of its first singular vectors, finds the components;
a bounded number of passes over all patterns then makes them exact. Tiles are summed
in a fixed order.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import DataError
from batteryxr.core.kernels.cores import allowed, single
from batteryxr.core.progress import bar
from batteryxr.core.seeds import generator
from batteryxr.nmf.data import refuse_errors
from batteryxr.nmf.shifts import refuse_negative
from batteryxr.nmf.solving import Block, run_starts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import xarray as xr

    from batteryxr.nmf.data import Patterns
    from batteryxr.nmf.kernels.alternate import Rules
    from batteryxr.nmf.kernels.passes import Sums
    from batteryxr.nmf.solving import Factors
    from batteryxr.nmf.starting import Starts

Tile = dict[str, slice]

#: Patterns in the sample, unless they would take more than `_SAMPLE_BYTES`.
SAMPLE = 16_384
_SAMPLE_BYTES = 128e6
#: Values in one tile of data held in memory.
_TILE = 4_000_000


def solve_in_passes(
    patterns: Patterns,
    starts: Starts,
    rules: Rules,
    *,
    passes: int,
    progress: bool | None = None,
) -> Factors:
    """Factorise a sample, then refine by full passes. Reads ``1 + passes`` times."""
    with bar(None, "Unmixing", total=1 + passes, progress=progress) as shown:
        block = sample(patterns, starts.seed)
        shown.update(1)
        here, whole = starts.at(block.points), block.v is None
        factors = run_starts(block.values, block.v, here, rules, subspace=whole)
        components = np.zeros((starts.n, patterns.n_points))
        components[:, block.points] = factors.components
        for left in reversed(range(passes)):
            sums = full_pass(patterns, components, rules.closure, misfit=not left)
            before = components
            components = _improve(before, sums, rules.fixed)
            factors.used = sums.used
            factors.full_passes += 1
            shown.update(1)
        if passes:
            error = _relative_error(components, before, sums)
            # The sample shows how near the error is to the SVD's.
            factors.svd_error *= error / factors.error if factors.error else 1.0
            factors.error = error
    components[:, ~block.points] = np.nan
    factors.components = components
    factors.weights = factors.weights_spread = None
    if factors.components_spread is not None:
        spread = np.full_like(components, np.nan)
        spread[:, block.points] = factors.components_spread
        factors.components_spread = spread
    return factors


def full_pass(
    patterns: Patterns, components: np.ndarray, closure: bool, *, misfit: bool = False
) -> Sums:
    """Return the sums over all patterns that update the components. Reads once.

    `misfit` adds the squares that the components leave unexplained.
    """
    from batteryxr.nmf.kernels.passes import gather

    known = np.nan_to_num(components)

    def one(x: np.ndarray, sigma: np.ndarray | None, tile: Tile) -> Sums:
        return gather(x, known, closure=closure, sigma=sigma, misfit=misfit)

    with single():
        total = None
        for part in over_tiles(patterns, one):
            total = part if total is None else total + part
    assert total is not None
    return total


def _improve(components: np.ndarray, sums: Sums, fixed: np.ndarray) -> np.ndarray:
    """Return the best components for the weights of a pass."""
    from batteryxr.nmf.kernels import nnls

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
    return new


def _relative_error(new: np.ndarray, old: np.ndarray, sums: Sums) -> float:
    """Return the error of components after a pass updated them.

    The pass measured the misfit of the old components exactly, and both differ little.
    """
    if not sums.total:
        return 0.0
    gram = sums.gram
    step = new - old
    product = "kl,lq->kq" if gram.ndim == 2 else "qkl,lq->kq"
    slope = np.einsum(product, gram, old + new) - 2 * sums.rhs
    misfit = sums.misfit + float(np.vdot(step, slope))
    return float(np.sqrt(max(misfit, 0.0) / sums.total))


def sample(patterns: Patterns, seed: int) -> Block:
    """Return a random sample of the patterns. Reads once."""
    from batteryxr.nmf.kernels.passes import weigh

    size = int(min(SAMPLE, max(_SAMPLE_BYTES / (8 * patterns.n_points), 512)))
    draws = generator(seed).integers(0, patterns.n_samples, 2 * size)
    chosen = np.sort(np.unique(draws)[np.argsort(_hash(np.unique(draws)))[:size]])
    shape = tuple(patterns.data.sizes[d] for d in patterns.samples)
    places = np.stack(np.unravel_index(chosen, shape))

    def pick(
        x: np.ndarray, sigma: np.ndarray | None, tile: Tile
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        starts = np.array([tile[d].start for d in patterns.samples])
        stops = np.array([tile[d].stop for d in patterns.samples])
        inside = ((starts <= places.T) & (stops > places.T)).all(axis=1)
        local = np.ravel_multi_index(
            tuple((places.T[inside] - starts).T), tuple(stops - starts)
        )
        rows = x[local].astype(np.float64)
        _, v = weigh(rows, sigma if sigma is None or sigma.ndim == 1 else sigma[local])
        gaps = np.ones_like(rows) if v is None else v
        return np.flatnonzero(inside), np.where(gaps > 0, rows, 0.0), gaps

    parts = list(over_tiles(patterns, pick))
    order = np.argsort(np.concatenate([p[0] for p in parts]), kind="stable")
    values = np.concatenate([p[1] for p in parts])[order]
    v = np.concatenate([p[2] for p in parts])[order]
    measured = np.asarray((v > 0).any(axis=1))
    points = np.asarray((v > 0).any(axis=0))
    if not measured.any():
        raise DataError(
            "data", "no finite value", "Look whether the files were read whole."
        )
    if not values.any():
        raise DataError("data", "zero everywhere; expected patterns", "Look at them.")
    values, v = values[measured][:, points], v[measured][:, points]
    negative = float((np.minimum(values, 0) ** 2).sum())
    shifted = patterns.shift is not None
    refuse_negative(negative, float((values**2).sum()), shifted)
    return Block(values, None if (v == 1.0).all() else v, measured, points)


def _hash(numbers: np.ndarray) -> np.ndarray:
    """Return a fixed shuffling key, so that a cut of a sorted list is unbiased."""
    mixed = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return mixed ^ (mixed >> np.uint64(29))


def over_tiles(patterns: Patterns, task: Callable[..., Any]) -> Iterator[Any]:
    """Yield ``task(x, sigma, tile)`` for each tile in order, working a few ahead.

    `x` is (samples, points); `sigma` is None, (points,) or (samples, points).
    """
    workers = min(allowed(), 4)
    errors = patterns.errors

    def job(tile: Tile) -> Any:
        part = patterns.data.isel(tile)
        x = np.asarray(part.data).reshape(-1, patterns.n_points)
        sigma = None if errors is None else _of_tile(errors, tile, dict(part.sizes))
        refuse_errors(sigma, x)
        return task(x, sigma, tile)

    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Any] = deque()
        for tile in tiles(patterns):
            waiting.append(pool.submit(job, tile))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _of_tile(errors: xr.DataArray, tile: Tile, sizes: dict[Any, int]) -> np.ndarray:
    """Return the errors of a tile of these sizes: (samples, points), or (points,)."""
    if errors.ndim == 1:
        return np.asarray(errors.data)
    part = errors.variable.isel({d: s for d, s in tile.items() if d in errors.dims})
    whole = part.set_dims(sizes).transpose(*sizes)
    return np.asarray(whole.data).reshape(-1, [*sizes.values()][-1])


def tiles(patterns: Patterns) -> list[Tile]:
    """Return the tiles of the sample dimensions: dask's chunks, or slabs of rows."""
    edges, chunks = [], patterns.data.chunksizes
    for number, dim in enumerate(patterns.samples):
        size = patterns.data.sizes[dim]
        if dim in chunks:
            cuts = [0, *np.cumsum(chunks[dim]).tolist()]
        elif number == 0:
            across = patterns.data.size // max(size, 1)
            step = max(1, math.floor(_TILE / max(across, 1)))
            cuts = [*range(0, size, step), size]
        else:
            cuts = [0, size]
        edges.append([slice(a, b) for a, b in itertools.pairwise(cuts)])
    return [
        dict(zip(patterns.samples, part, strict=True))
        for part in itertools.product(*edges)
    ]
