"""Cycler files of any known format, as one labelled Dataset."""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import TYPE_CHECKING

from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.core.provenance import recorded
from batteryxr.io import clock
from batteryxr.io.cycler import plausibility
from batteryxr.io.cycler.formats import by_suffix, identify, known_suffixes, reader
from batteryxr.io.cycler.joining import join
from batteryxr.io.cycler.table import Options, check

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import xarray as xr


@recorded
def read_cycler(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    timezone: str | None = None,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    dayfirst: bool | None = None,
    test: int | None = None,
    repair: str | Sequence[str] = (),
) -> xr.Dataset:
    """Read the files of one cell, from any cycler, into one Dataset.

    Reads once. The format is told by content and file name: BioLogic ``.mpt`` and
    ``.mpr``, Arbin ``.res``, ``.xlsx`` and ``.csv``, Neware ``.nda`` and ``.ndax``,
    Battery Data Format, and text exports of Maccor, Landt, Novonix, Basytec,
    Digatron, PEC and Neware.

    Parameters
    ----------
    files
        A path, a list of paths, a folder, or a pattern such as ``"cell4*.mpt"``.
        Several files of one run are put in order of their starts (as given, where a
        file has none) and joined.
    timezone
        Zone of the cycler's clock, such as ``"Europe/Paris"``, or an offset such as
        ``"+02:00"``. Never guessed: without it ``time`` is NaT for files that write
        local time. Files that write UTC need none.
    format
        Name of the format, where content and file name do not tell.
    columns
        Label in the file -> name in the data model, for labels that are not known:
        ``{"Potential V": "voltage"}``. Units are read from the label.
    dayfirst
        Whether dates are written day first. None: as the cycler's maker writes them.
    test
        Number of the test to read, from files that hold several (Arbin ``.res``).
    repair
        Flags to mend, by name: ``"time_scale"``, ``"cycle_counts"``,
        ``"backward_time"``. Nothing is repaired unless named here.

    Returns
    -------
    xarray.Dataset
        On ``record``: ``voltage`` (V), ``current`` (mA, positive charges the cell)
        and what else the file has of ``capacity`` (mA h), ``energy`` (mW h),
        ``cycle``, ``step``, ``temperature`` (degC); ``charge_capacity`` and so on
        where the cycler counts both directions apart. Coordinates ``test_time`` (s
        from the first row, running on over later files), ``time`` (UTC) and
        ``file``. In ``attrs``: ``flags`` (what looks implausible; empty if nothing
        does) with a sentence each in ``flag_notes``, ``gap_s`` between files,
        ``start_local`` as written, ``header`` (JSON).

    Raises
    ------
    ArgumentError
        If a file is not there, is of no known format, or an argument is wrong.
    FileFormatError
        If a file is damaged: names the file and, for text, the line.
    MissingDependencyError
        If the format needs a library or program that is not installed.

    Warns
    -----
    DataQualityWarning
        Once for an undeclared time zone, and once for each flag.
    """
    where = clock.zone(timezone)
    wanted = plausibility.known(repair)
    options = Options(columns=columns, dayfirst=dayfirst, test=test)
    paths = find(files, format=format)
    tables = []
    for path in paths:
        table = reader(identify(path, format))(path, options)
        check(table, path)
        tables.append(plausibility.examine(table, wanted, path.name))
    dataset, messages = join(tables, [p.name for p in paths], where, timezone or "")
    for message in messages + plausibility.unused(wanted, tables):
        warn_quality(message)
    return dataset


def find(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    format: str | None = None,
) -> list[Path]:
    """Return the paths that `files` names, in natural order of their names.

    Raises
    ------
    ArgumentError
        If there is none, one does not exist, or a folder mixes formats.
    """
    if isinstance(files, list | tuple):
        if not files:
            raise ArgumentError("files", files, "at least one path")
        return [path for item in files for path in find(item, format=format)]
    path = Path(files).expanduser()  # type: ignore[arg-type]
    if path.is_dir():
        return _in_folder(path, format)
    if path.exists():
        return [path]
    matches = [Path(m) for m in glob.glob(str(path))]
    if not matches:
        raise ArgumentError(
            "files",
            str(path),
            "an existing file, folder or pattern",
            f"The current folder is {Path.cwd()}.",
        )
    return sorted(matches, key=_natural)


def _in_folder(folder: Path, format: str | None) -> list[Path]:
    inside = sorted((p for p in folder.iterdir() if p.is_file()), key=_natural)
    known = {p: by_suffix(p) for p in inside}
    if format is not None:
        chosen = [p for p in inside if known[p] == format]
    else:
        chosen = [p for p in inside if known[p] is not None]
        kinds = sorted({str(known[p]) for p in chosen})
        if len(kinds) > 1:
            raise ArgumentError(
                "files",
                str(folder),
                "a folder whose cycler files are of one format",
                f"It holds {', '.join(kinds)}: pass format= one of them, or a pattern.",
            )
    if not chosen:
        raise ArgumentError(
            "files",
            str(folder),
            f"a folder with files that end in one of {known_suffixes()}",
        )
    return chosen


def _natural(path: Path) -> list[tuple[int, str]]:
    # run_2 before run_10
    parts = re.split(r"(\d+)", path.name)
    return [(int(p), "") if p.isdigit() else (-1, p) for p in parts]
