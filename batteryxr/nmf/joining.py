"""Join several data sets that share their components into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core.checks import checked
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DimensionError,
    warn_quality,
)
from batteryxr.core.labels import matched
from batteryxr.core.model import DIMENSIONS
from batteryxr.core.units import in_units_of
from batteryxr.nmf.phases.measured import told

if TYPE_CHECKING:
    from typing import TypeAlias

    Several: TypeAlias = (
        xr.DataArray
        | xr.Dataset
        | Mapping[str, xr.DataArray]
        | Sequence[xr.DataArray]
        | xr.DataTree
    )

#: Dimensions along which a pattern or spectrum runs.
SIGNALS = ("r", "q", "energy", "two_theta", "shift")


@checked
def join(data: Several, *, signal: str | None = None) -> xr.DataArray:
    """Join several data sets that share their components into one.

    Lazy. Series are placed end to end along ``scan``, with the name of the data set as
    the coordinate ``run``. Images become the dimension ``particle``, padded with NaN
    where their sizes differ; positions that all share are kept. Other units are
    converted to those of the first data set. Different signals of the same scans, such
    as G(r) and spectra, share their ratios. They are placed side by side along
    ``channel``, each divided by its root mean square (``level``; read once), with
    their own axes and ``run`` as coordinates.

    Parameters
    ----------
    data
        Mapping of names to arrays, a sequence, or a DataTree whose leaves hold one
        variable each.
    signal
        The dimension of a pattern, if not one that batteryxr knows.

    Returns
    -------
    xarray.DataArray
        One array, ready for `fit`.

    Raises
    ------
    DimensionError
        If the arrays differ in their dimensions, or in their signal axis.

    Examples
    --------
    >>> oxide = batteryxr.simulate.oxide_series(n_scans=20, step=0.02)
    >>> pdf = oxide["scans"].to_dataset()["pdf"]
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=20)
    >>> xanes = cell["scans"].to_dataset()["absorption"]
    >>> both = batteryxr.nmf.join({"pdf": pdf, "xanes": xanes})
    >>> both.dims
    ('scan', 'channel')
    """
    named = _named(data)
    if not named:
        raise ArgumentError("data", data, "at least one array")
    own = [[d for d in SIGNALS if d in array.dims] for array in named.values()]
    if (
        signal is None
        and all(len(axes) == 1 for axes in own)
        and own.count(own[0]) < len(own)
    ):
        return _side_by_side(named)
    first_name, first = next(iter(named.items()))
    dims = tuple(str(d) for d in first.dims)
    axes = [signal] if signal else [d for d in SIGNALS if d in dims]
    for name, array in named.items():
        if set(array.dims) != set(dims):
            raise DimensionError(
                f"{name!r} has the dimensions {tuple(array.dims)}, {first_name!r} has "
                f"{dims}: only like data share components."
            )
    aligned = [
        matched(
            first, in_units_of(first, array), argument=f"data[{name!r}]", dims=axes
        ).transpose(*dims)
        for name, array in named.items()
    ]
    along = [d for d in dims if d not in axes]
    names = list(named)
    _tell_other_instruments(named)
    if len(along) == 1:
        runs = [
            a.assign_coords(run=(along[0], np.full(a.sizes[along[0]], n)))
            for a, n in zip(aligned, names, strict=True)
        ]
        joined = xr.concat(
            runs, dim=along[0], join="exact", coords="minimal", compat="override"
        )
        joined.coords["run"].attrs = {"units": "1", "long_name": "Data set"}
    else:
        index = xr.DataArray(
            names,
            dims="particle",
            attrs={"units": "1", "long_name": DIMENSIONS["particle"].capitalize()},
        )
        padded = _pad(aligned, along)
        joined = xr.concat(
            padded, dim=index.variable, join="exact", coords="minimal"
        ).assign_coords(particle=index)
    joined.attrs = dict(first.attrs)
    return joined.rename(first.name)


def _side_by_side(named: Mapping[str, xr.DataArray]) -> xr.DataArray:
    """Return different signals of the same patterns as one, along ``channel``."""
    first = next(iter(named.values()))
    parts, columns = [], {}
    for name, array in named.items():
        (axis,) = (d for d in SIGNALS if d in array.dims)
        along = [str(d) for d in array.dims if d != axis]
        if set(along) != {str(d) for d in first.dims if d not in SIGNALS}:
            raise DimensionError(
                f"{name!r} has dimensions {array.dims}, the first one {first.dims}: "
                "signals that are fitted together are of the same patterns."
            )
        same = matched(first, array, argument=f"data[{name!r}]", dims=along)
        # An infinite value, such as the log of no counts, is a gap here too.
        measured = same.where(np.isfinite(same)).astype(np.float64)
        level = float(np.sqrt((measured**2).mean()))
        if not level > 0:
            raise DataError(f"data[{name!r}]", "zero everywhere; expected patterns")
        values = (
            same[axis]
            if axis in same.coords
            else xr.DataArray(np.arange(same.sizes[axis]), dims=axis)
        )
        columns[axis] = dict(values.attrs)
        bare = same.drop_vars([n for n, c in same.coords.items() if axis in c.dims])
        bare = (bare / level).rename({axis: "channel"}).transpose(*along, "channel")
        size = bare.sizes["channel"]
        parts.append(
            bare.assign_coords(
                {
                    "run": ("channel", np.full(size, name)),
                    "level": ("channel", np.full(size, level)),
                    axis: ("channel", values.values.astype(np.float64)),
                }
            )
        )
    gaps = [
        part.assign_coords(
            {
                axis: ("channel", np.full(part.sizes["channel"], np.nan))
                for axis in columns
                if axis not in part.coords
            }
        )
        for part in parts
    ]
    joined = xr.concat(
        gaps, dim="channel", join="override", coords="minimal", compat="override"
    )
    joined.attrs = {"units": "1", "long_name": "Signals over their root mean squares"}
    for axis, attrs in columns.items():
        joined.coords[axis].attrs = attrs
    joined.coords["run"].attrs = {"units": "1", "long_name": "Data set"}
    joined.coords["level"].attrs = {"units": "1", "long_name": "Root mean square"}
    return joined.rename("signals")


def _tell_other_instruments(named: Mapping[str, xr.DataArray]) -> None:
    """Warn if the headers of G(r) name different instruments."""
    if not all("r" in array.dims for array in named.values()):
        return
    known = {name: told(array.attrs) for name, array in named.items()}
    for field in ("q_max", "q_damp", "q_broad", "radiation"):
        values = {name: of[field] for name, of in known.items() if field in of}
        if len(set(values.values())) > 1:
            words = ", ".join(f"{name!r} {value}" for name, value in values.items())
            warn_quality(
                f"{field} is not the same in all data sets ({words}): one phase has "
                "another pattern in each. What is calculated takes that of the first."
            )


def _named(data: Several) -> dict[str, xr.DataArray]:
    if isinstance(data, xr.DataTree):
        leaves = {n.path.strip("/"): n.to_dataset() for n in data.leaves}
        wrong = {
            k: list(v.data_vars) for k, v in leaves.items() if len(v.data_vars) != 1
        }
        if wrong:
            raise DataError(
                "data",
                f"a tree of several variables in a leaf: {wrong}",
                "Pass a mapping: {name: tree[name]['pdf']}.",
            )
        return {k: v[str(next(iter(v.data_vars)))] for k, v in leaves.items()}
    if isinstance(data, Mapping):
        named = {str(k): v for k, v in data.items()}
    elif isinstance(data, Sequence):
        named = {str(i + 1): array for i, array in enumerate(data)}
    else:
        raise ArgumentError("data", data, "a DataArray or several")
    arrays: dict[str, xr.DataArray] = {}
    for name, array in named.items():
        if not isinstance(array, xr.DataArray):  # also the letters of a string
            raise ArgumentError(f"data[{name!r}]", array, "a DataArray")
        arrays[name] = array
    return arrays


def _pad(arrays: list[xr.DataArray], along: list[str]) -> list[xr.DataArray]:
    """Pad images with NaN to one size; positions that differ are dropped."""
    out = [a.drop_vars([c for c in a.coords if c in along]) for a in arrays]
    out = [a.drop_vars([c for c in a.coords if c not in a.dims]) for a in out]
    for dim in along:
        size = max(a.sizes[dim] for a in arrays)
        if any(a.sizes[dim] < size for a in arrays):
            out = [
                a.pad({dim: (0, size - a.sizes[dim])}, constant_values=np.nan)
                for a in out
            ]
        places = [a.coords[dim].values for a in arrays if dim in a.coords]
        same = all(p.size == size and np.allclose(p, places[0]) for p in places)
        if places and same and len(places) == len(arrays):
            out = [a.assign_coords({dim: arrays[0].coords[dim]}) for a in out]
    return out
