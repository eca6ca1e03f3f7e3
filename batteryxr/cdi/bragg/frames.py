"""Correction of frames: from counts to intensity, without bad pixels."""

from __future__ import annotations

import contextlib
from typing import Annotated, Any, TypeAlias

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import VOLUME
from batteryxr.cdi.bragg.consistency.objects import looked_at
from batteryxr.cdi.bragg.kernels.counting import require_counts
from batteryxr.core.blocks import is_lazy, stream
from batteryxr.core.checks import Bounds
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    LabelsError,
    warn_quality,
)
from batteryxr.core.labels import OwnLabels, matched
from batteryxr.core.model import label, require_dims
from batteryxr.core.provenance import recorded

PIXELS = ("detector_y", "detector_x")
#: An image of these pixels, or of the whole detector.
Image: TypeAlias = Annotated[xr.DataArray | np.ndarray | None, OwnLabels(PIXELS)]
#: Bits of the coordinate `flag`.
FLAGS = {"mask": 1, "hot": 2, "weak flat": 4, "flagged in the file": 8}


#: Share of bad pixels that no detector has.
_MOST_BAD = 0.5
#: Change of a monitor over a scan that leaves the noise of counts as it is.
_STEADY = 2.0
#: Largest number that float32 holds.
_LARGEST = float(np.finfo(np.float32).max)

#: Fewest frames in which the peak moves while a hot pixel stays.
_FEW = 4


