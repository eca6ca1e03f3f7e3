"""Plot a series as one picture, beside its voltage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError, DimensionError
from batteryxr.core.labels import OwnLabels
from batteryxr.core.model import require_dims, require_variables
from batteryxr.core.plotting import (
    NEUTRAL,
    axis_label,
    colour_bar,
    filling,
    load_hvplot,
)
from batteryxr.xanes.plot.ticks import ticks
from batteryxr.xanes.preparing.inputs import signal

if TYPE_CHECKING:
    import holoviews
    import xarray as xr

    from batteryxr.xanes.diffraction.instrument import Diffractometer
    from batteryxr.xanes.diffraction.lattices import Phase
    from batteryxr.xanes.spectra import Range

#: Pixels of the picture: no more rows than its height on the screen, so that each row
#: is drawn.
_ROWS, _COLUMNS = 340, 900
#: Longest filled interval between scans, in usual intervals.
_GAP = 4.0
_LABELS = 9
_HOURS = "Time (h)"
_HEIGHT = 420
_ENDS = (1, 99.5)


@checked
def plot_contour(
    spectra: xr.DataArray | xr.Dataset,
    *,
    record: Annotated[xr.Dataset | None, OwnLabels()] = None,
    by: str | None = None,
    kind: Literal["values", "difference"] = "values",
    limits: Range | None = None,
    candidates: Phase | None = None,
    instrument: Diffractometer | None = None,
    dim: str | None = None,
    cmap: str = "viridis",
) -> holoviews.Layout | holoviews.Overlay:
    """Plot a series as a picture, beside the voltage of its scans.

    Reads once.

    Parameters
    ----------
    spectra
        Spectra or patterns along ``scan`` (or ``state``), joined or attached to show
        the voltage.
    record
        Cycler data, for the whole voltage curve, with scans by "time".
    by
        Vertical axis: "time" (hours; the default if scans have it), "capacity",
        "li_content" or any coordinate. A coordinate that turns back labels the scans
        in their order.
    kind
        "values", or their "difference" from the first.
    limits
        Range of the axis to show.
    candidates
        CIF, crystal or cell whose reflections are marked.
    instrument
        A `Diffractometer` with the wavelength for these marks.
    dim
        Axis; default: the only one present.
    cmap
        Colours; for a difference they run from blue to red.

    Returns
    -------
    holoviews.Layout or holoviews.Overlay
        The picture, and the voltage to its right if scans have one.

    Raises
    ------
    DimensionError
        If there is no series, or more than one.
    ArgumentError
        If the coordinate `by` is missing, or scans with a record lack rising times.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> rows = cell["echem"].to_dataset()
    >>> scans = rows.echem.join(cell["scans"].to_dataset(), formula="LiNiO2", mass=7.0)
    >>> plot = scans["absorption"].xanes.plot.contour(record=rows)
    """
    hv = load_hvplot()
    array, along = signal(spectra, dim, caller="plot_contour")
    others = [str(d) for d in array.dims if d != along]
    if len(others) != 1:
        raise DimensionError(
            f"plot_contour shows one series; found {others}. Select one with .isel."
        )
    if limits is not None:
        array = array.sel({along: slice(*limits)})
        if array.sizes[along] < 2:
            raise ArgumentError("limits", limits, f"a range with points of {along}")
    (series,) = others
    array = array.transpose(series, along)
    values = np.asarray(array.values, dtype=np.float64)
    if kind == "difference":
        values = values - values[0]
    height, words, labels = _upward(array, series, by)
    if record is not None and (words != _HOURS or labels):
        raise ArgumentError(
            "record", record, "None, where scans are not shown by a `time` that rises"
        )
    picture, x, y = _picture(values, array[along].values, height)
    shown = values[np.isfinite(values)]
    low, high = np.percentile(shown, _ENDS) if shown.size else (0.0, 1.0)
    colours = {"cmap": cmap}
    if kind == "difference":
        high = max(abs(low), abs(high))
        low, colours = -high, {"cmap": "coolwarm"}
    text = axis_label(array) + (" - first" if kind == "difference" else "")
    axes = [axis_label(array[along]), words]
    image = hv.Image((x, y, picture), axes, text).opts(
        clim=(float(low), float(high if high > low else low + 1)),
        width=560,
        height=_HEIGHT,
        **colour_bar(text),
        **colours,
        **labels,
    )
    image = filling(image)
    if candidates is not None:
        image = image * ticks(hv, candidates, array[along], instrument, (y[0], y[-1]))
    if record is not None:
        volts = _curve(record, array)
    elif "voltage" in array.coords and array["voltage"].dims == (series,):
        volts = np.asarray(array["voltage"].values, float), height
    else:
        return image if isinstance(image, hv.Overlay) else hv.Overlay([image])
    side = hv.Curve((volts[0], volts[1]), "Voltage (V)", words)
    side = side.opts(color=NEUTRAL, width=200, height=_HEIGHT, **labels)
    return (image + side).cols(2)


def _upward(
    array: xr.DataArray, series: str, by: str | None
) -> tuple[np.ndarray, str, dict[str, Any]]:
    """Return a rising number for each scan, its name, and labels of the axis."""
    name = by or ("time" if "time" in array.coords else series)
    if name != series and name not in array.coords:
        raise ArgumentError("by", by, f"one of {sorted(map(str, array.coords))}")
    number = np.arange(array.sizes[series], dtype=float)
    if name not in array.coords:
        return number, series.capitalize(), {}
    if array[name].dims != (series,):
        raise ArgumentError("by", by, f"a coordinate on {series!r}")
    values = array[name].values
    if values.dtype.kind == "M":
        hours = (values - values.min()) / np.timedelta64(1, "h")
        values, words = hours.astype(float), _HOURS
    else:
        words = axis_label(array[name])
    if values.dtype.kind in "iuf":
        values = values.astype(float)
        if np.isfinite(values).all() and (np.diff(values) > 0).all():
            return values, words, {}
    where = np.unique(np.linspace(0, number.size - 1, _LABELS).astype(int))
    marks = [
        (int(k), f"{values[k]:.3g}" if values.dtype.kind == "f" else str(values[k]))
        for k in where
    ]
    return number, words, {"yticks": marks}


def _picture(
    values: np.ndarray, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return values on an even grid; gaps of the series stay empty.

    A row that stands for several scans shows the one that differs most from its
    neighbours, so that a single odd scan is not hidden.
    """
    n, m = min(_ROWS, max(len(y), 2) * 4), min(_COLUMNS, x.size)
    step = float(np.median(np.diff(y))) if y.size > 1 else 1.0
    up = np.linspace(y[0] - step / 2, y[-1] + step / 2, n + 1)
    up = 0.5 * (up[1:] + up[:-1])
    across = np.linspace(x[0], x[-1], m)
    # Take means of the points in each column, so that nothing narrow is lost.
    column = np.clip(np.rint((x - x[0]) / (x[-1] - x[0]) * (m - 1)), 0, m - 1)
    column = column.astype(int)
    present, first = np.unique(column, return_index=True)
    count = np.diff(np.append(first, x.size))
    means = np.add.reduceat(values, first, axis=1) / count
    if present.size < m:
        means = _filled(means, present, m)
    row = np.clip(np.searchsorted(y, up), 1, len(y) - 1) if len(y) > 1 else up * 0
    row = row.astype(int)
    if len(y) > 1:
        row -= (up - y[row - 1]) < (y[row] - up)
    away = np.abs(up - y[row])
    if len(y) > n:
        row = _oddest(means, np.searchsorted(0.5 * (up[1:] + up[:-1]), y), row)
    picture = means[row]
    picture[away > 0.5 * _GAP * step] = np.nan
    return picture, across, up


