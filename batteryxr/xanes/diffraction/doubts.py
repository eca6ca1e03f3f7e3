"""Flag the lattices of a series that may be wrong, and say so."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.core.errors import warn_quality

if TYPE_CHECKING:
    from collections.abc import Callable

    from batteryxr.xanes.diffraction.geometry import Asked

#: Bits of ``lattice_flag``.
MISSING, MISFIT, FAINT, FOREIGN, UNCHECKED, UNCERTAIN, COEXISTING = (
    2**k for k in range(7)
)
FLAGS = {
    "flag_masks": [
        *(MISSING, MISFIT, FAINT, FOREIGN, UNCHECKED, UNCERTAIN, COEXISTING)
    ],
    "flag_meanings": (
        "too_few_reflections reflections_disagree hardly_above_noise "
        "foreign_lines_left_out few_reflections_to_check error_above_100_ppm "
        "another_lattice_is_seen"
    ),
}
#: Relative error of a length above which it is flagged.
_PRECISE = 1e-4
#: Sum of chi2 by which one kind of offset is preferred.
_PREFERRED = 12.0


class Solved(NamedTuple):
    """Hold the lattices of N patterns.

    Attributes
    ----------
    metric, metric_cov : (N, free), (N, free, free)
        Reciprocal metric and its covariance.
    offset, offset_error : (N,)
        Offset and its error, as fitted.
    misfit : (N,)
        Root mean square residual of positions, in standard deviations.
    flag : (N,) int8
        Bits.
    used : (N, reflections) bool, optional
        Which positions determine the lattice.
    """

    metric: np.ndarray
    metric_cov: np.ndarray
    offset: np.ndarray
    offset_error: np.ndarray
    misfit: np.ndarray
    flag: np.ndarray
    used: np.ndarray | None = None


def uncertain(values: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Return the flag of lattices (N, 7) one of whose lengths is not precise."""
    with np.errstate(invalid="ignore"):
        wide = errors[:, :3] > _PRECISE * values[:, :3]
    return np.where(wide.any(axis=1), UNCERTAIN, 0).astype(np.int8)


def tell(flag: np.ndarray) -> None:
    """Warn of flagged scans, except of foreign lines that were left out."""
    told = []
    for bit, words in zip(
        FLAGS["flag_masks"], str(FLAGS["flag_meanings"]).split(), strict=True
    ):
        number = int((flag & int(bit) > 0).sum())
        if number and bit != FOREIGN:
            told.append(f"{words.replace('_', ' ')} in {number}")
    if told:
        warn_quality(
            f"lattices of {flag.size} scans: {', '.join(told)} (lattice_flag)."
        )


def other_offset(
    asked: Asked, solve: Callable[[Asked], Solved], *, chosen: bool
) -> float:
    """Return the relative change of lengths with the other kind of offset.

    A zero error and a displacement move reflections nearly alike. Unless the kind was
    `chosen`, this warns if the positions do not decide.
    """
    other = "zero" if asked.offset == "displacement" else "displacement"
    own, rival = solve(asked), solve(replace(asked, offset=other))
    moves = np.abs(np.sqrt(rival.metric / own.metric) - 1).max(axis=1)
    known = np.isfinite(moves)
    moved = float(np.median(moves[known])) if known.any() else np.nan
    if chosen or not moved > _PRECISE:
        return moved
    assert own.used is not None
    assert rival.used is not None
    same = (own.used == rival.used).all(axis=1)
    degrees = own.used.sum(axis=1) - own.metric.shape[1] - 1
    worse = degrees * (rival.misfit**2 - own.misfit**2)
    usual = np.median([1.0, *own.misfit[np.isfinite(own.misfit)] ** 2])
    lead = float(np.nansum(worse[same])) / max(float(usual), 1.0)
    if lead < _PREFERRED:
        fits = "better than" if lead < -_PREFERRED else "as well as"
        warn_quality(
            f"positions fit offset={other!r} {fits} {asked.offset!r}, by which lengths "
            f"differ by {1e6 * moved:.0f} ppm (offset_doubt); changes along the series "
            "hardly do. Pass offset= as your instrument is aligned, or reference=, an "
            "internal standard."
        )
    return moved
