"""Shared parts of all plots: hvplot without the internet, colours, axis labels."""

from __future__ import annotations

import json
import re
import textwrap
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import xarray as xr

from batteryxr.core.model import in_words
from batteryxr.core.optional import unchanged_process
from batteryxr.core.units import written

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import holoviews

    class Holoviews(Protocol):
        """Name the parts of holoviews that plots use."""

        Area: type[holoviews.core.ViewableElement]
        Bars: type[holoviews.core.ViewableElement]
        Curve: type[holoviews.core.ViewableElement]
        Dimension: type[holoviews.Dimension]
        ErrorBars: type[holoviews.core.ViewableElement]
        HLine: type[holoviews.HLine]
        Image: type[holoviews.core.ViewableElement]
        Path: type[holoviews.core.ViewableElement]
        Layout: type[holoviews.Layout]
        Overlay: type[holoviews.Overlay]
        Points: type[holoviews.core.ViewableElement]
        QuadMesh: type[holoviews.core.ViewableElement]
        Scatter: type[holoviews.core.ViewableElement]
        Spread: type[holoviews.core.ViewableElement]
        Text: type[holoviews.Text]
        VLine: type[holoviews.VLine]
        VSpan: type[holoviews.VSpan]
        opts: type[holoviews.opts]

        def render(self, plot: object, backend: str) -> Any:
            """Return the figure of a plot."""


#: Colours of components, clusters and curves, also distinct for colour-blind readers
#: (Okabe and Ito, then Tol).
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#000000", "#999933", "#882255", "#44AA99"),
)

#: First and last colour of a long series: slate to orange.
_FIRST, _LAST = (0, 68, 136), (221, 120, 40)
#: Largest number of names in the legend of a long series.
_NAMED = 12
#: Largest number of letters in a line beside a bar of colours.
_ON_BAR = 30
#: Largest number of curves in one picture.
_CURVES = 30
#: A legend beside the frame, however many curves there are: twelve names are no higher
#: than a low plot, which would cut them.
LEGEND: dict[str, Any] = {
    "legend_position": "right",
    "legend_limit": 10_000,
    "legend_opts": {
        "glyph_height": 14,
        "label_height": 14,
        "label_text_font_size": "8pt",
        "spacing": 0,
        "padding": 2,
    },
}

#: A legend above the frame, clear of its edge.
ABOVE: dict[str, Any] = {"legend_position": "top", "legend_offset": (0, 10)}

#: Colours of the branches of a cycle.
BRANCH_COLOURS = {"charge": "#D55E00", "discharge": "#0072B2", "rest": "#7f8c8d"}

#: Bars of errors are lines of one colour: Bokeh draws their ends in black.
BARS: dict[str, Any] = {"upper_head": None, "lower_head": None}

#: Colour of items without a branch, and of frames.
NEUTRAL = "#555555"


#: Signs that Bokeh takes for the begin or end of a formula.
_FORMULA = re.compile(r"(\$)(?=\$)|(\\)(?=[\[\]()])")
#: What is no character, or has no name, as in bytes that were taken for text.
_NAMELESS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def plain(text: str) -> str:
    """Return a text that is drawn as it stands: without formulas or unknown characters.

    For a formula Bokeh loads and runs a script from the internet, whoever wrote the
    text. An invisible word joiner separates its signs.
    """
    return _FORMULA.sub("\\g<0>\u2060", _NAMELESS.sub("\ufffd", text))


def as_title(text: str) -> str:
    """Return a text as a title that is shown unchanged.

    Holoviews would replace text between braces.
    """
    return plain(text).replace("{", "{{").replace("}", "}}")


def plainly_labelled(array: xr.DataArray) -> xr.DataArray:
    """Return an array whose names and labels hold no formula; see `plain`."""
    names = {n: plain(str(n)) for n in (*array.dims, *array.coords)}
    shown = array.rename({n: text for n, text in names.items() if text != n})
    shown = shown.rename(plain(str(array.name)) if array.name else None).copy(
        deep=False
    )
    for part in (shown, *shown.coords.values()):
        told = {k: part.attrs[k] for k in ("long_name", "units") if k in part.attrs}
        part.attrs |= {k: plain(str(v)) for k, v in told.items()}
    return shown


def axis_label(array: xr.DataArray, words: str = "") -> str:
    """Return the label of an axis, such as ``"Capacity (mA h g⁻¹)"``.

    Parameters
    ----------
    array
        Array whose ``long_name`` (else its name, in words) and ``units`` are used;
        units of 1 are not written.
    words
        Words that replace the long name.
    """
    words = words or str(array.attrs.get("long_name") or in_words(str(array.name)))
    units = str(array.attrs.get("units", "1"))
    return plain(words if units in ("1", "") else f"{words} ({written(units)})")


