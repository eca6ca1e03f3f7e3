"""Plots of retrieved objects: slices, transfer function, correlation, starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from batteryxr.cdi.bragg.axes import space_axes, variable
from batteryxr.core.checks import Bounds, checked
from batteryxr.core.errors import ArgumentError, DimensionError
from batteryxr.core.model import in_words, require_variables
from batteryxr.core.plotting import (
    COLOURS,
    LOG_Y,
    NEUTRAL,
    as_title,
    dimension,
    load_hvplot,
)

if TYPE_CHECKING:
    import holoviews
    import xarray as xr

    from batteryxr.core.checks import Pair
    from batteryxr.core.plotting import Holoviews

_FRAME = {"frame_width": 180, "frame_height": 180}
_CURVE = {"width": 480, "height": 300}


@checked
def plot_slices(
    crystal: xr.DataArray | xr.Dataset,
    *,
    threshold: Annotated[float, Bounds(low=0, below=1)] = 0.2,
    at: tuple[int, int, int] | None = None,
    limits: Pair | None = None,
) -> holoviews.Layout:
    """Plot modulus and phase of an object in three planes through one voxel.

    Reads the object once.

    Parameters
    ----------
    crystal
        A result of `retrieve` or its object, for one state; complex, on the three axes
        of `retrieve` or ``(z, y, x)``.
    threshold
        Fraction of the largest modulus below which no phase is drawn.
    at
        Indices of the voxel; None takes the centre of the modulus.
    limits
        Limits of the phase colours, rad. None takes limits symmetric around 0 that
        cover the drawn phase.

    Returns
    -------
    holoviews.Layout
        Moduli above, phases below.

    Raises
    ------
    ArgumentError
        If `at` or `threshold` are out of range.
    DimensionError
        If an axis is missing, or a dimension is left over.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volume = cell["states"].to_dataset()["intensity"][0].compute()
    >>> result = volume.cdi.retrieve(schedule="60 HIO + 20 ER", n_starts=2)
    >>> plot = result.cdi.plot.slices()
    """
    hv = load_hvplot()
    values = _one_object(crystal)
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
    coords = [values[d].values for d in axes]
    moduli, phases = [], []
    for normal in range(3):
        v, h = [a for a in range(3) if a != normal]
        dims = [dimension(values[axes[h]]), dimension(values[axes[v]])]
        title = as_title(
            f"{in_words(axes[normal])} = {coords[normal][place[normal]]:.4g}"
        )
        grid = (coords[h], coords[v])
        image = hv.Image(
            (*grid, modulus.take(place[normal], normal) / top),
            dims,
            hv.Dimension("modulus", label="Modulus"),
        )
        moduli.append(image.opts(cmap="viridis", title=title, clim=(0, 1)))
        image = hv.Image(
            (*grid, phase.take(place[normal], normal)),
            dims,
            hv.Dimension("phase", label="Phase (rad)"),
        )
        phases.append(image.opts(cmap="coolwarm", title=title, clim=limits))
    look = hv.opts.Image(colorbar=True, tools=["hover"], **_FRAME)
    return hv.Layout(moduli + phases).opts(look).cols(3)


@checked
def plot_prtf(crystal: xr.Dataset) -> holoviews.Overlay:
    """Plot the phase-retrieval transfer function with the usual limit 1/e.

    Reads that function only.

    Parameters
    ----------
    crystal
        A result of `retrieve`; one curve for each of its states.

    Returns
    -------
    holoviews.Overlay

    Examples
    --------
    >>> simulation = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volume = simulation["states"].to_dataset()["intensity"][0].compute()
    >>> result = volume.cdi.retrieve(schedule="60 HIO + 20 ER", n_starts=2)
    >>> plot = result.cdi.plot.prtf()
    """
    hv = load_hvplot()
    require_variables(crystal, ["prtf"], caller="plot_prtf")
    curve = crystal["prtf"]
    curves = [
        _curve(hv, line, "frequency", name).opts(color=COLOURS[k % len(COLOURS)])
        for k, (name, line) in enumerate(_lines(curve, "frequency"))
    ]
    limit = hv.HLine(float(np.exp(-1))).opts(color=NEUTRAL, line_dash="dashed")
    top = max(1.05, 1.05 * float(curve.max()))
    return hv.Overlay([*curves, limit]).opts(
        hv.opts.Curve(ylim=(0.0, top), **_CURVE),
        hv.opts.Overlay(
            title="Phase retrieval transfer; dashed: the limit 1/e",
            legend_position="right",
        ),
    )


@checked
def plot_fsc(data: xr.Dataset) -> holoviews.Overlay:
    """Plot a Fourier shell correlation with both thresholds.

    Reads the three curves.

    Parameters
    ----------
    data
        A result of `fsc`, for one pair.

    Returns
    -------
    holoviews.Overlay

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volume = cell["states"].to_dataset()["intensity"][0].compute()
    >>> found = volume.cdi.retrieve(schedule="60 HIO + 20 ER", n_starts=2)
    >>> other = volume.cdi.retrieve(schedule="60 HIO + 20 ER", n_starts=2, seed=1)
    >>> shells = found.cdi.fsc(other=other)
    >>> plot = shells.cdi.plot.fsc()
    """
    hv = load_hvplot()
    names = {
        "fsc": ("FSC", "solid"),
        "threshold_1bit": ("1 bit", "dashed"),
        "threshold_half_bit": ("1/2 bit", "dotted"),
    }
    require_variables(data, list(names), caller="plot_fsc")
    curves = [
        _curve(hv, data[key], "frequency", words).opts(line_dash=dash, color=colour)
        for (key, (words, dash)), colour in zip(names.items(), COLOURS, strict=False)
    ]
    return hv.Overlay(curves).opts(
        hv.opts.Curve(**_CURVE),
        hv.opts.Overlay(title="Fourier shell correlation", legend_position="right"),
    )


@checked
def plot_starts(crystal: xr.Dataset) -> holoviews.Overlay:
    """Plot the amplitude residual of each start over iterations; the best one thick.

    Reads the residuals.

    Parameters
    ----------
    crystal
        A result of `retrieve`, for one state.

    Returns
    -------
    holoviews.Overlay

    Examples
    --------
    >>> experiment = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volume = experiment["states"].to_dataset()["intensity"][0].compute()
    >>> result = volume.cdi.retrieve(schedule="60 HIO + 20 ER", n_starts=2)
    >>> plot = result.cdi.plot.starts()
    """
    hv = load_hvplot()
    require_variables(crystal, ["residual", "rank"], caller="plot_starts")
    residual = crystal["residual"]
    if set(residual.dims) != {"start", "iteration"}:
        raise DimensionError(
            f"plot_starts needs one state; found {residual.dims}. "
            "Choose it: `.isel(state=0)`."
        )
    curves = []
    for k, rank in zip(crystal["start"].values, crystal["rank"].values, strict=True):
        line = _curve(hv, residual.sel(start=k), "iteration", f"start {k}")
        look = {"color": COLOURS[int(k) % len(COLOURS)]}
        curves.append(line.opts(line_width=3 if rank == 1 else 1, **look))
    return hv.Overlay(curves).opts(
        hv.opts.Curve(**LOG_Y, **_CURVE),
        hv.opts.Overlay(title="Starts; the best one thick", legend_position="right"),
    )


def _one_object(crystal: xr.DataArray | xr.Dataset) -> xr.DataArray:
    field = variable(crystal, "object", caller="plot_slices")
    axes = space_axes(field, caller="plot_slices")
    if spare := [str(d) for d in field.dims if d not in axes]:
        raise DimensionError(
            f"plot_slices needs one object; found {tuple(field.dims)}. "
            f"Choose it: `.isel({spare[0]}=0)`."
        )
    return field.transpose(*axes)


def _centre(modulus: np.ndarray) -> tuple[int, ...]:
    total = modulus.sum()
    return tuple(
        round(float((modulus.sum(tuple(set(range(3)) - {a})) @ np.arange(n)) / total))
        for a, n in enumerate(modulus.shape)
    )


def _curve(hv: Holoviews, line: xr.DataArray, dim: str, name: str) -> Any:
    pair = (line[dim].values, line.values)
    return hv.Curve(pair, dimension(line[dim]), dimension(line), label=name)


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
