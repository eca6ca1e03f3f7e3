"""Draw a Bokeh figure with Matplotlib: lines, points, bands, bars and images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import DataError
from batteryxr.core.units import with_power

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DASHES: dict[Any, Any] = {
    "solid": "-",
    "dashed": "--",
    "dotted": ":",
    "dotdash": "-.",
    "dashdot": "-.",
}
_MARKERS = {
    "circle": "o", "square": "s", "x": "x", "cross": "+", "triangle": "^",
    "inverted_triangle": "v", "diamond": "D", "star": "*", "asterisk": "*",
    "dot": ".", "plus": "P", "hex": "h",
}  # fmt: skip
#: Points of type per screen pixel.
_POINT = 72 / 96
#: Screen pixels for the labels beside a frame.
_MARGIN = 60
#: Days per millisecond: Bokeh's dates are in milliseconds, Matplotlib's in days.
_DAY = 1 / 86_400_000


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
        brush = _Brush(ax, scale, _is_of_dates(figure), _factors(figure))
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


class _Brush:
    """Draw Bokeh's glyphs and annotations."""

    def __init__(
        self, ax: Any, scale: float, dates: bool, factors: list[str] | None
    ) -> None:
        self.ax, self.scale, self.dates = ax, scale * _POINT, dates
        self.factors = factors
        self.drawn: dict[str, Any] = {}

    def layer(self, renderer: Any) -> None:
        """Draw a glyph with its data."""
        glyph = getattr(renderer, "glyph", None)
        if glyph is None:
            return self.annotation(renderer)
        kind = type(glyph).__name__
        draw: Callable[[Any, Any], Any] | None = getattr(self, f"_{kind.lower()}", None)
        if draw is None:
            raise DataError(
                "plot",
                f"a {kind} cannot be saved as a figure yet",
                "Save it by the tool bar of the plot.",
            )
        if {renderer.x_range_name, renderer.y_range_name} != {"default"}:
            raise DataError(
                "plot",
                "a second axis cannot be saved as a figure yet",
                "Save it by the tool bar of the plot.",
            )
        self.drawn[renderer.id] = draw(glyph, renderer.data_source.data)
        return None

    def annotation(self, model: Any) -> None:
        """Draw a span, a box, a whisker, a text or a colour bar."""
        draw = getattr(self, f"_{type(model).__name__.lower()}", None)
        if draw is not None:
            draw(model, getattr(getattr(model, "source", None), "data", {}))

    def _line(self, glyph: Any, data: Any) -> Any:
        x, y = self._x(_column(glyph.x, data)), _column(glyph.y, data)
        (line,) = self.ax.plot(x, y, **self._stroke(glyph), zorder=2)
        return line

    def _multiline(self, glyph: Any, data: Any) -> Any:
        lines = None
        for x, y in zip(_column(glyph.xs, data), _column(glyph.ys, data), strict=True):
            lines = self.ax.plot(self._x(x), y, **self._stroke(glyph), zorder=2)[0]
        return lines

    def _step(self, glyph: Any, data: Any) -> Any:
        where = {"before": "pre", "after": "post", "center": "mid"}[glyph.mode]
        x, y = self._x(_column(glyph.x, data)), _column(glyph.y, data)
        return self.ax.step(x, y, where=where, **self._stroke(glyph))[0]

    def _scatter(self, glyph: Any, data: Any) -> Any:
        x, y = self._x(_column(glyph.x, data)), _column(glyph.y, data)
        size = np.asarray(_column(glyph.size, data), float) * self.scale
        marker = _MARKERS.get(str(_plain(glyph.marker)), "o")
        colours = _colours(glyph.fill_color, data)
        options: dict[str, Any] = {"c": colours} if colours is not None else {}
        if colours is None:
            face = _paint(glyph.fill_color, glyph.fill_alpha)
            edge = _paint(glyph.line_color, glyph.line_alpha)
            lined = marker in ("x", "+")
            options = (
                {"color": edge} if lined else {"facecolor": face, "edgecolor": edge}
            )
        width = float(_plain(glyph.line_width)) * self.scale
        return self.ax.scatter(
            x, y, s=size**2, marker=marker, linewidths=width, zorder=3, **options
        )

    _circle = _scatter

    def _patch(self, glyph: Any, data: Any) -> Any:
        x, y = self._x(_column(glyph.x, data)), _column(glyph.y, data)
        return self.ax.fill(x, y, **self._fill(glyph), zorder=1)[0]

    def _patches(self, glyph: Any, data: Any) -> Any:
        patch = None
        for x, y in zip(_column(glyph.xs, data), _column(glyph.ys, data), strict=True):
            patch = self.ax.fill(self._x(x), y, **self._fill(glyph), zorder=1)[0]
        return patch

    def _varea(self, glyph: Any, data: Any) -> Any:
        x = self._x(_column(glyph.x, data))
        low, high = _column(glyph.y1, data), _column(glyph.y2, data)
        face = _paint(glyph.fill_color, glyph.fill_alpha)
        return self.ax.fill_between(x, low, high, color=face, linewidth=0, zorder=1)

    def _segment(self, glyph: Any, data: Any) -> Any:
        x0, x1 = self._x(_column(glyph.x0, data)), self._x(_column(glyph.x1, data))
        y0, y1 = _column(glyph.y0, data), _column(glyph.y1, data)
        pairs = np.stack([np.stack([x0, y0], -1), np.stack([x1, y1], -1)], 1)
        return self._lines(pairs, self._stroke(glyph))

    def _vbar(self, glyph: Any, data: Any) -> Any:
        x, top = _column(glyph.x, data), _column(glyph.top, data)
        bottom = np.broadcast_to(_column(glyph.bottom, data), np.shape(top))
        width = float(np.mean(_column(glyph.width, data)))
        colours = _colours(glyph.fill_color, data)
        face = colours if colours is not None else _paint(glyph.fill_color, 1.0)
        heights = np.asarray(top, float) - bottom
        return self.ax.bar(self._x(x), heights, width, bottom, color=face, zorder=2)

    def _quad(self, glyph: Any, data: Any) -> Any:
        from matplotlib.collections import PatchCollection
        from matplotlib.patches import Rectangle

        left, right = (
            self._x(_column(glyph.left, data)),
            self._x(_column(glyph.right, data)),
        )
        low, high = _column(glyph.bottom, data), _column(glyph.top, data)
        boxes = [
            Rectangle((a, c), b - a, d - c)
            for a, b, c, d in zip(left, right, low, high, strict=True)
        ]
        found = PatchCollection(boxes, linewidths=0, zorder=1, rasterized=True)
        colours = _colours(glyph.fill_color, data)
        found.set_facecolor(
            _paint(glyph.fill_color, 1.0) if colours is None else colours
        )
        return self.ax.add_collection(found)

    def _image(self, glyph: Any, data: Any) -> Any:
        mapper = glyph.color_mapper
        image = None
        names = ("image", "x", "y", "dw", "dh")
        columns = [_column(getattr(glyph, name), data) for name in names]
        count = len(columns[0])
        for values, x, y, dw, dh in zip(
            *(np.broadcast_to(c, count) if np.ndim(c) == 0 else c for c in columns),
            strict=True,
        ):
            image = self.ax.imshow(
                np.ma.masked_invalid(values), origin="lower", aspect="auto",
                extent=(x, x + dw, y, y + dh), interpolation="nearest", zorder=0,
                **_mapping(mapper, values),
            )  # fmt: skip
        return image

    def _vspan(self, glyph: Any, data: Any) -> Any:
        for x in np.atleast_1d(_column(glyph.x, data)):
            self.ax.axvline(self._x(x), **self._stroke(glyph))

    def _hspan(self, glyph: Any, data: Any) -> Any:
        for y in np.atleast_1d(_column(glyph.y, data)):
            self.ax.axhline(y, **self._stroke(glyph))

    def _vstrip(self, glyph: Any, data: Any) -> Any:
        ends = _column(glyph.x0, data), _column(glyph.x1, data)
        for a, b in zip(*map(np.atleast_1d, ends), strict=True):
            self.ax.axvspan(self._x(a), self._x(b), **self._fill(glyph), zorder=0)

    def _hstrip(self, glyph: Any, data: Any) -> Any:
        ends = _column(glyph.y0, data), _column(glyph.y1, data)
        for a, b in zip(*map(np.atleast_1d, ends), strict=True):
            self.ax.axhspan(a, b, **self._fill(glyph), zorder=0)

    def _text(self, glyph: Any, data: Any) -> Any:
        columns = (_column(glyph.x, data), _column(glyph.y, data))
        texts = np.atleast_1d(_column(glyph.text, data))
        for x, y, text in zip(*map(np.atleast_1d, columns), texts, strict=True):
            self.ax.text(
                self._x(x), y, _literal(text), ha=str(_plain(glyph.text_align)),
                va="center", color=_paint(glyph.text_color, 1.0),
            )  # fmt: skip

    def _span(self, model: Any, data: Any) -> None:
        across = model.dimension == "height"
        line = self.ax.axvline if across else self.ax.axhline
        place = self._x(model.location) if across else model.location
        if place is not None:
            line(place, **self._stroke(model))

    def _boxannotation(self, model: Any, data: Any) -> None:
        left, right, low, high = model.left, model.right, model.bottom, model.top
        if _is_number(left) and _is_number(right) and not _is_number(low):
            self.ax.axvspan(
                self._x(left), self._x(right), **self._fill(model), zorder=0
            )
        elif _is_number(low) and _is_number(high) and not _is_number(left):
            self.ax.axhspan(low, high, **self._fill(model), zorder=0)

    def _whisker(self, model: Any, data: Any) -> None:
        base = np.asarray(_column(model.base, data))
        low, high = _column(model.lower, data), _column(model.upper, data)
        if model.dimension == "height":
            base = self._x(base)
            ends = np.stack([base, low], -1), np.stack([base, high], -1)
        else:
            ends = np.stack([low, base], -1), np.stack([high, base], -1)
        self._lines(np.stack(ends, 1), self._stroke(model))

    def _colorbar(self, model: Any, data: Any) -> None:
        from matplotlib.cm import ScalarMappable

        mapper, scale = model.color_mapper, None
        if _is_number(mapper.low) and _is_number(mapper.high):
            scale = ScalarMappable(**_mapping(mapper, (mapper.low, mapper.high)))
        elif images := [d for d in self.drawn.values() if hasattr(d, "cmap")]:
            scale = images[-1]
        if scale is None:
            return
        look = {"ax": self.ax, "label": _literal(model.title)}
        if type(mapper).__name__ == "LinearColorMapper":
            look["format"] = _numbers()
        bar = self.ax.figure.colorbar(scale, **look)
        if at := getattr(model.ticker, "ticks", None):
            bar.set_ticks(list(at), labels=_tick_words(model, at))
            bar.minorticks_off()

    def _grid(self, model: Any, data: Any) -> None:
        if model.grid_line_color is not None:
            paint = _paint(model.grid_line_color, model.grid_line_alpha)
            width = float(model.grid_line_width) * self.scale
            self.ax.set_axisbelow(True)
            self.ax.grid(True, axis="xy"[model.dimension], color=paint, linewidth=width)

    def _lines(self, pairs: Any, stroke: dict[str, Any]) -> Any:
        from matplotlib.collections import LineCollection

        stroke = {f"{k}s": v for k, v in stroke.items()}
        return self.ax.add_collection(LineCollection(pairs, **stroke, zorder=2))

    def _stroke(self, model: Any) -> dict[str, Any]:
        dash = model.line_dash
        dash = tuple(dash) if isinstance(dash, list | tuple) else str(_plain(dash))
        width = float(_plain(model.line_width)) * self.scale
        style = _DASHES.get(dash)
        if style is None:
            style = (
                (0, [d / 2 for d in dash]) if isinstance(dash, tuple) and dash else "-"
            )
        return {
            "color": _paint(model.line_color, model.line_alpha),
            "linewidth": width,
            "linestyle": style,
        }

    def _fill(self, model: Any) -> dict[str, Any]:
        edge = _paint(model.line_color, model.line_alpha)
        return {
            "facecolor": _paint(model.fill_color, model.fill_alpha),
            "edgecolor": edge,
            "linewidth": float(_plain(model.line_width)) * self.scale,
        }

    def moment(self, at: Any) -> float:
        """Return a number or a time of Bokeh's as a number of Matplotlib's."""
        return float(self._x(at if _is_number(at) else np.datetime64(at)))

    def _x(self, values: Any) -> Any:
        if self.factors is not None:
            places = {name: k + 0.5 for k, name in enumerate(self.factors)}
            texts = np.atleast_1d(np.asarray(values, dtype=object))
            found = np.array([places.get(v, v) for v in texts], float)
            return found if np.ndim(values) else found[0]
        array = np.asarray(values)
        if array.dtype.kind == "M":
            array = array.astype("datetime64[us]").astype(np.int64) / 1000
        elif not self.dates:
            return values
        return np.asarray(array, float) * _DAY


