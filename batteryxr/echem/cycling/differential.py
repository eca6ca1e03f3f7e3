"""dQ/dV and dV/dQ: curves whose area is the capacity, or the voltage window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import attributes
from batteryxr.core.provenance import recorded
from batteryxr.echem.cycling.curves import Grid, lay_out, smoother
from batteryxr.echem.cycling.half_cycles import DIRECTION, directions
from batteryxr.echem.record import Walked, refuse_implausible, walk_record

if TYPE_CHECKING:
    from collections.abc import Sequence

Method = Literal["gaussian", "savgol"]

#: More bins than any cell and converter can fill: a wrong unit, or a spike.
_MOST_BINS = 200_000


@recorded
def dqdv(
    record: xr.Dataset,
    *,
    smoothing: float = 0.020,
    bin: float = 0.001,
    half_cycles: Sequence[int] | None = None,
    mass: float | None = None,
    method: Method = "gaussian",
    order: int = 3,
    i_zero: float | None = None,
    max_gap: float = 3600.0,
) -> xr.Dataset:
    """Return differential capacity dQ/dV of each half cycle on one voltage grid.

    Reads twice, and the current three times where `i_zero` is None; memory is a few
    chunks and the result.

    The charge of each interval between two rows is laid out evenly between their two
    voltages (for quantised voltages that agree: between the nearest bins), in the
    order of measurement, so that noise and steps back are no trouble and the area of
    the curve, ``dqdv.sum("voltage") * bin``, is the capacity to rounding. It is then
    smoothed with a kernel of stated width in volts and gain one, mirrored at the ends.

    Parameters
    ----------
    record
        Cycler data on ``record``; see `half_cycles`.
    smoothing
        Full width at half maximum of the Gaussian, or width of the window of the
        Savitzky-Golay filter, in V. 0: none.
    bin
        Width of the bins in V.
    half_cycles
        Numbers of the half cycles wanted, from 1. None: all.
    mass
        Active mass in mg, for mA h g-1 V-1.
    method
        "gaussian", or "savgol" of polynomial order `order`.
    order
        See `method`.
    i_zero, max_gap
        See the function `half_cycles`.

    Returns
    -------
    xarray.Dataset
        On (``half_cycle``, ``voltage``): ``dqdv``, positive for charge and discharge,
        NaN outside the voltages that the half cycle visited, and ``dqdv_error`` from
        the noise of the voltage. On ``half_cycle``: ``total_capacity``,
        ``voltage_noise`` (V) and ``charge_step``, the charge per row.

    Raises
    ------
    ArgumentError
        If an option is out of range, a half cycle is not there, or the record is
        flagged with what makes its charge wrong.
    DimensionError, VariableError, UnitsError
        If the record lacks something.
    ConvergenceError
        If the smoother would not keep the charge.

    Notes
    -----
    Counting by voltage is the idea of Feng et al., eTransportation 3, 100051 (2020);
    weighting by charge lifts its need of constant current and sampling.
    """
    weights = smoother(smoothing, bin, method, order, names=("smoothing", "bin"))
    scale, per = _scale(mass)
    source, walked = walk_record(
        record, i_zero=i_zero, max_gap=max_gap, caller="dqdv", clock=False
    )
    refuse_implausible(record, walked, caller="dqdv")
    chosen = _chosen(walked, half_cycles)
    grid = _voltage_grid(walked, chosen, bin)
    curve, error, noise = lay_out(source, walked, chosen, grid, weights)
    axis = ("voltage", grid.centres, attributes("voltage"))
    kinds = (("dqdv", curve, "dQ/dV"), ("dqdv_error", error, "dQ/dV, one sd"))
    result = _labelled(
        walked, chosen, noise, axis, kinds, f"mA h{per} V-1", scale, scale, per
    )
    result.attrs = _settings(smoothing, bin, method, order, mass)
    return result


@recorded
def dvdq(
    record: xr.Dataset,
    *,
    smoothing: float = 0.01,
    points: int = 1000,
    half_cycles: Sequence[int] | None = None,
    mass: float | None = None,
    method: Method = "gaussian",
    order: int = 3,
    i_zero: float | None = None,
    max_gap: float = 3600.0,
) -> xr.Dataset:
    """Return differential voltage dV/dQ of each half cycle on one capacity grid.

    Reads twice, and the current three times where `i_zero` is None; memory is a few
    chunks and the result. The counterpart of `dqdv`: the voltage gained in each
    interval is laid out over the charge that passed, and the area under the curve is
    the voltage window.

    Parameters
    ----------
    record
        Cycler data on ``record``; see `half_cycles`.
    smoothing
        Width of the kernel (see `dqdv`) as a fraction of the largest capacity.
    points
        Number of bins up to the largest capacity.
    half_cycles, mass, method, order, i_zero, max_gap
        See `dqdv`.

    Returns
    -------
    xarray.Dataset
        On (``half_cycle``, ``capacity``), the charge passed since the half cycle
        began: ``dvdq``, positive where the voltage moves in the sense of the half
        cycle, NaN beyond its end, and ``dvdq_error``.

    Raises
    ------
    ArgumentError
        If an option is out of range, a half cycle is not there, or the record is
        flagged with what makes its charge wrong.
    DimensionError, VariableError, UnitsError
        If the record lacks something.
    """
    if not (isinstance(points, int) and points >= 10):
        raise ArgumentError("points", points, "an integer >= 10")
    weights = smoother(smoothing, 1 / points, method, order, names=("smoothing", ""))
    scale, per = _scale(mass)
    source, walked = walk_record(
        record, i_zero=i_zero, max_gap=max_gap, caller="dvdq", clock=False
    )
    refuse_implausible(record, walked, caller="dvdq")
    chosen = _chosen(walked, half_cycles)
    grid = _charge_grid(walked, chosen, points)
    curve, error, noise = lay_out(source, walked, chosen, grid, weights)
    kind = {"units": f"mA h{per}", "long_name": "Capacity since the half cycle began"}
    axis = ("capacity", grid.centres * scale, kind)
    kinds = (("dvdq", curve, "dV/dQ"), ("dvdq_error", error, "dV/dQ, one sd"))
    units = f"V mA-1 h-1{' g' if per else ''}"
    result = _labelled(walked, chosen, noise, axis, kinds, units, 1 / scale, scale, per)
    result.attrs = _settings(smoothing, 1 / points, method, order, mass)
    return result


def _scale(mass: float | None) -> tuple[float, str]:
    if mass is None:
        return 1.0, ""
    if not mass > 0:
        raise ArgumentError("mass", mass, "the active mass in mg, > 0, or None")
    return 1000.0 / mass, " g-1"


def _settings(
    smoothing: float, width: float, method: str, order: int, mass: float | None
) -> dict[str, Any]:
    settings = {
        "smoothing": float(smoothing),
        "bin": float(width),
        "method": method,
        "order": order,
    }
    return settings if mass is None else settings | {"mass": float(mass)}


def _chosen(walked: Walked, half_cycles: Sequence[int] | None) -> np.ndarray:
    there = len(walked.floats)
    if half_cycles is None:
        return np.arange(there)
    numbers = np.unique(np.atleast_1d(np.asarray(half_cycles, dtype=np.int64)))
    if not numbers.size or numbers[0] < 1 or numbers[-1] > there:
        raise ArgumentError(
            "half_cycles",
            list(np.atleast_1d(half_cycles)),
            f"numbers from 1 to {there}",
        )
    return numbers - 1


def _voltage_grid(walked: Walked, chosen: np.ndarray, width: float) -> Grid:
    from batteryxr.echem.kernels import parts

    if not chosen.size:
        return Grid(0.0, width, np.empty(0), False)
    # Bins are centred on multiples of their width; one spare at either end.
    low = int(np.floor(walked.floats[chosen, parts.V_MIN].min() / width + 0.5)) - 1
    high = int(np.floor(walked.floats[chosen, parts.V_MAX].max() / width + 0.5)) + 1
    if high - low > _MOST_BINS:
        raise ArgumentError(
            "bin",
            width,
            f"bins that cut {(high - low) * width:.4g} V into fewer pieces",
            "Look for a spike in the voltage, or for millivolts taken as volts.",
        )
    return Grid((low - 0.5) * width, width, np.arange(low, high + 1) * width, False)


def _charge_grid(walked: Walked, chosen: np.ndarray, points: int) -> Grid:
    from batteryxr.echem.kernels import parts

    if not chosen.size:
        return Grid(0.0, 1.0, np.empty(0), True)
    width = float(np.abs(walked.floats[chosen, parts.CHARGE]).max()) / points
    return Grid(-width, width, (np.arange(points + 3) - 0.5) * width, True)


def _labelled(
    walked: Walked,
    chosen: np.ndarray,
    noise: np.ndarray,
    axis: tuple[str, np.ndarray, dict[str, Any]],
    kinds: Sequence[tuple[str, np.ndarray, str]],
    units: str,
    scale: float,
    charge_scale: float,
    per: str,
) -> xr.Dataset:
    from batteryxr.echem.kernels import parts

    dim, centres, kind = axis
    charge = np.abs(walked.floats[chosen, parts.CHARGE])
    rows = {
        "total_capacity": (charge * charge_scale, f"mA h{per}", "Capacity"),
        "voltage_noise": (noise[:, 0], "V", "Noise of one voltage, one sd"),
        "charge_step": (noise[:, 1] * charge_scale, f"mA h{per}", "Charge per row"),
    }
    variables: dict[str, Any] = {}
    for name, values, words in kinds:
        if scale != 1.0:
            values *= scale
        attrs = {"units": units, "long_name": words}
        variables[name] = (("half_cycle", dim), values, attrs)
    for name, (each, unit, words) in rows.items():
        variables[name] = ("half_cycle", each, {"units": unit, "long_name": words})
    signs = walked.integers[chosen, parts.DIRECTION]
    return xr.Dataset(
        variables,
        coords={
            "half_cycle": ("half_cycle", chosen + 1, attributes("half_cycle")),
            dim: (dim, centres, kind),
            "direction": ("half_cycle", directions(signs), DIRECTION),
        },
    )
