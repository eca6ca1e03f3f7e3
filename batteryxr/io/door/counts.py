"""Numbers of a detector that are no counts: gaps, bad pixels, saturation."""

from __future__ import annotations

from typing import Any

import numpy as np

from batteryxr.core.errors import warn_quality

#: What is said of frames whose file holds integers.
FLAG = (
    "the largest number of an unsigned type and negative numbers are no counts "
    "(gaps, bad or saturated pixels): NaN"
)


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
        Saying which number was taken out; the same words for all parts of a file.
    """
    if values.dtype.kind not in "iu":
        return values
    found = values.astype(np.float32)
    bad = values < 0 if values.dtype.kind == "i" else values >= _top(values.dtype)
    if bad.any():
        found[bad] = np.nan
        worst = values[bad].max() if values.dtype.kind == "u" else values[bad].min()
        warn_quality(
            f"{source}: pixels that hold {worst} or such are no counts but gaps, bad "
            "or saturated: NaN"
        )
    return found


def _top(dtype: np.dtype[Any]) -> int:
    """Return the least number that is no count; fast detectors use two of 32 bits."""
    top = int(np.iinfo(dtype).max)
    return top - 1 if dtype.itemsize >= 4 else top
