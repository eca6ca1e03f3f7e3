"""Fit the voltage after an interruption by a line along the root of time."""

from __future__ import annotations

from math import erf, lgamma
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.echem.pulses.switches import GAP

if TYPE_CHECKING:
    from batteryxr.echem.pulses.switches import Around

#: Relative difference below which intervals are those of a clock.
_REGULAR = 0.01
#: Least number of rows in a window.
LEAST = 4
#: Time span of the rows before that tell the course, as a multiple of the end of the
#: window.
_SPAN = 6.0
#: Times of a relaxation that are tried beside the line, and about the likeliest; weight
#: of the line below which there is one.
_TIMES, _ABOUT, _UNLIKELY = 16, 16, 0.05
#: Largest height of a relaxation, as a multiple of what the voltage allows.
_OVER = 2.0
#: Times of slower relaxations, as multiples of the window, which are sought in the
#: whole rest; errors by which one must bend the line (fewer only widen the errors), and
#: by which it must move k.
_SLOW, _FINE = np.geomspace(0.25, 24.0, 12), np.geomspace(1 / 1.4, 1.4, 9)
_BENT, _HINTED, _MOVED = 4.0, 2.0, 1.5
#: Moments that are tried where the switch is not dated, and what they leave out.
_MOMENTS, _HIDES = 12, 2.0
RELAXING, UNDATED = 1, 2


class RootLine(NamedTuple):
    """Hold a line along the root of time with errors, and what is odd about it.

    Parameters
    ----------
    drop, drop_sd
        Change of the voltage at the switch (V).
    slope, slope_sd
        Volt for the root of a second.
    noise
        Scatter about the line (V).
    flag
        Sum of RELAXING (an exponential beside the line is likely) and UNDATED.
    """

    drop: float
    drop_sd: float
    slope: float
    slope_sd: float
    noise: float
    flag: int


class _Line(NamedTuple):
    """Hold a line with its errors, and what tells for it."""

    intercept: float
    intercept_sd: float
    slope: float
    slope_sd: float
    noise: float
    relaxed: bool
    score: float  # -2 log(likelihood), corrected for the number of parameters
    fast: float = 0.0  # time (s) of the likeliest relaxation in the window; 0: none


class Particles(NamedTuple):
    """Hold what a shape of particles does to the course of the voltage in a rest.

    Parameters
    ----------
    share, share_sd
        Part of the course before that goes on, and one standard deviation.
    bend, bend_sd
        Coefficient of the next power of the root of time, over course^2 / k.
    """

    share: float
    share_sd: float
    bend: float
    bend_sd: float


class _Course(NamedTuple):
    """Hold what is known of the course of the voltage that goes on in the rest."""

    mean: np.ndarray  # V/s, and V/s^1.5: how it bends
    sd: np.ndarray  # inf: nothing is known
    noise: float  # of one row in the rest, V


