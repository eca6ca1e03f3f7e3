"""Find numbers that mark a missing reading: the limit of a counter, nines, 1e30."""

from __future__ import annotations

from typing import Literal

import numpy as np

#: Limits of integer counters, whatever decimals the units make of them.
_COUNTERS = (32767, 32768, 65535, 65536, 8388607, 16777215, 2147483647, 2147483648,
             4294967295)  # fmt: skip
_LIMITS = np.unique(np.outer(_COUNTERS, 10.0 ** np.arange(-9, 7)))
#: Nines, with up to three decimals.
_NINES = np.unique(
    [(10**n - 1) / 10.0**p for n in range(3, 10) for p in range(4) if n >= p + 3]
)
_EXACT = 1e-6  # relative: as float32 keeps the number
_ENDLESS = 1e29  # no measured number is larger
#: Limits of counters are at most this part of all numbers, other marks this one; and
#: as few as these may always be.
_MOST, _RARE, _FEW = 0.2, 0.02, 3
#: A mark is so far beyond all others: times their largest, or times their range.
_FAR = 0.5
#: Fewest readings that show what is usual.
_FEWEST = 20


#: Of a number with a lost sign: least size in usual distances from the curve through
#: those beside it and of the largest, and distance of the other sign from that curve.
_ROUGH, _TURNED, _FITS = 12.0, 0.03, 0.3
#: Fewest steps that show what is usual, most gaps, a gap in usual steps, and how much
#: the others may differ.
_MANY_STEPS, _MOST_GAPS, _WIDE, _ALIKE = 20, 3, 1.75, 0.25


def marks_in(
    values: np.ndarray, *, negative: Literal["usual", "odd", "never"] = "usual"
) -> np.ndarray:
    """Return which numbers mark a missing reading.

    A mark is a number such as 65.535, -32.768 or 9999 far from all others; or one that
    is infinite or above 1e29.

    Parameters
    ----------
    values
        Real readings of one quantity.
    negative
        How negative numbers are taken. If ``"odd"``, -1 and -99 are marks too if they
        are far from all others; if ``"never"``, if no other number is negative.

    Returns
    -------
    numpy.ndarray
        True where a number is a mark.
    """
    marked = np.asarray(np.abs(values) > _ENDLESS)
    known = np.isfinite(values) & ~marked
    there = values[known]
    if there.size < _FEWEST or values.dtype.kind != "f":
        return marked
    ends = np.array([there.min(), there.max()])
    if not (_counts(ends) | _weak(ends, negative)).any():
        return marked  # a mark lies beyond all others
    strong, weak = _counts(values) & known, _weak(values, negative) & known
    others = values[known & ~strong & ~weak]
    if others.size < _FEWEST:
        return marked
    low, high = float(others.min()), float(others.max())
    most = max(high - low, _FAR * max(abs(low), abs(high)))
    if not most:  # all others are zero: there is no scale
        return marked
    far = (values > high + most) | (values < low - most)
    below = np.isin(values, (-1.0, -99.0)) & (negative == "never" and low >= 0)
    strong, weak = strong & far, weak & (far | below)
    if strong.sum() <= max(_FEW, _MOST * there.size):
        marked |= strong
    if weak.sum() <= max(_FEW, _RARE * there.size):
        marked |= weak
    return marked


def _counts(values: np.ndarray) -> np.ndarray:
    return _among(np.abs(values), _LIMITS)


def _weak(values: np.ndarray, negative: str) -> np.ndarray:
    found = _among(np.abs(values), _NINES)
    return found if negative == "usual" else found | np.isin(values, (-1.0, -99.0))


def _among(size: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Tell which numbers are one of some sorted marks, to single precision."""
    place = np.clip(np.searchsorted(marks, size), 1, marks.size - 1)
    near = np.minimum(abs(size - marks[place - 1]), abs(size - marks[place]))
    return np.asarray(near <= _EXACT * size)


def gaps_in(axis: np.ndarray) -> int:
    """Return how many points are missing in an axis whose other steps are alike."""
    steps = np.abs(np.diff(np.asarray(axis, float)))
    wide = holes_in(axis)
    if not wide.size:
        return 0
    return int((np.rint(steps[wide] / float(np.median(steps))) - 1).sum())


def holes_in(axis: np.ndarray) -> np.ndarray:
    """Return the points after which others are missing, where other steps are alike."""
    steps = np.abs(np.diff(np.asarray(axis, float)))
    if steps.size < _MANY_STEPS:
        return np.empty(0, dtype=int)
    usual = float(np.median(steps))
    wide = steps > _WIDE * usual
    alike = np.abs(steps[~wide] - usual) <= _ALIKE * usual
    told = 0 < wide.sum() <= _MOST_GAPS and alike.all()
    return np.flatnonzero(wide) if told else np.empty(0, dtype=int)


def turned_in(values: np.ndarray) -> np.ndarray:
    """Return which numbers of curves fit those beside them only with the other sign.

    Parameters
    ----------
    values
        Curves along the last axis, smooth from point to point.

    Returns
    -------
    numpy.ndarray
        True where a minus was lost or added; nowhere in a curve with many such points.
    """
    found = np.zeros(values.shape, bool)
    if values.shape[-1] < _FEWEST or values.dtype.kind != "f":
        return found
    inner = values[..., 2:-2]
    near = values[..., 1:-3] + values[..., 3:-1]
    between = (4 * near - values[..., :-4] - values[..., 4:]) / 6
    size, off = np.abs(inner), np.abs(inner - between)
    noise = _ROUGH * np.nanmedian(off, axis=-1, keepdims=True)
    far = size > np.maximum(noise, _TURNED * np.nanmax(size, axis=-1, keepdims=True))
    found[..., 2:-2] = far & (np.abs(inner + between) < _FITS * size)
    few = found.sum(axis=-1, keepdims=True) <= _FEW
    return found & few
