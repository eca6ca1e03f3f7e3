"""Random generators, always from a seed that the caller gives and the result stores."""

from __future__ import annotations

import numpy as np

from batteryxr.core.errors import ArgumentError


def generator(seed: int) -> np.random.Generator:
    """Return a random generator for an explicit integer seed.

    Raises
    ------
    ArgumentError
        If the seed is not a non-negative integer.
    """
    return np.random.default_rng(_checked(seed))


def generators(seed: int, n: int) -> list[np.random.Generator]:
    """Return `n` independent generators: one for each chain, start or block.

    The k-th depends on the seed and on k only, not on `n` or the order of execution.
    """
    sequence = np.random.SeedSequence(_checked(seed))
    return [np.random.default_rng(child) for child in sequence.spawn(n)]


def _checked(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ArgumentError(
            "seed", seed, "an integer >= 0", "Results must be repeatable: pass seed=0."
        )
    return int(seed)
