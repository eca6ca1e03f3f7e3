"""How many chains a Monte Carlo factorisation has, and how long they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from batteryxr.core.checks import Bounds, Count, check_fields
from batteryxr.core.provenance import replayable


@replayable
@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How many chains `metropolis` runs, how long each is, and how hot it begins.

    Parameters
    ----------
    n_chains
        Independent chains.
    sweeps
        Metropolis sweeps of each chain; a sweep tries every value once.
    hottest
        Temperature at the start, in units of that of the noise; it falls to 1 by half
        of the sweeps.
    draws, thin
        Draws kept of each chain, one in `thin` sweeps.
    rotations
        Steps of each chain over the factorisations that fit alike.

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
        """Return the number of sweeps of exact draws at T = 1 that are dropped."""
        return max(self.sweeps // 10, 20)

    @property
    def total(self) -> int:
        """Return the number of all sweeps of a chain."""
        return self.sweeps + self.settling + self.draws * self.thin
