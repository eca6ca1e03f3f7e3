"""Find the turning point of dQ/dV, between two redox reactions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.core.provenance import recorded
from batteryxr.echem.cycling.curve_shape import (
    SPAN,
    Differential,
    candidates,
    each,
    kept,
    summit,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batteryxr.core.bounds.kinds import VoltageWindow

#: Largest valley shift by the smoothing, relative to that by a second smoothing.
_FIRST = 2.0
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

    The turning point is the minimum of dQ/dV between two of its peaks, from a parabola.
    A second way checks it. Robust lines (Theil-Sen) are fitted to the two flat parts
    of the voltage profile V(Q) and to the steep part between them. They cross at two
    knees, and the turning point should lie midway. If one peak is a mere shoulder of
    the other, there is no minimum. The turning point is then where the curve is
    flattest within the window and its slope turns. The error includes the effect of
    the smoother and of the parabola's span on an asymmetric valley.

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
    [3.94, 3.85, 3.94, 3.85]
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


def _lopsided(curve: Differential, lowest: int, half: int, place: float) -> float:
    """Return the shift (V) of a valley with the parabola's span and the smoother.

    A symmetric valley does not shift.
    """
    from batteryxr.echem.kernels.smoothers import extremum

    narrow = extremum(curve.y, lowest, max(half // 2, 1))[0]
    again = curve.smoothed_again()
    a, b = max(lowest - half, 0), lowest + half + 1
    other = extremum(again, a + int(np.argmin(again[a:b])), half)[0]
    return _FIRST * float(np.hypot(narrow - place, other - place)) * curve.width


def _turning(
    curve: Differential, between: tuple[float, float], charging: bool
) -> tuple[float, ...]:
    from batteryxr.echem.kernels.smoothers import extremum, parabola

    tops, how = candidates(curve, None)
    if tops.size < 2:
        return _shoulder(curve, between, charging)
    one, two = (int(np.argmin(np.abs(curve.v[tops] - v))) for v in between)
    first, second = tops[one], tops[two]
    if first >= second:
        return _shoulder(curve, between, charging)
    lowest = first + int(np.argmin(curve.y[first : second + 1]))
    half = max(curve.fwhm // 2, round(SPAN * min(lowest - first, second - lowest)))
    place, depth, half, true = extremum(curve.y, lowest, half)
    if not true:
        return _shoulder(curve, between, charging)
    fit = parabola(half)
    bend = 2.0 * abs(float(fit[2] @ curve.y[lowest - half : lowest + half + 1]))
    noise = curve.sd(fit[1], depth) / bend * curve.width
    spread = float(np.hypot(noise, _lopsided(curve, lowest, half, place)))
    voltage = curve.v[0] + place * curve.width
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
