"""dQ/dV and dV/dQ: curves whose area is the capacity, or the voltage window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import attributes
from batteryxr.core.provenance import recorded
from batteryxr.echem._record import Arrays, Walked, is_mean
from batteryxr.echem._record import refuse_implausible, walk_record

if TYPE_CHECKING:
    from collections.abc import Sequence

Method = Literal["gaussian", "savgol"]

#: More bins than any cell and converter can fill: a wrong unit, or a spike.
_MOST_BINS = 200_000


@dataclass(frozen=True)
class _Grid:
    origin: float
    width: float
    centres: np.ndarray
    over_charge: bool


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
        the noise of the voltage. On ``half_cycle``: ``capacity``, ``voltage_noise``
        (V) and ``charge_step``, the charge per row.

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
    weights = _weights(smoothing, bin, method, order, names=("smoothing", "bin"))
    scale, per = _scale(mass)
    source, walked = walk_record(
        record, i_zero=i_zero, max_gap=max_gap, caller="dqdv", clock=False
    )
    refuse_implausible(record, walked, caller="dqdv")
    chosen = _chosen(walked, half_cycles)
    grid = _voltage_grid(walked, chosen, bin)
    curve, error, noise = _curves(source, walked, chosen, grid, weights)
    axis = ("voltage", grid.centres, attributes("voltage"))
    kinds = (("dqdv", curve, "dQ/dV"), ("dqdv_error", error, "dQ/dV, one sd"))
    result = _labelled(walked, chosen, noise, axis, kinds, f"mA h{per} V-1", scale, per)
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
    weights = _weights(smoothing, 1 / points, method, order, names=("smoothing", ""))
    scale, per = _scale(mass)
    source, walked = walk_record(
        record, i_zero=i_zero, max_gap=max_gap, caller="dvdq", clock=False
    )
    refuse_implausible(record, walked, caller="dvdq")
    chosen = _chosen(walked, half_cycles)
    grid = _charge_grid(walked, chosen, points)
    curve, error, noise = _curves(source, walked, chosen, grid, weights)
    kind = {"units": f"mA h{per}", "long_name": "Capacity since the half cycle began"}
    axis = ("capacity", grid.centres * scale, kind)
    kinds = (("dvdq", curve, "dV/dQ"), ("dvdq_error", error, "dV/dQ, one sd"))
    units = f"V mA-1 h-1{' g' if per else ''}"
    result = _labelled(walked, chosen, noise, axis, kinds, units, 1 / scale, per)
    result.attrs = _settings(smoothing, 1 / points, method, order, mass)
    return result.drop_vars("total_capacity")


def smoother(attrs: dict[str, Any]) -> np.ndarray:
    """Return the weights that made a curve, from its attributes."""
    return _weights(
        attrs["smoothing"], attrs["bin"], attrs["method"], attrs["order"], ("", "")
    )


def _weights(
    smoothing: float, width: float, method: str, order: int, names: tuple[str, str]
) -> np.ndarray:
    from batteryxr.echem.kernels import smoothers

    if not smoothing >= 0:
        raise ArgumentError(names[0], smoothing, "a width >= 0")
    if not width > 0:
        raise ArgumentError(names[1], width, "a width > 0 in V")
    if method == "gaussian":
        return smoothers.gaussian(smoothing / width)
    if method != "savgol":
        raise ArgumentError("method", method, "'gaussian' or 'savgol'")
    window = round(smoothing / width) // 2 * 2 + 1
    if not 0 <= order < window:
        raise ArgumentError(
            "order", order, f"0 to {window - 1} for a window of {window} bins"
        )
    return smoothers.savitzky_golay(window, order)


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


def _voltage_grid(walked: Walked, chosen: np.ndarray, width: float) -> _Grid:
    from batteryxr.echem.kernels import segments as s

    if not chosen.size:
        return _Grid(0.0, width, np.empty(0), False)
    # Bins are centred on multiples of their width; one spare at either end.
    low = int(np.floor(walked.floats[chosen, s.V_MIN].min() / width + 0.5)) - 1
    high = int(np.floor(walked.floats[chosen, s.V_MAX].max() / width + 0.5)) + 1
    if high - low > _MOST_BINS:
        raise ArgumentError(
            "bin",
            width,
            f"bins that cut {(high - low) * width:.4g} V into fewer pieces",
            "Look for a spike in the voltage, or for millivolts taken as volts.",
        )
    return _Grid((low - 0.5) * width, width, np.arange(low, high + 1) * width, False)


def _charge_grid(walked: Walked, chosen: np.ndarray, points: int) -> _Grid:
    from batteryxr.echem.kernels import segments as s

    if not chosen.size:
        return _Grid(0.0, 1.0, np.empty(0), True)
    width = float(np.abs(walked.floats[chosen, s.CHARGE]).max()) / points
    return _Grid(-width, width, (np.arange(points + 3) - 0.5) * width, True)


def _curves(
    source: Arrays,
    walked: Walked,
    chosen: np.ndarray,
    grid: _Grid,
    weights: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from batteryxr.echem.kernels import histogram, smoothers
    from batteryxr.echem.kernels import segments as s

    shape = (chosen.size, grid.centres.size)
    out, error, noise = np.empty(shape), np.empty(shape), np.empty((chosen.size, 2))
    first = walked.integers[chosen, s.FIRST]
    stop = walked.integers[chosen, s.LAST_ACTIVE] + 1
    direction = walked.integers[chosen, s.DIRECTION].astype(np.float64)
    rule = (walked.i_zero, walked.max_gap, is_mean(source.current))
    where = (grid.over_charge, grid.origin, grid.width)
    kernel = (smoothers.padded(weights), smoothers.roughness(weights, 1))
    if not source.lazy:
        (block,) = source.blocks()
        shares = _shares(stop - first, s.threads())
        s.in_threads(
            lambda part: histogram.curves(
                *block[:4], first[part], stop[part], direction[part], *rule, *where,
                *kernel, out[part], error[part], noise[part],
            ),
            [(part,) for part in shares],
        )  # fmt: skip
        return out, error, noise
    bins, room = np.zeros(shape[1]), np.empty(shape[1] + kernel[0].size)
    state, before = np.zeros(histogram.STATE), np.zeros(histogram.STATE)
    row = k = 0
    for block in source.blocks():
        data, n = block[:4], block[0].size
        while k < chosen.size and first[k] < row + n:
            a, b = max(first[k] - row, 0), min(stop[k] - row, n)
            if first[k] >= row and not histogram.seed(*data, a, state):
                state[:] = before
            histogram.lay_out(*data, a, b, direction[k], *rule, *where, bins, state)
            if stop[k] > row + n:
                break
            histogram.finish(
                bins, *kernel, where[0], grid.width, state, room,
                out[k], error[k], noise[k],
            )  # fmt: skip
            bins[:], state[:] = 0.0, 0.0
            k += 1
        histogram.seed(*data, n, before)
        row += n
    return out, error, noise


def _shares(rows: np.ndarray, workers: int) -> list[slice]:
    """Cut half cycles into runs of about as many rows each."""
    total = np.cumsum(rows)
    if not total.size:
        return []
    cuts = np.searchsorted(total, total[-1] * np.arange(1, workers) / workers)
    edges = np.unique(np.concatenate([[0], cuts, [rows.size]]))
    return [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def _labelled(
    walked: Walked,
    chosen: np.ndarray,
    noise: np.ndarray,
    axis: tuple[str, np.ndarray, dict[str, Any]],
    kinds: Sequence[tuple[str, np.ndarray, str]],
    units: str,
    scale: float,
    per: str,
) -> xr.Dataset:
    from batteryxr.echem.kernels import segments as s

    dim, centres, kind = axis
    directions = np.where(
        walked.integers[chosen, s.DIRECTION] > 0, "charge", "discharge"
    )
    result = xr.Dataset(
        coords={
            "half_cycle": ("half_cycle", chosen + 1, attributes("half_cycle")),
            dim: (dim, centres, kind),
            "direction": (
                "half_cycle",
                directions.astype("U9"),
                {"units": "1", "long_name": "Direction"},
            ),
        }
    )
    for name, values, words in kinds:
        if scale != 1.0:
            values *= scale
        result[name] = (
            ("half_cycle", dim), values, {"units": units, "long_name": words},
        )  # fmt: skip
    capacity = np.abs(walked.floats[chosen, s.CHARGE])
    rows = {
        "capacity": (capacity * scale, f"mA h{per}", "Capacity"),
        "voltage_noise": (noise[:, 0], "V", "Noise of one voltage, one sd"),
        "charge_step": (noise[:, 1] * scale, f"mA h{per}", "Charge per row"),
    }
    for name, (values, unit, words) in rows.items():
        if name not in result.coords:
            result[name] = ("half_cycle", values, {"units": unit, "long_name": words})
    return result
