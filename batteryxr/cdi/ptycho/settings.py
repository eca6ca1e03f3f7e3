"""Settings: all that a reconstruction depends on, beside the experiment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from batteryxr.cdi.ptycho.engines import LSQML, Engine, check_engine
from batteryxr.core.checks import Count, Fraction, Positive, Whole, check_fields
from batteryxr.core.provenance import replayable

if TYPE_CHECKING:
    import xarray as xr


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
    lead
        Of a stack: passes that the middle energy runs ahead; all others then start
        from its object and probe. See `ptycho_energies`.

    Raises
    ------
    ArgumentError
        If a value is not a number of passes.
    """

    probe_from: Whole = 2
    positions_from: Whole | None = None
    calm_from: Whole | None = None
    lead: Whole = 0

    def __post_init__(self) -> None:
        check_fields(self)


@replayable
@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a reconstruction may use, and how it divides its work.

    Parameters
    ----------
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
    device
        Of a stack: where it runs; see `ptycho`.

    Raises
    ------
    ArgumentError
        If a value is not above 0.
    """

    memory: Positive | None = None
    block: Count | None = None
    workers: Count | None = None
    checkpoint: Count = 50
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_fields(self)


@replayable
@dataclass(frozen=True)
class KramersKronig:
    """When and how absorption and phase of all energies are tied to one another.

    Parameters
    ----------
    formula
        What the sample is made of: its tabulated f'' stands for all energies outside
        the window, scaled to each pixel's thickness.
    start, every
        First pass after which it is applied, and the number of passes between.
    relaxation
        Fraction of the change that is made, 0 (only the misfit is stored) to 1.
    degree
        Of the polynomial in energy that the phase may have on top: 0 an offset. What
        passes leave undone in the phase changes slowly with the energy; at 0 it would
        go into the edge jump, and make compositions wrong by 1 to 2 %.

    Raises
    ------
    ArgumentError
        If a value is out of range.
    """

    formula: str
    start: Count = 500
    every: Count = 50
    relaxation: Fraction = 1.0
    degree: Whole = 2

    def __post_init__(self) -> None:
        check_fields(self)

    def is_due(self, iteration: int) -> bool:
        """Tell whether it is applied after so many passes."""
        late = iteration - self.start
        return late >= 0 and late % self.every == 0


@replayable
@dataclass(frozen=True, kw_only=True, eq=False)  # arrays have no single truth
class Registration:
    """How objects of many energies are put on one another.

    Parameters
    ----------
    vacuum : (y, x)
        True where the beam meets no sample, on any grid in nm; found if None.
    shifts
        Whether objects are shifted onto one another.

    Raises
    ------
    ArgumentError
        If a value is not of its kind.
    """

    vacuum: xr.DataArray | None = None
    shifts: bool = True

    def __post_init__(self) -> None:
        check_fields(self)


@replayable
@dataclass(frozen=True, kw_only=True)
class Recording:
    """What frames hold beside the pattern of object and probe.

    Frame j is expected to be s_j (|F|² + b). A background that is known goes into the
    scan as ``background`` (detector_y, detector_x), in counts, and is used as it is
    unless it is refined here.

    Parameters
    ----------
    background
        ``"constant"``: one number of counts for all pixels is found; ``"refined"``: one
        for each pixel; None: it is as the scan tells it, or none. A constant one is
        found well; one per pixel also takes speckle that is the same in all frames.
    intensity
        Whether the light of each frame, s_j, is found: after a top-up, or where the
        monochromator drifts. Where the sample absorbs much give the scan frames over a
        monitor instead.

    Raises
    ------
    ArgumentError
        If a value is not of its kind.
    """

    background: Literal["constant", "refined"] | None = None
    intensity: bool = False

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
    recording
        What frames hold beside the pattern.
    """

    engine: Engine = field(default_factory=LSQML)
    iterations: Count = 100
    n_modes: Count = 1
    schedule: Schedule = field(default_factory=Schedule)
    seed: tuple[Whole, ...] = (0,)
    block: Count | None = None
    streamed: bool = False
    device: str = "cpu"
    recording: Recording = field(default_factory=Recording)

    def __post_init__(self) -> None:
        check_engine(self.engine)
        check_fields(self)

    @property
    def calm_from(self) -> int:
        """First pass of smaller steps."""
        chosen = self.schedule.calm_from
        return self.iterations - self.iterations // 5 if chosen is None else chosen
