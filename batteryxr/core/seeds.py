"""Randomness: always from a seed that the caller gives and the result stores."""

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
    """Return `n` independent generators: one each for chains, starts or blocks.

    The k-th depends on the seed and on k alone, not on `n` or on who runs first.
    """
    sequence = np.random.SeedSequence(_checked(seed))
    return [np.random.default_rng(child) for child in sequence.spawn(n)]


def _checked(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ArgumentError(
            "seed", seed, "an integer >= 0", "Results must be repeatable: pass seed=0."
        )
    return int(seed)
