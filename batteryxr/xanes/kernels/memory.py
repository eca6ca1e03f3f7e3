"""Allocate the memory of one fit, used again for every row."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.core.kernels.compiling import njit
from batteryxr.xanes.kernels.problem import INNER

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Floats, FloatTable, Line


class Points(NamedTuple):
    """Hold the usable points of one row, (m,) each; weights are 1 if not `weighted`."""

    x: Floats
    scaled: Floats
    y: Floats
    weight: Floats
    weighted: bool


class Scratch(NamedTuple):
    """Hold the memory of one fit: two residuals and Jacobians, equations, vectors."""

    residual: Floats
    residual2: Floats
    jacobian: FloatTable
    jacobian2: FloatTable
    a: FloatTable
    b: FloatTable
    lower: FloatTable
    g: Floats
    d: Floats
    q: Floats
    free: Line[bool]


@njit(**INNER)
def new_points(m: int, weighted: bool) -> Points:
    """Return memory for `m` points."""
    return Points(np.empty(m), np.empty(m), np.empty(m), np.empty(m), weighted)


@njit(**INNER)
def first_points(points: Points, m: int) -> Points:
    """Return the first `m` points, without a copy."""
    return Points(
        points.x[:m],
        points.scaled[:m],
        points.y[:m],
        points.weight[:m],
        points.weighted,
    )


@njit(**INNER)
def new_work(n: int, m: int) -> Scratch:
    """Return memory for `n` parameters and `m` points."""
    return Scratch(
        np.empty(m), np.empty(m), np.empty((n, m)), np.empty((n, m)),
        np.empty((n, n)), np.empty((n, n)), np.empty((n, n)),
        np.empty(n), np.empty(n), np.empty(n), np.empty(n, np.bool_),
    )  # fmt: skip


@njit(**INNER)
def shorter_work(work: Scratch, m: int) -> Scratch:
    """Return memory for fewer points, with contiguous rows of the Jacobians."""
    n = work.g.size
    return Scratch(
        work.residual[:m], work.residual2[:m], np.empty((n, m)), np.empty((n, m)),
        work.a, work.b, work.lower, work.g, work.d, work.q, work.free,
    )  # fmt: skip
