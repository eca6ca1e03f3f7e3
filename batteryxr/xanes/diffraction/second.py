"""Tell whether a weak second lattice hides under the reflections of a whole pattern."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batteryxr.xanes.diffraction import geometry, profiles
from batteryxr.xanes.diffraction.solved import LEANING

if TYPE_CHECKING:
    from batteryxr.xanes.diffraction.pawley import PawleyModel

#: Distances that are tried, in widths of a reflection in the middle of the axis.
_AWAY = (0.5, 1.0, 1.8, 3.0)
#: Errors by which a second lattice, and one side more than the other, is seen.
_CLEAR, _SIDED = 6.0, 4.0
#: Relative change of a length from which it matters.
_MATTERS = 7e-5


def second_lattice(
    pattern: PawleyModel,
    p: np.ndarray,
    areas: np.ndarray,
    slopes: np.ndarray,
    left: np.ndarray,
    weight: np.ndarray,
) -> int:
    """Return the flag of a pattern in which a second lattice would move the first.

    It has the areas of the first, times a share, a little away: one step of Gauss and
    Newton from the fit, as for any further linear parameter. The divergence along the
    axis of an instrument makes reflections lean too, and is taken off.

    Parameters
    ----------
    pattern, p
        The model and its shape parameters, as fitted.
    areas : (all,) float64
        Areas of all reflections.
    slopes : (parameters, m) float64
        Slopes of the model.
    left, weight : (m,) float64
        Residuals, and one over their variances.
    """
    value, _, at = pattern.shapes(p)
    slopes = np.concatenate([slopes, _leaning(pattern, p, areas, at)])
    matrix = (slopes * weight) @ slopes.T
    scale = np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    inverse = np.linalg.pinv(matrix / np.outer(scale, scale), 1e-9, hermitian=True)
    moves = _moves(pattern, p)  # of the lines of this phase, not of a standard
    tried = _moved(pattern, value * areas[:, None], moves)
    cross = (tried * weight) @ slopes.T / scale
    shared = cross @ inverse
    own = np.maximum((tried**2 * weight).sum(axis=1) - (shared * cross).sum(axis=1), 0)
    own = np.where(own > 1e-9 * (tried**2 * weight).sum(axis=1), own, np.inf)
    part = tried @ (weight * left) / own
    noise = float((weight * left**2).sum()) / max(int((weight > 0).sum()), 1)
    seen = part * np.sqrt(own) / np.sqrt(max(noise, 1e-12))
    seen = np.where(np.isfinite(seen), seen, 0.0)
    best = int(np.argmax(seen))
    other = best + 1 if best % 2 == 0 else best - 1
    moved = part[best] * (shared[best] / scale)[: pattern.free] / p[: pattern.free]
    clear = seen[best] > _CLEAR and seen[best] - seen[other] > _SIDED
    return LEANING if clear and np.abs(moved).max() / 2 > _MATTERS else 0


def _moves(pattern: PawleyModel, p: np.ndarray) -> np.ndarray:
    """Return (tried, lines) moves, in pairs to one side and to the other."""
    free = pattern.free
    ways = [np.ones(free), *np.eye(free)[:3]]
    if free > 1:
        ways.append(np.r_[1.0, -np.ones(free - 1)])
    form, asked = pattern.lines.form, pattern.asked
    here = geometry.place(p[None, :free], form, asked)[0]
    width = p[-3] + p[-2] * float(np.nanmedian(pattern.grow(here)))
    nearby = p[:free] * (1 + 1e-4 * np.stack(ways))
    slope = np.nan_to_num(geometry.place(nearby, form, asked) - here)
    far = np.median(np.abs(slope), axis=1, keepdims=True)
    unit = slope / np.where(far > 0, far, np.inf) * width
    away = np.array([side * k for k in _AWAY for side in (1, -1)])
    return (unit[:, None] * away[:, None]).reshape(-1, here.size)


def _moved(pattern: PawleyModel, lines: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Return (tried, m) sums of lines (all, m), the first ones moved."""
    x = pattern.x
    step = float(np.ptp(x)) / x.size
    out = np.repeat(lines[moves.shape[1] :].sum(axis=0)[None], len(moves), axis=0)
    for line, move in zip(lines, moves.T, strict=False):
        there = np.flatnonzero(line)
        if there.size:
            more = int(np.abs(move).max() / step) + 1
            part = slice(max(there[0] - more, 0), there[-1] + more + 1)
            out[:, part] += np.interp(x[part] - move[:, None], x, line, 0.0, 0.0)
    return out


def _leaning(
    pattern: PawleyModel, p: np.ndarray, areas: np.ndarray, at: np.ndarray
) -> np.ndarray:
    """Return (1, m) by how much a pattern changes with the axial divergence."""
    lean = np.zeros((1, pattern.x.size))
    if pattern.asked.axis != "two_theta":
        return lean[:0]
    width = np.maximum(p[-3] + p[-2] * pattern.grow(at), 1e-9)
    for place, wide, area in zip(at, width, areas, strict=True):
        near = np.abs(pattern.x - place) < 8 * wide
        if near.any() and place > 0:
            x = pattern.x[near]
            slope = profiles.shape(x, place, wide, float(p[-1]))[2]
            cot = 1 / np.tan(np.radians(place))
            lean[0, near] += area * cot * np.sign(x - place) * slope / wide
    return lean
