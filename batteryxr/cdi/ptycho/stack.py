"""Ptychography at many energies: independent, coupled by Kramers-Kronig, resumable."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.cdi.ptycho.coupling import (
    apply_change,
    constrained,
    coupled_objects,
    registered,
)
from batteryxr.cdi.ptycho.engines import LSQML, Engine
from batteryxr.cdi.ptycho.estimate import Sizes, estimated, fitted
from batteryxr.cdi.ptycho.examine import findings, look, settled
from batteryxr.cdi.ptycho.experiment import experiments_of
from batteryxr.cdi.ptycho.reconstruct import Energy, advance
from batteryxr.cdi.ptycho.result import labelled_stack
from batteryxr.cdi.ptycho.settings import (
    KramersKronig,
    Registration,
    Resources,
    Schedule,
    Settings,
)
from batteryxr.cdi.ptycho.states import (
    LEADER,
    StoredObjects,
    coupled_key,
    ledger_of,
    passes_done,
)
from batteryxr.core import blocks
from batteryxr.core.digests import digest
from batteryxr.core.errors import ArgumentError, StoreError, warn_quality
from batteryxr.core.ledger import Ledger, mark_digest
from batteryxr.core.provenance import recorded
from batteryxr.core.resume import CLAIM
from batteryxr.core.store import (
    JOURNAL,
    Location,
    holds_data,
    locked,
    open_dataset,
    require_store,
    save,
    seal,
    telling,
)

if TYPE_CHECKING:
    import xarray as xr

    from batteryxr.cdi.ptycho.experiment import Experiment
    from batteryxr.cdi.ptycho.scan import FrameFacts
    from batteryxr.core.checks import Count, Seed
    from batteryxr.core.store import StoreLike

#: Group of the finished result.
RESULT = "ptycho"
#: Key of the mark that it is whole.
_FINISHED = "finished"


@recorded
def ptycho_energies(
    scan: xr.Dataset,
    *,
    store: StoreLike,
    engine: Engine = LSQML(),
    iterations: Count = 800,
    n_modes: Count = 1,
    kramers_kronig: KramersKronig | None = None,
    registration: Registration = Registration(),
    schedule: Schedule = Schedule(),
    resources: Resources = Resources(),
    seed: Seed = 0,
    device: str = "cpu",
    progress: bool | None = None,
) -> xr.Dataset:
    """Reconstruct a stack of energies and put the objects on one grid.

    Reads each energy once to compare it with what `store` was begun with, once to
    work, and again after each Kramers-Kronig step; frames that do not fit into memory
    once per iteration. Runs in dask's threads, or on a
    ``distributed.Client`` if one is open. Called again, also after a kill, it goes on
    from the states in `store` and ends with the same arrays.

    Parameters
    ----------
    scan
        Frames along `energy` with positions, geometry and a first `probe`; best lazy,
        from zarr. A known `background` (detector_y, detector_x) is added to the
        patterns of all energies.
    store
        Zarr store for states and result; on a cluster a path that all workers see.
    engine
        How a pass brings object and probe nearer to the frames; see `ptycho`.
    iterations
        Passes per energy.
    n_modes
        Mutually incoherent probe modes.
    kramers_kronig
        The constraint; None leaves the energies independent.
    registration
        How objects are put on one another, and where there is vacuum.
    schedule
        From which pass on probe and positions are updated, and steps are smaller.
        ``Schedule(lead=200)``: the middle energy runs ahead; all then start from its
        object and probe, and need far fewer `iterations`: a tenth will often do. What
        passes leave undone, most of it at low frequencies, is then common to all
        energies and hardly touches their spectra. 0: each starts from an empty field.
    resources
        Memory for all energies at work, energies at a time, frames per block, and
        passes between two states that are kept.
    seed
        Of all randomness; energy k depends on the seed and k alone.
    device, progress
        See `ptycho`.

    Returns
    -------
    xarray.Dataset
        `absorption` (μt) and `phase` (rad) on (energy, y, x) as `.xanes` takes them,
        NaN where an energy has no light; `transmission`; `kk_misfit` (y, x) in rad
        where the constraint is on; `amp_residual`, `shift_y`, `shift_x` per energy;
        `residuals` (energy, iteration); `position_shift_y`, `position_shift_x` (energy,
        position), NaN for frames that were left out; `vacuum`; `probe`. Also in group
        ``ptycho`` of the store, opened lazily.

    Raises
    ------
    ArgumentError
        If an argument is invalid, or no engine fits into memory.
    DataError, DimensionError, VariableError
        If something is missing in the scan, or wrong.
    StoreError
        If the store holds a reconstruction of other data or arguments.
    ConvergenceError
        If a reconstruction diverges, or no vacuum is found.

    Notes
    -----
    On a cluster give each worker one thread: each thread holds the frames of one
    energy.

    Examples
    --------
    >>> stack = scans.cdi.ptycho_energies(
    ...     store="stack.zarr",
    ...     engine=LSQML(poisson=True),
    ...     iterations=30,
    ...     schedule=Schedule(lead=200),
    ...     kramers_kronig=KramersKronig("VO2", start=15, every=5),
    ... )
    """
    settings = Settings(
        engine=engine,
        iterations=iterations,
        n_modes=n_modes,
        schedule=schedule,
        seed=(seed,),
        device=device,
    )
    experiments = experiments_of(scan, caller="ptycho_energies")
    if kramers_kronig is not None and len(experiments) < kramers_kronig.degree + 2:
        raise ArgumentError(
            "kramers_kronig.degree",
            kramers_kronig.degree,
            f"at most {len(experiments) - 2} with {len(experiments)} energies",
        )
    found = estimated(Sizes.of(experiments, n_modes), engine, resources)
    settings = fitted(settings, found)
    if progress:
        print(found, flush=True)
    location = ledger_of(store).location
    require_store(location)
    experiments = looked_at(experiments, found.workers, progress)
    stack = Stack(
        experiments=experiments,
        settings=settings,
        ledger=ledger_of(store),
        workers=found.workers,
        checkpoint=resources.checkpoint,
        kramers_kronig=kramers_kronig,
        registration=registration,
        progress=progress,
        frames=scan.sizes["position"],
    )
    with telling(location), locked(location):
        mark = mark_of(stack)
        if not _is_finished(stack, mark):
            complete(stack, mark)
    return open_dataset(stack.store, RESULT)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Experiments of all energies, and how they are brought to one result.

    Parameters
    ----------
    experiments
        One per energy, energies rising.
    settings
        Of each.
    ledger
        Keeps states and objects.
    workers, checkpoint, progress
        Energies at a time, passes between two states that are kept, and whether to
        show a bar.
    kramers_kronig, registration
        What ties energies to one another.
    frames
        Of the scan at each energy, with those that were left out.
    """

    experiments: list[Experiment]
    settings: Settings
    ledger: Ledger
    workers: int
    checkpoint: int
    kramers_kronig: KramersKronig | None
    registration: Registration
    progress: bool | None
    frames: int

    @property
    def energy(self) -> np.ndarray:
        """Energies in eV."""
        return np.array([e.energy for e in self.experiments])

    @property
    def store(self) -> Location:
        """Where states and result lie."""
        return self.ledger.location


