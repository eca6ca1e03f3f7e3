"""Stores: opening by shard, saving with fast compression."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.checks import checked
from batteryxr.core.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Rows of a table per chunk, about 8 MB of float64.
ROWS = 1_000_000
#: Coordinates up to this size are opened in memory: plots and selections need them.
SMALL = 20_000
#: Chunk of a (energy, y, x) stack: a frame and a spectrum are both quick.
STACK = {"energy": 8, "y": 256, "x": 256}
#: Whole detector frames per chunk, and the bytes that a chunk stays below; at least 32.
FRAMES, FRAME_CHUNK = 64, 150_000_000
#: Group of ledgers beside a result, hidden from readers.
JOURNAL = "_journal"
#: Groups whose members are listed at the same time.
_READERS = 16


@checked
def open_store(path: str | Path, group: str | None = None) -> xr.Dataset | xr.DataTree:
    """Open a zarr store lazily, chunked by shard where it is sharded.

    Parameters
    ----------
    path
        The store.
    group
        One group of it, such as ``"echem/cycles"``.

    Returns
    -------
    xarray.Dataset or xarray.DataTree
        The dataset of `group`. Without `group` the whole experiment: a tree, or a
        dataset where the store has no groups.

    Raises
    ------
    StoreError
        If there is no such store or group, or groups that lie within one another do
        not fit on common coordinates.
    """
    held = groups(path)
    if group is not None:
        group = group.strip("/")
        if group not in held:
            raise StoreError(f"{path}: no group {group!r}; it holds {held}.")
        return open_dataset(path, group)
    if held == [""]:
        return open_dataset(path, None)
    datasets = {f"/{name}": open_dataset(path, name or None) for name in held}
    try:
        return xr.DataTree.from_dict(datasets)
    except ValueError as error:
        raise StoreError(
            f"{path}: groups within one another differ in their coordinates. Open them "
            f"one by one: open_store(path, group), with one of {held}. {error}"
        ) from error


def groups(path: str | Path) -> list[str]:
    """Return the groups of a store that hold data or attributes; the root is ``""``.

    Raises
    ------
    StoreError
        If there is no store at `path`.
    """
    import zarr

    try:
        root = zarr.open_group(str(path), mode="r")
    except FileNotFoundError as error:
        raise StoreError(f"{path}: no zarr store there.") from error
    found = {""} if dict(root.attrs) else set()
    for name, node in _members(root):
        if isinstance(node, zarr.Array):
            found.add(name.rpartition("/")[0])
        elif dict(node.attrs):
            found.add(name)
    return sorted(found) or [""]


def _members(root: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and node of all that is below a group, except in ledgers.

    Level by level, the groups of one level at the same time.
    """
    level = {"": root}
    with ThreadPoolExecutor(_READERS) as pool:
        while level:
            listed = pool.map(lambda group: list(group.members()), level.values())
            below = {}
            for above, members in zip(level, listed, strict=True):
                for name, node in members:
                    if name == JOURNAL:
                        continue
                    path = f"{above}/{name}" if above else name
                    if hasattr(node, "members"):
                        below[path] = node
                    yield path, node
            level = below


def open_dataset(path: str | Path, group: str | None) -> xr.Dataset:
    """Open one group as a dataset, chunked by shard."""
    bare = xr.open_zarr(str(path), group=group, consolidated=False, chunks=None)
    # Variables, not arrays with coordinates: merging those would read large ones.
    texts = {n: _as_text(a).variable for n, a in bare.data_vars.items()}
    coords = {n: _in_memory(_as_text(c)).variable for n, c in bare.coords.items()}
    bare = bare.assign(texts).assign_coords(coords)
    if not bare.sizes:
        return bare
    # Dask arrays of inner chunks make a frame of a sharded store 3 to 10 times slower.
    # The largest variable decides: a coordinate in one piece must not join its chunks.
    chunks: dict[str, int] = {}
    for variable in sorted(bare.variables.values(), key=lambda v: v.size):
        size = variable.encoding.get("shards") or variable.encoding.get("chunks")
        chunks |= {str(d): n for d, n in zip(variable.dims, size or (), strict=False)}
    small = {name: c.variable for name, c in bare.coords.items() if c.size <= SMALL}
    return bare.chunk(chunks).assign_coords(small)


def _as_text(array: xr.DataArray) -> xr.DataArray:
    if array.dtype.kind != "T":
        return array
    return array.copy(data=np.array(array.values.tolist(), dtype=str))


def _in_memory(array: xr.DataArray) -> xr.DataArray:
    return array.load() if array.size <= SMALL else array


