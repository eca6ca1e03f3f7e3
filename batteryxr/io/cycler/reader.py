"""Read cycler files of any known format into one labelled Dataset."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core import bounds
from batteryxr.core.errors import ArgumentError, NothingFoundError, warn_quality
from batteryxr.core.provenance import recorded
from batteryxr.io import clock
from batteryxr.io.cycler import vendor_csv
from batteryxr.io.cycler.checks import plausibility
from batteryxr.io.cycler.checks.direction import directed
from batteryxr.io.cycler.checks.readings import without_marks
from batteryxr.io.cycler.joining import join
from batteryxr.io.cycler.summaries import without_summaries
from batteryxr.io.cycler.table import Options, check
from batteryxr.io.door.files import head, named
from batteryxr.io.door.folders import files_in
from batteryxr.io.door.signatures import kind_of, kind_of_text
from batteryxr.io.formats import Format
from batteryxr.io.timing.rows import zoned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr

    from batteryxr.io.cycler.table import RawTable

#: Formats by name, in the order in which they are tried.
FORMATS: dict[str, Format] = {
    "biologic-mpt": Format(
        "cycler.eclab.text", (".mpt",), re.compile(rb"\s*(EC|BT)-Lab ASCII FILE")
    ),
    "biologic-mpr": Format(
        "cycler.eclab.binary", (".mpr",), re.compile(rb"BIO-LOGIC MODULAR FILE")
    ),
    "arbin-res": Format(
        "cycler.arbin_res",
        (".res",),
        re.compile(rb"\x00\x01\x00\x00Standard (Jet|ACE) DB"),
    ),
    "xlsx": Format("cycler.workbook", (".xlsx", ".xls")),
    "neware": Format("cycler.neware", (".nda", ".ndax"), re.compile(rb"NEWARE")),
    "bdf": Format(
        "cycler.bdf",
        (".bdf.csv", ".bdf.parquet", ".parquet", ".bdf"),
        re.compile(
            rb"(\xef\xbb\xbf)?[^\r\n]*?(\btest_time_(milli)?second\b|\bTest Time / s\b)"
        ),
    ),
    "gamry": Format("cycler.layouts.gamry", (".dta",), re.compile(rb"EXPLAIN\s")),
    "chi": Format(
        "cycler.layouts.chi",
        (),
        re.compile(rb"(?:[^\r\n]*+[\r\n]++){1,9}?Instrument Model:\s*CHI"),
    ),
    "palmsens": Format(
        "cycler.layouts.palmsens",
        (".pssession",),
        re.compile(
            rb'(\xff\xfe|\xef\xbb\xbf)?\s*{\0?\s*"\0?[^}]{0,200}P\0?a\0?l\0?m\0?S', re.S
        ),
        function="read_session",
    ),
    "pstrace": Format(
        "cycler.layouts.palmsens",
        (),
        re.compile(
            rb"(\xef\xbb\xbf)?Date and time:"
            rb"|\xff\xfeD\0a\0t\0e\0 \0a\0n\0d\0 \0t\0i\0m\0e\0:"
        ),
    ),
    "csv": Format("cycler.vendor_csv", (".csv", ".txt", ".tsv", ".dat")),
}
#: Files that a program numbers by channel or run, such as Maccor's run.041, and by
#: step, such as Toyo's 000001.
_NUMBERED, _ALL_NUMBERS = re.compile(r".*\.\d{3}|\d{6}"), ".001 to .999"
#: Files of programs that have no reader here, and how to get their data.
_ELSE = {
    ".idf": "an Ivium datafile, whose layout is not published: save it as text in "
    "IviumSoft (time/s I/A E/V)",
    ".mat": "a MATLAB file: write its time, voltage and current into a table, and name "
    "the columns",
    ".nox": "an Autolab NOVA file: export it as text, and name its columns",
}


@recorded
def read_cycler(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    timezone: str | None = None,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    dayfirst: bool | None = None,
    test: int | None = None,
    repair: str | Sequence[str] = (),
) -> xr.Dataset:
    """Read the files of one cell, from any cycler, into one Dataset.

    Reads once. The format is recognised by content and file name: BioLogic ``.mpt``
    and ``.mpr``, Arbin ``.res``, ``.xlsx``, ``.xls`` and ``.csv``, Neware ``.nda`` and
    ``.ndax``, Battery Data Format, Gamry ``.DTA``, PalmSens ``.pssession`` and csv,
    and text, workbooks and parquet of Maccor, Landt, Novonix, Basytec, Digatron, PEC,
    Bitrode, Ivium, Toyo and Neware.

    A pause is known by the clock of the rows. In files without one only a fall of the
    voltage by more than 5 mV tells of it. After a rest that leaves less, ``time`` is
    too early, untold.

    Parameters
    ----------
    path
        A path, a list of paths, a folder, or a pattern such as ``"cell4*.mpt"``.
        Several files of one run are sorted by their starts (kept as given, if a file
        has none) and joined. Techniques that one EC-Lab program runs by turns are
        merged in order of time.
    timezone
        Zone of the cycler's clock, such as ``"Europe/Paris"``, or an offset such as
        ``"+02:00"``. It is never guessed: without it ``time`` is NaT for files that
        write local time. Files that write UTC need none.
    format
        Name of the format, if content and file name do not identify it.
    columns
        Label in the file -> name in the data model, for unknown labels:
        ``{"Strom [mA]": "current"}``. Units are read from the label; if it has
        none, add them to the name: ``{"Strom": "current (mA)"}``.
    dayfirst
        Whether dates are written day first. None: as the cycler's maker writes them.
    test
        Number of the test to read from files that hold several: a test of Arbin
        ``.res``, a channel of a workbook, a measurement of PalmSens.
    repair
        Flags to repair, by name: ``"time_scale"``, ``"cycle_counts"``,
        ``"backward_time"``, ``"backward_clock"``, ``"row_order"``,
        ``"repeated_rows"``, ``"doubled_rows"``, ``"spikes"`` and
        ``"stuck_voltage"`` (NaN), ``"unsigned_current"``, ``"current_sign"``. Nothing
        is repaired unless named here.

    Returns
    -------
    xarray.Dataset
        On ``record``: ``voltage`` (V), ``current`` (mA, positive charges the cell),
        and if the file has them ``capacity`` (mA h), ``energy`` (mW h),
        ``cycle``, ``step``, ``temperature`` (degC); ``charge_capacity`` and so on
        if the cycler counts both directions apart. Coordinates: ``test_time`` (s
        from the first row, continued over later files), ``time`` (UTC, from each row's
        own clock reading if the file has them), ``file``, which changes where a
        piece of a file ends: where another continues, or rows of impedance were left
        out (its attribute ``source_file`` then gives the file of each piece), and, if
        test time ever stood still, ``pause`` (s before the row). Attributes:
        ``flags`` (what looks implausible; empty if nothing does) with a message each
        in ``flag_notes``, ``gap_s`` between files, ``row_clock`` (JSON by file: source
        of ``time``, pauses, drift), ``start_local`` as written, ``header``
        (JSON).

    Raises
    ------
    ArgumentError
        If a file does not exist, has no known format, or an argument is wrong.
    FileFormatError
        If a file is damaged; the message names the file and, for text, the line.
    MissingDependencyError
        If the format needs a library or program that is not installed.

    Warns
    -----
    DataQualityWarning
        Once for an undeclared time zone, and once for each flag.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> folder = batteryxr.simulate.write_cell_experiment(cell, "run")
    >>> record = batteryxr.read_cycler("run/cell.mpt", timezone="Europe/Paris")
    >>> record["voltage"].dims
    ('record',)
    """
    where = clock.zone(timezone)
    wanted = plausibility.known(repair)
    options = Options(columns=columns, dayfirst=dayfirst, test=test)
    paths = find(path, format=format)
    tables: list[RawTable] = []
    for one in paths:
        with named(one):
            table = FORMATS[identify(one, format)].read(one, options)
            check(table)
            # Sums and quotients of what no cell has may overflow: it is flagged.
            with np.errstate(over="ignore", invalid="ignore"):
                if table.rows:
                    table = without_marks(without_summaries(table))
                    table = directed(zoned(table, where))
                    table = plausibility.examine(table, wanted, one.name)
            tables.append(table)
    if not any(table.rows for table in tables):
        raise NothingFoundError(paths[0], f"no cycling in it: {tables[0].silence}.")
    dataset, messages = join(tables, [p.name for p in paths], where, timezone or "")
    for message in messages + plausibility.unused(wanted, tables):
        warn_quality(message)
    return bounds.told(dataset)


def identify(path: Path, name: str | None = None) -> str:
    """Return the name of the format of a file.

    Parameters
    ----------
    path
        The file.
    name
        Name of the format, if the caller knows it.

    Raises
    ------
    ArgumentError
        If `name` is no format, or the file has no known format.
    FileFormatError
        If the file is empty or cannot be opened.
    """
    if name is not None:
        if name not in FORMATS:
            raise ArgumentError("format", name, f"one of {sorted(FORMATS)}")
        return name
    start = head(path)
    for key, form in FORMATS.items():
        if form.matches(start):
            return key
    if (key_by_name := by_suffix(path)) is not None:
        return key_by_name
    kind = kind_of(start)
    if kind is None and vendor_csv.holds_table(start):
        return "csv"
    kind = kind or kind_of_text(start, path.suffix)
    if kind is not None:
        mend = f"It is {kind.words}. {kind.mend}"
    elif (known := _ELSE.get(path.suffix.lower())) is not None:
        mend = f"It is {known}."
    else:
        mend = f"If you know what it is, pass format= one of {sorted(FORMATS)}."
    raise ArgumentError(
        "path", str(path), f"a file that ends in one of {known_suffixes()}", mend
    )


def by_suffix(path: Path) -> str | None:
    """Return the format that the file name suggests, or None."""
    lower = path.name.lower()
    for key, form in FORMATS.items():
        if lower.endswith(form.suffixes):
            return key
    return "csv" if _NUMBERED.fullmatch(lower) else None


def known_suffixes() -> list[str]:
    """Return all endings of file names that some reader takes."""
    suffixes = {s for form in FORMATS.values() for s in form.suffixes}
    return [*sorted(suffixes), _ALL_NUMBERS]


def find(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    format: str | None = None,
) -> list[Path]:
    """Return the paths that `path` names, in natural order of their names.

    Raises
    ------
    ArgumentError
        If there is none, one does not exist, or a folder mixes formats.
    """
    if isinstance(path, list | tuple):
        if not path:
            raise ArgumentError("path", path, "at least one path")
        return [one for item in path for one in find(item, format=format)]
    one = Path(path).expanduser()  # type: ignore[arg-type]
    if os.path.isdir(one):
        return _in_folder(one, format)
    if os.path.lexists(one):
        return [one]
    matches = [Path(m) for m in glob.glob(str(one))]
    if not matches:
        raise ArgumentError(
            "path",
            str(one),
            "an existing file, folder or pattern",
            f"The current folder is {Path.cwd()}.",
        )
    return sorted(matches, key=_natural)


def _in_folder(folder: Path, format: str | None) -> list[Path]:
    taken = files_in(folder, lambda p: by_suffix(p) is not None)
    inside = sorted(taken, key=_natural)
    known = {p: by_suffix(p) for p in inside}
    if format is not None:
        chosen = [p for p in inside if known[p] == format]
    else:
        chosen = [p for p in inside if known[p] is not None]
        kinds = sorted({str(known[p]) for p in chosen})
        if len(kinds) > 1:
            raise ArgumentError(
                "path",
                str(folder),
                "a folder whose cycler files are of one format",
                f"It holds {', '.join(kinds)}: pass format= one of them, or a pattern.",
            )
    if not chosen:
        raise ArgumentError(
            "path",
            str(folder),
            f"a folder with files that end in one of {known_suffixes()}",
        )
    return chosen


def _natural(path: Path) -> list[tuple[int, str]]:
    # Put run_2 before run_10.
    parts = re.split(r"(\d+)", path.name)
    return [(int(p), "") if p.isdigit() else (-1, p) for p in parts]
