"""Plot titrations: equilibrium, time constants, one pulse, the hysteresis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core import plotting
from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import require_dims, require_variables
from batteryxr.core.plotting import overlay_samples
from batteryxr.core.units import with_power, written
from batteryxr.echem.plot.axes import axis as named

if TYPE_CHECKING:
    import holoviews
    import xarray as xr

#: Colour of a fit drawn over its points: black.
_FIT = plotting.COLOURS[6]
_AXES = ("li_content", "specific_capacity", "capacity", "pulse")


@checked
def plot_gitt(result: xr.Dataset, *, axis: str | None = None) -> holoviews.Overlay:
    """Plot equilibrium voltages, with a band up to the voltage under current.

    Parameters
    ----------
    result
        Result of `gitt`.
    axis
        Coordinate to plot against. Default: Li content if there is one, else
        specific capacity, else capacity.

    Returns
    -------
    holoviews.Overlay
        For each direction the equilibrium with error bars, and the overpotential as
        an area, with the IR drop darker than the part from diffusion.

    Examples
    --------
    >>> from batteryxr.simulate import Titration
    >>> record, truth = batteryxr.simulate.gitt(protocol=Titration(n_pulses=5))
    >>> plot = record.echem.gitt().echem.plot.gitt()
    """
    hv = plotting.load_hvplot()
    require_dims(result, ["pulse"], caller="plot_gitt")
    require_variables(result, ["equilibrium_voltage"], caller="plot_gitt")
    if "sample" in result.dims:
        return overlay_samples(plot_gitt, result, axis=axis)
    x, y = _dimension(result, axis), named("voltage")
    parts = []
    for side, data in _sides(result):
        at, rested = data[x.name].values, data["equilibrium_voltage"].values
        under = data["end_voltage"].values
        ohmic = rested + data["overpotential_ir"].values
        colour = plotting.BRANCH_COLOURS[side]
        for far, near, alpha in ((ohmic, rested, 0.35), (under, ohmic, 0.15)):
            area = hv.Area((at, near, far), x, [y, "far"])
            parts.append(area.opts(color=colour, alpha=alpha, line_alpha=0))
        parts.append(hv.Curve((at, rested), x, y, label=side).opts(color=colour))
        bars = _bars(data, "equilibrium_voltage", (x, y))
        parts.append(bars.opts(color=colour))
    return hv.Overlay(parts).opts(
        title="Equilibrium voltage; IR drop (dark) and diffusion (light)",
        legend_position="right",
        width=600,
        height=350,
    )


@checked
def plot_time_constants(
    result: xr.Dataset, *, axis: str | None = None
) -> holoviews.Overlay:
    """Plot 1/tau = D/L² with errors, on a logarithmic scale.

    Parameters
    ----------
    result
        Result of `gitt`.
    axis
        As in `plot_gitt`.

    Returns
    -------
    holoviews.Overlay
        One series for each direction.

    Examples
    --------
    >>> from batteryxr.simulate import Titration
    >>> record, truth = batteryxr.simulate.gitt(protocol=Titration(n_pulses=5))
    >>> plot = record.echem.gitt().echem.plot.time_constants()
    """
    hv = plotting.load_hvplot()
    require_dims(result, ["pulse"], caller="plot_time_constants")
    require_variables(result, ["inverse_tau"], caller="plot_time_constants")
    if "sample" in result.dims:
        return overlay_samples(plot_time_constants, result, axis=axis)
    x = _dimension(result, axis)
    y = plotting.dimension(result["inverse_tau"])
    parts = []
    for side, data in _sides(result):
        at, value = data[x.name].values, data["inverse_tau"].values
        points = hv.Scatter((at, value), x, y, label=side)
        bars = _bars(data, "inverse_tau", (x, y), positive=True)
        parts.append(
            points.opts(color=plotting.BRANCH_COLOURS[side], size=5, **plotting.LOG_Y)
        )
        parts.append(bars.opts(color=plotting.BRANCH_COLOURS[side]))
    return hv.Overlay(parts).opts(
        title="Inverse diffusion time",
        **plotting.LOG_Y,
        legend_position="right",
        width=600,
        height=350,
    )


@checked
def plot_pulse(result: xr.Dataset) -> holoviews.Layout:
    """Plot one pulse and its rest with the fitted curve and the residuals.

    Parameters
    ----------
    result
        Result of `pulse_fit`.

    Returns
    -------
    holoviews.Layout
        Voltage above, residuals below, against time in the pulse.

    Examples
    --------
    >>> from batteryxr.simulate import Titration
    >>> record, truth = batteryxr.simulate.gitt(protocol=Titration(n_pulses=5))
    >>> result = record.echem.gitt()
    >>> plot = record.echem.pulse_fit(result=result, pulse=2).echem.plot.pulse()
    """
    hv = plotting.load_hvplot()
    wanted = ["voltage", "current", "fitted_voltage", "voltage_residual", "step_time"]
    require_variables(result, wanted, caller="plot_pulse")
    x, y = (
        plotting.dimension(result["step_time"]),
        plotting.dimension(result["voltage"]),
    )
    left = named("voltage_residual", units="mV", long_name="Residual")
    t = result["step_time"].values
    number = int(result["pulse"])
    side = "charge" if result["current"].values.sum() > 0 else "discharge"
    measured = hv.Scatter((t, result["voltage"].values), x, y, label="measured")
    fitted = hv.Curve((t, result["fitted_voltage"].values), x, y, label="fitted")
    residual = hv.Scatter((t, result["voltage_residual"].values * 1e3), x, left)
    top = measured.opts(color=plotting.BRANCH_COLOURS[side], size=3)
    top = top * fitted.opts(color=_FIT)
    top = top.opts(title=f"Pulse {number}", **plotting.ABOVE, width=600, height=300)
    zero = hv.HLine(0).opts(color=plotting.NEUTRAL, line_width=1)
    below = (residual.opts(color=_FIT, size=2) * zero).opts(width=600, height=160)
    return hv.Layout([top, below]).cols(1)


@checked
def plot_hysteresis(result: xr.Dataset) -> holoviews.Overlay:
    """Plot the equilibrium curves of charge and discharge and the area between them.

    Parameters
    ----------
    result
        Result of `equilibrium_hysteresis`.

    Returns
    -------
    holoviews.Overlay
        The two curves; the title gives the area and its error.

    Examples
    --------
    >>> from batteryxr.simulate import Electrode, Titration
    >>> up, _ = batteryxr.simulate.gitt(protocol=Titration(n_pulses=8))
    >>> discharged, _ = batteryxr.simulate.gitt(
    ...     protocol=Titration(n_pulses=8, current=-0.05), electrode=Electrode(x0=0.83)
    ... )
    >>> charge, discharge = up.echem.gitt(), discharged.echem.gitt()
    >>> discharge["capacity"] = discharge["capacity"] + charge["capacity"][-1]
    >>> gap = charge.echem.equilibrium_hysteresis(discharge, axis="capacity")
    >>> plot = gap.echem.plot.hysteresis()
    """
    hv = plotting.load_hvplot()
    wanted = ["charge_voltage", "discharge_voltage", "hysteresis"]
    require_variables(result, wanted, caller="plot_hysteresis")
    (name,) = result["gap"].dims
    x = _dimension(result, str(name))
    y = named("voltage", long_name="Equilibrium voltage")
    at = result[name].values
    upper, lower = (result[k].values for k in wanted[:2])
    area, error = float(result["hysteresis"]), float(result["hysteresis_error"])
    units = written(result["hysteresis"].attrs["units"])
    band = hv.Area((at, lower, upper), x, [y, "upper"])
    curves = [
        hv.Curve((at, values), x, y, label=side).opts(
            color=plotting.BRANCH_COLOURS[side]
        )
        for side, values in (("charge", upper), ("discharge", lower))
    ]
    return hv.Overlay(
        [band.opts(color=plotting.NEUTRAL, alpha=0.2, line_alpha=0), *curves]
    ).opts(
        title=plotting.as_title(f"Hysteresis {_rounded(area, error)} {units}"),
        legend_position="right",
        width=600,
        height=350,
    )


def _rounded(value: float, error: float) -> str:
    """Return a value to the second digit of its error."""
    if not (np.isfinite(error) and error > 0):
        return f"{value:.4g}"
    power = int(np.floor(np.log10(max(abs(value), error))))
    scale = 10.0**power if abs(power) > 3 else 1.0
    digits = max(0, 1 - int(np.floor(np.log10(error / scale))))
    text = f"{value / scale:.{digits}f} ± {error / scale:.{digits}f}"
    return text if scale == 1 else with_power(f"({text})e{power}")


def _dimension(result: xr.Dataset, axis: str | None) -> holoviews.Dimension:
    names = [a for a in _AXES if a in result.coords] if axis is None else [axis]
    if not names or names[0] not in result.coords:
        known = [a for a in _AXES if a in result.coords]
        raise ArgumentError("axis", axis, f"one of {known}")
    return plotting.dimension(result[names[0]])


def _sides(result: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    direction = result["direction"].values
    return [
        (side, result.isel(pulse=np.flatnonzero(direction == side)))
        for side in plotting.BRANCH_COLOURS
        if (direction == side).any()
    ]


def _bars(
    data: xr.Dataset, name: str, axes: tuple[Any, Any], *, positive: bool = False
) -> Any:
    """Return the error bars of a variable; `positive` ones stay above zero."""
    import holoviews as hv

    x, y = axes
    value = data[name].values
    error = data[f"{name}_error"].values if f"{name}_error" in data else 0 * value
    # A bar down to zero cannot be drawn on a logarithmic axis.
    below = np.minimum(error, 0.9 * value) if positive else error
    points = (data[x.name].values, value, below, error)
    return hv.ErrorBars(points, x, [y, "-", "+"]).opts(**plotting.BARS)
