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
#: The share alone counts where deviations scatter more than those of white noise.
_LOUD, _SCATTERED, _SHARE, _CORRELATED = 6.0, 6.0, 0.7, 1.15
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
_SHOWN, _SLAB = 2.8, 512
#: Steps until the groups of spectra that have a shape hardly change; probability up to
#: which one has none; logarithm of the likelihoods' ratio that tells two groups;
#: part of spectra above which all have it.
_ROUNDS, _UNLIKELY, _BETTER, _NEARLY = 50, 0.02, 2.0, 0.8


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
    at, sign = np.flatnonzero(mixed), np.sign(mixed[mixed != 0])
    deviations, root = certain[:, at] * sign, np.sqrt(found.known[:, usable][:, at])
    groups, better = _groups(deviations, root)
    told = (better > _BETTER) & (groups[:, 0] < _NEARLY)
    some, rest = none, found
    if told.any():  # then the others may still have a shape in common
        order = np.argsort(np.where(told, -better, 0.0), kind="stable")[: told.sum()]
        place = float(places[usable][at[order[0]]])
        own = (sign[:, None] * shapes[usable][at])[order]
        some = Doubts(none.moved, place, own, groups[order])
        one = order[:1]
        has = _has(deviations[:, one], root[:, one], tuple(groups[one].T))[:, 0]
        rest = _Scores(*(a[has < 0.5] for a in found))
    total = np.where(usable, np.abs(found.score.sum(axis=0)), 0.0)
    known = np.where(usable, found.known.sum(axis=0), 1.0)
    loud = total / np.sqrt(known)
    left = np.where(usable, np.abs(rest.score.sum(axis=0)), 0.0)
    scattered = left / np.sqrt((rest.score**2).sum(axis=0) + 1e-300)
    shown = left > _LOUD * np.sqrt(np.where(usable, rest.known.sum(axis=0), 1.0))
    wide = np.median(certain.std(axis=0)) > _CORRELATED  # its fits are shifted alike
    most = _SHARE * np.sqrt(len(rest.score))
    shown &= scattered > (most if wide else min(_SCATTERED, most))
    if not shown.any():
        return some
    alike = shown & (loud >= _ALIKE * loud[shown].max())
    moves = np.abs(found.followed[:, :, alike]) * (total / known)[alike]
    moved = np.zeros(free.size)
    moved[free] = np.median(moves, axis=0).max(axis=1)
    loudest = float(places[np.argmax(np.where(shown, loud, 0.0))])
    return some._replace(moved=moved, place=some.place if told.any() else loudest)


def _of_some(certain: np.ndarray) -> np.ndarray:
    """Return the evidence, with its sign, for each shape that some spectra show; or 0.

    Many spectra show it to one side, or a few do so clearly beside the scatter of most.
    Whether noise does as well is for `_groups` to tell.
    """
    squares = np.sign(certain) * certain**2
    skewed = squares.sum(axis=0) / np.sqrt((squares**2).sum(axis=0) + 1e-300)
    usual = np.maximum(np.median(np.abs(certain), axis=0) / 0.6745, 1.0)
    clear = np.abs(certain) > _CLEAR * usual
    few = (clear * np.sign(certain)).sum(axis=0)
    told = (np.abs(skewed) > _SKEWED) | (np.abs(few) >= _FEW)
    size = np.where(told, np.abs(squares.sum(axis=0)), 0.0)
    order = np.argsort(-size)[:_KEPT]
    kept = np.zeros(size.size, bool)
    kept[order] = size[order] > 0.5 * size.max(initial=0.0)
    return np.asarray(np.where(kept, np.sign(squares.sum(axis=0)) * size, 0.0))


