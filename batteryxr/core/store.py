"""Stores: opening by shard, saving with fast compression."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr

from batteryxr.core.errors import StoreError

#: Rows of a table per chunk, about 8 MB of float64.
ROWS = 1_000_000
#: Chunk of a (energy, y, x) stack: a frame and a spectrum are both quick.
STACK = {"energy": 8, "y": 256, "x": 256}
#: Group of the resumable writer's notes, hidden from readers.
JOURNAL = "_journal"


def open_store(path: str | Path, group: str | None = None) -> xr.Dataset | xr.DataTree:
    """Open a zarr store lazily, chunked by shard where it is sharded.

    Parameters
    ----------
    path
        The store.
    group
        Group inside it, such as ``"echem"``. None opens the whole experiment.

    Returns
    -------
    xarray.Dataset or xarray.DataTree
        A tree where the store has groups and `group` is None.

    Raises
    ------
    StoreError
        If there is no such store or group.
    """
    import zarr

    try:
        root = zarr.open_group(str(path), path=group or "", mode="r")
    except FileNotFoundError as error:
        where = f"{path}" if group is None else f"{path}, group {group!r}"
        raise StoreError(
            f"{where}: no zarr store there. `batteryxr info` lists what a store holds."
        ) from error
    groups = [name for name, _ in root.groups() if name != JOURNAL]
    if not groups:
        return open_dataset(path, group)
    inner = "" if group is None else f"{group}/"
    children: dict[str, Any] = {}
    if any(True for _ in root.arrays()) or root.attrs:
        children["/"] = open_dataset(path, group)
    for name in groups:
        opened = open_store(path, f"{inner}{name}")
        children[name] = opened
    return _tree(children)


def _tree(children: dict[str, Any]) -> xr.DataTree:
    tree = xr.DataTree(dataset=children.pop("/", None))
    for name, child in children.items():
        tree[name] = child if isinstance(child, xr.DataTree) else xr.DataTree(child)
    return tree


def open_dataset(path: str | Path, group: str | None) -> xr.Dataset:
    """Open one group as a dataset, chunked by shard."""
    # Dask arrays of inner chunks make a frame of a sharded store 3 to 10 times slower.
    bare = xr.open_zarr(str(path), group=group, consolidated=False, chunks=None)
    if not bare.sizes:
        return bare
    chunks: dict[str, int] = {}
    for variable in bare.variables.values():
        size = variable.encoding.get("shards") or variable.encoding.get("chunks")
        for dim, n in zip(variable.dims, size or (), strict=False):
            chunks[str(dim)] = max(n, chunks.get(str(dim), 0))
    return bare.chunk(chunks)


def save(
    data: xr.Dataset | xr.DataArray | xr.DataTree,
    path: str | Path,
    *,
    group: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write labelled data to zarr with fast lossless compression.

    Dask-backed data are written chunk by chunk; memory is a few chunks.

    Parameters
    ----------
    data
        What to write. A DataArray is written under its name.
    path
        The store; other groups in it stay.
    group
        Group inside it.
    overwrite
        Replace a group that is there already.

    Returns
    -------
    pathlib.Path
        The store.

    Raises
    ------
    StoreError
        If the group holds data and `overwrite` is False.
    """
    path = Path(path)
    if isinstance(data, xr.DataTree):
        for node in data.subtree:
            inner = node.path.strip("/")
            where = "/".join(p for p in (group, inner) if p) or None
            if node.variables or node.attrs:
                save(node.to_dataset(), path, group=where, overwrite=overwrite)
        return path
    dataset = data.to_dataset() if isinstance(data, xr.DataArray) else data
    if not overwrite and holds_data(path, group):
        raise StoreError(
            f"{path}, group {group or '/'!r} holds data already. "
            "Pass overwrite=True to replace it, or choose another group."
        )
    dataset = unencoded(dataset)
    dataset.to_zarr(
        str(path),
        group=group,
        mode="w" if group or not path.exists() else "a",
        consolidated=False,
        encoding=encoding(dataset),
    )
    return path


def encoding(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Return zarr encodings: lz4 with byte shuffle, chunks that serve both ways."""
    from zarr.codecs import BloscCodec

    codec = BloscCodec(cname="lz4", clevel=5, shuffle="shuffle")
    chosen: dict[str, dict[str, Any]] = {}
    for name, variable in dataset.variables.items():
        if variable.dtype.kind not in "biufcmM":
            continue
        entry: dict[str, Any] = {"compressors": (codec,)}
        if variable.chunks is None and variable.ndim:
            entry["chunks"] = _default_chunks(variable)
        chosen[str(name)] = entry
    return chosen


def _default_chunks(variable: xr.Variable) -> tuple[int, ...]:
    if variable.ndim == 1:
        return (min(variable.size, ROWS) or 1,)
    sizes = []
    for dim, size in zip(variable.dims, variable.shape, strict=True):
        sizes.append(max(1, min(size, STACK.get(str(dim), size))))
    return tuple(sizes)


def unencoded(dataset: xr.Dataset) -> xr.Dataset:
    """Drop encodings remembered from another file: they would fight with ours."""
    return dataset.drop_encoding()


def holds_data(path: str | Path, group: str | None) -> bool:
    """Tell whether a group of a store has arrays in it."""
    import zarr

    try:
        node = zarr.open_group(str(path), path=group or "", mode="r")
    except FileNotFoundError:
        return False
    return any(True for _ in node.arrays())
