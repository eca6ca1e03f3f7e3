"""Angles, numbers and counts of a scan: checks, and places of missing frames."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.cdi.bragg.kernels.counting import (
    dark_lines,
    odd_counts,
    require_counts,
    zero_gaps,
)
from batteryxr.core.errors import DataError, VariableError, warn_quality
from batteryxr.core.labels import MOTOR
from batteryxr.core.units import affine

if TYPE_CHECKING:
    import xarray as xr

#: Units of numbers that are not converted.
_PLAIN = ("deg", "1", "")
#: Differences of arguments from the file that calibrations explain.
_ALIKE = {"deg": 0.5, "eV": 0.01, "mm": 0.1, "um": 0.05}
#: Distance (pixels) of a peak from the centre that is near, and part that is nearer.
_NEAR, _NEARER = 20.0, 0.25
#: Deviation of an angle from an even grid above which to warn, as part of the step.
_TOLD = 0.15


def require_angles(volume: xr.DataArray, *, caller: str, fill: bool = False) -> None:
    """Check the rocking angles; name the frames that are wrong.

    Parameters
    ----------
    volume
        Volume on ``rocking``; without labels nothing is checked.
    caller
        Name of the public function, for messages.
    fill
        The caller fills in missing frames, so they are no error.

    Raises
    ------
    DataError
        If angles are missing, repeat, turn back, are uneven, or frames are missing.
    """
    if "rocking" not in volume.coords or volume.sizes["rocking"] < 3:
        return
    units = str(volume["rocking"].attrs.get("units", "deg"))
    if units not in _PLAIN and affine(units, "deg") != (1.0, 0.0):
        raise DataError(
            "rocking",
            f"is in {units!r}, and boxes and objects note angles in deg",
            "Convert it: `.assign_coords(rocking=('rocking', angles, "
            "{'units': 'deg'}))`.",
        )
    angles = np.asarray(volume["rocking"].values, float)
    if lost := np.flatnonzero(~np.isfinite(angles)).tolist():
        raise DataError(
            "rocking",
            f"has no angle for the frames {_told(lost)}",
            "Leave these frames out: `.isel(rocking=volume.rocking.notnull())`; "
            "crop(...) then leaves their places empty.",
        )
    steps = np.diff(angles)
    step = float(np.median(steps[steps != 0])) if steps.any() else 0.0
    twice = np.flatnonzero(np.abs(steps) < 0.1 * abs(step)).tolist()
    if step == 0.0 or twice:
        pairs = [f"{k} and {k + 1}" for k in twice or [0]]
        raise DataError(
            "rocking",
            f"is the same angle for the frames {_told(pairs)}",
            "Keep one of each, `.drop_duplicates('rocking')`, or their mean.",
        )
    back = (np.flatnonzero(np.sign(steps) != np.sign(step)) + 1).tolist()
    if back:
        raise DataError(
            "rocking",
            f"turns back at the frames {_told(back)}: they are out of order",
            "Sort them if the angles are right: `.sortby('rocking')`.",
        )
    counts = _steps(steps, step)
    if counts is None:
        sizes = np.abs(steps)
        raise DataError(
            "rocking",
            f"is irregular, in steps of {sizes.min():.4g} to {sizes.max():.4g} deg; "
            f"{caller} needs one step",
            "A pattern cannot be interpolated between frames: cut out the part that "
            "was scanned evenly.",
        )
    missing = _missing(counts)
    if missing and not fill:
        raise DataError(
            "rocking",
            f"misses {sum(missing.values())} frames, after {_after(missing)}",
            "Call crop(...), which leaves the places of missing frames empty (NaN).",
        )
    off = angles - angles[0] - np.r_[0, np.cumsum(counts)] * step
    off -= np.linspace(0, off[-1], off.size)
    worst = int(np.argmax(np.abs(off)))
    if np.abs(off[worst]) > _TOLD * abs(step):
        warn_quality(
            f"{caller}: the angle of frame {worst} lies {abs(off[worst] / step):.2f} "
            "steps from an even scan; lengths and strain suffer."
        )


def number_of(volume: xr.DataArray | xr.Dataset, name: str, units: str) -> float:
    """Return the one value of a coordinate, in these units.

    Raises
    ------
    UnitsError
        If its units measure something else.
    VariableError
        If it varies.
    """
    array = volume[name]
    if array.size != 1:
        raise VariableError(
            f"geometry: the coordinate {name!r} varies along {array.dims}; one value "
            "for each volume is needed."
        )
    told = str(array.attrs.get("units", units))
    factor = 1.0 if told in _PLAIN else affine(told, units)[0]
    return float(array.values.ravel()[0]) * factor


def tell_of_difference(
    volume: xr.DataArray, name: str, given: float, units: str
) -> None:
    """Warn where an argument is far from what the file tells."""
    if name not in volume.coords or volume[name].size != 1:
        return
    known = number_of(volume, name, units)
    allowed = _ALIKE[units] * (1.0 if units == "deg" else abs(known))
    if abs(given - known) > allowed:
        warn_quality(
            f"geometry: {name} is {given:g} {units} by argument, and {known:g} {units} "
            "by the file. The argument is used."
        )


def tell_of_centre(centre: tuple[float, float], middle: tuple[float, float]) -> None:
    """Warn of a centre as fractions, or with row and column the other way round."""
    if 0 < max(map(abs, centre)) < 1 and min(middle) > 2:
        warn_quality(
            f"geometry: centre={centre!r} is the first pixel of the frame; expected "
            "(row, column). Was it fractions of the frame? Pass them in pixels."
        )
    away, turned = (math.dist(c, middle) for c in (centre, centre[::-1]))
    if away > _NEAR and turned < _NEARER * away:
        warn_quality(
            f"geometry: centre={centre!r} lies {away:.0f} pixels from the middle of "
            f"the box, and {turned:.0f} with row and column exchanged: it is (row, "
            "column)."
        )


def on_even_angles(volume: xr.DataArray, *, caller: str) -> xr.DataArray:
    """Return a scan with NaN in the place of missing frames; lazy.

    Warns
    -----
    DataQualityWarning
        If frames are missing; says how many, and where.

    Raises
    ------
    DataError
        See `require_angles`.
    """
    require_angles(volume, caller=caller, fill=True)
    if "rocking" not in volume.coords or volume.sizes["rocking"] < 3:
        return volume
    axis = volume["rocking"]
    steps = np.diff(np.asarray(axis.values, float))
    step = float(np.median(steps))
    counts = _steps(steps, step)
    missing = {} if counts is None else _missing(counts)
    if counts is None or not missing:
        return volume
    place = np.r_[0, np.cumsum(counts)]
    angles = np.interp(np.arange(place[-1] + 1), place, axis.values.astype(float))
    warn_quality(
        f"{caller}: {sum(missing.values())} frames are missing, after "
        f"{_after(missing)}; their places are left empty (NaN)."
    )
    filled = volume.reindex(
        rocking=angles, method="nearest", tolerance=1e-3 * abs(step)
    )
    return filled.assign_coords(rocking=("rocking", angles, axis.attrs))


def _steps(steps: np.ndarray, step: float) -> np.ndarray | None:
    """Return each step as a number of grid steps; None where one is no multiple."""
    parts = steps / step
    whole = np.maximum(np.round(parts), 1)
    if (np.abs(parts - whole) > 2 * MOTOR).any():
        return None
    # Many equal gaps mean a change of the step, not lost frames.
    return None if (whole > 1).mean() > 0.25 else whole.astype(int)


def _missing(counts: np.ndarray) -> dict[int, int]:
    return {int(k): int(counts[k]) - 1 for k in np.flatnonzero(counts > 1)}


def _after(missing: dict[int, int]) -> str:
    return _told([f"frame {k} ({n})" for k, n in missing.items()])


def _told(items: list[object] | list[int] | list[str]) -> str:
    words = ", ".join(str(i) for i in items[:5])
    return f"{words} and {len(items) - 5} more" if len(items) > 5 else words


def check_patterns(intensity: np.ndarray, caller: str, first: int = 0) -> None:
    """Raise where there are no counts; warn where the peak is off the centre."""
    shape = intensity.shape[-3:]
    farthest: list[int] = []
    for number, pattern in enumerate(intensity.reshape(-1, *shape), first):
        require_counts(pattern)
        if not np.nansum(pattern) > 0:
            raise DataError(
                "volume", f"pattern {number} holds no counts", "Leave it out."
            )
        if gaps := int(zero_gaps(pattern).sum()):
            warn_quality(
                f"{caller}: {gaps} pixels of pattern {number} lie in rows or columns "
                "of zeros between bright ones: gaps, taken as not measured."
            )
        if lines := int(dark_lines(pattern).sum()):
            warn_quality(
                f"{caller}: {lines} pixels of pattern {number} lie in single rows or "
                "columns of zeros between bright ones. They are taken as they are, "
                "minima between fringes; mask them if they are dead."
            )
        for odd in odd_counts(pattern):
            warn_quality(f"{caller}: pattern {number} {odd}")
        peak = np.unravel_index(np.nanargmax(pattern), shape)
        away = [abs(int(p) - n // 2) for p, n in zip(peak, shape, strict=True)]
        if any(8 * a > n for a, n in zip(away, shape, strict=True)):
            farthest = max(farthest, away)
    if farthest:
        warn_quality(
            f"{caller}: the brightest voxel lies {farthest} voxels from the centre; "
            "the object will carry a steep phase ramp. Crop round the peak first."
        )


def require_start(initial: np.ndarray, support: np.ndarray | None) -> None:
    """Raise where an initial object is none."""
    if not np.isfinite(initial).all():
        raise DataError("start object", "holds NaN", "Use .fillna(0).")
    if not np.where(True if support is None else support, initial, 0).any():
        told = "is zero" if support is None else "is zero inside its support"
        raise DataError("start", told, "A support is True inside: is it inverted?")
