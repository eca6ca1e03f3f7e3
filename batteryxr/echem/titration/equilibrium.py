"""Compute equilibrium hysteresis, the area between two titration curves."""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, DataError, DimensionError
from batteryxr.core.labels import OwnLabels
from batteryxr.core.model import attributes
from batteryxr.core.provenance import recorded


class _OpenCircuit(NamedTuple):
    x: np.ndarray
    y: np.ndarray
    error: np.ndarray
    x_error: np.ndarray


@recorded
def equilibrium_hysteresis(
    result: xr.Dataset,
    other: Annotated[xr.Dataset, OwnLabels()],
    *,
    axis: str | None = None,
) -> xr.Dataset:
    """Integrate the gap between the equilibrium curves of charge and discharge.

    Reads once. Both arguments are results of `gitt`, with one row per pulse.

    Parameters
    ----------
    result, other
        Results of `gitt` on charge and on discharge. Pulses of the other direction,
        and those without an equilibrium voltage, are left out. The equilibrium before
        the first pulse is also a point.
    axis
        Common axis, a coordinate of both: ``"li_content"``, ``"capacity"`` or
        ``"specific_capacity"``. Default: the first of these that both have. On
        capacity, both must be counted from the same state of the cell.

    Returns
    -------
    xarray.Dataset
        `hysteresis` (V times the units of the axis), `mean_gap` (V), both with
        errors, and the curves and their gap on the common axis.

    Raises
    ------
    ArgumentError
        If the axis is missing.
    DataError
        If the curves do not overlap on the axis, or have too few pulses.
    DimensionError
        If an argument is not a result of `gitt`.

    Examples
    --------
    >>> from batteryxr.simulate import Electrode, Titration
    >>> charged, _ = batteryxr.simulate.gitt(protocol=Titration(n_pulses=8))
    >>> discharged, _ = batteryxr.simulate.gitt(
    ...     protocol=Titration(n_pulses=8, current=-0.05), electrode=Electrode(x0=0.83)
    ... )
    >>> charge, discharge = charged.echem.gitt(), discharged.echem.gitt()
    >>> discharge["capacity"] = discharge["capacity"] + charge["capacity"][-1]
    >>> gap = charge.echem.equilibrium_hysteresis(discharge, axis="capacity")
    """
    sides = {"charge": result, "discharge": other}
    name = _common_axis(sides, axis)
    up, down = (_curve(data, side, name) for side, data in sides.items())
    x = _overlap_grid(up.x, down.x)
    if x.size < 2:
        spans = [[float(c.x[0]), float(c.x[-1])] for c in (up, down)]
        raise DataError(
            name,
            f"the curves do not overlap: charge spans {spans[0]}, discharge {spans[1]}",
            "Count both from the same state: pass mass=, and "
            "formula=Lithiation(formula, x0=...), to gitt.",
        )
    upper, upper_weights = _linear(up.x, up.y, up.error, x)
    lower, lower_weights = _linear(down.x, down.y, down.error, x)
    integral = _trapezoid_weights(x)
    gap = upper - lower
    area = float(integral @ gap)
    # Difference between smooth curves through the points and straight lines.
    bend = float(integral @ (_smooth(up, x) - _smooth(down, x) - gap))
    shifts = [
        float(integral @ (np.gradient(y, x) * np.interp(x, c.x, c.x_error)))
        for c, y in ((up, upper), (down, lower))
    ]
    noise = [np.linalg.norm(integral @ w) for w in (upper_weights, lower_weights)]
    error = math.hypot(*noise, *shifts, bend)
    units = result[name].attrs["units"]
    area_units = "V" if units == "1" else f"V {units}"
    width = float(x[-1] - x[0])
    gap_error = np.sqrt((upper_weights**2).sum(1) + (lower_weights**2).sum(1))
    scalars = {
        "hysteresis": (area, area_units, "Area between the equilibrium curves"),
        "hysteresis_error": (error, area_units, "Area, standard deviation"),
        "mean_gap": (area / width, "V", "Mean equilibrium hysteresis"),
        "mean_gap_error": (error / width, "V", "Mean, standard deviation"),
    }
    curves = {
        "charge_voltage": (upper, "V", "Equilibrium voltage on charge"),
        "discharge_voltage": (lower, "V", "Equilibrium voltage on discharge"),
        "gap": (gap, "V", "Equilibrium hysteresis"),
        "gap_error": (gap_error, "V", "Equilibrium hysteresis, standard deviation"),
    }
    return xr.Dataset(
        {
            key: (
                name if key in curves else (),
                value,
                attributes(key, units=unit, long_name=long_name),
            )
            for key, (value, unit, long_name) in (scalars | curves).items()
        },
        coords={name: (name, x, dict(result[name].attrs))},
    )


