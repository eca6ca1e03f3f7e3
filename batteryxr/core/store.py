"""The one place that knows zarr: opening, saving, and resumable writing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.errors import StoreError
from batteryxr.core.progress import bar
from batteryxr.core.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Rows of a table per chunk, about 8 MB of float64.
ROWS = 1_000_000
#: Chunk of a (energy, y, x) stack: a frame and a spectrum are both quick.
STACK = {"energy": 8, "y": 256, "x": 256}
_JOURNAL = "_journal"


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
    groups = [name for name, _ in root.groups() if name != _JOURNAL]
    if not groups:
        return _open_dataset(path, group)
    inner = "" if group is None else f"{group}/"
    children: dict[str, Any] = {}
    if any(True for _ in root.arrays()) or root.attrs:
        children["/"] = _open_dataset(path, group)
    for name in groups:
        opened = open_store(path, f"{inner}{name}")
        children[name] = opened
    return _tree(children)


def _tree(children: dict[str, Any]) -> xr.DataTree:
    tree = xr.DataTree(dataset=children.pop("/", None))
    for name, child in children.items():
        tree[name] = child if isinstance(child, xr.DataTree) else xr.DataTree(child)
    return tree


def _open_dataset(path: str | Path, group: str | None) -> xr.Dataset:
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
    if not overwrite and _holds_data(path, group):
        raise StoreError(
            f"{path}, group {group or '/'!r} holds data already. "
            "Pass overwrite=True to replace it, or choose another group."
        )
    dataset = _unencoded(dataset)
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


def _unencoded(dataset: xr.Dataset) -> xr.Dataset:
    # Encodings remembered from another file would fight with ours.
    return dataset.drop_encoding()


def _holds_data(path: Path, group: str | None) -> bool:
    import zarr

    try:
        node = zarr.open_group(str(path), path=group or "", mode="r")
    except FileNotFoundError:
        return False
    return any(True for _ in node.arrays())


def write_resumable(
    dataset: xr.Dataset,
    path: str | Path,
    *,
    group: str,
    dim: str,
    fingerprint: dict[str, Any] | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Compute a lazy dataset piece by piece into zarr; go on where it stopped.

    Each chunk along `dim` is one piece: its own graph, written by region, then noted
    in a journal. Killed at any moment, the store opens and a second call computes
    only the pieces that are missing.

    Parameters
    ----------
    dataset
        Dask-backed; every data variable that has `dim` is chunked alike along it.
    path, group
        Where to write.
    dim
        The dimension to walk along.
    fingerprint
        What the result depends on beyond its shape and ``batteryxr_call``: input
        store, calibration. JSON values.
    progress
        Show a bar: True, False, or None for only where somebody watches.

    Returns
    -------
    xarray.Dataset
        The finished result, opened lazily.

    Raises
    ------
    StoreError
        If the group holds another result, or one of other arguments: the message
        names what differs.
    """
    import zarr

    regions = list(_regions(dataset, dim))
    mark = _fingerprint(dataset, dim, fingerprint or {})
    journal = _open_journal(path, group)
    if journal is None:
        if _holds_data(Path(path), group) and not _unfinished(path, group):
            raise StoreError(
                f"{path}, group {group!r} holds data that no resumable run wrote. "
                "Choose another group, or delete it."
            )
        template = _unencoded(dataset)
        template.attrs = template.attrs | {"batteryxr_unfinished": 1}
        template.to_zarr(
            str(path),
            group=group,
            mode="w",
            compute=False,
            consolidated=False,
            encoding=encoding(template),
        )
        # The journal comes last: where it is, the template is complete.
        journal = zarr.create_group(str(path), path=f"{group}/{_JOURNAL}")
        journal.create_array(
            "done",
            shape=(len(regions),),
            chunks=(1,),
            dtype="uint8",
            fill_value=0,
            dimension_names=("piece",),
        )
        journal.attrs["fingerprint"] = mark
    elif (stored := journal.attrs.get("fingerprint")) != mark:
        raise StoreError(
            f"{path}, group {group!r} holds a run of other arguments "
            f"({_difference(stored, mark)}). Delete the group or choose another."
        )
    done = journal["done"]
    with bar(None, f"Writing {group}", total=len(regions), progress=progress) as shown:
        for number, region in enumerate(regions):
            if not done[number]:
                _write_region(dataset, path, group, region)
                done[number] = 1
            shown.update(1)
    target = zarr.open_group(str(path), path=group, mode="r+")
    target.attrs["batteryxr_unfinished"] = 0
    return _open_dataset(path, group)


def _write_region(
    dataset: xr.Dataset, path: str | Path, group: str, region: dict[str, slice]
) -> None:
    (dim,) = region
    piece = dataset.isel(region)
    piece = piece.drop_vars(
        [n for n, v in piece.variables.items() if dim not in v.dims]
    )
    _unencoded(piece).to_zarr(str(path), group=group, region=region, consolidated=False)


def _regions(dataset: xr.Dataset, dim: str) -> Iterator[dict[str, slice]]:
    sizes = dataset.chunksizes.get(dim)
    if not sizes:
        raise StoreError(
            f"nothing to resume: the dataset is not chunked along {dim!r}. "
            f"Call `.chunk({dim}=...)`, or `save` it whole."
        )
    start = 0
    for size in sizes:
        yield {dim: slice(start, start + size)}
        start += size


def _open_journal(path: str | Path, group: str) -> Any:
    import zarr

    try:
        journal = zarr.open_group(str(path), path=f"{group}/{_JOURNAL}", mode="r+")
    except FileNotFoundError:
        return None
    # Killed between the journal and its fingerprint: nothing was computed yet.
    return journal if "fingerprint" in journal.attrs else None


def _unfinished(path: str | Path, group: str) -> bool:
    import zarr

    return (
        "batteryxr_unfinished" in zarr.open_group(str(path), path=group, mode="r").attrs
    )


def _fingerprint(
    dataset: xr.Dataset, dim: str, extra: dict[str, Any]
) -> dict[str, Any]:
    mark = {
        "call": dataset.attrs.get("batteryxr_call", ""),
        "version": __version__,
        "pieces": [int(n) for n in dataset.chunksizes[dim]],
        "variables": {
            str(name): [str(v.dtype), *map(int, v.shape)]
            for name, v in sorted(dataset.variables.items(), key=lambda i: str(i[0]))
        },
        "coordinates": {
            str(name): _digest(v.values)
            for name, v in dataset.coords.items()
            if v.chunks is None
        },
    }
    return json.loads(json.dumps(mark | extra))


def _digest(values: np.ndarray) -> str:
    import hashlib

    if values.dtype.kind == "O":
        values = values.astype(str)
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]


def _difference(stored: Any, wanted: dict[str, Any]) -> str:
    stored = stored or {}
    for key in sorted(stored.keys() | wanted.keys()):
        there, here = stored.get(key), wanted.get(key)
        if there != here:
            return f"{key}: stored {_short(there)}, asked for {_short(here)}"
    return "unknown difference"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 200 else text[:200] + "..."
