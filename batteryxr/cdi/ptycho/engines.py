"""Engines: update rules that fit object and probe to the frames.

An engine is a small frozen object, ``LSQML(batch=20, poisson=True)``. Its `begin` makes
the kernel that visits frames. The default steps of `EPIE` come nearest to known
objects: a probe that moves as fast as the object follows the noise. The defaults of
`RPIE` stay stable on bright measured frames with several modes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from batteryxr.core.checks import Count, NonNegative, check_fields
from batteryxr.core.errors import ArgumentError
from batteryxr.core.provenance import replayable

if TYPE_CHECKING:
    from batteryxr.cdi.ptycho.kernels.state import Sweep


class Engine(Protocol):
    """Define what a reconstruction needs of an engine."""

    def __hash__(self) -> int:
        """Return a hash that equal engines share."""
        ...

    @property
    def holds_all_waves(self) -> bool:
        """Return whether the exit waves of all frames are in memory at once."""

    @property
    def poisson(self) -> bool:
        """Return whether the likelihood of counts is fitted, not amplitudes."""

    @property
    def subpixel(self) -> bool:
        """Return whether positions keep fractions of pixels; else they are rounded."""

    def begin(self, probe: Any, near: float = 0.0) -> Sweep:
        """Return the kernel that visits frames.

        Parameters
        ----------
        probe : (m, n, n)
            Shape, namespace and device of the probe.
        near
            λ z / pixel² for near-field frames; 0: far field.
        """


class _Checked:
    """Check the fields of an engine when it is made."""

    def __post_init__(self) -> None:
        check_fields(self)


class _AllWaves(_Checked):
    """Update the exit waves of all frames at once."""

    beta: float
    inner: int
    poisson: bool

    holds_all_waves: ClassVar[bool] = True
    subpixel: ClassVar[bool] = True  # positions stay as they are told; corners do not

    def _weights(self) -> tuple[float, float, float, float]:
        raise NotImplementedError

    def begin(self, probe: Any, near: float = 0.0) -> Sweep:
        """Return the kernel that visits frames."""
        from batteryxr.cdi.ptycho.kernels.projections import Projections, Relaxation

        relaxation = Relaxation(*self._weights(), self.inner, self.poisson)
        return Projections(relaxation, probe, near)


class _FrameByFrame(_Checked):
    """Update object and probe after each frame."""

    holds_all_waves: ClassVar[bool] = False

    def begin(self, probe: Any, near: float = 0.0) -> Sweep:
        """Return the kernel that visits frames."""
        from batteryxr.cdi.ptycho.kernels.pie import Pie, PieSteps

        steps = PieSteps(*(getattr(self, name) for name in PieSteps._fields))
        return Pie(steps, probe, near)


@replayable
@dataclass(frozen=True, kw_only=True)
class LSQML(_Checked):
    """Fit by least squares in mini-batches, the fastest per iteration.

    Odstrčil, Menzel & Guizar-Sicairos, Opt. Express 26, 3108 (2018).

    Parameters
    ----------
    batch
        Frames per batch.
    object_step, probe_step
        Fractions of the least-squares steps.
    damping
        Pixels move less where the illumination by the whole scan is below this fraction
        of its maximum.
    poisson
        Fit counts by their Poisson likelihood instead of amplitudes; see `ptycho`.
    subpixel
        Whether fractions of pixels in positions count; else they are rounded.
    """

    batch: Count = 10
    object_step: NonNegative = 0.9
    probe_step: NonNegative = 0.9
    damping: NonNegative = 0.1
    poisson: bool = False
    subpixel: bool = True

    holds_all_waves: ClassVar[bool] = False

    def begin(self, probe: Any, near: float = 0.0) -> Sweep:
        """Return the kernel that visits frames."""
        from batteryxr.cdi.ptycho.kernels.lsq import BatchSteps, LeastSquares

        steps = BatchSteps(*(getattr(self, name) for name in BatchSteps._fields))
        return LeastSquares(steps, probe, near)


@replayable
@dataclass(frozen=True, kw_only=True)
class EPIE(_FrameByFrame):
    """Update frame after frame by the extended ptychographic iterative engine.

    Maiden & Rodenburg, Ultramicroscopy 109, 1256 (2009).

    Parameters
    ----------
    object_step, probe_step
        Fractions of the full step.
    momentum
        Fraction of the object's last motion that is kept (0: none), as in mPIE, Maiden,
        Johnson & Li, Optica 4, 736 (2017).
    every
        Frames between two applications of the momentum.
    poisson
        Fit counts by their Poisson likelihood instead of amplitudes; see `ptycho`.
    subpixel
        Whether fractions of pixels in positions count; else they are rounded.
    """

    object_step: NonNegative = 1.0
    probe_step: NonNegative = 0.5
    momentum: NonNegative = 0.0
    every: Count = 100
    poisson: bool = False
    subpixel: bool = True

    object_alpha: ClassVar[float] = 1.0
    probe_alpha: ClassVar[float] = 1.0


@replayable
@dataclass(frozen=True, kw_only=True)
class RPIE(_FrameByFrame):
    """Update by the regularised ptychographic iterative engine, with momentum.

    Maiden, Johnson & Li, Optica 4, 736 (2017).

    Parameters
    ----------
    object_step, probe_step
        Fractions of the full step.
    object_alpha, probe_alpha
        Regularisation: a smaller value trusts weakly lit pixels more; 1 is ePIE.
    momentum, every, poisson, subpixel
        See `EPIE`.
    """

    object_step: NonNegative = 0.5
    probe_step: NonNegative = 0.5
    object_alpha: NonNegative = 0.2
    probe_alpha: NonNegative = 1.0
    momentum: NonNegative = 0.3
    every: Count = 100
    poisson: bool = False
    subpixel: bool = True


@replayable
@dataclass(frozen=True, kw_only=True)
class DM(_AllWaves):
    """Update all exit waves at once by the difference map, at whole pixels.

    Thibault et al., Ultramicroscopy 109, 338 (2009).

    Parameters
    ----------
    beta
        Relaxation.
    inner
        Rounds of the overlap step, which fits object and probe to each other.
    poisson
        Fit counts by their Poisson likelihood instead of amplitudes; see `ptycho`.
    """

    beta: NonNegative = 1.0
    inner: Count = 3
    poisson: bool = False

    def _weights(self) -> tuple[float, float, float, float]:
        """Return the weights of wave, view, and both, and how views are mixed."""
        return self.beta, -self.beta, 1.0, 1.0 + self.beta


@replayable
@dataclass(frozen=True, kw_only=True)
class RAAR(_AllWaves):
    """Update all exit waves by relaxed averaged alternating reflections.

    Luke, Inverse Problems 21, 37 (2005). Positions are whole pixels.

    Parameters
    ----------
    beta, inner, poisson
        See `DM`.
    """

    beta: NonNegative = 0.8
    inner: Count = 3
    poisson: bool = False

    def _weights(self) -> tuple[float, float, float, float]:
        """Return the weights of wave, view, and both, and how views are mixed."""
        return self.beta, 1.0 - 2.0 * self.beta, self.beta, 2.0


#: The engines by name.
ENGINES: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (LSQML, EPIE, RPIE, DM, RAAR)
}


def engine_named(name: str, **options: Any) -> Engine:
    """Return an engine by its name, for a choice from a list.

    Parameters
    ----------
    name
        A key of `ENGINES`, in any case.
    **options
        Fields of the engine.

    Raises
    ------
    ArgumentError
        If there is no such engine, or an option is out of range.
    """
    kind = ENGINES.get(name.upper())
    if kind is None:
        raise ArgumentError("engine", name, f"one of {', '.join(ENGINES)}")
    engine: Engine = kind(**options)
    return engine


def check_engine(engine: object) -> None:
    """Raise an `ArgumentError` that shows what to pass, unless it is an engine."""
    if isinstance(engine, tuple(ENGINES.values())):
        return
    name = engine if isinstance(engine, str) else getattr(engine, "__name__", "")
    named = name.upper() if name.upper() in ENGINES else "LSQML"
    raise ArgumentError(
        "engine",
        engine,
        f"an engine: one of {', '.join(f'{name}()' for name in ENGINES)}",
        f"Pass the object: `from batteryxr.cdi import {named}`, engine={named}().",
    )
