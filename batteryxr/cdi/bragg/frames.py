"""From counts to one clean volume: correction, hot pixels, cropping round the peak."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.objects import VOLUME
from batteryxr.core.blocks import is_lazy, stream
from batteryxr.core.errors import ArgumentError, DimensionError
from batteryxr.core.model import attributes, label, require_dims
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    from collections.abc import Sequence

PIXELS = ("detector_y", "detector_x")
#: Bits of the coordinate `flag`.
FLAGS = {"mask": 1, "hot": 2, "weak flat": 4, "flagged in the file": 8}


@recorded
def correct(
    frames: xr.DataArray,
    *,
    dark: xr.DataArray | np.ndarray | None = None,
    flat: xr.DataArray | np.ndarray | None = None,
    hot: xr.DataArray | np.ndarray | None = None,
    mask: xr.DataArray | np.ndarray | None = None,
    weak: float = 3.0,
    floor: float = 0.0,
) -> xr.DataArray:
    """Correct frames for dark counts and response, and leave out bad pixels.

    Lazy.

    Parameters
    ----------
    frames
        Counts on ``(..., detector_y, detector_x)``.
    dark
        Mean counts of a dark frame, subtracted. Photon-counting detectors need none.
    flat
        Response of the pixels. Frames are divided by it and multiplied by its mean
        over the whole image, in which bad pixels count as zero.
    hot, mask
        Images that are True where a pixel is bad: hot, and for any other reason
        (gaps, beamstop). Hot pixels are found by `hot_pixels`, or from a dark image:
        ``hot=dark > 1``.
    weak
        Pixels whose flat lies more than so many standard deviations under its mean
        are bad.
    floor
        Counts below this become zero (read noise, stray photons).

    Returns
    -------
    xarray.DataArray
        ``intensity``, float32: NaN at bad pixels, never below zero. The coordinate
        ``flag`` says why a pixel is bad: the sum of 1 mask, 2 hot, 4 weak flat,
        8 flagged in the file.

    Raises
    ------
    ArgumentError
        If an image does not cover the frames' pixels.
    DimensionError
        If the frames have no detector axes.

    Notes
    -----
    Images with the coordinates ``detector_y`` and ``detector_x`` may be of the whole
    detector: the pixels of the frames are taken from them by label.
    """
    require_dims(frames, PIXELS, caller="correct")
    if not weak > 0:
        raise ArgumentError("weak", weak, "a number > 0")
    bad = {"mask": _bad(frames, mask, "mask"), "hot": _bad(frames, hot, "hot")}
    if "mask" in frames.coords:
        bad["flagged in the file"] = frames["mask"].values != 0
    gain = np.ones((frames.sizes["detector_y"], frames.sizes["detector_x"]))
    if flat is not None:
        whole = _whole(flat, [mask, hot])
        spread = weak * float(whole.std())
        response = xr.where(whole < float(whole.mean()) - spread, 0.0, whole)
        here = _on_pixels(frames, response, "flat").values
        bad["weak flat"] = (here <= 0) & ~bad["mask"] & ~bad["hot"]
        gain = float(response.mean()) / np.where(here > 0, here, 1.0)
    flag = np.zeros(gain.shape, np.uint8)
    for name, where in bad.items():
        flag |= np.uint8(FLAGS[name]) * np.asarray(where, np.uint8)
    gain = np.where(flag > 0, np.nan, gain).astype(np.float32)
    values = frames.astype(np.float32)
    if dark is not None:
        values = values - _on_pixels(frames, dark, "dark").values.astype(np.float32)
    if floor > 0:
        values = values.where(values >= floor, np.float32(0))
    values = (values * xr.DataArray(gain, dims=PIXELS)).clip(min=0)
    values = values.transpose(*frames.dims).drop_vars("mask", errors="ignore")
    meaning = ", ".join(f"{bit} {name}" for name, bit in FLAGS.items())
    attrs = {"units": "1", "long_name": "Why a pixel is bad", "flags": meaning}
    out = label(values, "intensity", units="1", long_name="Intensity")
    return _carry(out.assign_coords(flag=(PIXELS, flag, attrs)), frames)


@recorded
def hot_pixels(frames: xr.DataArray, *, threshold: float = 8.0) -> xr.DataArray:
    """Find pixels that stand out of their neighbours in all frames alike.

    Reads once; memory is one chunk and a few images.

    A hot pixel counts where there is no light: its smallest signal over the scan, in
    blocks of frames, exceeds the median of its 5x5 neighbourhood by `threshold`
    standard deviations of counting.

    Parameters
    ----------
    frames
        Counts on ``(rocking, detector_y, detector_x)``.
    threshold
        In standard deviations.

    Returns
    -------
    xarray.DataArray of bool
        On ``(detector_y, detector_x)``; True where hot. Use it as
        ``correct(frames, hot=...)``.

    Raises
    ------
    ArgumentError
        If `threshold` is not positive.
    DimensionError
        If the frames are no rocking curve.
    """
    from scipy import ndimage

    require_dims(frames, VOLUME, caller="hot_pixels")
    if not threshold > 0:
        raise ArgumentError("threshold", threshold, "a number > 0")
    volume = frames.transpose(*VOLUME)
    quarter = max(1, -(-volume.sizes["rocking"] // 4))
    sums: list[np.ndarray] = []
    count, total = 0, np.zeros(volume.shape[1:])
    for (block,) in stream(volume, dim="rocking", block=quarter):
        total, count = total + np.nansum(block, axis=0, dtype=float), count + len(block)
        if count >= quarter:
            sums.append(total)
            count, total = 0, np.zeros(volume.shape[1:])
    # A rest shorter than a block would look dark: it is left out where others exist.
    least = np.min(sums or [total], axis=0)
    around = ndimage.median_filter(least, size=5, mode="nearest")
    hot = least - around > threshold * np.sqrt(np.maximum(around, 1.0))
    result = xr.DataArray(hot, dims=PIXELS, coords={d: volume[d] for d in PIXELS})
    return label(result, "hot", units="1", long_name="Hot pixel")


@recorded
def locate_peak(intensity: xr.DataArray) -> xr.Dataset:
    """Find the brightest voxel and the centre of mass of a rocking curve.

    Reads once.

    Parameters
    ----------
    intensity
        On ``(rocking, detector_y, detector_x)``; NaN is left out.

    Returns
    -------
    xarray.Dataset
        ``maximum``, ``centre_of_mass`` (indices from 0) and ``value``, the first two
        on ``axis``; ``total`` counts.

    Raises
    ------
    ArgumentError
        If there is no intensity.
    DimensionError
        If this is no rocking curve.
    """
    require_dims(intensity, VOLUME, caller="locate_peak")
    volume = intensity.transpose(*VOLUME)
    best, where, first = -np.inf, (0, 0, 0), 0
    total, moment = 0.0, np.zeros(3)
    block_size = max(1, 4_000_000 // max(1, volume[0].size))
    for (block,) in stream(volume, dim="rocking", block=block_size):
        clean = np.nan_to_num(np.asarray(block, dtype=float))
        peak = np.unravel_index(int(clean.argmax()), clean.shape)
        if clean[peak] > best:
            best = float(clean[peak])
            where = (first + int(peak[0]), int(peak[1]), int(peak[2]))
        for axis, offset in enumerate((first, 0, 0)):
            profile = clean.sum(axis=tuple(a for a in range(3) if a != axis))
            moment[axis] += float(profile @ (np.arange(profile.size) + offset))
        total += float(clean.sum())
        first += len(block)
    if not total > 0:
        raise ArgumentError("intensity", total, "counts in the volume", "All are zero.")
    names = {"units": "1", "long_name": "Axis"}
    units = {"units": "1"}
    return xr.Dataset(
        {
            "maximum": ("axis", list(where), units | {"long_name": "Brightest voxel"}),
            "centre_of_mass": (
                "axis",
                moment / total,
                units | {"long_name": "Centre of mass"},
            ),
            "value": ((), best, units | {"long_name": "Intensity at the maximum"}),
            "total": ((), total, units | {"long_name": "Total intensity"}),
        },
        coords={"axis": ("axis", list(VOLUME), names)},
    )


@recorded
def crop(
    intensity: xr.DataArray,
    *,
    shape: Sequence[int] | Mapping[str, int],
    centre: Sequence[int] | str = "maximum",
) -> xr.DataArray:
    """Cut a box of one shape round the peak; it becomes the box's centre.

    Lazy with a given centre; else reads once to find it.

    Parameters
    ----------
    intensity
        On ``(rocking, detector_y, detector_x)``.
    shape
        Size along rocking, detector_y and detector_x, or by name for some. Even
        sizes without large prime factors transform fast.
    centre
        ``"maximum"``, ``"centre_of_mass"``, or three indices from 0. The states of
        one series want one centre: then the mean change of the lattice stays in
        their phases as a ramp.

    Returns
    -------
    xarray.DataArray
        The box; the peak is at index ``n // 2`` of each axis. What reaches over the
        edge of the measurement is NaN, which means unmeasured.

    Raises
    ------
    ArgumentError
        If shape or centre are no such numbers.
    DimensionError
        If this is no rocking curve.
    """
    require_dims(intensity, VOLUME, caller="crop")
    sizes = _shape(intensity, shape)
    if isinstance(centre, str):
        if centre not in ("maximum", "centre_of_mass"):
            known = "'maximum', 'centre_of_mass' or three indices"
            raise ArgumentError("centre", centre, known)
        found = locate_peak(intensity)[centre].values
        indices = [round(float(v)) for v in found]
    else:
        indices = [int(v) for v in centre]
        if len(indices) != 3:
            raise ArgumentError("centre", centre, "three indices")
    for dim, index in zip(VOLUME, indices, strict=True):
        if not 0 <= index < intensity.sizes[dim]:
            top = intensity.sizes[dim] - 1
            raise ArgumentError("centre", indices, f"0 to {top} along {dim}")
    box = intensity
    for dim, index in zip(VOLUME, indices, strict=True):
        box = _cut(box, dim, index - sizes[dim] // 2, sizes[dim])
    return whole_volumes(box)


def whole_volumes(array: xr.DataArray) -> xr.DataArray:
    """Return a lazy array with each volume in one chunk; its coordinates stay."""
    if not is_lazy(array):
        return array
    chunks = {dim: -1 if dim in VOLUME else 1 for dim in map(str, array.dims)}
    return array.copy(data=array.variable.chunk(chunks).data)


def _cut(array: xr.DataArray, dim: str, start: int, size: int) -> xr.DataArray:
    """Return `size` items from `start`, padded where that reaches out."""
    n = array.sizes[dim]
    inside = array.isel({dim: slice(max(0, start), min(n, start + size))})
    before, after = max(0, -start), max(0, start + size - n)
    if not before and not after:
        return inside
    padded = inside.astype(np.result_type(array.dtype, np.float32)).pad(
        {dim: (before, after)}, constant_values=np.nan
    )
    # The axis goes on in its own steps; flags of pixels that do not exist are masks.
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
    intensity: xr.DataArray, shape: Sequence[int] | Mapping[str, int]
) -> dict[str, int]:
    sizes = {dim: intensity.sizes[dim] for dim in VOLUME}
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


def _bad(frames: xr.DataArray, image: Any, name: str) -> np.ndarray:
    if image is None:
        return np.zeros([frames.sizes[d] for d in PIXELS], bool)
    return np.asarray(_on_pixels(frames, image, name)).astype(bool)


def _whole(flat: Any, bad: list[Any]) -> xr.DataArray:
    """Return the whole flat image, zero at bad pixels of images of its own size."""
    image = flat if isinstance(flat, xr.DataArray) else xr.DataArray(flat, dims=PIXELS)
    image = image.astype(float)
    for other in bad:
        if other is not None and np.shape(other) == image.shape:
            image = image.where(~np.asarray(other).astype(bool), 0.0)
    return image


def _on_pixels(frames: xr.DataArray, image: Any, name: str) -> xr.DataArray:
    """Return an image on the frames' pixels: by label, else of equal shape."""
    shape = tuple(frames.sizes[d] for d in PIXELS)
    if isinstance(image, xr.DataArray) and set(PIXELS) <= set(image.coords):
        try:
            return image.sel({d: frames[d].values for d in PIXELS}).transpose(*PIXELS)
        except KeyError as error:
            raise ArgumentError(
                name,
                f"an image of {image.shape}",
                "pixels that cover those of the frames",
                "Set the frames' first pixel with read_frames(origin=...).",
            ) from error
    if np.shape(image) != shape:
        raise ArgumentError(
            name,
            f"an image of {np.shape(image)}",
            f"one of the frames' {shape} pixels, or one with pixel coordinates",
        )
    return xr.DataArray(np.asarray(image), dims=PIXELS)


def _carry(out: xr.DataArray, frames: xr.DataArray) -> xr.DataArray:
    """Keep what later steps need of the frames' attributes."""
    kept = ("rocking_motor", "source_files", "title", "timezone")
    out.attrs |= {k: frames.attrs[k] for k in kept if k in frames.attrs}
    return out


def require_same_grid(volumes: Sequence[xr.DataArray], *, caller: str) -> None:
    """Raise unless volumes are of one shape along the three axes."""
    shapes = {tuple(v.sizes.get(d, 0) for d in VOLUME) for v in volumes}
    if len(shapes) > 1:
        raise DimensionError(
            f"{caller} needs volumes of one shape; found {sorted(shapes)}. "
            "Crop them with one shape=."
        )


def axis_attributes(name: str, long_name: str) -> dict[str, Any]:
    """Return attributes of a detector axis that counts from the box's centre."""
    units = attributes("rocking")["units"] if name == "rocking" else "1"
    return {"units": units, "long_name": long_name}
