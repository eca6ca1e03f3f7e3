"""Plots of several samples on one another: a colour and a legend entry for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.plotting import COLOURS, load_hvplot, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Elements that take a colour of their own.
_COLOURED = ("Curve", "Scatter", "Spread", "Area", "ErrorBars", "VLine", "Points")
#: Discharges are dashed where charges of the same sample stand beside them.
_DASHED = ("discharge",)


def each_sample(result: xr.Dataset) -> dict[str, xr.Dataset]:
    """Return what each sample has, without the rows that only others have."""
    names = result["sample"].values if "sample" in result.coords else None
    out = {}
    for k in range(result.sizes["sample"]):
        one = result.isel(sample=k, drop=True)
        for dim in ("cycle", "half_cycle", "rate", "pulse", "scan", "state"):
            floats = [
                n
                for n, a in one.data_vars.items()
                if dim in a.dims and a.dtype.kind == "f"
            ]
            if dim in one.dims and floats:
                one = one.dropna(dim, how="all", subset=floats)
        out[str(k if names is None else names[k])] = one
    return out


def overlay_samples(
    plot: Callable[..., Any], result: xr.Dataset, **options: Any
) -> Any:
    """Draw a plot for each sample of a result, and put them on one another."""
    one = {name: plot(part, **options) for name, part in each_sample(result).items()}
    return overlaid(one)


def overlaid(plots: Mapping[str, Any]) -> Any:
    """Put plots on one another, panel by panel, told apart by sample."""
    hv = load_hvplot()
    first = next(iter(plots.values()))
    if isinstance(first, hv.Layout):
        panels = [
            overlaid({name: list(layout)[k] for name, layout in plots.items()})
            for k in range(len(first))
        ]
        return hv.Layout(panels).cols(1 if len(panels) < 3 else 2)
    elements = [
        _of_sample(element, name, COLOURS[k % len(COLOURS)])
        for k, (name, drawn) in enumerate(plots.items())
        for element in _elements(hv, drawn)
    ]
    options = hv.Store.lookup_options("bokeh", first, "plot").kwargs
    kept = {n: v for n, v in options.items() if n in ("width", "height", "xlabel")}
    kept |= {n: v for n, v in options.items() if n in ("ylabel", "show_grid", "logx")}
    return hv.Overlay(elements).opts(hv.opts.Overlay(legend_position="right", **kept))


def _elements(hv: Any, drawn: Any) -> list[Any]:
    if isinstance(drawn, hv.Overlay):
        return [e for part in drawn for e in _elements(hv, part)]
    return [drawn]


def _of_sample(element: Any, name: str, colour: str) -> Any:
    kind = type(element).__name__
    dashed = kind == "Curve" and element.label in _DASHED
    shown = element.relabel(plain(name)) if kind in _COLOURED else element
    if kind in _COLOURED:
        shown = shown.opts(color=colour, clone=True)
    if dashed:
        shown = shown.opts(line_dash="dashed")
    return shown


def joined(results: Mapping[str, Any]) -> Any:
    """Join results along ``sample``; rows that only some have are missing in others.

    A coordinate on another dimension that differs between samples lies on both.
    """
    parts = [
        r.drop_vars("sample", errors="ignore").expand_dims(
            sample=np.array([name], dtype=object).astype(str)
        )
        if isinstance(r, xr.DataArray | xr.Dataset)
        else r
        for name, r in results.items()
    ]
    out = xr.concat(
        parts,
        "sample",
        data_vars="all",
        coords="different",
        compat="equals",
        join="outer",
        combine_attrs="drop_conflicts",
    )
    out["sample"].attrs = {"units": "1", "long_name": "Sample"}
    return out