def _plain(spec: Any) -> Any:
    """Return the value of a Bokeh specification; fields stay as they are."""
    return getattr(spec, "value", spec) if not isinstance(spec, dict) else spec


def _column(spec: Any, data: Any) -> Any:
    """Return the column of data that a glyph uses, or its constant value."""
    if isinstance(spec, dict):
        spec = spec.get("field", spec.get("value"))
    name = getattr(spec, "field", spec)
    if isinstance(name, str) and name in data:
        found = data[name]
        return found if isinstance(found, list) else np.asarray(found)
    return _plain(spec)


def _colours(spec: Any, data: Any) -> Any:
    """Return a colour for each glyph, or None if all share one."""
    from matplotlib.colors import to_rgba_array

    transform = getattr(spec, "transform", None)
    name = getattr(spec, "field", None if not isinstance(spec, str) else spec)
    if not isinstance(name, str) or name not in data:
        return None
    values = np.asarray(data[name])
    if transform is not None and not hasattr(transform, "factors"):
        how = _mapping(transform, values)
        return how["cmap"](how["norm"](np.ma.masked_invalid(values.astype(float))))
    if transform is not None:
        palette = dict(zip(transform.factors, transform.palette, strict=False))
        return to_rgba_array([palette.get(v, "grey") for v in values])
    return to_rgba_array(list(values)) if values.dtype.kind in "OU" else None


