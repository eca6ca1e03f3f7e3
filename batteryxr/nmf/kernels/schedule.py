"""Number and length of the chains of a Monte Carlo factorisation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from batteryxr.core.checks import Bounds, Count, check_fields
from batteryxr.core.provenance import replayable


@replayable
@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Set the number, length and initial temperature of the chains of `metropolis`.

    Parameters
    ----------
    n_chains
        Number of independent chains.
    sweeps
        Metropolis sweeps of each chain; a sweep tries each value once.
    hottest
        Temperature at the start, in units of the noise temperature; it falls to 1 by
        half of the sweeps.
    draws, thin
        Number of draws kept of each chain, one in `thin` sweeps.
    rotations
        Steps of each chain over the factorisations that fit equally well.

    Raises
    ------
    ArgumentError
        If a number is too small.
    """

    n_chains: Count = 4
    sweeps: Count = 3000
    hottest: Annotated[float, Bounds(low=1.0, below=math.inf)] = 300.0
    draws: Annotated[int, Bounds(low=4)] = 200
    thin: Count = 2
    rotations: Count = 160_000

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def settling(self) -> int:
        """Return the number of dropped sweeps of exact draws at T = 1."""
        return max(self.sweeps // 10, 20)

    @property
    def total(self) -> int:
        """Return the total number of sweeps of a chain."""
        return self.sweeps + self.settling + self.draws * self.thin
