"""A stack of energies on its way from frames to registered objects."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.cdi.ptycho import coupling as _ptycho_coupling
from batteryxr.cdi.ptycho import result as _ptycho_result
from batteryxr.cdi.ptycho import store as _ptycho_store
from batteryxr.cdi.ptycho import task as _ptycho_task
from batteryxr.cdi.ptycho.reconstruction import check_finite
from batteryxr.cdi.ptycho.scratch import Scratch
from batteryxr.core import blocks
from batteryxr.core.blocks import gather
from batteryxr.core.device import to_device
from batteryxr.core.errors import ArgumentError
from batteryxr.core.store import holds_data, save
from batteryxr.core.xray import absorptive_factor

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

    from batteryxr.cdi.ptycho.coupling import Grid, Registered
    from batteryxr.cdi.ptycho.kernels.state import State
    from batteryxr.cdi.ptycho.stack import KramersKronig
    from batteryxr.cdi.ptycho.task import Task

#: Group of the finished result.
RESULT = "ptycho"
#: Mark that it is whole.
_FINISHED = "finished"
#: Ends of the table that the Kramers-Kronig integral takes beyond the window, eV.
_TABLE = (100.0, 2e5)


@dataclass(frozen=True)
class Run:
    """A stack on its way from frames to registered objects."""

    scan: xr.Dataset
    task: Task
    path: str
    iterations: int
    checkpoint: int
    constraint: KramersKronig | None
    register: bool
    lead: int

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
        } | ({"lead": self.lead} if self.lead else {})

    def go(self, vacuum: xr.DataArray | None, workers: int, bar: bool | None) -> None:
        """Do what the store does not hold yet."""
        energy = self.scan.energy.values
        _ptycho_store.claim(self.path, self.mark(vacuum), energy)
        finished = _ptycho_store.is_whole(self.path, _FINISHED)
        if finished and holds_data(self.path, RESULT):
            return
        if self.lead:
            self.go_ahead(bar)
        since = 0
        for until in self.ends():
            if not _ptycho_store.is_whole(self.path, f"coupled/{until}"):
                self.advance(since, until, workers, bar)
                if until < self.iterations:
                    self.couple(until, vacuum)
            since = until
        self.finish(vacuum)

    def ends(self) -> list[int]:
        """Return the passes after which energies wait for one another."""
        if self.constraint is None:
            return [self.iterations]
        first, every = self.constraint.start, self.constraint.every
        return [*range(first, self.iterations, every), self.iterations]

    @property
    def _leader(self) -> tuple[int, xr.Dataset]:
        """The number of the leading reconstruction, after the last energy's; its scan.

        The middle energy is the nearest to all others.
        """
        n = self.scan.sizes["energy"]
        return n, self.scan.isel(energy=n // 2)

    def go_ahead(self, progress: bool | None) -> None:
        """Run the passes that one energy is ahead of the others."""
        number, scan = self._leader
        if _ptycho_store.iteration(self.path, number) < self.lead:
            unhurried = replace(self.task, calm_from=None)
            job = Job(scan, unhurried, self.path, number)
            self._gather([job], 0, self.lead, 1, progress)

    def advance(
        self, since: int, until: int, workers: int, progress: bool | None
    ) -> None:
        """Bring every energy from pass `since` to pass `until`."""
        ahead = None
        if self.lead:
            number, scan = self._leader
            ahead = Ahead(number, *_ptycho_task.axes(scan))
        jobs = [
            Job(self.scan.isel(energy=k), self.task, self.path, k, ahead)
            for k in range(self.scan.sizes["energy"])
            if _ptycho_store.iteration(self.path, k) < until
        ]
        self._gather(jobs, since, until, workers, progress)

    def _gather(
        self, jobs: list[Job], since: int, until: int, workers: int, bar: bool | None
    ) -> None:
        # Opaque to dask, which would otherwise load the frames of all jobs first.
        tasks = [
            blocks.delayed(job, traverse=False)(since, until, self.checkpoint)
            for job in jobs
        ]
        if tasks:
            with blocks.workers(workers):
                gather(tasks, f"Passes {since} to {until}", progress=bar)

    def couple(self, until: int, vacuum: xr.DataArray | None) -> None:
        """Apply the constraint to the objects after pass `until`."""
        from batteryxr.cdi.ptycho.kernels.registration import resampled

        objects = _ptycho_result.Objects(self.scan, self.path)
        found = self._registered(objects, vacuum)
        factor, _ = self._constrain(found)
        grid = found.grid

        def changed() -> Iterator[tuple[str, np.ndarray]]:
            for k, (y, x) in enumerate(found.shifts):
                own_y, own_x = objects.axes(k)
                change = resampled(
                    *(factor.read(k), grid.y, grid.x, own_y + y, own_x + x),
                    order=1,
                )
                yield str(k), (objects.obj(k) * change).astype(np.complex64)

        _ptycho_store.write(self.path, f"coupled/{until}", changed())
        found.fields.remove()
        factor.remove()

    def finish(self, vacuum: xr.DataArray | None) -> None:
        """Write the registered stack."""
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
        with blocks.here():
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
        from batteryxr.cdi.ptycho.kernels.kramers_kronig import Constraint

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


@dataclass(frozen=True)
class Ahead:
    """A reconstruction that others begin from: its number, and its axes in nm."""

    number: int
    y: np.ndarray
    x: np.ndarray


class Job:
    """Brings one energy forward, from the newest state in the store."""

    def __init__(
        self,
        scan: xr.Dataset,
        task: Task,
        path: str,
        k: int,
        ahead: Ahead | None = None,
    ) -> None:
        self.scan, self.path, self.k, self.ahead = scan, path, k, ahead
        self.task = replace(task, seed=(*task.seed, k))

    def __call__(self, since: int, until: int, checkpoint: int) -> int:
        """Run passes up to `until`; return how many were run."""
        bring = to_device(self.task.device, purpose="ptychography")
        found = _ptycho_store.load_state(self.path, self.k, bring)
        state, misfits = found or (self._first(), [])
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

    def _first(self) -> State:
        if self.ahead is None:
            return _ptycho_task.start(self.scan, self.task)
        obj, probe = (
            _ptycho_store.read_state(self.path, self.ahead.number, key)
            for key in ("obj", "probe")
        )
        axes = self.ahead.y, self.ahead.x
        return _ptycho_task.follow(self.scan, self.task, obj, probe, *axes)


def _digest(values: np.ndarray | xr.Variable) -> str:
    """Return a digest of values, of which one along the first axis is in memory."""
    parts = values if values.ndim > 1 else [values]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:16]