def fit(
    before: Around,
    after: Around,
    window: tuple[float, float],
    sign: float,
    geometry: Particles,
) -> RootLine | None:
    """Return the line in a window (s) after a switch; None if rows are too few.

    Where the switch is not dated, it is averaged over all moments between both rows.

    Parameters
    ----------
    before, after
        Rows around the switch.
    window
        Time range in s.
    sign
        Sign of the step of the current.
    geometry
        Shape of the particles.
    """
    if not before.t.size or after.t.size < LEAST:
        return None
    clocked, undated = undated_by(before, after)
    # A row that holds a mean over the switch dates it.
    gap = float(after.t[0]) if (clocked or undated) and before.t[-1] >= 0 else 0.0
    since = after.t - gap
    inside = (since >= window[0]) & (since <= window[1])
    if inside.sum() < LEAST:
        return None
    slope = _before(before, window[1])
    found: list[tuple[float, ...]] = []
    for moment in _moments(after, gap, undated=undated):
        now = after._replace(t=after.t - moment)
        course = _course(slope, geometry, now.t[inside], now.v[inside])
        # The voltage right before the switch follows its course from the last row.
        reach = float(moment - before.t[-1])
        last = float(before.v[-1]) + slope[0] * reach
        line = _with_slow(now, inside, course, (sign, last), window)
        known = slope[1] * reach if slope[1] < np.inf else 0.0
        # All relaxes one way: the drop is no larger than the voltage moves.
        unsure = min(line.intercept_sd, abs(float(now.v[inside][0]) - last))
        drop_sd = float(np.linalg.norm([unsure, line.noise, known]))
        found.append((line.score, line.intercept - last, drop_sd, *line[2:6]))
    score, drops, drop_sds, slopes, slope_sds, noises, relaxed = np.array(found).T
    weight = np.exp(-0.5 * (score - score.min()))
    weight /= weight.sum()
    drop, k = float(weight @ drops), float(weight @ slopes)
    # A charge transfer hides part of what tells the moment.
    hides = _HIDES if gap else 1.0
    return RootLine(
        drop,
        hides * float(np.sqrt(weight @ (drop_sds**2 + (drops - drop) ** 2))),
        k,
        hides * float(np.sqrt(weight @ (slope_sds**2 + (slopes - k) ** 2))),
        float(weight @ noises),
        RELAXING * int(weight @ relaxed > 0.5) + UNDATED * (gap > 0 and undated),
    )


def _moments(after: Around, gap: float, *, undated: bool) -> np.ndarray:
    """Return the times of a switch that are tried (s after the row before)."""
    if not gap or not undated:
        return np.linspace(0.0, gap, _MOMENTS) if gap else np.zeros(1)
    # Rows that lie close together begin soon after a switch, more often than not.
    soon = 0.25 * float(after.t[1] - after.t[0])
    return gap - np.geomspace(max(soon, 1e-6 * gap), gap, 2 * _MOMENTS)


def _course(
    slope: tuple[float, float], geometry: Particles, t: np.ndarray, v: np.ndarray
) -> _Course:
    """Return what the slope before tells of rows in the rest, and their noise."""
    share, share_sd, bend, bend_sd = geometry
    line = np.column_stack([np.ones(t.size), np.sqrt(t), t])[:, : t.size - 2]
    left = least_squares(line, v)[1]
    noise = float(np.sqrt(left @ left / (t.size - line.shape[1])))
    k = float(least_squares(line[:, :2], v - share * slope[0] * t)[0][1])
    scale = slope[0] ** 2 / k if abs(k) > abs(slope[0]) else slope[0]
    known = slope[1] < np.inf
    sd = float(np.hypot(share_sd * slope[0], share * slope[1])) if known else np.inf
    return _Course(
        np.array([share * slope[0], bend * scale]),
        np.array([sd, bend_sd * abs(scale)]),
        max(noise, 1e-9),
    )


def _least(
    a: np.ndarray, t: np.ndarray, v: np.ndarray, course: _Course
) -> tuple[np.ndarray, np.ndarray, float, int]:
    """Return parameters, their inverse matrix, squares and free rows, beside a course.

    What is known of the course are two more rows.
    """
    certain = course.noise / np.maximum(course.sd, 1e-12)
    known = np.diag(np.concatenate([np.zeros(a.shape[1]), certain]))[a.shape[1] :]
    a = np.concatenate([np.column_stack([a, t, t**1.5]), known])
    v = np.append(v, certain * course.mean)
    x, left = least_squares(a, v)
    inverse = np.linalg.pinv(a.T @ a, hermitian=True)
    return x, inverse, max(float(left @ left), 1e-18 * t.size), v.size - a.shape[1]


def _counted(x: float, window: tuple[float, float]) -> float:
    """Return the part of a relaxation in a time `x` that is of the resistance.

    A fast one is, and a slow one is not.
    """
    middle = max(window[0] * window[1], 1e-12)
    return float(1.0 / (1.0 + (x * x / middle) ** 2))


