"""Find the turning point of dQ/dV, between two redox reactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.core.provenance import recorded
from batteryxr.echem.cycling.curve_shape import (
    Differential,
    candidates,
    each,
    kept,
    summit,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batteryxr.core.bounds.kinds import VoltageWindow

#: Largest shift of a shoulder by the smoothing, relative to that by a second one.
_FIRST = 2.0
#: Standard deviation of a place that may be anywhere, relative to the width.
_EVEN = 12**-0.5
#: Half span of a cubic, relative to the distance from a valley to its nearer peak.
_SPAN = 0.38
#: Shift of a valley by the span of the fit, relative to that by the other half of it.
_MORE = 1.5
#: Shift of a valley by the smoothing, relative to that of a fit in one place by a
#: second one.
_BACK = 0.5
#: Width of a bottom that noise hides, relative to the span of the fit, from which on a
#: cubic follows the noise.
_FLAT = 0.15
#: Fits of a valley, each in the middle of the one before.
_AGAIN = 4
#: Uncertainty of a turning slope from the bin width, in bins.
_HIDDEN = 0.5
#: Standard deviations by which a curve must flatten to have a shoulder.
_CLEAR = 3.0


@recorded
def turning_point(
    result: xr.Dataset,
    *,
    window: VoltageWindow,
    half_cycles: Sequence[int] | None = None,
) -> xr.Dataset:
    """Find the voltage between two redox reactions.

    Reads once; the result is small and in memory.

    The turning point is the minimum of dQ/dV between two of its peaks, from a cubic.
    A second way checks it. Robust lines (Theil-Sen) are fitted to the two flat parts
    of the voltage profile V(Q) and to the steep part between them. They cross at two
    knees, and the turning point should lie midway. If one peak is a mere shoulder of
    the other, there is no minimum. The turning point is then where the curve is
    flattest within the window and its slope turns. The effect of the smoother on an
    asymmetric valley is taken out. The error includes it, and the effect of the
    cubic's span; where noise hides the bottom, it is that of the whole flat part.

    Parameters
    ----------
    result
        Result of `dqdv`.
    window
        Approximate voltages of the two peaks, in V; the nearest peaks are taken.
    half_cycles
        Numbers of the half cycles. None: all.

    Returns
    -------
    xarray.Dataset
        On ``half_cycle``: ``voltage``, ``capacity`` (charge passed in the half cycle
        up to there) and their errors; ``knee_voltage`` and ``knee_capacity`` midway
        between the knees and ``knee_range`` from one to the other; ``first_peak`` and
        ``second_peak`` (V), as in `peaks`; ``shoulder`` (1 if there is no valley).
        NaN if there is neither.

    Raises
    ------
    ArgumentError
        If `window` is not two rising voltages, or a half cycle is missing.
    DimensionError, VariableError
        If the input is no result of `dqdv`.

    Warns
    -----
    DataQualityWarning
        If a half cycle has neither.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> cycling = cell["echem"].to_dataset()
    >>> curves = cycling.echem.dqdv(mass=7.0)
    >>> turning = curves.echem.turning_point(window=(3.6, 3.9))
    >>> turning["voltage"].round(2).values.tolist()
    [3.95, 3.86, 3.95, 3.86]
    """
    if half_cycles is not None:
        there = result["half_cycle"].values
        if not np.isin(half_cycles, there).all():
            raise ArgumentError("half_cycles", list(half_cycles), f"some of {there}")
        result = result.sel(half_cycle=list(half_cycles))
    charging = result["direction"].values == "charge"
    rows = [
        _turning(curve, window, bool(up))
        for curve, up in zip(each(result, "turning_point"), charging, strict=True)
    ]
    table = np.reshape(rows, (len(rows), len(_TURNING)))
    if none := int(np.isnan(table[:, 0]).sum()):
        warn_quality(
            f"turning_point: {none} of {len(rows)} half cycles have neither a valley "
            f"nor a shoulder near {window[0]:g} to {window[1]:g} V: NaN. Look at "
            "`peaks`, and pass the voltages of two of them"
        )
    units = {"V": "V", "1": "1", "charge": result["total_capacity"].attrs["units"]}
    variables = {
        name: ("half_cycle", table[:, k], {"units": units[kind], "long_name": words})
        for k, (name, kind, words) in enumerate(_TURNING)
    }
    found = xr.Dataset(variables).assign_coords(kept(result))
    return found.assign_attrs(method="minimum of dQ/dV; check: knees of V(Q)")


_TURNING = (
    ("voltage", "V", "Turning point"),
    ("voltage_error", "V", "Turning point, one sd"),
    ("capacity", "charge", "Capacity at the turning point"),
    ("capacity_error", "charge", "Capacity at the turning point, one sd"),
    ("knee_voltage", "V", "Middle of the two knees of V(Q)"),
    ("knee_capacity", "charge", "Capacity at the middle of the two knees of V(Q)"),
    ("knee_range", "charge", "Charge from one knee of V(Q) to the other"),
    ("first_peak", "V", "Peak at lower voltage"),
    ("second_peak", "V", "Peak at higher voltage"),
    ("shoulder", "1", "Whether there is a shoulder, not a valley"),
)


class _Valley(NamedTuple):
    """Hold the bottom of a valley, in bins."""

    place: float
    depth: float
    error: float  # sd of the place


class _Bottom(NamedTuple):
    """Hold the minimum of a cubic, in bins."""

    place: float
    depth: float
    pull: np.ndarray  # how each point of the curve moves the place


def _bottom(
    y: np.ndarray, lowest: int, half: int, times: int = _AGAIN
) -> _Bottom | None:
    """Return the minimum of a cubic near a bin; None if there is none.

    A parabola's would lie on the side on which the valley is less steep. Each of up to
    `times` fits is in the middle of the one before.
    """
    for _ in range(times):
        half = int(max(2, min(half, lowest, y.size - 1 - lowest)))
        if not half <= lowest < y.size - half:
            return None
        fit = _cubic(half)
        value, slope, bend, third = fit @ y[lowest - half : lowest + half + 1]
        root = bend**2 - 3.0 * slope * third
        if root <= 0 or bend + np.sqrt(root) <= 0:
            return None
        x = float(-slope / (bend + np.sqrt(root)))
        if abs(x) <= 0.5:
            break
        if abs(x) > half:
            return None
        lowest += round(x)
    depth = float(value + x * (slope + x * (bend + x * third)))
    tilt = fit[1] + x * (2.0 * fit[2] + 3.0 * x * fit[3])
    return _Bottom(lowest + x, depth, tilt / (2.0 * float(np.sqrt(root))))


def _deepest(curve: Differential, lowest: int, half: int) -> _Valley | None:
    """Return the bottom of a valley without the shift by the smoother.

    Half of what a second smoothing moves a fit in one place is taken back. The error
    has as much, and what the span of the fit moves beyond the noise.
    """
    found = _bottom(curve.y, lowest, half)
    if found is None:
        return None
    middle, pull = round(found.place), np.pad(found.pull, curve.weights.size // 2)
    again = _bottom(curve.smoothed_again(), middle, half, times=1)
    narrow = _bottom(curve.y, middle, half // 2)
    by_smoother, by_span = 0.0, 0.0
    if again is not None:
        by_smoother = _BACK * (again.place - found.place)
        pull += _BACK * (pull - np.convolve(found.pull, curve.weights))
    # Noise grows with the height, so the sides of the valley count.
    reach = found.pull.size // 2
    sides = curve.y[max(middle - reach, 0) : middle + reach + 1]
    height = float(np.average(sides, weights=found.pull[: sides.size] ** 2))
    if narrow is not None:
        noise = curve.sd(narrow.pull, height)
        moved = _MORE * (narrow.place - found.place)
        by_span = max(moved**2 - noise**2, 0.0)
    noise = curve.sd(pull, height)
    error = np.sqrt(noise**2 + by_smoother**2 + by_span)
    if not error < half:
        return None
    return _Valley(found.place - by_smoother, found.depth, float(error))


def _plain(curve: Differential, first: int, second: int, lowest: int) -> _Valley:
    """Return the middle of a valley whose bottom noise hides, and half its width."""
    depth = float(curve.y[lowest])
    level = depth + _CLEAR * float(curve.error[lowest])
    within = first + np.flatnonzero(curve.y[first : second + 1] <= level)
    return _Valley(
        0.5 * float(within[0] + within[-1]), depth, _EVEN * float(np.ptp(within))
    )


def _turning(
    curve: Differential, between: tuple[float, float], charging: bool
) -> tuple[float, ...]:
    tops, how = candidates(curve, None)
    if tops.size < 2:
        return _shoulder(curve, between, charging)
    one, two = (int(np.argmin(np.abs(curve.v[tops] - v))) for v in between)
    first, second = tops[one], tops[two]
    if first >= second:
        return _shoulder(curve, between, charging)
    lowest = first + int(np.argmin(curve.y[first : second + 1]))
    half = max(curve.fwhm // 2, round(_SPAN * min(lowest - first, second - lowest)))
    flat = _plain(curve, first, second, lowest)
    found = None
    if flat.error < _EVEN * half:
        found = _deepest(curve, lowest, half)
    if found is not None:
        hidden = flat.error * min(1.0, (flat.error / (_FLAT * half)) ** 2)
        found = found._replace(error=float(np.hypot(found.error, 0.5 * hidden)))
    found = found or flat
    depth, spread = found.depth, found.error * curve.width
    voltage = curve.v[0] + found.place * curve.width
    edges, passed = _passed(curve, charging)
    capacity = float(np.interp(voltage, edges, passed))
    knees = _knees(curve, (first, lowest, second), edges, passed)
    return (
        voltage,
        spread,
        capacity,
        float(np.hypot(depth * spread, curve.sd_charge(depth))),
        *knees,
        *(
            curve.v[0] + summit(curve, tops[k], how["widths"][k])[0] * curve.width
            for k in (one, two)
        ),
        0.0,
    )


def _passed(curve: Differential, charging: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return upper edges of the bins, and the charge passed up to each."""
    passed = np.cumsum(curve.y) * curve.width
    # A discharge starts from the top.
    return curve.v + 0.5 * curve.width, passed if charging else passed[-1] - passed


