"""Gather maps as features of pixels, check them, and sample them in one reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    VariableError,
    warn_quality,
)
from batteryxr.core.model import require_variables

if TYPE_CHECKING:
    from collections.abc import Sequence


#: Distance from the median (robust standard deviations) above which a pixel may be an
#: outlier, and from its nearest pixels above which it is one: a domain is compact.
_WILD, _ALONE, _NEAREST = 8.0, 3.0, 3
#: Largest fraction of outliers that is left out.
_FEW = 0.02
#: Least number of pixels for finding outliers.
_ENOUGH = 20


@dataclass(frozen=True)
class DrawnPixels:
    """Hold pixels drawn fairly from all usable ones.

    Parameters
    ----------
    values
        (pixel, feature), in the order of the pixels' places.
    weights
        (pixel,), or None.
    total
        Number of usable pixels.
    unused
        Number of pixels that have a value, but lack another or are masked.
    """

    values: np.ndarray
    weights: np.ndarray | None
    total: int
    unused: int

    def without_wild(self, names: Sequence[str], *, caller: str) -> DrawnPixels:
        """Leave out isolated outliers, and warn of them.

        An outlier stretches the scale of its feature until no other difference counts,
        or it becomes a cluster.
        """
        away = np.abs(self.values - np.median(self.values, axis=0))
        spread = 1.4826 * np.median(away, axis=0)
        out = (away > _WILD * spread) & (spread > 0)
        wild = out.any(axis=1)
        if len(wild) < _ENOUGH or not 0 < wild.mean() <= _FEW:
            return self
        points = self.values[:, spread > 0] / spread[spread > 0]
        wild[wild] = _apart(points, points[wild]) > _ALONE
        out &= wild[:, None]
        if not wild.any():
            return self
        where = ", ".join(n for n, o in zip(names, out.any(axis=0), strict=True) if o)
        warn_quality(
            f"{caller}: {int(wild.sum())} of {len(wild)} pixels lie over {_WILD:g} "
            f"standard deviations from the others in {where}, and alone: they are left "
            "out of the fit, and then counted to the next cluster. Mask them if they "
            "are bad."
        )
        weights = None if self.weights is None else self.weights[~wild]
        return DrawnPixels(self.values[~wild], weights, self.total, self.unused)

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

    def check_holds(self, argument: str, n: int) -> None:
        """Raise an ArgumentError if there are fewer pixels than clusters."""
        if self.total < n:
            limit = f"at most the {self.total} pixels that count"
            raise ArgumentError(argument, n, limit)
        if len(self.values) < n:
            raise ArgumentError("max_pixels", len(self.values), f"at least {n}")


@dataclass(frozen=True)
class Pixels:
    """Define the pixels to cluster, by their features.

    Parameters
    ----------
    features
        Maps by name, all of the same dimensions.
    mask
        Pixels are used where it is True.
    weights
        Weight of each pixel.
    """

    features: dict[str, xr.DataArray]
    mask: xr.DataArray | None
    weights: xr.DataArray | None

    def counting(
        self, parts: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return for a block which pixels are used, their values and their weights."""
        n = len(self.features)
        flat = [p.ravel() for p in parts]
        values = np.stack(flat[:n], axis=1).astype(float)
        good = np.isfinite(values).all(axis=1)
        if self.mask is not None:
            good &= flat[n].astype(bool)
        if self.weights is None:
            return good, values, np.empty(len(good))
        heavy = flat[-1].astype(float)
        return good & np.isfinite(heavy) & (heavy > 0), values, heavy


class Drawn(NamedTuple):
    """Hold the pixels drawn so far."""

    keys: np.ndarray
    places: np.ndarray
    values: np.ndarray
    weights: np.ndarray


def _apart(points: np.ndarray, some: np.ndarray) -> np.ndarray:
    """Return how far some of the points are from the nearest few of all others."""
    from scipy.spatial import KDTree

    return np.asarray(KDTree(points).query(some, k=_NEAREST + 1)[0][:, -1])


def gather(
    data: xr.Dataset, features: Sequence[str] | None, *, caller: str
) -> dict[str, xr.DataArray]:
    """Return the maps by name, all of the same dimensions.

    Raises
    ------
    VariableError
        If one is missing, or has a dimension that the others lack.
    DataError
        If no variable is chosen.
    """
    if not isinstance(data, xr.Dataset):
        raise VariableError(
            f"{caller} needs a Dataset of maps; found a {type(data).__name__}. "
            "Make one: xr.Dataset({'edge_energy': maps.edge_energy, ...})."
        )
    names = [str(n) for n in data.data_vars] if features is None else list(features)
    require_variables(data, names, caller=caller)
    if not names:
        raise DataError("maps", "no variable is chosen", "Name one: features=[...].")
    maps = {n: _plain(data[n]) for n in names}
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


def sample(pixels: Pixels, *, most: int, seed: int) -> DrawnPixels:
    """Draw pixels at random, all of them up to `most`, the same for any chunks.

    Reads once; memory is a band of chunks and the sample.

    Raises
    ------
    DataError
        If no pixel is usable.
    VariableError
        If mask or weights have a dimension that the features lack.
    """
    from batteryxr.xanes.kernels.partition import random_keys

    first = next(iter(pixels.features.values()))
    for name, other in (("mask", pixels.mask), ("weights", pixels.weights)):
        if other is not None and not set(other.dims) <= set(first.dims):
            raise VariableError(
                f"{name} lies along {other.dims}, the features along {first.dims}."
            )
    arrays = [*pixels.features.values()]
    arrays += [
        _plain(other).broadcast_like(first).transpose(*first.dims)
        for other in (pixels.mask, pixels.weights)
        if other is not None
    ]
    dim = _longest(first)
    place = dict(zip(first.dims, _strides(first.shape), strict=True))
    offset = np.zeros((), np.int64)
    for d in (d for d in first.dims if d != dim):
        offset = np.add.outer(offset, np.arange(first.sizes[d]) * place[d])
    pool: list[Drawn] = []
    start = held = total = unused = 0
    for parts in blocks.stream(*arrays, dim=str(dim), block=_rows(offset.size)):
        n = len(parts[0])
        index = np.add.outer(np.arange(start, start + n) * place[dim], offset).ravel()
        start += n
        good, values, heavy = pixels.counting(parts)
        total += int(good.sum())
        unused += int((np.isfinite(values).any(axis=1) & ~good).sum())
        keys = random_keys(index[good], seed)
        pool.append(Drawn(keys, index[good], values[good], heavy[good]))
        held += len(keys)
        if held > 2 * most:
            pool = [_smallest(pool, most)]
            held = most
    if total == 0:
        raise DataError(
            "maps",
            f"no pixel counts: all of {list(pixels.features)} must be finite there, "
            "and the mask True",
            "Widen the mask, or choose other features.",
        )
    drawn = _smallest(pool, most)
    order = np.argsort(drawn.places)
    weights = drawn.weights[order] if pixels.weights is not None else None
    return DrawnPixels(drawn.values[order], weights, total, unused)


def _smallest(pool: list[Drawn], most: int) -> Drawn:
    """Return the pixels of the smallest keys."""
    drawn = Drawn(*(np.concatenate(p) for p in zip(*pool, strict=True)))
    if len(drawn.keys) <= most:
        return drawn
    keep = np.argpartition(drawn.keys, most - 1)[:most]
    return Drawn(*(part[keep] for part in drawn))


def _plain(array: xr.DataArray) -> xr.DataArray:
    """Return values without dimensions of one point, except image axes and series."""
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
