"""Plot results along a series: fits over states or voltage, and components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.checks import checked
from batteryxr.core.errors import DimensionError
from batteryxr.core.model import in_words, require_variables
from batteryxr.core.plotting import (
    BARS,
    COLOURS,
    LOG_Y,
    as_title,
    axis_label,
    dimension,
    load_hvplot,
    plain,
)
from batteryxr.xanes.plot.figures import SMALL, colour
from batteryxr.xanes.plot.spectra import plot_spectra

if TYPE_CHECKING:
    from collections.abc import Sequence

    import holoviews
    import xarray as xr

    from batteryxr.core.plotting import Holoviews

#: Dimensions along which a variable holds several curves.
_SEVERAL = (
    *("peak", "standard", "polarisation", "component", "order"),
    *("sample", "reflection"),
)


@checked
def plot_series(
    result: xr.Dataset,
    *,
    x: str | None = None,
    variables: Sequence[str] | None = None,
) -> holoviews.Layout:
    """Plot results along a series with their errors, a panel for each variable.

    Computes them.

    Parameters
    ----------
    result
        Result of `edge_energy`, `fit_edge`, `fit_peaks`, `band_ratio`, `valence`,
        `lcf`, ... along one dimension such as `scan` or `state`. Peaks, standards and
        polarisations become curves of one panel.
    x
        Coordinate to plot against, such as "voltage"; default: the dimension.
    variables
        Names of variables; default: all that have an error.

    Returns
    -------
    holoviews.Layout

    Raises
    ------
    DimensionError
        If a variable has no dimension for a series, or more than one.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> flat = spectra.xanes.normalise(e0=8345, pre=(-30, -16), post=(20, 55), degree=1)
    >>> plot = flat.xanes.edge_energy().xanes.plot.series(variables=["edge_energy"])
    """
    hv = load_hvplot()
    names = [str(n) for n in result.data_vars if f"{n}_error" in result]
    names = (names or ["edge_energy"]) if variables is None else list(variables)
    require_variables(result, names, caller="plot_series")
    panels = [_panel(hv, result, name, x) for name in names]
    return hv.Layout(panels).cols(2).opts(shared_axes=False)


@checked
def plot_components(result: xr.Dataset) -> holoviews.Layout:
    """Plot the number of components, and their spectra.

    Parameters
    ----------
    result
        Result of `pca`.

    Returns
    -------
    holoviews.Layout

    Examples
    --------
    >>> experiment = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = experiment["scans"].to_dataset()["absorption"]
    >>> plot = spectra.xanes.pca().xanes.plot.components()
    """
    hv = load_hvplot()
    needed = ["components", "eigenvalue", "indicator"]
    require_variables(result, needed, caller="plot_components")
    panels = []
    for name in needed[1:]:
        array = result[name].isel(eigenvalue_number=slice(20)).compute()
        points = array["eigenvalue_number"].values, array.values
        axes = "Number of components", dimension(array)
        curve = hv.Curve(points, *axes).opts(color="black")
        curve *= hv.Scatter(points, *axes).opts(color="black", size=6)
        used = hv.VLine(result.sizes["component"])
        curve *= used.opts(color=COLOURS[1], line_dash="dashed")
        at = points[0][:: 1 + points[0].size // 10].tolist()
        look = {"xticks": at, **LOG_Y, **SMALL}
        panels.append(curve.opts(title=as_title(axis_label(array)), **look))
    panels.append(plot_spectra(result["components"]))
    return hv.Layout(panels).cols(2).opts(shared_axes=False)


def _panel(hv: Holoviews, result: xr.Dataset, name: str, x: str | None) -> Any:
    array = result[name].compute()
    along = [str(d) for d in array.dims if d not in _SEVERAL]
    if len(along) != 1:
        raise DimensionError(
            f"plot_series shows results along one dimension; {name!r} lies along "
            f"{array.dims}. Select one pixel, or call plot_maps."
        )
    (dim,) = along
    across = array[x or dim]
    errors = result.get(f"{name}_error")
    several = [str(d) for d in array.dims if d != dim]
    shapes = []
    axes = dimension(across, x or dim), dimension(array)
    for i, place in enumerate(np.ndindex(*(array.sizes[d] for d in several))):
        at = dict(zip(several, place, strict=True))
        one = array.isel(at)
        text = plain(", ".join(str(one[d].values) for d in several if d in one.coords))
        # Samples may have voltages of their own.
        own = across.isel({d: k for d, k in at.items() if d in across.dims})
        points = own.values, one.values
        shape = hv.Curve(points, *axes, label=text).opts(color=colour(i))
        shape *= hv.Scatter(points, *axes, label=text).opts(color=colour(i), size=4)
        if errors is not None:
            bars = (*points, errors.isel(at).values)
            shape *= hv.ErrorBars(bars, axes[0], [axes[1], "error"]).opts(
                line_color=colour(i), **BARS
            )
        shapes.append(shape)
    return hv.Overlay(shapes).opts(
        hv.opts.Overlay(
            title=as_title(in_words(name)), legend_position="right", **SMALL
        )
    )
