"""What a call of phase retrieval chooses: plain values, checked before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.cdi.bragg.kernels.metrics import MERITS
from batteryxr.core.device import to_device
from batteryxr.core.errors import ArgumentError
from batteryxr.core.provenance import replayable
from batteryxr.core.seeds import generators

if TYPE_CHECKING:
    from pathlib import Path

    from batteryxr.cdi.bragg.kernels.schedule import Block
    from batteryxr.cdi.bragg.learned.retrieval import Guess


@replayable
@dataclass(frozen=True, kw_only=True)
class ShrinkWrap:
    """How the support follows the object while it is retrieved.

    Parameters
    ----------
    every
        Iterations between updates of the support; 0 keeps the first one.
    sigma
        Width of the smoothing that shrinks the support, at the first and last update,
        in voxels.
    threshold
        Fraction of the object's rms below which a voxel leaves the support; of two
        numbers, each start draws one between them.
    twin_break
        Iterations at the start in a part of the support, which favours one of the
        conjugate twins. Try 10 where objects come out overlaid with their own twin.

    Raises
    ------
    ArgumentError
        If a value is out of range.

    Notes
    -----
    Marchesini et al., Phys. Rev. B 68, 140101 (2003).
    """

    every: int = 20
    sigma: tuple[float, float] = (2.0, 0.5)
    threshold: float | tuple[float, float] = 0.25
    twin_break: int = 0

    def __post_init__(self) -> None:
        _require_counts(every=self.every, twin_break=self.twin_break)
        if len(self.sigma) != 2 or not min(self.sigma) > 0:
            raise ArgumentError("sigma", self.sigma, "two widths > 0, as (2.0, 0.5)")
        # What was written to a result's attributes comes back as lists.
        object.__setattr__(self, "sigma", tuple(self.sigma))
        object.__setattr__(self, "threshold", self.thresholds)
        low, high = self.thresholds
        if not 0 < low <= high < 1:
            raise ArgumentError(
                "threshold", (low, high), "fractions between 0 and 1, in order"
            )

    @property
    def thresholds(self) -> tuple[float, float]:
        """Return the two between which each start draws its threshold."""
        given = self.threshold
        pair = given if isinstance(given, Sequence | np.ndarray) else (given, given)
        if len(pair) != 2:
            raise ArgumentError(
                "threshold", given, "a fraction, or two to draw between"
            )
        return float(pair[0]), float(pair[1])


@replayable
@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which starts make the answer.

    Parameters
    ----------
    n_best
        How many are averaged and decomposed into modes; all where there are fewer.
    by
        What ranks them: ``"llk_free"``, ``"llk"``, ``"amp_residual"`` or ``"chi2"``.
        The last three fall with every voxel that the support gains; the first does
        not.
    free
        Fraction of the voxels that the retrieval never sees, in islands, for
        ``llk_free``. A few islands on bright fringes make up much of that figure, and
        which those are depends on the seed: compare starts of one seed only.

    Raises
    ------
    ArgumentError
        If a value is out of range.

    Notes
    -----
    Free likelihood: Favre-Nicolin, Leake & Chushkin, Sci. Rep. 10, 2664 (2020).
    """

    n_best: int = 3
    by: str = "llk_free"
    free: float = 0.05

    def __post_init__(self) -> None:
        _require_counts(1, n_best=self.n_best)
        if self.by not in MERITS:
            raise ArgumentError("by", self.by, f"one of {', '.join(MERITS)}")
        if not 0 <= self.free <= 0.3:
            raise ArgumentError(
                "free", self.free, "a fraction from 0 to 0.3", "0.05 is usual."
            )
        if self.free == 0 and self.by == "llk_free":
            raise ArgumentError(
                "by", self.by, "'llk' or another without free voxels", "Or free=0.05."
            )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One call of phase retrieval: plain values that travel to workers.

    Parameters
    ----------
    schedule
        Blocks of iterations.
    n_starts, select, seed, support, coherence_every, device, store, group
        As in `batteryxr.cdi.retrieve`.
    guess
        What gives each start its first object; None for random ones.

    Raises
    ------
    ArgumentError
        If a value is out of range, or there is no such device.
    """

    schedule: tuple[Block, ...]
    n_starts: int = 6
    select: Selection = field(default_factory=Selection)
    seed: int = 0
    support: ShrinkWrap = field(default_factory=ShrinkWrap)
    coherence_every: int = 0
    device: str = "cpu"
    guess: Guess | None = None
    store: str | Path | None = None
    group: str = "starts"

    def __post_init__(self) -> None:
        _require_counts(1, n_starts=self.n_starts)
        _require_counts(coherence_every=self.coherence_every)
        generators(self.seed, 0)  # says what is wrong with the seed
        to_device(self.device, purpose="phase retrieval")

    @property
    def caller(self) -> str:
        """Return the public function, for messages."""
        return "retrieve" if self.guess is None else "retrieve_learned"

    @property
    def n_best(self) -> int:
        """Return how many starts make the answer."""
        return min(self.select.n_best, self.n_starts)

    @property
    def iterations(self) -> int:
        """Return the length of the schedule."""
        return sum(block.iterations for block in self.schedule)


def _require_counts(least: int = 0, **counts: int) -> None:
    """Raise if a count is no whole number of at least `least`."""
    for name, count in counts.items():
        whole = isinstance(count, int | np.integer) and not isinstance(count, bool)
        if not whole or count < least:
            raise ArgumentError(name, count, f"a whole number >= {least}")
