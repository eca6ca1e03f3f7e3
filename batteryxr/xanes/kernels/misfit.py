"""Tell by the residuals of many fits whether a term is missing, and what that moves.

One spectrum hides a weak shoulder or second edge in its noise, since the other terms
follow it. The residuals of many spectra have its shape in common.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from batteryxr.xanes.kernels.problem import Model, Out, Problem

#: Bit of the quality flag: the model may be further off than the noise.
MISFIT = 64
#: Least size of a shape, in deviations of noise that is equal at all energies, and by
#: the scatter between spectra (or share of the most that so many spectra can show).
_LOUD, _SCATTERED, _SHARE = 6.0, 4.5, 0.7
#: Half widths of peaks that are tried, in widths of the edge; number of their places.
_WIDTHS, _PLACES = (0.25, 0.5, 1.0), 40
#: Shapes that show nearly as well as the best; least part that no term follows.
_ALIKE, _OWN = 0.8, 1e-3
#: Residuals per edge jump that are rounding alone.
_EXACT = 1e-6


class Doubts(NamedTuple):
    """Hold what missing terms may move.

    Attributes
    ----------
    moved : (n,)
        Change of each parameter; per edge jump for those that scale with the data.
    place : float
        Energy of the shape that the residuals show best; NaN for none.
    """

    moved: np.ndarray
    place: float = np.nan


def doubts(problem: Problem, rows: np.ndarray, weights: np.ndarray, out: Out) -> Doubts:
    """Look for a common shape in the residuals of fitted spectra.

    Peaks and a step at many places are tried, each as the same share of every jump:
    the score test of a term without fitting it (Rao, Proc. Camb. Phil. Soc. 44, 50
    (1948)). Parameters move as linear terms would with the shape in the model; the
    furthest of all shapes that show about as well counts.

    Parameters
    ----------
    problem
        Axis and model.
    rows, weights : (N, m)
        Spectra and their weights (1 for none).
    out
        Their fits; those with a flag are left out.
    """
    from batteryxr.xanes.kernels.shapes import evaluate

    axis, model = problem.axis, problem.model
    free, none = model.low < model.high, Doubts(np.zeros(model.low.size))
    sound = (out.flags == 0) & np.isfinite(rows * weights).all(axis=1)
    sound &= np.isfinite(out.values).all(axis=1) & (out.values[:, model.jump] > 0)
    if not sound.any() or axis.x.size <= free.sum() + 1:
        return none
    rows, weights, values = rows[sound], weights[sound], out.values[sound]
    left = np.empty(rows.shape)
    slopes = np.empty((len(rows), free.size, axis.x.size))
    for row, p, r, j in zip(rows, values, left, slopes, strict=True):
        evaluate(axis.x, axis.scaled, row, p, model.kinds, model.offsets, r, j)
    left, slopes = left * weights, (slopes * weights[:, None])[:, free]
    variance = (left**2).sum(axis=1) / (axis.x.size - free.sum())
    jump = values[:, model.jump]
    if not (variance > (_EXACT * jump) ** 2).all():
        return none
    places, shapes = _shapes(axis.x, float(np.median(values[:, model.jump + 2])))
    scale = np.sqrt((slopes**2).sum(axis=2, keepdims=True)) + 1e-300
    slopes = slopes / scale
    crossed = np.einsum("nkm,cm,nm->nkc", slopes, shapes, weights, optimize=True)
    normal = slopes @ slopes.transpose(0, 2, 1) + 1e-12 * np.eye(free.sum())
    followed = np.linalg.solve(normal, crossed)
    whole = (weights**2) @ (shapes**2).T
    own = whole - (crossed * followed).sum(axis=1)
    weight = (jump / variance)[:, None]
    score = weight * ((left * weights) @ shapes.T)
    known = (weight * jump[:, None] * own).sum(axis=0)
    usable = (own > _OWN * whole).all(axis=0)
    total = np.where(usable, np.abs(score.sum(axis=0)), 0.0)
    loud = total / np.sqrt(np.where(usable, known, 1.0))
    scattered = total / np.sqrt((score**2).sum(axis=0) + 1e-300)
    told = loud > _LOUD
    told &= scattered > min(_SCATTERED, _SHARE * np.sqrt(len(rows)))
    if not told.any():
        return none
    alike = told & (loud >= _ALIKE * loud[told].max())
    share = (total / np.where(usable, known, 1.0))[alike]
    moves = np.abs(followed[:, :, alike] / scale) * share
    moves = np.where(model.linear[free][:, None], moves, moves * jump[:, None, None])
    moved = np.zeros(free.size)
    moved[free] = np.median(moves, axis=0).max(axis=1)
    return Doubts(moved, float(places[np.argmax(np.where(told, loud, 0.0))]))


def _shapes(x: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Return places (C,) and shapes (C, m): peaks of several widths, and steps."""
    inner = x[1:-1]
    every = np.linspace(0, inner.size - 1, min(inner.size, _PLACES)).astype(int)
    u = (x - inner[every][:, None]) / width
    peaks = [1.0 / (1.0 + (u / part) ** 2) for part in _WIDTHS]
    shapes = np.concatenate([*peaks, 0.5 * (1.0 + np.tanh(1.2 * u))])
    return np.tile(inner[every], len(_WIDTHS) + 1), shapes


def widen(out: Out, model: Model, moved: np.ndarray) -> Out:
    """Return results whose errors hold what missing terms move, flagged if more.

    Flagged are fits whose edge energy (or another parameter that tells solutions
    apart) may be moved by more than its error.
    """
    if not moved.any():
        return out
    jump = np.abs(out.values[..., model.jump, None])
    moves = moved * np.where(model.linear, jump, 1.0)
    flags = out.flags.copy()
    with np.errstate(invalid="ignore", divide="ignore"):
        more = (moves > out.errors)[..., model.tracked].any(axis=-1)
        flags[more] |= MISFIT
        errors = np.hypot(out.errors, moves)
        parts = np.abs(moves / out.values)
        at = np.array(model.peak_offsets, dtype=int)
        part = np.hypot(parts[..., at], parts[..., at + 2])
        areas = out.peaks.copy()
        areas[..., 1] = np.hypot(areas[..., 1], areas[..., 0] * part)
        part = np.hypot(part, parts[..., model.jump, None])
        areas[..., 3] = np.hypot(areas[..., 3], areas[..., 2] * part)
    return out._replace(errors=errors, peaks=areas, flags=flags)
