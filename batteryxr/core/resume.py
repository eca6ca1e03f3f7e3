"""Resumable writing: long results go to zarr piece by piece, and survive a kill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batteryxr.core.blocks import needed, of_inputs, of_operations
from batteryxr.core.blocks.digests import attributes_as_text, digest, labels
from batteryxr.core.checks import checked
from batteryxr.core.errors import StoreError
from batteryxr.core.ledger import Ledger, mark_digest
from batteryxr.core.progress import bar
from batteryxr.core.store import (
    JOURNAL,
    UNFINISHED,
    Location,
    StoreLike,
    annotate,
    changing,
    holds_data,
    location_of,
    locked,
    node_of,
    open_dataset,
    place_of,
    require_repository,
    require_store,
    seal,
    settle,
    snapshot,
    storable,
    telling,
    uniform,
)
from batteryxr.core.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

#: Attribute of a result: the digest of the mark it was claimed with.
CLAIM = "batteryxr_claim"


@checked
def write_resumable(
    data: xr.Dataset,
    path: StoreLike,
    *,
    group: str,
    dim: str,
    progress: bool | None = None,
) -> xr.Dataset:
    """Compute a lazy dataset piece by piece into zarr; continue where it stopped.

    Each chunk along `dim` is one piece: it is computed with its own graph, written by
    region, and noted in a ledger. If the process is killed at any moment, the store
    opens and a second call computes only the missing pieces. The inputs of `data` are
    read once more than computing needs: their values must be the same in a second call.

    Parameters
    ----------
    data
        Dask-backed; all data variables with `dim` have the same chunks along it.
    path, group
        Store and group to write to.
    dim
        Dimension of the pieces.
    progress
        Show a progress bar; None shows it in terminals and notebooks only.

    Returns
    -------
    xarray.Dataset
        The finished result, opened lazily.

    Raises
    ------
    StoreError
        If the group holds another result, or one of other data or arguments: the
        message names the difference. Also if another process writes to the store.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40, chunks=10)
    >>> scans = cell["scans"].to_dataset()
    >>> written = batteryxr.write_resumable(
    ...     scans, "scans.zarr", group="scans", dim="scan"
    ... )
    """
    data = uniform(data)
    regions = list(_regions(data, dim))
    location, group = location_of(path), group.strip("/")
    require_store(location)
    require_repository(location)
    mark = _mark(data, dim)
    ledger = Ledger(path, f"{group}/{JOURNAL}")
    with telling(location):
        settle(location)
        if not _is_finished(ledger, location, group, mark):
            _finish(data, ledger, location, mark, regions, progress)
    return open_dataset(location.newest(), group)


def _finish(
    data: xr.Dataset,
    ledger: Ledger,
    location: Location,
    mark: dict[str, Any],
    regions: list[dict[str, slice]],
    progress: bool | None,
) -> None:
    """Write what is missing of a result; the store is held for it."""
    group, (dim,) = ledger.group.removesuffix(f"/{JOURNAL}"), regions[0]
    with locked(location):
        settle(location)
        if not _is_finished(ledger, location, group, mark):
            _require_claimed(ledger, location, group, mark, data, dim)
            _write_missing(data, ledger, location, regions, progress)
            annotate(location, group, **{UNFINISHED: None})
            seal(location, ledger.group)


def _is_finished(
    ledger: Ledger, location: Location, group: str, mark: dict[str, Any]
) -> bool:
    """Return whether this result is complete; the ledger may be gone.

    Raises
    ------
    StoreError
        If the group holds the result of something else.
    """
    attributes = _attributes(location, group)
    claim = attributes.get(CLAIM)
    if claim is None or UNFINISHED in attributes:
        return False
    if ledger.mark() is not None:
        ledger.claim(mark)
    elif claim != mark_digest(mark):
        raise StoreError(
            f"{ledger} was made from other data or with other arguments. Choose "
            "another store or group, or delete it."
        )
    return True


def _require_claimed(
    ledger: Ledger,
    location: Location,
    group: str,
    mark: dict[str, Any],
    data: xr.Dataset,
    dim: str,
) -> None:
    """Make room for a result, or check that existing room is for this one."""
    if ledger.mark() is None:
        attributes = _attributes(location, group)
        if holds_data(location, group) and UNFINISHED not in attributes:
            raise StoreError(
                f"{location}, group {group!r} holds data that no resumable run wrote. "
                "Choose another group, or delete it."
            )
        template = data.assign_attrs({UNFINISHED: dim, CLAIM: mark_digest(mark)})
        with changing(location) as change:
            change.write(template, group, overwrite=True, compute=False)
    # The claim is written after the template: where it exists, the template is
    # complete.
    ledger.claim(mark)


def _write_missing(
    data: xr.Dataset,
    ledger: Ledger,
    location: Location,
    regions: list[dict[str, slice]],
    progress: bool | None,
) -> None:
    group = ledger.group.removesuffix(f"/{JOURNAL}")
    pieces = {str(number): region for number, region in enumerate(regions)}
    missing = ledger.missing(pieces)
    with bar(None, f"Writing {group}", total=len(pieces), progress=progress) as shown:
        shown.update(len(pieces) - len(missing))
        for key in missing:
            _write_region(data, location, group, pieces[key])
            ledger.put(key, {})
            shown.update(1)


def _write_region(
    dataset: xr.Dataset, location: Location, group: str, region: dict[str, slice]
) -> None:
    (dim,) = region
    piece = dataset.isel(region)
    piece = piece.drop_vars(
        [n for n, v in piece.variables.items() if dim not in v.dims]
    )
    with snapshot(location, f"{group}, {region[dim].start}") as now:
        storable(piece).to_zarr(
            now.store,
            group=place_of(now, group),
            region=region,
            consolidated=False,
            write_empty_chunks=True,
        )


def _attributes(location: Location, group: str) -> dict[str, Any]:
    node = node_of(location, place_of(location, group)) or {}
    return dict(node.get("attributes", {}))


def _regions(dataset: xr.Dataset, dim: str) -> Iterator[dict[str, slice]]:
    try:
        sizes = dataset.chunksizes.get(dim)
    except ValueError as error:
        raise StoreError(
            "variables are chunked in different ways. Call `.unify_chunks()` first."
        ) from error
    if not sizes:
        raise StoreError(
            f"nothing to resume: the dataset is not chunked along {dim!r}. "
            f"Call `.chunk({dim}=...)`, or `save` it whole."
        )
    start = 0
    for size in sizes:
        yield {dim: slice(start, start + size)}
        start += size


def _mark(dataset: xr.Dataset, dim: str) -> dict[str, Any]:
    held = {n: v for n, v in dataset.variables.items() if v.chunks is None}
    lazy = {n: v.data for n, v in dataset.variables.items() if v.chunks is not None}
    graph = needed(lazy.values())
    blocks = of_inputs(graph, digest)
    return {
        "call": dataset.attrs.get("batteryxr_call", ""),
        "version": __version__,
        "pieces": [int(n) for n in dataset.chunksizes[dim]],
        "variables": {
            str(name): [str(v.dtype), *map(int, v.shape)]
            for name, v in sorted(dataset.variables.items(), key=lambda i: str(i[0]))
        },
        "attributes": attributes_as_text(dataset.attrs),
        "labels": labels(dataset.variables),
        "coordinates": {str(name): digest(v.values) for name, v in held.items()},
        "operations": of_operations(lazy, graph, blocks),
        "inputs": mark_digest({"blocks": sorted(b for k in blocks for b in blocks[k])}),
    }
