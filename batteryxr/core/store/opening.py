"""Opening of stores: lazily, by shard, only groups that count and are complete."""

from __future__ import annotations

import json
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.checks import checked
from batteryxr.core.errors import StoreError, warn_quality
from batteryxr.core.store.chunks import chunks_of, grid_of, problem_of_grid
from batteryxr.core.store.encoding import with_text
from batteryxr.core.store.leftovers import pending
from batteryxr.core.store.location import (
    JOURNAL,
    METADATA,
    UNFINISHED,
    Location,
    telling,
)
from batteryxr.core.store.manifest import Manifest, digest_of, joined, stamp_of_manifest
from batteryxr.core.store.note import settle
from batteryxr.core.store.ownership import node_of
from batteryxr.core.store.pieces import WHOLE
from batteryxr.core.store.places import StoreLike, location_of
from batteryxr.core.store.verification import Damage, verify

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Largest coordinates that are opened in memory, for plots and selections.
SMALL = 20_000
#: Errors that invalid metadata raise where they are used.
_UNREADABLE = (
    *(ValueError, KeyError, TypeError, AttributeError),
    *(ArithmeticError, MemoryError, RuntimeError, struct.error),
)
#: Number of nodes whose metadata are read, or members listed, at the same time.
_READERS = 16
#: How often groups are opened that are replaced each time.
_LOOKS = 8


@checked
def open_store(
    path: StoreLike, group: str | None = None, *, verify: bool = False
) -> xr.Dataset | xr.DataTree:
    """Open a zarr store lazily, chunked by shard where it is sharded.

    Parameters
    ----------
    path
        The store: a path, a URL such as ``"s3://bucket/cell.zarr"``, or a zarr store.
    group
        Name of one group, such as ``"echem/cycles"``.
    verify
        Read everything first, and refuse a damaged store. Otherwise damage is reported
        when it is read.

    Returns
    -------
    xarray.Dataset or xarray.DataTree
        The dataset of `group`. Without `group` the whole experiment: a tree, or a
        dataset where the store has no groups. In an unfinished group, values that are
        not written yet are NaN, and a warning names the group.

    Raises
    ------
    StoreError
        If there is no such store or group, if nested groups do not fit on common
        coordinates, or if something is damaged.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> path = batteryxr.save(record, "cell.zarr")
    >>> lazy = batteryxr.open_store("cell.zarr")
    >>> lazy["voltage"].chunks is not None
    True
    """
    location = location_of(path)
    with telling(location, reading=True):
        if verify:
            _require_whole(location)
        if group is not None:
            return _opened(location, group.strip("/"))[group.strip("/")]
        found = _opened(location)
    if found.keys() == {""}:
        return found[""]
    datasets = {f"/{name}": dataset for name, dataset in found.items()}
    try:
        return xr.DataTree.from_dict(datasets)
    except ValueError as error:
        raise StoreError(
            f"{location}: groups within one another differ in their coordinates. Open "
            f"them one by one: open_store(path, group), with one of {[*found]}. {error}"
        ) from error


def groups(path: StoreLike | Location) -> list[str]:
    """Return the groups of a store that hold data or attributes; the root is ``""``.

    Raises
    ------
    StoreError
        If there is no store at `path`, or its metadata cannot be read.
    """
    location = location_of(path)
    with telling(location, reading=True):
        settle(location)
        return _held(location, Manifest.read(location))


def _held(location: Location, manifest: Manifest) -> list[str]:
    """Return the groups of a store, as `groups` does."""
    old = _is_old(location)
    try:
        nodes = _nodes_of_zarr(location) if old else _nodes(location)
        found = set()
        for name, node in nodes:
            if node["node_type"] == "array":
                found.add(name.rpartition("/")[0])
            elif node.get("attributes"):
                found.add(name)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(f"{location}: no zarr store there.") from error
    except _UNREADABLE as error:
        raise _unreadable(location, "", error) from error
    begun = pending(location, manifest)
    found = (found | manifest.groups.keys()) - begun
    if begun and not found:
        raise StoreError(
            f"{location} holds nothing yet: the first write to it goes on, or was "
            "interrupted. Save to it again."
        )
    return sorted(found) or [""]


def _is_old(location: Location) -> bool:
    """Return whether a store is of zarr format 2."""
    return location.get(METADATA) is None


