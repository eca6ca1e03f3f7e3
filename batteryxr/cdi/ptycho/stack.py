"""Ptychography at many energies: independent or coupled, and resumable."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from batteryxr.cdi.ptycho.coupling import ImageFile, registered, tied
from batteryxr.cdi.ptycho.engines import LSQML, Engine
from batteryxr.cdi.ptycho.estimate import Sizes, estimated, fitted
from batteryxr.cdi.ptycho.examine import check_far_field, findings, look, settled
from batteryxr.cdi.ptycho.experiment import experiments_of
from batteryxr.cdi.ptycho.passes import bring_on, tried
from batteryxr.cdi.ptycho.reconstruct import SETTLED, tell_misfit, tell_too_good
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
    FINISHED,
    RESULT,
    Stack,
    is_finished,
    ledger_of,
    load_state,
    mark_of,
)
from batteryxr.core import blocks
from batteryxr.core.device import to_device
from batteryxr.core.errors import ArgumentError, DataError, warn_quality
from batteryxr.core.ledger import mark_digest
from batteryxr.core.provenance import recorded
from batteryxr.core.resume import CLAIM
from batteryxr.core.store import (
    JOURNAL,
    location_of,
    locked,
    open_dataset,
    require_store,
    save,
    seal,
    telling,
)

if TYPE_CHECKING:
    from typing import Any

    import xarray as xr

    from batteryxr.cdi.ptycho.experiment import Experiment
    from batteryxr.cdi.ptycho.kernels.facts import FrameFacts
    from batteryxr.cdi.ptycho.kernels.metrics import TwoHalves
    from batteryxr.cdi.ptycho.kernels.registration import Registered
    from batteryxr.core.checks import Count, Seed
    from batteryxr.core.store import StoreLike


#: Share of a value, root mean square, by which its level over vacuum is off where no
#: half tells it; and the iterations after which it no longer falls.
_OFF, _LEVELLED = 0.005, 500
#: What no comparison of halves can tell, for the attributes of common errors.
_UNSEEN = (
    f"Holds what two halves, and the whole, do not share; and {_OFF} of the value, as "
    "no halves can tell what is biased or unfinished in all three alike, above all the "
    "level of a particle over vacuum: the usual share of simulated particles. It is "
    "the same for all pixels and energies of a particle."
)


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
        ``Schedule(lead=500)``: the middle energy runs ahead. All others start from its
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

    Warns
    -----
    DataQualityWarning
        If frames have faults, or more than object and probe explain; or if half scans
        are too few iterations old to tell the errors of both.

    Notes
    -----
    On a cluster give each worker one thread: each thread holds the frames of one
    energy.

    What both halves and the whole have alike, biased or unfinished, nothing in halves
    or residuals tells. Common errors hold .5 % of the value for it, as their
    ``attrs["comment"]`` says: so much was, root mean square, the level over vacuum of
    six simulated particles off after ``lead=500``. Of two of them it was .7 and .8 %,
    1.5 times what is stated. It is one number per particle, and becomes no less over
    pixels or energies.

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
    location = location_of(store, "store")
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
        if not is_finished(stack, mark):
            complete(stack, mark)
    return open_dataset(stack.store, RESULT)


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
    return tried(lambda: look(experiment)[0])


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


def complete(stack: Stack, mark: dict[str, Any]) -> None:
    """Compute all that the store does not hold yet."""
    parts = stack.parts()
    for part in parts:
        bring_on(part)
    _finish(parts, mark)


def _finish(parts: list[Stack], mark: dict[str, Any]) -> None:
    """Write the registered stack, and the comparison of its halves."""
    stack, *halves = parts
    with registered(stack.objects, stack.store, stack.registration) as found:
        found, misfit = tied(stack, found)
        result = labelled_stack(
            stack.objects, found, misfit, stack.energy, stack.sizes["position"]
        )
        result = unsquared(result, stack.sizes).assign_coords(stack.coords)
        if halves:
            tell_unfinished(stack.settings)
            compared = _compared(halves, found)
            result = result.assign(labelled_scatter(compared, found, _OFF))
            for name in ("absorption_error_common", "phase_error_common"):
                result[name].attrs["comment"] = _UNSEEN
        tell_misfit(result["residuals"], result["noise_residual"])
        tell_too_good(result["residuals"], stack.experiments, stack.settings.n_modes)
        result.attrs.update(_scale(stack))
        result.attrs[CLAIM] = mark_digest(mark)
        # Here, not on a cluster: the remaining work is small, and its data are here.
        with blocks.here():
            save(result, stack.ledger.path, group=RESULT, overwrite=True)
    stack.ledger.put(FINISHED, {})
    seal(stack.store, JOURNAL)


def tell_unfinished(settings: Settings) -> None:
    """Warn where the level of a particle may be off by more than a few per thousand."""
    done = settings.schedule.lead + settings.iterations
    if done < _LEVELLED:
        warn_quality(
            f"ptycho_energies: {done} iterations leave the level of a particle over "
            "vacuum unfinished, at all energies alike (up to 4 % of the phase after "
            f"100 on simulated ones, {100 * _OFF:g} % after {_LEVELLED}). Add "
            "absorption_error_common and phase_error_common to the errors of what "
            f"needs it, or take schedule=Schedule(lead={_LEVELLED})"
        )


def _scale(stack: Stack) -> dict[str, float | str]:
    """Warn where positions of the middle energy should be stretched; return it."""
    settings, k = stack.settings, len(stack.experiments) // 2
    if settings.schedule.positions_from is not None or settings.iterations < SETTLED:
        return {"position_scale": "not looked at"}
    bring = to_device(settings.device, purpose="ptychography")
    state = load_state(stack.ledger, k, bring)
    assert state is not None, "all iterations are done"
    return tell_scale(stack.experiments[k], settings, state)


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
            both.append(tied(half, found)[0].fields)
        return scatter(both[0], both[1], whole.fields, whole.grid.inside)
