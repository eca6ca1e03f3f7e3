"""Plots of states: hysteresis of the order parameter, slices, surfaces in space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.cdi.bragg.fields import basis, of_states, space_dims
from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError, DimensionError
from batteryxr.core.model import require_dims, require_variables
from batteryxr.core.optional import require
from batteryxr.core.plotting import load_hvplot

if TYPE_CHECKING:
    import xarray as xr

_COLOURS = {"charge": "#d1495b", "discharge": "#00798c"}
_AXES = ("x", "y", "z")


@checked
def plot_hysteresis(
    states: xr.Dataset, *, variable: str = "order_parameter", component: int = 1
) -> Any:
    """Plot a number of each state against voltage, charge and discharge apart.

    Reads that number only.

    Parameters
    ----------
    states
        From `order_parameter`, or `summarise_states`: with ``voltage`` and
        ``direction`` on ``state``, in the order in which they were measured.
    variable
        What to plot.
    component
        Of what has components.

    Returns
    -------
    holoviews.Overlay
        One curve for each run of one direction; a run begins where the last ended.

    Raises
    ------
    ArgumentError
        If there is no such component.
    DimensionError, VariableError
        If there is no ``state``, or no such variable or labels.
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
    x_name = hv.Dimension("voltage", label="Voltage", unit="V")
    title = str(values.attrs.get("long_name", variable))
    units = str(values.attrs.get("units", "1"))
    y_name = hv.Dimension(variable, label=title, unit=None if units == "1" else units)
    starts = [k for k in range(len(y)) if k == 0 or direction[k] != direction[k - 1]]
    parts = []
    for first, after in zip(starts, [*starts[1:], len(y)], strict=True):
        run = slice(max(first - 1, 0), after)
        name = direction[first]
        look = {"color": _COLOURS.get(name, "grey")}
        points = (voltage[run], y[run])
        parts.append(hv.Curve(points, x_name, y_name, label=name).opts(**look))
        own = (voltage[first:after], y[first:after])
        parts.append(
            hv.Scatter(own, x_name, y_name, label=name).opts(
                marker="circle" if name == "charge" else "square", size=8, **look
            )
        )
    size = hv.opts.Overlay(width=480, height=340, legend_position="top_left")
    return hv.Overlay(parts).opts(size)


@checked
def plot_field(
    field: xr.DataArray,
    *,
    at: tuple[int, int, int] | None = None,
    limits: tuple[float, float] | None = None,
) -> Any:
    """Plot three planes of a real field: phase, displacement, strain, domains.

    Reads once.

    Parameters
    ----------
    field
        On three axes of space, one state: ``fields["strain"].isel(state=0)``.
    at
        Indices of the voxel where the planes cross; None takes the middle of what is
        not NaN.
    limits
        Of the colours; None takes them symmetric, from the 99th percentile.

    Returns
    -------
    holoviews.Layout

    Raises
    ------
    ArgumentError
        If `at` lies outside, or nothing is there.
    DimensionError
        If this is not one volume.
    """
    hv = load_hvplot()
    dims = space_dims(field, caller="plot_field")
    if field.ndim != 3:
        raise DimensionError(
            f"plot_field needs one volume; found {tuple(field.dims)}. "
            "Choose one, for example `.isel(state=0)`."
        )
    values = field.transpose(*dims).values.astype(float)
    if not np.isfinite(values).any():
        raise ArgumentError("field", "only NaN", "a field with values")
    place = at or tuple(
        int(np.median(axis)) for axis in np.nonzero(np.isfinite(values))
    )
    if any(not 0 <= p < n for p, n in zip(place, values.shape, strict=True)):
        raise ArgumentError("at", at, f"three indices inside {values.shape}")
    if limits is None:
        top = float(np.nanpercentile(np.abs(values), 99)) or 1.0
        limits = (-top, top)
    coords = [
        field[d].values if d in field.coords else np.arange(n)
        for d, n in zip(dims, values.shape, strict=True)
    ]
    title, units = field.attrs.get("long_name", field.name), field.attrs.get("units")
    value = hv.Dimension(
        "value", label=str(title), unit=None if units == "1" else units
    )
    # The window on the crystal: the array is mostly empty round it.
    reach = [
        (c[max(w.min() - 2, 0)], c[min(w.max() + 2, len(c) - 1)])
        for c, w in zip(coords, np.nonzero(np.isfinite(values)), strict=True)
    ]
    images = []
    for normal in range(3):
        v, h = (a for a in range(3) if a != normal)
        image = hv.QuadMesh(
            (coords[h], coords[v], values.take(place[normal], normal)),
            [_dimension(hv, field, dims[h]), _dimension(hv, field, dims[v])],
            value,
        )
        where = f"{dims[normal]} = {coords[normal][place[normal]]:.4g}"
        window = {"xlim": reach[h], "ylim": reach[v]}
        images.append(image.opts(title=where, clim=limits, cmap="RdBu_r", **window))
    look = hv.opts.QuadMesh(
        colorbar=True, tools=["hover"], frame_width=180, frame_height=180
    )
    return hv.Layout(images).opts(look).cols(3)