def _mapping(mapper: Any, values: Any) -> dict[str, Any]:
    """Return Matplotlib's colour map and norm for a Bokeh mapper."""
    from matplotlib.colors import ListedColormap, LogNorm, Normalize

    colours: Any = ListedColormap(list(mapper.palette))
    if mapper.nan_color is not None:
        colours = colours.with_extremes(bad=_paint(mapper.nan_color, 1.0))
    seen = np.asarray(values, float)
    low = mapper.low if mapper.low is not None else np.nanmin(seen)
    high = mapper.high if mapper.high is not None else np.nanmax(seen)
    norm = LogNorm if type(mapper).__name__ == "LogColorMapper" else Normalize
    return {"cmap": colours, "norm": norm(float(low), float(high))}


def _paint(colour: Any, alpha: Any) -> Any:
    """Return a colour with its opacity."""
    from matplotlib.colors import to_rgba

    colour, strength = _plain(colour), _plain(alpha)
    if colour is None or isinstance(colour, dict):
        return "none"
    if isinstance(colour, tuple | list):
        parts = [c / 255 for c in colour[:3]]
        return (*parts, colour[3] if len(colour) > 3 else float(strength))
    colour = str(colour)
    if colour.startswith("rgba("):
        numbers = [float(n) for n in colour[5:-1].split(",")]
        return (*(n / 255 for n in numbers[:3]), numbers[3])
    if len(colour) == 9 and colour.startswith("#"):
        return to_rgba(colour)
    return to_rgba(colour, float(strength if strength is not None else 1.0))


