"""Flag the lattices of a series that may be wrong, and say so."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from batteryxr.core.errors import warn_quality
from batteryxr.xanes.diffraction import geometry, profiles
from batteryxr.xanes.diffraction.geometry import offset_slope
from batteryxr.xanes.diffraction.solved import FLAGS, FOREIGN, LEANING, UNCERTAIN
from batteryxr.xanes.diffraction.solving import solve

if TYPE_CHECKING:
    from collections.abc import Callable

    from batteryxr.xanes.diffraction.cells import Reflections
    from batteryxr.xanes.diffraction.geometry import Asked
    from batteryxr.xanes.diffraction.profiles import Positions
    from batteryxr.xanes.diffraction.solved import Solved

#: Relative error of a length above which it is told.
_PRECISE = 1e-4
#: Change of a spacing, relative and in errors, by which a reflection leans; reflections
#: from which the asymmetry of the instrument is told.
_LEANS, _CLEARLY, _SEVERAL = 1e-4, 5.0, 4
#: Largest shift of a reflection (deg) with which a second offset is tried.
_TRIED = 0.05
#: Vertex, in errors, from which all scans together show a second offset, and errors
#: beyond the vertex that are not excluded.
_SEEN, _WITHIN = 4.0, 2.0
#: Sum of chi2 by which one kind of offset is preferred.
_PREFERRED = 12.0
#: Distances that are tried, in widths of a reflection in the middle of the axis.
_AWAY = (0.5, 1.0, 1.8, 3.0)
#: Errors by which a second lattice, and one side more than the other, is seen.
_SECOND, _SIDED = 6.0, 4.0
#: Relative change of a length from which it matters.
_MATTERS = 7e-5
#: Foreign lines: least significance, and least height relative to the fit around them.
_CHANCE, _PART = 7.0, 0.2


def leaning(found: Positions, used: np.ndarray, asked: Asked) -> np.ndarray:
    """Return the flag of patterns (N,) whose reflections lean to one side.

    A second lattice that is not resolved makes them lean, further at higher angles. The
    divergence along the axis of an instrument does by the cotangent of the angle, and
    is taken off.
    """
    at, lean, error = found.position, found.lean, found.lean_error
    good = used & np.isfinite(lean) & np.isfinite(at) & (error > 0)
    relative = 1.0 / np.where(good, at, 1.0)
    if asked.axis == "two_theta":
        half = np.radians(np.where(good, at, 45.0)) / 2
        relative = np.radians(0.5) / np.tan(half)
        both = np.stack([1 / np.tan(2 * half), np.tan(half)], axis=-1)
        both = both * (good / np.where(good, error, 1.0))[..., None]
        target = np.where(good, lean / np.where(good, error, 1.0), 0.0)
        parts = (np.linalg.pinv(both) @ target[..., None])[:, :1, 0]
        several = good.sum(axis=1, keepdims=True) >= _SEVERAL
        lean = lean - np.where(several, parts, 0.0) / np.tan(2 * half)
    sd = np.where(good, error, 1.0)
    far = good & (np.abs(lean * relative) > _LEANS) & (np.abs(lean) > _CLEARLY * sd)
    most = far.sum(axis=1) >= np.maximum(2, good.sum(axis=1) / 3)
    # Reflections that lean alike, none of them clearly.
    weight = good / (sd * relative) ** 2
    total = np.maximum(weight.sum(axis=1), 1e-300)
    mean = (np.where(good, lean * relative, 0.0) * weight).sum(axis=1) / total
    signs = np.abs((good * np.sign(np.where(good, lean, 0.0))).sum(axis=1))
    alike = (np.abs(mean) * np.sqrt(total) > _CLEARLY) & (np.abs(mean) > _LEANS / 3)
    alike &= (good.sum(axis=1) >= _SEVERAL) & (signs >= 0.7 * good.sum(axis=1))
    return np.where(most | alike, LEANING, 0)


def tell(flag: np.ndarray) -> None:
    """Warn of flagged scans, except of foreign lines that were left out."""
    told = []
    for bit, words in zip(
        FLAGS["flag_masks"], str(FLAGS["flag_meanings"]).split(), strict=True
    ):
        number = int((flag & int(bit) > 0).sum())
        if number and bit != FOREIGN:
            told.append(f"{words.replace('_', ' ')} in {number}")
    if told:
        warn_quality(
            f"lattices of {flag.size} scans: {', '.join(told)} (lattice_flag)."
        )


def other_offset(
    asked: Asked,
    lines: Reflections,
    found: Positions,
    start: np.ndarray,
    *,
    chosen: bool,
) -> tuple[float, int]:
    """Return the relative change of lengths with the other kind of offset, and a flag.

    A zero error and a displacement move reflections nearly alike. Unless the kind was
    `chosen`, this warns if the positions found of the lines do not decide.
    """

    def again(kind: Asked, off: np.ndarray) -> Solved:
        moved = found._replace(position=found.position - off)
        return solve(lines, moved, start, kind, None)

    at = found.position
    other = "zero" if asked.offset == "displacement" else "displacement"
    none = np.zeros_like(at)
    own, rival = again(asked, none), again(replace(asked, offset=other), none)
    usual = float(np.median([1.0, *own.misfit[np.isfinite(own.misfit)] ** 2]))
    usual = max(usual, 1.0)
    moved = _change(own, rival)
    both, at_most = _beside(asked, other, again, at, usual)
    if both > _PRECISE:
        warn_quality(
            f"positions of all scans together suggest offset={other!r} beside "
            f"{asked.offset!r}, or divergence along the axis of the instrument: "
            f"lengths may be off by {1e6 * both:.0f} ppm (offset_doubt); changes along "
            "the series hardly are. Pass reference=, an internal standard."
        )
    flag = UNCERTAIN if both > _PRECISE else 0
    if chosen:
        return max(moved, both), flag
    lead = _lead(own, rival, usual)
    doubt = max(moved, both, at_most)
    if moved > _PRECISE and lead < _PREFERRED:
        fits = "better than" if lead < -_PREFERRED else "as well as"
        warn_quality(
            f"positions fit offset={other!r} {fits} {asked.offset!r}, by which lengths "
            f"differ by {1e6 * moved:.0f} ppm (offset_doubt); changes along the series "
            "hardly do. Pass offset= as your instrument is aligned, or reference=, an "
            "internal standard."
        )
    elif doubt > _PRECISE >= both:
        warn_quality(
            f"positions do not exclude offset={other!r} beside {asked.offset!r}: "
            f"lengths of all scans may be off by {1e6 * doubt:.0f} ppm (offset_doubt); "
            "changes along the series hardly are. Pass offset= as your instrument is "
            "aligned, or reference=, an internal standard."
        )
    return doubt, flag


def _change(own: Solved, rival: Solved) -> float:
    """Return the median of the relative difference of lengths."""
    moves = np.abs(np.sqrt(rival.metric / own.metric) - 1).max(axis=1)
    known = np.isfinite(moves)
    return float(np.median(moves[known])) if known.any() else np.nan


def _lead(own: Solved, rival: Solved, usual: float) -> float:
    """Return by how much chi2 of all patterns is worse with the rival."""
    assert own.used is not None
    assert rival.used is not None
    same = (own.used == rival.used).all(axis=1)
    degrees = own.used.sum(axis=1) - own.metric.shape[1] - 1
    worse = degrees * (rival.misfit**2 - own.misfit**2)
    return float(np.nansum(worse[same])) / usual


def _beside(
    asked: Asked,
    other: str,
    again: Callable[[Asked, np.ndarray], Solved],
    at: np.ndarray,
    usual: float,
) -> tuple[float, float]:
    """Return by how much lengths change if all patterns share the other offset too.

    One scan hardly tells two offsets apart. Many do, if one of them stays the same:
    chi2 of all is a parabola along it. The first number is 0 if its vertex is within
    four errors, the second holds for two errors beyond it, up to the shift tried.
    """
    shift = offset_slope(np.nan_to_num(at, nan=40.0), replace(asked, offset=other))
    shift = shift * (_TRIED / np.abs(shift).max())
    here, up, down = (again(asked, k * shift) for k in (0, 1, -1))
    more, less = _lead(here, up, usual), _lead(here, down, usual)
    curvature, change = more + less, _change(down, up) / 2
    if not curvature > 0:
        return 0.0, change
    vertex, error = (less - more) / (2 * curvature), float(np.sqrt(2 / curvature))
    seen = abs(vertex) >= _SEEN * error
    most = min(abs(vertex) + _WITHIN * error, 1.0)
    return (abs(vertex) * change if seen else 0.0), most * change


class WholePattern(Protocol):
    """Describe what is asked of the model of a whole pattern."""

    x: np.ndarray
    lines: Reflections
    asked: Asked
    free: int
    n_lines: int

    def shapes(self, p: np.ndarray, /) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return reflections of area 1, their slopes, and positions."""

    def grow(self, places: np.ndarray, /) -> np.ndarray:
        """Return the factor of the width's growth along the axis."""