class AxisLabel(str):
    """Hold the label of an axis, which differs from that of another quantity.

    Holoviews finds the range of an axis by its label, so that two quantities with one
    long name would be drawn on one range.
    """

    quantity: str

    def __new__(cls, text: str, quantity: str = "") -> Self:
        """Make the label from its text, and the name of the quantity."""
        label = super().__new__(cls, text)
        label.quantity = quantity
        return label

    def __eq__(self, other: object) -> bool:
        alike = bool(getattr(other, "quantity", self.quantity) == self.quantity)
        return alike and super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


def dimension(
    array: xr.DataArray, name: str = "", words: str = ""
) -> holoviews.Dimension:
    """Return holoviews' dimension of an array, labelled by `axis_label`."""
    import holoviews as hv

    name = name or str(array.name)
    return hv.Dimension(name, label=AxisLabel(axis_label(array, words), name))


def colour_bar(label: str) -> dict[str, Any]:
    """Return options of a picture with a bar of its colours, which bears a label.

    A bar is as high as its picture, so a longer label takes several lines. Numbers have
    only the digits they need.
    """
    folded = textwrap.fill(label, _ON_BAR)
    return {"colorbar": True, "clabel": folded, "cformatter": "%.6g"}


#: Numbers of a logarithmic axis: 0.04 and 300, else 2.5×10⁻⁴, whatever its range.
_AS_WRITTEN = """
if (!(tick > 0)) return ""
let power = Math.floor(Math.log10(tick) + 1e-9)
if (power >= -3 && power < 5) return `${Number(tick.toPrecision(4))}`
const digits = Number((tick / 10 ** power).toPrecision(4))
power = [...`${power}`].map((c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]).join("")
return `${digits === 1 ? "" : `${digits}×`}10${power}`
"""