def _axes(ax: Any, figure: Any, brush: _Brush) -> None:
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
            ax.set_xticks(places, [*map(_literal, brush.factors)])
        elif which == "x" and brush.dates and start is not None:
            ax.set_xlim(*(brush.moment(at) for at in (start, end)))
        elif _is_number(start) and _is_number(end):
            getattr(ax, f"set_{which}lim")(start, end)
        if type(scale).__name__ == "LogScale":
            _plain_numbers(getattr(ax, f"{which}axis"))
        elif not (which == "x" and (brush.dates or brush.factors is not None)):
            getattr(ax, f"{which}axis").set_major_formatter(_numbers())
        for axis in list(axes)[:1]:
            getattr(ax, f"set_{which}label")(_literal(axis.axis_label))
            ticks = getattr(axis.ticker, "ticks", None)
            if ticks:
                getattr(ax, f"set_{which}ticks")(list(ticks), _tick_words(axis, ticks))
            if not bool(axis.visible):
                getattr(ax, f"{which}axis").set_visible(False)
    if brush.dates:
        from matplotlib.dates import ConciseDateFormatter

        ax.xaxis_date()
        concise: Any = ConciseDateFormatter
        ax.xaxis.set_major_formatter(concise(ax.xaxis.get_major_locator()))
    title = _literal(getattr(figure.title, "text", None))
    if title:
        ax.set_title(title)
    named = list(_legend(figure, brush))
    if named:
        handles, texts = zip(*named, strict=True)
        _place_legend(ax, figure, handles, texts)


