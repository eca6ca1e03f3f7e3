"""Ptychography at one energy, from the initial state on, alone or in a stack."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np

from batteryxr.cdi.ptycho.engines import LSQML, Engine
from batteryxr.cdi.ptycho.estimate import Sizes, estimated, fitted
from batteryxr.cdi.ptycho.examine import examined
from batteryxr.cdi.ptycho.experiment import experiment_of, lateral
from batteryxr.cdi.ptycho.former import former_of, going_on
from batteryxr.cdi.ptycho.frames import frame_blocks
from batteryxr.cdi.ptycho.result import labelled_state
from batteryxr.cdi.ptycho.settings import Recording, Resources, Schedule, Settings
from batteryxr.cdi.ptycho.states import (
    LEADER,
    coupled_key,
    load_state,
    save_state,
    state_key,
)
from batteryxr.core.device import to_device, to_numpy
from batteryxr.core.errors import (
    ArgumentError,
    ConvergenceError,
    DataError,
    warn_quality,
)
from batteryxr.core.labels import OwnLabels
from batteryxr.core.progress import bar
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

    from batteryxr.cdi.ptycho.experiment import Experiment
    from batteryxr.cdi.ptycho.kernels.state import State
    from batteryxr.core.checks import Count, Seed
    from batteryxr.core.ledger import Ledger


#: Residual over that of counting noise from which to warn, after so many iterations.
_MISFIT, _SETTLED = 1.1, 20
#: Stretch or turn (rad) of all positions from which to warn.
_STRETCH = 0.01
#: Smallest counts per pixel from which a background is refined.
_FAINT = 1e-3


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
        were left out; with a background `background` (detector_y, detector_x) and
        `intensity` (position).

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
        of counting noise (`noise_residual`), so that the model lacks something; or if
        corrected positions are all stretched or turned, by more than 1 %.

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
    >>> scan, truth = batteryxr.simulate.ptychography(
    ...     energy=[5470.0], positions=5, size=32
    ... )
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
    found = estimated(Sizes.of([experiment], n_modes), engine, resources)
    settings = fitted(settings, found)
    experiment = examined(
        experiment, hold=not settings.streamed, step=settings.block or 64
    )
    state = first_state(experiment, settings)
    if former is not None:
        state = going_on(state, experiment, settings, former)
    with bar(None, "Reconstructing", total=iterations, progress=progress) as shown:

        def watch(state: State) -> None:
            shown.update(1)

        state = reconstruct(experiment, settings, state, iterations, watch)
    if schedule.positions_from is not None:
        tell_stretch(state.positions, experiment.corners)
    coords = {k: c for k, c in scan.coords.items() if set(c.dims) <= {"position"}}
    result = labelled_state(experiment, state, coords, scan.sizes["position"])
    tell_misfit(result["amp_residual"][-1:], result["noise_residual"], iterations)
    result.attrs["engine"] = type(settings.engine).__name__
    result.attrs["block"] = settings.block or 0
    result.attrs["history"] = scan.attrs.get("history", "")
    return result


def tell_misfit(residual: xr.DataArray, noise: xr.DataArray, iterations: int) -> None:
    """Warn where the model does not explain the frames, after enough iterations.

    Parameters
    ----------
    residual, noise
        Residuals, and the most that counting noise leaves; for each energy.
    iterations
        Iterations that were run.
    """
    times = np.ravel(residual.values / np.atleast_1d(noise.values))
    if iterations < _SETTLED or not times.max() > _MISFIT:
        return
    worst = int(times.argmax())
    at, left = np.ravel(noise.values)[worst], np.ravel(residual.values)[worst]
    of = ""
    if "energy" in residual.dims:
        of = f" at {float(residual['energy'][worst]):g} eV"
    warn_quality(
        f"ptycho: the residual is {left:.3g}{of}, and counting noise leaves at most "
        f"{at:.3g}: the frames hold {times.max():.2g} times as much that object and "
        "probe do not explain. If they are counts, look at .cdi.orientation(), "
        "positions (schedule=Schedule(positions_from=...)), background and light of "
        "frames (instrument=Recording(...)), n_modes, or take more passes"
    )


def tell_stretch(found: np.ndarray, told: np.ndarray) -> None:
    """Warn where corrections stretch or turn all positions, more than by chance.

    Parameters
    ----------
    found, told : (position, 2)
        Corrected and nominal positions, in pixels.
    """
    at, moves = (p - p.mean(axis=0) for p in (told, found - told))
    if len(at) < 8 or np.linalg.matrix_rank(at) < 2:
        return
    stretch = np.linalg.lstsq(at, moves, rcond=None)[0]
    rest = np.sqrt(np.sum((moves - at @ stretch) ** 2) / (2 * len(at) - 6))
    chance = rest / np.linalg.svd(at, compute_uv=False)[-1]
    largest = np.abs(stretch).max()
    if largest > _STRETCH and largest > 5 * chance:
        (y, _), (_, x) = stretch
        turn = np.degrees(_turn(stretch))
        warn_quality(
            f"ptycho: positions were stretched by {100 * y:+.2g} % in y and "
            f"{100 * x:+.2g} % in x, turned or sheared by {turn:.2g}"
            "°: are distance, pixel_pitch, energy and the motors' units right? If they "
            "are, the first probe is off: correct positions later, or take more passes"
        )


def _turn(stretch: np.ndarray) -> float:
    """Return the largest angle (rad) by which an axis turns."""
    return float(max(abs(stretch[0, 1]), abs(stretch[1, 0])))


def reconstruct(
    experiment: Experiment,
    settings: Settings,
    state: State,
    until: int | None = None,
    watch: Callable[[State], None] | None = None,
) -> State:
    """Run iterations on a state until `until` are done.

    Parameters
    ----------
    experiment
        Experiment with the frames.
    settings
        Settings of the reconstruction.
    state
        State to begin from; overwritten.
    until
        Number of iterations of the returned state; by default that of the settings.
    watch
        Called with the state after each iteration; may raise to interrupt.

    Returns
    -------
    State

    Raises
    ------
    ConvergenceError
        If the reconstruction diverges.
    """
    from batteryxr.cdi.ptycho.kernels.loop import iterate

    bring = to_device(settings.device, purpose="ptychography")
    frames = frame_blocks(experiment, settings, bring)
    check_state(experiment, state)
    state.near = experiment.near

    def checked(state: State) -> None:
        check_finite(state)
        if watch is not None:
            watch(state)

    weight = bring(experiment.weight)
    iterate(settings, state, frames, weight, until=until, watch=checked)
    return state


def check_state(experiment: Experiment, state: State) -> None:
    """Raise a `DataError` unless a state fits an experiment."""
    n, j = len(experiment.weight), len(experiment.corners)
    shapes = {
        "object": (state.obj.shape, (experiment.y.size, experiment.x.size)),
        "probe": (state.probe.shape[1:], (n, n)),
        "positions": (state.positions.shape, (j, 2)),
    }
    for name, (found, expected) in shapes.items():
        if tuple(found) != expected:
            raise DataError(name, f"of {tuple(found)}; the scan has {expected}")


def check_finite(state: State) -> None:
    """Raise a `ConvergenceError` where a reconstruction has diverged."""
    misfit = state.misfits[-1]
    peak = float(np.abs(to_numpy(state.obj)).max()) if not np.isfinite(misfit) else 0.0
    if not np.isfinite(misfit) or not np.isfinite(peak):
        raise ConvergenceError(
            f"the reconstruction diverged in pass {state.iteration}. Take smaller "
            "steps (engine=LSQML(object_step=0.3, probe_step=0.3)), update the probe "
            "later (schedule=Schedule(probe_from=20)), or look whether positions and "
            "probe are right."
        )


@dataclass(frozen=True, kw_only=True)
class Energy:
    """An energy of a stack, and the place of its states.

    Parameters
    ----------
    experiment, settings
        Experiment to reconstruct, and the settings.
    ledger
        Ledger of the states.
    key
        Number of the energy, or `LEADER`.
    checkpoint
        Iterations between two states that are kept.
    leading
        Axes (nm) of the leading energy, to start from; None to start anew.
    part
        Name of a half scan; empty: the whole.
    """

    experiment: Experiment
    settings: Settings
    ledger: Ledger
    key: int | str
    checkpoint: int
    leading: tuple[np.ndarray, np.ndarray] | None = None
    part: str = ""

    @property
    def name(self) -> str:
        """Under which name its states are kept."""
        return f"{self.part}{self.key}"


def advance(energy: Energy, since: int, until: int) -> int:
    """Run iterations up to `until` from the newest state that is kept.

    Parameters
    ----------
    energy
        Energy to reconstruct.
    since
        Iteration after which objects were coupled; 0: never.
    until
        Number of the last iteration.

    Returns
    -------
    int
        Number of iterations that were run.
    """
    bring = to_device(energy.settings.device, purpose="ptychography")
    ledger, key = energy.ledger, energy.name
    state = load_state(ledger, key, bring) or _first(energy)
    first = state.iteration
    if since and first == since:
        coupled = coupled_key(since, energy.part)
        state.obj = bring(ledger.array(coupled, str(energy.key)))

    def keep(state: State) -> None:
        if state.iteration % energy.checkpoint == 0 or state.iteration == until:
            save_state(ledger, key, state)

    reconstruct(energy.experiment, energy.settings, state, until, keep)
    return until - first


def _first(energy: Energy) -> State:
    if energy.leading is None:
        return first_state(energy.experiment, energy.settings)
    ahead = state_key(f"{energy.part}{LEADER}")
    obj, probe = (energy.ledger.array(ahead, n) for n in ("obj", "probe"))
    known = Known(obj, probe, *energy.leading)
    return following_state(energy.experiment, energy.settings, known)


class Known(NamedTuple):
    """Object (y, x) and probe (mode, n, n) of another energy; y and x in nm."""

    obj: np.ndarray
    probe: np.ndarray
    y: np.ndarray
    x: np.ndarray


def first_state(experiment: Experiment, settings: Settings) -> State:
    """Return a unit object, and the initial probe with the frames' power.

    Raises
    ------
    DataError
        If the probe has no power, or the frames hold no counts.
    """
    from batteryxr.cdi.ptycho.kernels.loop import BACKGROUND
    from batteryxr.cdi.ptycho.kernels.state import State, add_modes

    positions = experiment.corners
    if not settings.engine.subpixel:
        positions = np.rint(positions)
    probe = np.asarray(experiment.probe).astype(np.complex64)
    if not np.isfinite(probe).all():
        raise DataError("probe", "not finite at every pixel")
    if not np.sum(np.abs(probe) ** 2) > 0:
        raise DataError("probe", "no power", "Make one with .cdi.ptycho_probe(...).")
    used = [m for m in probe if np.any(m)]
    probe = np.ascontiguousarray(used[: settings.n_modes])
    seen = experiment.seen
    assert seen is not None, "look at the frames first: `examined`"
    recorded = _recorded(experiment, settings)
    counts = float(seen.mean.sum())
    if recorded:
        lit = experiment.weight * (np.fft.ifftshift(seen.top) >= 0)
        counts -= float(np.sum(recorded[BACKGROUND] * lit))
    if not counts > 0:
        raise DataError("background", "more than the frames hold", "Look at its units.")
    rng = np.random.default_rng(np.random.SeedSequence([*settings.seed, 1]))
    modes = add_modes(probe, settings.n_modes, rng)
    modes = modes * np.sqrt(counts / np.sum(np.abs(modes) ** 2))
    bring = to_device(settings.device, purpose="ptychography")
    obj = np.ones((experiment.y.size, experiment.x.size), np.complex64)
    lit_probe = bring(modes.astype(np.complex64))
    memory = {name: bring(values) for name, values in recorded.items()}
    power = float(seen.counts.sum())
    return State(bring(obj), lit_probe, positions, power=power, memory=memory)


def _recorded(experiment: Experiment, settings: Settings) -> dict[str, np.ndarray]:
    """Return initial background and intensities of frames; empty without them."""
    from batteryxr.cdi.ptycho.kernels.loop import BACKGROUND, INTENSITY

    recording, seen = settings.recording, experiment.seen
    assert seen is not None
    known = experiment.background
    if recording == Recording() and known is None:
        return {}
    background = np.zeros(experiment.weight.shape, np.float32)
    if known is not None:
        background = known.copy()
    elif recording.background is not None:
        lowest = np.percentile(seen.mean[seen.top >= 0], 5)
        background += np.float32(max(float(lowest), _FAINT))
    intensity = np.ones(len(seen.counts), np.float32)
    if recording.intensity:
        intensity = seen.counts / np.maximum(seen.usable, 1)
        intensity = (intensity / intensity.mean()).astype(np.float32)
    return {BACKGROUND: background, INTENSITY: intensity}


def following_state(experiment: Experiment, settings: Settings, other: Known) -> State:
    """Return a state with object and probe of another energy, on this one's grids."""
    from batteryxr.cdi.ptycho.kernels.alignment import resampled

    state = first_state(experiment, settings)
    bring = to_device(settings.device, purpose="ptychography")
    n = other.probe.shape[-1]
    theirs, ours = (lateral(n, p) for p in (other.y[1] - other.y[0], experiment.pixel))
    modes = np.stack(
        [resampled(m, theirs, theirs, ours, ours, outside=0.0) for m in other.probe]
    )
    power = float(np.sum(np.abs(to_numpy(state.probe)) ** 2))
    modes *= np.sqrt(power / np.sum(np.abs(modes) ** 2))
    axes = other.y, other.x, experiment.y, experiment.x
    obj = resampled(other.obj, *axes, outside=1.0)
    state.obj = bring(obj.astype(np.complex64))
    state.probe = bring(modes.astype(np.complex64))
    return state