def _write_powers(plot: Any, _element: Any) -> None:
    """Write the numbers of logarithmic axes plainly, and none over another."""
    from bokeh.models import CustomJSTickFormatter, FixedTicker, LogScale, NoOverlap

    figure = plot.state
    for axes, scale, shown in (
        (figure.xaxis, figure.x_scale, figure.x_range),
        (figure.yaxis, figure.y_scale, figure.y_range),
    ):
        for axis in axes if isinstance(scale, LogScale) else ():
            axis.formatter = CustomJSTickFormatter(code=_AS_WRITTEN)
            axis.major_label_policy = NoOverlap(min_distance=4)
            low, high = sorted((shown.start or 0.0, shown.end or 0.0))
            given = isinstance(axis.ticker, FixedTicker)
            if not given and low > 0 and 10 < high / low < 100:
                # Bokeh would crowd the upper end.
                powers = 10.0 ** np.arange(np.log10(low) // 1 - 2, np.log10(high) + 3)
                each = (powers[:, None] * np.arange(1, 10)).T
                axis.ticker = FixedTicker(
                    ticks=np.sort(each[[0, 1, 4]].ravel()).tolist(),
                    minor_ticks=np.sort(each.ravel()).tolist(),
                )


#: Options of logarithmic axes.
LOG_X: dict[str, Any] = {"logx": True, "hooks": [_write_powers]}
LOG_Y: dict[str, Any] = {"logy": True, "hooks": [_write_powers]}


def load_hvplot() -> Holoviews:
    """Import hvplot with its script served from this machine; return holoviews.

    Panel before 1.10 loads BokehJS from the internet unless it is embedded before
    hvplot is imported. Later versions are served by Jupyter itself.

    Examples
    --------
    >>> hv = batteryxr.load_hvplot()
    >>> plot = hv.Curve([1.0, 2.0, 4.0], label="mine")
    """
    import warnings
    from importlib.metadata import version

    with unchanged_process(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import holoviews as hv

        panel = tuple(int(p) for p in version("panel").split(".")[:2])
        if panel < (1, 10) and not getattr(hv.extension, "_loaded", False):
            hv.extension("bokeh", inline=True)
        import hvplot.xarray  # noqa: F401
    return hv


def filling(image: Any) -> Any:
    """Return a picture that fills its axes in matplotlib too, whatever their units."""
    import importlib

    try:
        with unchanged_process():
            importlib.import_module("holoviews.plotting.mpl")
    except ImportError:  # without matplotlib nothing is drawn by it
        return image
    # As high as the curves beside it, which are square there.
    return image.opts(aspect="square", backend="matplotlib")


#: Attribute with the colours that components have from the step before.
_HELD = "colours"
#: Elements that take a colour of their own.
_COLOURED = ("Curve", "Scatter", "Spread", "Area", "ErrorBars", "VLine", "Points")
#: Discharges are dashed where charges of the same sample are drawn beside them.
_DASHED = ("discharge",)
#: Elements that hide those below them.
_PICTURES = ("Image", "QuadMesh", "HeatMap", "RGB")


def each_sample(result: xr.Dataset) -> dict[str, xr.Dataset]:
    """Return the part of each sample, without rows that only other samples have."""
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
    """Draw a plot for each sample of a result, and overlay them."""
    one = {name: plot(part, **options) for name, part in each_sample(result).items()}
    return overlaid(one)


def gradual(count: int) -> list[str]:
    """Return colours that change little by little along a series."""
    colours = []
    for share in np.linspace(0.0, 1.0, count) if count > 1 else [0.0] * count:
        parts = [round(a + share * (b - a)) for a, b in zip(_FIRST, _LAST, strict=True)]
        colours.append("#" + "".join(f"{part:02x}" for part in parts))
    return colours


def few(names: list[str]) -> list[str]:
    """Return names for a legend: of many only some, the first and the last among them.

    The others are empty.
    """
    if len(names) <= _NAMED:
        return names
    kept = set(np.linspace(0, len(names) - 1, _NAMED).round().astype(int).tolist())
    return [name if k in kept else "" for k, name in enumerate(names)]


def some(n: int) -> np.ndarray:
    """Return which of n curves are drawn: even ones, the first and the last too."""
    return np.unique(np.linspace(0, n - 1, min(n, _CURVES)).astype(int))


def with_count(title: str, n: int) -> str:
    """Return a title that tells how many of n curves are drawn, if not all are."""
    return title if n <= _CURVES else f"{title}: {_CURVES} of {n}"


def overlaid(plots: Mapping[str, Any]) -> Any:
    """Overlay plots, panel by panel, with samples distinguished by colour.

    Pictures, which would hide each other, and plots with different panels lie side by
    side.
    """
    hv: Any = load_hvplot()
    first = next(iter(plots.values()))
    counts = {len(p) if isinstance(p, hv.Layout) else 0 for p in plots.values()}
    if len(counts) > 1 or any(_hides(hv, drawn) for drawn in plots.values()):
        return _side_by_side(hv, plots)
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
    further = ("ylabel", "show_grid", "logx", "logy", "hooks")
    kept |= {n: v for n, v in options.items() if n in further}
    return hv.Overlay(elements).opts(hv.opts.Overlay(legend_position="right", **kept))


def _hides(hv: Any, drawn: Any) -> bool:
    """Return whether a plot contains a picture."""
    panels = list(drawn) if isinstance(drawn, hv.Layout) else [drawn]
    elements = [e for panel in panels for e in _elements(hv, panel)]
    return any(type(e).__name__ in _PICTURES for e in elements)


def _side_by_side(hv: Any, plots: Mapping[str, Any]) -> Any:
    rows = [
        list(drawn) if isinstance(drawn, hv.Layout) else [drawn]
        for drawn in plots.values()
    ]
    panels = [
        panel.opts(title=as_title(name))
        for name, row in zip(plots, rows, strict=True)
        for panel in row
    ]
    return hv.Layout(panels).cols(max(len(row) for row in rows))


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
    """Join results along ``sample``; rows that a sample lacks are missing values.

    A coordinate on another dimension that differs between samples lies on both.
    """
    parts: list[Any] = [
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


def colours_of(result: xr.DataArray | xr.Dataset) -> list[int]:
    """Return the number of each component's colour in the palette."""
    names = [str(name) for name in result["component"].values]
    held = _held(result)
    free = (number for number in count() if number not in held.values())
    return [held[name] if name in held else next(free) for name in names]


def keep_colours(
    result: xr.Dataset, before: xr.Dataset, renamed: Mapping[str, str]
) -> xr.Dataset:
    """Give the components that are known from the step before their colours in it.

    Parameters
    ----------
    result
        The new step; its attributes are changed.
    before
        The step before.
    renamed
        New names of components, and their names in the step before.
    """
    names = [str(name) for name in before["component"].values]
    colour = dict(zip(names, colours_of(before), strict=True))
    fixed = before["fixed"].values
    known = {name: name for name, held in zip(names, fixed, strict=True) if held}
    known = {n: o for n, o in known.items() if o not in renamed.values()}
    held = {n: colour[o] for n, o in (known | dict(renamed)).items()}
    result.attrs[_HELD] = json.dumps(held)
    return result


def _held(result: xr.DataArray | xr.Dataset) -> dict[str, int]:
    """Return the colours of the step before; none where the text is not ours."""
    try:
        held = json.loads(str(result.attrs.get(_HELD, "{}")))
        return {str(name): int(number) for name, number in held.items()}
    except (AttributeError, RecursionError, TypeError, ValueError):
        return {}