def _narrowed(height: float, inverse: float, variance: float, most: float) -> float:
    """Return the score that a relaxation costs: by how much rows narrow its height.

    Before, any height up to `most` is as likely.
    """
    sd = np.sqrt(2.0 * inverse * variance)
    within = 0.5 * (erf(height / sd) + erf((most - height) / sd))
    return float(np.log(most**2 / (np.pi * inverse)) - 2.0 * np.log(max(within, 1e-9)))


def _averaged(
    t: np.ndarray,
    v: np.ndarray,
    course: _Course,
    way: tuple[float, float],
    window: tuple[float, float],
) -> _Line:
    """Return the line along the root of time, averaged over models.

    An exponential beside the line is a slow charge transfer. Models are weighed by
    how likely they make the rows, whatever their noise (few rows decide little), and
    their scatter is added to the errors. `way` is the sign of the step, and the voltage
    right before.
    """
    sign, last = way
    moved, seen = abs(float(v[0]) - last), max(float(np.ptp(v)), course.noise)
    line = np.column_stack([np.ones(t.size), np.sqrt(t)])
    times = np.geomspace(0.2 * max(t[0], 1e-6), 0.5 * (t[-1] - t[0]), _TIMES)
    tried: list[tuple[float, ...]] = []

    def attempt(x: float, share: float) -> None:
        a = np.column_stack([line, -sign * np.exp(-t / x)]) if x else line
        p, inverse, squares, free = _least(a, t, v, course)
        # No cell relaxes the other way, nor by more than the voltage moves.
        begin, end = np.exp(-t[[0, -1]] / x) if x else (0.0, 0.0)
        most = min(moved / (1.0 - begin), seen / (begin - end)) if x else 0.0
        if free < 1 + bool(x) or (x and not 0 <= p[2] <= _OVER * most):
            return
        spread = np.diag(inverse) * squares / max(free - 2, 1)
        unsure = spread[0]
        score = free * np.log(squares) - 2.0 * lgamma(free / 2.0)
        if x:
            counted = _counted(x, window)
            p[0] -= sign * p[2] * (1.0 - counted)
            unsure += p[2] ** 2 * counted * (1.0 - counted)
            score += _narrowed(p[2], inverse[2, 2], squares / free, most)
            score -= 2.0 * np.log(share / (_TIMES + 2))
        tried.append((score, p[0], unsure, p[1], spread[1], squares / free, x))

    for x in (0.0, *times.tolist()):
        attempt(x, 1.0)
    if likeliest := min(tried)[-1]:
        step = float(times[1] / times[0])
        for x in likeliest * np.geomspace(1.0 / step, step, _ABOUT):
            attempt(float(x), 2.0 / _ABOUT)
    score, intercept, of_intercept, slope, of_slope, noise, x = np.array(tried).T
    weight = np.exp(-0.5 * (score - score.min()))
    total = weight.sum()
    weight /= total
    means = weight @ intercept, weight @ slope
    return _Line(
        float(means[0]),
        float(np.sqrt(weight @ (of_intercept + (intercept - means[0]) ** 2))),
        float(means[1]),
        float(np.sqrt(weight @ (of_slope + (slope - means[1]) ** 2))),
        float(np.sqrt(weight @ noise)),
        bool(weight[0] < _UNLIKELY),
        float(score.min() - 2.0 * np.log(total)),
        float(x[score.argmin()]),
    )


def _with_slow(
    after: Around,
    inside: np.ndarray,
    course: _Course,
    way: tuple[float, float],
    window: tuple[float, float],
) -> _Line:
    """Return the line in a window, beside a slow relaxation of the whole rest."""
    t, v = after.t[inside], after.v[inside]
    found = _averaged(t, v, course, way, window)
    later = after.t >= t[0]
    whole = after.t[later], after.v[later]
    beside = _slow(whole, course, way[0], window, found.fast)
    slow, hinted, shown = beside or (found, 0.0, 0.0)
    moved = abs(slow.slope - found.slope)
    if shown > _BENT and moved > _MOVED * found.slope_sd:
        return slow._replace(score=found.score)
    if hinted > _HINTED:
        lifted = slow.intercept - found.intercept
        return found._replace(
            intercept_sd=float(np.hypot(found.intercept_sd, lifted)),
            slope_sd=float(np.hypot(found.slope_sd, moved)),
        )
    return found


