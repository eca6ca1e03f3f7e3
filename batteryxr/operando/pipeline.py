"""A whole operando experiment: files in, one labelled zarr store and a report out."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, BatteryxrWarning, StoreError
from batteryxr.core.store import open_dataset, open_store, save
from batteryxr.nmf import Constraints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: Group of the store for a series of scans, by the name of its array.
GROUPS = {"pdf": "pdf", "absorption": "xanes"}
#: Components that are unmixed where the user does not say how many.
COMPONENTS = 3


@dataclass(frozen=True)
class Conventions:
    """What only the user knows about the cell and its files.

    Parameters
    ----------
    timezone
        Zone of local times in the files, such as ``"Europe/Paris"``. Never guessed.
    clock_offset
        Seconds to add to the scans' clock to get the cycler's.
    exposure
        Exposure of each scan in s, where the files do not tell.
    electrode, first
        What is cycled and what a cycle begins with; see `echem.cycles`. Without them
        half cycles are reported, and no efficiency.
    mass
        Active mass in mg: specific capacities.
    formula
        Composition as loaded: with `mass`, Li content.
    """

    timezone: str | None = None
    clock_offset: float = 0.0
    exposure: float | None = None
    electrode: Any = None
    first: Any = None
    mass: float | None = None
    formula: str | None = None


@dataclass
class Run:
    """What a run has found so far.

    Parameters
    ----------
    store
        Where it is written; a partial store until the end.
    kind
        Group of the scans in it.
    notes
        What the user must not miss: warnings, and what was left out and why.
    """

    store: Path
    kind: str = "series"
    notes: list[str] = field(default_factory=list)

    def write(self, data: Any, group: str) -> None:
        """Store a group."""
        save(data, self.store, group=group)

    def read(self, group: str) -> xr.Dataset:
        """Open a group lazily."""
        return open_dataset(self.store, group)

    def has(self, group: str) -> bool:
        """Tell whether a group was written."""
        return (self.store / group).is_dir()

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Turn batteryxr's warnings into notes."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", BatteryxrWarning)
            yield
        for warning in caught:
            text = str(warning.message)
            if not issubclass(warning.category, BatteryxrWarning):
                warnings.warn_explicit(
                    warning.message, warning.category, warning.filename, warning.lineno
                )
            elif text not in self.notes:
                self.notes.append(text)


def operando(
    cycler: Any,
    scans: Any,
    out: str | Path,
    *,
    conventions: Conventions | None = None,
    report: str | Path | None = None,
    n_components: int | None = None,
    signal_range: Sequence[float] | None = None,
    seed: int = 0,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> xr.DataTree:
    """Read cycler files and scans of one cell, join and analyse them, store it all.

    Reads each file once. Scans are streamed to the store, and the unmixing reads them
    from there.

    Parameters
    ----------
    cycler, scans
        Files, folders or patterns; see `read_cycler` and `read_series`. With both
        None an experiment with known truth is simulated, written to files, and read
        back from them.
    out
        Zarr store to write. It appears only when everything has succeeded.
    conventions
        What only the user knows.
    report
        HTML file to write.
    n_components
        Number of components to unmix. Default 3, and the report says so.
    signal_range
        Part of the scan axis to unmix, in its units.
    seed
        Of the simulation and of the factorisation.
    overwrite
        Replace `out` if it is there.
    say
        Called with a line when a stage is done.

    Returns
    -------
    xarray.DataTree
        The store, opened lazily: ``/echem`` with ``record``, ``half_cycles``,
        ``cycles`` and ``dqdv``; ``/xanes``, ``/pdf`` or ``/series`` with ``scans``,
        ``pca`` and ``nmf``; for a simulation also ``/truth``.

    Raises
    ------
    StoreError
        If `out` is there already and `overwrite` is False.
    ArgumentError
        If only one of `cycler` and `scans` is given, or one of them is refused.
    """
    out = Path(out)
    if out.exists() and not overwrite:
        raise StoreError(
            f"{out} is there already. Pass overwrite=True (--overwrite) to replace it."
        )
    if (cycler is None) != (scans is None):
        missing = "cycler" if cycler is None else "scans"
        raise ArgumentError(missing, None, "files of the same cell, as for the other")
    conventions = conventions or Conventions()
    run = Run(out.with_name(out.name + ".partial"))
    shutil.rmtree(run.store, ignore_errors=True)
    try:
        with tempfile.TemporaryDirectory() as folder, run.noting():
            if cycler is None:
                cycler, scans, conventions = _simulate(run, folder, conventions, seed)
                say("Simulated a cell, its scans and the truth")
            _ingest(run, cycler, scans, conventions, say)
            _electrochemistry(run, conventions, say)
            _unmix(run, n_components, signal_range, seed, say)
        if report is not None:  # after the notes are complete
            from batteryxr.operando.report import write_page

            write_page(run, report, store=out)
            say(f"Wrote {report}")
        shutil.rmtree(out, ignore_errors=True)
        run.store.rename(out)
    finally:
        shutil.rmtree(run.store, ignore_errors=True)
    for note in run.notes:
        say(f"Note: {note}")
    say(f"Wrote {out}")
    tree = open_store(out)
    return tree if isinstance(tree, xr.DataTree) else xr.DataTree(tree)


def _simulate(
    run: Run, folder: str, conventions: Conventions, seed: int
) -> tuple[Path, Path, Conventions]:
    from batteryxr import simulate

    experiment = simulate.operando(seed=seed)
    simulate.write_operando(experiment, folder, timezone="Europe/Paris")
    truth = experiment["truth"].to_dataset()
    run.write(truth, "truth")
    record = experiment["echem"].to_dataset()
    known = replace(
        conventions,
        timezone="Europe/Paris",
        clock_offset=float(truth["clock_offset"]),
        electrode="cathode",
        first="charge",
        mass=float(record.attrs["mass"]),
        formula=str(record.attrs["formula"]),
    )
    run.notes.append(
        "No files were given: this experiment is simulated. Its truth is in the group "
        "/truth of the store."
    )
    return Path(folder) / "cell.mpt", Path(folder) / "scans", known


def _ingest(
    run: Run, cycler: Any, scans: Any, known: Conventions, say: Callable[[str], None]
) -> None:
    from batteryxr.echem import Clock
    from batteryxr.io import read_cycler, read_series

    record = read_cycler(cycler, timezone=known.timezone)
    run.write(record, "echem/record")
    say(f"Read {record.sizes['record']} rows of the cycler")
    series = read_series(scans, timezone=known.timezone, order="time")
    run.kind = GROUPS.get(str(series.name), "series")
    say(f"Read {series.sizes['scan']} scans on {series.sizes[series.dims[-1]]} points")
    formula = known.formula if known.mass is not None else None
    joined = record.echem.join(
        series,
        clock=Clock(offset_s=known.clock_offset),
        exposure=known.exposure,
        first=known.first,
        mass=known.mass,
        formula=formula,
    )
    run.write(joined, f"{run.kind}/scans")
    inside = int(np.isfinite(joined["voltage"]).sum())
    say(f"Joined {inside} of {joined.sizes['scan']} scans to the cycler's record")


def _electrochemistry(run: Run, known: Conventions, say: Callable[[str], None]) -> None:
    record = run.read("echem/record")
    run.write(record.echem.half_cycles(), "echem/half_cycles")
    if known.electrode is None or known.first is None:
        run.notes.append(
            "No efficiencies: they need to know what is cycled (--electrode) and what "
            "a cycle begins with (--first)."
        )
    else:
        run.write(
            record.echem.cycles(
                electrode=known.electrode, first=known.first, mass=known.mass
            ),
            "echem/cycles",
        )
    run.write(record.echem.dqdv(mass=known.mass), "echem/dqdv")
    say("Analysed half cycles, cycles and dQ/dV")


def _unmix(
    run: Run,
    n: int | None,
    signal_range: Sequence[float] | None,
    seed: int,
    say: Callable[[str], None],
) -> None:
    series = next(iter(run.read(f"{run.kind}/scans").data_vars.values()))
    signal = str(series.dims[-1])
    if signal_range is not None:
        series = series.sel({signal: slice(*signal_range)})
        if series.sizes[signal] < 2:
            raise ArgumentError(
                "signal_range", list(signal_range), f"a part of the {signal} axis"
            )
    if n is None:
        run.notes.append(
            f"{COMPONENTS} components were unmixed because no number was given "
            "(--components). The eigenvalues and the residuals below help to choose."
        )
    series = series.compute()  # a series of patterns is small; images are not unmixed
    signed = float(series.min()) < 0
    constraints = Constraints(shift="envelope" if signed else None)
    run.write(series.nmf.pca(), f"{run.kind}/pca")
    unmixed = series.nmf.fit(n or COMPONENTS, constraints=constraints, seed=seed)
    run.write(unmixed, f"{run.kind}/nmf")
    say(f"Unmixed {series.sizes['scan']} scans into {n or COMPONENTS} components")
