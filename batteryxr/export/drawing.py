"""Draw a Bokeh figure with Matplotlib: panels, axes and legends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import DataError
from batteryxr.export.brush import (
    Brush,
    colours_of,
    is_number,
    literal,
    numbers,
    paint,
    plain,
    tick_words,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Screen pixels for the labels beside a frame.
_MARGIN = 60


@dataclass(frozen=True)
class Axes:
    """Hold one pair of axes of a Bokeh figure."""

    figure: Any

    @property
    def width(self) -> float:
        """Return the width in screen pixels."""
        figure = self.figure
        beside = _MARGIN + 150 * any(map(_is_legend, figure.right))
        beside += 120 * any(type(m).__name__ == "ColorBar" for m in figure.right)
        frame = figure.frame_width
        return float(figure.width or (frame + beside if frame else 600))

    @property
    def height(self) -> float:
        """Return the height in screen pixels."""
        figure, title = self.figure, bool(getattr(self.figure.title, "text", ""))
        frame = figure.frame_height
        beside = _MARGIN + 25 * title  # a legend below is measured once it is drawn
        return float(figure.height or (frame + beside if frame else 400))

    def draw(self, ax: Any, scale: float) -> None:
        """Draw onto Matplotlib's axes, with lines and points scaled."""
        figure = self.figure
        brush = Brush(ax, scale, _is_of_dates(figure), _factors(figure))
        for layer in sorted(figure.renderers, key=_level):
            if getattr(layer, "visible", True):
                brush.layer(layer)
        for layer in (*figure.center, *figure.left, *figure.right):
            if getattr(layer, "visible", True):
                brush.annotation(layer)
        _axes(ax, figure, brush)
        if figure.frame_width and figure.frame_height:  # a picture keeps its shape
            ax.set_box_aspect(figure.frame_height / figure.frame_width)


def panels_of(model: Any) -> list[list[Axes]]:
    """Return the panels of a Bokeh model, row by row."""
    if hasattr(model, "renderers") and hasattr(model, "x_range"):
        return [[Axes(model)]]
    children = list(getattr(model, "children", ()))
    if children and isinstance(children[0], tuple | list):
        rows: dict[int, list[tuple[int, Any]]] = {}
        for child, row, column, *_ in children:
            rows.setdefault(row, []).append((column, child))
        return [
            [panel for _, child in sorted(row, key=lambda pair: pair[0])
             for line in panels_of(child) for panel in line]
            for _, row in sorted(rows.items())
        ]  # fmt: skip
    found = [panels_of(child) for child in children]
    if type(model).__name__ == "Row":
        flat = [panel for part in found for row in part for panel in row]
        return [flat] if flat else []
    return [row for part in found for row in part]


def _axes(ax: Any, figure: Any, brush: Brush) -> None:
    """Set ranges, scales, labels, ticks, title and legend."""
    for which, axes, bounds, scale in (
        ("x", figure.xaxis, figure.x_range, figure.x_scale),
        ("y", figure.yaxis, figure.y_range, figure.y_scale),
    ):
        if type(scale).__name__ == "LogScale":
            getattr(ax, f"set_{which}scale")("log")
        start, end = getattr(bounds, "start", None), getattr(bounds, "end", None)
        if which == "x" and brush.factors is not None:
            ax.set_xlim(0, len(brush.factors))
            places = np.arange(len(brush.factors)) + 0.5
            ax.set_xticks(places, [*map(literal, brush.factors)])
        elif which == "x" and brush.dates and start is not None:
            ax.set_xlim(*(brush.moment(at) for at in (start, end)))
        elif is_number(start) and is_number(end):
            getattr(ax, f"set_{which}lim")(start, end)
        if type(scale).__name__ == "LogScale":
            _plain_numbers(getattr(ax, f"{which}axis"))
        elif not (which == "x" and (brush.dates or brush.factors is not None)):
            getattr(ax, f"{which}axis").set_major_formatter(numbers())
        for axis in list(axes)[:1]:
            getattr(ax, f"set_{which}label")(literal(axis.axis_label))
            ticks = getattr(axis.ticker, "ticks", None)
            low, high = sorted(getattr(ax, f"get_{which}lim")())
            if ticks := [t for t in ticks or () if low <= t <= high]:
                getattr(ax, f"set_{which}ticks")(ticks, tick_words(axis, ticks))
            if not bool(axis.visible):
                getattr(ax, f"{which}axis").set_visible(False)
    if brush.dates:
        from matplotlib.dates import ConciseDateFormatter

        ax.xaxis_date()
        concise: Any = ConciseDateFormatter
        ax.xaxis.set_major_formatter(concise(ax.xaxis.get_major_locator()))
    title = literal(getattr(figure.title, "text", None))
    if title:
        ax.set_title(title)
    named = list(_legend(figure, brush))
    if named:
        handles, texts = zip(*named, strict=True)
        _place_legend(ax, figure, handles, texts)


