"""Plots of cycling: voltage profiles, cycles, differential capacity, rates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import require_dims, require_variables
from batteryxr.core.plotting import load_hvplot
from batteryxr.echem.record import columns, half_cycle_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

    from batteryxr.echem.kernels.record import Rule
    from batteryxr.echem.record import Columns

#: Columns of a record that a profile is made of.
_NEEDED = ("test_time", "voltage", "current", "file")
#: Points per curve of a voltage profile: more than a screen shows.
_POINTS = 2000
_SIZE = {"width": 600, "height": 380}


@checked
def plot_voltage_profile(
    record: xr.Dataset,
    *,
    mass: float | None = None,
    half_cycles: Sequence[int] | None = None,
    i_zero: float | None = None,
    max_gap: float = 3600.0,
) -> Any:
    """Plot voltage against capacity, each half cycle from zero.

    Reads twice, and the current three times where `i_zero` is None.

    Parameters
    ----------
    record
        Cycler data on ``record``.
    mass
        Active mass in mg, for specific capacity.
    half_cycles
        Numbers of the half cycles wanted. None: all.
    i_zero, max_gap
        See `half_cycles`.

    Returns
    -------
    holoviews.Overlay
        One curve for each half cycle, charges and discharges in two colours.

    Raises
    ------
    ArgumentError
        If `mass` is not positive or there is no such half cycle.
    """
    hv = load_hvplot()
    from batteryxr.echem.kernels import parts

    if mass is not None and not mass > 0:
        raise ArgumentError("mass", mass, "the active mass in mg, > 0, or None")
    rows = columns(record, caller="plot_voltage_profile", clock=False)
    table = half_cycle_table(rows, i_zero=i_zero, max_gap=max_gap)
    there = len(table.floats)
    numbers = range(1, there + 1) if half_cycles is None else half_cycles
    units = "mA h" if mass is None else "mA h/g"
    curves = []
    for number in numbers:
        if not 1 <= number <= there:
            raise ArgumentError("half_cycles", number, f"numbers from 1 to {there}")
        of = table.integers[number - 1]
        some = slice(of[parts.FIRST], of[parts.LAST_ACTIVE] + 1)
        q, v = _profile(rows.isel(some), table.rule)
        if mass is not None:
            q = q * 1000.0 / mass
        up = of[parts.DIRECTION] > 0
        label = "charge" if up else "discharge"
        curve = hv.Curve((q, v), f"Capacity ({units})", "Voltage (V)", label=label)
        curves.append(curve.opts(color="#c44e52" if up else "#4c72b0"))
    overlay = hv.Overlay(curves) if curves else hv.Overlay([hv.Curve([])])
    title = str(record.attrs.get("title", ""))
    return overlay.opts(title=title, legend_position="bottom_left", **_SIZE)


def _profile(rows: Columns, rule: Rule) -> tuple[np.ndarray, np.ndarray]:
    """Return charge (mA h) and voltage of one half cycle, thinned."""
    blocks = [(b.t, b.v, b.i, b.file) for b in rows.blocks(_NEEDED)]
    t, v, i, file = (np.concatenate(column) for column in zip(*blocks, strict=True))
    flows = np.abs(i) >= rule.i_zero
    step = np.diff(t, prepend=t[:1])
    before = i if rule.mean else np.concatenate([i[:1], i[:-1]])
    counted = flows & np.concatenate([[False], flows[:-1]]) & (step <= rule.max_gap)
    if file.size:
        counted &= np.diff(file, prepend=file[:1]) == 0
    q = np.cumsum(np.where(counted, 0.5 * np.abs(i + before) * step / 3600.0, 0.0))
    every = max(1, int(flows.sum()) // _POINTS)
    return q[flows][::every], v[flows][::every]


@checked
def plot_cycles(cycles: xr.Dataset) -> Any:
    """Plot capacity and Coulombic efficiency against cycle number.

    Parameters
    ----------
    cycles
        Result of `cycles`; specific capacities are taken where it has them.

    Returns
    -------
    holoviews.Layout
        Capacities above, Coulombic efficiency below, on one cycle axis.
    """
    hv = load_hvplot()
    require_dims(cycles, ("cycle",), caller="plot_cycles")
    require_variables(cycles, ("coulombic_efficiency",), caller="plot_cycles")
    specific = "charge_specific_capacity" in cycles
    kind, units = ("specific_capacity", "mA h/g") if specific else ("capacity", "mA h")
    number = cycles["cycle"].values
    points = [
        hv.Scatter(
            (number, cycles[f"{side}_{kind}"].values),
            "Cycle",
            f"Capacity ({units})",
            label=side,
        ).opts(color=colour, size=6)
        for side, colour in (("charge", "#c44e52"), ("discharge", "#4c72b0"))
    ]
    efficiency = hv.Scatter(
        (number, 100 * cycles["coulombic_efficiency"].values),
        "Cycle",
        "Coulombic efficiency (%)",
    )
    above = hv.Overlay(points).opts(legend_position="bottom_right", **_SIZE)
    below = efficiency.opts(color="black", size=6, width=600, height=220)
    return (above + below).cols(1)


@checked
def plot_dqdv(dqdv: xr.Dataset, *, errors: bool = False) -> Any:
    """Plot dQ/dV, discharges downward as is usual.

    Parameters
    ----------
    dqdv
        Result of `dqdv`.
    errors
        Show one standard deviation as a band.

    Returns
    -------
    holoviews.Overlay
    """
    hv = load_hvplot()
    require_dims(dqdv, ("half_cycle", "voltage"), caller="plot_dqdv")
    require_variables(dqdv, ("dqdv", "dqdv_error"), caller="plot_dqdv")
    name = f"dQ/dV ({dqdv['dqdv'].attrs['units']})"
    voltage = dqdv["voltage"].values
    items = []
    for row in range(dqdv.sizes["half_cycle"]):
        one = dqdv.isel(half_cycle=row)
        side = str(one["direction"].item())
        sign, colour = (1, "#c44e52") if side == "charge" else (-1, "#4c72b0")
        y = sign * one["dqdv"].values
        if errors:
            spread = (voltage, y, one["dqdv_error"].values)
            band = hv.Spread(spread, "Voltage (V)", [name, "error"])
            items.append(band.opts(color=colour, alpha=0.3))
        curve = hv.Curve((voltage, y), "Voltage (V)", name, label=side)
        items.append(curve.opts(color=colour))
    return hv.Overlay(items).opts(legend_position="top_left", **_SIZE)


@checked
def plot_rate(rate: xr.Dataset) -> Any:
    """Plot capacity and mean voltage against current on a logarithmic axis.

    Parameters
    ----------
    rate
        Result of `rate`; specific quantities are taken where it has them.

    Returns
    -------
    holoviews.Layout
    """
    hv = load_hvplot()
    require_dims(rate, ("rate",), caller="plot_rate")
    specific = "specific_capacity" in rate
    x, y = (
        ("specific_current", "specific_capacity")
        if specific
        else ("current", "capacity")
    )
    current = rate[x].values
    axis = f"Current ({rate[x].attrs['units']})"
    panels = []
    for name, words in ((y, "Capacity"), ("mean_voltage", "Mean voltage")):
        label = f"{words} ({rate[name].attrs['units']})"
        data = (current, rate[name].values)
        curve = hv.Curve(data, axis, label) * hv.Scatter(data, axis, label)
        panels.append(
            curve.opts(hv.opts.Curve(logx=True, padding=0.1), hv.opts.Scatter(size=7))
        )
    return hv.Layout(panels).cols(1)
