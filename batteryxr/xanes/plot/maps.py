"""Plot maps, and linear combinations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.checks import checked
from batteryxr.core.errors import DimensionError
from batteryxr.core.model import in_words, require_variables
from batteryxr.core.plotting import (
    BARS,
    COLOURS,
    axis_label,
    colour_bar,
    load_hvplot,
    plain,
)
from batteryxr.xanes.plot.figures import WIDE, by_particle, colour, picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    import holoviews
    import xarray as xr

#: Percentiles of the pixels at the ends of a colour scale.
_ENDS = (1, 99)
_FITTED = ("edge_energy", "edge_jump", "normalised_peak_area")


@checked
def plot_maps(
    maps: xr.Dataset,
    *,
    variables: Sequence[str] | None = None,
    mask: xr.DataArray | None = None,
    cmap: str = "viridis",
) -> holoviews.Layout:
    """Plot maps side by side, each on its own scale, one row for each particle.

    Computes the maps.

    Parameters
    ----------
    maps
        Maps along `y` and `x`, and `particle` if there are several.
    variables
        Names of maps; default: edge energy, edge jump and peak area if present, else
        all.
    mask
        Pixels are shown where it is True.
    cmap
        Colours. Scales leave out the last hundredth of the pixels at each end.

    Returns
    -------
    holoviews.Layout

    Examples
    --------
    >>> sample = batteryxr.simulate.particles(size=48)
    >>> stack = sample["objects"]["transmission"][:1].xanes.from_transmission()
    >>> maps = stack["absorption"].xanes.fit_edge(edge=(5470, 5486))
    >>> plot = maps.xanes.plot.maps(variables=["edge_energy"], mask=maps["flag"] == 0)
    """
    hv = load_hvplot()
    there = [n for n in _FITTED if n in maps] or [str(n) for n in maps.data_vars]
    names = there if variables is None else list(variables)
    require_variables(maps, names, caller="plot_maps")
    panels = []
    pictures = [p for n in names for p in _by_peak(maps[n], n)]
    for name, array in pictures:
        shown = array if mask is None else array.where(mask)
        shown = shown.compute()
        limits = _limits(shown.values)
        for title, image in by_particle(shown, name):
            panels.append(
                picture(hv, image, title).opts(
                    cmap=cmap, clim=limits, **colour_bar(axis_label(image))
                )
            )
    rows = max(len(panels) // max(len(pictures), 1), 1)
    # One column of the page for each particle's row: maps run to the right.
    ordered = [panels[k * rows + r] for r in range(rows) for k in range(len(pictures))]
    return hv.Layout(ordered).cols(len(pictures))


@checked
def plot_combination(result: xr.Dataset) -> holoviews.Layout | holoviews.Overlay:
    """Plot the weights of a linear combination: maps, lines of a series, or bars.

    Computes the weights.

    Parameters
    ----------
    result
        Result of `lcf`.

    Returns
    -------
    holoviews.Layout or holoviews.Overlay

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> series = cell["scans"].to_dataset()["absorption"]
    >>> pure = cell["truth"].to_dataset()["components"]
    >>> standards = {
    ...     name: pure.sel(component=name) for name in pure["component"].values
    ... }
    >>> shares = series.xanes.lcf(standards=standards)
    >>> plot = shares.xanes.plot.combination()
    """
    hv = load_hvplot()
    require_variables(result, ["weight"], caller="plot_combination")
    weight = result["weight"].compute()
    names = [str(s) for s in weight["standard"].values]
    if {"y", "x"} <= set(weight.dims):
        panels = [
            picture(hv, image, title).opts(
                cmap="viridis", clim=(0, 1), **colour_bar(axis_label(image))
            )
            for k, name in enumerate(names)
            for title, image in by_particle(weight.isel(standard=k), name)
        ]
        return hv.Layout(panels).cols(len(names))
    if weight.ndim > 2:
        raise DimensionError(
            f"plot_combination shows maps, a series or a spectrum; found {weight.dims}."
        )
    error = result["weight_error"].compute() if "weight_error" in result else None
    title = {"title": "Linear combination", **WIDE}
    if weight.ndim == 1:
        bars = hv.Bars((names, weight.values), "Standard", "Weight")
        shapes = [bars.opts(color=COLOURS[0])]
        if error is not None:
            both = names, weight.values, error.values
            drawn = hv.ErrorBars(both, "Standard", ["Weight", "error"])
            shapes.append(drawn.opts(**BARS))
        return hv.Overlay(shapes).opts(hv.opts.Overlay(**title))
    (dim,) = (str(d) for d in weight.dims if d != "standard")
    x = weight[dim].values if dim in weight.coords else np.arange(weight.sizes[dim])
    along, shapes = axis_label(weight[dim]), []
    for k, name in enumerate(names):
        y = weight.isel(standard=k).values
        if error is not None:
            spread = x, y, error.isel(standard=k).values
            band = hv.Spread(spread, along, ["Weight", "error"])
            shapes.append(band.opts(color=colour(k), alpha=0.2, line_alpha=0))
        curve = hv.Curve((x, y), along, "Weight", label=plain(name))
        shapes.append(curve.opts(color=colour(k)))
    return hv.Overlay(shapes).opts(hv.opts.Overlay(legend_position="right", **title))


def _by_peak(array: xr.DataArray, name: str) -> list[tuple[str, xr.DataArray]]:
    if "peak" not in array.dims:
        return [(in_words(name), array)]
    peaks = array["peak"].values if "peak" in array.coords else range(array.peak.size)
    return [(f"{in_words(name)}, {p}", array.isel(peak=k)) for k, p in enumerate(peaks)]


def _limits(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, _ENDS)
    return float(low), float(high if high > low else low + 1)
