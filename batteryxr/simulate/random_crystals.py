"""Simulate strained crystals of random shape and phase, and their Bragg patterns."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.errors import ArgumentError
from batteryxr.core.provenance import recorded
from batteryxr.core.seeds import generators
from batteryxr.simulate.bodies import OBJECT, VOLUME, crystal
from batteryxr.simulate.diffraction import pattern


@recorded
def random_crystals(
    *,
    n: int = 10,
    size: int = 64,
    fill: tuple[float, float] = (0.5, 0.8),
    phase: tuple[float, float] = (0.0, 4.0),
    photons: tuple[float, float] = (1e6, 1e8),
    seed: int = 0,
) -> xr.Dataset:
    """Simulate Bragg coherent diffraction of crystals of random shape and phase.

    Lazy: each crystal is computed when it is read, from its own random numbers.

    The bodies are convex with flat facets (cut blocks, hexagonal prisms, irregular
    shapes), in any orientation. The density varies by some percent. The phase has a
    random correlation length; in a third of the crystals it includes a domain that is
    displaced as a whole. The mean phase gradient is removed: the pattern's centre of
    mass lies at ``n // 2``, as in measured patterns after centring.

    Parameters
    ----------
    n
        Number of crystals. The k-th depends on `seed` and k alone.
    size
        Points along each of the three axes.
    fill
        Smallest and largest extent along each axis, in halves of `size`.
    phase
        Smallest and largest value of the peak phase within a crystal (rad).
    photons
        Smallest and largest number of counts in a pattern, drawn uniformly in its
        logarithm.
    seed
        Seed of the crystals and of the photon noise.

    Returns
    -------
    xarray.Dataset
        On ``crystal``: ``intensity`` (counts) on the axes of a rocking curve, the true
        complex ``object`` on ``along_rocking``, ``along_y``, ``along_x``, and the
        coordinate ``photons``.

    Raises
    ------
    ArgumentError
        If an option is out of range.

    Examples
    --------
    >>> crystals = batteryxr.simulate.random_crystals(n=2, size=32)
    >>> crystals["object"].dtype
    dtype('complex64')
    """
    _check(n, size, fill, phase, photons)
    expected = [_photons(rng, photons) for rng in generators(seed, n)]
    draws = zip(generators(seed, n), generators(seed + 1, n), strict=True)

    def both(k: int, drawn: tuple[np.random.Generator, ...]) -> list[np.ndarray]:
        shape, noise = copy.deepcopy(drawn)  # computed twice if read twice, but equal
        _photons(shape, photons)
        obj = crystal(shape, size, fill=fill, phase=phase)
        return [pattern(obj, expected[k], noise), obj]

    made = [blocks.delayed(both, nout=2)(k, drawn) for k, drawn in enumerate(draws)]

    def stacked(which: int, dtype: Any) -> Any:
        parts = [blocks.from_delayed(one[which], (size,) * 3, dtype) for one in made]
        return blocks.stack(parts)

    axes: dict[str, Any] = {
        dim: (dim, np.arange(size) - size // 2, _named(f"{dim} from the centre"))
        for dim in (*VOLUME, *OBJECT)
    }
    axes["crystal"] = ("crystal", np.arange(n), _named("Crystal"))
    axes["fourier_sign"] = ((), -1, _named("Sign of the forward transform"))
    axes["photons"] = ("crystal", expected, _named("Expected counts"))
    return xr.Dataset(
        {
            "intensity": (
                ("crystal", *VOLUME),
                stacked(0, np.float32),
                _named("Intensity"),
            ),
            "object": (
                ("crystal", *OBJECT),
                stacked(1, np.complex64),
                _named("Complex density"),
            ),
        },
        coords=axes,
        attrs={"title": "Simulated crystals of random shape"},
    )


def _photons(rng: np.random.Generator, photons: tuple[float, float]) -> float:
    low, high = photons
    return float(low * (high / low) ** rng.random())


def _check(
    n: int,
    size: int,
    fill: tuple[float, float],
    phase: tuple[float, float],
    photons: tuple[float, float],
) -> None:
    if not isinstance(n, int | np.integer) or n < 1:
        raise ArgumentError("n", n, "a whole number > 0")
    if not isinstance(size, int | np.integer) or size < 16:
        raise ArgumentError("size", size, "a whole number >= 16")
    limits = {
        "fill": (fill, 0.2, 1.0),
        "phase": (phase, 0.0, math.inf),
        "photons": (photons, 1.0, math.inf),
    }
    for name, (given, low, high) in limits.items():
        if len(given) != 2 or not low <= given[0] <= given[1] <= high:
            parts = tuple(value / 100 for value in given)
            share = name == "fill" and all(low <= part <= high for part in parts)
            raise ArgumentError(
                name,
                given,
                f"two numbers in order, from {low:g} to {high:g}",
                f"Was it per cent? Pass {parts}." if share else "",
            )


def _named(long_name: str) -> dict[str, str]:
    return {"units": "1", "long_name": long_name}
