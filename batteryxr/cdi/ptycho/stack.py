"""Ptychography at many energies: independent or coupled, and resumable."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from batteryxr.cdi.ptycho.coupling import (
    ImageFile,
    apply_change,
    constrained,
    coupled_objects,
    registered,
)
from batteryxr.cdi.ptycho.engines import LSQML, Engine
from batteryxr.cdi.ptycho.estimate import Sizes, estimated, fitted
from batteryxr.cdi.ptycho.examine import (
    check_far_field,
    findings,
    halves_of,
    look,
    settled,
)
from batteryxr.cdi.ptycho.experiment import experiments_of
from batteryxr.cdi.ptycho.passes import Energy, advance
from batteryxr.cdi.ptycho.reconstruct import SETTLED, tell_misfit
from batteryxr.cdi.ptycho.result import labelled_scatter, labelled_stack
from batteryxr.cdi.ptycho.scale import tell_scale
from batteryxr.cdi.ptycho.scan import unsquared
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
    load_state,
    passes_done,
)
from batteryxr.core import blocks
from batteryxr.core.blocks.digests import digest
from batteryxr.core.device import to_device
from batteryxr.core.errors import (
    ArgumentError,
    BatteryxrError,
    DataError,
    StoreError,
    warn_quality,
)
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
    from collections.abc import Callable

    import xarray as xr

    from batteryxr.cdi.ptycho.experiment import Experiment
    from batteryxr.cdi.ptycho.kernels.facts import FrameFacts
    from batteryxr.cdi.ptycho.kernels.metrics import TwoHalves
    from batteryxr.cdi.ptycho.kernels.registration import Registered
    from batteryxr.core.checks import Count, Seed
    from batteryxr.core.store import StoreLike

T = TypeVar("T")

#: Group of the finished result.
RESULT = "ptycho"
#: Key of the mark that the result is complete.
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
    halves: bool = False,
    schedule: Schedule = Schedule(),
    resources: Resources = Resources(),
    seed: Seed = 0,
    progress: bool | None = None,
) -> xr.Dataset:
    """Reconstruct a stack of energies and put the objects on one grid.

    Reads each energy once to compare it with the data that `store` was begun with, once
    to work, and again after each Kramers-Kronig step. Frames that do not fit into
    memory are read once per iteration. Runs in dask's threads, or on a
    ``distributed.Client`` if one is open. A second call, also after a kill, continues
    from the states in `store` and ends with the same arrays.

    Parameters
    ----------
    scan
        Frames along `energy` with positions, geometry and an initial `probe`; best
        lazy, from zarr. A known `background` (detector_y, detector_x) is added to the
        patterns of all energies.
    store
        Zarr store for states and result; on a cluster a path that all workers see.
    engine
        Engine that fits object and probe to the frames; see `ptycho`.
    iterations
        Iterations for each energy.
    n_modes
        Mutually incoherent probe modes.
    kramers_kronig
        Constraint between absorption and phase; None leaves the energies independent.
    registration
        Alignment of the objects, and the vacuum.
    halves
        Whether two half scans are also reconstructed, independently from their initial
        probe on, and compared on the grid of the whole: for errors and resolution. This
        takes about as long again.
    schedule
        Iterations from which probe and positions are updated, and steps are smaller.
        ``Schedule(lead=200)``: the middle energy runs ahead. All others start from its
        object and probe, and need far fewer `iterations`: a tenth will often do. Errors
        of unfinished iterations, most of them at low frequencies, are then common to
        all energies and hardly touch their spectra. 0: each starts from an empty field.
    resources
        Memory for all energies at work, energies at a time, frames per block,
        iterations between two states that are kept, and the device.
    seed
        Seed of all random numbers; energy k depends on the seed and k alone.
    progress
        See `ptycho`.

    Returns
    -------
    xarray.Dataset
        `absorption` (μt) and `phase` (rad) on (energy, y, x) as `.xanes` takes them,
        NaN where an energy has no light; `transmission`; `kk_misfit` (y, x) in rad
        where the constraint is on; `amp_residual`, `noise_residual` (what counting
        noise leaves at most), `shift_y`, `shift_x` per energy;
        `residuals` (energy, iteration); `position_shift_y`, `position_shift_x` (energy,
        position), NaN for frames that were left out; `vacuum`; `probe`;
        `own_transmission` (energy, row, column), each object on its own grid `own_y`,
        `own_x` in nm, from which `ptycho_fit` and `ptycho` (``start=``) go on with one
        energy. With `halves` standard deviations `absorption_error`, `phase_error`
        (energy, y, x) of what each energy has by itself, which `.xanes` takes, and
        `absorption_error_common`, `phase_error_common` (y, x) of what all have in
        common; `frc`, `frc_half_bit` and `prtf` (energy, frequency), and where they
        end, `half_period_half_bit` and `half_period_prtf` (at 1/e) in nm. Also in group
        ``ptycho`` of the store, opened lazily.

    Raises
    ------
    ArgumentError
        If an argument is invalid, or no engine fits into memory.
    DataError, DimensionError, VariableError
        If something in the scan is missing or wrong.
    StoreError
        If the store holds a reconstruction of other data or arguments.
    ConvergenceError
        If a reconstruction diverges, or no vacuum is found.

    Notes
    -----
    On a cluster give each worker one thread: each thread holds the frames of one
    energy.

    `prtf` is √(2 C / (1 + C)) with the ring correlation C of the halves: the
    correlation of the mean of both with the object (Rosenthal & Henderson, J. Mol.
    Biol. 333, 721 (2003)).

    Examples
    --------
    >>> scan, _ = batteryxr.simulate.ptychography(energy=[5440, 5470], size=32)
    >>> stack = scan.cdi.ptycho_energies(store="stack.zarr", iterations=10)
    >>> stack["transmission"].dims
    ('energy', 'y', 'x')
    """
    settings = Settings(
        engine=engine,
        iterations=iterations,
        n_modes=n_modes,
        schedule=schedule,
        seed=(seed,),
        device=resources.device,
    )
    experiments = experiments_of(scan, caller="ptycho_energies")
    if kramers_kronig is not None and len(experiments) < kramers_kronig.degree + 2:
        raise ArgumentError(
            "kramers_kronig.degree",
            kramers_kronig.degree,
            f"at most {len(experiments) - 2} with {len(experiments)} energies",
        )
    if schedule.positions_reach:
        raise ArgumentError(
            "schedule.positions_reach",
            schedule.positions_reach,
            "0 for a stack",
            "Search for positions of one energy, with ptycho, and put them into it.",
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
        coords={k: c.variable for k, c in scan.coords.items() if "position" in c.dims},
        sizes=dict(scan.sizes),
        halves=halves,
    )
    with telling(location), locked(location):
        mark = mark_of(stack)
        if not _is_finished(stack, mark):
            complete(stack, mark)
    return open_dataset(stack.store, RESULT)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Hold experiments of all energies, and settings for their common result.

    Parameters
    ----------
    experiments
        One experiment per energy, with rising energies.
    settings
        Settings of each energy.
    ledger
        Ledger of states and objects.
    workers, checkpoint, progress
        Energies at a time, iterations between two states that are kept, and whether to
        show a bar.
    kramers_kronig, registration
        Coupling and alignment of the energies.
    sizes
        Sizes of the scan, with frames that were left out.
    coords
        Coordinates of the frames in the scan.
    halves
        Whether half scans are also reconstructed.
    part
        Name of a half scan; empty: the whole.
    """

    experiments: list[Experiment]
    settings: Settings
    ledger: Ledger
    workers: int
    checkpoint: int
    kramers_kronig: KramersKronig | None
    registration: Registration
    progress: bool | None
    sizes: dict[Any, int]
    coords: dict[Any, Any]
    halves: bool = False
    part: str = ""

    @property
    def objects(self) -> StoredObjects:
        """Return the objects of all energies."""
        return StoredObjects(self.experiments, self.ledger, self.part)

    def seed(self, k: int) -> tuple[int, ...]:
        """Return the seed of energy `k`."""
        own = (ord(self.part[0]),) if self.part else ()
        return (*self.settings.seed, k, *own)

    def parts(self) -> list[Stack]:
        """Return the whole, and its two halves where they are asked for."""
        if not self.halves:
            return [self]
        each = [halves_of(e) for e in self.experiments]
        pairs = zip("ab", zip(*each, strict=True), strict=True)
        return [self, *(replace(self, experiments=[*e], part=p) for p, e in pairs)]

    @property
    def energy(self) -> np.ndarray:
        """Return the energies in eV."""
        return np.array([e.energy for e in self.experiments])

    @property
    def store(self) -> Location:
        """Return the location of states and result."""
        return self.ledger.location


