"""Cost of a reconstruction, estimated before it starts."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.cdi.ptycho.engines import ENGINES, LSQML, Engine, check_engine
from batteryxr.cdi.ptycho.frames import counts_type
from batteryxr.cdi.ptycho.scan import geometry_of
from batteryxr.cdi.ptycho.settings import Resources, Settings
from batteryxr.core.checks import Count, checked
from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.core.kernels.cores import allowed, free_memory
from batteryxr.core.units import readable_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

    from batteryxr.cdi.ptycho.experiment import Experiment

#: Largest number of complex arrays of the object's size in an engine.
_COPIES = 8
#: Memory of the interpreter, its libraries and compiled loops.
_BASE = 350e6
#: Frames per block where a reconstruction is streamed.
STREAM_BLOCK = 128


class Sizes(NamedTuple):
    """Hold sizes of a scan.

    Numbers of energies, frames, detector pixels along a side and probe modes; bytes
    per count; and pixels of the largest object.
    """

    energies: int
    positions: int
    pixels: int
    modes: int
    count_bytes: int
    area: float

    @classmethod
    def of(cls, experiments: Sequence[Experiment], n_modes: int) -> Sizes:
        """Return the sizes of experiments, one per energy."""
        first = experiments[0]
        positions, n, _ = first.frames.shape
        area = max(_area(e.corners, n) for e in experiments)
        modes = max(n_modes, first.probe.shape[0])
        kind = counts_type(first.frames.dtype)
        # Pixels that are masked in some frames only need floats.
        size = 4 if any(e.ignored is not None for e in experiments) else kind.itemsize
        return cls(len(experiments), positions, n, modes, size, area)


@cache
def _frame_seconds(n: int, modes: int, engine: Engine) -> float:
    """Return the CPU time of one frame in one iteration, measured on a few frames."""
    from batteryxr.cdi.ptycho.kernels.state import Conditions, State

    count = int(np.clip(400_000 // n**2, 2, 20))
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 8, (count, 2))
    if not engine.subpixel or engine.holds_all_waves:
        corners = np.rint(corners)
    probe = np.ones((modes, n, n), np.complex64)
    state = State(np.ones((n + 9, n + 9), np.complex64), probe, corners)
    frames, weight = np.ones((count, n, n), np.uint16), np.ones((n, n), np.float32)
    kernel, now = engine.begin(probe), Conditions(weight, rng)
    spent = []
    for _ in range(4):  # the first compiles and plans
        begin = time.thread_time()  # others may be at work beside
        kernel.sweep(state, np.arange(count), frames, now)
        spent.append(time.thread_time() - begin)
        state.iteration += 1
    return float(np.median(spent[1:])) / count


def _area(corners: np.ndarray, n: int) -> float:
    span = np.nanmax(corners, axis=0) - np.nanmin(corners, axis=0)
    return float(np.prod(span + n + 16))


@dataclass(frozen=True)
class Estimate:
    """Tell the needs of a reconstruction, in bytes, and the plan; ``print`` it.

    Parameters
    ----------
    sizes
        Sizes of the scan.
    engine
        Engine that will run.
    available
        Memory that may be used.
    own
        Memory that the process itself takes of it.
    streamed
        Whether frames are read again in each iteration, a block at a time.
    block
        Frames per block; None takes all frames as one block.
    workers
        Number of energies at a time in this process.
    reason
        Why the engine or the way of reading was changed; empty if it was not.
    """

    sizes: Sizes
    engine: Engine
    available: float
    own: float
    streamed: bool = False
    block: int | None = None
    workers: int = 1
    reason: str = ""

    @property
    def stack(self) -> float:
        """Return the counts of all energies."""
        return self.frames * self.sizes.energies

    @property
    def frames(self) -> float:
        """Return the counts of one energy."""
        s = self.sizes
        return float(s.positions * s.pixels**2 * s.count_bytes)

    @property
    def waves(self) -> float:
        """Exit waves of one energy, for DM and RAAR."""
        s = self.sizes
        return 8.0 * s.positions * s.pixels**2 * s.modes

    @property
    def shared(self) -> float:
        """Return the object, probe and working arrays of one energy."""
        s = self.sizes
        # Other engines need less; LSQML replaces those that do not fit.
        batch = getattr(self.engine, "batch", LSQML.batch)
        probe = 8.0 * s.pixels**2 * s.modes
        return s.area * 8 * _COPIES + 6 * probe + 3 * batch * probe

    @property
    def peak(self) -> float:
        """Return the largest memory of one energy."""
        held = self.frames
        if self.streamed:
            held *= 3 * (self.block or self.sizes.positions) / self.sizes.positions
        return held + self.shared + (self.waves if self.engine.holds_all_waves else 0.0)

    @property
    def room(self) -> float:
        """Return the memory that is left for energies."""
        return self.available - self.own

    @property
    def pass_seconds(self) -> float:
        """Return the CPU time (s) of one pass over one energy, within a factor of two.

        A few frames of this size are timed on this machine, with this engine. With
        ``halves`` a stack takes about twice as long.
        """
        s = self.sizes
        return s.positions * _frame_seconds(s.pixels, s.modes, self.engine)

    def __str__(self) -> str:
        """Return the estimate as a few lines."""
        size, s = readable_bytes, self.sizes
        lines = [
            f"{s.energies} energies x {s.positions} frames x "
            f"{s.pixels}² pixels, {s.modes} probe mode(s)",
            f"  stack {size(self.stack)}, one energy {size(self.frames)}, "
            f"object, probe and work {size(self.shared)}",
        ]
        for name, kind in ENGINES.items():
            other = replace(self, engine=kind(), streamed=False)
            fits = "fits" if other.peak <= self.room else "does not fit"
            waves = f" (exit waves {size(self.waves)})" if kind.holds_all_waves else ""
            lines.append(f"  {name:6s} {size(other.peak):>8s}{waves}: {fits}")
        way = f"streamed in blocks of {self.block}" if self.streamed else "in memory"
        own = f", {size(self.own)} of it for the process itself" if self.own else ""
        lines.append(
            f"  of {size(self.available)} available{own} -> "
            f"{type(self.engine).__name__}, "
            f"frames {way}, {self.workers} energy(ies) at a time"
        )
        lines.append(f"  a pass of one energy: about {self.pass_seconds:.2g} s of CPU")
        if self.reason:
            lines.append(f"  because {self.reason}")
        return "\n".join(lines)


@checked
def ptycho_plan(
    scan: xr.Dataset,
    *,
    engine: Engine = LSQML(),
    n_modes: Count = 1,
    resources: Resources = Resources(),
) -> Estimate:
    """Estimate what a reconstruction needs, what fits, and what will run.

    Lazy: reads sizes only. The time of an iteration is measured on a few made-up frames
    when it is asked for.

    Parameters
    ----------
    scan
        See `ptycho_scan`.
    engine
        Engine that fits object and probe to the frames: `LSQML`, `EPIE`, `RPIE`, `DM`
        or `RAAR`.
    n_modes
        Mutually incoherent probe modes.
    resources
        Memory that may be used, frames per block, and energies at a time.

    Returns
    -------
    Estimate

    Raises
    ------
    ArgumentError
        If not even streaming fits into the memory.

    Examples
    --------
    >>> scan, _ = batteryxr.simulate.ptychography(energy=5470, positions=5, size=32)
    >>> scan = scan.isel(energy=0)
    >>> plan = scan.cdi.ptycho_plan(n_modes=2)
    >>> plan.workers
    1
    """
    check_engine(engine)
    geometry = geometry_of(scan, caller="ptycho_plan")
    energies = scan.sizes["energy"] if "energy" in scan["frames"].dims else 1
    each = [geometry.at(k) for k in range(energies)] if energies > 1 else [geometry]
    alone = "mask" in scan and "position" in scan["mask"].dims
    sizes = Sizes(
        energies,
        scan.sizes["position"],
        geometry.n,
        max(n_modes, scan.sizes.get("probe_mode", 1)),
        4 if alone else counts_type(scan["frames"].dtype).itemsize,
        max(_area(g.positions / g.pixel, g.n) for g in each),
    )
    return estimated(sizes, engine, resources)


def estimated(sizes: Sizes, engine: Engine, resources: Resources) -> Estimate:
    """Estimate a reconstruction of these sizes, and change it until it fits.

    Raises
    ------
    ArgumentError
        If not even streaming fits into the memory.
    """
    memory = resources.memory
    found = _fitted(
        Estimate(
            sizes,
            engine,
            available=0.8 * free_memory() if memory is None else float(memory),
            own=0.0 if memory is None else _BASE,
            block=resources.block,
        )
    )
    cores = min(allowed(), sizes.energies)
    fit = max(1, int(found.room // max(found.peak, 1.0)))
    workers = min(resources.workers or cores, fit, sizes.energies)
    return replace(found, workers=workers)


def fitted(settings: Settings, found: Estimate) -> Settings:
    """Return settings that fit into memory; warn where they had to change."""
    if found.reason:
        name = type(found.engine).__name__
        warn_quality(f"engine {name}, streamed={found.streamed}: {found.reason}")
    return replace(
        settings, engine=found.engine, block=found.block, streamed=found.streamed
    )


def _fitted(found: Estimate) -> Estimate:
    reasons = []
    size = readable_bytes
    if found.engine.holds_all_waves and found.peak > found.room:
        name = type(found.engine).__name__
        reasons.append(
            f"{name} needs {size(found.peak)} for all exit waves; LSQML does not"
        )
        found = replace(found, engine=LSQML(poisson=found.engine.poisson))
    if found.peak > found.room:
        reasons.append(f"all frames need {size(found.peak)}")
        block = min(found.block or STREAM_BLOCK, found.sizes.positions)
        found = replace(found, streamed=True, block=block)
    if found.peak > found.room:
        raise ArgumentError(
            "memory",
            found.available,
            f"at least {size(found.peak + found.own)}",
            "Even streamed the object and one block of frames need that much. Crop or "
            "bin the frames, or take smaller blocks.",
        )
    return replace(found, reason="; ".join(reasons))