@checked
def save(
    data: xr.Dataset | xr.DataArray | xr.DataTree,
    path: str | Path,
    *,
    group: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write labelled data to zarr with fast lossless compression.

    Dask-backed data are written chunk by chunk; memory is a few chunks. Detector frames
    go in chunks of at least 32 whole ones: one by one they read 4 to 18 times slower.

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
    dataset = _frames_together(storable(dataset))
    dataset.to_zarr(
        str(path),
        group=group,
        mode="w" if group or not path.exists() else "a",
        consolidated=False,
        encoding=encoding(dataset),
    )
    return path


def encoding(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Return zarr encodings: the codec that suits the values, chunks that serve well.

    Numbers take lz4 with byte shuffle, which costs next to nothing. Counts of detectors
    are mostly zero bits: zstd (level 3) with bit shuffle stores measured frames 1.3
    (ptychography) to 1.7 times (Bragg CDI) smaller than lz4 with bit shuffle, and still
    reads faster than a disk delivers; higher levels gain 4 to 10 % and write 2 to 20
    times slower. ``benchmarks/storage.py`` measures them side by side.
    """
    from zarr.codecs import BloscCodec

    plain = BloscCodec(cname="lz4", clevel=5, shuffle="shuffle")
    counts = BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle")
    chosen: dict[str, dict[str, Any]] = {}
    for name, variable in dataset.variables.items():
        if variable.dtype.kind not in "biufcmM":
            continue
        codec = counts if _is_frames(variable) else plain
        entry: dict[str, Any] = {"compressors": (codec,)}
        if variable.chunks is None and variable.ndim:
            entry["chunks"] = _default_chunks(variable)
        chosen[str(name)] = entry
    return chosen


def _is_frames(variable: xr.Variable) -> bool:
    """Tell whether a variable holds counts of a detector, frame by frame."""
    frames = {"detector_y", "detector_x"} < set(variable.dims)
    return frames and variable.dtype.kind in "iuf"


def _default_chunks(variable: xr.Variable) -> tuple[int, ...]:
    if variable.ndim == 1:
        return (min(variable.size, ROWS) or 1,)
    if _is_frames(variable):
        sizes = _frame_chunks(variable)
        return tuple(sizes[str(dim)] or 1 for dim in variable.dims)
    image = {"y", "x"} <= set(variable.dims)
    return tuple(
        max(1, min(n, STACK.get(str(dim), n) if image else n))
        for dim, n in zip(variable.dims, variable.shape, strict=True)
    )


def _frame_chunks(variable: xr.Variable) -> dict[str, int]:
    """Return the chunk of each dimension: whole frames, many along the last scan."""
    *scans, along = (str(d) for d in variable.dims if "detector" not in str(d))
    sizes = {str(d): variable.sizes[d] for d in variable.dims} | dict.fromkeys(scans, 1)
    frame = variable.dtype.itemsize * sizes["detector_y"] * sizes["detector_x"]
    group = max(32, min(FRAMES, FRAME_CHUNK // max(frame, 1)))
    return sizes | {along: min(sizes[along], group)}


def _frames_together(dataset: xr.Dataset) -> xr.Dataset:
    """Return lazy frames in chunks of at least 32 whole ones."""
    together = {}
    for name, variable in dataset.variables.items():
        if variable.chunks is None or not _is_frames(variable):
            continue
        wanted = _frame_chunks(variable)
        few = any(
            variable.chunksizes[d][0] < min(wanted[str(d)], 32)
            or ("detector" in str(d) and len(variable.chunksizes[d]) > 1)
            for d in variable.dims
            if wanted[str(d)] > 1
        )
        if few:
            together[name] = variable.chunk(wanted)
    return dataset.assign(together) if together else dataset


def storable(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset as zarr takes it best.

    Encodings remembered from another file would fight with ours. Text of fixed length
    has no place in zarr's specification; text of variable length has.
    """
    bare = dataset.drop_encoding()
    texts = {
        name: v.astype(np.dtypes.StringDType())
        for name, v in bare.variables.items()
        if v.dtype.kind == "U"
    }
    coords = {name: v for name, v in texts.items() if name in bare.coords}
    return bare.assign(
        {name: v for name, v in texts.items() if name not in coords}
    ).assign_coords(coords)


def holds_data(path: str | Path, group: str | None) -> bool:
    """Tell whether a group of a store has arrays in it."""
    import zarr

    try:
        node = zarr.open_group(str(path), path=group or "", mode="r")
    except FileNotFoundError:
        return False
    return any(True for _ in node.arrays())


def annotate(path: str | Path, group: str | None, **attrs: Any) -> None:
    """Set attributes of a group that is there; its arrays stay."""
    import zarr

    zarr.open_group(str(path), path=group or "", mode="r+").attrs.update(attrs)