def _slow(
    whole: tuple[np.ndarray, np.ndarray],
    course: _Course,
    sign: float,
    window: tuple[float, float],
    fast: float,
) -> tuple[_Line, float, float] | None:
    """Return the line that is fitted together with a slow relaxation.

    Beside it stands by how many standard errors the relaxation shows, without and with
    the loss of certainty that few rows bring. A fast relaxation of the time `fast` is
    fitted too. None if there is no slow one.
    """
    t, v = whole
    line = np.column_stack([np.ones(t.size), np.sqrt(t)])
    if fast:
        gone = np.exp(-t / fast)  # and how it changes with its time
        line = np.column_stack([line, -sign * gone, gone * t / fast])
    size = line.shape[1]
    straight, free = _least(line, t, v, course)[2:]
    free -= 2
    if free < 2:
        return None
    tried: list[tuple[float, ...]] = []
    for near in (_SLOW, _FINE, _FINE):
        middle = min(tried)[-1] if tried else window[1] - window[0]
        for x in near * middle:
            a = np.column_stack([line, -sign * np.expm1(-t / x)])
            found, _, squares, _ = _least(a, t, v, course)
            if found[size] > 0:
                part = found[2] * (1.0 - _counted(fast, window)) if fast else 0.0
                begun = float(found[0] - sign * part)
                tried.append((squares, begun, *map(float, (found[1], found[size], x))))
    if not tried:
        return None
    squares, intercept, slope, height, x = min(tried)
    # Errors hold that of the time of the relaxation, by the slope of the model.
    aged = t / x
    beside = -np.expm1(-aged), -height * aged * np.exp(-aged)
    inverse = _least(np.column_stack([line, *beside]), t, v, course)[1]
    noise, counted = float(np.sqrt(squares / free)), _counted(x, window)
    intercept += sign * height * counted
    both = np.eye(len(inverse))[0]
    both[size] = counted
    spread = noise * np.sqrt([both @ inverse @ both, inverse[1, 1]])
    unsure = float(np.hypot(spread[0], height * np.sqrt(counted * (1.0 - counted))))
    line_beside = _Line(intercept, unsure, slope, float(spread[1]), noise, True, 0.0)
    gain = max(straight - squares, 0.0) / squares
    # Few free rows may be met by chance: there the likelihood tells less.
    few = float(np.sqrt(free * np.log1p(gain)))
    return line_beside, float(np.sqrt(free * gain)), few


def _before(before: Around, end: float) -> tuple[float, float]:
    """Return the slope of the voltage (V/s) before a switch, and its error.

    The error of less than three rows is infinite.
    """
    far = min(-_SPAN * end, float(before.t[-LEAST])) if before.t.size >= LEAST else 0
    t, v = (one[before.t >= far] for one in (before.t, before.v))
    if t.size < LEAST or np.ptp(t) <= 0:
        return 0.0, np.inf
    centred = t - t.mean()
    squares = float(centred @ centred)
    slope = float(centred @ v) / squares
    left = v - v.mean() - slope * centred
    return slope, float(np.sqrt(left @ left / (t.size - 2) / squares))


def undated_by(before: Around, after: Around) -> tuple[bool, bool]:
    """Tell whether rows follow a clock regardless of a switch, and lie in a gap."""
    if after.t.size < 3 or before.t.size < 2:
        return False, False
    gap, behind = after.t[0], after.t[1] - after.t[0]
    last = float(np.diff(before.t[-3:]).max())
    # Either rows follow a clock regardless of switches, or they stop before it.
    clocked = np.ptp([gap, behind, last]) <= _REGULAR * gap or gap > GAP * last
    return bool(clocked), bool(gap > GAP * behind)


def least_squares(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the solution and the residuals."""
    x = np.linalg.lstsq(a, b, rcond=None)[0]
    return x, b - a @ x