@recorded
def correct(
    frames: xr.DataArray,
    *,
    dark: Image = None,
    flat: Image = None,
    hot: Image = None,
    mask: Image = None,
    monitor: str | xr.DataArray | None = None,
    threshold: Annotated[float, Bounds(above=0)] = 3.0,
    minimum: float = 0.0,
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
        Images that are True at bad pixels: hot ones, and those that are bad for any
        other reason (gaps, beamstop). Find hot pixels with `hot_pixels`, or from a dark
        image: ``hot=dark > 1``.
    monitor
        Flux of the beam in each frame, or the name of the coordinate that holds it:
        frames are divided by it and multiplied by its mean, so that counts stay counts
        in size. The result has it in the coordinate ``monitor``.
    threshold
        A pixel is bad if its flat lies more than this many standard deviations below
        the mean.
    minimum
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
        If an option is out of range.
    DataError
        If an image does not cover the frames' pixels, a flat holds no light, or the
        monitor is not positive in every frame.
    DimensionError
        If the frames have no detector axes.

    Warns
    -----
    DataQualityWarning
        If the monitor changes so much that the noise of frames is no longer that of
        their counts, more than half of the pixels are bad, or the dark image is
        brighter than the frames.

    Notes
    -----
    Images with the coordinates ``detector_y`` and ``detector_x`` may be of the whole
    detector: the pixels of the frames are taken from them by label.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> rng = np.random.default_rng(0)
    >>> counts = rng.poisson(3.0, (9, 32, 32))
    >>> frames = xr.DataArray(counts, dims=("rocking", "detector_y", "detector_x"))
    >>> gaps = xr.zeros_like(frames[0], dtype=bool)
    >>> gaps[:, 16] = True
    >>> clean = frames.cdi.correct(mask=gaps)
    >>> clean.dims
    ('rocking', 'detector_y', 'detector_x')
    """
    require_dims(frames, PIXELS, caller="correct")
    bad = {"mask": _bad(frames, mask, "mask"), "hot": _bad(frames, hot, "hot")}
    flagged = None
    if "mask" in frames.coords:
        flagged = frames["mask"] != 0
        others = [d for d in flagged.dims if d not in PIXELS]
        always = flagged.all(others) if others else flagged
        bad["flagged in the file"] = always.broadcast_like(_pixels(frames)).values
        flagged = flagged.drop_vars(flagged.coords) if others else None
    gain = np.ones((frames.sizes["detector_y"], frames.sizes["detector_x"]))
    if flat is not None:
        whole = _whole(flat, [mask, hot])
        if not (np.isfinite(whole.values).all() and float(whole.mean()) > 0):
            told = "holds values that are not finite, or no light"
            raise DataError("flat", told, "Set such pixels to 0: they count as bad.")
        spread = threshold * float(whole.std())
        response = xr.where(whole < float(whole.mean()) - spread, 0.0, whole)
        here = _on_pixels(frames, response, "flat").values
        bad["weak flat"] = (here <= 0) & ~bad["mask"] & ~bad["hot"]
        gain = float(response.mean()) / np.where(here > 0, here, 1.0)
    flag = np.zeros(gain.shape, np.uint8)
    for name, where in bad.items():
        flag |= np.uint8(FLAGS[name]) * np.asarray(where, np.uint8)
    if (share := float((flag > 0).mean())) > _MOST_BAD:
        warn_quality(
            f"correct: {share:.0%} of the pixels are bad. Is a mask inverted (True is "
            "bad), or a dark image in the place of the flat?"
        )
    gain = np.where(flag > 0, np.nan, gain).astype(np.float32)
    values = frames
    if frames.dtype.kind == "f" and frames.dtype.itemsize > 4:
        # A value beyond float32 is no count: clip it, so that it stays too large.
        values = frames.clip(-_LARGEST, _LARGEST)
    values = values.astype(np.float32)
    if flagged is not None:  # frame by frame
        values = values.where(~flagged)
    if dark is not None:
        below = _on_pixels(frames, dark, "dark")
        values = _tell_of_dark(values, below)
        values = values - below.variable.astype(np.float32)  # whatever the axes' order
    flux = None if monitor is None else _flux(frames, monitor)
    if flux is not None:
        values = values * (flux.mean() / flux).astype(np.float32).drop_vars(flux.coords)
    if minimum > 0:
        values = values.where(values >= minimum, np.float32(0))
    values = (values * xr.DataArray(gain, dims=PIXELS)).clip(min=0)
    values = values.transpose(*frames.dims).drop_vars("mask", errors="ignore")
    meaning = ", ".join(f"{bit} {name}" for name, bit in FLAGS.items())
    attrs = {"units": "1", "long_name": "Why a pixel is bad", "flags": meaning}
    out = label(values, "intensity", units="1", long_name="Intensity")
    if flux is not None:
        attrs_of_flux = {"units": "1", "long_name": "Flux of the beam"}
        out = out.assign_coords(monitor=(flux.dims, flux.values, attrs_of_flux))
    return _carry(out.assign_coords(flag=(PIXELS, flag, attrs)), frames)


@recorded
def hot_pixels(
    frames: xr.DataArray, *, threshold: Annotated[float, Bounds(above=0)] = 8.0
) -> xr.DataArray:
    """Find pixels that exceed their neighbours in all frames.

    Reads once; memory is one chunk and a few images.

    A hot pixel counts even without light. Signals are summed over blocks of frames; the
    smallest sum exceeds the median of its 5x5 neighbourhood by `threshold` standard
    deviations of counting.

    Parameters
    ----------
    frames
        Counts on ``(rocking, detector_y, detector_x)``.
    threshold
        Excess (standard deviations) above which a pixel is hot.

    Returns
    -------
    xarray.DataArray of bool
        On ``(detector_y, detector_x)``; True where hot. Use it as
        ``correct(frames, hot=...)``.

    Raises
    ------
    ArgumentError
        If `threshold` is not positive.
    DataError
        If the frames hold values that are no counts, such as logarithms.
    DimensionError
        If the frames are no rocking curve.

    Warns
    -----
    DataQualityWarning
        If there are fewer than four frames.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> dims = ("rocking", "detector_y", "detector_x")
    >>> frames = xr.DataArray(
    ...     np.random.default_rng(1).poisson(3.0, (9, 32, 32)), dims=dims
    ... )
    >>> frames[:, 5, 7] = 900
    >>> int(frames.cdi.hot_pixels().sum())
    1
    """
    require_dims(frames, VOLUME, caller="hot_pixels")
    from scipy import ndimage

    volume = frames.transpose(*VOLUME)
    if (n := volume.sizes["rocking"]) < _FEW:
        warn_quality(
            f"hot_pixels: {n} frames do not tell a hot pixel from the Bragg peak, "
            f"which moves from frame to frame. Pass {_FEW} or more."
        )
    quarter = max(1, -(-n // 4))
    sums: list[np.ndarray] = []
    count, total = 0, np.zeros(volume.shape[1:])
    for (block,) in stream(volume, dim="rocking", block=quarter):
        require_counts(np.asarray(block))
        total, count = total + np.nansum(block, axis=0, dtype=float), count + len(block)
        if count >= quarter:
            sums.append(total)
            count, total = 0, np.zeros(volume.shape[1:])
    # A last, shorter block would look dark: leave it out where others exist.
    least = np.min(sums or [total], axis=0)
    around = ndimage.median_filter(least, size=5, mode="nearest")
    hot = least - around > threshold * np.sqrt(np.maximum(around, 1.0))
    result = xr.DataArray(hot, dims=PIXELS, coords={d: volume[d] for d in PIXELS})
    return label(result, "hot", units="1", long_name="Hot pixel")


def _flux(frames: xr.DataArray, monitor: str | xr.DataArray) -> xr.DataArray:
    """Return the flux in each frame."""
    if isinstance(monitor, str):
        known = [
            str(name)
            for name, values in frames.coords.items()
            if values.dims == ("rocking",) and name != "rocking"
        ]
        if monitor not in known:
            raise ArgumentError("monitor", monitor, f"one of {known}")
        monitor = frames[monitor]
    if set(monitor.dims) & set(PIXELS) or not set(monitor.dims) <= set(frames.dims):
        told = "one number for each frame"
        raise ArgumentError("monitor", dict(monitor.sizes), told)
    if monitor.dtype.kind not in "iuf":
        raise DataError(
            "monitor",
            f"holds {monitor.dtype}, not real numbers",
            "Pass one number for each frame.",
        )
    flux = monitor.astype(float)
    wrong = ~((flux > 0) & np.isfinite(flux))
    if bad := int(wrong.sum()):
        first = int(np.argmax(wrong.values))
        raise DataError(
            "monitor",
            f"is zero, negative, infinite or missing in {bad} frames, the first is "
            f"{first}",
            "Leave these frames out, or take another counter.",
        )
    if float(flux.max() / flux.min()) > _STEADY:
        warn_quality(
            f"correct: the monitor changes {float(flux.max() / flux.min()):.1f}-fold: "
            "corrected frames have another noise than their counts tell."
        )
    return flux


def _tell_of_dark(frames: xr.DataArray, dark: xr.DataArray) -> xr.DataArray:
    """Return frames; warn of a dark image that is brighter.

    Of lazy frames, each is looked at where it is computed. One far from the peak may be
    all dark, so that a small difference says nothing.
    """
    below, lazy = float(dark.mean()), is_lazy(frames)
    if below < 0:
        raise DataError(
            "dark",
            f"has {below:.4g} counts in a pixel, and dark counts are not negative",
            "Pass the counts of a dark image: they are subtracted.",
        )
    if lazy and any(len(frames.chunksizes.get(d, ())) > 1 for d in PIXELS):
        return frames

    def brighter(one: np.ndarray) -> str | None:
        if not np.isfinite(one).any():
            return None
        light = float(np.nanmean(one))
        spread = light + 10 * np.sqrt(below / one.size) + 10 / one.size if lazy else 0
        if below <= light + spread:
            return None
        return (
            f"the dark image has {below:.4g} counts in a pixel, the frames "
            f"{light:.4g}: is it of another exposure, or a sum of frames?"
        )

    axes = [PIXELS if lazy else [str(d) for d in frames.dims]]
    return looked_at(brighter, frames, axes=axes, caller="correct")


def _pixels(frames: xr.DataArray) -> xr.DataArray:
    """Return an image of zeros on the pixels of the frames."""
    return xr.DataArray(np.zeros([frames.sizes[d] for d in PIXELS]), dims=PIXELS)


def _bad(frames: xr.DataArray, image: Any, name: str) -> np.ndarray:
    if image is None:
        return np.zeros([frames.sizes[d] for d in PIXELS], bool)
    return np.asarray(_on_pixels(frames, image, name)).astype(bool)


def _whole(flat: Any, bad: list[Any]) -> xr.DataArray:
    """Return the whole flat image, zero at bad pixels of images of its size."""
    image = flat if isinstance(flat, xr.DataArray) else xr.DataArray(flat, dims=PIXELS)
    image = image.astype(float)
    for other in bad:
        if isinstance(other, xr.DataArray) and set(PIXELS) <= set(other.coords):
            with contextlib.suppress(LabelsError):
                other = matched(image, other, argument="mask").transpose(*PIXELS)
        if other is not None and np.shape(other) == image.shape:
            image = image.where(~np.asarray(other).astype(bool), 0.0)
    return image


def _on_pixels(frames: xr.DataArray, image: Any, name: str) -> xr.DataArray:
    """Return an image on the frames' pixels: by label, else of equal shape."""
    shape = tuple(frames.sizes[d] for d in PIXELS)
    if isinstance(image, xr.DataArray) and set(PIXELS) <= set(image.coords):
        try:
            return matched(frames, image, argument=name).transpose(*PIXELS)
        except LabelsError as error:
            raise DataError(
                name,
                f"an image of {image.shape} does not cover the pixels of the frames",
                "Set the frames' first pixel with read_frames(origin=...).",
            ) from error
    if isinstance(image, xr.DataArray) and set(image.dims) == set(PIXELS):
        image = image.transpose(*PIXELS)
    if np.shape(image) != shape:
        raise DataError(
            name,
            f"an image of {np.shape(image)} does not fit the {shape} pixels of the "
            "frames",
            "Cut it to these, or give it pixel coordinates.",
        )
    return xr.DataArray(np.asarray(image), dims=PIXELS)


def _carry(out: xr.DataArray, frames: xr.DataArray) -> xr.DataArray:
    """Copy the attributes of the frames that later steps need."""
    kept = ("rocking_motor", "source_files", "title", "timezone")
    out.attrs |= {k: frames.attrs[k] for k in kept if k in frames.attrs}
    return out
