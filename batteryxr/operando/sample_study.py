"""Apply one method to several samples: join the results, or overlay the plots."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import xarray as xr

from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError, pass_on, warn_caller
from batteryxr.core.plotting import joined, overlaid


@checked
def over_samples(data: Mapping[str, Any], method: str, /, **options: Any) -> Any:
    """Call one accessor method for every sample, and join the results.

    Parameters
    ----------
    data
        Records, series or results by the name of their sample.
    method
        Method as typed after the object: "echem.cycles", "xanes.fit_lattice",
        "echem.plot.voltage_profile".
    **options
        Options of the method. A mapping by names of samples gives each sample its
        own value, such as its mass.

    Returns
    -------
    xarray.Dataset, xarray.DataArray or holoviews object
        Results along ``sample`` (variables that a sample lacks are missing in it), or
        overlaid plots with a colour for each sample. Methods that plot cycles, rates,
        dQ/dV, titrations, spectra and series accept a result along ``sample`` too.

    Raises
    ------
    ArgumentError
        If there is no sample, no such method, or an option for only some samples.
        Errors and warnings of the method name the sample they come from.

    Examples
    --------
    >>> from batteryxr.operando import over_samples
    >>> records = {
    ...     name: batteryxr.simulate.cell_experiment(seed=seed)["echem"].to_dataset()
    ...     for seed, name in enumerate(["A1", "A2"])
    ... }
    >>> mass = {"A1": 7.0, "A2": 7.2}
    >>> cycles = over_samples(
    ...     records, "echem.cycles", electrode="cathode", first="charge", mass=mass
    ... )
    >>> cycles["charge_specific_capacity"].dims
    ('sample', 'cycle')
    >>> plot = cycles.echem.plot.cycles()
    """
    if not data:
        raise ArgumentError("data", dict(data), "at least one sample")
    parts = method.split(".")
    found = {}
    for name, obj in data.items():
        if not isinstance(obj, xr.DataArray | xr.Dataset):
            raise ArgumentError(
                "data", type(obj).__name__, f"a DataArray or Dataset for {name!r}"
            )
        own = {key: _own(key, value, name, data) for key, value in options.items()}
        found[str(name)] = _called(_bound(obj, parts, method), own, name)
    first = next(iter(found.values()))
    if isinstance(first, xr.DataArray | xr.Dataset):
        return joined(found)
    return overlaid(found)


def _own(key: str, value: Any, name: str, data: Mapping[str, Any]) -> Any:
    """Return the value of an option for one sample.

    Raises
    ------
    ArgumentError
        If it is given for some samples, but not for all.
    """
    if not isinstance(value, Mapping) or not set(value) & set(data):
        return value
    if absent := [n for n in data if n not in value]:
        raise ArgumentError(
            key, dict(value), f"one for every sample; {absent} have none"
        )
    return value[name]


def _called(method: Any, options: dict[str, Any], name: str) -> Any:
    """Call a method, and name the sample in its warnings and errors."""
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            result = method(**options)
    except Exception as error:
        error.add_note(f"This happened in the sample {name!r}.")
        raise
    finally:
        for each in pass_on(told):
            warn_caller(f"{name}: {each.message}", each.category)
    return result


def _bound(obj: Any, parts: list[str], method: str) -> Any:
    bound = obj
    for part in parts:
        bound = None if part.startswith("_") else getattr(bound, part, None)
        if bound is None:
            raise ArgumentError(
                "method",
                method,
                "a method of an accessor, such as 'echem.cycles'",
                f"There is no {part!r}.",
            )
    if len(parts) < 2 or not callable(bound):
        raise ArgumentError("method", method, "a method, such as 'echem.cycles'")
    return bound
