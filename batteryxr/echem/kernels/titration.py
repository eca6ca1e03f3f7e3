"""Evaluate titration pulses: direct readings, and two theories of diffusion."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.kernels.compiling import njit
from batteryxr.echem.kernels import relaxation_terms
from batteryxr.echem.kernels.relaxation_switches import fit_pulse

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Floats
    from batteryxr.echem.kernels.pulses import Pulse
    from batteryxr.echem.kernels.relaxation import Shape
    from batteryxr.echem.kernels.relaxation_switches import Switch

#: Names of the bits of `flag`, in order.
FLAGS = (
    "short_pulse",
    "rest_not_settled",
    "no_rest",
    "too_few_rows",
    "time_constant_undetermined",
    "drift_fitted",
    "slow_resistance_fitted",
    "neighbours_disagree",
    "slow_resistance_undecided",
)
SHORT, UNSETTLED, NO_REST, FEW_ROWS, UNDETERMINED, DRIFT, SLOW, DISAGREE, UNDECIDED = (
    1 << k for k in range(len(FLAGS))
)
#: Number of errors by which values of two neighbouring pulses may differ.
_AGREE = 4.0


def measured(pulse: Pulse, *, tmin: float, tmax: float | None) -> dict[str, Any]:
    """Return the readings of a pulse that need no theory.

    They are times, charge, voltages and voltage steps. The line along the square root
    of time runs from `tmin` to `tmax` (s) after the first row under current.
    """
    t, v, i, first, last, clock = pulse.window
    on, off, mean, charge, charge_error = pulse.timing
    before = v[first - 1] if first else np.nan
    full = first + int(np.argmax(np.abs(i[first:last]) >= 0.9 * abs(mean)))
    slope, slope_error, intercept, intercept_error, rms, _ = root_line(
        t[first:last] - t[first], v[first:last], tmin, np.inf if tmax is None else tmax
    )
    rested = last < t.size
    middle = last + int(np.searchsorted(t[last:], 0.5 * (off + t[-1])))
    return {
        "start": on,
        "duration": off - on,
        "logged_duration": t[last - 1] - t[first],
        "rest_duration": t[-1] - off if rested else 0.0,
        "current": mean,
        "charge": charge / 3600.0,
        "charge_error": charge_error / 3600.0,
        "before_voltage": before,
        "first_voltage": v[first],
        "end_voltage": v[last - 1],
        "last_voltage": v[-1] if rested else np.nan,
        "drift": v[-1] - v[min(middle, t.size - 1)] if rested else np.nan,
        "ir_drop_first": v[full] - before,
        "ir_drop_first_delay": t[full] - on,
        "ir_drop_sqrt": intercept - before,
        "ir_drop_sqrt_error": intercept_error,
        "root_slope": slope,
        "root_slope_error": slope_error,
        "residual": rms,
        "time": clock,
        "flag": 0 if rested else NO_REST,
    }


def finite_length(
    pulse: Pulse, row: dict[str, Any], shape: Shape, *, tmin: float
) -> dict[str, Any]:
    """Return the results of a fit of pulse and rest; see `relaxation_terms.fit`.

    `row` is the result of `measured` for the pulse.
    """
    _, found, begin, end = fit_pulse(pulse, shape, tmin=tmin)
    flag = row["flag"]
    values = errors = np.full(relaxation_terms.FOUND, np.nan)
    chi2 = rms = np.nan
    if found is None:
        flag |= FEW_ROWS
    else:
        values, errors, chi2, rms, _, inside, fitted, undecided = found
        flag |= DRIFT * fitted.drifts | SLOW * (fitted.rc > 0) | UNDECIDED * undecided
        if not inside or not errors[relaxation_terms.TAU] < 1.0:
            flag |= UNDETERMINED
            values = errors = np.full(relaxation_terms.FOUND, np.nan)
    tau = math.exp(values[relaxation_terms.TAU])
    ir, ir_error = (
        values[relaxation_terms.RESISTANCE],
        errors[relaxation_terms.RESISTANCE],
    )
    after, after_error = values[relaxation_terms.AFTER], errors[relaxation_terms.AFTER]
    return _lasting(row, begin, end) | {
        "tau": tau,
        "tau_error": tau * errors[relaxation_terms.TAU],
        "resistance": ir * 1e3,
        "resistance_error": ir_error * 1e3,
        "equilibrium_voltage": after,
        "equilibrium_voltage_error": after_error,
        "equilibrium_voltage_before": values[relaxation_terms.BEFORE],
        "equilibrium_voltage_before_error": errors[relaxation_terms.BEFORE],
        "equilibrium_slope": values[relaxation_terms.SLOPE] * 3600.0,
        "equilibrium_slope_error": errors[relaxation_terms.SLOPE] * 3600.0,
        "overpotential": row["end_voltage"] - after,
        "overpotential_error": after_error,
        "overpotential_ir": row["current"] * ir,
        "overpotential_ir_error": abs(row["current"]) * ir_error,
        "overpotential_diffusion": row["end_voltage"]
        - values[relaxation_terms.DIFFUSIVE],
        "overpotential_diffusion_error": errors[relaxation_terms.DIFFUSIVE],
        "voltage_drift": values[relaxation_terms.RATE] * 3600.0,
        "voltage_drift_error": errors[relaxation_terms.RATE] * 3600.0,
        "chi2": chi2,
        "residual": rms,
        "flag": flag,
    }


def _lasting(row: dict[str, Any], begin: Switch, end: Switch) -> dict[str, Any]:
    """Return duration and charge of a pulse whose switches lie between rows."""
    less, more = begin.at - row["start"], end.at - row["start"] - row["duration"]
    if less == 0 and more == 0:
        return {}
    duration = row["duration"] + more - less
    return {
        "start": begin.at,
        "duration": duration,
        "rest_duration": row["rest_duration"] - more,
        "charge": row["current"] * duration / 3600.0,
        "charge_error": abs(row["current"]) * math.hypot(begin.error, end.error) / 3600,
    }


def weppner_huggins(
    table: dict[str, np.ndarray], geometry: str, steady: str
) -> dict[str, np.ndarray]:
    """Return time constants from the ratio of steady to transient slope.

    The equations are those for a current step of Weppner & Huggins, J. Electrochem.
    Soc. 124, 1569 (1977); for a sphere Geng et al., Electrochim. Acta 404, 139727
    (2022).
    """
    step = table["last_voltage"] - table["before_voltage"]
    noise = table["residual"] * math.sqrt(2.0)
    if steady == "rest":
        rate, rate_error = step / table["duration"], noise / table["duration"]
    elif step.size > 1:
        passed = np.cumsum(table["logged_duration"])
        rate = np.gradient(table["first_voltage"], passed)
        rate_error = noise / (2.0 * table["duration"])
    else:
        rate = rate_error = np.full(1, np.nan)
    factor = 4.0 / math.pi / (9.0 if geometry == "sphere" else 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = factor * (rate / table["root_slope"]) ** 2
        relative = 2.0 * np.hypot(
            rate_error / rate, table["root_slope_error"] / table["root_slope"]
        )
        tau = 1.0 / inverse
    total = table["end_voltage"] - table["last_voltage"]
    few = ~np.isfinite(table["root_slope"])
    current = table["current"]
    return {
        "tau": tau,
        "tau_error": tau * relative,
        "resistance": table["ir_drop_sqrt"] / current * 1e3,
        "resistance_error": table["ir_drop_sqrt_error"] / np.abs(current) * 1e3,
        "equilibrium_voltage": table["last_voltage"],
        "equilibrium_voltage_before": table["before_voltage"],
        "equilibrium_slope": step / table["charge"],
        "overpotential": total,
        "overpotential_ir": table["ir_drop_sqrt"],
        "overpotential_ir_error": table["ir_drop_sqrt_error"],
        "overpotential_diffusion": total - table["ir_drop_sqrt"],
        "overpotential_diffusion_error": table["ir_drop_sqrt_error"],
        "flag": table["flag"] | np.where(few, FEW_ROWS, 0),
    }


def completed(
    table: dict[str, np.ndarray], *, settled: float, radius: float | None
) -> dict[str, np.ndarray]:
    """Return the values that need all pulses: 1/tau, D (`radius` in nm), and flags."""
    relative = table["tau_error"] / table["tau"]
    more = {"inverse_tau": 1.0 / table["tau"]}
    if radius is not None:
        more["diffusion_coefficient"] = (radius * 1e-9) ** 2 / table["tau"]
    more |= {f"{name}_error": relative * value for name, value in more.items()}
    flag = table["flag"].copy()
    charging = table["current"] > 0
    for side in (charging, ~charging):
        if side.any():
            usual = np.median(table["duration"][side])
            flag[side & (table["duration"] < 0.95 * usual)] |= SHORT
    left = table["last_voltage"] - table["equilibrium_voltage"]
    left = np.where(np.isfinite(left) & (left != 0), left, table["drift"])
    flag[np.abs(left) > settled] |= UNSETTLED
    if "voltage_drift" in table:
        flag[_disagreeing(table)] |= DISAGREE
    return more | {"flag": flag}


def _disagreeing(table: dict[str, np.ndarray]) -> np.ndarray:
    """Return which pulses disagree with their neighbours.

    The equilibrium after a pulse must equal that before the next one, apart from
    drift. A drift of the cell must be similar in all pulses.
    """
    rate, rate_error = table["voltage_drift"], table["voltage_drift_error"]
    wrong = np.zeros(rate.size, bool)
    if (drifts := rate_error > 0).any():
        chosen = rate[drifts]
        off = np.abs(chosen - np.median(chosen)) / rate_error[drifts]
        wrong[drifts] = off > _AGREE
    ends = (table["start"] + table["duration"])[:-1]
    hours = (table["start"][1:] - ends) / 3600.0
    after, before = (
        table["equilibrium_voltage"][:-1],
        table["equilibrium_voltage_before"][1:],
    )
    errors = np.hypot(
        table["equilibrium_voltage_error"][:-1],
        table["equilibrium_voltage_before_error"][1:],
    )
    errors = np.hypot(errors, rate_error[:-1] * hours)
    same = table["current"][1:] * table["current"][:-1] > 0
    apart = same & (np.abs(after + rate[:-1] * hours - before) > _AGREE * errors)
    wrong[:-1] |= apart
    wrong[1:] |= apart
    return wrong


@njit(cache=True, nogil=True)
def root_line(
    t: Floats, v: Floats, tmin: float, tmax: float
) -> tuple[float, float, float, float, float, int]:
    """Fit ``v = intercept + slope sqrt(t)`` for tmin <= t <= tmax.

    Returns
    -------
    slope, slope_error, intercept, intercept_error, rms, rows
        NaN with fewer than two different times; errors are NaN with fewer than three.
    """
    n, sx, sy = 0, 0.0, 0.0
    for k in range(t.size):
        if tmin <= t[k] <= tmax and math.isfinite(v[k]):
            n += 1
            sx += math.sqrt(t[k])
            sy += v[k]
    nothing = (np.nan, np.nan, np.nan, np.nan, np.nan, n)
    if n < 2:
        return nothing
    mx, my = sx / n, sy / n
    xx = xy = 0.0
    for k in range(t.size):
        if tmin <= t[k] <= tmax and math.isfinite(v[k]):
            dx = math.sqrt(t[k]) - mx
            xx += dx * dx
            xy += dx * (v[k] - my)
    if xx <= 0.0:
        return nothing
    slope = xy / xx
    intercept = my - slope * mx
    if n < 3:
        return slope, np.nan, intercept, np.nan, np.nan, n
    squares = 0.0
    for k in range(t.size):
        if tmin <= t[k] <= tmax and math.isfinite(v[k]):
            left = v[k] - intercept - slope * math.sqrt(t[k])
            squares += left * left
    variance = squares / (n - 2)
    return (
        slope,
        math.sqrt(variance / xx),
        intercept,
        math.sqrt(variance * (1.0 / n + mx * mx / xx)),
        math.sqrt(variance),
        n,
    )
