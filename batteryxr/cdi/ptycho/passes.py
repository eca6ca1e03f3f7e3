"""Iterations on a state, from the first one on, alone or in a stack."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from batteryxr.cdi.ptycho.coupling import constrained, coupled_objects, registered
from batteryxr.cdi.ptycho.experiment import lateral
from batteryxr.cdi.ptycho.frames import frame_blocks
from batteryxr.cdi.ptycho.states import (
    LEADER,
    coupled_key,
    load_state,
    passes_done,
    save_state,
    state_key,
)
from batteryxr.core import blocks
from batteryxr.core.device import to_device, to_numpy
from batteryxr.core.errors import BatteryxrError, ConvergenceError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from batteryxr.cdi.ptycho.experiment import Experiment
    from batteryxr.cdi.ptycho.kernels.facts import FrameFacts
    from batteryxr.cdi.ptycho.kernels.state import State
    from batteryxr.cdi.ptycho.settings import Recording, Settings
    from batteryxr.cdi.ptycho.states import Stack
    from batteryxr.core.ledger import Ledger

T = TypeVar("T")

#: Smallest counts per pixel from which a background is refined.
_FAINT = 1e-3
#: Least part of a probe's light in the inner half of its window, in y and in x.
_INNER = 0.25


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

    check_state(experiment, state)
    bring = to_device(settings.device, purpose="ptychography")
    frames = frame_blocks(experiment, settings, bring)

    def checked(state: State) -> None:
        check_finite(state)
        if watch is not None:
            watch(state)

    weight = bring(experiment.weight)
    near = experiment.near
    iterate(settings, state, frames, weight, near=near, until=until, watch=checked)
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
    """Hold an energy of a stack, and the place of its states.

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
        """Return the name under which its states are kept."""
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
    """Hold object (y, x) and probe (mode, n, n) of another energy; y and x in nm."""

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
        raise DataError(
            "probe",
            "not finite at every pixel",
            "Make one with .cdi.ptycho_probe(...).",
        )
    image = np.sum(np.abs(probe) ** 2, axis=0, dtype=float)
    n, light, lines = len(image), image.sum(), (image.sum(0), image.sum(1))
    if not light > 0:
        raise DataError("probe", "no power", "Make one with .cdi.ptycho_probe(...).")
    if any(line[n // 4 : n - n // 4].sum() < _INNER * light for line in lines):
        raise DataError(
            "probe",
            "its light lies at the edges of its window",
            "Its middle is pixel n // 2: np.fft.fftshift(probe, axes=(-2, -1)), or "
            "np.roll.",
        )
    used = [m for m in probe if np.any(m)]
    probe = np.ascontiguousarray(used[: settings.n_modes])
    seen = experiment.seen
    assert seen is not None, "look at the frames first: `examined`"
    recorded = _recorded(seen, experiment.background, settings.recording)
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


def _recorded(
    seen: FrameFacts, known: np.ndarray | None, recording: Recording
) -> dict[str, np.ndarray]:
    """Return initial background and intensities of frames; empty without them."""
    from batteryxr.cdi.ptycho.kernels.loop import BACKGROUND, INTENSITY

    if not (recording.background or recording.intensity) and known is None:
        return {}
    background = np.zeros(seen.mean.shape, np.float32)
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


def bring_on(stack: Stack) -> None:
    """Run all energies of the whole, or of a half, to their last iteration."""
    leading = _lead(stack) if stack.settings.schedule.lead else None
    since = 0
    for until in _ends(stack):
        if not stack.ledger.has(coupled_key(until, stack.part)):
            _advance(stack, since, until, leading)
            if until < stack.settings.iterations:
                _couple(stack, until)
        since = until


def _ends(stack: Stack) -> list[int]:
    """Return the iterations after which energies wait for one another."""
    last, relation = stack.settings.iterations, stack.kramers_kronig
    if relation is None:
        return [last]
    return [*range(relation.start, last, relation.every), last]


def _lead(stack: Stack) -> tuple[np.ndarray, np.ndarray]:
    """Reconstruct the leading energy, the middle one; return its axes in nm."""
    n = len(stack.experiments)
    middle = stack.experiments[n // 2]
    settings = stack.settings
    lead = settings.schedule.lead
    unhurried = replace(settings.schedule, calm_from=lead)
    ahead = Energy(
        experiment=middle,
        settings=replace(settings, schedule=unhurried, seed=stack.seed(n)),
        ledger=stack.ledger,
        key=LEADER,
        checkpoint=stack.checkpoint,
        part=stack.part,
    )
    if passes_done(stack.ledger, ahead.name) < lead:
        _run([ahead], 0, lead, replace(stack, workers=1))
    return middle.y, middle.x


def _advance(
    stack: Stack,
    since: int,
    until: int,
    leading: tuple[np.ndarray, np.ndarray] | None,
) -> None:
    """Run each energy from iteration `since` to iteration `until`."""
    settings = stack.settings
    each = [
        Energy(
            experiment=experiment,
            settings=replace(settings, seed=stack.seed(k)),
            ledger=stack.ledger,
            key=k,
            checkpoint=stack.checkpoint,
            leading=leading,
            part=stack.part,
        )
        for k, experiment in enumerate(stack.experiments)
    ]
    missing = [e for e in each if passes_done(stack.ledger, e.name) < until]
    _run(missing, since, until, stack)


def _run(energies: list[Energy], since: int, until: int, stack: Stack) -> None:
    # Opaque to dask, which would otherwise load the frames of all energies first.
    tasks = [
        blocks.delayed(
            partial(tried, partial(advance, energy, since, until)), traverse=False
        )()
        for energy in energies
    ]
    if tasks:
        with blocks.workers(stack.workers):
            label = f"Passes {since} to {until}"
            ends = blocks.gather(tasks, label, progress=stack.progress)
        for energy, end in zip(energies, ends, strict=True):
            if not isinstance(end, Exception):
                continue
            at = f"{energy.experiment.energy:g} eV"
            if isinstance(end, BatteryxrError):
                end.add_note(f"at {at}; the other energies are done, and kept")
                raise end
            raise DataError(
                f"frames at {at}",
                f"they cannot be read: {type(end).__name__}: {end}",
                "The other energies are done, and kept. Mend them, and call again.",
            ) from end


def _couple(stack: Stack, until: int) -> None:
    """Apply the constraint to the objects after iteration `until`."""
    relation = stack.kramers_kronig
    assert relation is not None
    objects = stack.objects
    with (
        registered(objects, stack.store, stack.registration) as found,
        constrained(found, stack.energy, relation, stack.store) as change,
    ):
        key = coupled_key(until, stack.part)
        stack.ledger.put(key, coupled_objects(objects, found, change))


def tried(work: Callable[[], T]) -> T | Exception:
    """Return the result of work, or its error, so that other work continues."""
    try:
        return work()
    except Exception as error:
        return error
