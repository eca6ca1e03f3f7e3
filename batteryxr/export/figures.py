"""Save plots as figures for papers: svg, pdf and png, without a browser.

A plot is read from its Bokeh figure, so that colours, lines and sizes match the
screen, and drawn by Matplotlib.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.core.files import whole_file
from batteryxr.core.optional import require
from batteryxr.core.plotting import load_hvplot
from batteryxr.export.drawing import Axes, panels_of

if TYPE_CHECKING:
    import os

#: Widths of one and of two columns, mm.
JOURNALS = {
    "nature": (89.0, 183.0),
    "science": (57.0, 121.0),
    "acs": (84.7, 177.8),
    "rsc": (83.0, 171.0),
    "wiley": (85.0, 178.0),
    "elsevier": (90.0, 190.0),
    "aps": (86.0, 178.0),
    "iop": (85.0, 170.0),
}
_ENDINGS = (".svg", ".pdf", ".png")
_MM = 25.4
#: Screen pixels per inch, as in browsers.
_SCREEN = 96.0
#: Dots per inch of pictures, and sizes of type in points.
_DOTS = 300
_POINTS, _SCREEN_POINTS = 8.0, 9.0
#: Colour of axes and text.
_INK = "#333333"


@checked
def save_figure(
    result: Any,
    path: str | os.PathLike[str],
    *,
    width: str | float | None = None,
    overwrite: bool = False,
) -> Path:
    """Save a plot as svg, pdf or png, as it looks on the screen.

    Needs neither a browser nor the internet.

    Parameters
    ----------
    result
        Plot from a ``plot`` method of batteryxr, or a list of plots, which become one
        figure with the letters a, b, c.
    path
        Path of the file, ending in ``.svg``, ``.pdf`` or ``.png`` (300 dots per inch).
    width
        Width of the figure in mm, or a journal column by name: ``"nature"``,
        ``"acs double"``. Type is then 8 points at any width. By default the size is
        that on the screen.
    overwrite
        Replace an existing file.

    Returns
    -------
    pathlib.Path
        The figure; the file is written completely or not at all.

    Raises
    ------
    ArgumentError
        If the file's ending or the width is not known, or `result` is no plot.
    DataError
        If `result` is a surface in space, which saves itself.
    StoreError
        If the file exists and `overwrite` is False, or it cannot be written.
    MissingDependencyError
        If Matplotlib is not installed (extra ``figures``).

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> plot = record.echem.plot.voltage_profile()
    >>> batteryxr.save_figure(plot, "profile.pdf", width="nature").name
    'profile.pdf'
    """
    require("matplotlib", extra="figures", purpose="saving figures")
    several = isinstance(result, Sequence) and not isinstance(result, str)
    parts = [panels_of(_rendered(part)) for part in (result if several else [result])]
    path = Path(path)
    if path.suffix.lower() not in _ENDINGS:
        raise ArgumentError(
            "path", str(path), f"a name that ends in {', '.join(_ENDINGS)}"
        )
    inches = _width(width)
    from matplotlib import rc_context

    with whole_file(path, overwrite=overwrite) as new, rc_context(_style(inches)):
        _draw(parts, inches, letters=several).savefig(new, dpi=_dots(inches))
    return path


def _style(inches: float | None) -> Any:
    """Return Matplotlib's settings: text stays text, in one size."""
    type_size = _SCREEN_POINTS if inches is None else _POINTS
    return {
        "font.size": type_size, "axes.titlesize": type_size, "axes.linewidth": 0.6,
        "axes.edgecolor": _INK, "axes.labelcolor": _INK, "xtick.color": _INK,
        "ytick.color": _INK, "legend.fancybox": False, "legend.edgecolor": "#cccccc",
        "patch.linewidth": 0.6,
        "font.family": "sans-serif",
        "svg.fonttype": "none", "pdf.fonttype": 42, "axes.formatter.useoffset": False,
    }  # fmt: skip


