"""Plots of stacks, spectra and fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.checks import checked
from batteryxr.core.errors import DimensionError, VariableError
from batteryxr.core.model import require_dims, require_variables
from batteryxr.core.plotting import load_hvplot
from batteryxr.xanes.fit.curve import model_curve
from batteryxr.xanes.fit.result import FLAGS
from batteryxr.xanes.spectra import ABSORPTION, as_spectra

if TYPE_CHECKING:
    from collections.abc import Sequence


#: Distinct also in grey and to colour-blind eyes.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#000000", "#999933", "#882255", "#44AA99"),
)
_SIZE = {"width": 560, "height": 320}
_MAP = {"data_aspect": 1, "frame_width": 210, "xticks": 3, "fontsize": {"title": 9}}
#: Shares of the pixels that may lie beyond the ends of a colour scale.
_ENDS = (1, 99)
_FITTED = ("edge_energy", "edge_jump", "normalised_peak_area")


@checked
def plot_stack(stack: xr.DataArray | xr.Dataset, *, cmap: str = "gray") -> Any:
    """Look through the frames of a stack, one slider for each further dimension.

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
    """
    load_hvplot()
    array: Any = stack
    if isinstance(stack, xr.Dataset):
        array = as_spectra(stack, caller="plot_stack")
    require_dims(array, ["y", "x"], caller="plot_stack")
    if np.iscomplexobj(array):
        raise VariableError(
            f"plot_stack needs real images; {array.name!r} is complex. "
            "Take abs(), or from_transmission."
        )
    others = [str(d) for d in array.dims if d not in ("y", "x")]
    return array.hvplot.image(
        x="x",
        y="y",
        groupby=others or None,
        dynamic=True,
        cmap=cmap,
        clabel=axis_label(array),
        aspect="equal",
        frame_width=360,
    )


@checked
def plot_maps(
    maps: xr.Dataset,
    *,
    variables: Sequence[str] | None = None,
    mask: xr.DataArray | None = None,
    cmap: str = "viridis",
) -> Any:
    """Plot maps side by side, each on its own scale, one row for each particle.

    Computes the maps.

    Parameters
    ----------
    maps
        Maps along `y` and `x`, and `particle` if there are several.
    variables
        Which; by default edge energy, edge jump and peak area where they are there,
        else all.
    mask
        Pixels are shown where it is True.
    cmap
        Colours. Scales leave out the last hundredth of the pixels at both ends.

    Returns
    -------
    holoviews.Layout
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
                picture(hv, image, title).opts(cmap=cmap, clim=limits, colorbar=True)
            )
    rows = max(len(panels) // max(len(pictures), 1), 1)
    # One column of the page for each particle's row: maps run to the right.
    ordered = [panels[k * rows + r] for r in range(rows) for k in range(len(pictures))]
    return hv.Layout(ordered).cols(len(pictures))


@checked
def plot_spectra(
    spectra: xr.DataArray | xr.Dataset, *, edges: xr.Dataset | None = None
) -> Any:
    """Plot spectra over energy, one curve for each, with their edge energies.

    Computes them.

    Parameters
    ----------
    spectra
        A spectrum, or spectra along one further dimension; normalised, flattened...
    edges
        A result of `edge_energy`: dashed lines.

    Returns
    -------
    holoviews.Overlay
    """
    hv = load_hvplot()
    names = ("flattened", "normalised", "absorption", "optical_density")
    array = as_spectra(spectra, caller="plot_spectra", names=names).compute()
    curves = [
        hv.Curve((array.energy.values, y), "Photon energy (eV)", axis_label(array))
        .relabel(name)
        .opts(color=colour(i))
        for i, (name, y) in enumerate(_lines(array))
    ]
    if edges is not None:
        found = np.atleast_1d(edges["edge_energy"].values).ravel()
        curves += [
            hv.VLine(float(e)).opts(color=colour(i), line_dash="dashed", line_width=1)
            for i, e in enumerate(found)
            if np.isfinite(e)
        ]
    return hv.Overlay(curves).opts(
        hv.opts.Overlay(legend_position="right", title="Spectra", **_SIZE)
    )


@checked
def plot_fit(spectra: xr.DataArray | xr.Dataset, *, fit: xr.Dataset) -> Any:
    """Plot one spectrum with its fit, and what the fit leaves below.

    Parameters
    ----------
    spectra
        One spectrum: select a pixel first, `.sel(x=..., y=..., method="nearest")`.
    fit
        The result of `fit_edge` or `fit_peaks` at the same pixel.

    Returns
    -------
    holoviews.Layout
    """
    hv = load_hvplot()
    curve = model_curve(fit)
    dim = str(curve.dims[0])
    names = (*ABSORPTION, "intensity")
    array = as_spectra(spectra, caller="plot_fit", dim=dim, names=names)
    array = array.squeeze(drop=True).compute()
    if array.ndim != 1:
        raise DimensionError(
            f"plot_fit shows one spectrum; found {array.dims}. Select one pixel."
        )
    model = model_curve(fit, axis=array[dim]).squeeze(drop=True).values
    curve = curve.squeeze(drop=True).compute()
    x, y = array[dim].values, array.values
    along, up = axis_label(array[dim]), axis_label(array)
    upper = hv.Scatter((x, y), along, up, label="measured").opts(color="black", size=4)
    smooth = curve[dim].values, curve.values
    upper *= hv.Curve(smooth, along, up, label="fit").opts(color=COLOURS[1])
    left = hv.Curve((x, y - model), along, "Residual").opts(color="black")
    return hv.Layout(
        [
            upper.opts(title=_verdict(fit), legend_position="bottom_right", **_SIZE),
            (left * hv.HLine(0).opts(color="grey", line_width=1)).opts(
                width=_SIZE["width"], height=160
            ),
        ]
    ).cols(1)


@checked
def plot_drift(stack: xr.DataArray | xr.Dataset) -> Any:
    """Plot how far the frames of a registered stack had drifted.

    Parameters
    ----------
    stack
        A result of `register`.

    Returns
    -------
    holoviews.Overlay
    """
    hv = load_hvplot()
    require_variables(
        stack.coords.to_dataset(), ["shift_y", "shift_x"], caller="plot_drift"
    )
    curves = []
    for i, name in enumerate(("shift_y", "shift_x")):
        shift = stack[name]
        for j, (which, values) in enumerate(_lines(shift)):
            text = f"{name[-1]} {which}".strip()
            curve = hv.Curve(
                (stack.energy.values, values),
                "Photon energy (eV)",
                f"Drift ({shift.attrs.get('units', '1')})",
                label=text,
            )
            dash = "solid" if i == 0 else "dashed"
            curves.append(curve.opts(color=colour(j), line_dash=dash))
    return hv.Overlay(curves).opts(
        hv.opts.Overlay(legend_position="right", title="Drift", **_SIZE)
    )


@checked
def plot_combination(result: xr.Dataset) -> Any:
    """Plot the weights of a linear combination: maps, lines of a series, or bars.

    Computes the weights.

    Parameters
    ----------
    result
        A result of `lcf`.

    Returns
    -------
    holoviews.Layout or holoviews.Overlay
    """
    hv = load_hvplot()
    require_variables(result, ["weight"], caller="plot_combination")
    weight = result["weight"].compute()
    names = [str(s) for s in weight["standard"].values]
    if {"y", "x"} <= set(weight.dims):
        panels = [
            picture(hv, image, title).opts(cmap="viridis", clim=(0, 1), colorbar=True)
            for k, name in enumerate(names)
            for title, image in by_particle(weight.isel(standard=k), name)
        ]
        return hv.Layout(panels).cols(len(names))
    if weight.ndim > 2:
        raise DimensionError(
            f"plot_combination shows maps, a series or a spectrum; found {weight.dims}."
        )
    error = result["weight_error"].compute() if "weight_error" in result else None
    title = {"title": "Linear combination", **_SIZE}
    if weight.ndim == 1:
        bars = hv.Bars((names, weight.values), "Standard", "Weight")
        shapes = [bars.opts(color=COLOURS[0])]
        if error is not None:
            both = names, weight.values, error.values
            shapes.append(hv.ErrorBars(both, "Standard", ["Weight", "error"]))
        return hv.Overlay(shapes).opts(hv.opts.Overlay(**title))
    (dim,) = (str(d) for d in weight.dims if d != "standard")
    x = weight[dim].values if dim in weight.coords else np.arange(weight.sizes[dim])
    shapes = []
    for k, name in enumerate(names):
        y = weight.isel(standard=k).values
        if error is not None:
            spread = x, y, error.isel(standard=k).values
            band = hv.Spread(spread, dim, ["Weight", "error"])
            shapes.append(band.opts(color=colour(k), alpha=0.2, line_alpha=0))
        curve = hv.Curve((x, y), dim, "Weight", label=name)
        shapes.append(curve.opts(color=colour(k)))
    return hv.Overlay(shapes).opts(hv.opts.Overlay(legend_position="right", **title))


def picture(hv: Any, image: xr.DataArray, title: str) -> Any:
    """Return one map, its pixels square."""
    image = image.transpose("y", "x")
    x, y = (image[d].values if d in image.coords else None for d in ("x", "y"))
    x = np.arange(image.sizes["x"]) if x is None else x
    y = np.arange(image.sizes["y"]) if y is None else y
    axes = [axis_label(image["x"]), axis_label(image["y"])]
    drawn = hv.Image((x, y, image.values), axes, axis_label(image))
    return drawn.opts(title=title, **_MAP)


def by_particle(array: xr.DataArray, name: str) -> list[tuple[str, xr.DataArray]]:
    """Return title and image of each particle.

    Raises
    ------
    DimensionError
        If there are other dimensions beside `y`, `x` and `particle`.
    """
    others = [d for d in array.dims if d not in ("y", "x", "particle")]
    if others or not {"y", "x"} <= set(array.dims):
        raise DimensionError(
            f"{name!r} lies along {array.dims}: a map has y, x and perhaps particle. "
            "Select the rest with .isel."
        )
    if "particle" not in array.dims:
        return [(name, array)]
    known = array["particle"].values if "particle" in array.coords else None
    return [
        (f"{name}, {k if known is None else known[k]}", array.isel(particle=k))
        for k in range(array.sizes["particle"])
    ]


def dimension(hv: Any, array: xr.DataArray, name: str = "") -> Any:
    """Return the axis of a variable: told apart by its name, shown by its label."""
    return hv.Dimension(name or str(array.name), label=axis_label(array))


def axis_label(array: xr.DataArray) -> str:
    """Return long name and units for an axis."""
    text = str(array.attrs.get("long_name", array.name))
    units = str(array.attrs.get("units", "1"))
    return text if units == "1" else f"{text} ({units})"


def colour(i: int) -> str:
    """Return the colour of curve or cluster number `i`, from 0."""
    return COLOURS[i % len(COLOURS)]


def _verdict(fit: xr.Dataset) -> str:
    """Return what a fit of one spectrum found, and what its flag says."""
    flag = int(np.squeeze(fit["flag"].values))
    said = [text.replace("_", " ") for bit, text in FLAGS.items() if flag & bit]
    where = "edge_energy" if "edge_energy" in fit else "peak_position"
    units = str(fit[where].attrs.get("units", ""))
    values = np.atleast_1d(np.squeeze(fit[where].values))
    found = ", ".join(f"{v:.2f}" for v in values if np.isfinite(v))
    what = "Edge" if where == "edge_energy" else "Peaks"
    title = f"{what} at {found} {units}" if found else "Not fitted"
    return f"{title}: {', '.join(said)}" if said else title


def _by_peak(array: xr.DataArray, name: str) -> list[tuple[str, xr.DataArray]]:
    if "peak" not in array.dims:
        return [(name, array)]
    peaks = array["peak"].values if "peak" in array.coords else range(array.peak.size)
    return [(f"{name}, {p}", array.isel(peak=k)) for k, p in enumerate(peaks)]


def _lines(array: xr.DataArray) -> list[tuple[str, np.ndarray]]:
    """Return name and values of each spectrum."""
    others = [str(d) for d in array.dims if d != "energy"]
    if not others:
        return [("", array.values)]
    if len(others) > 1:
        raise DimensionError(
            f"one further dimension beside energy can be drawn; found {others}."
        )
    (dim,) = others
    lines = array.transpose(dim, "energy")
    names = lines[dim].values if dim in lines.coords else np.arange(lines.sizes[dim])
    return [(f"{dim} {n}", y) for n, y in zip(names, lines.values, strict=True)]


def _limits(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, _ENDS)
    return float(low), float(high if high > low else low + 1)
