"""What all plots share: hvplot without the internet, colours, axis labels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

from batteryxr.core.optional import unchanged_process

if TYPE_CHECKING:
    import holoviews
    import xarray as xr

    class Holoviews(Protocol):
        """What plots use of holoviews."""

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


#: Colours of components, clusters and curves, told apart by colour-blind readers too
#: (Okabe and Ito, then Tol).
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#000000", "#999933", "#882255", "#44AA99"),
)

#: Colours of the branches of a cycle.
BRANCH_COLOURS = {"charge": "#D55E00", "discharge": "#0072B2", "rest": "#7f8c8d"}

#: What has no branch, and what only frames a plot.
NEUTRAL = "#555555"


#: What Bokeh takes for the begin or end of a formula.
_FORMULA = re.compile(r"(\$)(?=\$)|(\\)(?=[\[\]()])")


def plain(text: str) -> str:
    """Return a text in which Bokeh finds no formula.

    For one it loads and runs a script from the internet, whoever wrote the text: a word
    joiner, which is not seen, parts the signs.
    """
    return _FORMULA.sub("\\g<0>\u2060", text)


def as_title(text: str) -> str:
    """Return a text as a title that is shown as it stands.

    Holoviews fills in what it finds between braces.
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
    """Return the label of an axis, such as ``"Voltage (V)"``.

    Parameters
    ----------
    array
        Its ``long_name`` (else its name) and ``units`` are used; units of 1 are not
        written.
    words
        Words in place of its long name.
    """
    words = words or str(array.attrs.get("long_name", array.name))
    units = str(array.attrs.get("units", "1"))
    return plain(words if units in ("1", "") else f"{words} ({units})")


def dimension(
    array: xr.DataArray, name: str = "", words: str = ""
) -> holoviews.Dimension:
    """Return holoviews' dimension of an array, labelled by `axis_label`."""
    import holoviews as hv

    return hv.Dimension(name or str(array.name), label=axis_label(array, words))


def load_hvplot() -> Holoviews:
    """Import hvplot with its script served from this machine; return holoviews.

    Panel before 1.10 takes BokehJS from the internet unless it is embedded before
    hvplot is imported; later versions are served by Jupyter itself.
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
