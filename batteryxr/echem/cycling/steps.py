"""Split a test into steps by current and voltage, each with a reason for its kind."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.model import attributes
from batteryxr.core.provenance import recorded
from batteryxr.echem.counting import Counting, half_cycle_table
from batteryxr.echem.record import columns, tell_times

if TYPE_CHECKING:
    from batteryxr.core.bounds.kinds import RelativeWidth, VoltageStep
    from batteryxr.echem.kernels.record import Rule
    from batteryxr.echem.record import Columns

#: Kinds of step, in the order of the kernel's numbers.
KINDS = (
    "open_circuit",
    "rest",
    "constant_current",
    "constant_voltage",
    "varying",
)
#: Number of rows under current below which a step is joined to a longer one.
_SHORTEST = 3


@recorded
def steps(
    record: xr.Dataset,
    *,
    i_tolerance: RelativeWidth = 0.02,
    v_tolerance: VoltageStep = 0.005,
    counting: Counting | None = None,
) -> xr.Dataset:
    """Split a record into steps of constant current, constant voltage and rest.

    Reads twice, and the current three times unless an `i_zero` is given; memory is a
    few chunks and one row per step. The cycler's own step numbers are not used.

    Parameters
    ----------
    record
        Cycler data on ``record``; see `half_cycles`.
    i_tolerance
        Largest relative deviation of a constant current from its mean.
    v_tolerance
        Largest deviation, in V, of a held voltage from its value when the current
        began to change.
    counting
        Its `i_zero` and `max_gap` define rests, as in `half_cycles`.

    Returns
    -------
    xarray.Dataset
        On ``step``: ``kind`` ("open_circuit" before any current has passed, "rest",
        "constant_current", "constant_voltage", "varying"), ``reason`` in words,
        ``direction``, ``capacity``, ``energy``, ``mean_current``, ``mean_voltage``
        (over rows), voltages and currents at the ends, times and rows.

    Raises
    ------
    ArgumentError
        If an option is out of range.
    DimensionError, VariableError, UnitsError
        If the record lacks something.

    Warns
    -----
    DataQualityWarning
        If time runs backward or is missing, so that the charge of a step is wrong.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> steps = record.echem.steps()
    >>> sorted(set(steps["kind"].values.tolist()))
    ['constant_current', 'open_circuit', 'rest']
    """
    rows = columns(record, caller="steps", clock=False)
    counting = replace(counting or Counting(), by="current")
    halves = half_cycle_table(rows, counting)
    table = _table(rows, halves.rule, float(i_tolerance), float(v_tolerance))
    tell_times(record, caller="steps")
    result = _labelled(table, halves.rule.i_zero)
    result.attrs = {"i_zero": halves.rule.i_zero, "max_gap": halves.rule.max_gap}
    return result


def _table(
    rows: Columns, rule: Rule, i_tolerance: float, v_tolerance: float
) -> np.ndarray:
    from batteryxr.echem.kernels import steps as kernel

    tolerance = kernel.Tolerance(i_tolerance, v_tolerance)
    table, n, row = np.empty((64, kernel.COLUMNS)), 0, 0
    carry = np.zeros(kernel.CARRIED)
    for block in rows.blocks():
        table, n = kernel.split(block, row, rule, tolerance, carry, table, n)
        row += block.t.size
    return kernel.tidy(table[:n], _SHORTEST, i_tolerance)


def _labelled(table: np.ndarray, i_zero: float) -> xr.Dataset:
    from batteryxr.echem.kernels import steps as k

    rows = table[:, k.ROWS]
    numbers = {
        "capacity": (np.abs(table[:, k.CHARGE]), "mA h", "Capacity"),
        "energy": (np.abs(table[:, k.ENERGY]), "mW h", "Energy"),
        "mean_current": (table[:, k.I_SUM] / rows, "mA", "Mean current of the rows"),
        "current_start": (table[:, k.I_FIRST], "mA", "Current at the first row"),
        "current_end": (table[:, k.I_LAST], "mA", "Current at the last row"),
        "mean_voltage": (table[:, k.V_SUM] / rows, "V", "Mean voltage of the rows"),
        "voltage_start": (table[:, k.V_FIRST], "V", "Voltage at the first row"),
        "voltage_end": (table[:, k.V_LAST], "V", "Voltage at the last row"),
        "test_time_start": (table[:, k.T_START], "s", "Test time at the first row"),
        "test_time_end": (table[:, k.T_END], "s", "Test time at the last row"),
        "duration": (table[:, k.T_END] - table[:, k.T_START], "s", "Duration"),
        "first_record": (table[:, k.FIRST].astype(np.int64), "1", "First row, from 0"),
        "last_record": (table[:, k.LAST].astype(np.int64), "1", "Last row"),
    }
    kinds = np.array(KINDS, "U16")[table[:, k.KIND].astype(int)]
    signs = table[:, k.SIGN].astype(int)
    direction = np.array(["discharge", "rest", "charge"], "U9")[signs + 1]
    reason = np.array([_reason(row, i_zero) for row in table], dtype=np.str_)
    texts = {
        "kind": (kinds, "1", "Kind of step"),
        "reason": (reason.reshape(len(table)), "1", "Why it is of this kind"),
    }
    variables: dict[str, Any] = {
        name: ("step", values, {"units": units, "long_name": words})
        for name, (values, units, words) in (texts | numbers).items()
    }
    coords: dict[str, Any] = {
        "step": ("step", np.arange(1, len(table) + 1), attributes("step")),
        "direction": ("step", direction, {"units": "1", "long_name": "Direction"}),
    }
    return xr.Dataset(variables, coords)


def _reason(row: np.ndarray, i_zero: float) -> str:
    from batteryxr.echem.kernels import steps as k

    kind = int(row[k.KIND])
    # The middle of the extremes, which leave out the rows in which the current settles.
    current, spread = 0.5 * (row[k.I_MAX] + row[k.I_MIN]), row[k.I_MAX] - row[k.I_MIN]
    voltage, drift = 0.5 * (row[k.V_MAX] + row[k.V_MIN]), row[k.V_MAX] - row[k.V_MIN]
    if kind == k.OPEN_CIRCUIT:
        return f"no current >= {i_zero:.3g} mA has passed yet"
    if kind == k.REST:
        return f"current below {i_zero:.3g} mA, after {row[k.T_START]:.6g} s of test"
    if kind == k.CONSTANT_CURRENT:
        part = 50 * spread / abs(current)
        return f"current within {part:.2g} % of {current:.4g} mA"
    if kind == k.CONSTANT_VOLTAGE:
        return (
            f"voltage within {500 * drift:.2g} mV of {voltage:.4f} V while the current "
            f"went from {row[k.I_FIRST]:.4g} to {row[k.I_LAST]:.4g} mA"
        )
    return (
        f"current from {row[k.I_MIN]:.4g} to {row[k.I_MAX]:.4g} mA, "
        f"voltage from {row[k.V_MIN]:.4f} to {row[k.V_MAX]:.4f} V: neither is constant"
    )
