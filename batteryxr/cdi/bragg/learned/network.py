"""A trained network as chosen by the user, and its guess for each start."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batteryxr.cdi.bragg.learned.network_weights import read_weights
from batteryxr.core.checks import check_fields
from batteryxr.core.errors import DataError
from batteryxr.core.provenance import replayable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batteryxr.cdi.bragg.kernels.pattern import Pattern
    from batteryxr.cdi.bragg.learned.network_weights import Weights
    from batteryxr.core.checks import Positive, Whole


@replayable
@dataclass(frozen=True, kw_only=True)
class Network:
    """Choose the network that guesses the object, and its refinement.

    Parameters
    ----------
    weights
        File of weights. None takes the weights that come with batteryxr. Make others
        with ``benchmarks/truth/train_learned.py``.
    refine
        Number of steps in which the network is trained on this pattern, some 0.2 CPU s
        each.
    rate
        Learning rate of Adam at the first step of the refinement; 0.001 is usual.

    Raises
    ------
    ArgumentError
        If a value is out of range.
    """

    weights: str | Path | None = None
    refine: Whole = 0
    rate: Positive = 1e-3

    def __post_init__(self) -> None:
        check_fields(self)
        if self.weights is not None:
            object.__setattr__(self, "weights", str(self.weights))


@dataclass(frozen=True)
class Guess:
    """Guess of the network for each start; plain values that travel to workers.

    Parameters
    ----------
    network
        Network as chosen by the user.
    checksum
        Checksum of the weights, which distinguishes starts in a store.
    device
        Device of PyTorch.
    """

    network: Network
    checksum: str
    device: str

    def __call__(
        self, pattern: Pattern, number: int, watch: Callable[[int, float], None]
    ) -> Pattern:
        """Return the pattern with the initial object and support of a start."""
        from batteryxr.cdi.bragg.learned.kernels.network import with_guess

        return with_guess(
            pattern,
            _weights(self.network.weights, self.checksum).arrays,
            number,
            steps=self.network.refine,
            rate=self.network.rate,
            device=self.device,
            watch=watch,
        )


@functools.lru_cache(maxsize=4)
def _weights(path: str | Path | None, checksum: str) -> Weights:
    """Read weights once for all starts of a process."""
    known = read_weights(path)
    if known.checksum != checksum:
        raise DataError(
            "weights",
            f"{path} was changed: its checksum is no longer {checksum}",
            "Copy the file anew.",
        )
    return known
