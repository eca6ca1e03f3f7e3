"""Draw the glyphs and annotations of Bokeh with Matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import DataError
from batteryxr.core.units import with_power

if TYPE_CHECKING:
    from collections.abc import Callable

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
#: Days per millisecond: Bokeh's dates are in milliseconds, Matplotlib's in days.
_DAY = 1 / 86_400_000


class Brush:
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
        marker = _MARKERS.get(str(plain(glyph.marker)), "o")
        colours = colours_of(glyph.fill_color, data)
        options: dict[str, Any] = {"c": colours} if colours is not None else {}
        if colours is None:
            face = paint(glyph.fill_color, glyph.fill_alpha)
            edge = paint(glyph.line_color, glyph.line_alpha)
            lined = marker in ("x", "+")
            options = (
                {"color": edge} if lined else {"facecolor": face, "edgecolor": edge}
            )
        width = float(plain(glyph.line_width)) * self.scale
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
        face = paint(glyph.fill_color, glyph.fill_alpha)
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
        colours = colours_of(glyph.fill_color, data)
        face = colours if colours is not None else paint(glyph.fill_color, 1.0)
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
        colours = colours_of(glyph.fill_color, data)
        found.set_facecolor(
            paint(glyph.fill_color, 1.0) if colours is None else colours
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
                self._x(x), y, literal(text), ha=str(plain(glyph.text_align)),
                va="center", color=paint(glyph.text_color, 1.0),
            )  # fmt: skip

    def _span(self, model: Any, data: Any) -> None:
        across = model.dimension == "height"
        line = self.ax.axvline if across else self.ax.axhline
        place = self._x(model.location) if across else model.location
        if place is not None:
            line(place, **self._stroke(model))

    def _boxannotation(self, model: Any, data: Any) -> None:
        left, right, low, high = model.left, model.right, model.bottom, model.top
        if is_number(left) and is_number(right) and not is_number(low):
            self.ax.axvspan(
                self._x(left), self._x(right), **self._fill(model), zorder=0
            )
        elif is_number(low) and is_number(high) and not is_number(left):
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
        if is_number(mapper.low) and is_number(mapper.high):
            scale = ScalarMappable(**_mapping(mapper, (mapper.low, mapper.high)))
        elif images := [d for d in self.drawn.values() if hasattr(d, "cmap")]:
            scale = images[-1]
        if scale is None:
            return
        look = {"ax": self.ax, "label": literal(model.title)}
        if type(mapper).__name__ == "LinearColorMapper":
            look["format"] = numbers()
        bar = self.ax.figure.colorbar(scale, **look)
        if at := getattr(model.ticker, "ticks", None):
            bar.set_ticks(list(at), labels=tick_words(model, at))
            bar.minorticks_off()

    def _grid(self, model: Any, data: Any) -> None:
        if model.grid_line_color is not None:
            ink = paint(model.grid_line_color, model.grid_line_alpha)
            width = float(model.grid_line_width) * self.scale
            self.ax.set_axisbelow(True)
            self.ax.grid(True, axis="xy"[model.dimension], color=ink, linewidth=width)

    def _lines(self, pairs: Any, stroke: dict[str, Any]) -> Any:
        from matplotlib.collections import LineCollection

        stroke = {f"{k}s": v for k, v in stroke.items()}
        return self.ax.add_collection(LineCollection(pairs, **stroke, zorder=2))

    def _stroke(self, model: Any) -> dict[str, Any]:
        dash = model.line_dash
        dash = tuple(dash) if isinstance(dash, list | tuple) else str(plain(dash))
        width = float(plain(model.line_width)) * self.scale
        style = _DASHES.get(dash)
        if style is None:
            style = (
                (0, [d / 2 for d in dash]) if isinstance(dash, tuple) and dash else "-"
            )
        return {
            "color": paint(model.line_color, model.line_alpha),
            "linewidth": width,
            "linestyle": style,
        }

    def _fill(self, model: Any) -> dict[str, Any]:
        edge = paint(model.line_color, model.line_alpha)
        return {
            "facecolor": paint(model.fill_color, model.fill_alpha),
            "edgecolor": edge,
            "linewidth": float(plain(model.line_width)) * self.scale,
        }

    def moment(self, at: Any) -> float:
        """Return a number or a time of Bokeh's as a number of Matplotlib's."""
        return float(self._x(at if is_number(at) else np.datetime64(at)))

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


def plain(spec: Any) -> Any:
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
    return plain(spec)


def colours_of(spec: Any, data: Any) -> Any:
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
        colours = colours.with_extremes(bad=paint(mapper.nan_color, 1.0))
    seen = np.asarray(values, float)
    low = mapper.low if mapper.low is not None else np.nanmin(seen)
    high = mapper.high if mapper.high is not None else np.nanmax(seen)
    norm = LogNorm if type(mapper).__name__ == "LogColorMapper" else Normalize
    return {"cmap": colours, "norm": norm(float(low), float(high))}


def paint(colour: Any, alpha: Any) -> Any:
    """Return a colour with its opacity."""
    from matplotlib.colors import to_rgba

    colour, strength = plain(colour), plain(alpha)
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


def tick_words(axis: Any, ticks: Any) -> list[str] | None:
    """Return the words that an axis has at its ticks, or None where it has numbers."""
    words = {float(k): v for k, v in dict(axis.major_label_overrides).items()}
    labels = [literal(words.get(float(t))) for t in ticks]
    return labels if all(labels) else None


def literal(text: Any) -> str:
    """Return a text that Matplotlib does not read as a formula."""
    return str(text or "").replace("$", r"\$")


def is_number(value: Any) -> bool:
    """Tell whether a value is a finite number."""
    return isinstance(value, int | float | np.number) and np.isfinite(value)


def numbers() -> Any:
    """Return the writer of an axis, whose common power of ten is as in print."""
    from matplotlib.ticker import ScalarFormatter

    class Numbers(ScalarFormatter):
        """Write × 10⁻⁵ above an axis, not 1e-5."""

        def get_offset(self) -> str:
            text = with_power(str(super().get_offset()).replace("\N{MINUS SIGN}", "-"))
            return text.removeprefix("1 ")

    return Numbers()
