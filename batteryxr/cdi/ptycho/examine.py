"""Examination of a scan's frames before anything is fitted to them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.cdi.ptycho.experiment import experiment_of, numbered
from batteryxr.cdi.ptycho.frames import HeldFrames, clean
from batteryxr.cdi.ptycho.kernels.facts import (
    FrameFacts,
    Shadows,
    beam_off,
    gap_lines,
    hot_pixels,
    seen_by,
)
from batteryxr.cdi.ptycho.scan import unsquared
from batteryxr.core.errors import DataError, warn_quality
from batteryxr.core.model import attributes
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    from batteryxr.cdi.ptycho.experiment import Experiment

#: How clearly shadows show a beam too wide for the far field, and how much more clearly
#: than one that fits, to say so.
_CLEAR, _RATHER = 0.05, 1.1
#: To be sure: how much more clearly than one that fits, and than any other width; or
#: how much more clearly than one that fits alone.
_MORE, _ALONE, _FAR_MORE = 1.5, 2.0, 4.0
#: Fewest pixels at the largest count that show saturation; counts just below it.
_PILED, _BELOW = 10, 0.99
#: Fraction of the usual counts below which a frame is reported.
_WEAK = 0.1


def examined(
    experiment: Experiment, *, hold: bool = False, step: int = 64
) -> Experiment:
    """Read all frames once, report faults, and leave out frames without information.

    Parameters
    ----------
    experiment
        Experiment as made from the scan.
    hold
        Whether to keep the frames for the engines.
    step
        Frames in memory at a time, unless they are kept.

    Raises
    ------
    DataError
        If no frame is left, or the frames are not far field.

    Warns
    -----
    DataQualityWarning
        For each kind of fault.
    """
    seen, held = look(experiment, hold=hold, step=step)
    check_far_field(seen, experiment)
    for text in findings(seen, experiment):
        warn_quality(text)
    return settled(experiment, seen, held)


def settled(
    experiment: Experiment, seen: FrameFacts, held: np.ndarray | None = None
) -> Experiment:
    """Return an experiment of the usable frames, after their examination."""
    kept = np.flatnonzero(~seen.left_out)
    if kept.size == 0:
        raise DataError(
            "frames", "no counts where the mask leaves pixels", "Look at the mask."
        )
    if kept.size == 1:
        raise DataError(
            "frames",
            "one alone has counts: nothing overlaps with it",
            "Look whether the file was read whole.",
        )
    if kept.size < len(seen.counts):
        experiment = experiment.only(kept)
        held = None if held is None else held[kept]
    own = seen._replace(**{name: getattr(seen, name)[kept] for name in _EACH})
    off = _off(seen, experiment.probe, experiment.near)
    if off.any():
        n = len(experiment.weight)
        ways = [np.exp(2j * np.pi * d * np.arange(n) / n) for d in off]
        moved = np.asarray(experiment.probe) * np.outer(*ways)
        experiment = replace(experiment, probe=moved.astype(np.complex64))
    return replace(experiment, seen=own, held=held)


def _off(seen: FrameFacts, probe: Any, near: float) -> np.ndarray:
    """Return how far (y, x) frames have the beam of the first probe off the middle."""
    if probe is None or near:
        return np.zeros(2)
    return beam_off(seen, np.asarray(probe))


def halves_of(experiment: Experiment) -> tuple[Experiment, Experiment]:
    """Split an experiment into two halves, each spread over the whole scan.

    The halves share no frame. Each frame goes to the half with fewer of its nearest
    earlier frames. On a raster this gives a chequerboard, so that the frames of each
    half overlap in all directions.
    """
    from scipy.spatial import KDTree

    j, seen = len(experiment.corners), experiment.seen
    assert seen is not None, "look at the frames first: `examined`"
    if j < 8:
        raise DataError("frames", f"{j} are too few for two halves", "Leave fewer out.")
    near = KDTree(experiment.corners).query(experiment.corners, k=5)[1][:, 1:]
    half, sizes = np.full(j, -1), [0, 0]
    for k in range(j):
        beside = [int(np.sum(half[near[k]] == h)) for h in (0, 1)]
        half[k] = min((0, 1), key=lambda h: (beside[h], sizes[h]))
        sizes[half[k]] += 1
    parts = [np.flatnonzero(half == h) for h in (0, 1)]
    first, second = (
        replace(
            experiment.only(p),
            seen=seen._replace(**{n: getattr(seen, n)[p] for n in _EACH}),
        )
        for p in parts
    )
    return first, second


_EACH = ("counts", "usable", "negative", "missing", "largest", "flat", "lit", "marks")


def look(
    experiment: Experiment, *, hold: bool = False, step: int = 64
) -> tuple[FrameFacts, np.ndarray | None]:
    """Return the findings in frames, and the frames themselves if they are held."""
    j, n, _ = experiment.frames.shape
    held = (
        HeldFrames(experiment.frames.shape, experiment.frames.dtype) if hold else None
    )
    each: dict[str, list[np.ndarray]] = {name: [] for name in _EACH}
    total, times, top = np.zeros((n, n)), np.zeros((n, n)), np.zeros((n, n), np.float32)
    piled = np.zeros(3)
    shadows = Shadows(experiment.corners * experiment.pixel, n, n * experiment.pixel)
    good = ~experiment.dark
    for start in range(0, j, step):
        found = clean(experiment, start, min(start + step, j))
        values, spoilt = found.values, found.values.dtype.kind == "f"
        known = (values >= 0) & good if spoilt else good
        some = np.where(known, values, 0) if spoilt else values
        shadows.take(start, some)
        counts = some.sum((1, 2), dtype=float)
        usable = np.count_nonzero(known, axis=(-2, -1))
        if spoilt:
            low = np.where(known, values, np.inf).min((1, 2))
            lit = np.minimum(some, 1).sum((1, 2), dtype=float)
        else:
            low = _least(values, good)
            lit = np.count_nonzero(some, axis=(1, 2)).astype(float)
        flat = (low == some.max((1, 2))) & (usable > 1)
        for name, line in (
            ("counts", counts), ("usable", np.broadcast_to(usable, len(values))),
            ("flat", flat), ("lit", lit), ("marks", _marks(values)),
            ("negative", found.negative), ("missing", found.missing),
            ("largest", found.largest),
        ):  # fmt: skip
            each[name].append(line)
        telling = (counts > 0) & ~flat
        if not telling.all():
            some, known = some[telling], known[telling] if spoilt else known
        total += some.sum(0, dtype=float)
        times += known.sum(0) if spoilt else len(some) * known
        np.maximum(top, some.max(0, initial=0), out=top)
        piled = _more(piled, some)
        if held is not None:
            held.put(start, np.fft.ifftshift(values, axes=(-2, -1)))
    arrays = {name: np.concatenate(parts) for name, parts in each.items()}
    mean = total / np.maximum(times, 1)
    top[times == 0] = -1.0
    seen = FrameFacts(
        **arrays, mean=mean, top=top, piled=piled, shadow=shadows.moved(mean)
    )
    return seen, None if held is None else held.values


def _least(values: np.ndarray, good: np.ndarray) -> np.ndarray:
    if good.all():
        return np.asarray(values.min((1, 2)))
    return np.asarray(values[:, good].min(1))


def _marks(values: np.ndarray) -> np.ndarray:
    marks = [hashlib.blake2b(v.tobytes(), digest_size=8) for v in values]
    return np.array([np.frombuffer(m.digest(), np.uint64)[0] for m in marks])


def _more(piled: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the largest count, and how many pixels have it or nearly so."""
    high = float(counts.max(initial=0))
    if high < piled[0] or high == 0:
        return piled
    at = float(np.count_nonzero(counts == high))
    near = float(np.count_nonzero(counts >= _BELOW * high)) - at
    before = piled[1:] if high == piled[0] else 0.0
    return np.array([high, at, near]) + np.r_[0.0, np.broadcast_to(before, 2)]


