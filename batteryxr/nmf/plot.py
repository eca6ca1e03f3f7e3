"""Plots of a factorisation, its steps, and the evidence for each number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError, DimensionError, VariableError
from batteryxr.core.model import in_words, require_variables
from batteryxr.core.plotting import (
    ABOVE,
    BARS,
    COLOURS,
    LOG_Y,
    as_title,
    axis_label,
    colour_bar,
    colours_of,
    dimension,
    load_hvplot,
    plain,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import holoviews
    import xarray as xr

    from batteryxr.core.plotting import Holoviews

#: Names of lines in the evidence for a number of components.
_NAMES = {"nmf_error": "NMF", "svd_error": "SVD: no model can be below"}
_SIZE = {"width": 640, "height": 340}


@checked
def plot_components(
    result: xr.Dataset, *, offset: float | None = None
) -> holoviews.Overlay:
    """Plot the components above one another: free ones solid, fixed ones dotted.

    Reads nothing but the components.

    Parameters
    ----------
    result
        A factorisation, or principal components.
    offset
        Distance between them; by default the largest range of one component.

    Returns
    -------
    holoviews.Overlay

    Examples
    --------
    >>> simulation = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = simulation["scans"].to_dataset()["absorption"]
    >>> fit = spectra.nmf.fit(3)
    >>> plot = fit.nmf.plot.components()
    """
    hv = load_hvplot()
    require_variables(result, ["components"], caller="plot_components")
    patterns = result["components"].transpose("component", ...)
    axis = str(patterns.dims[1])
    x = _values(patterns, axis)
    step = offset
    if step is None:
        step = 1.05 * float(np.nanmax(np.ptp(patterns.values, axis=1)))
    curves = []
    colours = colours_of(result)
    for i, name in enumerate(_names(result)):
        held = "fixed" in result and bool(result["fixed"].values[i])
        y = patterns.values[i] + step * i
        curve = hv.Curve(
            (x, y), _axis(patterns, axis), dimension(patterns, "pattern"), label=name
        )
        curves.append(
            curve.opts(
                color=_colour(colours[i]), line_dash="dotted" if held else "solid"
            )
        )
    return hv.Overlay(curves).opts(
        hv.opts.Overlay(legend_position="right", title="Components", **_SIZE)
    )


@checked
def plot_weights(
    result: xr.Dataset,
    *,
    x: str | None = None,
    sums: dict[str, Sequence[str]] | None = None,
    theoretical: float | None = None,
    variable: str = "voltage",
) -> holoviews.Overlay | holoviews.Layout:
    """Plot the ratios along the series, the voltage on top where there is one.

    Reads the weights, which are small for a series. The shaded band is the range that
    fits as well, where the result has it (`metropolis`, or
    ``result.merge(result.nmf.bands())``), else the range of equally good starts.
    Ratios that sum to one stay between 0 and 1. Where an axis such as voltage runs
    back and forth, each half cycle is one line: charge solid, discharge dashed.

    Parameters
    ----------
    result
        A factorisation of a series.
    x
        Coordinate along the series; by default ``li_content``, ``capacity``,
        ``time`` or ``temperature``, whichever comes first, else the scan number.
    sums
        Ratios whose sum is drawn too, hollow: ``{"rock salt": ["CP2", "CP3"]}``.
    theoretical
        Theoretical capacity or content, in units of `x`; the extra capacity beyond it
        is shaded.
    variable
        Coordinate drawn on top, unless it is `x` itself.

    Returns
    -------
    holoviews.Overlay or holoviews.Layout

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> fit = spectra.nmf.fit(3)
    >>> plot = fit.nmf.plot.weights()
    """
    hv = load_hvplot()
    weights, dim = _series(result, "plot_weights")
    name = _abscissa(weights, x, dim)
    at = _values(weights, name)
    along = _axis(weights, name)
    ratio = dimension(weights, "ratio")
    runs = list(_runs(weights, name, dim))
    closed = bool(np.allclose(weights.sum("component"), 1, atol=1e-3))
    shapes: list[Any] = []
    colours = colours_of(result)
    for i, component in enumerate(_names(result)):
        colour = _colour(colours[i])
        held = "fixed" in result and bool(result["fixed"].values[i])
        y = weights.values[:, i]
        edges = _edges(result.isel(component=i), y)
        if edges is not None and closed:
            edges = np.clip(edges[0], 0, 1), np.clip(edges[1], 0, 1)
        for run, dash in runs:
            curve = hv.Curve((at[run], y[run]), along, ratio, label=component)
            shapes.append(
                curve.opts(color=colour, line_dash="dotted" if held else dash)
            )
            if edges is not None:
                band = (at[run], edges[0][run], edges[1][run])
                area = hv.Area(band, along, [ratio, "upper"])
                shapes.append(area.opts(color=colour, alpha=0.15, line_alpha=0))
    for i, (word, parts) in enumerate((sums or {}).items()):
        if wrong := [p for p in parts if p not in _names(result)]:
            raise ArgumentError("sums", wrong, f"components among {_names(result)}")
        total = weights.sel(component=list(parts)).sum("component").values
        points = hv.Scatter((at, total), along, ratio, label=word)
        shapes.append(
            points.opts(fill_alpha=0, line_color=_colour(max(colours) + 1 + i), size=6)
        )
    shade = _shade(hv, at, theoretical)
    lower = hv.Overlay(shapes + shade).opts(
        hv.opts.Overlay(legend_position="right", title="Ratios", **_SIZE)
    )
    if variable not in weights.coords or variable == name:
        return lower
    volts = weights[variable]
    upper = hv.Curve((at, volts.values), along, _axis(weights, variable))
    upper = hv.Overlay([upper.opts(color="black"), *shade]).opts(
        hv.opts.Overlay(
            title=as_title(axis_label(weights[variable])),
            ylabel="",
            width=_SIZE["width"],
            height=200,
        )
    )
    return hv.Layout([upper, lower]).cols(1)


@checked
def plot_residual(
    result: xr.Dataset, *, x: str | None = None
) -> holoviews.core.ViewableElement:
    """Plot the relative residual of a factorisation, per scan or pixel.

    Computes the residuals. Where an axis runs back and forth, each half cycle is one
    line, as in `plot_weights`.

    Parameters
    ----------
    result
        A factorisation.
    x
        As in `plot_weights`.

    Returns
    -------
    holoviews.Overlay or holoviews.Image

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> fit = spectra.nmf.fit(3)
    >>> plot = fit.nmf.plot.residual()
    """
    hv = load_hvplot()
    require_variables(result, ["relative_residual"], caller="plot_residual")
    residual = result["relative_residual"].compute()
    if residual.ndim == 1:
        dim = str(residual.dims[0])
        name = _abscissa(residual, x, dim)
        at, along = _values(residual, name), _axis(residual, name)
        up = dimension(residual, "residual")
        curves = [
            hv.Curve((at[run], residual.values[run]), along, up).opts(
                color="black", line_dash=dash
            )
            for run, dash in _runs(residual, name, dim)
        ]
        return hv.Overlay(curves).opts(hv.opts.Overlay(title="Residual", **_SIZE))
    return _image(hv, residual, "Residual")


@checked
def plot_maps(result: xr.Dataset) -> holoviews.Layout:
    """Plot the maps of all components of an image, each on its own scale.

    Computes the maps.

    Parameters
    ----------
    result
        A factorisation of a stack.

    Returns
    -------
    holoviews.Layout

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=24)
    >>> objects = study["objects"].to_dataset()["transmission"].sel(particle="P1")
    >>> stack = objects.xanes.from_transmission()["absorption"].clip(0)
    >>> plot = stack.nmf.fit(2).nmf.plot.maps()
    """
    hv = load_hvplot()
    require_variables(result, ["weights"], caller="plot_maps")
    weights = result["weights"]
    if weights.ndim != 3:
        raise DimensionError(
            f"plot_maps needs the maps of one image; found {weights.dims}. "
            "Select one, `.isel(particle=0)`, or use `.nmf.plot.weights` for a series."
        )
    weights = weights.transpose("component", ...).compute()
    maps = [
        _image(hv, weights.isel(component=i), name)
        for i, name in enumerate(_names(result))
    ]
    return hv.Layout(maps).cols(3)


@checked
def plot_order(result: xr.Dataset) -> holoviews.Layout:
    """Plot side by side the evidence for each number of components.

    A dotted line marks the fewest whose held-out error is within one standard error
    of the lowest.

    Parameters
    ----------
    result
        The result of `model_order`.

    Returns
    -------
    holoviews.Layout

    Examples
    --------
    >>> simulation = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = simulation["scans"].to_dataset()["absorption"]
    >>> order = spectra.nmf.model_order((1, 2, 3), n_starts=3)
    >>> plot = order.nmf.plot.order()
    """
    hv = load_hvplot()
    require_variables(result, ["held_out_error", "nmf_error"], caller="plot_order")
    n = result["n_components"].values
    size = {"width": 360, "height": 260}

    def panel(
        names: Sequence[str], title: str, logy: bool = False, marks: Sequence[Any] = ()
    ) -> Any:
        lines: list[Any] = []
        axes = "Number of components", title
        there = [k for k in names if k in result]
        for i, name in enumerate(there):
            y = result[name].values.astype(np.float64)
            curve = hv.Curve(
                (n, y), *axes, label=_NAMES.get(name, in_words(name))
            ).opts(color=_colour(i))
            dots = hv.Scatter((n, y), *axes).opts(color=_colour(i), size=6)
            lines += [curve, dots]
            if f"{name}_error" in result:
                spread = result[f"{name}_error"].values
                bars = hv.ErrorBars((n, y, spread), axes[0], [title, "error"])
                lines.append(bars.opts(line_color=_colour(i), **BARS))
        overlay = hv.Overlay([*lines, *marks]).opts(
            hv.opts.Overlay(
                title=title,
                ylabel="",
                xticks=n.tolist(),
                **(LOG_Y if logy else {}),
                show_legend=len(there) > 1,
                **ABOVE,
                xlim=(n.min() - 0.2, n.max() + 0.2),
                **size,
            )
        )
        if logy:
            shown = np.concatenate([result[k].values for k in there])
            seen = shown[shown > 0]
            if seen.size:
                overlay = overlay.opts(ylim=(0.7 * seen.min(), 1.4 * seen.max()))
        return overlay

    pick = result["held_out_pick"].values if "held_out_pick" in result else n < 0
    picked = [
        hv.VLine(float(k)).opts(color="grey", line_dash="dotted") for k in n[pick]
    ]
    panels = [
        panel(["held_out_error"], "Held-out error", logy=True),
        panel(["held_out_excess"], "Held-out error above the lowest", marks=picked),
        panel(["cophenetic", "silhouette"], "Stability over starts"),
        panel(["nmf_error", "svd_error"], "Error and its lower bound", logy=True),
        panel(["error_ratio"], "NMF / SVD error (1: ambiguous)"),
        panel(["explained_variance_ratio"], "Scree", logy=True),
        panel(["indicator"], "Malinowski's IND", logy=True),
    ]
    if "chi2" in result:
        panels.append(panel(["chi2"], "χ² per degree of freedom", logy=True))
    return hv.Layout(panels).cols(3).opts(shared_axes=False)


def _shade(hv: Holoviews, at: np.ndarray, beyond: float | None) -> list[Any]:
    if beyond is None:
        return []
    return [hv.VSpan(beyond, float(np.nanmax(at))).opts(color="lightgrey", alpha=0.5)]


def _image(hv: Holoviews, array: xr.DataArray, title: str) -> Any:
    y, x = (str(d) for d in array.dims)
    ordinates = (_values(array, x), _values(array, y))
    image = hv.Image(
        (*ordinates, array.values), [_axis(array, x), _axis(array, y)], plain(title)
    )
    return image.opts(
        title=as_title(title), cmap="viridis", width=340, height=300,
        **colour_bar(axis_label(array)),
    )  # fmt: skip


def _runs(
    weights: xr.DataArray, name: str, dim: str
) -> Iterator[tuple[np.ndarray, str]]:
    """Yield the scans that one line joins, and the dash of the line.

    An axis that runs one way gives one line, in the order of the series. Otherwise
    each half cycle gives a line.
    """
    everything = np.arange(weights.sizes[dim])
    along = np.diff(_values(weights, name).astype(np.float64))
    back_and_forth = bool((along > 0).any() and (along < 0).any())
    if "half_cycle" not in weights.coords or not back_and_forth:
        yield everything, "solid"
        return
    number = weights["half_cycle"].values
    for one in np.unique(number[np.isfinite(number)]):
        run = everything[number == one]
        branch = weights["branch"].values[run[0]] if "branch" in weights.coords else ""
        yield run, "dashed" if branch == "discharge" else "solid"


def _edges(one: xr.Dataset, y: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the lowest and highest weight of one component, where known."""
    if "weights_low" in one:
        return one["weights_low"].values, one["weights_high"].values
    if "weights_spread" in one:
        spread = one["weights_spread"].values
        return y - spread, y + spread
    return None