def mark_of(stack: Stack) -> dict[str, Any]:
    """Return what the result depends on, to tell another call from this one."""
    settings, relation = stack.settings, stack.kramers_kronig
    marked = asdict(settings) | {"engine": repr(settings.engine)}
    del marked["streamed"]  # which changes nothing
    weights = {id(e.weight): e.weight for e in stack.experiments}.values()
    vacuum = stack.registration.vacuum
    told = [e.background for e in stack.experiments if e.background is not None]
    probes = {id(e.probe): e.probe for e in stack.experiments}.values()
    return {
        "settings": marked,
        "kramers_kronig": asdict(relation) if relation else None,
        "shifts": stack.registration.shifts,
        "vacuum": "" if vacuum is None else digest(vacuum.values),
        "frames": _digests(stack),
        "energy": stack.energy.tolist(),
        "pixel": [e.pixel for e in stack.experiments],
        "positions": digest(
            *(v for e in stack.experiments for v in (e.corners, e.y, e.x))
        ),
        "mask": digest(*weights),
        "probe": digest(*probes),
        "background": ",".join(dict.fromkeys(digest(b) for b in told)),
    }


def looked_at(
    experiments: list[Experiment], workers: int, progress: bool | None
) -> list[Experiment]:
    """Look at the frames of all energies, say what is wrong, leave out the empty."""
    tasks = [blocks.delayed(_seen, traverse=False)(e) for e in experiments]
    with blocks.workers(workers):
        each = blocks.gather(tasks, "Looking at frames", progress=progress)
    said: dict[str, list[float]] = {}
    for experiment, seen in zip(experiments, each, strict=True):
        for text in findings(seen, experiment):
            said.setdefault(text, []).append(experiment.energy)
    for text, energies in said.items():
        more = f" and {len(energies) - 1} energies more" if len(energies) > 1 else ""
        warn_quality(f"{energies[0]:g} eV{more}: {text}")
    return [settled(e, seen) for e, seen in zip(experiments, each, strict=True)]


def _seen(experiment: Experiment) -> FrameFacts:
    return look(experiment)[0]