def _flank(
    curve: Differential, between: tuple[float, float], half: int
) -> tuple[np.ndarray, int]:
    """Return the rows from the higher peak to the other end of a window.

    Also returns the sign of the slope over them.
    """
    inside = np.flatnonzero((curve.v >= between[0]) & (curve.v <= between[1]))
    inside = inside[(inside >= half) & (inside < curve.y.size - half)]
    if not inside.size:
        return inside, 0
    top = int(np.argmax(curve.y[inside]))
    falls = 2 * top < inside.size
    return (inside[top:], -1) if falls else (inside[: top + 1], 1)


def _cubic(half: int) -> np.ndarray:
    """Return (4, 2 half + 1) weights of the coefficients of a fitted cubic."""
    x = np.arange(-half, half + 1, dtype=np.float64)
    return np.asarray(np.linalg.pinv(x[:, None] ** np.arange(4)))


def _flattest(
    curve: Differential, between: tuple[float, float], half: int
) -> tuple[int, float, float] | None:
    """Return where a flank is flattest (row), its height, and the error (bins)."""
    inside, way = _flank(curve, between, half)
    if inside.size < 3:
        return None
    fit = _cubic(half)
    near = np.lib.stride_tricks.sliding_window_view(curve.y, 2 * half + 1)
    value, slope, bend, third = fit @ near[inside - half].T
    # A flank is steepest or flattest where the second derivative vanishes; flattest if
    # the third derivative has the sign of its slope.
    turns = np.flatnonzero((bend[1:] * bend[:-1] <= 0) & (way * third[1:] > 0))
    turns = turns + (np.abs(bend[turns + 1]) < np.abs(bend[turns]))
    noise = np.array([curve.sd(fit[3], float(value[k])) for k in turns])
    turns = turns[np.abs(third[turns]) > _CLEAR * noise]
    if not turns.size:
        return None
    k = int(turns[np.argmin(way * slope[turns])])
    error = curve.sd(fit[2], float(value[k])) / abs(3.0 * float(third[k]))
    return (int(inside[k]), float(value[k]), error) if error < half else None


