"""Descriptions of a figure for the browser: plain dictionaries, numbers as bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.units import written

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

#: Number of points above which a curve is thinned, as a screen shows no more.
_POINTS = 4000


def curve(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    colour: int | str = 0,
    spread: npt.ArrayLike | None = None,
    **style: Any,
) -> dict[str, Any]:
    """Return a curve; `style` may hold name, line, points, dotted, pick, drag..."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    step = 1 if style.get("points") else max(1, x.size // _POINTS)
    made = {"x": x[::step].tobytes(), "y": y[::step].tobytes(), "colour": colour}
    if spread is not None:
        made["spread"] = np.asarray(spread, dtype=np.float64)[::step].tobytes()
    return made | style


def lines_plot(
    key: str,
    title: str,
    xlabel: str,
    ylabel: str,
    series: list[dict[str, Any]],
    **options: Any,
) -> dict[str, Any]:
    """Return a plot of curves; `options`: ylog, equal, pick, brush, link, wide..."""
    made = {"kind": "lines", "id": key, "title": title, "xlabel": xlabel}
    return made | {"ylabel": ylabel, "series": series} | options


def image_plot(
    key: str,
    title: str,
    values: np.ndarray,
    low: float,
    high: float,
    *,
    units: str = "",
    palette: str = "viridis",
) -> dict[str, Any]:
    """Return a picture on a colour scale from `low` to `high`."""
    return {
        "kind": "image",
        "id": key,
        "title": title,
        "shape": list(values.shape),
        "values": values.astype(np.float32).tobytes(),
        "low": float(low),
        "high": float(high),
        "units": "" if units == "1" else written(units),
        "palette": palette,
    }


def title_of(array: xr.DataArray) -> str:
    """Return the long name of an array with its units, for an axis."""
    text = str(array.attrs.get("long_name", array.name or ""))
    units = str(array.attrs.get("units", "1"))
    return text if units in ("1", "") else f"{text} ({written(units)})"
