"""Read Arbin ``.res`` files: Access databases, through the program mdb-export."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import shutil
import subprocess
import tempfile
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from batteryxr.core.errors import (
    ArgumentError,
    FileFormatError,
    MissingDependencyError,
)
from batteryxr.io.cycler.labels import CLOCK, choose, refuse_incomplete
from batteryxr.io.cycler.table import Options, RawTable
from batteryxr.io.cycler.text import TextTable
from batteryxr.io.cycler.vendors import ARBIN
from batteryxr.io.door.files import head, regular
from batteryxr.io.door.limits import WHOLE, refuse_larger
from batteryxr.io.timing.cells import Style
from batteryxr.io.timing.rows import stamped

if TYPE_CHECKING:
    from pathlib import Path

_ROWS, _TESTS = "Channel_Normal_Table", "Global_Table"
_DAY_ZERO = datetime(1899, 12, 30)  # day 0 of Access dates
#: Limits on a damaged database: seconds, bytes a second, and the largest ratio of
#: exported text to the size of the file.
_PATIENCE, _SLOWEST, _EXPANSION = 20, 1_000_000, 30


def read(path: Path, options: Options) -> RawTable:
    """Read one test of a file.

    Parameters
    ----------
    path
        The file.
    options
        `Options.test` chooses by ``Test_ID`` if the file holds several tests.

    Raises
    ------
    MissingDependencyError
        If mdbtools is not installed.
    ArgumentError
        If the file holds several tests and none was chosen.
    FileFormatError
        If the database is damaged.
    """
    tests = _tests(path)
    rows = _export(path, _ROWS)
    end = rows.find(b"\n") + 1
    labels = tuple(next(csv.reader([rows[:end].decode("latin-1")]), []))
    table = TextTable(labels, rows[end:], ",", 2)
    found = choose(labels, ARBIN.columns, options.columns)
    refuse_incomplete(found, labels, path)
    wanted = {n: s.index for n, s in found.items()}
    for name in ("Test_ID", "Data_Point"):
        if name not in labels:
            raise FileFormatError(path, f"table {_ROWS} has no column {name}.")
        wanted[name] = labels.index(name)
    if not table.body:
        raise FileFormatError(path, f"table {_ROWS} has no rows.")
    columns = table.read(wanted)
    chosen = _choose(path, columns["Test_ID"], tests, options.test)
    here = np.flatnonzero(columns.pop("Test_ID") == chosen)
    points = columns.pop("Data_Point")[here]
    here = here[np.argsort(points, kind="stable")]
    stamps = columns.pop(CLOCK, None)
    columns = {
        name: values[here] * found[name].factor + found[name].offset
        for name, values in columns.items()
    }
    header = tests.get(chosen, {})
    notes = {}
    if not np.isfinite(points).all() or np.unique(points).size != points.size:
        raise FileFormatError(
            path, f"table {_ROWS}: Data_Point does not number the rows. It is damaged."
        )
    lost = int(np.ptp(points)) + 1 - len(points)
    if lost > 0:
        notes["missing_rows"] = f"{lost} of {lost + len(points)} rows are not there"
    # A database of Access 2000 or later (1) has pages of 4096 bytes.
    if regular(path) % (4096 if head(path)[20:21] != b"\0" else 2048):
        notes["cut"] = "the database ends within a page: the file is cut"
    whole = RawTable(
        columns,
        instrument=" ".join(["Arbin", header.get("Serial_Number", "")]).strip(),
        header=header,
        labels={n: s.label for n, s in found.items()},
        units={n: s.units for n, s in found.items()},
        notes=notes,
    )
    start = _start(header.get("Start_DateTime", ""))
    return stamped(whole, None if stamps is None else stamps[here], Style(), start)


def _export(path: Path, table: str) -> bytes:
    program = shutil.which("mdb-export")
    if program is None:
        raise MissingDependencyError(
            "reading Arbin .res files needs the program mdb-export of mdbtools, which "
            "is not installed. Install it with: apt install mdbtools (Linux) or "
            "brew install mdbtools (macOS)"
        )
    size = regular(path)
    refuse_larger(path, size, WHOLE)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        code = _run([program, str(path.resolve()), table], out, err, path, size)
        out.seek(0)
        exported = out.read()
        err.seek(0)
        said = err.read(10_000).decode("latin-1").strip().splitlines()
    if code != 0 or not exported.strip():
        raise FileFormatError(
            path,
            f"mdb-export cannot read table {table} "
            f"({said[-1] if said else f'exit code {code}'}). "
            "Is it an Arbin result file, copied whole?",
        )
    return exported


def _run(
    command: list[str], out: BinaryIO, err: BinaryIO, path: Path, size: int
) -> int:
    """Run a program until it ends; stop it if it writes too much or takes too long."""
    most = _EXPANSION * size + 1_000_000
    until = time.monotonic() + _PATIENCE + size / _SLOWEST
    with subprocess.Popen(command, stdout=out, stderr=err) as running:
        wait = 0.002
        while running.poll() is None:
            large = max(os.fstat(f.fileno()).st_size for f in (out, err)) > most
            if large or time.monotonic() > until:
                running.kill()
                raise FileFormatError(
                    path,
                    "mdb-export goes round in a circle in it: it is damaged. Copy it "
                    "again.",
                )
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(wait)
            wait = min(2 * wait, 0.1)
        return running.returncode


def _tests(path: Path) -> dict[int, dict[str, str]]:
    """Return the file's description of each test, by number."""
    text = _export(path, _TESTS).decode("utf-8", errors="replace")
    tests = {}
    for row in csv.DictReader(io.StringIO(text)):
        number = row.get("Test_ID") or ""
        if number.isdigit():
            tests[int(number)] = {
                str(k): v for k, v in row.items() if isinstance(v, str) and v
            }
    return tests


def _choose(
    path: Path, ids: np.ndarray, tests: dict[int, dict[str, str]], test: int | None
) -> int:
    present = sorted({int(i) for i in np.unique(ids[np.isfinite(ids)])})
    if not present:
        raise FileFormatError(path, f"table {_ROWS} has no rows of any test.")
    if test is None and len(present) == 1:
        return present[0]
    if test in present:
        return int(test)
    names = {i: tests.get(i, {}).get("Test_Name", "") for i in present}
    raise ArgumentError(
        "test", test, f"one of the tests in {path.name}: {names}", "Pass test=."
    )


def _start(days: str) -> datetime | None:
    try:
        return _DAY_ZERO + timedelta(days=float(days))
    except (ValueError, OverflowError):
        return None
