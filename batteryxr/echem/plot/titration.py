"""Plots of titrations: equilibrium, time constants, one pulse, the hysteresis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import require_dims, require_variables
from batteryxr.core.plotting import load_hvplot

if TYPE_CHECKING:
    import xarray as xr

#: Okabe and Ito's colours, told apart by every eye.
_SIDES = {"charge": "#D55E00", "discharge": "#0072B2"}
_FIT = "#000000"
_AXES = ("li_content", "specific_capacity", "capacity", "pulse")


@checked
def plot_gitt(result: xr.Dataset, *, axis: str | None = None) -> Any:
    """Plot equilibrium voltages, with a band up to the voltage under current.

    Parameters
    ----------
    result
        What `gitt` returned.
    axis
        The coordinate to plot against. Default: Li content where there is one, else
        specific capacity, else capacity.

    Returns
    -------
    holoviews.Overlay
        For each direction the equilibrium with error bars, and the overpotential as
        an area: the IR drop darker than what diffusion adds.
    """
    hv = load_hvplot()
    require_dims(result, ["pulse"], caller="plot_gitt")
    require_variables(result, ["equilibrium_voltage"], caller="plot_gitt")
    x, y = _dimension(hv, result, axis), hv.Dimension("voltage", label="Voltage (V)")
    parts = []
    for side, data in _sides(result):
        at, rested = data[x.name].values, data["equilibrium_voltage"].values
        under = data["end_voltage"].values
        ohmic = rested + data["overpotential_ir"].values
        colour = _SIDES[side]
        for far, near, alpha in ((ohmic, rested, 0.35), (under, ohmic, 0.15)):
            area = hv.Area((at, near, far), x, [y, "far"])
            parts.append(area.opts(color=colour, alpha=alpha, line_alpha=0))
        parts.append(hv.Curve((at, rested), x, y, label=side).opts(color=colour))
        parts.append(_bars(hv, data, "equilibrium_voltage", x, y, colour))
    return hv.Overlay(parts).opts(
        title="Equilibrium voltage; IR drop (dark) and diffusion (light)",
        legend_position="bottom_left",
        width=600,
        height=350,
    )


@checked
def plot_time_constants(result: xr.Dataset, *, axis: str | None = None) -> Any:
    """Plot 1/tau = D/L² with errors, on a logarithmic scale.

    Parameters
    ----------
    result
        What `gitt` returned.
    axis
        As in `plot_gitt`.

    Returns
    -------
    holoviews.Overlay
        One series for each direction.
    """
    hv = load_hvplot()
    require_dims(result, ["pulse"], caller="plot_time_constants")
    require_variables(result, ["inverse_tau"], caller="plot_time_constants")
    x = _dimension(hv, result, axis)
    y = hv.Dimension("inverse_tau", label="D/L² (1/s)")
    parts = []
    for side, data in _sides(result):
        at, value = data[x.name].values, data["inverse_tau"].values
        points = hv.Scatter((at, value), x, y, label=side)
        parts.append(points.opts(color=_SIDES[side], size=5, logy=True))
        parts.append(_bars(hv, data, "inverse_tau", x, y, _SIDES[side], positive=True))
    return hv.Overlay(parts).opts(
        title="Inverse diffusion time",
        logy=True,
        legend_position="right",
        width=600,
        height=350,
    )


@checked
def plot_pulse(fit: xr.Dataset) -> Any:
    """Plot one pulse and its rest with the fitted curve, and what is left.

    Parameters
    ----------
    fit
        What `pulse_fit` returned.

    Returns
    -------
    holoviews.Layout
        Voltage above, residuals below, against time in the pulse.
    """
    hv = load_hvplot()
    wanted = ["voltage", "fitted_voltage", "voltage_residual", "step_time"]
    require_variables(fit, wanted, caller="plot_pulse")
    x = hv.Dimension("step_time", label="Time in the pulse (s)")
    y = hv.Dimension("voltage", label="Voltage (V)")
    left = hv.Dimension("voltage_residual", label="Residual (mV)")
    t = fit["step_time"].values
    number = int(fit["pulse"])
    measured = hv.Scatter((t, fit["voltage"].values), x, y, label="measured")
    fitted = hv.Curve((t, fit["fitted_voltage"].values), x, y, label="fitted")
    residual = hv.Scatter((t, fit["voltage_residual"].values * 1e3), x, left)
    top = measured.opts(color=_SIDES["charge"], size=3) * fitted.opts(color=_FIT)
    top = top.opts(title=f"Pulse {number}", width=600, height=300)
    below = (residual.opts(color=_FIT, size=2) * hv.HLine(0)).opts(
        width=600, height=160
    )
    return hv.Layout([top, below]).cols(1)


@checked
def plot_hysteresis(result: xr.Dataset) -> Any:
    """Plot the equilibrium curves of charge and discharge and the area between them.

    Parameters
    ----------
    result
        What `equilibrium_hysteresis` returned.

    Returns
    -------
    holoviews.Overlay
        The two curves; the title tells the area and its error.
    """
    hv = load_hvplot()
    wanted = ["charge_voltage", "discharge_voltage", "hysteresis"]
    require_variables(result, wanted, caller="plot_hysteresis")
    (name,) = result["gap"].dims
    x = _dimension(hv, result, str(name))
    y = hv.Dimension("voltage", label="Equilibrium voltage (V)")
    at = result[name].values
    upper, lower = (result[k].values for k in wanted[:2])
    area, error = float(result["hysteresis"]), float(result["hysteresis_error"])
    units = result["hysteresis"].attrs["units"]
    band = hv.Area((at, lower, upper), x, [y, "upper"])
    curves = [
        hv.Curve((at, values), x, y, label=side).opts(color=_SIDES[side])
        for side, values in (("charge", upper), ("discharge", lower))
    ]
    return hv.Overlay([band.opts(color="grey", alpha=0.2, line_alpha=0), *curves]).opts(
        title=f"Hysteresis {area:.4g} ± {error:.2g} {units}", width=600, height=350
    )


def _dimension(hv: Any, result: xr.Dataset, axis: str | None) -> Any:
    names = [a for a in _AXES if a in result.coords] if axis is None else [axis]
    if not names or names[0] not in result.coords:
        known = [a for a in _AXES if a in result.coords]
        raise ArgumentError("axis", axis, f"one of {known}")
    attrs = result[names[0]].attrs
    units = attrs.get("units", "1")
    text = attrs.get("long_name", names[0])
    return hv.Dimension(names[0], label=text if units == "1" else f"{text} ({units})")


def _sides(result: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    direction = result["direction"].values
    return [
        (side, result.isel(pulse=np.flatnonzero(direction == side)))
        for side in _SIDES
        if (direction == side).any()
    ]


def _bars(
    hv: Any,
    data: xr.Dataset,
    name: str,
    x: Any,
    y: Any,
    colour: str,
    *,
    positive: bool = False,
) -> Any:
    value = data[name].values
    error = data[f"{name}_error"].values if f"{name}_error" in data else 0 * value
    # A bar that reaches zero has no place on a logarithmic axis.
    below = np.minimum(error, 0.9 * value) if positive else error
    bars = hv.ErrorBars((data[x.name].values, value, below, error), x, [y, "-", "+"])
    return bars.opts(color=colour)
