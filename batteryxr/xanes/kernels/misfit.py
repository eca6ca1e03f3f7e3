"""Tell by the residuals of many fits whether a term is missing, and what that moves.

One spectrum hides a weak shoulder or second edge in its noise, since the other terms
follow it. The residuals of many spectra have its shape in common.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

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
#: What tells a shape of some spectra: skewness of the squares in its deviations, or
#: spectra that show it by so many deviations of most; shapes that are kept.
_SKEWED, _CLEAR, _FEW, _KEPT = 4.0, 3.5, 4, 12
#: Deviations at which groups begin; spectra at a time.
_SHOWN, _SLAB = 2.8, 2048
#: Steps until the groups of spectra that have a shape hardly change; part of spectra
#: above which all are taken to have it; probability up to which one has none.
_ROUNDS, _NEARLY, _UNLIKELY = 50, 0.8, 0.02


class Doubts(NamedTuple):
    """Hold what missing terms may move.

    Attributes
    ----------
    moved : (n,)
        Change of each parameter; per edge jump for those that scale with the data.
    place : float
        Energy of the shape that the residuals show best; NaN for none.
    shapes : (C, m)
        Shapes with their sign that some spectra show; none if C is 0. The first one
        tells spectra apart best.
    groups : (C, 4)
        Of each: part of spectra that have it, mean and scatter of its share of the
        jump there, and scatter of `certain` in the others.
    """

    moved: np.ndarray
    place: float = np.nan
    shapes: np.ndarray = np.empty((0, 0))
    groups: np.ndarray = np.empty((0, 4))


class _Scores(NamedTuple):
    """Hold how well each spectrum shows each shape, as a share of its jump.

    `score` is in units of that share's information `known`; `followed` is the change
    of the free parameters by a share of 1. All (N, C), and (N, k, C).
    """

    score: np.ndarray
    known: np.ndarray
    followed: np.ndarray

    @property
    def certain(self) -> np.ndarray:
        """Return the shares over their errors."""
        return np.asarray(self.score / np.sqrt(np.where(self.known > 0, self.known, 1)))


def doubts(
    problem: Problem, data: np.ndarray, weights: np.ndarray | None, out: Out
) -> Doubts:
    """Look for a common shape in the residuals of fitted spectra.

    Peaks and a step at many places are tried, each as the same share of every jump:
    the score test of a term without fitting it (Rao, Proc. Camb. Phil. Soc. 44, 50
    (1948)). Parameters move as linear terms would with the shape in the model; the
    furthest of all shapes that show about as well counts. Shapes that some spectra
    show far better than others are kept, to be looked for in each.

    Parameters
    ----------
    problem
        Axis and model.
    data, weights : (..., m)
        Spectra and their weights.
    out
        Their fits; those with a flag are left out.
    """
    axis, model = problem.axis, problem.model
    free, none = model.low < model.high, Doubts(np.zeros(model.low.size))
    testable, rows, weights, values = _testable(data, weights, out, model)
    sound = out.flags.reshape(-1)[testable] == 0
    rows, weights, values = rows[sound], weights[sound], values[sound]
    if not len(rows):
        return none
    places, shapes = _shapes(axis.x, float(np.median(values[:, model.jump + 2])))
    found = _scores(problem, rows, weights, values, shapes)
    usable = (found.known > 0).all(axis=0)
    if not usable.any():
        return none
    certain = found.certain[:, usable]
    mixed = _of_some(certain)
    if mixed.any():
        some = (np.sign(mixed)[:, None] * shapes[usable])[mixed != 0]
        shown = _scores(problem, rows, weights, values, some)
        root = np.sqrt(shown.known)
        groups = _groups(shown.certain, root, _usual(certain))
        order = np.argsort(-groups[:, 1] * root.mean(axis=0), kind="stable")
        place = float(places[usable][np.argmax(np.abs(mixed))])
        return Doubts(none.moved, place, some[order], groups[order])
    total = np.where(usable, np.abs(found.score.sum(axis=0)), 0.0)
    known = np.where(usable, found.known.sum(axis=0), 1.0)
    loud = total / np.sqrt(known)
    scattered = total / np.sqrt((found.score**2).sum(axis=0) + 1e-300)
    told = loud > _LOUD
    told &= scattered > min(_SCATTERED, _SHARE * np.sqrt(len(found.score)))
    if not told.any():
        return none
    alike = told & (loud >= _ALIKE * loud[told].max())
    moves = np.abs(found.followed[:, :, alike]) * (total / known)[alike]
    moved = np.zeros(free.size)
    moved[free] = np.median(moves, axis=0).max(axis=1)
    return Doubts(moved, float(places[np.argmax(np.where(told, loud, 0.0))]))


def _of_some(certain: np.ndarray) -> np.ndarray:
    """Return the evidence, with its sign, for each shape that some spectra show; or 0.

    Either many spectra show it to one side, or a few do so clearly beside the scatter
    of most. Noise shows shapes to both sides alike, also where it is correlated.
    """
    squares = np.sign(certain) * certain**2
    skewed = squares.sum(axis=0) / np.sqrt((squares**2).sum(axis=0) + 1e-300)
    usual = _usual(certain)
    clear = np.abs(certain) > _CLEAR * usual
    few = (clear * np.sign(certain)).sum(axis=0)
    told = (np.abs(skewed) > _SKEWED * usual) | (np.abs(few) >= _FEW)
    size = np.where(told, np.abs(squares.sum(axis=0)), 0.0)
    order = np.argsort(-size)[:_KEPT]
    kept = np.zeros(size.size, bool)
    kept[order] = size[order] > 0.5 * size.max(initial=0.0)
    return np.asarray(np.where(kept, np.sign(squares.sum(axis=0)) * size, 0.0))


def _usual(certain: np.ndarray) -> float:
    """Return the scatter of deviations for shapes that hardly any spectrum shows."""
    scatter = np.median(np.abs(certain), axis=0) / 0.6745
    return max(float(np.percentile(scatter, 25)), 1.0)


def _groups(certain: np.ndarray, root: np.ndarray, usual: float) -> np.ndarray:
    """Tell spectra that have a shape from others: (C, 4), as in `Doubts.groups`.

    Two normal distributions, by expectation and maximisation; `root` are the
    deviations that a share of 1 makes.
    """
    part = np.full(certain.shape[1], 0.2)
    size = np.maximum(certain, _SHOWN).mean(axis=0) / root.mean(axis=0)
    scatter = 0.3 * size
    for _ in range(_ROUNDS):
        has = _has(certain, root, (part, size, scatter, usual))
        part = np.clip(has.mean(axis=0), 1e-6, 1 - 1e-6)
        within = (has * root**2).sum(axis=0) + 1e-300
        size = np.maximum((has * certain * root).sum(axis=0) / within, 0.0)
        excess = has * ((certain - size * root) ** 2 - usual**2)
        scatter = np.sqrt(np.clip(excess.sum(axis=0) / within, 0.0, (0.3 * size) ** 2))
    return np.stack([part, size, scatter, np.full(part.size, usual)], axis=1)


def _has(certain: np.ndarray, root: np.ndarray, groups: tuple[Any, ...]) -> np.ndarray:
    """Return how probable it is that each spectrum has each shape."""
    part, size, scatter, usual = groups
    wide = usual**2 + (scatter * root) ** 2
    far = (certain / usual) ** 2 - (certain - size * root) ** 2 / wide
    odds = part / (1 - part) * np.sqrt(usual**2 / wide)
    with np.errstate(over="ignore"):
        more = odds * np.exp(np.clip(0.5 * far, -500.0, 500.0))
    has = np.where(certain > 0, more / (1.0 + more), 0.0)
    return np.asarray(np.where(part > _NEARLY, 1.0, has))


def each(
    found: Doubts,
    problem: Problem,
    data: np.ndarray,
    weights: np.ndarray | None,
    out: Out,
) -> np.ndarray:
    """Return what missing terms move in each fit, as in `Doubts.moved`.

    It is moved by what all have in common, or by its share of a shape that it has by
    some probability.
    """
    if not found.shapes.size:
        return found.moved
    model = problem.model
    moved = np.tile(found.moved, (out.flags.size, 1))
    free = np.flatnonzero(model.low < model.high)
    testable, *rows = _testable(data, weights, out, model)
    size = found.groups[:, 1]
    for k in range(0, testable.size, _SLAB):
        part = slice(k, k + _SLAB)
        spectra, weight, values = (a[part] for a in rows)
        own = _scores(problem, spectra, weight, values, found.shapes)
        root = np.sqrt(own.known)
        has = _has(own.certain, root, tuple(found.groups.T))
        share = np.maximum(own.certain / np.where(root > 0, root, np.inf), size)
        has = np.where(has[:, :1] > _UNLIKELY, has[:, :1], 0.0)
        moves = (np.abs(own.followed) * (np.sqrt(has) * share)[:, None]).max(axis=2)
        at = np.ix_(testable[part], free)
        moved[at] = np.hypot(moved[at], moves)
    return moved.reshape(out.values.shape)


def _testable(
    data: np.ndarray, weights: np.ndarray | None, out: Out, model: Model
) -> tuple[np.ndarray, ...]:
    """Return where fits can be tested, and their spectra, weights and values.

    They have an edge, and more points than parameters.
    """
    rows = data.reshape(-1, data.shape[-1])
    values = out.values.reshape(len(rows), -1)
    weights = np.broadcast_to(1.0 if weights is None else weights, data.shape)
    weights = weights.reshape(rows.shape)
    known = np.isfinite(rows * weights).sum(axis=1)
    sound = np.isfinite(values).all(axis=1) & (values[:, model.jump] > 0)
    at = np.flatnonzero(sound & (known > model.n_free + 1))
    return at, *(np.asarray(a[at], np.float64) for a in (rows, weights, values))


def _scores(
    problem: Problem,
    rows: np.ndarray,
    weights: np.ndarray,
    values: np.ndarray,
    shapes: np.ndarray,
) -> _Scores:
    """Return how well each spectrum shows each shape beside its fitted terms."""
    from batteryxr.xanes.kernels.shapes import evaluate

    axis, model = problem.axis, problem.model
    free = model.low < model.high
    finite = np.isfinite(rows * weights)
    rows, weights = np.where(finite, rows, 0.0), np.where(finite, weights, 0.0)
    left = np.empty(rows.shape)
    slopes = np.empty((len(rows), free.size, axis.x.size))
    for row, p, r, j in zip(rows, values, left, slopes, strict=True):
        evaluate(axis.x, axis.scaled, row, p, model.kinds, model.offsets, r, j)
    left, slopes = left * weights, (slopes * weights[:, None])[:, free]
    variance = (left**2).sum(axis=1) / (finite.sum(axis=1) - free.sum())
    jump = values[:, model.jump]
    scale = np.sqrt((slopes**2).sum(axis=2, keepdims=True)) + 1e-300
    slopes = slopes / scale
    crossed = slopes @ (shapes * weights[:, None]).transpose(0, 2, 1)
    normal = slopes @ slopes.transpose(0, 2, 1) + 1e-12 * np.eye(free.sum())
    followed = np.linalg.solve(normal, crossed)
    whole = (weights**2) @ (shapes**2).T
    own = whole - (crossed * followed).sum(axis=1)
    usable = (own > _OWN * whole) & (variance > (_EXACT * jump) ** 2)[:, None]
    weight = np.where(usable, (jump / np.maximum(variance, 1e-300))[:, None], 0.0)
    score = weight * ((left * weights) @ shapes.T)
    known = weight * jump[:, None] * np.where(usable, own, 0.0)
    followed = followed / scale
    linear = model.linear[free][:, None]
    followed = np.where(linear, followed, followed * jump[:, None, None])
    return _Scores(score, known, followed)


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
