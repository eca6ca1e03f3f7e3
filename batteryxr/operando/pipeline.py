"""Analyse a whole operando experiment: from files to a labelled store and a report."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError, StoreError
from batteryxr.core.store import (
    JOURNAL,
    Location,
    Revision,
    StoreLike,
    changing,
    location_of,
    open_store,
    require_ours,
    require_store,
)
from batteryxr.nmf import Constraints
from batteryxr.operando.findings import (
    Conventions,
    Findings,
    Unmixing,
    cycling_results,
)
from batteryxr.operando.page import require_page
from batteryxr.operando.report import write_page

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

#: Name of a series' array -> group of the store.
GROUPS = {"pdf": "pdf", "absorption": "xanes"}
#: Number of components to unmix if the user gives none (at most), and largest number
#: that is considered.
COMPONENTS = 3
MOST = 10


@checked
def operando(
    *,
    cycler: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None,
    scans: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None,
    store: StoreLike,
    conventions: Conventions | None = None,
    report: str | Path | None = None,
    unmixing: Unmixing | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> xr.DataTree:
    """Read cycler files and scans of one cell, join and analyse them, store it all.

    Reads each file once. Scans are streamed to the store, and the unmixing reads them
    from there.

    Parameters
    ----------
    cycler, scans
        Files, folders or patterns; see `read_cycler` and `read_series`. If both are
        None, an experiment with known truth is simulated, written to files, and read
        back from them.
    store
        Zarr store to write: a path, a URL or a zarr store. Its groups appear only when
        everything has succeeded; until then its previous content stays.
    conventions
        Facts that only the user knows.
    report
        HTML file to write, in an existing folder.
    unmixing
        Number of components, part of the axis and seed for the unmixing.
    overwrite
        Replace `store` and `report` if they exist and batteryxr wrote them.
    say
        Function that is called with a line of text after each stage.

    Returns
    -------
    xarray.DataTree
        The store, opened lazily: ``/echem`` with ``record``, ``half_cycles``,
        ``cycles`` and ``dqdv``; ``/xanes``, ``/pdf`` or ``/series`` with ``scans``,
        ``pca`` and ``nmf``; for a simulation also ``/truth``.

    Raises
    ------
    StoreError
        If `store` or `report` exists and `overwrite` is False, batteryxr did not
        write its content, or another process is writing there.
    ArgumentError
        If only one of `cycler` and `scans` is given, or one of them is invalid.

    Examples
    --------
    >>> from batteryxr.operando import Conventions, operando
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> folder = batteryxr.simulate.write_cell_experiment(cell, "run")
    >>> conventions = Conventions(
    ...     timezone="Europe/Paris", electrode="cathode", first="charge", mass=7.0
    ... )
    >>> tree = operando(
    ...     cycler="run/cell.mpt",
    ...     scans="run/scans",
    ...     store="cell.zarr",
    ...     conventions=conventions,
    ... )
    >>> sorted(tree.children)
    ['echem', 'notes', 'xanes']
    """
    location = location_of(store, "store")
    _require_new(location, overwrite)
    if report is not None:
        require_page(report, overwrite, beside=location.folder)
    if (cycler is None) != (scans is None):
        missing = "cycler" if cycler is None else "scans"
        raise ArgumentError(missing, None, "files of the same cell, as for the other")
    conventions, unmixing = conventions or Conventions(), unmixing or Unmixing()
    with changing(location) as change:
        _require_new(location, overwrite)  # another process may have finished meanwhile
        _leave_out_all(change)
        _require_there("cycler", cycler)
        _require_there("scans", scans)
        run = Findings(change)
        with tempfile.TemporaryDirectory() as folder, run.noting():
            if cycler is None:
                cycler, scans, conventions = _simulate(
                    run, folder, conventions, unmixing.seed
                )
                say("Simulated a cell, its scans and the truth")
            _ingest(run, cycler, scans, conventions, unmixing, say)
            _electrochemistry(run, conventions, say)
            _unmix(run, unmixing, say)
        if run.notes:
            texts = xr.DataArray(run.notes, dims="note", attrs={"units": "1"})
            run.write(texts.astype(str).to_dataset(name="text"), "notes")
        if report is not None:  # after the notes are complete
            write_page(run, report, store=str(location))
            say(f"Wrote {report}")
    for note in run.notes:
        say(f"Note: {note}")
    say(f"Wrote {location}")
    tree = open_store(store)
    return tree if isinstance(tree, xr.DataTree) else xr.DataTree(tree)


def _require_new(location: Location, overwrite: bool) -> None:
    require_store(location)
    if set(location.names()) - {JOURNAL} and not overwrite:
        raise StoreError(
            f"{location} is there already. Pass overwrite=True (--overwrite) to "
            "replace it."
        )


def _require_there(argument: str, given: Any) -> None:
    """Raise for a file that does not exist, before others are read."""
    several = isinstance(given, list | tuple)
    for each in given if several else [] if given is None else [given]:
        pattern = any(sign in str(each) for sign in "*?[")
        if not pattern and not Path(each).exists():
            raise ArgumentError(argument, str(each), "a file or folder that is there")


def _leave_out_all(change: Revision) -> None:
    """Remove the previous groups of the store, if batteryxr wrote all of them."""
    held = list(change.manifest.groups)
    require_ours(change.location, held)
    for group in held:
        change.remove(group)


def _simulate(
    run: Findings, folder: str, conventions: Conventions, seed: int
) -> tuple[Path, Path, Conventions]:
    from batteryxr import simulate

    experiment = simulate.cell_experiment(seed=seed)
    simulate.write_cell_experiment(experiment, folder, timezone="Europe/Paris")
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
    run: Findings,
    cycler: Any,
    scans: Any,
    known: Conventions,
    asked: Unmixing,
    say: Callable[[str], None],
) -> None:
    from batteryxr.echem import Clock
    from batteryxr.io import read_cycler, read_series

    own_zone, scan_zone = known.zones
    say("Reading the cycler's files ...")
    record = read_cycler(cycler, timezone=own_zone, columns=known.columns)
    run.write(record, "echem/record")
    say(f"Read {record.sizes['record']} rows of the cycler")
    say("Reading the scans ...")
    series = read_series(scans, timezone=scan_zone, order="time")
    run.kind = GROUPS.get(str(series.name), "series")
    say(f"Read {series.sizes['scan']} scans on {series.sizes[series.dims[-1]]} points")
    _require_possible(series, asked)
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


def _require_possible(series: xr.DataArray, asked: Unmixing) -> None:
    """Raise, before the work, if scans cannot be unmixed as asked."""
    signal, limits = str(series.dims[-1]), asked.signal_range
    if limits is not None:
        series = series.sel({signal: slice(*limits)})
        if series.sizes[signal] < 2:
            raise ArgumentError(
                "signal_range", list(limits), f"a part of the {signal} axis"
            )
    most = min(series.sizes["scan"], series.sizes[signal])
    if (asked.n_components or 1) > most:
        raise ArgumentError(
            "n_components", asked.n_components, f"at most {most}: there are "
            f"{series.sizes['scan']} scans of {series.sizes[signal]} points"
        )  # fmt: skip


def _electrochemistry(
    run: Findings, known: Conventions, say: Callable[[str], None]
) -> None:
    say("Analysing the cycles ...")
    record = run.read("echem/record")
    for group, result in cycling_results(record, known):
        run.write(result, group)
    if not run.has("echem/cycles"):
        run.notes.append(
            "No efficiencies: they need to know what is cycled (--electrode) and what "
            "a cycle begins with (--first)."
        )
    say("Analysed half cycles, cycles and dQ/dV")


def _unmix(run: Findings, asked: Unmixing, say: Callable[[str], None]) -> None:
    n, signal_range = asked.n_components, asked.signal_range
    series = next(iter(run.read(f"{run.kind}/scans").data_vars.values()))
    signal = str(series.dims[-1])
    if signal_range is not None:
        series = series.sel({signal: slice(*signal_range)})
    series = series.compute()  # series are small, since images are not unmixed
    signed = float(series.min()) < 0
    constraints = Constraints(shift="envelope" if signed else None)
    say(f"Unmixing {series.sizes['scan']} scans ...")
    pca = series.nmf.pca()
    run.write(pca, f"{run.kind}/pca")
    supported = 1 + int(np.nanargmin(pca["indicator"].values[:MOST]))
    if n is None:
        n = min(COMPONENTS, supported)
        run.notes.append(
            f"{n} components were unmixed because no number was given (--components); "
            f"Malinowski's indicator finds {supported} above the noise."
        )
    elif n > supported:
        run.notes.append(
            f"{n} components were asked for, and Malinowski's indicator finds "
            f"{supported} above the noise: the others may split noise or drift."
        )
    unmixed = series.nmf.fit(n, constraints=constraints, seed=asked.seed)
    run.write(unmixed, f"{run.kind}/nmf")
    say(f"Unmixed {series.sizes['scan']} scans into {n} components")
