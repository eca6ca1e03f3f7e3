"""Plots of states: hysteresis of a number, slices, surfaces in space."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.cdi.bragg.axes import VECTOR, space_axes
from batteryxr.cdi.bragg.space import steps_in_space
from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError, DataError, DimensionError
from batteryxr.core.model import in_words, require_dims, require_variables
from batteryxr.core.optional import require
from batteryxr.core.plotting import (
    ABOVE,
    BRANCH_COLOURS,
    COLOURS,
    NEUTRAL,
    as_title,
    axis_label,
    colour_bar,
    dimension,
    load_hvplot,
)

if TYPE_CHECKING:
    import holoviews
    import xarray as xr

    from batteryxr.core.checks import Pair, Part

#: Corners (nm), their indices, and triangles.
_Surface = tuple[np.ndarray, np.ndarray, np.ndarray]

#: Colours of surfaces on which a field is above and below zero.
_POSITIVE, _NEGATIVE = COLOURS[1], COLOURS[0]


@checked
def plot_hysteresis(
    states: xr.Dataset, *, variable: str = "order_parameter", component: int = 1
) -> holoviews.Overlay:
    """Plot a number of each state against voltage, with charge and discharge apart.

    Reads that number only.

    Parameters
    ----------
    states
        Result of `order_parameter` or `summarise_states`, with ``voltage`` and
        ``direction`` on ``state``, in the order of measurement.
    variable
        Variable to plot.
    component
        Component to plot, for variables that have components.

    Returns
    -------
    holoviews.Overlay
        One curve for each run of one direction; a run begins where the last ended.

    Raises
    ------
    ArgumentError
        If there is no such component.
    DimensionError, VariableError
        If ``state``, the variable or a label is missing.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volumes = cell["states"].to_dataset()["intensity"].compute()
    >>> states = volumes.cdi.retrieve_states(schedule="60 HIO + 20 ER", n_starts=2)
    >>> phases = states.cdi.phase_differences(gauge="core")
    >>> plot = phases.cdi.order_parameter().cdi.plot.hysteresis()
    """
    hv = load_hvplot()
    need = [variable, "voltage", "direction"]
    require_variables(states, need, caller="plot_hysteresis")
    values = states[variable]
    require_dims(values, ["state"], caller="plot_hysteresis")
    if "component" in values.dims:
        if component not in values["component"].values:
            known = values["component"].values.tolist()
            raise ArgumentError("component", component, f"one of {known}")
        values = values.sel(component=component)
    if values.dims != ("state",):
        raise DimensionError(
            f"plot_hysteresis needs {variable!r} on 'state' alone; found {values.dims}."
        )
    voltage, y = states["voltage"].values, values.values
    direction = [str(d) for d in states["direction"].values]
    x_name, y_name = dimension(states["voltage"]), dimension(values, variable)
    starts = [k for k in range(len(y)) if k == 0 or direction[k] != direction[k - 1]]
    parts = []
    for first, after in zip(starts, [*starts[1:], len(y)], strict=True):
        run = slice(max(first - 1, 0), after)
        name = direction[first]
        look = {"color": BRANCH_COLOURS.get(name, NEUTRAL)}
        points = (voltage[run], y[run])
        parts.append(hv.Curve(points, x_name, y_name, label=name).opts(**look))
        own = (voltage[first:after], y[first:after])
        parts.append(
            hv.Scatter(own, x_name, y_name, label=name).opts(
                marker="circle" if name == "charge" else "square", size=8, **look
            )
        )
    size = hv.opts.Overlay(width=480, height=340, **ABOVE)
    return hv.Overlay(parts).opts(size)


@checked
def plot_field(
    crystal: xr.DataArray,
    *,
    at: tuple[int, int, int] | None = None,
    limits: Pair | None = None,
) -> holoviews.Layout:
    """Plot three planes of a real field: phase, displacement, strain, domains.

    Reads once.

    Parameters
    ----------
    crystal
        A real field on three axes of space, for one state:
        ``fields["strain"].isel(state=0)``.
    at
        Indices of the voxel where the planes cross. None takes the middle of the values
        that are not NaN.
    limits
        Limits of the colours. None takes them from the 99th percentile: symmetric, or
        from 0 where no value is negative, as of an error.

    Returns
    -------
    holoviews.Layout

    Raises
    ------
    ArgumentError
        If `at` lies outside.
    DataError
        If the field holds only NaN.
    DimensionError
        If the crystal is not one volume.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volume = cell["states"].to_dataset()["intensity"][0].compute()
    >>> result = volume.cdi.retrieve(schedule="60 HIO + 20 ER", n_starts=2)
    >>> plot = result.cdi.unwrap()["phase"].cdi.plot.field()
    """
    hv = load_hvplot()
    dims = space_axes(crystal, caller="plot_field")
    if crystal.ndim != 3:
        raise DimensionError(
            f"plot_field needs one volume; found {tuple(crystal.dims)}. "
            "Choose one, for example `.isel(state=0)`."
        )
    values = crystal.transpose(*dims).values.astype(float)
    if not np.isfinite(values).any():
        raise DataError(
            "crystal", "holds only NaN in this field", "Choose another field or state."
        )
    place = at or tuple(
        int(np.median(axis)) for axis in np.nonzero(np.isfinite(values))
    )
    if any(not 0 <= p < n for p, n in zip(place, values.shape, strict=True)):
        raise ArgumentError("at", at, f"three indices inside {values.shape}")
    signed = bool((values < 0).any())
    if limits is None:
        top = float(np.nanpercentile(np.abs(values), 99)) or 1.0
        limits = (-top if signed else 0.0, top)
    coords = [crystal[d].values for d in dims]
    value, colours = dimension(crystal, "value"), "RdBu_r" if signed else "viridis"
    # Zoom to the crystal: most of the array around it is empty.
    reach = [
        (c[max(w.min() - 2, 0)], c[min(w.max() + 2, len(c) - 1)])
        for c, w in zip(coords, np.nonzero(np.isfinite(values)), strict=True)
    ]
    images = []
    for normal in range(3):
        v, h = (a for a in range(3) if a != normal)
        image = hv.QuadMesh(
            (coords[h], coords[v], values.take(place[normal], normal)),
            [dimension(crystal[dims[h]]), dimension(crystal[dims[v]])],
            value,
        )
        where = f"{in_words(dims[normal])} = {coords[normal][place[normal]]:.4g}"
        window = {"xlim": reach[h], "ylim": reach[v]}
        images.append(
            image.opts(title=as_title(where), clim=limits, cmap=colours, **window)
        )
    look = hv.opts.QuadMesh(
        tools=["hover"], frame_width=220, frame_height=220,
        **colour_bar(axis_label(crystal)),
    )  # fmt: skip
    return hv.Layout(images).opts(look).cols(3)


@checked
def plot_isosurface(
    crystal: xr.DataArray,
    *,
    threshold: float | None = None,
    fraction: Part = 0.99,
    quantity: xr.DataArray | None = None,
    outline: xr.DataArray | None = None,
    geometry: xr.Dataset | None = None,
) -> Any:
    """Draw a surface of constant value in space that the mouse can turn.

    Reads once.

    Parameters
    ----------
    crystal
        A real field on three axes of space, for one state: an amplitude, a support, or
        a contribution or residual of `inverse_pca`. Both signs of a field are drawn.
    threshold
        Value of the surface. None: half of the maximum for fields that are never
        negative (amplitude, support); else the quantile `fraction` of the modulus.
    fraction
        Fraction of the voxels below the surface.
    quantity
        Field whose values colour the surface: phase, strain.
    outline
        Amplitude or support drawn transparent around the surface.
    geometry
        Geometry of the measurement, for volumes in the detector's frame, which are
        drawn unskewed.

    Returns
    -------
    plotly.graph_objects.Figure

    Raises
    ------
    ArgumentError
        If no voxel reaches the threshold.
    DataError
        If the field is zero.
    DimensionError
        If the crystal is not one volume.
    MissingDependencyError
        If plotly or scikit-image is not installed.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volume = cell["states"].to_dataset()["intensity"][0].compute()
    >>> found = volume.cdi.retrieve(schedule="60 HIO + 20 ER", n_starts=2)
    >>> axes = volume.cdi.geometry(beamline="theta")
    >>> plot = abs(found["object"]).cdi.plot.isosurface(geometry=axes)
    """
    purpose = "drawing surfaces in space"
    go = require("plotly.graph_objects", extra="images", purpose=purpose)
    dims = space_axes(crystal, caller="plot_isosurface")
    if crystal.ndim != 3:
        raise DimensionError(
            f"plot_isosurface needs one volume; found {tuple(crystal.dims)}. "
            "Choose one, for example `.isel(state=0)`."
        )
    voxel = steps_in_space(crystal, geometry, caller="plot_isosurface").values / 10
    values = np.nan_to_num(crystal.transpose(*dims).values.astype(np.float32))
    if threshold is None:
        threshold = _level(values, fraction)
    meshes = []
    for sign, tint in ((1.0, _POSITIVE), (-1.0, _NEGATIVE)):
        if (sign * values).max() > abs(threshold) > 0:
            surface = _surface(sign * values, abs(threshold), voxel)
            look = {"color": tint}
            if quantity is not None:
                look = _shading(quantity.transpose(*dims), surface)
            meshes.append(_mesh(go, surface, **look))
    if not meshes:
        top = float(np.abs(values).max())
        raise ArgumentError(
            "threshold", threshold, f"a value other than 0, up to {top:.4g}"
        )
    if outline is not None:
        around = np.nan_to_num(outline.transpose(*dims).values.astype(np.float32))
        surface = _surface(around, float(around.max()) / 2, voxel)
        meshes.append(_mesh(go, surface, color=NEUTRAL, opacity=0.15))
    figure = go.Figure(meshes)
    axes = {f"{a}axis": {"title": {"text": f"{a} (nm)"}} for a in VECTOR}
    title = str(crystal.attrs.get("long_name", crystal.name or ""))
    figure.update_layout(
        title={"text": _as_text(f"{title} at {threshold:.3g}")},
        scene={"aspectmode": "data"} | axes,
        width=620,
        height=520,
    )
    return figure


def _level(values: np.ndarray, quantile: float) -> float:
    """Return the value of a surface: half of the maximum, or a quantile."""
    inside = np.abs(values[values != 0])
    if not inside.size:
        raise DataError(
            "crystal",
            "holds only zeros in this field",
            "Choose another field or state.",
        )
    signed = bool((values < 0).any())
    at = np.quantile(inside, quantile) if signed else inside.max() / 2
    # Just below: a plateau at the quantile must not lie on the surface.
    return 0.999 * float(at)


def _surface(values: np.ndarray, level: float, voxel: np.ndarray) -> _Surface:
    """Return corners in nm, their indices, and triangles."""
    measure = require(
        "skimage.measure",
        extra="images",
        purpose="drawing surfaces in space",
        package="scikit-image",
    )
    # Pad, so that surfaces are closed where the volume ends.
    padded = np.pad(values, 1)
    corners, triangles, _, _ = measure.marching_cubes(padded, level)
    index = corners - 1
    middle = np.array([n // 2 for n in values.shape])
    return (index - middle) @ voxel, index, triangles


def _mesh(go: Any, surface: _Surface, **look: Any) -> Any:
    corners, _, triangles = surface
    x, y, z = corners.T
    i, j, k = triangles.T
    return go.Mesh3d(x=x, y=y, z=z, i=i, j=j, k=k, flatshading=False, **look)


def _shading(colour: xr.DataArray, surface: _Surface) -> dict[str, Any]:
    """Return the look of a surface that is coloured by a field."""
    return {
        "intensity": _nearest(colour.values.astype(float), surface[1]),
        "colorscale": "RdBu_r",
        "colorbar": {"title": {"text": _as_text(colour.attrs.get("long_name", ""))}},
    }


def _as_text(text: Any) -> str:
    """Return a text in which Plotly finds neither a tag nor a formula."""
    return html.escape(str(text), quote=False).replace("$", "&#36;")


def _nearest(shade: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return values of the nearest voxels that have a value."""
    from scipy import ndimage

    hole = ~np.isfinite(shade)
    near = ndimage.distance_transform_edt(
        hole, return_distances=False, return_indices=True
    )
    rounded = np.clip(np.rint(index).astype(int), 0, np.array(shade.shape) - 1)
    return np.asarray(shade[tuple(near[:, *rounded.T])])
