"""Checks of counts: logarithms, zingers, and gaps of zeros."""

from __future__ import annotations

import itertools

import numpy as np

from batteryxr.core.errors import DataError

#: A zinger exceeds the frames before and after, 3x3 pixels, by this factor and count.
_TIMES, _COUNTS = 10.0, 50.0
#: Numbers that mark pixels that were not read.
_MARKS = (-2, -1, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1, 2**32)
#: Counts, and pixels of one and the same largest count, that are saturated.
_HIGH, _FLAT = 100.0, 5
#: Least voxels of a support. Single counts stand apart.
_BODY = 27
#: Voxels that are looked at for what was made of their counts.
_LOOKED = 100_000
#: Largest multiple of the smallest count that is looked at.
_SEVERAL = 40
#: Least and largest plausible largest number of photons, whatever its scale.
_LEAST, _MOST = 1e-15, 1e20
#: Least counts in the rows beside a gap of zeros.
_EXPECTED = 25.0


def not_counts(values: np.ndarray) -> str:
    """Return why numbers cannot be counts of photons; empty where they can.

    Parameters
    ----------
    values
        Real; NaN where nothing was measured.
    """
    low, high = np.nanmin(values, initial=0.0), np.nanmax(values, initial=0.0)
    for mark in (low, high):
        if mark in _MARKS and (marked := _marked(values, mark)):
            return (
                f"holds {mark:.10g} in {marked} pixels of every frame, as detectors "
                "mark pixels that were not read: leave them out, "
                f"`.where(volume {'>' if mark < 0 else '<'} {mark:.10g})`"
            )
    if np.isinf(low) or np.isinf(high):
        return "holds infinite values, as the logarithm of 0 is"
    if high > _MOST:
        return f"holds values up to {high:.4g}, which is more than can be counted"
    if 0 < high < _LEAST:
        return f"holds values up to {high:.4g}, which no scale of counts gives"
    if high > 0 and _is_body(values == high, values > 0):
        return f"holds {high:.4g} in a body and 0 elsewhere, as a support or mask does"
    if low < 0:
        negative = -float(np.minimum(np.nan_to_num(values), 0).sum())
        positive = float(np.maximum(np.nan_to_num(values), 0).sum())
        if negative > 0.05 * positive:
            return f"holds values down to {low:.4g}, and counts are not negative"
    if values.dtype.kind == "f":
        few = np.unique(values[(values > 0) & (values < 4)][:_LOOKED])[:40]
        few = few[np.abs(few - np.round(few)) > 1e-3].astype(float)
        for name, raised in (
            ("the decimal logarithm", 10**few),
            ("log10(1 + counts)", 10**few - 1),
            ("the square root", few**2),
            ("the binary logarithm", 2**few),
            ("the natural logarithm", np.exp(few)),
            ("log(1 + counts)", np.expm1(few)),
        ):
            whole = np.round(raised)
            near = np.abs(raised - whole) < 1e-4 * np.maximum(raised, 1) + 1e-4
            if few.size >= 3 and (near & (whole >= 1)).all():
                return f"holds what looks like {name} of counts"
    return ""


def _marked(values: np.ndarray, mark: float) -> int:
    """Return how many pixels hold a mark; 0 where one holds it in some frames alone."""
    here = values == mark
    always = here.all(axis=0)
    return (
        int(always.sum())
        if values.ndim > 2 and (here.any(axis=0) == always).all()
        else 0
    )


def _is_body(top: np.ndarray, lit: np.ndarray) -> bool:
    """Return whether all that is lit is alike and mostly has lit neighbours in line."""
    if top.ndim < 3 or not _BODY <= np.count_nonzero(top) < top.size:
        return False
    if (top != lit).any():
        return False
    inner = lit[..., 1:-1]
    return bool(
        np.count_nonzero(inner & lit[..., :-2] & lit[..., 2:])
        > 0.5 * np.count_nonzero(inner)
    )


def odd_counts(values: np.ndarray) -> list[str]:
    """Return what is odd about counts that can still be phased.

    Parameters
    ----------
    values
        Counts of a pattern; NaN where nothing was measured.
    """
    found = []
    high = float(np.nanmax(values, initial=0.0))
    flat = int((values == high).sum())
    if high >= _HIGH and flat >= _FLAT:
        found.append(
            f"holds its largest value, {high:g}, in {flat} pixels: the detector was "
            "saturated there. Leave them out, `.where(volume < volume.max())`."
        )
    positive = values[values > 0]
    least = float(positive.min()) if positive.size else 1.0
    if abs(least - 1) <= 1e-3:
        return found
    few = positive[positive < _SEVERAL * least] / least
    whole = np.round(few)
    if np.unique(whole).size >= 12 and np.abs(few - whole).max() < 1e-3:
        found.append(
            f"holds multiples of {least:.6g}: counts that were scaled. What is said of "
            f"photons and noise takes them as counts; divide by {least:.6g}."
        )
    return found


def photons_of(values: np.ndarray) -> float:
    """Return the sum of counts; NaN counts as none."""
    return float(np.nansum(values, dtype=float))


def require_counts(values: np.ndarray) -> None:
    """Raise a `DataError` where numbers cannot be counts of photons."""
    if why := not_counts(values):
        raise DataError("volume", why, "Pass the counts as they were measured.")


def zingers(frames: np.ndarray) -> np.ndarray:
    """Return the places (frame, row, column) of isolated bright voxels.

    Parameters
    ----------
    frames
        Consecutive frames; the outer two only serve for comparison.
    """
    middle = frames[1:-1]
    alone = middle > _COUNTS
    for side in (frames[:-2], frames[2:]):
        alone &= middle > _TIMES * side
    found = []
    for k, y, x in np.argwhere(alone)[:10_000]:
        around = slice(max(0, y - 1), y + 2), slice(max(0, x - 1), x + 2)
        beside = max(frames[k][around].max(), frames[k + 2][around].max())
        if middle[k, y, x] > _TIMES * beside + _COUNTS:
            found.append((k + 1, y, x))
    return np.array(found, int).reshape(-1, 3)


def zero_gaps(counts: np.ndarray) -> np.ndarray:
    """Return the pixels of empty rows and columns that should hold counts.

    Some formats write 0 between the modules of a detector. Rows are a gap where they
    are 0 in all frames and the nearest rows with counts hold too many for chance. A
    single row is no gap: between two fringes of a crystal a row may be without a
    photon. `dark_lines` finds single rows.

    Parameters
    ----------
    counts : (frames, rows, columns)
        NaN where nothing was measured.
    """
    return _zeros(counts, 2)


def dark_lines(counts: np.ndarray) -> np.ndarray:
    """Return single rows and columns of zeros: dead, or a minimum between fringes.

    Parameters
    ----------
    counts
        See `zero_gaps`.
    """
    return _zeros(counts, 1) & ~_zeros(counts, 2)


def _zeros(counts: np.ndarray, least: int) -> np.ndarray:
    """Return the pixels in at least `least` adjacent rows or columns of zeros."""
    image = np.nan_to_num(counts).sum(axis=0, dtype=float)
    out = np.zeros(image.shape, bool)
    for axis in (0, 1):
        profile = image.sum(axis=1 - axis)
        lit = np.flatnonzero(profile > 0)
        for before, after in itertools.pairwise(lit):
            expected = min(profile[before], profile[after])
            if after - before > least and expected > _EXPECTED:
                gap = [slice(None), slice(None)]
                gap[axis] = slice(before + 1, after)
                out[tuple(gap)] = True
    return out & np.isfinite(counts).any(axis=0)
