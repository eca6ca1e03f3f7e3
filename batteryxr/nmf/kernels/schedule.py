"""How long the chains of a Monte Carlo factorisation are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from batteryxr.core.errors import ArgumentError
from batteryxr.core.provenance import replayable


@replayable
@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How long each chain of `metropolis` is, and how hot it begins.

    Parameters
    ----------
    sweeps
        Metropolis sweeps of each chain; a sweep tries every value once.
    hottest
        Temperature at the start; it falls to 1 by half of the sweeps.
    draws, thin
        Draws kept of each chain, one in `thin` sweeps.
    rotations
        Steps of each chain over the factorisations that fit alike.

    Raises
    ------
    ArgumentError
        If a number is too small.
    """

    sweeps: int = 3000
    hottest: float = 300.0
    draws: int = 200
    thin: int = 2
    rotations: int = 160_000

    def __post_init__(self) -> None:
        for name in ("sweeps", "draws", "thin", "rotations"):
            value, least = getattr(self, name), 4 if name == "draws" else 1
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ArgumentError(name, value, f"an integer >= {least}")
        number = isinstance(self.hottest, int | float | np.number)
        if not number or not 1 <= self.hottest < np.inf:
            raise ArgumentError(
                "hottest", self.hottest, "a temperature >= 1, that of the noise"
            )

    @property
    def settling(self) -> int:
        """Sweeps of exact draws at T = 1 that are dropped."""
        return max(self.sweeps // 10, 20)

    @property
    def total(self) -> int:
        """All sweeps of a chain."""
        return self.sweeps + self.settling + self.draws * self.thin
