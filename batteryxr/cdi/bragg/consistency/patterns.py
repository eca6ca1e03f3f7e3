"""Counts and initial objects of a retrieval: checks before any work."""

from __future__ import annotations

import numpy as np

from batteryxr.cdi.bragg.kernels.counting import (
    dark_lines,
    odd_counts,
    require_counts,
    zero_gaps,
)
from batteryxr.core.errors import DataError, warn_quality


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
