"""Ptychography at many energies: independent, coupled by Kramers-Kronig, resumable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.cdi.ptycho.reconstruction import check_count, prepare
from batteryxr.cdi.ptycho.run import RESULT, Run
from batteryxr.cdi.ptycho.scan import check_scan
from batteryxr.core.errors import ArgumentError, DimensionError, warn_quality
from batteryxr.core.provenance import recorded, replayable
from batteryxr.core.store import open_dataset

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr


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
        Of the polynomial in energy that the phase may have on top: 0 an offset. What
        passes leave undone in the phase changes slowly with the energy; at 0 it would
        go into the edge jump, and make compositions wrong by 1 to 2 %.
    """

    formula: str
    start: int = 500
    every: int = 50
    relaxation: float = 1.0
    degree: int = 2

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
    lead: int = 0,
    n_modes: int = 1,
    probe_from: int = 2,
    positions_from: int | None = None,
    calm_from: int | None = None,
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
    engine, options, n_modes, probe_from, positions_from, calm_from
        As for `ptycho`.
    subpixel, block, device
        As for `ptycho`.
    iterations
        Passes per energy.
    kramers_kronig
        The constraint; None leaves the energies independent.
    vacuum : (y, x)
        True where the beam meets no sample, on any grid in nm; found if None.
    register
        Whether objects are shifted onto one another.
    lead
        Passes that the middle energy runs ahead; all then start from its object and
        probe, and need far fewer `iterations`: a tenth will often do. What passes
        leave undone, most of it at low frequencies, is then common to all energies
        and hardly touches their spectra. 0: each starts from an empty field.
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
    check_count("checkpoint", checkpoint, 1)
    check_count("lead", lead, 0)
    if np.any(np.diff(scan.energy.values) <= 0):
        raise ArgumentError("energy", "not rising", "rising energies", "Use .sortby().")
    if kramers_kronig is not None and scan.sizes["energy"] < kramers_kronig.degree + 2:
        raise ArgumentError(
            "kramers_kronig.degree",
            kramers_kronig.degree,
            f"at most {scan.sizes['energy'] - 2} with {scan.sizes['energy']} energies",
        )
    task, plan = prepare(
        scan, engine, options, n_modes, iterations, probe_from, positions_from,
        calm_from, subpixel, block, memory, (seed,), device, workers,
    )  # fmt: skip
    if plan.reason:
        warn_quality(f"engine {plan.engine}, streamed={plan.streamed}: {plan.reason}")
    if progress:
        print(plan, flush=True)
    run = Run(
        *(scan, task, str(store), iterations, checkpoint),
        *(kramers_kronig, register, lead),
    )
    run.go(vacuum, plan.workers, progress)
    return open_dataset(str(store), RESULT)
