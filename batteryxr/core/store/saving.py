"""Saving of labelled data: all of it in one step, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError
from batteryxr.core.store.change import changing
from batteryxr.core.store.manifest import Manifest, joined
from batteryxr.core.store.places import StoreLike, location_of

if TYPE_CHECKING:
    from batteryxr.core.store.location import Location


@checked
def save(
    data: xr.Dataset | xr.DataArray | xr.DataTree,
    path: StoreLike,
    *,
    group: str | None = None,
    overwrite: bool = False,
) -> Any:
    """Write labelled data to zarr with fast lossless compression and checksums.

    Dask-backed data are written chunk by chunk; memory is a few chunks. Detector frames
    are stored in chunks of at least 32 whole frames: single frames read 4 to 18 times
    slower. The former content stays complete until everything is written, so data may
    be saved over their own source.

    Parameters
    ----------
    data
        Data to write. A DataArray is written under its name.
    path
        The store: a path, a URL such as ``"s3://bucket/cell.zarr"``, or a zarr store.
        Its other groups stay.
    group
        Group inside it.
    overwrite
        Replace an existing group that batteryxr wrote; groups below it stay.

    Returns
    -------
    pathlib.Path, str or zarr store
        The store: as a path if it is one.

    Raises
    ------
    StoreError
        If the group holds data and `overwrite` is False, or data of another program, if
        something lies there that is not a zarr store, if another process is writing, or
        if writing fails.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> path = batteryxr.save(cell, "cell.zarr")
    >>> path = batteryxr.save(
    ...     record.echem.half_cycles(), "cell.zarr", group="half_cycles"
    ... )
    >>> sorted(batteryxr.open_store("cell.zarr").children)
    ['echem', 'half_cycles', 'scans', 'truth']
    """
    location = location_of(path)
    with changing(location) as change:
        for name, dataset in _groups(data, group or ""):
            change.write(dataset, name, overwrite=overwrite)
    if not isinstance(path, str) or location.folder is None:
        return path
    return location.folder if "://" in path else Path(path)


def holds_data(path: StoreLike | Location, group: str | None) -> bool:
    """Return whether a group of a store contains arrays."""
    import zarr

    from batteryxr.core.store.reading import checked_store

    location = location_of(path)
    place = Manifest.read(location).place((group or "").strip("/"))
    try:
        store = checked_store(location)
        node = zarr.open_group(store, path=place, mode="r", use_consolidated=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return any(True for _ in node.arrays())


def _groups(
    data: xr.Dataset | xr.DataArray | xr.DataTree, group: str
) -> list[tuple[str, xr.Dataset]]:
    """Return the datasets to write, group by group."""
    group = group.strip("/")
    if isinstance(data, xr.DataTree):
        return [
            (joined(group, node.path.strip("/")), node.to_dataset())
            for node in data.subtree
            if node.variables or node.attrs
        ]
    return [(group, _dataset(data) if isinstance(data, xr.DataArray) else data)]


def _dataset(array: xr.DataArray) -> xr.Dataset:
    if array.name is None or array.name in array.coords:
        mend = 'Call `.rename("...")` first.'
        raise ArgumentError(
            "data", array.name, "a DataArray with a name of its own", mend
        )
    return array.to_dataset()
