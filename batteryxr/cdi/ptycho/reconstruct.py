"""Ptychography at one energy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import numpy as np

from batteryxr.cdi.ptycho.engines import LSQML, Engine
from batteryxr.cdi.ptycho.estimate import Sizes, estimated, fitted
from batteryxr.cdi.ptycho.examine import examined
from batteryxr.cdi.ptycho.experiment import experiment_of, widened
from batteryxr.cdi.ptycho.former import former_of, going_on
from batteryxr.cdi.ptycho.kernels.facts import seen_by
from batteryxr.cdi.ptycho.orientation import tell_stretch
from batteryxr.cdi.ptycho.passes import first_state, reconstruct
from batteryxr.cdi.ptycho.result import labelled_state
from batteryxr.cdi.ptycho.scale import tell_scale
from batteryxr.cdi.ptycho.scan import unsquared
from batteryxr.cdi.ptycho.settings import Recording, Resources, Schedule, Settings
from batteryxr.cdi.ptycho.trial import sought
from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.core.labels import OwnLabels
from batteryxr.core.progress import bar
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    import xarray as xr

    from batteryxr.cdi.ptycho.experiment import Experiment
    from batteryxr.cdi.ptycho.kernels.state import State
    from batteryxr.core.checks import Count, Seed


#: Residual over that of counting noise from which to warn.
_MISFIT = 1.1
#: Part of the least that counting noise leaves, below which to warn.
_TOO_GOOD = 0.65
#: Iterations after which a result is judged.
SETTLED = 20


@recorded
def ptycho(
    scan: xr.Dataset,
    *,
    engine: Engine = LSQML(),
    iterations: Count = 100,
    n_modes: Count = 1,
    schedule: Schedule = Schedule(),
    instrument: Recording = Recording(),
    start: Annotated[xr.Dataset, OwnLabels()] | None = None,
    resources: Resources = Resources(),
    seed: Seed = 0,
    device: str = "cpu",
    progress: bool | None = None,
) -> xr.Dataset:
    """Reconstruct object and probe from overlapping diffraction patterns.

    Reads once where the frames fit into memory, else once per iteration.

    Parameters
    ----------
    scan
        Frames of one energy with positions, geometry and an initial `probe`; see
        `ptycho_scan` and `ptycho_probe`. Pixels where `mask` is not 0 are left free.
    engine
        Update rule of object and probe, with its options: `LSQML` (mini-batch least
        squares, the fastest per iteration), `EPIE`, `RPIE` (with momentum), `DM` or
        `RAAR` (all exit waves at once, whole-pixel positions); see Notes for
        ``LSQML(batch=20, poisson=True)``.
    iterations
        Iterations, each over all frames.
    n_modes
        Mutually incoherent probe modes.
    schedule
        Iterations from which probe and positions are updated, and steps are smaller.
    instrument
        Parts of the frames besides the pattern: ``Recording(background="constant")``,
        ``Recording(intensity=True)``.
    start
        Former result to continue from: its object, probe and corrected positions,
        brought onto the pixels of this scan. The scan then needs no `probe`.
    resources
        Memory that may be used, and frames per block.
    seed
        Seed of the order of frames, and of the initial extra modes.
    device
        ``"cpu"``; or a device of PyTorch (``"cuda"``, ``"mps"``, ``"torch"`` for its
        CPU), or ``"cupy"``.
    progress
        Show a progress bar; None shows it in terminals and notebooks only.

    Returns
    -------
    xarray.Dataset
        `transmission` (y, x) and `probe` (probe_mode, probe_y, probe_x), complex64, in
        nm of the scan's own positions; `illumination`; `amp_residual` for each
        iteration, and `noise_residual`, the most that counting noise leaves;
        `mode_weight`; `position_shift_y`, `position_shift_x`, NaN for frames that
        were left out; ``attrs["position_scale"]``: whether frames bear out the scale
        of positions that were left as told, or do not tell it, with
        `position_stretch` and its error beside it; with a background `background`
        (detector_y, detector_x) and `intensity` (position); with variations of the
        probe `probe_variation` (variation, probe_y, probe_x), and `variation_share`
        (position, variation), how much of each the first mode has in a frame.

    Raises
    ------
    ArgumentError
        If an argument is invalid, or no engine fits into memory.
    DataError
        If the scan has no light, the probe no power, or the mask leaves no pixel.
    ConvergenceError
        If the reconstruction diverges.

    Warns
    -----
    DataQualityWarning
        If the engine had to be changed to fit into memory; if the residual exceeds that
        of counting noise (`noise_residual`), so that the model lacks something, or
        the iterations are too few; if
        corrected positions are all stretched or turned, by more than 1 %, or were moved
        farther than corrections are sure to find; or if frames ask surely for a
        stretch of positions that were left as told.

    Notes
    -----
    By default amplitudes are fitted, which tolerates gaps of the model. But the root of
    a few counts is on average too small. Where most pixels count fewer than ten photons
    this weakens the object: by 2 % of its phase on simulated frames of 3e5 photons.
    Where the phase or μt itself is wanted, for a composition say, and the background
    is subtracted, take ``engine=LSQML(poisson=True)``: this error is gone (below 0.5 %
    there), at 1.6 times the noise.

    Object and probe share ambiguities that no data can resolve: a complex factor, a
    phase ramp, a shift. See `reference_vacuum`.

    Examples
    --------
    >>> from batteryxr.cdi import LSQML
    >>> scan, _ = batteryxr.simulate.ptychography(energy=5470, positions=5, size=32)
    >>> scan = scan.isel(energy=0)
    >>> result = scan.cdi.ptycho(engine=LSQML(batch=5), iterations=10)
    >>> list(result.data_vars)[:3]
    ['transmission', 'probe', 'illumination']
    """
    settings = Settings(
        engine=engine,
        iterations=iterations,
        n_modes=n_modes,
        schedule=schedule,
        recording=instrument,
        seed=(seed,),
        device=device,
    )
    if schedule.lead:
        raise ArgumentError(
            "schedule.lead", schedule.lead, "0: there is one energy to reconstruct"
        )
    experiment = experiment_of(scan, caller="ptycho", probe=start is None)
    former = None if start is None else former_of(start, experiment, scan)
    if former is not None:
        experiment = replace(experiment, probe=former.probe)
    reach = schedule.positions_reach
    if reach:
        if experiment.near:
            raise ArgumentError(
                "schedule.positions_reach", reach, "0 in the near field"
            )
        experiment = widened(experiment, int(np.ceil(reach / experiment.pixel)))
    found = estimated(Sizes.of([experiment], n_modes), engine, resources)
    settings = fitted(settings, found)
    experiment = examined(
        experiment, hold=not settings.streamed, step=settings.block or 64
    )
    state = first_state(experiment, settings)
    if former is not None:
        state = going_on(state, experiment, settings, former)
    if reach:
        state.positions = sought(experiment, settings, state)
    with bar(None, "Reconstructing", total=iterations, progress=progress) as shown:

        def watch(state: State) -> None:
            shown.update(1)

        state = reconstruct(experiment, settings, state, iterations, watch)
    scale: dict[str, float | str] = {"position_scale": "not looked at"}
    if schedule.positions_from is not None:
        tell_stretch(state.positions, experiment.corners, experiment.pixel, reach)
    elif iterations >= SETTLED:
        scale = tell_scale(experiment, settings, state)
    coords = {k: c for k, c in scan.coords.items() if set(c.dims) <= {"position"}}
    result = labelled_state(experiment, state, coords, scan.sizes["position"])
    result = unsquared(result, scan.sizes)
    tell_misfit(result["amp_residual"], result["noise_residual"])
    tell_too_good(result["amp_residual"], [experiment], n_modes)
    result.attrs.update(scale)
    result.attrs["engine"] = type(settings.engine).__name__
    result.attrs["block"] = settings.block or 0
    result.attrs["history"] = scan.attrs.get("history", "")
    return result


def tell_misfit(residuals: xr.DataArray, noise: xr.DataArray) -> None:
    """Warn where the model does not explain the frames, or not yet.

    The bar is the same after any number of passes: after a few, no residual tells a
    sound scan from a wrong probe whose object is wrong altogether.

    Parameters
    ----------
    residuals
        Residual of each iteration; for each energy.
    noise
        The most that counting noise leaves; for each energy.
    """
    done = residuals.sizes["iteration"]
    last = np.ravel(residuals.isel(iteration=-1).values)
    level = np.ravel(noise.values)
    times = np.nan_to_num(last / level)
    worst = int(times.argmax())
    if not times[worst] > _MISFIT:
        return
    of = ""
    if "energy" in residuals.dims:
        of = f" at {float(residuals['energy'][worst]):g} eV"
    if done < SETTLED:
        warn_quality(
            "ptycho: too few iterations, or a wrong probe or geometry: the residual is "
            f"{times[worst]:.3g} times the noise{of} after {done} "
            f"pass{'es' if done > 1 else ''}, and object and probe may be wrong "
            "altogether. Take iterations=100 or more; if that "
            "leaves it high, look at the probe (its size and defocus), positions, "
            "distance, .cdi.orientation(), and background and light of frames"
        )
        return
    warn_quality(
        f"ptycho: the residual is {last[worst]:.3g}{of}, and counting noise "
        f"leaves at most {level[worst]:.3g}: the frames hold {times[worst]:.2g} times "
        "as much that object and "
        "probe do not explain. If they are counts, look at .cdi.orientation(), "
        "positions (schedule=Schedule(positions_from=...), with positions_reach=... "
        "where they are off by more than 3 pixels), background and light of frames "
        "(instrument=Recording(...)), n_modes, or take more passes. frame_residual of "
        ".cdi.ptycho_fit(scan=...) tells which frames"
    )


def tell_too_good(
    residuals: xr.DataArray, experiments: list[Experiment], n_modes: int
) -> None:
    """Warn where the model explains frames better than counting noise allows.

    A lit pixel has a residual of a quarter count, however bright it is. Object and
    probe explain the part that they have numbers for.

    Parameters
    ----------
    residuals
        Residual of each iteration; for each energy.
    experiments
        Experiment of each energy, after its examination.
    n_modes
        Probe modes.
    """
    last = np.ravel(residuals.isel(iteration=-1).values)
    for residual, experiment in zip(last, experiments, strict=True):
        seen, n = experiment.seen, len(experiment.weight)
        assert seen is not None, "look at the frames first: `examined`"
        numbers = 2 * (seen_by(experiment.corners, n) + n_modes * n * n)
        free = max(1 - numbers / float(seen.usable.sum()), 0.0)
        least = 0.25 * free * float(seen.lit.sum()) / float(seen.counts.sum())
        if residual < _TOO_GOOD * least:
            warn_quality(
                f"ptycho: the residual at {experiment.energy:g} eV is {residual:.2g}, "
                f"and counting noise leaves at least {least:.2g}: these frames are no "
                "counts (averaged, scaled, smoothed, or simulated without noise?). The "
                "object may be right, but noise_residual, a Poisson likelihood and all "
                "that counts photons are not. Pass counts: multiply by the frames that "
                "were averaged, or by counts per unit"
            )
            return
