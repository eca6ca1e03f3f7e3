"""Arguments of phase retrieval, checked before any work is done."""

from __future__ import annotations

import numpy as np

from batteryxr.core.errors import ArgumentError


def check_choices(
    n_starts: int,
    n_best: int,
    select: str,
    free: float,
    low: float,
    high: float,
    sigma: tuple[float, float],
    merits: tuple[str, ...],
) -> None:
    """Raise if a choice of `retrieve` is out of range."""
    for name, count in (("n_starts", n_starts), ("n_best", n_best)):
        if not isinstance(count, int | np.integer) or count < 1:
            raise ArgumentError(name, count, "a whole number > 0")
    if select not in merits:
        raise ArgumentError("select", select, f"one of {', '.join(merits)}")
    if not 0 <= free <= 0.3:
        raise ArgumentError("free", free, "a share from 0 to 0.3", "0.05 is usual.")
    if free == 0 and select == "llk_free":
        raise ArgumentError(
            "select",
            select,
            "'llk' or another without free voxels",
            "Or set free=0.05.",
        )
    if not 0 < low <= high < 1:
        raise ArgumentError(
            "threshold", (low, high), "shares between 0 and 1, in order"
        )
    if len(sigma) != 2 or not min(sigma) > 0:
        raise ArgumentError("sigma", sigma, "two widths > 0, such as (2.0, 0.5)")


def check_counts(**counts: int) -> None:
    """Raise if a count is no whole number."""
    for name, count in counts.items():
        if not isinstance(count, int | np.integer) or count < 0:
            raise ArgumentError(name, count, "a whole number >= 0")


def as_range(threshold: float | tuple[float, float]) -> tuple[float, float]:
    """Return one threshold as the range from it to itself."""
    if isinstance(threshold, int | float | np.number):
        return float(threshold), float(threshold)
    if len(threshold) != 2:
        raise ArgumentError("threshold", threshold, "a share, or two to draw between")
    return float(threshold[0]), float(threshold[1])
