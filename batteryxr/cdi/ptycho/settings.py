"""Settings of a reconstruction: all that it depends on, besides the experiment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from batteryxr.cdi.ptycho.engines import LSQML, Engine, check_engine
from batteryxr.core.checks import (
    Count,
    Fraction,
    NonNegative,
    Positive,
    Whole,
    check_fields,
)
from batteryxr.core.provenance import replayable

if TYPE_CHECKING:
    import xarray as xr


@replayable
@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Set the iterations from which each part is updated.

    Parameters
    ----------
    probe_from
        First iteration that updates the probe.
    positions_from
        First iteration that corrects positions; None leaves them. Corrections follow
        gradients, which find errors of about 3 pixels.
    positions_reach
        Largest error of a coordinate, nm, for which positions are searched before the
        first iteration; 0: not. Frames are moved in turn to where the others explain
        them best, on the middle of the detector. This finds errors of up to half the
        width of the probe, and takes as long as some hundred iterations. Take
        `positions_from` beside it, for the last pixels. Not in stacks.
    calm_from
        First iteration with smaller steps, in which noise averages out; by default the
        last fifth of all iterations. DM and RAAR have no steps.
    lead
        In a stack: iterations that the middle energy runs ahead; all others then start
        from its object and probe. See `ptycho_energies`.

    Raises
    ------
    ArgumentError
        If a value is not a number of iterations.
    """

    probe_from: Whole = 2
    positions_from: Whole | None = None
    positions_reach: NonNegative = 0.0
    calm_from: Whole | None = None
    lead: Whole = 0

    def __post_init__(self) -> None:
        check_fields(self)


@replayable
@dataclass(frozen=True, kw_only=True)
class Resources:
    """Set the resources of a reconstruction, and the division of its work.

    Parameters
    ----------
    memory
        Bytes that all energies at work may use together; by default the free memory.
    block
        Frames that are visited before others; None mixes all. Chosen automatically
        where frames must be streamed.
    workers
        In a stack: energies at a time on this machine, by default as many as cores and
        memory allow. On a cluster its own threads decide.
    checkpoint
        In a stack: iterations between two states that are kept, the most that a kill
        costs.
    device
        In a stack: device; see `ptycho`.

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
    """Couple absorption and phase over all energies by Kramers-Kronig.

    Parameters
    ----------
    formula
        Formula of the sample: its tabulated f'' stands for all energies outside the
        window, scaled to each pixel's thickness.
    start, every
        First iteration after which it is applied, and the number of iterations between.
    relaxation
        Fraction of the change that is made, 0 (only the misfit is stored) to 1.
    degree
        Degree of the polynomial in energy that the phase may have on top: 0 is an
        offset. Phase errors of unfinished iterations change slowly with the energy.
        With degree 0 they would enter the edge jump, and make compositions wrong by 1
        to 2 %.

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
        """Return whether it is applied after an iteration."""
        late = iteration - self.start
        return late >= 0 and late % self.every == 0


@replayable
@dataclass(frozen=True, kw_only=True, eq=False)  # arrays have no single truth
class Registration:
    """Set how the objects of many energies are aligned.

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
    """Describe what frames hold besides the pattern of object and probe.

    Frame j is expected to be s_j (|F|² + b). Put a known background into the scan as
    ``background`` (detector_y, detector_x), in counts; it is used unchanged unless it
    is refined here.

    Parameters
    ----------
    background
        ``"constant"`` finds one number of counts for all pixels, ``"refined"`` one for
        each pixel; None uses the scan's background, or none. A constant one is found
        well; one per pixel also takes speckle that is the same in all frames.
    intensity
        Whether the intensity of each frame, s_j, is found: after a top-up, or where the
        monochromator drifts. For a strongly absorbing sample, divide the frames of the
        scan by a monitor instead.
    probe_variations
        Number of fields by which the first mode of the probe differs from frame to
        frame: a beam whose shape is not steady. 0: all frames have one probe. One or
        two often do; each iteration takes about twice as long. They begin anew where
        `ptycho` goes on from a former result.

    Raises
    ------
    ArgumentError
        If a value is not of its kind.
    """

    background: Literal["constant", "refined"] | None = None
    intensity: bool = False
    probe_variations: Whole = 0

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Describe settings of a reconstruction; a worker needs these and the experiment.

    Parameters
    ----------
    engine
        Engine that fits object and probe to the frames.
    iterations
        Iterations, each over all frames.
    n_modes
        Mutually incoherent probe modes.
    schedule
        Iterations from which each part is updated.
    seed
        Seed of all random numbers; iteration k draws from the seed and k alone.
    block
        Frames per block, which sets the order in which they are visited; None takes all
        frames as one block.
    streamed
        Whether blocks are read again in each iteration.
    device
        Device of the computation.
    recording
        Parts of the frames besides the pattern.
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
        """Return the first pass of smaller steps."""
        chosen = self.schedule.calm_from
        return self.iterations - self.iterations // 5 if chosen is None else chosen