def _series(result: xr.Dataset, caller: str) -> tuple[xr.DataArray, str]:
    require_variables(result, ["weights"], caller=caller)
    weights = result["weights"].compute()
    dims = [str(d) for d in weights.dims if d != "component"]
    if len(dims) != 1:
        raise DimensionError(
            f"{caller} needs a series; found {weights.dims}. Use `.nmf.plot.maps` for "
            "images."
        )
    return weights.transpose(dims[0], "component"), dims[0]


def _abscissa(array: xr.DataArray, x: str | None, dim: str) -> str:
    if x is None:
        usual = ("li_content", "capacity", "time", "temperature")
        return next((name for name in usual if name in array.coords), dim)
    if x != dim and x not in array.coords:
        known = [str(c) for c in array.coords if c != "component"]
        raise VariableError(
            f"x={x!r} is not among {known}. Voltage and capacity come with "
            "`record.echem.join(scans)`, before the fit."
        )
    return x


def _values(array: xr.DataArray, name: str) -> np.ndarray:
    if name in array.coords:
        return array[name].values
    return np.arange(array.sizes[name])


def _axis(array: xr.DataArray, name: str) -> holoviews.Dimension | str:
    if name not in array.coords:
        return in_words(name)
    return dimension(array[name])


def _names(result: xr.Dataset) -> list[str]:
    return [str(n) for n in result["component"].values]


def _colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]