def _groups(certain: np.ndarray, root: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tell spectra that have a shape from others: (C, 4), as in `Doubts.groups`.

    Two normal distributions, by expectation and maximisation; `root` are the
    deviations that a share of 1 makes. With them comes how much better they are than
    one, whose scatter is that of the sample: the logarithm of the likelihoods' ratio.
    """
    part = np.full(certain.shape[1], 0.2)
    size = np.maximum(certain, _SHOWN).mean(axis=0) / root.mean(axis=0)
    scatter, usual = 0.3 * size, np.ones(part.size)
    for _ in range(_ROUNDS):
        has = _has(certain, root, (part, size, scatter, usual))
        part = np.clip(has.mean(axis=0), 1e-6, 1 - 1e-6)
        within = (has * root**2).sum(axis=0) + 1e-300
        size = np.maximum((has * certain * root).sum(axis=0) / within, 0.0)
        excess = has * ((certain - size * root) ** 2 - usual**2)
        scatter = np.sqrt(np.clip(excess.sum(axis=0) / within, 0.0, (0.3 * size) ** 2))
        others = ((1 - has) * certain**2).mean(axis=0) / (1 - part)
        usual = np.sqrt(np.maximum(others, 1.0))
    groups = part, size, scatter, usual
    mean = (certain * root).sum(axis=0) / ((root**2).sum(axis=0) + 1e-300)
    alone = -0.5 * np.log(((certain - mean * root) ** 2).mean(axis=0)) - 0.5
    odds = np.logaddexp(0.0, _odds(certain, root, groups))
    two = np.log((1 - part) / usual) - 0.5 * (certain / usual) ** 2 + odds
    return np.stack(groups, axis=1), (two - alone).sum(axis=0)


def _odds(certain: np.ndarray, root: np.ndarray, groups: tuple[Any, ...]) -> np.ndarray:
    """Return the logarithm of the odds that each spectrum has each shape."""
    part, size, scatter, usual = groups
    wide = usual**2 + (scatter * root) ** 2
    far = (certain / usual) ** 2 - (certain - size * root) ** 2 / wide
    return np.asarray(0.5 * far + np.log(part / (1 - part) * usual / np.sqrt(wide)))


def _has(certain: np.ndarray, root: np.ndarray, groups: tuple[Any, ...]) -> np.ndarray:
    """Return how probable it is that each spectrum has each shape."""
    odds = np.where(certain > 0, _odds(certain, root, groups), -np.inf)
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(odds, -500.0, 500.0))))


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
        own = _scores(problem, spectra, weight, values, found.shapes[:1])
        has = _has(own.certain, np.sqrt(own.known), tuple(found.groups[:1].T))
        likely = has[:, 0] > _UNLIKELY
        spectra, weight, values = spectra[likely], weight[likely], values[likely]
        own = _scores(problem, spectra, weight, values, found.shapes)
        root = np.sqrt(own.known)
        share = np.maximum(own.certain / np.where(root > 0, root, np.inf), size)
        share *= np.sqrt(has[likely])
        moves = (np.abs(own.followed) * share[:, None]).max(axis=2)
        where = np.ix_(testable[part][likely], free)
        moved[where] = np.hypot(moved[where], moves)
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
    from batteryxr.xanes.kernels.shapes import curves

    axis, model = problem.axis, problem.model
    free = model.low < model.high
    finite = np.isfinite(rows * weights)
    rows, weights = np.where(finite, rows, 0.0), np.where(finite, weights, 0.0)
    slopes = np.empty((len(rows), free.size, axis.x.size))
    curve = curves(axis.x, axis.scaled, values, model.kinds, model.offsets, slopes)
    left = (rows - curve) * weights
    slopes = slopes if free.all() else slopes[:, free]
    slopes *= weights[:, None]
    variance = (left**2).sum(axis=1) / (finite.sum(axis=1) - free.sum())
    jump = values[:, model.jump]
    normal = slopes @ slopes.transpose(0, 2, 1)
    scale = np.sqrt(np.einsum("nkk->nk", normal))[..., None] + 1e-300
    normal /= scale * scale.transpose(0, 2, 1)
    normal += 1e-12 * np.eye(free.sum())
    crossed = slopes @ (shapes * weights[:, None]).transpose(0, 2, 1) / scale
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
