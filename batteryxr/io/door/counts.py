"""Numbers of a detector that are no counts: gaps, bad pixels, saturation."""

from __future__ import annotations

from typing import Any

import numpy as np

from batteryxr.core.errors import warn_quality

#: What is said of frames whose file holds integers.
FLAG = (
    "the largest number of a type and negative numbers are no counts (gaps, bad or "
    "saturated pixels): NaN"
)
#: The most that counters and converters of fewer bits than their type can hold.
_FULL = {2**bits - 1: bits for bits in (10, 12, 14, 16, 18, 20, 24)}
#: So many pixels at that number, more than just below it, are saturated.
_PILED, _BELOW = 4, 0.99


def counts_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of counts: integers become float32, which has NaN."""
    return np.dtype(np.float32) if np.dtype(dtype).kind in "iu" else np.dtype(dtype)


def only_counts(values: np.ndarray, source: str) -> np.ndarray:
    """Return counts as floating numbers, NaN where there are none.

    Parameters
    ----------
    values
        As they stand in the file. Floating numbers are left as they are.
    source
        Name of the file, for the warning.

    Warns
    -----
    DataQualityWarning
        Saying which number was taken out; the same words for all parts of a file. Also
        where pixels pile up at the most of a counter with fewer bits.
    """
    if values.dtype.kind not in "iu":
        return values
    found = values.astype(np.float32)
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    top = _top(values.dtype)
    if low < 0 or high >= top:
        bad = (values < 0) | (values >= top)
        found[bad] = np.nan
        worst = low if low < 0 else high
        warn_quality(
            f"{source}: pixels that hold {worst} or such are no counts but gaps, bad "
            "or saturated: NaN"
        )
        high = int(values[~bad].max(initial=0))
    if high in _FULL:
        at_top = int((values == high).sum())
        near = int((values >= _BELOW * high).sum()) - int((values > high).sum())
        if at_top >= _PILED and at_top > near - at_top:
            warn_quality(
                f"{source}: pixels pile up at {high}, the most of {_FULL[high]} bits: "
                "they may be saturated"
            )
    return found


def _top(dtype: np.dtype[Any]) -> int:
    """Return the least number that is no count; fast detectors use two of 32 bits."""
    top = int(np.iinfo(dtype).max)
    return top - 1 if dtype.itemsize >= 4 and dtype.kind == "u" else top