def _common_axis(sides: dict[str, xr.Dataset], axis: str | None) -> str:
    for side, data in sides.items():
        if "pulse" not in data.dims or "equilibrium_voltage" not in data:
            raise DimensionError(
                f"equilibrium_hysteresis needs a result of gitt for {side}; found "
                f"dimensions {tuple(data.dims)}. Call `.echem.gitt()` on the record."
            )
    known = ("li_content", "specific_capacity", "capacity")
    for name in known if axis is None else (axis,):
        if all(name in data.coords for data in sides.values()):
            return name
    raise ArgumentError(
        "axis", axis, f"a coordinate of both, such as {known}", "Pass it to gitt."
    )


def _curve(data: xr.Dataset, direction: str, axis: str) -> _OpenCircuit:
    chosen = data.isel(pulse=np.flatnonzero(data["direction"].values == direction))
    n = chosen.sizes["pulse"]
    if n < 2 or not np.isfinite(chosen["equilibrium_voltage"].values).sum() > 1:
        raise DataError(
            f"titration on {direction}",
            f"has fewer than two pulses of direction {direction!r} with an equilibrium",
            "`flag` says what is wrong with each pulse.",
        )

    def column(name: str) -> np.ndarray:
        return chosen[name].values if name in chosen else np.full(n, np.nan)

    def with_start(name: str, suffix: str = "") -> np.ndarray:
        start = column(f"{name}_before{suffix}")[:1]
        return np.concatenate([start, column(f"{name}{suffix}")])

    x, passed, charge = (column(k) for k in (axis, "capacity", "charge"))
    per_charge = (x[-1] - x[0]) / (passed[-1] - passed[0])
    x = np.concatenate([[x[0] - per_charge * charge[0]], x])
    # The switching error is the same for every pulse, so these errors add up.
    x_error = np.abs(per_charge) * np.cumsum(column("charge_error"))
    y, error = (
        with_start("equilibrium_voltage"),
        with_start("equilibrium_voltage", "_error"),
    )
    good = np.isfinite(y)
    x, order = np.unique(x[good], return_index=True)
    x_error = np.concatenate([[0.0], x_error])
    return _OpenCircuit(x, *(a[good][order] for a in (y, error, x_error)))


def _smooth(curve: _OpenCircuit, at: np.ndarray) -> np.ndarray:
    from scipy.interpolate import PchipInterpolator

    return np.asarray(PchipInterpolator(curve.x, curve.y)(at))


def _overlap_grid(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return all points of two sorted axes in their overlap, with its ends."""
    low, high = max(a[0], b[0]), min(a[-1], b[-1])
    if not low < high:
        return np.empty(0)
    joined = np.unique(np.concatenate([a, b, [low, high]]))
    return joined[(joined >= low) & (joined <= high)]


def _linear(
    x: np.ndarray, y: np.ndarray, error: np.ndarray, at: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate linearly; return values and the matrix of weights times errors.

    The matrix, (at, x), gives the covariance of any linear functional of the values.
    """
    right = np.clip(np.searchsorted(x, at), 1, x.size - 1)
    share = (at - x[right - 1]) / (x[right] - x[right - 1])
    weights = np.zeros((at.size, x.size))
    rows = np.arange(at.size)
    weights[rows, right - 1] = 1.0 - share
    weights[rows, right] = share
    return weights @ y, weights * error


def _trapezoid_weights(x: np.ndarray) -> np.ndarray:
    """Return w such that ``w @ y`` is the trapezoidal integral over `x`."""
    step = np.diff(x)
    weights = np.zeros(x.size)
    weights[:-1] += 0.5 * step
    weights[1:] += 0.5 * step
    return weights
