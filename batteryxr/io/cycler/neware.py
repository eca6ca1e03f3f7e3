"""Read Neware ``.nda`` and ``.ndax`` through fastnda, or else through NewareNDA."""

from __future__ import annotations

import contextlib
import functools
import logging
import struct
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import FileFormatError, MissingDependencyError
from batteryxr.core.kernels.times import NAT
from batteryxr.core.optional import require
from batteryxr.io.cycler.table import RawTable
from batteryxr.io.door.archives import check_zip
from batteryxr.io.door.files import head, refuse_other, regular
from batteryxr.io.door.limits import WHOLE, refuse_larger
from batteryxr.io.door.words import told
from batteryxr.io.timing.rows import with_start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batteryxr.io.cycler.table import Options

#: Versions of files with the cycler's own clock and no time zone.
_LOCAL = {
    ".ndax": frozenset({1, 2, 3, 4, 5, 7}),
    ".nda": frozenset({1, 2, 3, 4, 26, 28, 29}),
}
#: Versions of .nda without a clock in their rows; fastnda adds test time to the start.
_WITHOUT_CLOCK = frozenset({1, 3, 4})
_PURPOSE = "reading Neware .nda and .ndax files"
#: Names here -> names in fastnda, and below in NewareNDA.
_FASTNDA = {
    "voltage": "voltage_V",
    "current": "current_mA",
    "capacity": "capacity_mAh",
    "energy": "energy_mWh",
    "cycle": "cycle_count",
    "step": "step_count",
    "step_index": "step_index",
}
_NEWARENDA = {
    "voltage": "Voltage",
    "current": "Current(mA)",
    "charge_capacity": "Charge_Capacity(mAh)",
    "discharge_capacity": "Discharge_Capacity(mAh)",
    "charge_energy": "Charge_Energy(mWh)",
    "discharge_energy": "Discharge_Energy(mWh)",
    "cycle": "Cycle",
    "step": "Step",
    "step_index": "Step_Index",
}
_AUX_UNITS = frozenset({"degC", "V", "mA", "kg", "kPa", "mm"})
_guard = threading.Lock()


def read(path: Path, options: Options | None = None) -> RawTable:
    """Read one file.

    Raises
    ------
    FileFormatError
        If it is damaged, or of a version that neither library reads.
    MissingDependencyError
        If neither library is installed.
    """
    if path.suffix.lower() == ".ndax":
        check_zip(path).close()
    else:
        refuse_other(path, head(path), "neware")
        refuse_larger(path, regular(path), WHOLE)
    table = _read(path)
    missing = _missing(path)
    if not missing:
        return table
    said = f"{missing:,} bytes of rows are missing: the file is cut"
    return replace(table, notes={**table.notes, "cut": said})


def _read(path: Path) -> RawTable:
    try:
        return _with_fastnda(path)
    except (MissingDependencyError, NotImplementedError) as error:
        try:
            return _with_newarenda(path)
        except MissingDependencyError:
            if isinstance(error, MissingDependencyError):
                raise error from None
            raise FileFormatError(
                path,
                f"is of version {_version(path)}, which fastnda does not know. "
                "NewareNDA may: pip install NewareNDA.",
            ) from error


def _with_fastnda(path: Path) -> RawTable:
    said: list[str] = []
    fastnda, ndax = _fastnda()
    with _guard:
        with _damage_named(path), _one_worker(ndax), _overheard(said):
            frame = fastnda.read(path, cycle_mode="raw")
            version = _version(path)
        header = _metadata(fastnda, path)
    total = frame["total_time_s"].to_numpy().astype(np.float64)
    columns = {"test_time": total} | {
        name: frame[label].to_numpy().astype(np.float64)
        for name, label in _FASTNDA.items()
        if label in frame.columns
    }
    aux, units = _auxiliary(frame)
    unix = None
    if "unix_time_s" in frame.columns:
        unix = frame["unix_time_s"].to_numpy().astype(np.float64)
    if said:
        header["reader_messages"] = said
    labels = {name: label for name, label in _FASTNDA.items() if name in columns}
    table = _table(
        path,
        columns | aux,
        unix,
        local=_is_local(path, version),
        header=header | {"file_version": version, "reader": "fastnda"},
        labels=labels | {"test_time": "total_time_s"},
        units=units,
        said=said,
    )
    return replace(table, numbers=frame["index"].to_numpy().astype(np.float64))


def _fastnda() -> tuple[Any, Any]:
    # If isal is available, fastnda replaces zlib's functions for the whole process.
    options: Any = {"extra": "io", "purpose": _PURPOSE, "without": ("isal",)}
    return require("fastnda", **options), require("fastnda.ndax", **options)


