"""Maps as features of pixels: gathered, checked, and sampled in one reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.errors import ArgumentError, VariableError
from batteryxr.core.model import require_variables

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Sample:
    """Pixels drawn fairly from all that count.

    Parameters
    ----------
    values
        (pixel, feature), in the order of the pixels' places.
    weights
        (pixel,), or None.
    total
        Pixels that count.
    """

    values: np.ndarray
    weights: np.ndarray | None
    total: int

    def standardised(self, wanted: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return scaled points, and the centre and scale of each feature."""
        centre = np.average(self.values, axis=0, weights=self.weights)
        if not wanted:
            scale = np.ones_like(centre)
        else:
            square = (self.values - centre) ** 2
            scale = np.sqrt(np.average(square, axis=0, weights=self.weights))
            scale = np.where(scale > 0, scale, 1.0)
        return (self.values - centre) / scale, centre, scale


def gather(
    obj: xr.Dataset, features: Sequence[str] | None, *, caller: str
) -> dict[str, xr.DataArray]:
    """Return the maps by name, all of the same dimensions.

    Raises
    ------
    VariableError
        If one is missing, or has a dimension that the others lack.
    ArgumentError
        If there is none.
    """
    if not isinstance(obj, xr.Dataset):
        raise VariableError(
            f"{caller} needs a Dataset of maps; found a {type(obj).__name__}. "
            "Make one: xr.Dataset({'edge_energy': maps.edge_energy, ...})."
        )
    names = [str(n) for n in obj.data_vars] if features is None else list(features)
    require_variables(obj, names, caller=caller)
    if not names:
        raise ArgumentError("features", names, "at least one variable")
    maps = {n: _plain(obj[n]) for n in names}
    dims = max((m.dims for m in maps.values()), key=len)
    for name, array in maps.items():
        if array.dtype.kind not in "iufb":
            raise VariableError(f"{caller}: {name!r} is {array.dtype}, not a number.")
    odd = [n for n, m in maps.items() if set(m.dims) != set(dims)]
    if odd or not dims:
        extra = {n: maps[n].dims for n in names}
        raise VariableError(
            f"{caller} needs maps of the same dimensions; found {extra}. Select one, "
            "as in `.isel(peak=0)`, or name the features: features=[...]."
        )
    return {n: m.transpose(*dims) for n, m in maps.items()}


def sample(
    maps: dict[str, xr.DataArray],
    mask: xr.DataArray | None,
    weights: xr.DataArray | None,
    *,
    most: int,
    seed: int,
    caller: str,
) -> Sample:
    """Draw pixels: all if they are no more than `most`, whatever the chunks.

    Reads once; memory is a band of chunks and the sample.

    Raises
    ------
    ArgumentError
        If no pixel counts.
    """
    from batteryxr.xanes.kernels.partition import random_keys

    first = next(iter(maps.values()))
    arrays = [*maps.values()]
    arrays += [
        _plain(other).broadcast_like(first).transpose(*first.dims)
        for other in (mask, weights)
        if other is not None
    ]
    dim = _longest(first)
    place = dict(zip(first.dims, _strides(first.shape), strict=True))
    rest = [d for d in first.dims if d != dim]
    offset = np.zeros((), np.int64)
    for d in rest:
        offset = np.add.outer(offset, np.arange(first.sizes[d]) * place[d])
    pool: list[tuple[np.ndarray, ...]] = []
    start = held = total = 0
    for parts in blocks.stream(*arrays, dim=str(dim), block=_rows(offset.size)):
        n = len(parts[0])
        index = np.add.outer(np.arange(start, start + n) * place[dim], offset).ravel()
        start += n
        values = np.stack([p.ravel() for p in parts[: len(maps)]], axis=1).astype(float)
        good = np.isfinite(values).all(axis=1)
        at = len(maps)
        if mask is not None:
            good &= parts[at].ravel().astype(bool)
            at += 1
        heavy = parts[at].ravel().astype(float) if weights is not None else None
        if heavy is not None:
            good &= np.isfinite(heavy) & (heavy > 0)
        total += int(good.sum())
        keys = random_keys(index[good], seed)
        picked = heavy[good] if heavy is not None else np.empty(len(keys))
        pool.append((keys, index[good], values[good], picked))
        held += len(keys)
        if held > 2 * most:
            pool = [_smallest(pool, most)]
            held = most
    keys, index, values, picked = _smallest(pool, most)
    if total == 0:
        raise ArgumentError(
            "obj",
            "no pixel",
            f"pixels where all of {list(maps)} are finite and the mask is True",
        )
    order = np.argsort(index)
    chosen = picked[order] if weights is not None else None
    return Sample(values[order], chosen, total)


def _smallest(
    pool: list[tuple[np.ndarray, ...]], most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    keys, index, values, picked = (np.concatenate(p) for p in zip(*pool, strict=True))
    if len(keys) > most:
        keep = np.argpartition(keys, most - 1)[:most]
        return keys[keep], index[keep], values[keep], picked[keep]
    return keys, index, values, picked


def _plain(array: xr.DataArray) -> xr.DataArray:
    """Return values along dimensions of more than one point that are no image axes."""
    spare = [
        d
        for d in array.dims
        if array.sizes[d] == 1 and d not in ("y", "x", "particle", "scan", "state")
    ]
    return array.isel(dict.fromkeys(spare, 0), drop=True).reset_coords(drop=True)


def _longest(array: xr.DataArray) -> str:
    chunks = array.chunksizes
    return str(max(array.dims, key=lambda d: (len(chunks.get(d, ())), array.sizes[d])))


def _strides(shape: tuple[int, ...]) -> list[int]:
    return [int(np.prod(shape[k + 1 :], dtype=np.int64)) for k in range(len(shape))]


def _rows(width: int) -> int:
    return max(1, 2_000_000 // max(width, 1))