def check_far_field(seen: FrameFacts, experiment: Experiment) -> None:
    """Raise where the beam is wider than the far field of a frame can hold."""
    width, near, far, other = seen.shadow
    sure = near > min(max(_MORE * far, _ALONE * other), _FAR_MORE * max(far, 0.015))
    if _seems_near(seen, experiment.near) and sure:
        field = len(experiment.weight) * experiment.pixel
        raise DataError(
            "frames",
            f"they show a shadow that moves with the positions, of a beam "
            f"{width * field / 1e3:.3g} µm wide, and far-field frames of this geometry "
            f"can hold {field / 1e3:.3g} µm: this is near field",
            "Tell ptycho_scan the defocus, or the scan itself as a coordinate in µm, "
            "from the focus to the sample. If it is far field, look at distance, "
            "pixel_pitch and the units of positions.",
        )


def _seems_near(seen: FrameFacts, named: float) -> bool:
    """Return whether frames show the near field, and are not `named` so."""
    _, near, far, _ = seen.shadow
    return bool(near > max(_CLEAR, _RATHER * far) and not named)


def findings(seen: FrameFacts, experiment: Experiment) -> list[str]:
    """Return the faults of the frames, one sentence each."""
    said, numbers = [], experiment.numbers
    if _seems_near(seen, experiment.near):
        said.append(
            "frames may be near field, or of a sample that repeats: if they show a "
            "shadow of the sample, tell ptycho_scan the defocus"
        )
    off = _off(seen, experiment.probe, experiment.near)
    if off.any():
        n = len(experiment.weight)
        y, x = off + n // 2
        said.append(
            f"the beam of the first probe lies at ({y:.1f}, {x:.1f}) in frames, not at "
            f"({n // 2}, {n // 2}), the middle: the probe is moved there"
        )
    if numbers is None:
        numbers = np.arange(len(seen.counts))

    def which(mask: np.ndarray) -> str:
        return numbered(numbers[mask])

    none = seen.left_out & (seen.usable == 0)
    for mask, what in (
        (none, "have no pixel that counts"),
        ((seen.counts <= 0) & ~none, "are empty: was the scan stopped early?"),
        (seen.flat & (seen.counts > 0), "hold one number in all pixels"),
    ):
        if mask.any() and not mask.all():
            said.append(f"{which(mask)} {what}; left out")
    if seen.repeated.any():
        said.append(f"{which(seen.repeated)} repeat one before, pixel by pixel")
    for counts, what in (
        (seen.negative, "below 0 are taken as 0 (a dark level was taken off?)"),
        (seen.missing, "that are no numbers, or whole and below 0, are left free"),
        (seen.largest, "at the largest number of their type are left free"),
    ):
        if counts.any():
            frames = np.count_nonzero(counts)
            said.append(f"{counts.sum()} counts in {frames} frame(s) {what}")
    weak = _weak(seen)
    if weak.any():
        said.append(f"{which(weak)} have less than a tenth of the usual counts")
    kept, n = ~seen.left_out, len(experiment.weight)
    have = int(seen.usable[kept].sum())
    # Two numbers a pixel of object and probe; mostly the whole of the object is fewer.
    if kept.any() and have < 2 * (experiment.y.size * experiment.x.size + n * n):
        asked = 2 * (seen_by(experiment.corners[kept], n) + n * n)
        if have < asked:
            said.append(
                f"{have} counts are too few to tell the {asked} numbers of object "
                "and probe: what is found is one of many answers. Look at the mask "
                "(not 0 where pixels are bad) and at positions, or take more frames"
            )
    return said + _of_pixels(seen)


