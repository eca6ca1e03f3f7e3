"""Domains followed over the states: how they form, grow, split and vanish."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batteryxr.core.blocks import is_lazy
from batteryxr.core.errors import DataError, warn_quality
from batteryxr.core.model import require_dims, require_variables
from batteryxr.core.provenance import recorded


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
    named = np.asarray(states["state"].values) if "state" in states.coords else None
    if named is not None and named.dtype.kind in "iuf":
        steps = np.sign(np.diff(named.astype(float)))
        if np.unique(steps).size > 1:
            warn_quality(
                f"track_domains: the states {named.tolist()} are not in order, and "
                "domains are followed from each to the next. Sort them: "
                "`.sortby('state')`."
            )
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
