"""Domains: connected regions of similar phase, followed over the states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

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
from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.core.model import label, require_dims, require_variables
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
        On ``step``, from each state to the next (labelled by the later one):
        ``overlap`` of every domain with every later one (voxels in both over voxels in
        either) on ``domain_number`` and ``later_number``; ``later``, the number of the
        later domain of the same class with the largest overlap (0 for none); ``growth``
        (size over the earlier size), ``migration`` of the centre (nm) and ``rotation``
        of the long axis (deg, 0 to 90), each with its error where the domains have
        errors.

        On ``state``: ``chain``, the number that a domain keeps through all states, also
        through states in which it is not seen (0 for none). ``event`` is what happened
        to it since it was last seen: 1 forms, 2 stays, 3 grows, 4 shrinks (by more than
        twice its error, or by a tenth without errors), 5 splits from another.
        ``vanished`` counts the domains that are not seen from this state on.

    Raises
    ------
    DataError
        If there is only one state, or the table does not begin with domain 1.
    DimensionError
        If there is no ``state``.
    VariableError
        If these are no domains.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volumes = cell["states"].to_dataset()["intensity"].compute()
    >>> states = volumes.cdi.retrieve_states(schedule="60 HIO + 20 ER", n_starts=2)
    >>> frame = volumes.cdi.geometry(beamline="theta")
    >>> differences = states.cdi.phase_differences(gauge="core")
    >>> tracked = differences.cdi.domains(geometry=frame).cdi.track_domains()
    """
    need = ["domain", "size", "level", "centre", "long_axis"]
    require_variables(states, need, caller="track_domains")
    require_dims(states, ["state"], caller="track_domains")
    states = _whole_table(states)
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
    data |= _growth_errors(table, data)
    data |= _fates(states["domain"], table)
    number = states["domain_number"]
    other = {"units": "1", "long_name": "Domain number in the later state"}
    of_state = {k: c for k, c in table.coords.items() if c.dims == ("state",)}
    of_state = {k: c for k, c in of_state.items() if k not in later or k == "state"}
    result = xr.Dataset(data, coords=later | of_state)
    return result.assign_coords(
        domain_number=number, later_number=("later_number", number.values, other)
    )


def _whole_table(states: xr.Dataset) -> xr.Dataset:
    """Check the order of domains; set domains beyond the table to none.

    Raises
    ------
    DataError
        If there is one state, or rows are not those of domains 1, 2, 3 and so on.
    """
    if states.sizes["state"] < 2:
        raise DataError("states", "one state has none to go on to", "Pass several.")
    rows = states["domain_number"].values.tolist()
    if rows != list(range(1, len(rows) + 1)):
        raise DataError(
            "states",
            f"its table has the domains {rows}, not 1, 2, 3 and so on",
            "Pass the table as `domains` made it, or its first rows.",
        )
    known = states["domain"].where(states["domain"] <= len(rows), 0)
    return states.assign(domain=known).transpose("state", "domain_number", ...)


def _growth_errors(table: xr.Dataset, found: dict[str, Any]) -> dict[str, Any]:
    """Return the errors of growth, migration and rotation, where domains have them."""
    if "size_error" not in table:
        return {}
    later = found["later"][1]
    relative = (table["size_error"] / table["size"]).values
    pairs = {
        "growth": (relative, found["growth"][1], "1"),
        "migration": (table["centre_error"].values, 1.0, "nm"),
    }
    if "tilt_error" in table:
        pairs["rotation"] = (table["tilt_error"].values, 1.0, "deg")
    out: dict[str, Any] = {}
    for name, (error, factor, units) in pairs.items():
        after = np.take_along_axis(error[1:], np.maximum(later - 1, 0), axis=1)
        both = np.where(later > 0, np.hypot(error[:-1], after), np.nan) * factor
        attrs = {"units": units, "long_name": f"Standard deviation of the {name}"}
        out[f"{name}_error"] = (("step", "domain_number"), both, attrs)
    return out


def _fates(numbers: xr.DataArray, table: xr.Dataset) -> dict[str, Any]:
    """Return the chains of domains through all states, and their events."""
    from batteryxr.cdi.bragg.kernels.segments import chains

    size = table["size"].values
    maps = [numbers.isel(state=k).values for k in range(numbers.sizes["state"])]
    chain, parent = chains(maps, table["level"].values, size)
    error = table["size_error"].values if "size_error" in table else 0.05 * size
    event = np.zeros(chain.shape, np.int8)
    vanished = np.zeros(len(chain), int)
    last: dict[int, tuple[float, float]] = {}
    for state, row in enumerate(chain):
        for k in np.flatnonzero(row):
            before, now = last.get(int(row[k])), (size[state, k], error[state, k])
            if before is None:
                event[state, k] = 5 if parent[state, k] else 1
            else:
                change = now[0] - before[0]
                told = abs(change) > 2 * np.hypot(now[1], before[1])
                event[state, k] = (3 if change > 0 else 4) if told else 2
            last[int(row[k])] = now
    for number in last:
        seen = int(np.flatnonzero((chain == number).any(axis=1))[-1])
        if seen + 1 < len(chain):
            vanished[seen + 1] += 1
    flags = "1 forms, 2 stays, 3 grows, 4 shrinks, 5 splits from another"
    dims = ("state", "domain_number")
    return {
        "chain": (dims, chain, {"units": "1", "long_name": "Domain of all states"}),
        "event": (
            dims,
            event,
            {"units": "1", "long_name": "What happened", "flags": flags},
        ),
        "vanished": ("state", vanished, {"units": "1", "long_name": "Vanished"}),
    }


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
        raise DataError("crystal", "a field without any value has no domains")
    if not low < high:
        raise DataError("crystal", f"a field that is {low} everywhere has no domains")
    counts = np.zeros(256)
    for part in parts:
        values = part.values
        counts += np.histogram(values[np.isfinite(values)], 256, (low, high))[0]
    return otsu(counts, low, high, n_clusters)