def _nodes(location: Location) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and metadata of the root and all below it, except in ledgers.

    Levels are read in turn; a server is asked for the nodes of one level at the same
    time, which for files costs more than it saves. zarr would make objects of them, and
    look first at copies in the root that may be old.
    """
    level = [""]
    with ThreadPoolExecutor(_READERS) as pool:
        each: Any = map if location.folder is not None else pool.map
        while level:
            texts = each(lambda p: location.get(joined(p, METADATA)), level)
            groups = []
            for name, text in zip(level, texts, strict=True):
                if text is None and name:  # a folder of somebody else's
                    continue
                node = json.loads(text or b"")
                if WHOLE in node.get("attributes", {}):  # of a ledger
                    continue
                yield name, node
                if node["node_type"] == "group":
                    groups.append(name)
            listed = zip(groups, each(location.names, groups), strict=True)
            level = [
                joined(group, name)
                for group, names in listed
                for name in names
                if name not in (JOURNAL, METADATA)
            ]


def _nodes_of_zarr(location: Location) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what `_nodes` does of a store of zarr format 2."""
    import zarr

    from batteryxr.core.store.reading import checked_store

    store = checked_store(location)
    root = zarr.open_group(store, mode="r", use_consolidated=False)
    yield "", {"node_type": "group", "attributes": dict(root.attrs)}
    for name, node in root.members(max_depth=None):
        kind = "array" if isinstance(node, zarr.Array) else "group"
        yield name, {"node_type": kind, "attributes": dict(node.attrs)}


def open_dataset(path: StoreLike | Location, group: str | None) -> xr.Dataset:
    """Open one group as a dataset, chunked by shard."""
    location, name = location_of(path), (group or "").strip("/")
    with telling(location, reading=True):
        return _opened(location, name, listed=False)[name]


def _opened(
    location: Location, group: str | None = None, *, listed: bool = True
) -> dict[str, xr.Dataset]:
    """Open one group or all; look again at what is replaced in the meantime.

    On disk the pieces of a group are exchanged one after another.
    """
    found: dict[str, xr.Dataset] = {}
    known = Manifest()
    for left in reversed(range(_LOOKS)):
        settle(location)
        stamp, manifest = stamp_of_manifest(location), Manifest.read(location)
        for name in list(found):
            if manifest.groups.get(name) != known.groups.get(name):
                del found[name]
        known = manifest
        try:
            names = [group or ""]
            if listed:
                held = _held(location, manifest)
                names = held if group is None else [group]
                if names[0] not in held:
                    what = f"no group {group!r}; it holds {held}"
                    raise StoreError(f"{location}: {what}.")
            for name in names:
                if name not in found:
                    found[name] = _listed(location, name, manifest)
        except StoreError:
            if not left or not _is_changed(location, manifest, stamp):
                raise
        else:
            if not left or not _is_changed(location, manifest, stamp, failed=False):
                break
    return {name: found[name] for name in names}


def _is_changed(
    location: Location,
    manifest: Manifest,
    stamp: tuple[int, int] | None,
    *,
    failed: bool = True,
) -> bool:
    """Return whether a store was changed; servers are asked if something failed."""
    if location.folder is None:  # what counts is never written over
        return failed and Manifest.read(location) != manifest
    settle(location)
    return stamp_of_manifest(location) != stamp


def _listed(location: Location, name: str, manifest: Manifest) -> xr.Dataset:
    """Open one group at the place where the manifest says that it lies."""
    found = open_place(location, manifest.place(name), name, manifest)
    if entry := manifest.groups.get(name):
        lost = sorted(entry.metadata.keys() - {"", *map(str, found.variables)})
        if lost:
            damages = [
                Damage(joined(name, v), "", "its metadata is lost") for v in lost
            ]
            raise StoreError(_told(location, damages))
    return found


def open_place(
    location: Location, place: str, name: str, manifest: Manifest | None = None
) -> xr.Dataset:
    """Open the data that lie at `place` in a store, as its group `name`.

    Warns
    -----
    DataQualityWarning
        If the manifest tells of other metadata.
    """
    from batteryxr.core.store.reading import checked_store, open_group, told

    store = checked_store(location, place, name)
    store.memory.learn_sums(manifest.groups.get(name) if manifest else None)
    try:
        if _is_old(location):
            bare = xr.open_zarr(
                store, group=place or None, consolidated=False, chunks=None
            )
        else:
            bare = open_group(store, location, place)
        odd = _altered(location, name, manifest, store.memory.digests)
        store.memory.tell_codecs(bare.variables)
        bare = told(with_text(bare), store.memory, odd)
        small = [n for n, c in bare.coords.items() if c.size <= SMALL]
        for label in small:
            bare.variables[label].load()
    except FileNotFoundError as error:
        what = f"no group {name!r}" if name else "no zarr store there"
        raise StoreError(f"{location}: {what}.") from error
    except _UNREADABLE as error:
        raise _unreadable(location, name, error) from error
    if not bare.sizes:
        return bare
    # Dask arrays of inner chunks make a frame of a sharded store 3 to 10 times slower.
    # The largest variable decides: a coordinate in one piece must not join its chunks.
    chunks: dict[str, int] = {}
    for variable in sorted(bare.variables.values(), key=lambda v: v.size):
        size = variable.encoding.get("shards") or variable.encoding.get("chunks")
        if problem := problem_of_grid(variable.shape, size or ()):
            raise StoreError(
                f"{location}, group {name!r} cannot be opened: its metadata tell of "
                f"{problem}."
            )
        chunks |= {str(d): n for d, n in zip(variable.dims, size or (), strict=False)}
    # Variables, not arrays with coordinates: merging these would read large ones.
    held = {n: bare.variables[n] for n in small if n not in bare.xindexes}
    large = bare.drop_vars(held)
    chunks = {d: n for d, n in chunks.items() if d in large.sizes}
    opened = large.chunk(chunks, token=_token(location, name, manifest))
    opened = opened.assign_coords(held) if held else opened
    if not opened.attrs.get(UNFINISHED):
        return opened
    warn_quality(
        f"{location}, group {name!r} is not finished: what is missing is NaN. Call "
        "again with the same arguments what writes it."
    )
    return written_only(opened, location, place)


