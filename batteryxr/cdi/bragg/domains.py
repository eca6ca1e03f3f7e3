"""Domains: connected regions of similar phase, and what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import (
    VECTOR,
    bare,
    each_volume,
    space_axes,
    steps_in_space,
)
from batteryxr.core.blocks import apply, is_lazy
from batteryxr.core.checks import Rising
from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.core.model import label, require_dims, require_variables
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batteryxr.core.checks import Count


@recorded
def domains(
    crystal: xr.DataArray,
    *,
    edges: Annotated[Sequence[float], Rising()] | None = None,
    n_clusters: Literal[2, 3, 4] = 2,
    minimum: Count = 27,
    n_domains: Count = 16,
    geometry: xr.Dataset | None = None,
) -> xr.Dataset:
    """Divide a crystal into domains of similar phase.

    Lazy with given `edges`; without, reads once to find them, for all states alike.

    Parameters
    ----------
    crystal
        One of its fields: unwrapped phase, phase difference, displacement or strain on
        three axes of space, with or without ``state``; NaN outside the crystal.
    edges
        Values that part one class from the next, in the units of the field. None: those
        that make the classes most uniform (Otsu's criterion) over all states.
    n_clusters
        Number of classes, where `edges` is None: 2 to 4.
    minimum
        Regions of fewer voxels belong to no domain.
    n_domains
        Room in the tables: of each state the largest so many are listed and numbered.
    geometry
        For volumes in the detector's frame.

    Returns
    -------
    xarray.Dataset
        ``domain``, the number of each voxel's domain (from 1, largest first; 0 is
        none; in every state anew), and on ``domain_number``: ``size`` (nm3),
        ``level`` (class, from 0), ``mean_value``, ``centre`` (nm) and ``long_axis``
        on ``vector``. ``n_found`` counts all domains, also beyond the table.
        ``domain_edges`` are the edges.

    Raises
    ------
    ArgumentError
        If an option is out of range.
    ChunkingError
        If a volume is split over chunks.
    DataError
        If the field is complex, or classes are to be found where it does not vary.
    """
    dims = space_axes(crystal, caller="domains")
    if crystal.dtype.kind == "c":
        raise DataError(
            "crystal",
            "holds complex values",
            "Pass a field of it: `.cdi.unwrap()['phase']`, or a strain.",
        )
    steps = steps_in_space(crystal, geometry, caller="domains") / 10.0
    if edges is None:
        limits = _otsu(crystal, n_clusters)
    else:
        limits = np.asarray(edges, dtype=float)
        if limits.ndim != 1 or not limits.size:
            raise ArgumentError("edges", edges, "one number or several, that rise")
    from batteryxr.cdi.bragg.kernels.segments import segment

    numbers, *table = apply(
        each_volume(segment, "(i,j,k),(a,b)->(i,j,k),(d),(d),(d),(d,b),(d,b),()"),
        bare(crystal),
        steps,
        core_dims=[dims, ["axis", "vector"]],
        output_dims=[
            dims,
            *[["domain_number"]] * 3,
            *[["domain_number", "vector"]] * 2,
            [],
        ],
        output_sizes={"domain_number": n_domains},
        dtypes=[np.int32, *[np.float64] * 5, np.int64],
        caller="domains",
        edges=limits,
        minimum=minimum,
        room=n_domains,
    )
    numbers = numbers.transpose(*crystal.dims).assign_coords(crystal.coords)
    units = crystal.attrs.get("units", "1")
    named = [
        ("size", "nm3", "Size of the domain"),
        ("level", "1", "Class of the domain"),
        ("mean_value", units, f"Mean of {crystal.attrs.get('long_name', 'the field')}"),
        ("centre", "nm", "Centre of the domain"),
        ("long_axis", "1", "Direction of its longest extent"),
        ("n_found", "1", "Domains found"),
    ]
    result = xr.Dataset(
        {"domain": label(numbers, "domain", units="1", long_name="Domain")}
        | {
            name: label(values, name, units=u, long_name=long_name)
            for (name, u, long_name), values in zip(named, table, strict=True)
        }
    )
    note = {"units": units, "long_name": "Values between classes"}
    count = {"units": "1", "long_name": "Domain number"}
    return result.assign_coords(
        vector=("vector", list(VECTOR), {"units": "1", "long_name": "Axis"}),
        domain_number=("domain_number", np.arange(1, n_domains + 1), count),
    ).assign(domain_edges=("edge", limits, note))


@recorded
def track_domains(states: xr.Dataset) -> xr.Dataset:
    """Follow domains from each state to the next.

    Reads once, two states at a time.

    Parameters
    ----------
    states
        From `domains`, on ``state``.

    Returns
    -------
    xarray.Dataset
        On ``step``, from each state to the next (labelled with the later one):
        ``overlap`` of every domain with every later one (common voxels over those of
        either) on ``domain_number`` and ``later_number``; ``later``, the number of
        the later domain of the same class with the largest overlap (0 for none);
        ``growth`` (size over the earlier size), ``migration`` (nm, of the centre) and
        ``rotation`` (deg, of the long axis, 0 to 90).

    Raises
    ------
    DimensionError
        If there is no ``state``.
    VariableError
        If these are no domains.
    """
    need = ["domain", "size", "level", "centre", "long_axis"]
    require_variables(states, need, caller="track_domains")
    require_dims(states, ["state"], caller="track_domains")
    if is_lazy(states):
        table = states.drop_vars("domain").compute().assign(domain=states["domain"])
    else:
        table = states
    from batteryxr.cdi.bragg.kernels.segments import follow

    steps = []
    before = table["domain"].isel(state=0).values
    for k in range(1, states.sizes["state"]):
        after = table["domain"].isel(state=k).values
        one = {name: table[name].isel(state=k - 1).values for name in need[1:]}
        two = {name: table[name].isel(state=k).values for name in need[1:]}
        steps.append(follow(before, after, one, two))
        before = after
    names = ("overlap", "later", "growth", "migration", "rotation")
    described: dict[str, tuple[tuple[str, ...], str, str]] = {
        "overlap": (("domain_number", "later_number"), "1", "Overlap"),
        "later": (("domain_number",), "1", "Domain it becomes"),
        "growth": (("domain_number",), "1", "Size over earlier size"),
        "migration": (("domain_number",), "nm", "Migration of the centre"),
        "rotation": (("domain_number",), "deg", "Rotation of the long axis"),
    }
    data: dict[str, Any] = {}
    for index, name in enumerate(names):
        dims, units, long_name = described[name]
        values = np.array([step[index] for step in steps])
        attrs = {"units": units, "long_name": long_name}
        data[name] = (("step", *dims), values, attrs)
    later = {
        name: c.isel(state=slice(1, None)).rename(state="step").variable
        for name, c in table.coords.items()
        if c.dims == ("state",) and name != "state"
    }
    number = states["domain_number"]
    other = {"units": "1", "long_name": "Domain number in the later state"}
    return xr.Dataset(data, coords=later).assign_coords(
        domain_number=number, later_number=("later_number", number.values, other)
    )


def _otsu(field: xr.DataArray, n_clusters: int) -> np.ndarray:
    """Return the values that part classes best, from a histogram of everything."""
    from batteryxr.cdi.bragg.kernels.segments import otsu

    parts = (
        [field.isel(state=k) for k in range(field.sizes["state"])]
        if "state" in field.dims
        else [field]
    )
    low, high = np.inf, -np.inf
    # Twice through small volumes is cheaper than holding them all.
    for part in parts:
        values = part.values
        low, high = np.fmin(low, np.nanmin(values)), np.fmax(high, np.nanmax(values))
    if not low < high:
        raise DataError(
            "crystal", f"a field that is {float(low)} everywhere has no domains"
        )
    counts = np.zeros(256)
    for part in parts:
        values = part.values
        counts += np.histogram(values[np.isfinite(values)], 256, (low, high))[0]
    return otsu(counts, float(low), float(high), n_clusters)
