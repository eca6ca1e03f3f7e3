"""The Bragg peak of a rocking curve: its position, and the box around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import VOLUME
from batteryxr.cdi.bragg.consistency.scan import on_even_angles
from batteryxr.cdi.bragg.frames import FLAGS
from batteryxr.cdi.bragg.kernels.counting import require_counts, zingers
from batteryxr.core.blocks import is_lazy, stream
from batteryxr.core.errors import ArgumentError, DataError, warn_quality
from batteryxr.core.labels import require_even, require_monotonic
from batteryxr.core.model import require_dims
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@recorded
def locate_peak(volume: xr.DataArray) -> xr.Dataset:
    """Find the brightest voxel and the centre of mass of a rocking curve.

    Reads once.

    Parameters
    ----------
    volume
        Intensity on ``(rocking, detector_y, detector_x)``; NaN is left out.

    Returns
    -------
    xarray.Dataset
        ``maximum``, ``centre_of_mass`` (indices from 0 in the given frames) and
        ``place`` (angle and pixels of the maximum, which `crop` takes as its centre) on
        ``axis``; ``value``; ``total`` counts; ``left_out``, the number of isolated
        bright voxels (zingers): more than tenfold over the frames before and after.

    Raises
    ------
    DataError
        If the volume holds no counts, or values that are no counts, such as logarithms;
        or if the rocking angles are out of order, repeat or are missing.
    DimensionError
        If the volume is no rocking curve.

    Warns
    -----
    DataQualityWarning
        If zingers were left out, or frames are missing.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volume = cell["states"].to_dataset()["intensity"][0].compute()
    >>> peak = volume.cdi.locate_peak()
    >>> peak["maximum"].values.tolist()
    [16, 16, 16]
    """
    require_dims(volume, VOLUME, caller="locate_peak")
    _require_axes(volume, "locate_peak")
    even = on_even_angles(volume, caller="locate_peak")
    peak = _peak(even, "locate_peak")
    names = {"units": "1", "long_name": "Axis"}
    # Indices of the even scan include missing frames; report those of the given scan.
    frames = _places(volume, even)
    maximum = [int(np.searchsorted(frames, peak.maximum[0])), *peak.maximum[1:]]
    centre = peak.centre_of_mass.copy()
    centre[0] = np.interp(centre[0], frames, np.arange(frames.size))
    place = [
        float(even[dim].values[k]) if dim in even.coords else float(k)
        for dim, k in zip(VOLUME, peak.maximum, strict=True)
    ]

    def named(words: str) -> dict[str, str]:
        return {"units": "1", "long_name": words}

    return xr.Dataset(
        {
            "maximum": ("axis", maximum, named("Brightest voxel")),
            "centre_of_mass": ("axis", centre, named("Centre of mass")),
            "place": ("axis", place, named("Angle (deg) and pixel of the maximum")),
            "value": ((), peak.value, named("Intensity at the maximum")),
            "total": ((), peak.total, named("Total intensity")),
            "left_out": ((), len(peak.alone), named("Voxels that stand alone")),
        },
        coords={"axis": ("axis", list(VOLUME), names)},
    )


#: No places.
_NONE = np.zeros((0, 3), int)


class _Peak(NamedTuple):
    maximum: tuple[int, int, int]
    centre_of_mass: np.ndarray
    value: float
    total: float
    alone: np.ndarray


def _places(volume: xr.DataArray, even: xr.DataArray) -> np.ndarray:
    """Return the position of each frame in the even scan."""
    if even.sizes["rocking"] == volume.sizes["rocking"]:
        return np.arange(volume.sizes["rocking"])
    angles = even["rocking"].values.astype(float)
    step = (angles[-1] - angles[0]) / (angles.size - 1)
    return np.round((volume["rocking"].values - angles[0]) / step).astype(int)


def _require_axes(volume: xr.DataArray, caller: str) -> None:
    """Raise where pixels go back or repeat; angles are checked elsewhere."""
    for axis in VOLUME[1:]:
        if axis in volume.coords:
            require_monotonic(volume[axis], caller=caller)


def _peak(volume: xr.DataArray, caller: str) -> _Peak:
    """Find the peak block by block, without isolated bright voxels."""
    volume = volume.transpose(*VOLUME)
    best, where, first = -np.inf, (0, 0, 0), 0
    total, moment = 0.0, np.zeros(3)
    block_size = max(1, 4_000_000 // max(1, volume[0].size))
    n = volume.sizes["rocking"]
    alone: list[np.ndarray] = []
    for block in _with_neighbours(volume, block_size):
        require_counts(np.asarray(block[1:-1]))
        clean = np.nan_to_num(np.asarray(block, dtype=float))
        places = zingers(clean) if n > 2 else _NONE
        known = _beside(np.asarray(block), first == 0, first + len(block) - 2 == n)
        places = places[known[places[:, 0] - 1]]
        clean[tuple(places.T)] = 0.0
        clean = clean[1:-1]
        alone.append(places + np.array([first - 1, 0, 0]))
        peak = np.unravel_index(int(clean.argmax()), clean.shape)
        if clean[peak] > best:
            best = float(clean[peak])
            where = (first + int(peak[0]), int(peak[1]), int(peak[2]))
        for axis, offset in enumerate((first, 0, 0)):
            profile = clean.sum(axis=tuple(a for a in range(3) if a != axis))
            moment[axis] += float(profile @ (np.arange(profile.size) + offset))
        total += float(clean.sum())
        first += len(clean)
    if not total > 0:
        raise DataError("volume", "holds no counts", "Look at its mask and its region.")
    left = np.concatenate(alone)
    if len(left):
        warn_quality(
            f"{caller}: {len(left)} voxels stand alone (zingers), the first in frame "
            f"{left[0, 0]}, row {left[0, 1]}, column {left[0, 2]}; they are left out."
        )
    return _Peak(where, moment / total, best, total, left)


def _beside(block: np.ndarray, begins: bool, ends: bool) -> np.ndarray:
    """Return for each inner frame whether a frame next to it was measured."""
    known = ~np.isnan(block).all(axis=(1, 2))
    known[0] &= not begins
    known[-1] &= not ends
    return np.asarray(known[:-2] | known[2:])


def _with_neighbours(volume: xr.DataArray, block: int) -> Iterator[np.ndarray]:
    """Yield blocks of frames, with the frame before and the frame after each."""
    none = np.zeros((1, *volume.shape[1:]), np.float32)
    before, held = none, None
    for (part,) in stream(volume, dim="rocking", block=block):
        part = np.asarray(part)
        if held is not None:
            yield np.concatenate([before, held, part[:1]])
            before = held[-1:]
        held = part
    if held is not None:
        yield np.concatenate([before, held, none])


@recorded
def crop(
    volume: xr.DataArray,
    *,
    shape: Sequence[int] | Mapping[str, int],
    centre: Literal["maximum", "centre_of_mass"]
    | Sequence[int]
    | Mapping[str, float] = "maximum",
) -> xr.DataArray:
    """Cut a box of one shape around the peak, which becomes the box's centre.

    Lazy with a given centre; else reads once to find it.

    Parameters
    ----------
    volume
        Intensity on ``(rocking, detector_y, detector_x)``.
    shape
        Size along rocking, detector_y and detector_x, or by name for some. Even
        sizes without large prime factors transform fast.
    centre
        ``"maximum"``, ``"centre_of_mass"``, three indices from 0, or angle (deg) and
        pixels by name, which also hold where frames are missing:
        ``{"rocking": 12.34, "detector_y": 260, "detector_x": 255}``. Use one centre for
        all states of a series: then the mean change of the lattice stays in their
        phases as a ramp.

    Returns
    -------
    xarray.DataArray
        The box; the peak is at index ``n // 2`` of each axis. NaN means unmeasured:
        beyond the edge of the measurement, at frames that are missing by their angles,
        and, where the peak is searched for, at zingers.

    Raises
    ------
    ArgumentError
        If shape or centre are no such numbers, or a centre counts frames where some
        before it are missing.
    DataError
        See `locate_peak`.
    DimensionError
        If the volume is no rocking curve.

    Warns
    -----
    DataQualityWarning
        If frames are missing, or zingers were left out.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volume = cell["states"].to_dataset()["intensity"][0].compute()
    >>> small = volume.cdi.crop(shape=(24, 24, 24))
    >>> small.shape
    (24, 24, 24)
    """
    require_dims(volume, VOLUME, caller="crop")
    _require_axes(volume, "crop")
    require_even(volume, VOLUME[1:], caller="crop")
    given, volume = volume, on_even_angles(volume, caller="crop")
    alone = _NONE
    sizes = _shape(volume, shape)
    if isinstance(centre, str):
        peak = _peak(volume, "crop")
        alone = peak.alone
        found = peak.maximum if centre == "maximum" else peak.centre_of_mass
        indices = [round(float(v)) for v in found]
    elif isinstance(centre, Mapping):
        indices = _at_labels(volume, centre)
    else:
        indices = [int(v) for v in centre]
        if len(indices) != 3:
            raise ArgumentError("centre", centre, "three indices")
        _require_no_doubt(indices, _places(given, volume))
    for dim, index in zip(VOLUME, indices, strict=True):
        if not 0 <= index < volume.sizes[dim]:
            top = volume.sizes[dim] - 1
            raise ArgumentError("centre", indices, f"0 to {top} along {dim}")
    box = _without(volume, alone)
    for dim, index in zip(VOLUME, indices, strict=True):
        box = _cut(box, dim, index - sizes[dim] // 2, sizes[dim])
    return whole_volumes(box)


def _require_no_doubt(indices: list[int], places: np.ndarray) -> None:
    """Raise where missing frames make an index ambiguous."""
    frame = indices[0]
    if 0 <= frame < places.size and places[frame] == frame:
        return
    if (np.diff(places, prepend=-1) > 1).any():
        raise ArgumentError(
            "centre",
            indices,
            "angle and pixels by name, as frames are missing before this index",
            'Such as {"rocking": 12.34, "detector_y": 260, "detector_x": 255}: '
            "the `place` that locate_peak tells.",
        )


def _at_labels(volume: xr.DataArray, centre: Mapping[str, float]) -> list[int]:
    """Return the indices of an angle and pixels that are given by name."""
    if set(centre) != set(VOLUME):
        raise ArgumentError("centre", dict(centre), f"a number for each of {VOLUME}")
    indices = []
    for dim in VOLUME:
        n = volume.sizes[dim]
        axis = volume[dim].values.astype(float)
        step = (axis[-1] - axis[0]) / (n - 1) if n > 1 else 1.0
        index = (float(centre[dim]) - axis[0]) / step
        if not -0.5 <= index < n - 0.5:
            told = f"{axis[0]:.6g} to {axis[-1]:.6g} along {dim}"
            raise ArgumentError("centre", dict(centre), told)
        indices.append(round(index))
    return indices


def _without(volume: xr.DataArray, places: np.ndarray) -> xr.DataArray:
    """Return a volume with NaN at places (frame, row, column); lazy where it is."""
    if not len(places):
        return volume
    if is_lazy(volume):
        frames = np.unique(places[:, 0])
        parts, before = [], 0
        for frame in frames:
            parts.append(volume.isel(rocking=slice(before, frame)))
            inside = places[places[:, 0] == frame]
            good = np.ones([volume.sizes[d] for d in VOLUME[1:]], bool)
            good[tuple(inside[:, 1:].T)] = False
            mask = xr.DataArray(good, dims=VOLUME[1:])
            parts.append(volume.isel(rocking=slice(frame, frame + 1)).where(mask))
            before = frame + 1
        parts.append(volume.isel(rocking=slice(before, None)))
        whole = xr.concat(parts, "rocking", coords="minimal", compat="override")
        return whole.transpose(*volume.dims).assign_attrs(volume.attrs)
    kept = np.ones([volume.sizes[d] for d in VOLUME], bool)
    kept[tuple(places.T)] = False
    return volume.where(xr.DataArray(kept, dims=VOLUME))


def whole_volumes(array: xr.DataArray) -> xr.DataArray:
    """Return a lazy array with each volume in one chunk; its coordinates stay."""
    if not is_lazy(array):
        return array
    chunks = {dim: -1 if dim in VOLUME else 1 for dim in map(str, array.dims)}
    return array.copy(data=array.variable.chunk(chunks).data)


def _cut(array: xr.DataArray, dim: str, start: int, size: int) -> xr.DataArray:
    """Return `size` items from `start`, padded beyond the ends."""
    n = array.sizes[dim]
    inside = array.isel({dim: slice(max(0, start), min(n, start + size))})
    before, after = max(0, -start), max(0, start + size - n)
    if not before and not after:
        return inside
    padded = inside.astype(np.result_type(array.dtype, np.float32)).pad(
        {dim: (before, after)}, constant_values=np.nan
    )
    # The axis continues in its own steps; pixels that do not exist are flagged as mask.
    axis = array[dim].values
    step = float(axis[-1] - axis[0]) / (n - 1) if n > 1 else 1.0
    values = np.concatenate(
        [
            axis[0] + step * np.arange(start, min(0, start + size)),
            inside[dim].values,
            axis[-1] + step * np.arange(1, after + 1),
        ]
    ).astype(axis.dtype)
    padded = padded.assign_coords({dim: (dim, values, array[dim].attrs)})
    if "flag" in padded.coords and dim in padded["flag"].dims:
        flag = padded["flag"].fillna(FLAGS["mask"]).astype(np.uint8)
        padded = padded.assign_coords(flag=flag.assign_attrs(array["flag"].attrs))
    return padded.assign_attrs(array.attrs)


def _shape(
    volume: xr.DataArray, shape: Sequence[int] | Mapping[str, int]
) -> dict[str, int]:
    sizes = {dim: volume.sizes[dim] for dim in VOLUME}
    if isinstance(shape, Mapping):
        if unknown := set(shape) - set(VOLUME):
            raise ArgumentError("shape", sorted(unknown), f"sizes of {list(VOLUME)}")
        sizes |= {dim: int(n) for dim, n in shape.items()}
    else:
        if len(shape) != 3:
            raise ArgumentError("shape", list(shape), f"three sizes: {list(VOLUME)}")
        sizes = {dim: int(n) for dim, n in zip(VOLUME, shape, strict=True)}
    if bad := {dim: n for dim, n in sizes.items() if n < 2}:
        raise ArgumentError("shape", bad, "sizes of at least 2")
    return sizes
