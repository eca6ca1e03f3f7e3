"""Results that workers make piece by piece, each kept as soon as it is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batteryxr.core.errors import StoreError
from batteryxr.core.store import open_dataset, save

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

_MARK = "batteryxr_fingerprint"


def keep(
    dataset: xr.Dataset, path: str | Path, *, group: str, fingerprint: str
) -> None:
    """Write one piece into a group of its own; the mark that it is whole comes last.

    Parameters
    ----------
    dataset
        The piece, in memory.
    path, group
        Where to write. What an interrupted call left there is replaced.
    fingerprint
        What the piece was made from and how.
    """
    import zarr

    save(dataset, path, group=group, overwrite=True)
    zarr.open_group(str(path), path=group, mode="r+").attrs[_MARK] = fingerprint


def kept(path: str | Path, *, group: str, fingerprint: str) -> xr.Dataset | None:
    """Return a piece that was kept, in memory; None where it is missing or broken off.

    Raises
    ------
    StoreError
        If the piece was made from something else.
    """
    import zarr

    try:
        node = zarr.open_group(str(path), path=group, mode="r")
    except FileNotFoundError:
        return None
    mark: Any = node.attrs.get(_MARK)
    if mark is None:
        return None
    if mark != fingerprint:
        raise StoreError(
            f"{path}, group {group!r} was made from other data or with other "
            "arguments. Delete the group or choose another."
        )
    return open_dataset(path, group).load()