def _tick_words(axis: Any, ticks: Any) -> list[str] | None:
    """Return the words that an axis has at its ticks, or None where it has numbers."""
    words = {float(k): v for k, v in dict(axis.major_label_overrides).items()}
    labels = [_literal(words.get(float(t))) for t in ticks]
    return labels if all(labels) else None


def _place_legend(ax: Any, figure: Any, handles: Any, texts: Any) -> None:
    """Draw a legend on the side that it has on the screen, else where room is."""
    spec, room = ax.get_subplotspec(), {}
    alone = spec.get_gridspec().ncols == 1
    for side, models, ends in (
        ("upper", figure.above, spec.is_first_row()),
        ("lower", figure.below, spec.is_last_row()),
    ):
        legend = next(filter(_is_legend, models), None)
        if legend is not None and alone and ends:
            columns = legend.ncols if isinstance(legend.ncols, int) else len(texts)
            columns = min(columns, _fitting(ax, max(map(len, texts))))
            place = {"loc": f"outside {side} center", "ncols": columns}
            ax.figure.legend(handles, texts, **place)
            return
    if any(map(_is_legend, figure.right)):
        room = {"loc": "upper left", "bbox_to_anchor": (1, 1)}
    ax.legend(handles, texts, **room)


def _fitting(ax: Any, letters: int) -> int:
    """Return how many columns of a legend are no wider than the figure."""
    from matplotlib import rcParams

    across = 72 * ax.figure.bbox.width / ax.figure.dpi
    return max(1, int(across / (float(rcParams["font.size"]) * (0.6 * letters + 4))))


def _is_legend(model: Any) -> bool:
    return type(model).__name__ == "Legend"


def _numbers() -> Any:
    """Return the writer of an axis, whose common power of ten is as in print."""
    from matplotlib.ticker import ScalarFormatter

    class Numbers(ScalarFormatter):
        """Write × 10⁻⁵ above an axis, not 1e-5."""

        def get_offset(self) -> str:
            text = with_power(str(super().get_offset()).replace("\N{MINUS SIGN}", "-"))
            return text.removeprefix("1 ")

    return Numbers()


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
        axis.set_major_formatter(_numbers())
        axis.set_minor_locator(NullLocator())


def _legend(figure: Any, brush: _Brush) -> Iterator[tuple[Any, str]]:
    seen = set()
    models = (*figure.center, *figure.right, *figure.left, *figure.above, *figure.below)
    for legend in (m for m in models if type(m).__name__ == "Legend" and m.visible):
        for item in legend.items:
            if getattr(item.label, "field", None):
                yield from _named_colours(item)
                continue
            text = _literal(_plain(item.label))
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
        texts = [_literal(v) for v in data[item.label.field]]
        colours = _colours(glyph.fill_color, data)
        if colours is None:
            colours = [_paint(glyph.fill_color, glyph.fill_alpha)] * len(texts)
        for text, colour in dict(zip(texts, colours, strict=True)).items():
            yield Patch(facecolor=colour), text


def _literal(text: Any) -> str:
    """Return a text that Matplotlib does not read as a formula."""
    return str(text or "").replace("$", r"\$")


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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and np.isfinite(value)


def _level(renderer: Any) -> int:
    return {"image": 0, "underlay": 1, "glyph": 2, "guide": 3, "annotation": 4}.get(
        str(getattr(renderer, "level", "glyph")), 5
    )