def _token(location: Location, name: str, manifest: Manifest | None) -> str | None:
    """Return a text that tells the contents of a group from all others, if known.

    dask would look for one in all that each variable holds.
    """
    entry = manifest.groups.get(name) if manifest else None
    if entry is None or not entry.sums:
        return None
    said = [location.identity, entry.at, entry.metadata, entry.sums]
    return digest_of(json.dumps(said).encode())


def _altered(
    location: Location,
    name: str,
    manifest: Manifest | None,
    digests: dict[str, str],
) -> list[str]:
    """Return the variables whose metadata are not those that were written; warn.

    ``""`` stands for the group itself, with its attributes.
    """
    entry = manifest.groups.get(name) if manifest else None
    if entry is None:
        return []
    told = {v: (digests.get(entry.key(v)), d) for v, d in entry.metadata.items()}
    odd = [v for v, (found, digest) in told.items() if found not in (None, digest)]
    if not odd:
        return []
    settle(location)
    if Manifest.read(location).groups.get(name) != entry:
        return []  # replaced in the meantime
    shown = ", ".join(joined(name, v) or "the root" for v in odd)
    warn_quality(
        f"{location}: the metadata of {shown} are not what batteryxr wrote: shapes, "
        "units, attributes or all numbers may be wrong. Something else edited them, or "
        "they are damaged; batteryxr check tells all."
    )
    return odd


def _require_whole(location: Location) -> None:
    found = verify(location)
    if found:
        raise StoreError(_told(location, found))


def _told(location: Location, damages: list[Damage]) -> str:
    more = f" and {len(damages) - 5} more" if len(damages) > 5 else ""
    return f"{location} is damaged: {'; '.join(map(str, damages[:5]))}{more}."


def _unreadable(location: Location, name: str, error: Exception) -> StoreError:
    """Return the error for unreadable metadata; name them if possible."""
    try:
        found = verify(location, metadata_only=True)
    except StoreError:  # a part of another store
        found = []
    # A missing manifest, as in a foreign store, is no reason.
    found = [d for d in found if d.variable != "manifest"]
    if found:
        return StoreError(_told(location, found))
    return StoreError(f"{location}, group {name or '/'!r} cannot be read: {error}")


def written_only(dataset: xr.Dataset, location: Location, place: str) -> xr.Dataset:
    """Return an unfinished group with NaN (NaT) where nothing is written yet.

    Whole numbers and flags become float64 for this.
    """
    dim = str(dataset.attrs[UNFINISHED])
    masked = {}
    for name, array in dataset.data_vars.items():
        if dim in array.dims and array.dtype.kind in "biufcmM":
            written = _written(location, joined(place, str(name)), array, dim)
            masked[name] = array.where(xr.DataArray(written, dims=dim))
    return dataset.assign(masked)


def _written(
    location: Location, place: str, array: xr.DataArray, dim: str
) -> np.ndarray:
    """Return for each index along a dimension whether all its chunks exist."""
    node = node_of(location, place) or {}
    names = set(location.keys(f"{place}/"))
    there = [f"{place}/{chunk}" in names for chunk in chunks_of(node)]
    axis = array.dims.index(dim)
    grid = np.array(there).reshape(grid_of(node))
    whole = grid.all(axis=tuple(k for k in range(grid.ndim) if k != axis))
    size = node["chunk_grid"]["configuration"]["chunk_shape"][axis]
    return np.repeat(whole, size)[: array.sizes[dim]]
