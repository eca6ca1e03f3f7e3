"""Plot stacks: their frames, and their drift."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.checks import checked
from batteryxr.core.errors import VariableError
from batteryxr.core.model import require_dims, require_variables
from batteryxr.core.plotting import (
    axis_label,
    colour_bar,
    load_hvplot,
    plain,
    plainly_labelled,
)
from batteryxr.xanes.plot.figures import WIDE, colour, lines
from batteryxr.xanes.spectra import as_spectra

if TYPE_CHECKING:
    import holoviews


@checked
def plot_stack(
    stack: xr.DataArray | xr.Dataset, *, cmap: str = "gray"
) -> holoviews.core.ViewableElement:
    """Show the frames of a stack, with one slider for each further dimension.

    Computes the frame that is shown.

    Parameters
    ----------
    stack
        Images along `y` and `x`, and `energy`, `particle`, ...
    cmap
        Colours.

    Returns
    -------
    holoviews.DynamicMap or holoviews.Image

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=48)
    >>> stack = study["objects"]["transmission"][:1].xanes.from_transmission()
    >>> plot = stack["absorption"].isel(particle=0).xanes.plot.stack()
    """
    load_hvplot()
    array: Any = stack
    if isinstance(stack, xr.Dataset):
        array = as_spectra(stack, caller="plot_stack", whole=False)
    require_dims(array, ["y", "x"], caller="plot_stack")
    if np.iscomplexobj(array):
        raise VariableError(
            f"plot_stack needs real images; {array.name!r} is complex. "
            "Take abs(), or from_transmission."
        )
    others = [str(d) for d in array.dims if d not in ("y", "x")]
    return plainly_labelled(array).hvplot.image(
        x="x",
        y="y",
        groupby=others or None,
        dynamic=True,
        cmap=cmap,
        **colour_bar(axis_label(array)),
        aspect="equal",
        frame_width=360,
    )


@checked
def plot_drift(stack: xr.DataArray | xr.Dataset) -> holoviews.Overlay:
    """Plot the drift of the frames of a registered stack.

    Parameters
    ----------
    stack
        Result of `register`.

    Returns
    -------
    holoviews.Overlay

    Examples
    --------
    >>> batch = batteryxr.simulate.particles(size=48)
    >>> stack = batch["objects"]["transmission"][:1].xanes.from_transmission()
    >>> registered = stack.xanes.register(by="phase")
    >>> plot = registered["absorption"].xanes.plot.drift()
    """
    hv = load_hvplot()
    require_variables(
        stack.coords.to_dataset(), ["shift_y", "shift_x"], caller="plot_drift"
    )
    curves = []
    for i, name in enumerate(("shift_y", "shift_x")):
        shift = stack[name]
        for j, (which, values) in enumerate(lines(shift)):
            text = f"{name[-1]} {which}".strip()
            curve = hv.Curve(
                (stack.energy.values, values),
                axis_label(stack["energy"]),
                axis_label(shift, "Drift"),
                label=plain(text),
            )
            dash = "solid" if i == 0 else "dashed"
            curves.append(curve.opts(color=colour(j), line_dash=dash))
    return hv.Overlay(curves).opts(
        hv.opts.Overlay(legend_position="right", title="Drift", **WIDE)
    )