def _place_legend(ax: Any, figure: Any, handles: Any, texts: Any) -> None:
    """Draw a legend on the side that it has on the screen, else where room is."""
    spec = ax.get_subplotspec()
    alone = spec.get_gridspec().ncols == 1
    for side, models, ends in (
        ("upper", figure.above, spec.is_first_row()),
        ("lower", figure.below, spec.is_last_row()),
    ):
        legend = next(filter(_is_legend, models), None)
        if legend is None:
            continue
        longest = max(map(len, texts))
        columns = legend.ncols if isinstance(legend.ncols, int) else len(texts)
        if alone and ends:
            columns = min(columns, _fitting(ax.figure.bbox.width, ax.figure, longest))
            place = {"loc": f"outside {side} center", "ncols": columns}
            ax.figure.legend(handles, texts, **place)
            return
        columns = min(columns, _fitting(ax.bbox.width, ax.figure, longest))
        _beside_frame(ax, side, ax.legend(handles, texts, ncols=columns, frameon=False))
        return
    room = {}
    if any(map(_is_legend, figure.right)):
        room = {"loc": "upper left", "bbox_to_anchor": (1, 1)}
    ax.legend(handles, texts, **room)


def _beside_frame(ax: Any, side: str, legend: Any) -> None:
    """Set the legend of one of several panels between its frame and its words."""
    canvas, figure = ax.figure.canvas.get_renderer(), ax.figure
    high = legend.get_window_extent(canvas).height * 72 / figure.dpi
    if side == "upper":
        legend.set_loc("lower left")
        legend.set_bbox_to_anchor((0, 1))
        ax.set_title(ax.get_title(), pad=high + 10)
    else:
        below = ax.bbox.y0 - ax.xaxis.get_tightbbox(canvas).y0
        legend.set_loc("upper left")
        legend.set_bbox_to_anchor((0, -below / ax.bbox.height))


def _fitting(width: float, figure: Any, letters: int) -> int:
    """Return how many columns of a legend are no wider than `width` dots."""
    from matplotlib import rcParams

    across = 72 * width / figure.dpi
    return max(1, int(across / (float(rcParams["font.size"]) * (0.6 * letters + 4))))


def _is_legend(model: Any) -> bool:
    return type(model).__name__ == "Legend"


def _plain_numbers(axis: Any) -> None:
    """Write the numbers of a logarithmic axis as they are, where it has few powers."""
    from matplotlib.ticker import (
        LogFormatterSciNotation,
        MaxNLocator,
        NullLocator,
    )

    class Written(LogFormatterSciNotation):
        """Write 0.04 and 300, and powers of ten for what is longer."""

        def __call__(self, x: float, pos: int | None = None) -> str:
            text = super().__call__(x, pos)
            return f"{x:g}" if text and 1e-4 <= x < 1e6 else str(text)

    low, high = sorted(axis.get_view_interval())
    if low > 0 and high < 100 * low:
        axis.set_major_formatter(Written(labelOnlyBase=False))
        axis.set_minor_formatter(Written(minor_thresholds=(2, 0.6)))
    if low > 0 and high < 10 * low:
        axis.set_major_locator(MaxNLocator(5))
        axis.set_major_formatter(numbers())
        axis.set_minor_locator(NullLocator())


def _legend(figure: Any, brush: Brush) -> Iterator[tuple[Any, str]]:
    seen = set()
    models = (*figure.center, *figure.right, *figure.left, *figure.above, *figure.below)
    for legend in (m for m in models if type(m).__name__ == "Legend" and m.visible):
        for item in legend.items:
            if getattr(item.label, "field", None):
                yield from _named_colours(item)
                continue
            text = literal(plain(item.label))
            artist = next(
                (brush.drawn[r.id] for r in item.renderers if brush.drawn.get(r.id)),
                None,
            )
            if text and artist is not None and text not in seen:
                seen.add(text)
                yield artist, text


def _named_colours(item: Any) -> Iterator[tuple[Any, str]]:
    """Yield a patch for each text in the column that defines a legend."""
    from matplotlib.patches import Patch

    for renderer in item.renderers[:1]:
        glyph, data = renderer.glyph, renderer.data_source.data
        texts = [literal(v) for v in data[item.label.field]]
        colours = colours_of(glyph.fill_color, data)
        if colours is None:
            colours = [paint(glyph.fill_color, glyph.fill_alpha)] * len(texts)
        for text, colour in dict(zip(texts, colours, strict=True)).items():
            yield Patch(facecolor=colour), text


def _factors(figure: Any) -> list[str] | None:
    """Return the texts of a categorical axis, or None for a numeric axis."""
    along, up = (getattr(r, "factors", None) for r in (figure.x_range, figure.y_range))
    if up is not None or not all(isinstance(f, str) for f in along or ()):
        raise DataError(
            "plot",
            "texts up an axis, or in groups, cannot be saved as a figure yet",
            "Save it by the tool bar of the plot.",
        )
    return None if along is None else list(along)


def _is_of_dates(figure: Any) -> bool:
    return any("Datetime" in type(axis).__name__ for axis in figure.xaxis)


def _level(renderer: Any) -> int:
    return {"image": 0, "underlay": 1, "glyph": 2, "guide": 3, "annotation": 4}.get(
        str(getattr(renderer, "level", "glyph")), 5
    )