def _weak(seen: FrameFacts) -> np.ndarray:
    there = seen.counts[~seen.left_out]
    usual = float(np.median(there)) if there.size else 0.0
    return (seen.counts < _WEAK * usual) & ~seen.left_out


def _noise_above(seen: FrameFacts) -> float:
    """Return how many pixels of counts with these means were above the largest one."""
    from scipy.special import pdtrc

    kept = ~seen.left_out
    mean = seen.mean[seen.top >= 0]
    return float(np.count_nonzero(kept) * pdtrc(seen.piled[0], mean).sum())


def _of_pixels(seen: FrameFacts) -> list[str]:
    said = []
    high, at, near = seen.piled
    if high >= 16 and at >= _PILED and at > near:
        said.append(
            f"{at:.0f} pixels pile up at {high:.6g}, the largest count: saturated? Set "
            "mask there, (position, detector_y, detector_x)"
        )
    elif (higher := _noise_above(seen)) > _PILED:
        said.append(
            f"no pixel has more than {high:.6g}, and counting noise would give more in "
            f"about {higher:.0f}: the frames are clipped, or are no counts"
        )
    hot = hot_pixels(seen)
    if hot.any():
        places = ", ".join(str((int(y), int(x))) for y, x in np.argwhere(hot)[:5])
        said.append(
            f"{hot.sum()} hot pixel(s) outside the mask, at {places}: they count far "
            "more than all round them. Set mask there"
        )
    gaps = gap_lines(seen)
    for axis, lines in enumerate(gaps):
        if lines.size:
            name = ("row", "column")[axis]
            said.append(
                f"detector {numbered(lines, name)} never counted and those beside did: "
                "a gap without a mask? Set mask there"
            )
    return said


