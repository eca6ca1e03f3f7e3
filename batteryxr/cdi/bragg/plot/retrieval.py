"""Plots of retrieved objects: slices, how far to trust them, and how starts went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.cdi.bragg.objects import axes_of, object_of
from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import require_dims, require_variables
from batteryxr.core.plotting import load_hvplot

if TYPE_CHECKING:
    import xarray as xr

_FRAME = {"frame_width": 180, "frame_height": 180}
_CURVE = {"width": 480, "height": 300}


@checked
def plot_slices(
    obj: xr.DataArray | xr.Dataset,
    *,
    threshold: float = 0.2,
    at: tuple[int, int, int] | None = None,
    limits: tuple[float, float] | None = None,
) -> Any:
    """Plot modulus and phase of an object in three planes through one voxel.

    Reads the object once.

    Parameters
    ----------
    obj
        A result of `retrieve` or an object of it, for one state; complex, on the
        three axes of `retrieve` or ``(z, y, x)``.
    threshold
        Share of the largest modulus below which no phase is drawn.
    at
        Indices of the voxel; None takes the centre of the modulus.
    limits
        Of the colours of the phase, rad; None takes
        as much on both sides of 0 as the drawn phase needs.

    Returns
    -------
    holoviews.Layout
        Moduli above, phases below.

    Raises
    ------
    ArgumentError
        If `at` or `threshold` are out of range, or a dimension is left over.
    DimensionError
        If an axis is missing.
    """
    hv = load_hvplot()
    values = _one_object(obj, "plot_slices")
    if not 0 <= threshold < 1:
        raise ArgumentError("threshold", threshold, "a share from 0 to below 1")
    axes = [str(d) for d in values.dims]
    field = values.values
    modulus = np.abs(field)
    top = float(modulus.max()) or 1.0
    phase = np.where(modulus > threshold * top, np.angle(field), np.nan)
    if limits is None:
        reach = float(np.nanmax(np.abs(phase)))
        limits = (-reach, reach)
    place = _centre(modulus) if at is None else at
    if len(place) != 3 or any(
        not 0 <= p < n for p, n in zip(place, field.shape, strict=True)
    ):
        raise ArgumentError("at", at, f"three indices inside {field.shape}")
    coords = [_axis(values, d) for d in axes]
    moduli, phases = [], []
    for normal in range(3):
        v, h = [a for a in range(3) if a != normal]
        dims = [_dimension(hv, values, axes[h]), _dimension(hv, values, axes[v])]
        title = f"{axes[normal]} = {coords[normal][place[normal]]:.4g}"
        grid = (coords[h], coords[v])
        image = hv.Image(
            (*grid, modulus.take(place[normal], normal) / top),
            dims,
            _value(hv, "modulus"),
        )
        moduli.append(image.opts(cmap="viridis", title=title, clim=(0, 1)))
        image = hv.Image(
            (*grid, phase.take(place[normal], normal)), dims, _value(hv, "phase", "rad")
        )
        phases.append(image.opts(cmap="coolwarm", title=title, clim=limits))
    look = hv.opts.Image(colorbar=True, tools=["hover"], **_FRAME)
    return hv.Layout(moduli + phases).opts(look).cols(3)


@checked
def plot_prtf(result: xr.Dataset) -> Any:
    """Plot the phase-retrieval transfer function with the usual limit 1/e.

    Reads that function only.

    Parameters
    ----------
    result
        A result of `retrieve`; one curve for each of its states.

    Returns
    -------
    holoviews.Overlay
    """
    hv = load_hvplot()
    require_variables(result, ["prtf"], caller="plot_prtf")
    curve = result["prtf"]
    curves = [hv.HLine(float(np.exp(-1))).opts(color="grey", line_dash="dashed")]
    for name, line in _lines(curve, "frequency"):
        curves.append(_curve(hv, line, "frequency", name))
    return hv.Overlay(curves).opts(
        hv.opts.Curve(**_CURVE), hv.opts.Overlay(title="Phase retrieval transfer")
    )


@checked
def plot_fsc(result: xr.Dataset) -> Any:
    """Plot a Fourier shell correlation with both thresholds.

    Reads the three curves.

    Parameters
    ----------
    result
        A result of `fsc`, for one pair.

    Returns
    -------
    holoviews.Overlay
    """
    hv = load_hvplot()
    names = {
        "fsc": ("FSC", "solid"),
        "threshold_1bit": ("1 bit", "dashed"),
        "threshold_half_bit": ("1/2 bit", "dotted"),
    }
    require_variables(result, list(names), caller="plot_fsc")
    curves = [
        _curve(hv, result[key], "frequency", words).opts(line_dash=dash)
        for key, (words, dash) in names.items()
    ]
    return hv.Overlay(curves).opts(
        hv.opts.Curve(**_CURVE), hv.opts.Overlay(title="Fourier shell correlation")
    )


@checked
def plot_starts(result: xr.Dataset) -> Any:
    """Plot how the amplitude residual of every start fell; the best one thick.

    Reads the residuals.

    Parameters
    ----------
    result
        A result of `retrieve`, for one state.

    Returns
    -------
    holoviews.Overlay
    """
    hv = load_hvplot()
    require_variables(result, ["residual", "rank"], caller="plot_starts")
    residual = result["residual"]
    if set(residual.dims) != {"start", "iteration"}:
        raise ArgumentError(
            "result", dict(residual.sizes), "one state", "Choose it: .isel(state=0)."
        )
    curves = []
    for k, rank in zip(result["start"].values, result["rank"].values, strict=True):
        line = _curve(hv, residual.sel(start=k), "iteration", f"start {k}")
        curves.append(line.opts(line_width=3 if rank == 1 else 1))
    return hv.Overlay(curves).opts(
        hv.opts.Curve(logy=True, **_CURVE), hv.opts.Overlay(title="Starts")
    )


def _one_object(obj: Any, caller: str) -> xr.DataArray:
    obj = object_of(obj, caller)
    axes = axes_of(obj)
    require_dims(obj, axes, caller=caller)
    if spare := [str(d) for d in obj.dims if d not in axes]:
        raise ArgumentError(
            "obj", spare, "one object", f"Choose it: .isel({spare[0]}=0)."
        )
    return obj.transpose(*axes)


def _centre(modulus: np.ndarray) -> tuple[int, ...]:
    total = modulus.sum()
    return tuple(
        round(float((modulus.sum(tuple(set(range(3)) - {a})) @ np.arange(n)) / total))
        for a, n in enumerate(modulus.shape)
    )


def _axis(array: xr.DataArray, dim: str) -> np.ndarray:
    return array[dim].values if dim in array.coords else np.arange(array.sizes[dim])


def _dimension(hv: Any, array: xr.DataArray, dim: str) -> Any:
    attrs = array[dim].attrs if dim in array.coords else {}
    unit = attrs.get("units", "1")
    words = attrs.get("long_name", dim)
    return hv.Dimension(dim, label=words, unit=None if unit == "1" else unit)


def _value(hv: Any, name: str, unit: str | None = None) -> Any:
    return [hv.Dimension(name, label=name.capitalize(), unit=unit)]


def _curve(hv: Any, line: xr.DataArray, dim: str, name: str) -> Any:
    words = line.attrs.get("long_name", str(line.name))
    value = hv.Dimension(str(line.name), label=words)
    pair = (_axis(line, dim), line.values)
    return hv.Curve(pair, _dimension(hv, line, dim), value, label=name)


def _lines(array: xr.DataArray, dim: str) -> list[tuple[str, xr.DataArray]]:
    others = [d for d in array.dims if d != dim]
    if not others:
        return [(str(array.name).upper(), array)]
    sizes = [array.sizes[d] for d in others]
    found = []
    for index in np.ndindex(*sizes):
        where = dict(zip(others, index, strict=True))
        name = ", ".join(f"{d} {i}" for d, i in where.items())
        found.append((name, array.isel(where)))
    return found
