"""Write results as NeXus: one NXdata per set of dimensions, with axes and errors."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.blocks import stream
from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError
from batteryxr.core.files import whole_hdf5
from batteryxr.core.optional import require
from batteryxr.core.version import __version__
from batteryxr.export.tables import call_of, groups_of

if TYPE_CHECKING:
    import os

    import h5py
    import xarray as xr

#: Characters that names in NeXus cannot have.
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.]")
#: Values per block while an array is written.
_BLOCK = 2_000_000


@checked
def write_nexus(
    data: xr.DataArray | xr.Dataset | xr.DataTree,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
) -> Path:
    """Write results as NeXus (HDF5), which NeXus viewers plot on opening.

    Variables on the same dimensions share an ``NXdata`` group with their coordinates;
    ``x_error`` is written as the ``x_errors`` of ``x``. Lazy data are read once, in
    blocks.

    Parameters
    ----------
    data
        An array, a dataset, or a tree whose groups become one ``NXentry`` each.
    path
        Path of the file, ending in ``.nxs``, ``.h5`` or ``.hdf5``.
    overwrite
        Replace an existing file.

    Returns
    -------
    pathlib.Path
        The NeXus file; it is written completely or not at all.

    Raises
    ------
    DataError
        If there is nothing to write.
    StoreError
        If the file exists and `overwrite` is False, or it cannot be written.
    MissingDependencyError
        If h5py is not installed (extra ``io``).

    Notes
    -----
    Times are seconds after the ``start`` of their array, in UTC. An ``NXprocess`` holds
    the call that made the numbers, and their history.
    Source: NeXus manual, NXdata (signal, axes, uncertainties).

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> batteryxr.write_nexus(cell["scans"].to_dataset(), "scans.nxs").name
    'scans.nxs'
    """
    require("h5py", extra="io", purpose="writing NeXus files")
    path = Path(path)
    if path.suffix.lower() not in (".nxs", ".h5", ".hdf5"):
        raise ArgumentError("path", str(path), "a name that ends in .nxs, .h5 or .hdf5")
    entries = [
        (_name(name or "entry"), part) for name, part in groups_of(data, "write_nexus")
    ]
    with whole_hdf5(path, overwrite=overwrite) as file:
        file.attrs["NX_class"] = "NXroot"
        file.attrs["default"] = entries[0][0]
        file.attrs["creator"] = "batteryxr"
        file.attrs["creator_version"] = __version__
        file.attrs["file_time"] = _now()
        for name, part in entries:
            _entry(file, name, part)
    return path


def _entry(file: h5py.File, name: str, part: xr.Dataset) -> None:
    entry = _group(file, name, "NXentry")
    if title := part.attrs.get("title"):
        entry["title"] = str(title)
    process = _group(entry, "process", "NXprocess")
    process["program"] = "batteryxr"
    process["version"] = __version__
    process["date"] = _now()
    if call := call_of(part):
        note = _group(process, "call", "NXnote")
        note["type"] = "application/json"
        note["data"] = call
    if history := part.attrs.get("history"):
        process["history"] = str(history)
    kinds: dict[tuple[str, ...], list[str]] = {}
    for n, array in part.data_vars.items():
        kinds.setdefault(tuple(str(d) for d in array.dims), []).append(str(n))
    for number, (dims, names) in enumerate(kinds.items()):
        group = _name("_".join(dims) or "values")
        if number == 0:
            entry.attrs["default"] = group
        _data(entry, group, part[names], dims)


def _data(
    entry: h5py.Group, name: str, part: xr.Dataset, dims: tuple[str, ...]
) -> None:
    group = _group(entry, name, "NXdata")
    errors = {f"{n}_error": str(n) for n in part.data_vars if f"{n}_error" in part}
    written = {}
    for n, array in part.data_vars.items():
        target = _name(f"{errors[n]}_errors" if n in errors else str(n))
        written[str(n)] = _write(group, target, array)
    for error, of in errors.items():
        written[of].attrs["uncertainties"] = written[error].name.rpartition("/")[2]
    plotted = [
        _name(str(n))
        for n, array in part.data_vars.items()
        if n not in errors and array.dtype.kind in "iufbcm"
    ]
    if plotted:  # texts and times of day cannot be the signal
        group.attrs["signal"] = plotted[0]
    if plotted[1:]:
        group.attrs["auxiliary_signals"] = plotted[1:]
    coords = {str(n): c for n, c in part.coords.items() if set(c.dims) <= set(dims)}
    if dims:
        group.attrs["axes"] = [_axis(d, coords) for d in dims]
    for n, coord in coords.items():
        _write(group, _name(n), coord)
        if coord.dims:
            places = [dims.index(str(d)) for d in coord.dims]
            group.attrs[f"{_name(n)}_indices"] = places


def _axis(dim: str, coords: dict[str, xr.DataArray]) -> str:
    """Return the coordinate to plot a dimension over: its labels, else a time."""
    for name in (dim, "time", "test_time"):
        if name in coords and coords[name].dims == (dim,):
            return _name(name)
    return "."


def _write(group: h5py.Group, name: str, array: xr.DataArray) -> h5py.Dataset:
    attrs: dict[str, Any] = {
        k: array.attrs[k]
        for k in ("units", "long_name", "flag_values", "flag_masks", "flag_meanings")
        if k in array.attrs
    }
    kind = array.dtype.kind
    if kind == "M":
        return _write_times(group, name, array, attrs)
    if kind == "m":
        array = (array / np.timedelta64(1, "s")).assign_attrs(units="s")
        attrs["units"] = "s"
    if kind in "OUS":
        known = ["" if v is None or v != v else str(v) for v in array.values.ravel()]
        texts = np.array(known, dtype=object)
        target = group.create_dataset(
            name, data=texts.reshape(array.shape), dtype=_texts()
        )
    else:
        target = _write_numbers(group, name, array)
    _tell(target, attrs)
    return target


def _write_numbers(group: h5py.Group, name: str, array: xr.DataArray) -> h5py.Dataset:
    dtype = np.dtype("u1") if array.dtype.kind == "b" else array.dtype
    if not array.dims:
        return group.create_dataset(name, data=array.values.astype(dtype))
    packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    target = group.create_dataset(
        name, array.shape, dtype, **(packed if array.size > 1000 else {})
    )
    rows = max(1, _BLOCK // max(1, int(np.prod(array.shape[1:]))))
    first = 0
    for (block,) in stream(array, dim=str(array.dims[0]), block=rows):
        target[first : first + len(block)] = block
        first += len(block)
    return target


def _write_times(
    group: h5py.Group, name: str, array: xr.DataArray, attrs: dict[str, Any]
) -> h5py.Dataset:
    times = array.values.astype("datetime64[ns]")
    known = times[~np.isnat(times)]
    start = known.min() if known.size else np.datetime64(0, "ns")
    seconds = (times - start) / np.timedelta64(1, "s")
    target = group.create_dataset(name, data=seconds)
    _tell(target, attrs | {"units": "s", "start": f"{np.datetime_as_string(start)}Z"})
    return target


def _tell(target: h5py.Dataset, attrs: dict[str, Any]) -> None:
    for name, value in attrs.items():
        if value is not None:
            target.attrs[name] = value


def _texts() -> Any:
    h5py: Any = require("h5py", extra="io", purpose="writing NeXus files")
    return h5py.string_dtype()


def _group(parent: h5py.Group, name: str, kind: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = kind
    return group


def _name(text: str) -> str:
    """Return a valid NeXus name."""
    name = _NOT_IN_NAMES.sub("_", text)
    return name if name[:1].isalpha() or name[:1] == "_" else f"_{name}"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
