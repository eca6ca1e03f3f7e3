"""Ptychography at one energy: frames in, object and probe out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.cdi.ptycho import task as _ptycho_task
from batteryxr.cdi.ptycho.engines import options
from batteryxr.cdi.ptycho.planning import ptycho_plan
from batteryxr.cdi.ptycho.scan import check_scan, single
from batteryxr.core.device import to_numpy
from batteryxr.core.errors import ArgumentError, ConvergenceError, warn_quality
from batteryxr.core.model import require_variables
from batteryxr.core.progress import bar
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    import xarray as xr

    from batteryxr.cdi.ptycho.planning import PtychoPlan
    from batteryxr.cdi.ptycho.task import Task


@recorded
def ptycho(
    scan: xr.Dataset,
    *,
    engine: str = "LSQML",
    iterations: int = 100,
    options: dict[str, Any] | None = None,
    n_modes: int = 1,
    probe_from: int = 2,
    positions_from: int | None = None,
    calm_from: int | None = None,
    subpixel: bool = True,
    block: int | None = None,
    memory: float | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: bool | None = None,
) -> xr.Dataset:
    """Reconstruct object and probe from overlapping diffraction patterns.

    Reads once where the frames fit into `memory`, else once per iteration.

    Parameters
    ----------
    scan
        Frames of one energy with positions, geometry and a first `probe`; see
        `ptycho_scan` and `ptycho_probe`. Where `mask` is not 0 pixels are left free.
    engine
        ``"LSQML"`` (mini-batch least squares, the fastest per pass), ``"ePIE"``,
        ``"rPIE"`` (with momentum), ``"DM"`` or ``"RAAR"`` (all exit waves at once,
        whole-pixel positions).
    iterations
        Passes over all frames.
    options
        What the engine does otherwise than usual: ``{"batch": 20}`` and ``damping``
        for LSQML; ``object_step``, ``probe_step`` for it and the PIE family;
        ``object_alpha``, ``probe_alpha``, ``momentum``, ``every`` for that; ``beta``
        and ``inner`` for DM and RAAR; ``{"poisson": True}`` for any, see Notes.
    n_modes
        Mutually incoherent probe modes.
    probe_from
        First pass that updates the probe.
    positions_from
        First pass that corrects positions; None leaves them.
    calm_from
        First pass of smaller steps, in which noise averages out; by default the last
        fifth of all passes. DM and RAAR know no steps.
    subpixel
        Whether parts of pixels in the positions count; without it they are rounded.
    block
        Frames that are visited before others; None mixes all. Chosen where frames
        must be streamed.
    memory
        Bytes that may be used; by default what is free.
    seed
        Of the order of frames, and of the first extra modes.
    device
        ``"cpu"``; or a device of PyTorch (``"cuda"``, ``"mps"``, ``"torch"`` for its
        CPU), or ``"cupy"``.
    progress
        Show a bar: True, False, or None for only where somebody watches.

    Returns
    -------
    xarray.Dataset
        `transmission` (y, x) and `probe` (probe_mode, probe_y, probe_x), complex64, in
        nm of the scan's own positions; `illumination`; `amp_residual` per pass;
        `mode_weight`; `position_shift_y`, `position_shift_x`.

    Raises
    ------
    ArgumentError
        If an argument is off, or the frames do not fit in any way.
    ConvergenceError
        If the reconstruction diverges.

    Warns
    -----
    DataQualityWarning
        If the engine had to be changed to fit into memory.

    Notes
    -----
    Usually amplitudes are fitted, which forgives what a model lacks. But the root of a
    few counts is on average too small, and where most pixels count fewer than ten
    photons this weakens the object: by 2 % of its phase on simulated frames of 3e5
    photons. Where the phase or μt itself is wanted, for a composition say, and the
    background is subtracted, take ``options={"poisson": True}``: no such error is
    left (below 0.5 % there), at 1.6 times the noise.

    Object and probe share ambiguities that no data can resolve: a complex factor, a
    phase ramp, a shift. See `reference_vacuum`.
    """
    scan = single(check_scan(scan, caller="ptycho"), caller="ptycho")
    task, plan = prepare(
        scan, engine, options, n_modes, iterations, probe_from, positions_from,
        calm_from, subpixel, block, memory, (seed,), device,
    )  # fmt: skip
    if plan.reason:
        warn_quality(f"engine {plan.engine}, streamed={plan.streamed}: {plan.reason}")
    state = _ptycho_task.start(scan, task)
    with bar(None, "Reconstructing", total=iterations, progress=progress) as shown:

        def watch(state: Any, misfit: float) -> None:
            check_finite(state, misfit)
            shown.update(1)

        frames = _ptycho_task.source(scan, task)
        misfits = _ptycho_task.advance(scan, task, state, iterations, watch, frames)
    counts = _ptycho_task.power(scan, frames)
    found = _ptycho_task.result(scan, state, np.array(misfits) / counts)
    found.attrs["engine"] = plan.engine
    found.attrs["block"] = plan.block or 0
    found.attrs["history"] = scan.attrs.get("history", "")
    return found


def prepare(
    scan: xr.Dataset,
    engine: str,
    given: dict[str, Any] | None,
    n_modes: int,
    iterations: int,
    probe_from: int,
    positions_from: int | None,
    calm_from: int | None,
    subpixel: bool,
    block: int | None,
    memory: float | None,
    seed: tuple[int, ...],
    device: str,
    workers: int | None = None,
) -> tuple[Task, PtychoPlan]:
    """Check arguments and make the task and its plan.

    Raises
    ------
    ArgumentError, VariableError
        If something is off or missing.
    """
    require_variables(scan, ["probe"], caller="ptycho (.cdi.ptycho_probe makes one)")
    options(engine, given)
    check_count("n_modes", n_modes, 1)
    check_count("iterations", iterations, 1)
    check_count("probe_from", probe_from, 0)
    check_count("seed", seed[0], 0)
    if calm_from is None:
        calm_from = iterations - iterations // 5
    check_count("calm_from", calm_from, 0)
    if positions_from is not None:
        check_count("positions_from", positions_from, 0)
    if block is not None:
        check_count("block", block, 1)
    plan = ptycho_plan(
        scan, engine=engine, n_modes=n_modes, block=block, memory=memory,
        workers=workers,
    )  # fmt: skip
    kept = given if plan.engine.lower() == engine.lower() else None
    task = _ptycho_task.Task(
        options=options(plan.engine, kept),
        seed=seed,
        n_modes=n_modes,
        probe_from=probe_from,
        positions_from=positions_from,
        calm_from=calm_from,
        subpixel=subpixel,
        block=plan.block,
        streamed=plan.streamed,
        device=device,
    )
    return task, plan


def check_count(name: str, value: int, least: int) -> None:
    """Raise an `ArgumentError` unless `value` is a whole number from `least` on."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least:
        raise ArgumentError(name, value, f"a whole number >= {least}")


def check_finite(state: Any, misfit: float) -> None:
    """Raise a `ConvergenceError` where a reconstruction has diverged."""
    peak = float(np.abs(to_numpy(state.obj)).max()) if not np.isfinite(misfit) else 0.0
    if not np.isfinite(misfit) or not np.isfinite(peak):
        raise ConvergenceError(
            f"the reconstruction diverged in pass {state.iteration}. Take smaller "
            "steps (options={'object_step': 0.3, 'probe_step': 0.3}), update the probe "
            "later (probe_from), or look whether positions and probe are right."
        )
