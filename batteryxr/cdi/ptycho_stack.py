"""Ptychography at many energies: independent, coupled by Kramers-Kronig, resumable."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.cdi import (
    _ptycho_coupling,
    _ptycho_result,
    _ptycho_store,
    _ptycho_task,
)
from batteryxr.cdi._ptycho_scratch import Scratch
from batteryxr.cdi.ptycho_engines import on
from batteryxr.cdi.ptycho_input import check_scan
from batteryxr.cdi.ptycho_reconstruction import check_count, check_finite, prepare
from batteryxr.core.errors import (
    ArgumentError,
    DimensionError,
    warn_quality,
)
from batteryxr.core.provenance import recorded, replayable
from batteryxr.core.store import holds_data, open_dataset, save
from batteryxr.core.tasks import gather
from batteryxr.core.xray import absorptive_factor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import xarray as xr

    from batteryxr.cdi._ptycho_coupling import Grid, Registered
    from batteryxr.cdi._ptycho_task import Task

#: Group of the finished result.
RESULT = "ptycho"
#: Mark that it is whole.
_FINISHED = "finished"
#: Ends of the table that the Kramers-Kronig integral takes beyond the window, eV.
_TABLE = (100.0, 2e5)


@replayable
@dataclass(frozen=True)
class KramersKronig:
    """When and how absorption and phase of all energies are tied to one another.

    Parameters
    ----------
    formula
        What the sample is made of: its tabulated f'' stands for all energies outside
        the window, scaled to each pixel's thickness.
    start, every
        First pass after which it is applied, and the number of passes between.
    relaxation
        Share of the change that is made, 0 (only the misfit is stored) to 1.
    degree
        Of the polynomial in energy that the phase may have on top: 0 an offset.
    """

    formula: str
    start: int = 500
    every: int = 50
    relaxation: float = 1.0
    degree: int = 0

    def __post_init__(self) -> None:
        check_count("start", self.start, 1)
        check_count("every", self.every, 1)
        check_count("degree", self.degree, 0)
        if not 0 <= self.relaxation <= 1:
            raise ArgumentError("relaxation", self.relaxation, "a share from 0 to 1")


@recorded
def ptycho_energies(
    scan: xr.Dataset,
    *,
    store: str | Path,
    engine: str = "LSQML",
    iterations: int = 800,
    options: dict[str, Any] | None = None,
    kramers_kronig: KramersKronig | None = None,
    vacuum: xr.DataArray | None = None,
    register: bool = True,
    n_modes: int = 1,
    probe_from: int = 2,
    positions_from: int | None = None,
    subpixel: bool = True,
    block: int | None = None,
    memory: float | None = None,
    workers: int | None = None,
    checkpoint: int = 50,
    seed: int = 0,
    device: str = "cpu",
    progress: bool | None = None,
) -> xr.Dataset:
    """Reconstruct a stack of energies and put the objects on one grid.

    Reads each energy once, and again after each Kramers-Kronig step; frames that do
    not fit into `memory` once per iteration. Runs in dask's threads, or on a
    ``distributed.Client`` if one is open. Called again, also after a kill, it goes on
    from the states in `store` and ends with the same arrays.

    Parameters
    ----------
    scan
        As for `ptycho`, with frames along `energy`; best lazy, from zarr.
    store
        Zarr store for states and result; on a cluster a path that all workers see.
    engine, options, n_modes, probe_from, positions_from, subpixel, block, device
        As for `ptycho`.
    iterations
        Passes per energy.
    kramers_kronig
        The constraint; None leaves the energies independent.
    vacuum : (y, x)
        True where the beam meets no sample, on any grid in nm; found if None.
    register
        Whether objects are shifted onto one another.
    memory
        Bytes that all energies at work may use; by default what is free.
    workers
        Energies at a time on this machine; on a cluster its own threads decide.
    checkpoint
        Passes between two states that are kept: what a kill costs at most.
    seed
        Of all randomness; energy k depends on the seed and k alone.
    progress
        Show a bar: True, False, or None for only where somebody watches.

    Returns
    -------
    xarray.Dataset
        `absorption` (μt) and `phase` (rad) on (energy, y, x) as `.xanes` takes them,
        NaN where an energy has no light; `transmission`; `kk_misfit` (y, x) in rad
        where the constraint is on; `amp_residual`, `shift_y`, `shift_x` per energy;
        `vacuum`; `probe`. Also in group ``ptycho`` of the store, opened lazily.

    Raises
    ------
    ArgumentError, DimensionError, VariableError
        If the scan or an argument is off.
    StoreError
        If the store holds a reconstruction of other data or arguments.
    ConvergenceError
        If a reconstruction diverges, or no vacuum is found.

    Notes
    -----
    On a cluster give each worker one thread: each thread holds the frames of one
    energy.
    """
    scan = check_scan(scan, caller="ptycho_energies")
    if "energy" not in scan["frames"].dims:
        raise DimensionError(
            "ptycho_energies needs frames along 'energy'; for one energy use ptycho, "
            "or .expand_dims('energy') on the frames."
        )
    check_count("iterations", iterations, 1)
    check_count("checkpoint", checkpoint, 1)
    if np.any(np.diff(scan.energy.values) <= 0):
        raise ArgumentError("energy", "not rising", "rising energies", "Use .sortby().")
    task, plan = prepare(
        scan, engine, options, n_modes, probe_from, positions_from,
        subpixel, block, memory, (seed,), device, workers,
    )  # fmt: skip
    if plan.reason:
        warn_quality(f"engine {plan.engine}, streamed={plan.streamed}: {plan.reason}")
    if progress:
        print(plan, flush=True)
    path = str(store)
    run = _Run(scan, task, path, iterations, checkpoint, kramers_kronig, register)
    _ptycho_store.claim(path, run.mark(vacuum), scan.energy.values)
    if holds_data(path, RESULT) and _ptycho_store.is_whole(path, _FINISHED):
        return open_dataset(path, RESULT)
    since = 0
    for until in run.ends():
        if not _ptycho_store.is_whole(path, f"coupled/{until}"):
            run.advance(since, until, plan.workers, progress)
            if until < iterations:
                run.couple(until, vacuum)
        since = until
    run.finish(vacuum)
    return open_dataset(path, RESULT)


@dataclass(frozen=True)
class _Run:
    """A stack on its way from frames to registered objects."""

    scan: xr.Dataset
    task: Task
    path: str
    iterations: int
    checkpoint: int
    constraint: KramersKronig | None
    register: bool

    def mark(self, vacuum: xr.DataArray | None) -> dict[str, Any]:
        """Return what the result depends on, to tell another call from this one."""
        task = asdict(self.task) | {"engine": type(self.task.options).__name__}
        del task["streamed"]  # which changes nothing
        frames = self.scan["frames"]
        corner = frames.isel(energy=[0, -1], position=[0, -1])
        digests = {
            str(name): _digest(c)
            for name, c in self.scan.variables.items()
            if name != "frames"
        }
        return {
            "task": task,
            "iterations": self.iterations,
            "kramers_kronig": asdict(self.constraint) if self.constraint else None,
            "register": self.register,
            "vacuum": "" if vacuum is None else _digest(vacuum.values),
            "frames": [str(frames.dtype), *frames.shape, _digest(corner.values)],
            "coordinates": digests,
        }

    def ends(self) -> list[int]:
        """Return the passes after which energies wait for one another."""
        if self.constraint is None:
            return [self.iterations]
        first, every = self.constraint.start, self.constraint.every
        return [*range(first, self.iterations, every), self.iterations]

    def advance(
        self, since: int, until: int, workers: int, progress: bool | None
    ) -> None:
        """Bring every energy from pass `since` to pass `until`."""
        import dask

        jobs = [
            _Job(self.scan.isel(energy=k), self.task, self.path, k)
            for k in range(self.scan.sizes["energy"])
            if _ptycho_store.iteration(self.path, k) < until
        ]
        # Opaque to dask, which would otherwise load the frames of all jobs first.
        tasks = [
            dask.delayed(job, traverse=False)(since, until, self.checkpoint)
            for job in jobs
        ]
        if tasks:
            with dask.config.set(num_workers=workers):
                gather(tasks, f"Passes {since} to {until}", progress=progress)

    def couple(self, until: int, vacuum: xr.DataArray | None) -> None:
        """Apply the constraint to the objects after pass `until`."""
        objects = _ptycho_result.Objects(self.scan, self.path)
        found = self._registered(objects, vacuum)
        factor, _ = self._constrain(found)
        grid = found.grid

        def changed() -> Iterator[tuple[str, np.ndarray]]:
            for k, (y, x) in enumerate(found.shifts):
                own_y, own_x = objects.axes(k)
                change = _ptycho_coupling.resampled(
                    *(factor.read(k), grid.y, grid.x, own_y + y, own_x + x),
                    order=1,
                )
                yield str(k), (objects.obj(k) * change).astype(np.complex64)

        _ptycho_store.write(self.path, f"coupled/{until}", changed())
        found.fields.remove()
        factor.remove()

    def finish(self, vacuum: xr.DataArray | None) -> None:
        """Write the registered stack."""
        import dask

        objects = _ptycho_result.Objects(self.scan, self.path)
        found = self._registered(objects, vacuum)
        misfit = None
        if self.constraint is not None:
            factor, misfit = self._constrain(found)
            first, every = self.constraint.start, self.constraint.every
            if self.iterations >= first and (self.iterations - first) % every == 0:
                for k in range(len(factor)):
                    found.fields.write(k, found.fields.read(k) * factor.read(k))
                found = replace(found, mean=_ptycho_coupling.mean_of(found.fields))
            factor.remove()
        energy = self.scan.energy.values
        result = _ptycho_result.labelled(objects, found, misfit, energy)
        # Here, not on a cluster: what is left to do is little, and lies here.
        with dask.config.set(scheduler="threads"):
            save(result, self.path, group=RESULT, overwrite=True)
        _ptycho_store.write(self.path, _FINISHED, {})
        found.fields.remove()

    def _registered(
        self, objects: _ptycho_result.Objects, vacuum: xr.DataArray | None
    ) -> Registered:
        grid = _ptycho_coupling.common_grid(objects)
        empty = None
        if vacuum is not None:
            there = vacuum.astype(float).interp(y=grid.y, x=grid.x)
            empty = there.transpose("y", "x").fillna(0.0).values > 0.5
            if not (empty & grid.inside).any():
                raise ArgumentError(
                    "vacuum", "no pixel in the field", "some where the beam went"
                )
        fields = self._scratch("fields", len(objects), grid)
        return _ptycho_coupling.register(objects, empty, grid, fields, self.register)

    def _scratch(self, name: str, energies: int, grid: Grid) -> Scratch:
        return Scratch(self.path, name, (energies, grid.y.size, grid.x.size))

    def _constrain(self, found: Registered) -> tuple[Scratch, np.ndarray]:
        from batteryxr.cdi.kernels.ptycho_kk import Constraint

        assert self.constraint is not None
        energy = self.scan.energy.values
        table = np.unique(
            np.r_[
                np.geomspace(*_TABLE, 1000), np.linspace(0.8, 1.2, 400) * energy.mean()
            ]
        )
        values = absorptive_factor(self.constraint.formula, table)
        kk = Constraint(energy, table, values, self.constraint.degree)
        factor = self._scratch("factor", energy.size, found.grid)
        share = self.constraint.relaxation
        return factor, _ptycho_coupling.constrain(found, energy, kk, share, factor)


class _Job:
    """Brings one energy forward, from the newest state in the store."""

    def __init__(self, scan: xr.Dataset, task: Task, path: str, k: int) -> None:
        self.scan, self.path, self.k = scan, path, k
        self.task = replace(task, seed=(*task.seed, k))

    def __call__(self, since: int, until: int, checkpoint: int) -> int:
        """Run passes up to `until`; return how many were run."""
        bring = on(self.task.device)
        found = _ptycho_store.load_state(self.path, self.k, bring)
        state, misfits = found or (_ptycho_task.start(self.scan, self.task), [])
        first = state.iteration
        if since and first == since:
            state.obj = bring(
                _ptycho_store.read_array(self.path, f"coupled/{since}", str(self.k))
            )
        frames = _ptycho_task.source(self.scan, self.task)
        counts = _ptycho_task.power(self.scan, frames)

        def watch(state: Any, misfit: float) -> None:
            check_finite(state, misfit)
            misfits.append(misfit / counts)
            if state.iteration % checkpoint == 0 or state.iteration == until:
                _ptycho_store.save_state(self.path, self.k, state, misfits)

        _ptycho_task.advance(self.scan, self.task, state, until, watch, frames)
        return until - first


def _digest(values: np.ndarray | xr.Variable) -> str:
    """Return a digest of values, of which one along the first axis is in memory."""
    parts = values if values.ndim > 1 else [values]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:16]