def _dots(inches: float | None) -> float:
    """Return dots per inch: two for each screen pixel, or the print resolution."""
    return 2 * _SCREEN if inches is None else _DOTS


def _width(width: str | float | None) -> float | None:
    """Return a width in inches."""
    if width is None:
        return None
    if isinstance(width, str):
        journal, _, column = width.strip().lower().partition(" ")
        if journal not in JOURNALS or column not in ("", "single", "double"):
            raise ArgumentError(
                "width",
                width,
                f"mm, or one of {', '.join(JOURNALS)}, with 'double' for two columns",
            )
        return JOURNALS[journal][column == "double"] / _MM
    if not 10 <= width <= 1000:
        raise ArgumentError("width", width, "between 10 and 1000 mm")
    return width / _MM


def _rendered(plot: Any) -> Any:
    """Return the Bokeh model of a plot."""
    hv = load_hvplot()
    if hasattr(plot, "references") and hasattr(plot, "document"):
        return plot  # already a Bokeh model
    if hasattr(plot, "write_html"):
        raise DataError(
            "result",
            "is a surface in space, which plotly draws and saves itself",
            "Write `plot.write_html('surface.html')`, press the camera in its tool bar "
            "for a png, or `plot.write_image('surface.pdf')` with the package kaleido.",
        )
    try:
        return hv.render(plot, backend="bokeh")
    except Exception as error:
        raise ArgumentError(
            "result", plot, "what a plot method of batteryxr returned"
        ) from error


def _draw(parts: list[list[list[Axes]]], inches: float | None, letters: bool) -> Any:
    """Return a Matplotlib figure with rows of panels.

    Rows of panels of the same widths share their edges.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for part in parts for row in part]
    firsts = {id(part[0][0]): "abcdefghijklmnopqrstuvwxyz"[k % 26]
              for k, part in enumerate(parts)}  # fmt: skip
    screen = max(sum(_widths(row)) for row in rows) / _SCREEN
    scale = 1.0 if inches is None else inches / screen
    height = sum(max(panel.height for panel in row) for row in rows) / _SCREEN
    figure = Figure((screen * scale, height * scale), layout="constrained")
    FigureCanvasAgg(figure)
    blocks = [list(rows) for _, rows in groupby(rows, _widths)]
    heights = [[max(panel.height for panel in row) for row in b] for b in blocks]
    bands = figure.subfigures(
        len(blocks), 1, height_ratios=[sum(h) for h in heights], squeeze=False
    )[:, 0]
    for band, block, high in zip(bands, blocks, heights, strict=True):
        wide = _widths(block[0])
        if (spare := screen * _SCREEN - sum(wide)) > sum(wide):
            wide = [*wide, spare]  # few panels are not drawn out to a whole row
        grid = band.subplots(
            len(block), len(wide), width_ratios=wide, height_ratios=high, squeeze=False
        )
        for ax in grid[:, len(block[0]) :].flat:
            ax.set_axis_off()
        drawn = grid[:, : len(block[0])].flat
        for ax, panel in zip(drawn, chain(*block), strict=True):
            panel.draw(ax, 1.0 if inches is None else min(1.0, scale))
            if letters and id(panel) in firsts:
                ax.set_title(firsts[id(panel)], loc="left", fontweight="bold")
    free = inches is not None or any(not p.figure.height for p in chain(*rows))
    if free and (extra := _beside(bands, figure)):
        figure.set_size_inches(screen * scale, height * scale + extra)
    return figure


def _beside(bands: Any, figure: Any) -> float:
    """Return the height of the legends above and below the frames, in inches."""
    boxes = [
        legend.get_window_extent(figure.canvas.get_renderer())
        for band in bands
        for legend in band.legends
    ]
    return float(sum(box.height for box in boxes) / figure.dpi)


def _widths(row: list[Axes]) -> list[float]:
    """Return the widths of a row of panels."""
    return [panel.width for panel in row]
