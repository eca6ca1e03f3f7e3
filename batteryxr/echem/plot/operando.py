"""Plot scans on the operando axis: their place, and quantities under the voltage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import xarray as xr

from batteryxr.core import plotting
from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError, DataError, VariableError
from batteryxr.core.labels import OwnLabels
from batteryxr.core.model import require_dims, require_variables
from batteryxr.core.units import in_units
from batteryxr.echem.plot.axes import axis, hours

if TYPE_CHECKING:
    from collections.abc import Iterator

    import holoviews

#: Number of rows to which a curve is thinned: more than a screen shows.
_POINTS = 5000
_SIZE = {"width": 700, "height": 220}
_HOUR = np.timedelta64(3600, "s")
#: Colour of the region beyond theory.
_BEYOND = plotting.COLOURS[4]


@checked
def plot_operando(
    record: xr.Dataset, scans: Annotated[xr.DataArray | xr.Dataset, OwnLabels()]
) -> holoviews.Overlay:
    """Plot the voltage curve with every scan marked on it.

    Reads time and voltage of `record` once, thinned.

    Parameters
    ----------
    record
        Cycler data on ``record`` with ``time`` and ``voltage``.
    scans
        Joined series: see `join`. A scan is a point at mid-exposure and a bar from
        its lowest to its highest voltage; reversals are crosses.

    Returns
    -------
    holoviews.Overlay

    Raises
    ------
    DimensionError, VariableError
        If the scans are not joined, or the record has no time.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> rows = cell["echem"].to_dataset()
    >>> scans = rows.echem.join(cell["scans"].to_dataset(), formula="LiNiO2", mass=7.0)
    >>> plot = rows.echem.plot.operando(scans)
    """
    hv = plotting.load_hvplot()
    _require_labels(scans, ["voltage", "voltage_min", "voltage_max", "branch"])
    origin = _origin(record)
    x, voltage = _curve(record, origin)
    at, time, volts = _hours(scans, origin), hours(), axis("voltage")
    layers = hv.Curve((x, voltage), time, volts, label="cycler").opts(
        color=plotting.NEUTRAL, line_width=1
    )
    low, high = scans["voltage_min"].values, scans["voltage_max"].values
    middle = scans["voltage"].values
    bars = (at, middle, middle - low, high - middle)
    seen = np.isfinite(middle)
    layers *= hv.ErrorBars(
        tuple(b[seen] for b in bars), time, [volts, "below", "above"]
    ).opts(line_width=1, **plotting.BARS)
    turned = (
        scans["crosses_reversal"].values
        if "crosses_reversal" in scans.coords
        else np.zeros(seen.size, bool)
    )
    for name, colour in (plotting.BRANCH_COLOURS | {"": plotting.NEUTRAL}).items():
        for odd, marker in ((False, "circle"), (True, "x")):
            chosen = seen & (scans["branch"].values == name) & (turned == odd)
            if chosen.any():
                label = f"{name or 'scan'}{', reversal' if odd else ''}"
                layers *= hv.Scatter(
                    (at[chosen], middle[chosen]), time, volts, label=label
                ).opts(color=colour, marker=marker, size=5)
    return layers.opts(legend_position="right", **_SIZE | {"height": 320})


@checked
def plot_with_voltage(
    data: xr.DataArray | xr.Dataset,
    quantity: str | None = None,
    *,
    x: str = "time",
    record: Annotated[xr.Dataset | None, OwnLabels()] = None,
    theoretical: float | None = None,
) -> holoviews.Layout:
    """Plot the voltage, and below it any quantity of the scans, on one axis.

    Reads the quantity once.

    Parameters
    ----------
    data
        Joined series, or a result with its coordinates: an array on ``scan`` alone
        or on ``scan`` and one more dimension (components, clusters), or a Dataset
        with `quantity`. Impedance and its fits lie on ``spectrum``.
    quantity
        Name of a variable or coordinate. Default: the array itself.
    x
        "time" (hours), or a coordinate: "capacity", "specific_capacity",
        "capacity_total", "li_content".
    record
        Cycler data, for the whole voltage curve against time. Default: the voltage
        of the scans.
    theoretical
        Theoretical capacity or content, in units of `x`. The region beyond it, the
        extra capacity, is shaded.

    Returns
    -------
    holoviews.Layout
        Two panels above each other with one horizontal axis.

    Raises
    ------
    ArgumentError
        If the quantity has too many dimensions, or the axis is missing.
    DimensionError, VariableError
        If the scans are not joined.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> rows = cell["echem"].to_dataset()
    >>> scans = rows.echem.join(cell["scans"].to_dataset(), formula="LiNiO2", mass=7.0)
    >>> plot = scans.echem.plot.with_voltage("li_content", record=rows)
    """
    hv = plotting.load_hvplot()
    if "spectrum" in data.dims and "scan" not in data.dims:
        data = data.rename(spectrum="scan")
    _require_labels(data, ["voltage", "time"])
    values = _quantity(data, quantity)
    if record is not None and x != "time":
        raise ArgumentError("x", x, "'time' where `record` is given")
    if x == "time":
        origin = data["time"].values.min() if record is None else _origin(record)
        at, along = _hours(data, origin), hours()
    else:
        _require_labels(data, [x])
        at, along = data[x].values, _dimension(data[x])
    order = np.argsort(data["time"].values, kind="stable")
    runs = list(_runs(data, order, whole=x in ("time", "capacity_total")))

    def lines(y: np.ndarray, across: Any, label: str, colour: Any) -> list[Any]:
        layers = []
        for run in runs:
            points = (at[run], y[run])
            curve = hv.Curve(points, along, across, label=label)
            layers.append(curve.opts(color=colour, line_width=1))
            marks = hv.Scatter(points, along, across, label=label)
            layers.append(marks.opts(color=colour, size=3))
        return layers

    volts = axis("voltage")
    if record is None:
        top = hv.Overlay(lines(data["voltage"].values, volts, "", plotting.NEUTRAL))
    else:
        whole = hv.Curve(_curve(record, origin), along, volts)
        top = hv.Overlay([whole.opts(color=plotting.NEUTRAL)])
    quantity_axis = _dimension(values, "quantity")
    columns = list(_columns(values))
    named = "component" in values.dims
    numbers = plotting.colours_of(data) if named else range(len(columns))
    below = hv.Overlay(
        [
            layer
            for k, (label, y) in zip(numbers, columns, strict=True)
            for layer in lines(
                y, quantity_axis, label, plotting.COLOURS[k % len(plotting.COLOURS)]
            )
        ]
    )
    if theoretical is not None:
        end = float(np.nanmax(at)) if x != "li_content" else float(np.nanmin(at))
        span = hv.VSpan(*sorted((theoretical, end)))
        shade = span.opts(color=_BEYOND, alpha=0.25)
        top, below = shade * top, shade * below
    top = top.opts(show_legend=False, **_SIZE)
    below = below.opts(legend_position="right", **_SIZE)
    return (top + below).cols(1)


def _require_labels(scans: xr.DataArray | xr.Dataset, names: list[str]) -> None:
    require_dims(scans, ["scan"], caller="this plot")
    if missing := [n for n in names if n not in scans.coords]:
        raise VariableError(
            f"this plot needs the coordinates {missing} on 'scan'. Join the scans "
            "with the cycler's record first: `record.echem.join(scans)`."
        )


def _quantity(scans: xr.DataArray | xr.Dataset, name: str | None) -> xr.DataArray:
    if name is None and isinstance(scans, xr.Dataset):
        raise ArgumentError("quantity", None, f"one of {sorted(map(str, scans))}")
    if name is not None and name not in scans.coords:
        if not isinstance(scans, xr.Dataset):
            raise ArgumentError(
                "quantity", name, f"a coordinate, {sorted(map(str, scans.coords))}"
            )
        require_variables(scans, [name], caller="this plot")
    values = scans if name is None else scans[name]
    assert isinstance(values, xr.DataArray)
    require_dims(values, ["scan"], caller="this plot")
    if values.ndim > 2:
        raise DataError(
            str(values.name or "quantity"),
            f"lies on {values.dims}, more than 'scan' and one dimension",
            "Take a mean or choose a pixel first.",
        )
    return values


def _columns(values: xr.DataArray) -> Iterator[tuple[str, np.ndarray]]:
    if values.ndim == 1:
        yield "", values.values
        return
    (dim,) = (d for d in values.dims if d != "scan")
    if values.sizes[dim] > 20:
        raise DataError(
            str(values.name or "quantity"),
            f"has {values.sizes[dim]} values on {dim!r}, too many curves for a plot",
            f"Choose at most 20: `.isel({dim}=...)`.",
        )
    names = values[dim].values
    for name, column in zip(names, values.transpose(dim, "scan").values, strict=True):
        words = str(name) if names.dtype.kind in "OTU" else f"{dim} {name}"
        yield plotting.plain(words), column


def _runs(
    scans: xr.DataArray | xr.Dataset, order: np.ndarray, *, whole: bool
) -> Iterator[np.ndarray]:
    """Yield scans in the order of time, one half cycle after the other."""
    if whole or "half_cycle" not in scans.coords:
        yield order
        return
    number = scans["half_cycle"].values[order]
    for one in np.unique(number[np.isfinite(number)]):
        yield order[number == one]


def _origin(record: xr.Dataset) -> np.datetime64:
    require_dims(record, ["record"], caller="this plot")
    require_variables(record, ["time", "voltage"], caller="this plot")
    return np.datetime64(record["time"].isel(record=0).values.item(), "ns")


def _curve(record: xr.Dataset, origin: np.datetime64) -> tuple[np.ndarray, np.ndarray]:
    step = max(1, record.sizes["record"] // _POINTS)
    thin = record[["voltage"]].isel(record=slice(None, None, step))
    volts = in_units(thin["voltage"], "V", caller="this plot")
    return (thin["time"].values - origin) / _HOUR, volts.values


def _hours(scans: xr.DataArray | xr.Dataset, origin: np.datetime64) -> np.ndarray:
    hours = (scans["time"].values - origin) / _HOUR
    if "exposure" in scans.coords:
        hours = hours + scans["exposure"].values / 7200
    return hours


def _dimension(array: xr.DataArray, name: str = "") -> holoviews.Dimension:
    """Return the axis of an array, without the part of its long name after a comma."""
    words = str(array.attrs.get("long_name", array.name or "")).split(",")[0]
    return plotting.dimension(array, name, words)
