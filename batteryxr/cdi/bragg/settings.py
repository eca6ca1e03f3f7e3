"""Settings of a call of phase retrieval: plain values, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import numpy as np

from batteryxr.cdi.bragg.kernels.metrics import Merit  # noqa: TC001 - checked
from batteryxr.core.checks import Bounds, check_fields
from batteryxr.core.device import to_device
from batteryxr.core.errors import ArgumentError
from batteryxr.core.provenance import replayable

if TYPE_CHECKING:
    from batteryxr.cdi.bragg.kernels.schedule import Stage
    from batteryxr.cdi.bragg.learned.network import Guess
    from batteryxr.core.checks import Count, Part, Positive, Seed, Whole
    from batteryxr.core.store import StoreLike


@replayable
@dataclass(frozen=True, kw_only=True)
class ShrinkWrap:
    """Set how the support follows the object during retrieval.

    Parameters
    ----------
    every
        Iterations between updates of the support; 0 keeps the first one.
    sigma
        Width of the smoothing that shrinks the support, in voxels, at the first and
        last update.
    threshold
        Fraction of the object's rms below which a voxel leaves the support. From two
        numbers, each start draws a value between them. With few photons a voxel must
        also exceed the noise outside.
    twin_break
        Iterations at the start in a part of the support, which favours one of the
        conjugate twins. Try 10 where objects are superposed with their own twin.

    Raises
    ------
    ArgumentError
        If a value is out of range, or the two thresholds are not in order.

    Notes
    -----
    Marchesini et al., Phys. Rev. B 68, 140101 (2003).
    """

    every: Whole = 20
    sigma: tuple[Positive, Positive] = (2.0, 0.5)
    threshold: Part | tuple[Part, Part] = 0.25
    twin_break: Whole = 0

    def __post_init__(self) -> None:
        check_fields(self)
        low, high = self.thresholds
        if low > high:
            raise ArgumentError("threshold", self.threshold, "two fractions in order")
        # The attributes of a result hold these tuples as lists.
        object.__setattr__(self, "sigma", tuple(self.sigma))
        object.__setattr__(self, "threshold", (low, high))

    @property
    def thresholds(self) -> tuple[float, float]:
        """Return the limits between which each start draws its threshold."""
        low, high = np.broadcast_to(np.asarray(self.threshold, float), 2)
        return float(low), float(high)


@replayable
@dataclass(frozen=True, kw_only=True)
class Selection:
    """Choose the starts that make the answer.

    Parameters
    ----------
    n_best
        Largest number of starts that are averaged and decomposed into modes: those that
        end in the minimum of the best one.
    by
        Figure of merit that ranks them: ``"llk_free"``, ``"llk"``, ``"amp_residual"``
        or ``"chi2"``. The last three fall with every voxel that the support gains; the
        first does not.
    free
        Fraction of the voxels held out of the retrieval, in islands, for ``llk_free``;
        0.05 is usual. A few islands on bright fringes make up much of that figure, and
        their places depend on the seed: compare starts of one seed only.

    Raises
    ------
    ArgumentError
        If a value is out of range, or `by` needs free voxels and there are none.

    Notes
    -----
    Free likelihood: Favre-Nicolin, Leake & Chushkin, Sci. Rep. 10, 2664 (2020).
    """

    n_best: Count = 3
    by: Merit = "llk_free"
    free: Annotated[float, Bounds(low=0, high=0.3)] = 0.05

    def __post_init__(self) -> None:
        check_fields(self)
        if self.free == 0 and self.by == "llk_free":
            raise ArgumentError(
                "by", self.by, "'llk' or another without free voxels", "Or free=0.05."
            )


@dataclass(frozen=True, kw_only=True)
class RetrievalSettings:
    """Hold one call of phase retrieval: plain values that travel to workers.

    Parameters
    ----------
    schedule
        Stages of iterations.
    n_starts, select, seed, support, coherence_every, device, store, group
        See `batteryxr.cdi.retrieve`.
    guess
        Function that gives each start its initial object; None for random ones.

    Raises
    ------
    ArgumentError
        If a value is out of range, or there is no such device.
    """

    schedule: tuple[Stage, ...]
    n_starts: Count = 6
    select: Selection = field(default_factory=Selection)
    seed: Seed = 0
    support: ShrinkWrap = field(default_factory=ShrinkWrap)
    coherence_every: Whole | None = 0
    device: str = "cpu"
    guess: Guess | None = None
    store: StoreLike | None = None
    group: str = "starts"

    def __post_init__(self) -> None:
        check_fields(self)
        to_device(self.device, purpose="phase retrieval")

    @property
    def caller(self) -> str:
        """Return the name of the public function, for messages."""
        return "retrieve" if self.guess is None else "retrieve_learned"

    @property
    def every(self) -> int:
        """Return the iterations between estimates of a blur, 0 until one gains."""
        return self.coherence_every or 0

    @property
    def n_best(self) -> int:
        """Return the number of starts that make the answer."""
        return min(self.select.n_best, self.n_starts)

    @property
    def iterations(self) -> int:
        """Return the number of iterations of the schedule."""
        return sum(stage.iterations for stage in self.schedule)