def _turn(y: np.ndarray, row: int, half: int) -> float:
    """Return where (bins from a row) the second derivative vanishes."""
    _, _, bend, third = _cubic(half) @ y[row - half : row + half + 1]
    return float(-bend / (3.0 * third)) if third else np.inf


def _shoulder(
    curve: Differential, between: tuple[float, float], charging: bool
) -> tuple[float, ...]:
    """Return the flattest place of a curve without a valley, where its slope turns."""
    half = max(curve.fwhm, 2)
    found = _flattest(curve, between, half)
    if found is None:
        return (np.nan,) * len(_TURNING)
    row, value, error = found
    place = _turn(curve.y, row, half)
    if abs(place) > half:
        return (np.nan,) * len(_TURNING)
    narrow = _turn(curve.y, row, max(half // 2, 2)) - place
    again = _turn(curve.smoothed_again(), row, half) - place
    moved = min(_FIRST * float(np.hypot(narrow, again)), float(half))
    spread = float(np.hypot(error, max(moved, _HIDDEN))) * curve.width
    voltage = float(curve.v[row] + place * curve.width)
    edges, passed = _passed(curve, charging)
    capacity = float(np.interp(voltage, edges, passed))
    noise = float(np.hypot(value * spread, curve.sd_charge(value)))
    return voltage, spread, capacity, noise, *(np.nan,) * 5, 1.0


def _knees(
    curve: Differential, places: tuple[int, int, int], v: np.ndarray, q: np.ndarray
) -> tuple[float, float, float]:
    from batteryxr.echem.kernels.smoothers import theil_sen

    first, lowest, second = places
    y, at = curve.y, np.arange(curve.y.size)
    rise = y - y[lowest]
    left, right = rise > 0.6 * rise[first], rise > 0.6 * rise[second]
    reach = (lowest - first, second - lowest)
    parts = (
        left & (np.abs(at - first) < reach[0]),
        (at > first) & (at < second) & (rise < 0.2 * min(rise[first], rise[second])),
        right & (np.abs(at - second) < reach[1]),
    )
    lines = []
    for part in parts:
        # Use even steps in charge, like the measured voltage profile.
        order = np.argsort(q[part])
        along = np.linspace(q[part].min(), q[part].max(), 120)
        lines.append(theil_sen(along, np.interp(along, q[part][order], v[part][order])))
    knees = []
    for flat in (lines[0], lines[2]):
        if flat[0] == lines[1][0]:
            return np.nan, np.nan, np.nan
        at_q = (flat[1] - lines[1][1]) / (lines[1][0] - flat[0])
        knees.append((at_q, lines[1][0] * at_q + lines[1][1]))
    (q1, v1), (q2, v2) = knees
    return 0.5 * (v1 + v2), 0.5 * (q1 + q2), abs(q2 - q1)
