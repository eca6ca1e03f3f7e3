"""Numbers of a detector that are no counts: gaps, bad pixels, saturation."""

from __future__ import annotations

from typing import Any

import numpy as np

from batteryxr.core.errors import warn_quality

#: What is said of frames whose file holds integers.
FLAG = (
    "the largest number of a type, infinite and negative numbers are no counts (gaps, "
    "bad or saturated pixels): NaN"
)
#: The largest numbers of types of 32 and 64 bits, as float32 and float64 round them.
_LARGEST = np.unique(
    [float(np.float32(n)) for n in (2**31 - 1, 2**32 - 2, 2**63, 2**64)]
    + [float(n) for n in (2**31 - 1, 2**32 - 2, 2**32 - 1)]
)
#: Whole negative numbers that detectors write; others remain of a subtraction.
_MARKS = (-1.0, -2.0, -(2.0**15))
#: The most that counters and converters of fewer bits than their type can hold.
_FULL: dict[float, int] = {2**bits - 1: bits for bits in (10, 12, 14, 16, 18, 20, 24)}
#: So many pixels at that number, more than just below it, are saturated.
_PILED, _BELOW = 4, 0.99
#: Part of a single frame that scattered marks take at most, and part of more marks
#: that have a neighbour.
_RARE, _TOGETHER = 0.01, 0.9


def counts_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of counts: integers become float32, which has NaN."""
    return np.dtype(np.float32) if np.dtype(dtype).kind in "iu" else np.dtype(dtype)


def only_counts(values: np.ndarray, source: str) -> np.ndarray:
    """Return counts as floating numbers, NaN where there are none.

    Parameters
    ----------
    values
        As they stand in the file. Of floating numbers, those are no counts that are
        infinite or the largest of a type of integers; -1 and -2, and less than -2**15,
        where all are whole and these stay at their pixels, as in frames that were
        integers once.
    source
        Name of the file, for the warning.

    Warns
    -----
    DataQualityWarning
        Saying which number was taken out; the same words for all parts of a file. Also
        where pixels pile up at the most of a counter with fewer bits.
    """
    if values.dtype.kind == "f":
        return _only_counts_of_floats(values, source)
    if values.dtype.kind not in "iu":
        return values
    found = values.astype(np.float32)
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    top = _top(values.dtype)
    if low < 0 or high >= top:
        bad = (values < 0) | (values >= top)
        found[bad] = np.nan
        _tell_bad(low if low < 0 else high, source)
        high = int(values[~bad].max(initial=0))
    _tell_saturated(values, high, source)
    return found


def _only_counts_of_floats(values: np.ndarray, source: str) -> np.ndarray:
    if not values.size:
        return values
    low, high = np.fmin.reduce(values, None), np.fmax.reduce(values, None)
    bad = None
    if high >= _LARGEST[0] or low == -np.inf:
        bad = np.isinf(values) | np.isin(values, _LARGEST.astype(values.dtype))
    if low < 0 and (low == -np.inf or low == np.floor(low)):
        below = values[values < 0]
        marked = np.isin(below, _MARKS[:2]) | (below <= _MARKS[2])
        known = values[np.isfinite(values)]
        whole = (known == np.floor(known)).all()
        odd = (values < 0) | (False if bad is None else bad)
        if marked.all() and whole and _are_marks(odd):
            bad = odd
    if bad is not None and bad.any():
        _tell_bad(values[bad][0], source)
        values = np.where(bad, values.dtype.type(np.nan), values)
        high = np.fmax.reduce(values, None)
    _tell_saturated(values, high, source)
    return values


def _are_marks(below: np.ndarray) -> bool:
    """Tell marks of gaps and bad pixels from what is left of a subtraction.

    Marks stay at their pixels from frame to frame. In a single frame they are few, or
    stand side by side; what a subtraction leaves is scattered.
    """
    if below.ndim > 2 and len(below) > 1:
        frames = below.reshape(len(below), -1)
        return bool(2 * frames.all(axis=0).sum() >= frames.any(axis=0).sum())
    if below.ndim < 2 or below.mean() <= _RARE:
        return True
    frame = below.reshape(below.shape[-2:])
    edge = np.pad(frame, 1)
    beside = edge[:-2, 1:-1] | edge[2:, 1:-1] | edge[1:-1, :-2] | edge[1:-1, 2:]
    return bool((beside & frame).sum() >= _TOGETHER * frame.sum())


def _tell_bad(value: float, source: str) -> None:
    warn_quality(
        f"{source}: pixels that hold {value:.10g} or such are no counts but gaps, bad "
        "or saturated: NaN"
    )


def _tell_saturated(values: np.ndarray, high: float, source: str) -> None:
    """Warn where pixels pile up at the most of a counter with fewer bits."""
    if high in _FULL:
        at_top = int((values == high).sum())
        near = int((values >= _BELOW * high).sum()) - int((values > high).sum())
        if at_top >= _PILED and at_top > near - at_top:
            warn_quality(
                f"{source}: pixels pile up at {high:.0f}, the most of {_FULL[high]} "
                "bits: they may be saturated"
            )


def _top(dtype: np.dtype[Any]) -> int:
    """Return the least number that is no count; fast detectors use two of 32 bits."""
    top = int(np.iinfo(dtype).max)
    return top - 1 if dtype.itemsize >= 4 and dtype.kind == "u" else top
