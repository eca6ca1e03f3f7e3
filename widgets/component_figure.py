"""The figure of the panel of components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.plotting import colours_of
from batteryxr.widgets.drawing import curve, image_plot, lines_plot, title_of
from batteryxr.widgets.frames import every_nth

if TYPE_CHECKING:
    import xarray as xr

    from batteryxr.widgets.models.components import ComponentModel

_HOUR = np.timedelta64(3600, "s")
#: Coordinates along a series, the most useful first.
_USUAL = ("li_content", "capacity_total", "time", "temperature", "voltage")
#: Largest number of pixels along a side of a displayed map.
_PIXELS = 256


def plots(model: ComponentModel) -> dict[str, Any]:
    """Return the figure: the series on the left, and comparisons on the right."""
    found, principal = model.answer.fit, model.answer.principal
    left = [components(found, model.likeness(found))]
    right = [] if principal is None else [_principal(principal)]
    if model.patterns.series:
        along, label = abscissa(found, model)
        if "voltage" in found.coords and model.x != "voltage":
            volts = [curve(along, found["voltage"].values, colour="text")]
            left.append(
                lines_plot("voltage", "Voltage", label, "Voltage (V)", volts,
                           link="series", height=140)
            )  # fmt: skip
        left += [ratios(found, along, label), residual(found, along, label)]
    if model.order is not None:
        right += order_plots(model.order, model.n_components)
    if model.patterns.series:
        beside = [{**plot, "column": 1} for plot in right]
        return {"columns": 2, "plots": [*left, *beside]}
    return {"columns": 3, "plots": [*left, *right, *maps(found)]}


def components(found: xr.Dataset, likeness: dict[str, Any]) -> dict[str, Any]:
    """Return the components above one another: free ones solid, fixed ones dotted."""
    patterns = found["components"].transpose("component", ...)
    values = patterns.values
    axis = found[str(patterns.dims[1])]
    gap = 1.08 * float(np.nanmax(np.nanmax(values, 1) - np.nanmin(values, 1)))
    series, colours = [], colours_of(found)
    for k, name in enumerate(found["component"].values):
        held = bool(found["fixed"].values[k])
        like = likeness.get(str(name))
        words = f"{name}{' (fixed)' if held else ''}"
        words += f" ≈ {like[0]}, r = {like[1]:.2f}" if like else ""
        series.append(
            curve(axis.values, values[k] + gap * k, name=words, colour=colours[k],
                  dotted=held, offset=gap * k)
        )  # fmt: skip
    return lines_plot(
        "components", "Components, one above the other", title_of(axis),
        title_of(patterns), series, link="signal", legend=True, height=300,
    )  # fmt: skip


def _principal(principal: xr.Dataset) -> dict[str, Any]:
    patterns = principal["components"].transpose("component", ...)
    axis = principal[str(patterns.dims[1])]
    gap = 1.08 * float(np.max(np.ptp(patterns.values, axis=1)))
    series = [
        curve(axis.values, v + gap * k, name=str(name), colour=k, offset=gap * k)
        for k, (name, v) in enumerate(
            zip(principal["component"].values, patterns.values, strict=True)
        )
    ]
    return lines_plot(
        "principal", "Principal components, for contrast", title_of(axis),
        title_of(patterns), series, link="signal", legend=True, height=300,
    )  # fmt: skip


def ratios(found: xr.Dataset, along: np.ndarray, label: str) -> dict[str, Any]:
    """Return the ratios along the series, with their range over equally good starts."""
    weights = found["weights"].transpose(..., "component")
    spread, colours = found.get("weights_spread"), colours_of(found)
    series = [
        curve(along, weights.values[:, k], name=str(name), colour=colours[k],
              dotted=bool(found["fixed"].values[k]),
              spread=None if spread is None
              else spread.transpose(..., "component").values[:, k] / 2)
        for k, name in enumerate(found["component"].values)
    ]  # fmt: skip
    title = "Ratios" if found.attrs.get("closure", 1) else "Weights"
    return lines_plot(
        "ratios", title, label, title_of(weights), series, link="series", legend=True
    )


def residual(found: xr.Dataset, along: np.ndarray, label: str) -> dict[str, Any]:
    """Return the relative residual of each scan."""
    left = found["relative_residual"]
    series = [curve(along, left.values, colour="text", points=True, size=2)]
    error = float(found["relative_error"])
    return lines_plot(
        "residual", f"Residual per scan (all: {error:.3g})", label, "Relative residual",
        series, link="series", height=170,
    )  # fmt: skip


def maps(found: xr.Dataset) -> list[dict[str, Any]]:
    """Return the abundance maps of a stack, and the map of the residual."""
    weights, names = found["weights"], [str(n) for n in found["component"].values]
    rest = [d for d in weights.dims if d not in ("component", "y", "x")]
    if weights.ndim - len(rest) != 3:
        rest = list(weights.dims[1:-2])
    first = dict.fromkeys(rest, 0)
    images = weights.isel(first).transpose("component", ...)
    thin = every_nth(images.shape[1:], _PIXELS)
    values = images.data[:, thin[0], thin[1]]
    left = found["relative_residual"].isel(first).data[thin[0], thin[1]]
    values, left = np.asarray(values), np.asarray(left)
    units = str(weights.attrs.get("units", ""))
    made = [
        image_plot(f"map {k}", name, v, *_limits(v), units=units)
        for k, (name, v) in enumerate(zip(names, values, strict=True))
    ]
    return [*made, image_plot("residual", "Residual", left, *_limits(left))]


def order_plots(order: xr.Dataset, n: int) -> list[dict[str, Any]]:
    """Return the indicators for each number of components, the present marked."""
    ns = order["n_components"].values
    here = {"shade": [[n - 0.5, n + 0.5]], "link": "order", "height": 200}
    names = {
        "held_out_error": "held out",
        "nmf_error": "factorisation",
        "svd_error": "lower bound (SVD)",
    }
    wanted = [
        ("order error", "Error", "Relative error", names, True),
        ("order stability", "Stability over starts", "1: starts agree",
         {"cophenetic": "cophenetic", "silhouette": "silhouette"}, False),
        ("order scree", "Scree", "Fraction of variance",
         {"explained_variance_ratio": ""}, True),
    ]  # fmt: skip
    return [
        lines_plot(
            key, title, "Number of components", unit,
            [curve(ns, order[v].values, name=word, colour=k, points=True)
             for k, (v, word) in enumerate(columns.items()) if v in order],
            ylog=log, **here,
        )
        for key, title, unit, columns, log in wanted
    ]  # fmt: skip


def abscissas(model: ComponentModel) -> list[tuple[str, str]]:
    """Return titles and names of the coordinates against which ratios can be drawn."""
    if not model.patterns.series:
        return []
    data, dim = model.patterns.data, model.patterns.samples[0]
    there = [
        str(name)
        for name, c in data.coords.items()
        if c.dims == (dim,) and c.dtype.kind in "iufM" and _varies(c)
    ]
    first = [name for name in _USUAL if name in there]
    named = [*first, *(n for n in there if n not in first)]
    titles = [str(data[n].attrs.get("long_name", n)).split(",")[0] for n in named]
    return [*zip(titles, named, strict=True), ("scan number", dim)]


def abscissa(found: xr.Dataset, model: ComponentModel) -> tuple[np.ndarray, str]:
    """Return the positions of the scans on the chosen axis, and its title."""
    dim = str(model.patterns.samples[0])
    name = model.x or dim
    if name not in found.coords:
        return np.arange(found.sizes[dim]), "Scan"
    values = found[name].values
    if values.dtype.kind == "M":
        return (values - np.nanmin(values)) / _HOUR, "Time (h)"
    return values.astype(np.float64), title_of(found[name])


def _varies(coordinate: xr.DataArray) -> bool:
    values = coordinate.values
    if values.dtype.kind == "M":
        return not bool(np.isnat(values).any())
    return bool(np.isfinite(values).any()) and bool(
        np.nanmin(values) < np.nanmax(values)
    )


def _limits(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, (0.5, 99.5))
    return float(low), float(high if high > low else low + 1.0)
