"""Analyse intermittent current interruption: resistance and diffusion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core import bounds
from batteryxr.core.errors import ArgumentError
from batteryxr.core.provenance import recorded
from batteryxr.echem.pulses import switches as switching
from batteryxr.echem.pulses.resistance import least_squares

if TYPE_CHECKING:
    from batteryxr.core.bounds.kinds import Interruption, Mass, RestCurrent
    from batteryxr.echem.lithium.composition import Composition
    from batteryxr.echem.lithium.content import Lithiation
    from batteryxr.echem.pulses.switches import Around, CurrentSwitches

#: Largest relative difference of the currents before and after an interruption.
_BACK = 0.1
#: Longest interruption, in s.
_LONGEST = 600.0
_LEAST = 4
#: Rows before an interruption that may be read for the course of the voltage, and
#: their time span as a multiple of the end of the window.
_EARLIER, _SPAN = 400, 6.0
#: Geometry -> share of the course of the voltage that goes on in the rest, and one
#: standard deviation of it. In cylinders it is 3/4, in spheres more at first.
_SHARES = {"any": (0.83, 0.17), "planar": (1.0, 0.03), "sphere": (2 / 3, 0.1)}
#: Times of a relaxation that are tried beside the line; weight of the line below which
#: there is one.
_TIMES, _UNLIKELY = 16, 0.05
#: Times of slower relaxations, as multiples of the window, which are sought in the
#: whole rest; errors by which one must bend the line (fewer only widen the errors), and
#: by which it must move k.
_SLOW, _FINE = np.geomspace(0.25, 24.0, 12), np.geomspace(1 / 1.4, 1.4, 9)
_BENT, _HINTED, _MOVED = 4.0, 2.0, 1.5
_WHOLE = 4.0  # ends of the window, up to which a rest counts as whole
_FLAG = {
    "units": "1",
    "long_name": "What is odd about the interruption",
    "flag_masks": [1],
    "flag_meanings": "relaxing",
}
_OF_EACH = (
    ("resistance", "ohm", "Internal resistance"),
    ("resistance_error", "ohm", "Internal resistance, one sd"),
    ("k", "ohm s^-0.5", "Diffusion resistance coefficient"),
    ("k_error", "ohm s^-0.5", "Diffusion resistance coefficient, one sd"),
    ("residual", "V", "What is left, rms"),
)


@recorded
def interruptions(
    record: xr.Dataset,
    *,
    window: Interruption = (1.0, 5.0),
    geometry: Literal["any", "planar", "sphere"] = "any",
    i_zero: RestCurrent | None = None,
    mass: Mass | None = None,
    formula: str | Composition | Lithiation | None = None,
) -> xr.Dataset:
    """Return resistance and diffusion from short interruptions of the current.

    Reads once, the current twice, then the rows around the interruptions.

    While the current is off for some seconds, the voltage moves with the square root
    of time (Chien et al., Nat. Commun. 14, 2289 (2023)). The slope over the current is
    ``k``, which is proportional to 1/√D. The line extrapolated to the switch gives the
    internal resistance.

    Parameters
    ----------
    record
        Cycler data on ``record``.
    window
        Time range of the fitted line, in s after the switch.
    geometry
        Shape of the particles. The course of the voltage under current goes on in the
        rest, whole for plates and by two thirds in spheres. "any" takes a share
        between, and its error holds both.
    i_zero, mass, formula
        As in `resistance`.

    Returns
    -------
    xarray.Dataset
        On ``interruption``: ``resistance`` (ohm), ``k`` (ohm s^-0.5), each with
        ``_error``, ``residual`` (V), ``current`` (mA, before), ``duration`` (s), and
        the coordinates of `resistance`. An error is one standard deviation, from the
        scatter about the line and the earlier course of the voltage, which goes on.
        NaN if fewer than 4 rows lie in `window`. ``interruption_flag``: relaxing (a
        charge transfer is not over when `window` begins, or a slower relaxation bends
        the line of the whole rest; it is fitted too).

    Raises
    ------
    ArgumentError
        If `window` begins below 0.
    DimensionError, VariableError, UnitsError, DataError
        If the record lacks something, or its times are unreliable.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> time = np.arange(0.0, 120.0, 0.5)
    >>> off = np.where(
    ...     (time > 60) & (time < 70), time - 60, np.nan
    ... )  # 10 s without current
    >>> voltage = np.where(np.isnan(off), 3.7, 3.68 - 0.002 * np.sqrt(off))
    >>> current = np.where(np.isnan(off), 2.0, 0.0)
    >>> record = xr.Dataset(
    ...     {
    ...         "voltage": ("record", voltage, {"units": "V"}),
    ...         "current": ("record", current, {"units": "mA"}),
    ...     },
    ...     {"test_time": ("record", time, {"units": "s"})},
    ... )
    >>> found = record.echem.interruptions(window=(1, 8))
    >>> float(found["resistance"].round(1)[0])
    10.0
    """
    if not 0 <= window[0] < window[1]:
        raise ArgumentError("window", window, "times >= 0 in s, the first one smaller")
    rows = switching.record_columns(record, caller="interruptions")
    found = switching.find(rows, i_zero)
    first = _interrupted(found)
    table = np.full((first.size, len(_OF_EACH) + 1), np.nan)
    for k, switch in enumerate(first.tolist()):
        before, after = switching.piece(
            rows, found, switch, _WHOLE * window[1], earlier=_EARLIER
        )
        step = (found.after[switch] - found.before[switch]) * 1e-3
        rest = np.abs(after.i) <= found.i_zero
        after = type(after)(*(column[rest] for column in after))
        table[k] = _line(before, after, window, step, _SHARES[geometry])
    lasting = found.time[first + 1] - found.time[first] if first.size else np.empty(0)
    variables: dict[str, Any] = {
        name: ("interruption", table[:, k], {"units": units, "long_name": words})
        for k, (name, units, words) in enumerate(_OF_EACH)
    }
    for name, values, units, words in (
        ("current", found.before[first], "mA", "Current before"),
        ("duration", lasting, "s", "Duration"),
    ):
        about = {"units": units, "long_name": words}
        variables[name] = ("interruption", values, about)
    flag = np.nan_to_num(table[:, -1]).astype(np.int8)
    variables["interruption_flag"] = "interruption", flag, _FLAG
    coords = switching.coordinates(
        record, found.row[first], "interruption", mass=mass, formula=formula
    )
    coords["interruption"] = np.arange(1, first.size + 1)
    direction = switching.direction_of(found.before[first], found.i_zero)
    about = {"units": "1", "long_name": "What is interrupted"}
    coords["direction"] = ("interruption", direction, about)
    result = xr.Dataset(variables, coords).assign_attrs(i_zero=found.i_zero)
    return bounds.told(result)


class _RootLine(NamedTuple):
    """Hold a line along the root of time with errors, and whether it is bent.

    Parameters
    ----------
    intercept, intercept_sd, slope, slope_sd
        Volt, and volt for the root of a second.
    noise
        Scatter about the line (V).
    relaxed
        1 if an exponential beside the line is likely, else 0.
    """

    intercept: float
    intercept_sd: float
    slope: float
    slope_sd: float
    noise: float
    relaxed: float


def _interrupted(found: CurrentSwitches) -> np.ndarray:
    """Return the switches to rest after which the same current resumes."""
    size = np.abs(found.before[:-1])
    off = (np.abs(found.after[:-1]) <= found.i_zero) & (size > found.i_zero)
    back = np.abs(found.after[1:] - found.before[:-1]) <= _BACK * size
    return np.flatnonzero(off & back & (np.diff(found.time) <= _LONGEST))


def _line(
    before: Around,
    after: Around,
    window: tuple[float, float],
    step: float,
    share: tuple[float, float],
) -> tuple[float, ...]:
    """Return resistance, k, their errors, the residual, and the flag."""
    inside = (after.t >= window[0]) & (after.t <= window[1])
    t, v = after.t[inside], after.v[inside]
    if t.size < _LEAST or not before.t.size:
        return (*[np.nan] * len(_OF_EACH), 0.0)
    # The course of the voltage under current partly goes on in the rest. It is not part
    # of a line along the square root of time.
    course, course_sd = _course(before, window[1])
    v = v - share[0] * course * t
    root = np.sqrt(t)
    middle = root.mean()
    sign = float(np.sign(step))
    found = _averaged(root, v, window, sign)
    bent = float(((root - middle) * t).sum() / ((root - middle) ** 2).sum())
    lifted = float(t.mean()) - bent * middle
    odd = np.hypot(share[1] * course, share[0] * course_sd)
    later = after.t >= window[0]
    whole = np.sqrt(after.t[later]), after.v[later] - share[0] * course * after.t[later]
    slow, shown = _slow(*whole, float(np.diff(window)[0]), sign) or (found, 0.0)
    moved = abs(slow.slope - found.slope)
    if shown > _BENT and moved > _MOVED * np.hypot(found.slope_sd, odd * bent):
        found = slow
    elif shown > _HINTED:
        found = found._replace(
            intercept_sd=float(
                np.hypot(found.intercept_sd, slow.intercept - found.intercept)
            ),
            slope_sd=float(np.hypot(found.slope_sd, moved)),
        )
    last = float(before.v[-1])
    return (
        (found.intercept - last) / step,
        float(np.linalg.norm([found.intercept_sd, found.noise, odd * lifted]))
        / abs(step),
        found.slope / step,
        float(np.hypot(found.slope_sd, odd * bent)) / abs(step),
        found.noise,
        found.relaxed,
    )


def _averaged(
    root: np.ndarray, v: np.ndarray, window: tuple[float, float], sign: float
) -> _RootLine:
    """Return the line along the root of time, averaged over models.

    An exponential beside the line is a slow charge transfer. Models are weighed by
    their likelihood (Akaike), and their scatter is added to the errors.
    """
    n, one = root.size, np.ones(root.size)
    times = np.geomspace(0.2 * root[0] ** 2, 0.5 * np.diff(window)[0], _TIMES)
    beside = [np.empty((n, 0)), *(-np.exp(-(root**2) / x)[:, None] for x in times)]
    tried = []
    for more in beside:
        a = np.column_stack([one, root, sign * more])
        x, left = least_squares(a, v)
        free = n - a.shape[1]
        if free < 2 or (more.size and x[2] < 0):  # no cell relaxes the other way
            continue
        squares = max(float(left @ left), 1e-18 * n)
        spread = np.diag(np.linalg.pinv(a.T @ a)) * squares / free
        size = a.shape[1] + 1 + more.shape[1]
        score = n * np.log(squares / n) + 2.0 * size * n / max(n - size - 1, 0.5)
        tried.append((score, x[0], spread[0], x[1], spread[1], squares / free))
    score, intercept, of_intercept, slope, of_slope, noise = np.array(tried).T
    weight = np.exp(-0.5 * (score - score.min()))
    weight /= weight.sum()
    means = weight @ intercept, weight @ slope
    return _RootLine(
        float(means[0]),
        float(np.sqrt(weight @ (of_intercept + (intercept - means[0]) ** 2))),
        float(means[1]),
        float(np.sqrt(weight @ (of_slope + (slope - means[1]) ** 2))),
        float(np.sqrt(weight @ noise)),
        float(weight[0] < _UNLIKELY),
    )


def _slow(
    root: np.ndarray, v: np.ndarray, width: float, sign: float
) -> tuple[_RootLine, float] | None:
    """Return the line beside a slow relaxation, and by how many errors that shows.

    None if there is none.
    """
    line = np.column_stack([np.ones(root.size), root])
    straight = least_squares(line, v)[1]
    free = root.size - line.shape[1] - 2
    if free < 2:
        return None
    tried: list[tuple[float, ...]] = []
    for near in (_SLOW, _FINE, _FINE):
        middle = min(tried)[-1] if tried else width
        for x in near * middle:
            a = np.column_stack([line, -sign * np.expm1(-(root**2) / x)])
            found, left = least_squares(a, v)
            if found[2] > 0:
                tried.append((float(left @ left), *found, x))
    if not tried:
        return None
    squares, intercept, slope, height, x = min(tried)
    least = max(squares, 1e-18 * root.size)
    gain = float(straight @ straight) - least
    # Errors hold that of the time of the relaxation, by the slope of the model.
    aged = root**2 / x
    beside = -np.expm1(-aged), -height * aged * np.exp(-aged)
    a = np.column_stack([line, *beside])
    spread = np.sqrt(np.diag(np.linalg.pinv(a.T @ a)) * least / free)
    noise = float(np.sqrt(least / free))
    line_beside = _RootLine(
        intercept, float(spread[0]), slope, float(spread[1]), noise, 1.0
    )
    return line_beside, float(np.sqrt(max(gain, 0.0) * free / least))


def _course(before: Around, end: float) -> tuple[float, float]:
    """Return the slope of the voltage (V/s) before a switch, and its error.

    Both are 0 if rows are too few.
    """
    far = max(-_SPAN * end, float(before.t[-_LEAST])) if before.t.size >= _LEAST else 0
    t, v = (one[before.t >= far] for one in (before.t, before.v))
    if t.size < _LEAST or np.ptp(t) <= 0:
        return 0.0, 0.0
    centred = t - t.mean()
    squares = float(centred @ centred)
    slope = float(centred @ v) / squares
    left = v - v.mean() - slope * centred
    return slope, float(np.sqrt(left @ left / (t.size - 2) / squares))
