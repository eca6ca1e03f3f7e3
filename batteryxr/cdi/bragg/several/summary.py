"""A summary of each state: means and spreads of its fields."""

from __future__ import annotations

import functools
from typing import Any

import xarray as xr

from batteryxr.cdi.bragg.axes import space_axes
from batteryxr.cdi.bragg.several.deviation import error_of, replicas_of
from batteryxr.cdi.bragg.states import carried_attrs
from batteryxr.core.model import label, require_variables
from batteryxr.core.provenance import recorded


@recorded
def summarise_states(states: xr.Dataset) -> xr.Dataset:
    """Reduce the fields of each state to means and spreads.

    Lazy.

    Parameters
    ----------
    states
        Result of `strain` and the steps before it, with or without ``state``. Voxels
        flagged as ``filled`` are left out.

    Returns
    -------
    xarray.Dataset
        ``<name>_mean`` and ``<name>_spread`` of phase, displacement and strain where
        present, ``mean_strain`` and ``n_voxels``. For a crystal with `replicas` also
        the error of each, such as ``<name>_mean_error``. Where `displacement` removed
        the ramp, the means are zero by construction and are left out.

    Raises
    ------
    VariableError
        If none of these fields is there.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volumes = cell["states"].to_dataset()["intensity"].compute()
    >>> states = volumes.cdi.retrieve_states(schedule="60 HIO + 20 ER", n_starts=2)
    >>> table = states.cdi.unwrap().cdi.summarise_states()
    """
    names = [n for n in ("phase", "displacement", "strain") if n in states]
    if not names:
        require_variables(states, ["strain"], caller="summarise_states")
    dims = space_axes(states, caller="summarise_states")
    result: dict[str, Any] = {}
    used = states[names[0]].notnull()
    for name in names:
        field = states[name]
        if "filled" in states:
            field = field.where(~states["filled"])
        used = field.notnull() if name == names[0] else used
        title, units = field.attrs["long_name"], field.attrs["units"]
        kinds = {"mean": xr.DataArray.mean, "spread": xr.DataArray.std}
        if states.attrs.get("ramp") == "removed":
            kinds.pop("mean")
        for what, kind in kinds.items():
            key = f"{name}_{what}"
            words = f"{title}, {what}"
            reduced = kind(field, dims)
            result[key] = label(reduced, key, units=units, long_name=words)
            each = replicas_of(states, f"{name}_replicas")
            if each is None:
                continue
            error = error_of(field, each, functools.partial(kind, dim=dims))
            words = f"Standard deviation of {words}"
            result[f"{key}_error"] = label(
                error, f"{key}_error", units=units, long_name=words
            )
    for name in ("mean_strain", "mean_strain_error"):
        if name in states:
            result[name] = states[name]
    count = used.sum(dims)
    result["n_voxels"] = label(count, "n_voxels", units="1", long_name="Voxels")
    return xr.Dataset(result, attrs=carried_attrs(states))