def foreign_lines(
    pattern: WholePattern,
    p: np.ndarray,
    own: np.ndarray,
    left: np.ndarray,
    weight: np.ndarray,
    *,
    chi2: float,
) -> np.ndarray:
    """Return which points belong to lines outside of the fitted reflections.

    A line must be as wide as reflections, beyond chance, and larger than the
    misfit of a near reflection.

    Parameters
    ----------
    pattern, p
        The model and its shape parameters, as fitted.
    own, left, weight : (m,) float64
        All reflections together, residuals, and one over their variances.
    chi2
        Squared residuals over their variances, per degree of freedom.
    """
    step = float(np.diff(pattern.x).mean())
    middle = 0.5 * (pattern.x[0] + pattern.x[-1])
    width = float(p[-3] + p[-2] * pattern.grow(np.array([middle]))[0])
    points = max(width / step, 2.0)
    half = int(np.ceil(1.5 * points))
    t = np.arange(-half, half + 1) / points
    kernel = np.exp(-4 * np.log(2) * t**2)
    strength = np.convolve(weight, kernel**2, "same")
    signal = np.convolve(weight * left, kernel, "same")
    height = signal / np.maximum(strength, 1e-300)
    chance = (
        signal
        / np.sqrt(np.maximum(strength, 1e-300))
        / min(float(np.sqrt(max(chi2, 1.0))), 3.0)
    )
    # Misfits of a near line may be as large as a part of it.
    reach = np.lib.stride_tricks.sliding_window_view(
        np.pad(own, half, "edge"), 2 * half + 1
    ).max(axis=1)
    odd = (chance > _CHANCE) & (height > _PART * reach) & (strength > 0)
    wide = 2 * half + 1
    return np.convolve(1.0 * odd, np.ones(wide), "same") > 0.5


def second_lattice(
    pattern: WholePattern,
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
    slopes = np.concatenate([slopes, _axial(pattern, p, areas, at)])
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
    clear = seen[best] > _SECOND and seen[best] - seen[other] > _SIDED
    return LEANING if clear and np.abs(moved).max() / 2 > _MATTERS else 0


def _moves(pattern: WholePattern, p: np.ndarray) -> np.ndarray:
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


def _moved(pattern: WholePattern, lines: np.ndarray, moves: np.ndarray) -> np.ndarray:
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


def _axial(
    pattern: WholePattern, p: np.ndarray, areas: np.ndarray, at: np.ndarray
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
