"""Resumable writing: long results go to zarr piece by piece, and go on after a kill."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.checks import checked
from batteryxr.core.errors import StoreError
from batteryxr.core.progress import bar
from batteryxr.core.store import (
    JOURNAL,
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


@checked
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
        if holds_data(path, group) and not _unfinished(path, group):
            raise StoreError(
                f"{path}, group {group!r} holds data that no resumable run wrote. "
                "Choose another group, or delete it."
            )
        template = storable(dataset)
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
        journal = zarr.create_group(str(path), path=f"{group}/{JOURNAL}")
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
    return open_dataset(path, group)


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


def _open_journal(path: str | Path, group: str) -> Any:
    import zarr

    try:
        journal = zarr.open_group(str(path), path=f"{group}/{JOURNAL}", mode="r+")
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