def mark_of(stack: Stack) -> dict[str, Any]:
    """Return all that the result depends on, to distinguish calls."""
    settings, relation = stack.settings, stack.kramers_kronig
    marked = asdict(settings) | {"engine": repr(settings.engine)}
    del marked["streamed"]  # which changes nothing
    weights = {id(e.weight): e.weight for e in stack.experiments}.values()
    vacuum = stack.registration.vacuum
    told = [e.background for e in stack.experiments if e.background is not None]
    probes = {id(e.probe): e.probe for e in stack.experiments}.values()
    halves: dict[str, Any] = {"halves": True} if stack.halves else {}
    if any(e.near for e in stack.experiments):
        halves["near"] = [e.near for e in stack.experiments]
    return halves | {
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
    """Examine the frames of all energies, report faults, leave out empty frames."""
    # Opaque to dask, which would otherwise load the frames of an energy as a whole.
    tasks = [blocks.delayed(partial(_seen, e), traverse=False)() for e in experiments]
    with blocks.workers(workers):
        tried = blocks.gather(tasks, "Looking at frames", progress=progress)
    each = _readable(experiments, tried)
    said: dict[str, list[float]] = {}
    for experiment, seen in zip(experiments, each, strict=True):
        check_far_field(seen, experiment)
        for text in findings(seen, experiment):
            said.setdefault(text, []).append(experiment.energy)
    for text, energies in said.items():
        more = f" and {len(energies) - 1} energies more" if len(energies) > 1 else ""
        warn_quality(f"{energies[0]:g} eV{more}: {text}")
    return [settled(e, seen) for e, seen in zip(experiments, each, strict=True)]


def _seen(experiment: Experiment) -> FrameFacts | Exception:
    return _tried(lambda: look(experiment)[0])


def _tried(work: Callable[[], T]) -> T | Exception:
    """Return the result of work, or its error, so that other work continues."""
    try:
        return work()
    except Exception as error:
        return error


def _readable(
    experiments: list[Experiment], tried: list[FrameFacts | Exception]
) -> list[FrameFacts]:
    """Return the findings of all energies; name those that cannot be read."""
    failed = {
        e.energy: seen
        for e, seen in zip(experiments, tried, strict=True)
        if isinstance(seen, Exception)
    }
    if failed:
        named = ", ".join(f"{energy:g}" for energy in failed)
        first = next(iter(failed.values()))
        raise DataError(
            f"frames at {named} eV",
            f"they cannot be read: {type(first).__name__}: {first}",
            f"Mend them, or leave them out: .drop_sel(energy=[{named}]).",
        ) from first
    return [seen for seen in tried if not isinstance(seen, Exception)]


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
    """Return whether this result is complete; the ledger may be gone.

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
    """Compute all that the store does not hold yet."""
    parts = stack.parts()
    for part in parts:
        _bring_on(part)
    _finish(parts, mark)


def _bring_on(stack: Stack) -> None:
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
            partial(_tried, partial(advance, energy, since, until)), traverse=False
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


def _finish(parts: list[Stack], mark: dict[str, Any]) -> None:
    """Write the registered stack, and the comparison of its halves."""
    stack, *halves = parts
    with registered(stack.objects, stack.store, stack.registration) as found:
        found, misfit = _tied(stack, found)
        result = labelled_stack(
            stack.objects, found, misfit, stack.energy, stack.sizes["position"]
        )
        result = unsquared(result, stack.sizes).assign_coords(stack.coords)
        if halves:
            result = result.assign(labelled_scatter(_compared(halves, found), found))
        tell_misfit(
            result["amp_residual"], result["noise_residual"], stack.settings.iterations
        )
        result.attrs.update(_scale(stack))
        result.attrs[CLAIM] = mark_digest(mark)
        # Here, not on a cluster: the remaining work is small, and its data are here.
        with blocks.here():
            save(result, stack.ledger.path, group=RESULT, overwrite=True)
    stack.ledger.put(_FINISHED, {})
    seal(stack.store, JOURNAL)


def _scale(stack: Stack) -> dict[str, float | str]:
    """Warn where positions of the middle energy should be stretched; return it."""
    settings, k = stack.settings, len(stack.experiments) // 2
    if settings.schedule.positions_from is not None or settings.iterations < SETTLED:
        return {"position_scale": "not looked at"}
    bring = to_device(settings.device, purpose="ptychography")
    state = load_state(stack.ledger, k, bring)
    assert state is not None, "all iterations are done"
    return tell_scale(stack.experiments[k], settings, state)


def _tied(stack: Stack, found: Registered) -> tuple[Registered, np.ndarray | None]:
    """Return the objects after the last iteration, and the Kramers-Kronig misfit."""
    relation = stack.kramers_kronig
    if relation is None:
        return found, None
    with constrained(found, stack.energy, relation, stack.store) as change:
        if relation.is_due(stack.settings.iterations):
            found = apply_change(found, change)
        return found, change.misfit


def _compared(halves: list[Stack], whole: Registered) -> TwoHalves:
    """Compare two half scans on the grid of the whole."""
    from batteryxr.cdi.ptycho.kernels.metrics import scatter
    from batteryxr.cdi.ptycho.kernels.registration import register_on

    shape = whole.fields.shape
    with ExitStack() as files:
        both = []
        for half in halves:
            fields = files.enter_context(ImageFile(half.store, shape))
            found = register_on(half.objects, whole, fields)
            both.append(_tied(half, found)[0].fields)
        return scatter(both[0], both[1], whole.grid.inside)
