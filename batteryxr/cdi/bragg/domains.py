"""Domains: connected regions of similar phase."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import (
    VECTOR,
    bare,
    each_volume,
    inside,
    space_axes,
    variable,
)
from batteryxr.cdi.bragg.space import known_q, scattering_vector, steps_in_space
from batteryxr.core.blocks import apply, is_lazy
from batteryxr.core.checks import Rising
from batteryxr.core.errors import ArgumentError, DataError, warn_quality
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batteryxr.core.checks import Count


#: Axes of `segment`, as `numpy.vectorize` writes them.
_SEGMENT = "(i,j,k),(i,j,k),(a,b)->(i,j,k),(d),(d),(d),(d,b),(d,b),(d),(d,e),()"


@recorded
def domains(
    crystal: xr.DataArray | xr.Dataset,
    *,
    edges: Annotated[Sequence[float], Rising()] | Literal["signed"] | None = None,
    n_clusters: Literal[2, 3, 4] = 2,
    minimum: Count = 27,
    n_domains: Count = 16,
    geometry: xr.Dataset | None = None,
) -> xr.Dataset:
    """Divide a crystal into domains of similar phase.

    Lazy with `edges`; without, reads once to find edges for all states alike.

    Parameters
    ----------
    crystal
        One field of the crystal: unwrapped phase, phase difference, displacement or
        strain on three axes of space, with or without ``state``; NaN outside the
        crystal. A Dataset gives its ``phase_difference``, without voxels that are
        ``filled``.
    edges
        Values that separate the classes, in the units of the field. None: the values
        that make the classes most uniform (Otsu's criterion) over all states.
        ``"signed"``: patches that differ from the mode of their own state's field by 5
        standard deviations of its noise, lower (class 0) or higher (class 2). Each
        patch extends to half its own plateau; the rest is no domain. The states do not
        affect each other.
    n_clusters
        Number of classes, where `edges` is None: 2 to 4.
    minimum
        Smallest number of voxels of a domain; smaller regions belong to none.
    n_domains
        Number of rows in the tables: the largest domains of each state are listed.
    geometry
        Geometry of the measurement, for volumes in the detector's frame.

    Returns
    -------
    xarray.Dataset
        ``domain``, the number of each voxel's domain: from 1 for the largest, 0 for
        none, numbered anew in each state. On ``domain_number``: ``size`` (nm3),
        ``level`` (class, from 0), ``mean_value``, ``centre`` (nm, from where the labels
        of the axes are 0), ``long_axis`` on ``vector``, ``depth`` of the centre below
        the surface (nm), and where Q is known ``tilt``, the angle of the long axis to Q
        (deg). ``n_found`` counts all domains, also beyond the table. ``domain_edges``
        are the edges. With ``"signed"`` also ``size_error``, ``centre_error``,
        ``depth_error``, ``tilt_error`` and ``mean_value_error``: the effect of one
        standard deviation of noise at the edge, and of the voxel size.

    Raises
    ------
    ArgumentError
        If an option is out of range.
    ChunkingError
        If a volume is split over chunks.
    DataError
        If the field is complex, or if it is empty or constant and `edges` is None.

    Warns
    -----
    DataQualityWarning
        If edges lie beyond the values of a field in memory.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volumes = cell["states"].to_dataset()["intensity"].compute()
    >>> states = volumes.cdi.retrieve_states(schedule="60 HIO + 20 ER", n_starts=2)
    >>> geometry = volumes.cdi.geometry(beamline="theta")
    >>> differences = states.cdi.phase_differences(gauge="core")
    >>> domains = differences.cdi.domains(geometry=geometry)
    >>> domains["domain"].dims
    ('state', 'along_rocking', 'along_y', 'along_x')
    """
    body, whole = None, crystal
    if isinstance(crystal, xr.Dataset):
        field = variable(crystal, "phase_difference", caller="domains")
        body = crystal.get("support")
        crystal = field.where(~crystal["filled"]) if "filled" in crystal else field
    dims = space_axes(crystal, caller="domains")
    if crystal.dtype.kind == "c":
        raise DataError(
            "crystal",
            "holds complex values",
            "Pass a field of it: `.cdi.unwrap()['phase']`, or a strain.",
        )
    steps = steps_in_space(whole, geometry, caller="domains") / 10.0
    limits: np.ndarray | None = None
    if edges is None:
        limits = _otsu(crystal, n_clusters)
    elif not isinstance(edges, str):
        limits = np.asarray(edges, dtype=float)
        if limits.ndim != 1 or not limits.size:
            raise ArgumentError("edges", edges, "one number or several, that rise")
        _tell_of_edges(crystal, limits)
    from batteryxr.cdi.bragg.kernels.segments import segment

    numbers, *table = apply(
        each_volume(segment, _SEGMENT),
        bare(crystal),
        bare(crystal.notnull() if body is None else inside(body)),
        steps,
        core_dims=[dims, dims, ["axis", "vector"]],
        output_dims=[
            dims,
            *[["domain_number"]] * 3,
            *[["domain_number", "vector"]] * 2,
            ["domain_number"],
            ["domain_number", "of"],
            [],
        ],
        output_sizes={"domain_number": n_domains, "of": 5},
        dtypes=[np.int32, *[np.float64] * 7, np.int64],
        caller="domains",
        edges=limits,
        minimum=minimum,
        room=n_domains,
    )
    errors = table.pop(-2)
    table[3] = table[3] + _middle(crystal, dims, steps)
    result = _named_domains(crystal, numbers, table)
    if geometry is not None or known_q(whole) is not None:
        result["tilt"] = _tilt(whole, result["long_axis"], geometry)
    if limits is None:
        result = result.assign(_errors(result, errors))
    else:
        note = {"units": crystal.attrs.get("units", "1")}
        note |= {"long_name": "Values between classes"}
        result = result.assign(domain_edges=("edge", limits, note))
    count = {"units": "1", "long_name": "Domain number"}
    return result.assign_coords(
        vector=("vector", list(VECTOR), {"units": "1", "long_name": "Axis"}),
        domain_number=("domain_number", np.arange(1, n_domains + 1), count),
    )


def _tell_of_edges(field: xr.DataArray, edges: np.ndarray) -> None:
    """Warn of edges beyond the values of a field in memory."""
    if is_lazy(field):
        return
    low, high = float(field.min()), float(field.max())
    if beyond := [float(e) for e in edges if not low <= e <= high]:
        units = field.attrs.get("units", "1")
        warn_quality(
            f"domains: the edges {beyond} lie beyond the field, {low:.4g} to "
            f"{high:.4g} {units}. Are they in its units?"
        )


def _middle(
    crystal: xr.DataArray, dims: tuple[str, ...], steps: xr.DataArray
) -> xr.DataArray:
    """Return the position of index ``n // 2`` by the labels of a volume.

    Parameters
    ----------
    crystal
        Volume, maybe cropped.
    dims
        The axes of space.
    steps
        Step of each index in space, (axis, vector).
    """
    places = np.zeros(3)
    for number, dim in enumerate(dims):
        axis = crystal[dim].values
        if dim in crystal.coords and axis.size > 1:
            places[number] = axis[axis.size // 2] / (axis[1] - axis[0])
    return xr.dot(xr.DataArray(places, dims="axis"), steps, dim="axis")


def _named_domains(
    crystal: xr.DataArray, numbers: xr.DataArray, table: list[xr.DataArray]
) -> xr.Dataset:
    """Label the volume of domain numbers and the table of domains."""
    numbers = numbers.transpose(*crystal.dims).assign_coords(crystal.coords)
    units = crystal.attrs.get("units", "1")
    named = [
        ("size", "nm3", "Size of the domain"),
        ("level", "1", "Class of the domain"),
        ("mean_value", units, f"Mean of {crystal.attrs.get('long_name', 'the field')}"),
        ("centre", "nm", "Centre of the domain"),
        ("long_axis", "1", "Direction of its longest extent"),
        ("depth", "nm", "Depth of the centre below the surface"),
        ("n_found", "1", "Domains found"),
    ]
    return xr.Dataset(
        {"domain": label(numbers, "domain", units="1", long_name="Domain")}
        | {
            name: label(values, name, units=u, long_name=long_name)
            for (name, u, long_name), values in zip(named, table, strict=True)
        }
    )


def _tilt(
    crystal: xr.DataArray | xr.Dataset,
    axis: xr.DataArray,
    geometry: xr.Dataset | None,
) -> xr.DataArray:
    """Return the angle between long axes and Q."""
    q = scattering_vector(crystal, geometry, caller="domains")
    cosine = abs((axis * q).sum("vector", skipna=False)) / (q**2).sum("vector") ** 0.5
    tilt = xr.DataArray(np.degrees(np.arccos(cosine.clip(max=1.0))))
    tilt = tilt.transpose(*[d for d in axis.dims if d != "vector"])
    return label(tilt, "tilt", units="deg", long_name="Angle of the long axis to Q")


def _errors(result: xr.Dataset, errors: xr.DataArray) -> dict[str, xr.DataArray]:
    """Return the errors of the properties of domains."""
    out = {}
    for number, name in enumerate(("size", "centre", "depth", "tilt", "mean_value")):
        if name in result:
            words = (
                f"Standard deviation of the {result[name].attrs['long_name'].lower()}"
            )
            one = errors.isel(of=number, drop=True)
            units = result[name].attrs["units"]
            key = f"{name}_error"
            out[key] = label(one, key, units=units, long_name=words)
    return out


def _otsu(field: xr.DataArray, n_clusters: int) -> np.ndarray:
    """Return the values that separate the classes best, from one histogram."""
    from batteryxr.cdi.bragg.kernels.classes import otsu

    parts = (
        [field.isel(state=k) for k in range(field.sizes["state"])]
        if "state" in field.dims
        else [field]
    )
    low, high = np.inf, -np.inf
    # Reading small volumes twice is cheaper than holding them all.
    for part in parts:
        values = part.values
        values = values[np.isfinite(values)]
        low = min(low, float(values.min(initial=np.inf)))
        high = max(high, float(values.max(initial=-np.inf)))
    if low > high:
        raise DataError(
            "crystal",
            "a field without any value has no domains",
            "Pass a state that was retrieved.",
        )
    if not high - low > np.finfo(float).tiny * 1e3:
        raise DataError(
            "crystal",
            f"a field that is {low} everywhere has no domains",
            "Pass the phase or the strain of a crystal.",
        )
    counts = np.zeros(256)
    for part in parts:
        values = part.values
        counts += np.histogram(values[np.isfinite(values)], 256, (low, high))[0]
    return otsu(counts, low, high, n_clusters)
