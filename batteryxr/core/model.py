"""The data model: names, units and meanings, and checks of data against it.

This module alone defines the names of dimensions and variables. Readers produce these
names, accessors rely on them, and every message about a missing name comes from here.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import xarray as xr

from batteryxr.core.errors import (
    ChunkingError,
    DataError,
    DimensionError,
    VariableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Within these limits a value has a square that numbers hold.
_SQUARES = (1e-140, 1e140)
#: Meaning of each dimension, for messages and accessor summaries.
DIMENSIONS: dict[str, str] = {
    "scan": "exposures of an operando series",
    "state": "chosen voltage states",
    "record": "rows of a cycler file",
    "cycle": "cycles, numbered from 1",
    "half_cycle": "half cycles, numbered from 1",
    "cell": "cells of one study",
    "group": "groups of cells that are alike",
    "pulse": "titration pulses, numbered from 1",
    "switch": "switches of the current, numbered from 1",
    "interruption": "interruptions of the current, numbered from 1",
    "delay": "times after a switch",
    "capacity": "charge along a slow charge or discharge",
    "energy": "photon energy",
    "y": "real space, vertical",
    "x": "real space, horizontal",
    "z": "real space, along the beam",
    "position": "ptychography scan points",
    "detector_y": "detector rows",
    "detector_x": "detector columns",
    "rocking": "rocking angle",
    "along_rocking": "real space that belongs to the rocking axis, voxels",
    "along_y": "real space that belongs to the detector rows, voxels",
    "along_x": "real space that belongs to the detector columns, voxels",
    "spectrum": "impedance spectra, numbered from 1",
    "frequency": "frequencies of an impedance, or shells of spatial frequency",
    "start": "random starts",
    "replica": "retrievals with photons drawn anew",
    "mode": "coherent modes",
    "tau": "relaxation times",
    "channel": "parts, or several signals, side by side",
    "r": "interatomic distance",
    "q": "momentum transfer",
    "two_theta": "diffraction angle",
    "d": "lattice spacing",
    "shift": "Raman shift or wavenumber",
    "sample": "materials side by side",
    "reflection": "reflections of a crystal",
    "particle": "samples of one study",
    "component": "components of a factorisation",
    "cluster": "clusters",
    "standard": "reference standards",
    "subset": "subsets of the standards",
    "quantity": "fitted quantities whose errors are compared",
    "peak": "peaks",
    "material": "materials of a comparison",
    "note": "what a reader must not miss",
}


@dataclass(frozen=True)
class Quantity:
    """Describe units (UDUNITS spelling) and plot label of a named quantity."""

    units: str
    long_name: str


#: Units and long names of the quantities that batteryxr knows by name.
QUANTITIES: dict[str, Quantity] = {
    # axes
    "energy": Quantity("eV", "Photon energy"),
    "y": Quantity("nm", "y"),
    "x": Quantity("nm", "x"),
    "z": Quantity("nm", "z"),
    "position_y": Quantity("nm", "Scan position y"),
    "position_x": Quantity("nm", "Scan position x"),
    "rocking": Quantity("deg", "Rocking angle"),
    "r": Quantity("Angstrom", "Distance r"),
    "q": Quantity("1/Angstrom", "Momentum transfer Q"),
    "two_theta": Quantity("deg", "Diffraction angle 2θ"),
    "d": Quantity("Angstrom", "Lattice spacing d"),
    "wavelength": Quantity("Angstrom", "Wavelength"),
    "shift": Quantity("1/cm", "Raman shift"),
    "exposure": Quantity("s", "Exposure time"),
    "temperature": Quantity("degC", "Temperature"),
    # cycling
    "test_time": Quantity("s", "Test time"),
    "pause": Quantity("s", "Time that test time stood still before the row"),
    "voltage": Quantity("V", "Voltage"),
    "current": Quantity("mA", "Current"),
    "capacity": Quantity("mA h", "Capacity"),
    "specific_capacity": Quantity("mA h g-1", "Specific capacity"),
    "specific_energy": Quantity("W h kg-1", "Specific energy"),
    "specific_current": Quantity("mA g-1", "Specific current"),
    "li_content": Quantity("1", "Li per formula unit"),
    "cycle": Quantity("1", "Cycle number"),
    "half_cycle": Quantity("1", "Half-cycle number"),
    "step": Quantity("1", "Step number"),
    "pulse": Quantity("1", "Pulse number"),
    "spectrum": Quantity("1", "Spectrum number"),
    "frequency": Quantity("Hz", "Frequency"),
    # patterns
    "pdf": Quantity("1/Angstrom2", "G(r)"),
    "absorption": Quantity("1", "Absorption μt"),
    "optical_density": Quantity("1", "Optical density"),
}


def label(array: xr.DataArray, name: str, **attrs: Any) -> xr.DataArray:
    """Name an array and give it the units and long name of the data model.

    Parameters
    ----------
    array
        Any array; its own attributes are dropped.
    name
        A key of `QUANTITIES`, or any name if `units` and `long_name` are given.
    **attrs
        Attributes that override or extend those of the data model.

    Returns
    -------
    xarray.DataArray
        The same values, renamed and labelled.
    """
    labelled = array.copy(deep=False)
    labelled.name = name
    labelled.attrs = attributes(name, **attrs)
    return labelled


def together(
    arrays: Mapping[str, xr.DataArray], coords: xr.Coordinates | None = None
) -> xr.Dataset:
    """Join results of one call, which have the same labels, without comparing them.

    Parameters
    ----------
    arrays
        Arrays by the names of their variables.
    coords
        Further coordinates, for dimensions without labels.
    """
    widest = max(arrays.values(), key=lambda array: len(array.coords)).coords
    if any(not {*array.coords} <= {*widest} for array in arrays.values()):
        return xr.Dataset(arrays, coords)
    variables = {name: array.variable for name, array in arrays.items()}
    return xr.Dataset(variables, widest | (coords or {}))


def attributes(name: str, **attrs: Any) -> dict[str, Any]:
    """Return the attributes of a named quantity, overridden by `attrs`."""
    known = QUANTITIES.get(name)
    base = {"units": known.units, "long_name": known.long_name} if known else {}
    merged = base | attrs
    if missing := {"units", "long_name"} - merged.keys():
        raise KeyError(f"{name!r} is not in the data model: give {sorted(missing)}")
    return merged


def in_words(name: str) -> str:
    """Return a name of the data as people write it: ``edge_energy`` as "Edge energy".

    Symbols of up to three letters, such as ``x`` and ``pdf``, stay as they are.
    """
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:] if len(words) > 3 else words


def require_dims(
    obj: xr.DataArray | xr.Dataset, dims: Iterable[str], *, caller: str
) -> None:
    """Raise a `DimensionError` that names missing dimensions and the remedy."""
    present = [str(d) for d in obj.dims]
    missing = [d for d in dims if d not in present]
    if not missing:
        return
    lines = []
    for dim in missing:
        meaning = DIMENSIONS.get(dim)
        lines.append(f"{dim!r} ({meaning})" if meaning else repr(dim))
    spare = [d for d in present if d not in DIMENSIONS]
    mend = (
        f"Rename yours, for example `.rename({spare[0]}={missing[0]!r})`."
        if spare
        else "Read the file with batteryxr's reader, or build the object with it."
    )
    raise DimensionError(
        f"{caller} needs the dimension {' and '.join(lines)}; "
        f"found {tuple(present)}. {mend}"
    )


def require_variables(ds: xr.Dataset, names: Iterable[str], *, caller: str) -> None:
    """Raise a `VariableError` that names missing variables and similar names."""
    if not isinstance(ds, xr.Dataset):
        raise VariableError(
            f"{caller} needs a Dataset; found a {type(ds).__name__}. "
            "Call it on the Dataset that holds the variables."
        )
    missing = [n for n in names if n not in ds.variables]
    if not missing:
        return
    present = [str(v) for v in ds.variables]
    near = difflib.get_close_matches(missing[0], present, n=1, cutoff=0.5)
    mend = (
        f"Rename {near[0]!r}: `.rename({near[0]}={missing[0]!r})`."
        if near
        else "Add it with `.assign(...)`."
    )
    words = "variables" if len(missing) > 1 else "variable"
    raise VariableError(
        f"{caller} needs the {words} {', '.join(map(repr, missing))}; "
        f"found {present}. {mend}"
    )


def require_size(largest: float, what: str) -> None:
    """Require that the largest value has a square that numbers can hold.

    Parameters
    ----------
    largest
        Largest absolute value; 0 and NaN pass.
    what
        Name of the data, for the message.
    """
    if 0 < largest < _SQUARES[0] or largest > _SQUARES[1]:
        raise DataError(
            what,
            f"its largest value is {largest:.3g}: squares are beyond what numbers hold",
            "Give it in a unit in which it is near 1.",
        )


def require_whole(obj: xr.DataArray | xr.Dataset, dim: str, *, caller: str) -> None:
    """Raise a `ChunkingError` where dask chunks split `dim`."""
    # Check each variable: coordinates may be chunked differently from the data.
    for array in [obj] if isinstance(obj, xr.DataArray) else obj.values():
        chunks = array.variable.chunksizes.get(dim, ())
        if len(chunks) > 1:
            raise ChunkingError(
                f"{caller} needs {dim!r} in one chunk; found {len(chunks)} chunks of "
                f"{chunks[0]}. Call `.chunk({dim}=-1)` first, or store the data with "
                f"{dim!r} whole."
            )
