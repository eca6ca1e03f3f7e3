"""Settings: all that a reconstruction depends on, beside the experiment."""

from __future__ import annotations

from dataclasses import dataclass, field

from batteryxr.cdi.ptycho.engines import LSQML, Engine, check_engine
from batteryxr.core.checks import Count, Positive, Whole, check_fields
from batteryxr.core.provenance import replayable


@replayable
@dataclass(frozen=True, kw_only=True)
class Schedule:
    """From which pass on what is updated.

    Parameters
    ----------
    probe_from
        First pass that updates the probe.
    positions_from
        First pass that corrects positions; None leaves them.
    calm_from
        First pass of smaller steps, in which noise averages out; by default the last
        fifth of all passes. DM and RAAR know no steps.
    """

    probe_from: Whole = 2
    positions_from: Whole | None = None
    calm_from: Whole | None = None

    def __post_init__(self) -> None:
        check_fields(self)


@replayable
@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a reconstruction may use, and how it divides its work.

    Parameters
    ----------
    device
        ``"cpu"``; or a device of PyTorch (``"cuda"``, ``"mps"``, ``"torch"`` for its
        CPU), or ``"cupy"``.
    memory
        Bytes that may be used, by all energies at work together; by default what is
        free.
    block
        Frames that are visited before others; None mixes all. Chosen where frames
        must be streamed.
    workers
        Of a stack: energies at a time on this machine, by default as many as cores and
        memory allow. On a cluster its own threads decide.
    checkpoint
        Of a stack: passes between two states that are kept, what a kill costs at most.
    """

    device: str = "cpu"
    memory: Positive | None = None
    block: Count | None = None
    workers: Count | None = None
    checkpoint: Count = 50

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a reconstruction does; a worker needs this and the experiment.

    Parameters
    ----------
    engine
        How a pass brings object and probe nearer to the frames.
    iterations
        Passes over all frames.
    n_modes
        Mutually incoherent probe modes.
    schedule
        From which pass on what is updated.
    seed
        Of all randomness; pass k draws from the seed and k alone.
    block
        Frames per block, which sets the order in which they are visited; None takes
        all as one.
    streamed
        Whether blocks are read anew in each pass.
    device
        Where it runs.
    """

    engine: Engine = field(default_factory=LSQML)
    iterations: Count = 100
    n_modes: Count = 1
    schedule: Schedule = field(default_factory=Schedule)
    seed: tuple[Whole, ...] = (0,)
    block: Count | None = None
    streamed: bool = False
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_engine(self.engine)
        check_fields(self)

    @property
    def calm_from(self) -> int:
        """First pass of smaller steps."""
        chosen = self.schedule.calm_from
        return self.iterations - self.iterations // 5 if chosen is None else chosen
