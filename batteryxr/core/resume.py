"""Resumable writing: long results go to zarr piece by piece, and go on after a kill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batteryxr.core.checks import checked
from batteryxr.core.errors import StoreError
from batteryxr.core.ledger import Ledger, digest
from batteryxr.core.progress import bar
from batteryxr.core.store import (
    JOURNAL,
    annotate,
    encoding,
    holds_data,
    open_dataset,
    storable,
)
from batteryxr.core.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import xarray as xr

#: Attribute of a result that is 1 until all its pieces are there.
_UNFINISHED = "batteryxr_unfinished"


@checked
def write_resumable(
    data: xr.Dataset,
    path: str | Path,
    *,
    group: str,
    dim: str,
    fingerprint: dict[str, Any] | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Compute a lazy dataset piece by piece into zarr; go on where it stopped.

    Each chunk along `dim` is one piece: its own graph, written by region, then noted
    in a ledger. Killed at any moment, the store opens and a second call computes
    only the pieces that are missing.

    Parameters
    ----------
    data
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
    regions = list(_regions(data, dim))
    ledger = Ledger(path, f"{group}/{JOURNAL}")
    if ledger.mark() is None:
        if holds_data(path, group) and not _is_unfinished(path, group):
            raise StoreError(
                f"{path}, group {group!r} holds data that no resumable run wrote. "
                "Choose another group, or delete it."
            )
        _write_template(data, path, group)
    # The claim comes after the template: where it is, the template is complete.
    ledger.claim(_mark(data, dim) | (fingerprint or {}))
    pieces = {str(number): region for number, region in enumerate(regions)}
    missing = ledger.missing(pieces)
    with bar(None, f"Writing {group}", total=len(pieces), progress=progress) as shown:
        shown.update(len(pieces) - len(missing))
        for key in missing:
            _write_region(data, path, group, pieces[key])
            ledger.put(key, {})
            shown.update(1)
    annotate(path, group, **{_UNFINISHED: 0})
    return open_dataset(path, group)


def _write_template(dataset: xr.Dataset, path: str | Path, group: str) -> None:
    template = storable(dataset)
    template.attrs = template.attrs | {_UNFINISHED: 1}
    template.to_zarr(
        str(path),
        group=group,
        mode="w",
        compute=False,
        consolidated=False,
        encoding=encoding(template),
    )


def _write_region(
    dataset: xr.Dataset, path: str | Path, group: str, region: dict[str, slice]
) -> None:
    (dim,) = region
    piece = dataset.isel(region)
    piece = piece.drop_vars(
        [n for n, v in piece.variables.items() if dim not in v.dims]
    )
    storable(piece).to_zarr(str(path), group=group, region=region, consolidated=False)


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


def _is_unfinished(path: str | Path, group: str) -> bool:
    return _UNFINISHED in open_dataset(path, group).attrs


def _mark(dataset: xr.Dataset, dim: str) -> dict[str, Any]:
    return {
        "call": dataset.attrs.get("batteryxr_call", ""),
        "version": __version__,
        "pieces": [int(n) for n in dataset.chunksizes[dim]],
        "variables": {
            str(name): [str(v.dtype), *map(int, v.shape)]
            for name, v in sorted(dataset.variables.items(), key=lambda i: str(i[0]))
        },
        "coordinates": {
            str(name): digest(v.values)
            for name, v in dataset.coords.items()
            if v.chunks is None
        },
    }
