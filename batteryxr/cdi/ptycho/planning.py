"""What a reconstruction will cost, and whether it fits, before it starts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.cdi.ptycho.engines import ENGINES, needs_all, options
from batteryxr.cdi.ptycho.frames import counts_type
from batteryxr.cdi.ptycho.scan import check_scan, pixel_size
from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError
from batteryxr.core.units import readable_bytes

if TYPE_CHECKING:
    import xarray as xr

#: Complex arrays of the object's size that an engine works with, at most.
_COPIES = 8
#: Memory of the interpreter, its libraries and compiled loops.
_BASE = 350e6
#: Frames per block where a reconstruction is streamed.
STREAM_BLOCK = 128


@dataclass(frozen=True)
class PtychoPlan:
    """Sizes in bytes, and what follows from them; ``print`` it.

    Parameters
    ----------
    energies, positions, pixels, modes
        Numbers of energies, frames, detector pixels along a side, and probe modes.
    stack, frames
        Counts of all energies, and of one.
    waves
        Exit waves of one energy, for DM and RAAR.
    shared
        Object, probe and working arrays of one energy.
    available
        Memory that may be used.
    own
        What the process takes of it for itself.
    engine
        What will run.
    streamed
        Whether frames are read anew in each pass, a block at a time.
    block
        Frames per block; None takes all as one.
    workers
        Energies at a time in this process.
    reason
        Why the engine or the way of reading was changed; empty where it was not.
    """

    energies: int
    positions: int
    pixels: int
    modes: int
    stack: float
    frames: float
    waves: float
    shared: float
    available: float
    own: float
    engine: str
    streamed: bool
    block: int | None
    workers: int
    reason: str

    @property
    def peak(self) -> float:
        """Largest memory of one energy."""
        return _peak(self, self.engine, self.streamed)

    @property
    def room(self) -> float:
        """Memory that is left for energies."""
        return self.available - self.own

    def __str__(self) -> str:
        """Return the plan as a few lines."""
        size = readable_bytes
        lines = [
            f"{self.energies} energies x {self.positions} frames x "
            f"{self.pixels}² pixels, {self.modes} probe mode(s)",
            f"  stack {size(self.stack)}, one energy {size(self.frames)}, "
            f"object, probe and work {size(self.shared)}",
        ]
        for name in ENGINES:
            need = _peak(self, name, False)
            fits = "fits" if need <= self.room else "does not fit"
            waves = f" (exit waves {size(self.waves)})" if needs_all(name) else ""
            lines.append(f"  {name:6s} {size(need):>8s}{waves}: {fits}")
        way = f"streamed in blocks of {self.block}" if self.streamed else "in memory"
        own = f", {size(self.own)} of it for the process itself" if self.own else ""
        lines.append(
            f"  of {size(self.available)} available{own} -> {self.engine}, "
            f"frames {way}, {self.workers} energy(ies) at a time"
        )
        if self.reason:
            lines.append(f"  because {self.reason}")
        return "\n".join(lines)


def _peak(plan: PtychoPlan, engine: str, streamed: bool) -> float:
    block = 3 * plan.frames * (plan.block or plan.positions) / plan.positions
    held = block if streamed else plan.frames
    return held + plan.shared + (plan.waves if needs_all(engine) else 0.0)


@checked
def ptycho_plan(
    scan: xr.Dataset,
    *,
    engine: str = "LSQML",
    n_modes: int = 1,
    block: int | None = None,
    memory: float | None = None,
    workers: int | None = None,
) -> PtychoPlan:
    """Plan a reconstruction: what it needs, what fits, what will run.

    Lazy: looks at sizes only.

    Parameters
    ----------
    scan
        See `ptycho_scan`.
    engine, n_modes, block
        As for `ptycho`.
    memory
        Bytes that may be used; by default what is free on this machine.
    workers
        Energies at a time; by default as many as cores and memory allow.

    Returns
    -------
    PtychoPlan

    Raises
    ------
    ArgumentError
        If not even streaming fits into `memory`.
    """
    from dataclasses import replace

    from batteryxr.cdi.ptycho.kernels.lsq import LsqOptions

    scan = check_scan(scan, caller="ptycho_plan")
    options(engine, None)
    name = next(n for n in ENGINES if n.lower() == engine.lower())
    frames = scan["frames"]
    energies = scan.sizes["energy"] if "energy" in frames.dims else 1
    positions, n = scan.sizes["position"], scan.sizes["detector_x"]
    modes = max(n_modes, scan.sizes.get("probe_mode", 1))
    one = float(positions * n * n * counts_type(frames).itemsize)
    smallest = float(pixel_size(scan).min())
    spans = [np.ptp(scan[f"position_{a}"].values) / smallest + n + 16 for a in "yx"]
    # Of LSQML, whatever was asked for: where that does not fit, LSQML takes its place.
    batch = LsqOptions.batch * n * n * 8.0 * modes * 3
    shared = float(np.prod(spans)) * 8 * _COPIES + 6 * 8.0 * n * n * modes + batch
    free = float(memory if memory is not None else _free())
    plan = PtychoPlan(
        *(energies, positions, n, modes),
        stack=one * energies,
        frames=one,
        waves=8.0 * positions * n * n * modes,
        shared=shared,
        available=free,
        own=_BASE if memory is not None else 0.0,
        engine=name,
        streamed=False,
        block=block,
        workers=1,
        reason="",
    )
    plan = _fitted(plan)
    cores = min(os.cpu_count() or 1, energies)
    fit = max(1, int(plan.room // max(plan.peak, 1.0)))
    return replace(plan, workers=min(workers or cores, fit, energies))


def _fitted(plan: PtychoPlan) -> PtychoPlan:
    from dataclasses import replace

    reasons = []
    size = readable_bytes
    if needs_all(plan.engine) and plan.peak > plan.room:
        reasons.append(
            f"{plan.engine} needs {size(plan.peak)} for all exit waves; LSQML does not"
        )
        plan = replace(plan, engine="LSQML")
    if plan.peak > plan.room:
        reasons.append(f"all frames need {size(plan.peak)}")
        block = min(plan.block or STREAM_BLOCK, plan.positions)
        plan = replace(plan, streamed=True, block=block)
    if plan.peak > plan.room:
        raise ArgumentError(
            "memory",
            plan.available,
            f"at least {size(plan.peak + plan.own)}",
            "Even streamed the object and one block of frames need that much. Crop or "
            "bin the frames, or take smaller blocks.",
        )
    return replace(plan, reason="; ".join(reasons))


def _free() -> float:
    """Return the memory that is free now, in bytes."""
    try:
        with open("/proc/meminfo") as lines:
            for line in lines:
                if line.startswith("MemAvailable"):
                    return 0.8 * float(line.split()[1]) * 1024
    except OSError:
        pass
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 0.5 * float(pages)