def _digests(stack: Stack) -> dict[str, list[Any]]:
    """Return type, shape and digest of all frames, energy by energy."""
    found = {}
    for energy, experiment in zip(stack.energy, stack.experiments, strict=True):
        assert experiment.seen is not None
        frames = experiment.frames
        text = experiment.seen.digest
        found[f"{energy} eV"] = [str(frames.dtype), *frames.shape, text]
    return found


def _is_finished(stack: Stack, mark: dict[str, Any]) -> bool:
    """Tell whether this result is there; the ledger may be gone.

    Raises
    ------
    StoreError
        If the store holds a reconstruction of something else.
    """
    there = holds_data(stack.store, RESULT)
    if stack.ledger.mark() is None and there:
        result = open_dataset(stack.store, RESULT)
        if result.attrs.get(CLAIM) != mark_digest(mark):
            raise StoreError(
                f"{stack.store}, group {RESULT!r} was made from other data or with "
                "other arguments. Choose another store, or delete it."
            )
        return True
    stack.ledger.claim(mark)
    return there and stack.ledger.has(_FINISHED)


def complete(stack: Stack, mark: dict[str, Any]) -> None:
    """Do what the store does not hold yet."""
    leading = _lead(stack) if stack.settings.schedule.lead else None
    since = 0
    for until in _ends(stack):
        if not stack.ledger.has(coupled_key(until)):
            _advance(stack, since, until, leading)
            if until < stack.settings.iterations:
                _couple(stack, until)
        since = until
    _finish(stack, mark)


def _ends(stack: Stack) -> list[int]:
    """Return the passes after which energies wait for one another."""
    last, relation = stack.settings.iterations, stack.kramers_kronig
    if relation is None:
        return [last]
    return [*range(relation.start, last, relation.every), last]


def _lead(stack: Stack) -> tuple[np.ndarray, np.ndarray]:
    """Run the leading energy, the middle one; return its axes in nm."""
    n = len(stack.experiments)
    middle = stack.experiments[n // 2]
    settings = stack.settings
    lead = settings.schedule.lead
    unhurried = replace(settings.schedule, calm_from=lead)
    if passes_done(stack.ledger, LEADER) < lead:
        ahead = Energy(
            experiment=middle,
            settings=replace(settings, schedule=unhurried, seed=(*settings.seed, n)),
            ledger=stack.ledger,
            key=LEADER,
            checkpoint=stack.checkpoint,
        )
        _run([ahead], 0, lead, replace(stack, workers=1))
    return middle.y, middle.x


def _advance(
    stack: Stack,
    since: int,
    until: int,
    leading: tuple[np.ndarray, np.ndarray] | None,
) -> None:
    """Bring every energy from pass `since` to pass `until`."""
    settings = stack.settings
    missing = [
        Energy(
            experiment=experiment,
            settings=replace(settings, seed=(*settings.seed, k)),
            ledger=stack.ledger,
            key=k,
            checkpoint=stack.checkpoint,
            leading=leading,
        )
        for k, experiment in enumerate(stack.experiments)
        if passes_done(stack.ledger, k) < until
    ]
    _run(missing, since, until, stack)


def _run(energies: list[Energy], since: int, until: int, stack: Stack) -> None:
    # Opaque to dask, which would otherwise load the frames of all energies first.
    tasks = [
        blocks.delayed(partial(advance, energy, since, until), traverse=False)()
        for energy in energies
    ]
    if tasks:
        with blocks.workers(stack.workers):
            label = f"Passes {since} to {until}"
            blocks.gather(tasks, label, progress=stack.progress)


def _couple(stack: Stack, until: int) -> None:
    """Apply the constraint to the objects after pass `until`."""
    relation = stack.kramers_kronig
    assert relation is not None
    objects = StoredObjects(stack.experiments, stack.ledger)
    with (
        registered(objects, stack.store, stack.registration) as found,
        constrained(found, stack.energy, relation, stack.store) as change,
    ):
        stack.ledger.put(coupled_key(until), coupled_objects(objects, found, change))


def _finish(stack: Stack, mark: dict[str, Any]) -> None:
    """Write the registered stack."""
    objects = StoredObjects(stack.experiments, stack.ledger)
    relation, misfit = stack.kramers_kronig, None
    with registered(objects, stack.store, stack.registration) as found:
        if relation is not None:
            with constrained(found, stack.energy, relation, stack.store) as change:
                misfit = change.misfit
                if relation.is_due(stack.settings.iterations):
                    found = apply_change(found, change)
        result = labelled_stack(objects, found, misfit, stack.energy, stack.frames)
        result.attrs[CLAIM] = mark_digest(mark)
        # Here, not on a cluster: what is left to do is little, and lies here.
        with blocks.here():
            save(result, stack.ledger.path, group=RESULT, overwrite=True)
    stack.ledger.put(_FINISHED, {})
    seal(stack.store, JOURNAL)