def _oddest(means: np.ndarray, home: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Return the scan to show in each row of pixels, among those with this `home`."""
    near = np.lib.stride_tricks.sliding_window_view(
        np.pad(np.arange(len(means)), 2, "edge"), 5
    )
    odd = np.empty(len(means))
    for k in range(0, len(means), 256):
        group = means[near[k : k + 256]]
        away = means[k : k + 256] - np.median(group, axis=1)
        odd[k : k + 256] = np.nanmax(np.abs(np.nan_to_num(away)), axis=1)
    # A dead scan counts as the oddest.
    odd[~np.isfinite(means).any(axis=1)] = np.inf
    order = np.lexsort((odd, home))
    last = np.flatnonzero(np.diff(home[order], append=-1))
    row = row.copy()
    row[home[order][last]] = order[last]
    return row


def _filled(means: np.ndarray, present: np.ndarray, m: int) -> np.ndarray:
    """Return columns, interpolated between those that hold points."""
    column = np.arange(m)
    after = np.clip(np.searchsorted(present, column), 1, present.size - 1)
    span = present[after] - present[after - 1]
    share = np.clip((column - present[after - 1]) / span, 0.0, 1.0)
    return np.asarray(means[:, after - 1] * (1 - share) + means[:, after] * share)


def _curve(record: xr.Dataset, array: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Return the voltage of a record, thinned, over hours since the first scan."""
    require_variables(record, ["voltage", "time"], caller="plot_contour")
    require_dims(record, ["record"], caller="plot_contour: record")
    thin = slice(None, None, record.sizes["record"] // 5000 + 1)
    some = record[["voltage", "time"]].isel(record=thin)
    start = array["time"].values.min()
    hours = (some["time"].values - start) / np.timedelta64(1, "h")
    end = float((array["time"].values.max() - start) / np.timedelta64(1, "h"))
    inside = (hours >= 0) & (hours <= end)
    return some["voltage"].values[inside], hours[inside]
