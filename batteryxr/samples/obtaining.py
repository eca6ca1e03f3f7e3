"""Measured samples by name: from the cache, a folder that stands in, or the network."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, overload

from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError, SampleError
from batteryxr.samples.catalogue import catalogue
from batteryxr.samples.download import fetch
from batteryxr.samples.folders import STAND_IN, Places, absent, look_in, usual_places

if TYPE_CHECKING:
    from pathlib import Path

    from batteryxr.samples.catalogue import Sample, Samples


@overload
def sample(name: None = None, *, progress: bool | None = None) -> Samples: ...


@overload
def sample(name: str, *, progress: bool | None = None) -> Path: ...


@checked
def sample(name: str | None = None, *, progress: bool | None = None) -> Samples | Path:
    """Fetch a set of measured files and return its folder; without a name, list all.

    Each file comes from the public repository and commit where it was published, is
    checked against its SHA-256, and is kept in the cache of this user: a second call
    uses no network. The files are others' work; the list tells their licence and
    origin. Fetching needs the extra ``samples``.

    A folder that the environment variable ``BATTERYXR_SAMPLES`` names stands in for
    the network: it holds the files as ``<name>/<path>``, or gzipped beside as
    ``<path>.gz``, or in a tar archive in their folder. They are checked alike, and
    nothing is fetched.

    Parameters
    ----------
    name
        Name of the sample, such as ``"lno-operando"``.
    progress
        True shows a bar of the files, False hides it; None (default) shows it in
        terminals and notebooks only.

    Returns
    -------
    pathlib.Path or Samples
        The folder with the files; without `name` the samples by name, each with
        `about`, `bytes`, `licence`, `origin`, `files` and `urls`.

    Raises
    ------
    ArgumentError
        If no sample has this name.
    SampleError
        If a file cannot be fetched, is not in the folder that stands in, or is not
        the one that was registered.
    MissingDependencyError
        If files are to be fetched and pooch is not installed.

    Examples
    --------
    >>> import batteryxr
    >>> batteryxr.sample()["lno-operando"].licence
    'BSD-3-Clause'

    >>> cell = batteryxr.sample("lno-operando")  # doctest: +SKIP
    >>> record = batteryxr.read_cycler(
    ...     cell / "cycler", timezone="Europe/Paris"
    ... )  # doctest: +SKIP
    >>> spectra = batteryxr.read_series(
    ...     cell / "xas", timezone="Europe/Paris", order="time"
    ... )  # doctest: +SKIP
    """
    if name is None:
        return catalogue()
    return obtain(_named(name), usual_places(), progress=progress)


@checked
def local(name: str) -> Path | None:
    """Return the folder of a sample that is here already, else None; fetch nothing.

    Parameters
    ----------
    name
        Name of the sample.

    Returns
    -------
    pathlib.Path or None
        As `batteryxr.sample` would return it.
    """
    folder, lacking = _here(_named(name), usual_places())
    return None if lacking else folder


def obtain(sample: Sample, places: Places, *, progress: bool | None = None) -> Path:
    """Return the folder of a sample, fetching what is not here."""
    folder, lacking = _here(sample, places)
    if lacking and places.stand_in is not None:
        raise SampleError(
            f"sample {sample.name!r}: {len(lacking)} of {len(sample.files)} files are "
            f"not in {places.stand_in / sample.name}, the first {lacking[0]!r}. Put "
            f"them there, or unset {STAND_IN} to fetch them."
        )
    if lacking:
        fetch(sample, lacking, places, progress=progress)
    return folder


def _here(sample: Sample, places: Places) -> tuple[Path, list[str]]:
    """Return where a sample lies or will lie, and the paths that are not here."""
    if places.stand_in is not None:
        return look_in(sample, places.stand_in / sample.name, places)
    folder = places.cache / sample.name
    return folder, absent(sample, folder)


def _named(name: str) -> Sample:
    known = catalogue()
    if isinstance(name, str) and name in known:
        return known[name]
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.4)
    mend = f"Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise ArgumentError("name", name, f"one of {sorted(known)}", mend)
