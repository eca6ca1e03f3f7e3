"""Read cycling and impedance that one program measured in a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr

from batteryxr.core.errors import NothingFoundError
from batteryxr.core.provenance import recorded
from batteryxr.io.cycler.reader import find, read_cycler
from batteryxr.io.impedance.reader import looks_for, read_impedance

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence


@recorded
def read_run(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    timezone: str | None = None,
    dayfirst: bool | None = None,
    repair: str | Sequence[str] = (),
) -> xr.DataTree:
    """Read the cycling and the impedance of a run, each into its own group.

    Reads twice: cycling with `read_cycler`, impedance with `read_impedance`. The record
    is the same as from `read_cycler`. Text tables that hold only impedance are skipped
    for cycling, and files that only cyclers write are skipped for impedance.

    Parameters
    ----------
    path
        A path, a list of paths, a folder, or a pattern, as in `read_cycler`.
    timezone
        Zone of the instrument's clock, as in `read_cycler`.
    dayfirst
        Whether dates are written day first. None: as the maker writes them.
    repair
        Flags of the record to repair, as in `read_cycler`.

    Returns
    -------
    xarray.DataTree
        ``echem`` (the record) and ``impedance`` (the spectra), each if the files
        have any.

    Raises
    ------
    ArgumentError
        If a file does not exist, has no known format, or an argument is wrong.
    FileFormatError
        If a file is damaged, or no file has cycling or impedance.

    See Also
    --------
    read_cycler, read_impedance : read only one of them, with columns by name.

    Examples
    --------
    >>> loop = batteryxr.simulate.impedance_loop(n_scans=4)
    >>> paths = batteryxr.simulate.write_impedance_loop(loop, "run")
    >>> run = batteryxr.read_run("run/*.mpt", timezone="Europe/Paris")
    >>> sorted(run.children)
    ['echem', 'impedance']
    """
    paths = find(path)
    held = {one: looks_for(one) for one in paths}
    spectra = [one for one, (may, _) in held.items() if may]
    cycling = [one for one, (_, only) in held.items() if not only]
    said: dict[str, Any] = {"timezone": timezone, "dayfirst": dayfirst}
    readers: dict[str, Callable[[], xr.Dataset]] = {}
    if cycling:
        readers["echem"] = lambda: read_cycler(cycling, repair=repair, **said)
    if spectra:
        readers["impedance"] = lambda: read_impedance(spectra, **said)
    groups: dict[str, xr.Dataset] = {}
    silent: NothingFoundError | None = None
    for name, read in readers.items():
        try:
            groups[name] = read()
        except NothingFoundError as error:
            silent = error
    if not groups and silent is not None:
        raise NothingFoundError(paths[0], "no cycling in it, and no impedance.")
    return xr.DataTree.from_dict(groups)
