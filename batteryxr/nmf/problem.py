"""What a factorisation is asked, and what it answers, before labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import ArgumentError

if TYPE_CHECKING:
    import xarray as xr

    from batteryxr.nmf.fixing import Known
    from batteryxr.nmf.kernels.alternate import Rules
    from batteryxr.nmf.layout import Layout

#: Starts whose error is within this factor of the best are called as good.
AGREEING = 1.01
#: Starts whose error is within this factor of the best are told apart by order alone.
EQUAL = 1.0001


@dataclass(frozen=True)
class Problem:
    """A factorisation, checked and ready.

    Parameters
    ----------
    layout
        Data from which scale, shift and mask were taken out.
    errors
        One standard deviation, sample dimensions first; or None.
    shift
        (points,) the curve that was subtracted.
    known
        Fixed components, shifted like the data. They come first in every array.
    raw
        The fixed components as they were given.
    n
        Number of components, fixed ones included.
    start
        Kind of the first start, or components (n, points) to start from.
    """

    layout: Layout
    errors: xr.DataArray | None
    shift: np.ndarray
    shifted: bool
    known: Known
    raw: np.ndarray
    rules: Rules
    n: int
    start: str | np.ndarray
    n_starts: int
    seed: int
    max_iter: int
    tol: float
    passes: int

    def given(self) -> np.ndarray:
        """Return (n, points) with the fixed components, zero where free."""
        out = np.zeros((self.n, self.layout.n_points))
        out[: len(self.known)] = self.known.patterns
        return out

    def kinds(self) -> list[str]:
        """Return the kind of each start: one deliberate, the others at random."""
        first = "given" if isinstance(self.start, np.ndarray) else self.start
        return [first] + ["random"] * (self.n_starts - 1)


@dataclass
class Answer:
    """Components found, and how.

    Parameters
    ----------
    components
        (n, points), shifted like the data; NaN at points without data.
    weights
        (n, samples) where the solver holds them, else None.
    used
        (n,) sum of the weights over the samples that were used.
    spread
        (n, points) and (n, samples): range over the starts that are as good.
    """

    components: np.ndarray
    used: np.ndarray
    error: float
    svd_error: float
    weights: np.ndarray | None = None
    start_error: list[float] = field(default_factory=list)
    start_iterations: list[int] = field(default_factory=list)
    start_converged: list[bool] = field(default_factory=list)
    start_similarity: list[float] = field(default_factory=list)
    components_spread: np.ndarray | None = None
    weights_spread: np.ndarray | None = None
    full_passes: int = 0


def refuse_rank(n: int, rank: int, what: str) -> None:
    """Raise where more components are asked for than the data can have."""
    if n > rank:
        raise ArgumentError(
            "n",
            n,
            f"at most {rank}, {what}",
            "More components would divide noise, or nothing, among them.",
        )