def _dimension(hv: Any, field: xr.DataArray, dim: str) -> Any:
    units = field[dim].attrs.get("units") if dim in field.coords else None
    return hv.Dimension(dim, unit=None if units == "1" else units)


@checked
def plot_isosurface(
    field: xr.DataArray,
    *,
    level: float | None = None,
    quantile: float = 0.99,
    colour: xr.DataArray | None = None,
    outline: xr.DataArray | None = None,
    geometry: xr.Dataset | None = None,
) -> Any:
    """Draw a surface of constant value in space, to be turned with the mouse.

    Reads once.

    Parameters
    ----------
    field
        On three axes of space, one state: an amplitude, a support, or a contribution
        or residual of `inverse_pca`, of which both signs are drawn.
    level
        Value of the surface. None: half of the maximum for what is never negative
        (amplitude, support); else the `quantile` of the modulus.
    quantile
        Share of voxels below the surface.
    colour
        Field whose values colour the surface: phase, strain.
    outline
        Amplitude or support drawn transparent round it.
    geometry
        For volumes in the detector's frame: they are drawn unskewed.

    Returns
    -------
    plotly.graph_objects.Figure

    Raises
    ------
    ArgumentError
        If no voxel reaches the level.
    DimensionError
        If this is not one volume.
    MissingDependencyError
        If plotly or scikit-image is not installed.
    """
    purpose = "drawing surfaces in space"
    go = require("plotly.graph_objects", extra="images", purpose=purpose)
    dims = space_dims(field, caller="plot_isosurface")
    if field.ndim != 3:
        raise DimensionError(
            f"plot_isosurface needs one volume; found {tuple(field.dims)}. "
            "Choose one, for example `.isel(state=0)`."
        )
    steps = of_states(basis(field, dims, geometry, caller="plot_isosurface"))
    voxel = steps.values / 10
    values = np.nan_to_num(field.transpose(*dims).values.astype(np.float32))
    if not 0 < quantile < 1:
        raise ArgumentError("quantile", quantile, "a share between 0 and 1")
    if level is None:
        inside = np.abs(values[values != 0])
        if not inside.size:
            raise ArgumentError("field", 0.0, "a field that is not zero")
        signed = bool((values < 0).any())
        at = np.quantile(inside, quantile) if signed else inside.max() / 2
        # Just below: a plateau at the quantile must not lie on the surface.
        level = 0.999 * float(at)
    shade = None if colour is None else colour.transpose(*dims).values.astype(float)
    meshes = []
    for sign, tint in ((1.0, "#d1495b"), (-1.0, "#00798c")):
        if (sign * values).max() > abs(level) > 0:
            surface = _surface(sign * values, abs(level), voxel)
            meshes.append(_mesh(go, surface, tint, shade, colour))
    if not meshes:
        top = float(np.abs(values).max())
        raise ArgumentError("level", level, f"a value other than 0, up to {top:.4g}")
    if outline is not None:
        around = np.nan_to_num(outline.transpose(*dims).values.astype(np.float32))
        surface = _surface(around, float(around.max()) / 2, voxel)
        meshes.append(_mesh(go, surface, "#888888", None, None, opacity=0.15))
    figure = go.Figure(meshes)
    axes = {f"{a}axis": {"title": {"text": f"{a} (nm)"}} for a in _AXES}
    title = str(field.attrs.get("long_name", field.name or ""))
    figure.update_layout(
        title={"text": f"{title} at {level:.3g}"},
        scene={"aspectmode": "data"} | axes,
        width=620,
        height=520,
    )
    return figure


def _surface(
    values: np.ndarray, level: float, voxel: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return corners in nm, their indices, and triangles."""
    measure = require(
        "skimage.measure",
        extra="images",
        purpose="drawing surfaces in space",
        package="scikit-image",
    )
    # Closed where the volume ends.
    padded = np.pad(values, 1)
    corners, triangles, _, _ = measure.marching_cubes(padded, level)
    index = corners - 1
    middle = np.array([n // 2 for n in values.shape])
    return (index - middle) @ voxel, index, triangles


def _mesh(
    go: Any,
    surface: tuple[np.ndarray, np.ndarray, np.ndarray],
    tint: str,
    shade: np.ndarray | None,
    colour: xr.DataArray | None,
    **options: Any,
) -> Any:
    corners, index, triangles = surface
    if shade is not None and colour is not None:
        options |= {
            "intensity": _nearest(shade, index),
            "colorscale": "RdBu_r",
            "colorbar": {"title": {"text": str(colour.attrs.get("long_name", ""))}},
        }
    else:
        options["color"] = tint
    x, y, z = corners.T
    i, j, k = triangles.T
    return go.Mesh3d(x=x, y=y, z=z, i=i, j=j, k=k, flatshading=False, **options)


def _nearest(shade: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return values of the nearest voxel that has one."""
    from scipy import ndimage

    hole = ~np.isfinite(shade)
    near = ndimage.distance_transform_edt(
        hole, return_distances=False, return_indices=True
    )
    rounded = np.clip(np.rint(index).astype(int), 0, np.array(shade.shape) - 1)
    return np.asarray(shade[tuple(near[:, *rounded.T])])
