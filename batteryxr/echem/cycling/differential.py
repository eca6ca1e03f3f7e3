"""Compute dQ/dV and dV/dQ, whose area is the capacity, or the voltage window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import xarray as xr

from batteryxr.core import bounds
from batteryxr.core.checks import Bounds
from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.core.model import attributes
from batteryxr.core.provenance import recorded
from batteryxr.echem.counting import Counting, half_cycle_table, refuse_implausible
from batteryxr.echem.cycling.curves import Method, Smoothing, lay_out
from batteryxr.echem.cycling.half_cycles import DIRECTION, directions
from batteryxr.echem.record import columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batteryxr.core.bounds.kinds import (
        Mass,
        PartOfCapacity,
        VoltageStep,
        VoltageWidth,
    )
    from batteryxr.core.checks import Whole
    from batteryxr.echem.counting import HalfCycleTable
    from batteryxr.echem.kernels.histogram import Bins, Curves

#: Largest number of bins: more are due to a wrong unit, or a spike.
_MOST_BINS = 200_000


@recorded
def dqdv(
    record: xr.Dataset,
    *,
    smoothing: VoltageWidth = 0.020,
    bin: VoltageStep = 0.001,
    half_cycles: Sequence[int] | None = None,
    mass: Mass | None = None,
    method: Method = "gaussian",
    order: Whole = 3,
    counting: Counting | None = None,
) -> xr.Dataset:
    """Return differential capacity dQ/dV of each half cycle on one voltage grid.

    Reads twice, and the current three times unless an `i_zero` is given; memory is a
    few chunks and the result.

    The charge of each interval between two rows is spread evenly between their two
    voltages, in the order of measurement. For equal voltages (quantised) it goes to
    the nearest bins. Noise and steps back do no harm, and the area of the curve,
    ``dqdv.sum("voltage") * bin``, is the capacity to rounding. The curve is then
    smoothed with a kernel of given width in volts and gain one, mirrored at the ends.

    Parameters
    ----------
    record
        Cycler data on ``record``; see `half_cycles`.
    smoothing
        Full width at half maximum of the Gaussian, or width of the window of the
        Savitzky-Golay filter, in V. 0: no smoothing.
    bin
        Width of the bins in V.
    half_cycles
        Numbers of the half cycles, from 1. None: all.
    mass
        Active mass in mg, for mA h g-1 V-1.
    method
        "gaussian", or "savgol" of polynomial order `order`.
    order
        Polynomial order for "savgol".
    counting
        Rule for half cycles. Default: as in the function `half_cycles`.

    Returns
    -------
    xarray.Dataset
        On (``half_cycle``, ``voltage``): ``dqdv``, positive for charge and discharge,
        NaN outside the voltages of the half cycle, and ``dqdv_error`` from the noise
        of the voltage. On ``half_cycle``: ``total_capacity``, ``voltage_noise`` (V)
        and ``charge_step``, the charge per row.

    Raises
    ------
    ArgumentError
        If an option is out of range, or a half cycle is missing.
    DataError
        If the record has a flag that makes its charge wrong.
    DimensionError, VariableError, UnitsError
        If the record lacks something.
    ConvergenceError
        If the smoother would not keep the charge.

    Notes
    -----
    Counting by voltage is the idea of Feng et al., eTransportation 3, 100051 (2020).
    Weighting by charge removes its need of constant current and sampling.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> curves = record.echem.dqdv(mass=7.0)
    >>> curves["dqdv"].dims
    ('half_cycle', 'voltage')
    """
    smooth = Smoothing(smoothing, bin, method, order)
    charge = _charge(mass)
    rule = counting or Counting()
    rows = columns(record, caller="dqdv", clock=False, number=rule.number)
    table = half_cycle_table(rows, rule, counted=False)
    refuse_implausible(table, caller="dqdv")
    chosen = _chosen(table, half_cycles)
    _tell_wide({"smoothing": smoothing, "bin": bin}, table, chosen)
    grid = _voltage_grid(table, chosen, bin)
    curves = lay_out(rows, table, chosen, grid, weights=smooth.weights())
    kind = _Kind(
        "dqdv",
        "dQ/dV",
        f"{charge.units} V-1",
        charge.scale,
        ("voltage", grid.centres, attributes("voltage")),
    )
    result = _labelled(table, chosen, curves, kind=kind, charge=charge)
    return result.assign_attrs(smooth.to_attrs() | charge.to_attrs())


@recorded
def dvdq(
    record: xr.Dataset,
    *,
    smoothing: PartOfCapacity = 0.01,
    bins: Annotated[int, Bounds(low=10)] = 1000,
    half_cycles: Sequence[int] | None = None,
    mass: Mass | None = None,
    method: Method = "gaussian",
    order: Whole = 3,
    counting: Counting | None = None,
) -> xr.Dataset:
    """Return differential voltage dV/dQ of each half cycle on one capacity grid.

    Reads twice, and the current three times unless an `i_zero` is given; memory is a
    few chunks and the result. Like `dqdv`, with axes swapped: the voltage gained in
    each interval is spread over the charge that passed, and the area under the curve
    is the voltage window.

    Parameters
    ----------
    record
        Cycler data on ``record``; see `half_cycles`.
    smoothing
        Width of the kernel (see `dqdv`) as a fraction of the largest capacity.
    bins
        Number of bins up to the largest capacity.
    half_cycles, mass, method, order, counting
        As in `dqdv`.

    Returns
    -------
    xarray.Dataset
        On (``half_cycle``, ``capacity``), the charge passed since the half cycle
        began: ``dvdq``, positive where the voltage moves in the direction of the half
        cycle, NaN beyond its end, and ``dvdq_error``.

    Raises
    ------
    ArgumentError
        If a half cycle is missing, or an option is out of range.
    DataError
        If the record has a flag that makes its charge wrong.
    DimensionError, VariableError, UnitsError
        If the record lacks something.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> curves = record.echem.dvdq(mass=7.0)
    >>> curves["dvdq"].dims
    ('half_cycle', 'capacity')
    """
    slip = {"per cent": 0.01}
    bounds.within_span(smoothing, 1.0, argument="smoothing", units="1", slips=slip)
    smooth = Smoothing(smoothing, 1 / bins, method, order)
    charge = _charge(mass)
    rule = counting or Counting()
    rows = columns(record, caller="dvdq", clock=False, number=rule.number)
    table = half_cycle_table(rows, rule, counted=False)
    refuse_implausible(table, caller="dvdq")
    chosen = _chosen(table, half_cycles)
    grid = _charge_grid(table, chosen, bins)
    curves = lay_out(rows, table, chosen, grid, weights=smooth.weights())
    words = {"units": charge.units, "long_name": "Capacity since the half cycle began"}
    kind = _Kind(
        "dvdq",
        "dV/dQ",
        "V mA-1 h-1" if mass is None else "V mA-1 h-1 g",
        1 / charge.scale,
        ("capacity", grid.centres * charge.scale, words),
    )
    result = _labelled(table, chosen, curves, kind=kind, charge=charge)
    return result.assign_attrs(smooth.to_attrs() | charge.to_attrs())


@dataclass(frozen=True)
class _Charge:
    """Set the units of charge, with the active mass if it is given."""

    scale: float = 1.0  # from mA h
    units: str = "mA h"
    mass: float | None = None

    def to_attrs(self) -> dict[str, float]:
        return {} if self.mass is None else {"mass": float(self.mass)}


@dataclass(frozen=True)
class _Kind:
    """Describe a kind of differential curve: its name, units and axis."""

    name: str
    long_name: str
    units: str
    scale: float
    axis: tuple[str, np.ndarray, dict[str, Any]]


def _charge(mass: float | None) -> _Charge:
    if mass is None:
        return _Charge()
    return _Charge(1000.0 / mass, "mA h g-1", mass)


def _chosen(table: HalfCycleTable, half_cycles: Sequence[int] | None) -> np.ndarray:
    there = len(table.floats)
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


def _tell_wide(
    widths: dict[str, float], table: HalfCycleTable, chosen: np.ndarray
) -> None:
    """Warn of a width in V that exceeds the span of the half cycles."""
    from batteryxr.echem.kernels import parts

    if not chosen.size:
        return
    spans = table.floats[chosen, parts.V_MAX] - table.floats[chosen, parts.V_MIN]
    for name, width in widths.items():
        if width < 0.1:  # usual widths, in a record of nearly constant voltage
            continue
        bounds.within_span(
            width, float(spans.max()), argument=name, units="V", slips={"mV": 1e-3}
        )


def _voltage_grid(table: HalfCycleTable, chosen: np.ndarray, width: float) -> Bins:
    from batteryxr.echem.kernels import parts
    from batteryxr.echem.kernels.histogram import Bins

    if not chosen.size:
        return Bins(False, 0.0, float(width), np.empty(0))
    # Bins are centred on multiples of their width, with a spare one at each end.
    low = int(np.floor(table.floats[chosen, parts.V_MIN].min() / width + 0.5)) - 1
    high = int(np.floor(table.floats[chosen, parts.V_MAX].max() / width + 0.5)) + 1
    if high - low > _MOST_BINS:
        raise DataError(
            "voltage",
            f"spans {(high - low) * width:.4g} V, more than {_MOST_BINS} bins of "
            f"{width:g} V",
            "Look for a spike in it, or for millivolts taken as volts; else pass a "
            "larger bin=.",
        )
    centres = np.arange(low, high + 1) * width
    return Bins(False, float((low - 0.5) * width), float(width), centres)


def _charge_grid(table: HalfCycleTable, chosen: np.ndarray, points: int) -> Bins:
    from batteryxr.echem.kernels import parts
    from batteryxr.echem.kernels.histogram import Bins

    if not chosen.size:
        return Bins(True, 0.0, 1.0, np.empty(0))
    width = float(np.abs(table.floats[chosen, parts.CHARGE]).max()) / points
    return Bins(True, -width, width, (np.arange(points + 3) - 0.5) * width)


def _labelled(
    table: HalfCycleTable,
    chosen: np.ndarray,
    curves: Curves,
    *,
    kind: _Kind,
    charge: _Charge,
) -> xr.Dataset:
    from batteryxr.echem.kernels import parts

    dim, centres, words = kind.axis
    capacity = np.abs(table.floats[chosen, parts.CHARGE]) * charge.scale
    noise, step = curves.noise[:, 0], curves.noise[:, 1] * charge.scale
    rows = {
        "total_capacity": (capacity, charge.units, "Capacity"),
        "voltage_noise": (noise, "V", "Noise of one voltage, one sd"),
        "charge_step": (step, charge.units, "Charge per row"),
    }
    named = {
        kind.name: (curves.value, kind.long_name),
        f"{kind.name}_error": (curves.error, f"{kind.long_name}, one sd"),
    }
    variables: dict[str, Any] = {}
    for name, (values, long_name) in named.items():
        if kind.scale != 1.0:
            values *= kind.scale
        attrs = {"units": kind.units, "long_name": long_name}
        variables[name] = (("half_cycle", dim), values, attrs)
    for name, (each, units, long_name) in rows.items():
        attrs = {"units": units, "long_name": long_name}
        variables[name] = ("half_cycle", each, attrs)
    signs = table.integers[chosen, parts.DIRECTION]
    return xr.Dataset(
        variables,
        coords={
            "half_cycle": ("half_cycle", chosen + 1, attributes("half_cycle")),
            dim: (dim, centres, words),
            "direction": ("half_cycle", directions(signs), DIRECTION),
        },
    )