@recorded
def check_ptycho(scan: xr.Dataset) -> xr.Dataset:
    """Examine a scan before it is reconstructed, and say what is wrong with it.

    Reads once, a block at a time.

    Parameters
    ----------
    scan
        Frames of one energy with positions and geometry; see `ptycho_scan`.

    Returns
    -------
    xarray.Dataset
        Along position `counts`; the pixels outside the mask that are `negative`,
        `missing` (no number) or at the `largest` number of their type; `repeated`
        (equal to a frame before) and `left_out` (empty, constant, without a pixel or
        a position: `ptycho` leaves these out). On the detector `mean_frame`, `hot`
        pixels, and lines of a `gap` without a mask. ``attrs["findings"]`` says it in
        sentences, and is empty where all is well.

    Raises
    ------
    DataError, DimensionError, UnitsError, VariableError
        If the scan is no scan of ptychography.

    Examples
    --------
    >>> scan, _ = batteryxr.simulate.ptychography(energy=5470, positions=5, size=32)
    >>> scan = scan.isel(energy=0)
    >>> seen = scan.cdi.check_ptycho()
    >>> seen.attrs["findings"]
    []
    """
    experiment = experiment_of(scan, caller="check_ptycho", probe=False)
    seen, _ = look(experiment)
    whole = scan.sizes["position"]
    numbers = experiment.numbers
    numbers = np.arange(whole) if numbers is None else numbers
    values: dict[str, tuple[Any, Any, str]] = {}
    for name, long_name in _COUNTED.items():
        line = np.zeros(whole, float if name == "counts" else int)
        line[numbers] = getattr(seen, name)
        values[name] = ("position", line, long_name)
    for name, long_name in _TOLD.items():
        flags = np.full(whole, name == "left_out")
        flags[numbers] = getattr(seen, name)
        values[name] = ("position", flags, long_name)
    frame = ("detector_y", "detector_x")
    gap = np.zeros(seen.mean.shape, bool)
    rows, columns = gap_lines(seen)
    gap[rows], gap[:, columns] = True, True
    values["mean_frame"] = (frame, seen.mean, "Mean counts")
    values["hot"] = (frame, hot_pixels(seen), "Hot pixels")
    values["gap"] = (frame, gap, "Gap without a mask")
    result = xr.Dataset(
        {
            name: (dims, v, attributes(name, units="1", long_name=long_name))
            for name, (dims, v, long_name) in values.items()
        },
        coords={k: c for k, c in scan.coords.items() if set(c.dims) <= {"position"}},
    )
    result = unsquared(result, scan.sizes)
    said = findings(seen, experiment)
    if len(numbers) < whole:
        lost = np.setdiff1d(np.arange(whole), numbers)
        said.insert(0, f"no position is known of {numbered(lost)}; left out")
    try:
        check_far_field(seen, experiment)
    except DataError as error:
        said.append(str(error))
    result.attrs["findings"] = said
    return result


_COUNTED = {
    "counts": "Counts of a frame",
    "negative": "Pixels below 0",
    "missing": "Pixels without a number",
    "largest": "Pixels at the largest number of their type",
}
_TOLD = {"repeated": "Equal to a frame before", "left_out": "Left out"}