def _with_newarenda(path: Path) -> RawTable:
    module = require("NewareNDA", extra="io", purpose=_PURPOSE)
    with _guard, _damage_named(path), _overheard([], "newarenda"):
        try:
            frame = module.read(
                str(path), software_cycle_number=False, log_level="ERROR"
            )
        except NotImplementedError as error:
            raise FileFormatError(
                path,
                f"is of version {_version(path)}, which no library knows. Export it "
                "as .csv or .xlsx.",
            ) from error
        version = _version(path)
    with _damage_named(path):
        columns = {
            name: frame[label].to_numpy(dtype=np.float64)
            for name, label in _NEWARENDA.items()
            if label in frame.columns
        }
        columns["test_time"] = _running(
            frame["Time"].to_numpy(dtype=np.float64), columns
        )
        stamps = frame["Timestamp"]
        local = stamps.dt.tz is None
        if not local:
            stamps = stamps.dt.tz_convert("UTC").dt.tz_localize(None)
        unix = stamps.to_numpy(dtype="datetime64[ns]").astype(np.int64) * 1e-9
    labels = {name: label for name, label in _NEWARENDA.items() if name in columns}
    header = {"file_version": version, "reader": "NewareNDA"}
    return _table(
        path,
        columns,
        unix,
        local=local,
        header=header,
        labels=labels | {"test_time": "Time"},
        units={},
        said=[],
    )


def _table(
    path: Path,
    columns: dict[str, np.ndarray],
    unix: np.ndarray | None,
    *,
    local: bool,
    header: dict[str, Any],
    labels: dict[str, str],
    units: dict[str, str],
    said: list[str],
) -> RawTable:
    notes = {}
    if any("aux" in line.lower() for line in said):
        notes["auxiliary_lost"] = (
            "auxiliary channels (temperatures) are in the file, but what describes "
            "them is damaged: they are left out"
        )
    table = RawTable(
        columns=columns,
        instrument="Neware",
        unix_time=None if local else unix,
        local_time=_whole(unix) if local and unix is not None else None,
        header=header,
        labels=labels,
        units={"step_index": "1"} | units,
        notes=notes,
    )
    table = with_start(table)
    if path.suffix.lower() == ".nda" and header.get("file_version") in _WITHOUT_CLOCK:
        return replace(table, local_time=None)
    return table


def _whole(unix: np.ndarray) -> np.ndarray:
    """Return seconds as integer ns, rounded to the microsecond that a float holds."""
    sound = np.isfinite(unix)
    whole = np.rint(np.where(sound, unix, 0.0) * 1e6).astype(np.int64) * 1000
    return np.where(sound, whole, NAT)


def _auxiliary(frame: Any) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return auxiliary channels, with the first temperature as the cell's."""
    columns: dict[str, np.ndarray] = {}
    units: dict[str, str] = {}
    for label in frame.columns:
        if not label.startswith("aux"):
            continue
        channel, _, rest = label.partition("_")
        quantity, _, unit = rest.rpartition("_")
        if unit not in _AUX_UNITS:
            continue
        name = f"{channel}_{quantity}".replace("-", "_")
        if quantity == "temperature" and "temperature" not in columns:
            name = "temperature"
        columns[name] = frame[label].to_numpy().astype(np.float64)
        units[name] = unit
    return columns, units


def _running(step_time: np.ndarray, columns: dict[str, np.ndarray]) -> np.ndarray:
    """Return the time from the start of the test, given the time in each step."""
    new = np.flatnonzero(np.diff(columns["step"]) != 0) + 1
    before = np.zeros(step_time.size)
    before[new] = step_time[new - 1]
    return step_time + np.cumsum(before)


def _is_local(path: Path, version: int) -> bool:
    return version in _LOCAL[path.suffix.lower()]


def _version(path: Path) -> int:
    if path.suffix.lower() == ".ndax":
        with check_zip(path) as archive, archive.open("data.ndc") as member:
            return member.read(3)[2]
    return head(path)[14]


def _missing(path: Path) -> int:
    """Return how many bytes of rows are missing at the end of an .nda file.

    Its header gives the beginning and length of the rows and of the auxiliary rows.
    """
    if path.suffix.lower() != ".nda":
        return 0
    start, size = head(path), regular(path)
    new = start[14] > max(_LOCAL[".nda"])
    form, places = ("<2Q", (82, 1024 + 82)) if new else ("<2I", (64, 72))
    ends = [
        begin + length
        for place in places
        if place + struct.calcsize(form) <= len(start)
        for begin, length in [struct.unpack_from(form, start, place)]
        if 0 < begin <= size
    ]
    return max(0, max(ends, default=0) - size)


def _metadata(fastnda: Any, path: Path) -> dict[str, Any]:
    """Return the description of the test; empty if that part is damaged."""
    try:
        return {"metadata": fastnda.read_metadata(path)}
    except Exception:  # a damaged note does not harm the measured rows
        return {}


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn any error of a library on a damaged file into a `FileFormatError`."""
    try:
        yield
    except (FileFormatError, NotImplementedError, MemoryError):
        raise
    except Exception as error:
        raise FileFormatError(
            path,
            f"is not a whole Neware file: {told(error)}. Copy or export it again.",
        ) from error


@contextlib.contextmanager
def _one_worker(ndax: Any) -> Iterator[None]:
    """Let fastnda read the members of one ZipFile one after another.

    From Python 3.12 on, several threads that read one ZipFile disturb each other:
    a few reads in a thousand then fail with false reports of damage.
    """
    pool = ndax.ThreadPoolExecutor
    ndax.ThreadPoolExecutor = functools.partial(pool, max_workers=1)
    try:
        yield
    finally:
        ndax.ThreadPoolExecutor = pool


@contextlib.contextmanager
def _overheard(said: list[str], name: str = "fastnda") -> Iterator[None]:
    """Collect the log of a library instead of letting it print tracebacks."""
    logger = logging.getLogger(name)
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    passes_on, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = passes_on
