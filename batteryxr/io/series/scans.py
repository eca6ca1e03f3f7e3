"""One pattern or spectrum: which columns it takes, and how they become numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import ArgumentError, FileFormatError, UnitsError
from batteryxr.core.model import DIMENSIONS, QUANTITIES, attributes
from batteryxr.core.units import affine
from batteryxr.io.door.files import named
from batteryxr.io.series.columns import ColumnFile, read_columns
from batteryxr.io.series.headers import Header, read_header

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

#: Axes that a series may have.
AXES = ("energy", "r", "q", "two_theta", "shift")
#: What is made of several columns: their names, and the function of them.
FORMULAS: dict[str, tuple[tuple[str, ...], Callable[..., np.ndarray]]] = {
    "transmission": (("i0", "itrans"), lambda i0, it: np.log(i0 / it)),
    "fluorescence": (("i0", "ifluor"), lambda i0, fl: fl / i0),
    "reference": (("itrans", "irefer"), lambda it, ir: np.log(it / ir)),
}
#: Columns that are the result already, best first.
_READY = ("mutrans", "mufluor", "normtrans", "normfluor", "xmu", "mu", "norm")
_COUNTS = frozenset({"i0", "i1", "i2", "itrans", "ifluor", "irefer", "counttime"})
#: Energies below this are keV in all likelihood, unless units say otherwise.
_SOFTEST = 50.0  # eV: the Li K edge is at 55 eV
#: Axes that differ by less than this part of a step are the same, rounded otherwise.
_SAME = 1e-6


@dataclass(frozen=True)
class ScanSource:
    """What it takes to read one scan again, on any thread or process."""

    path: Path
    columns: tuple[int, ...]
    formula: str
    factor: float
    skip_rows: int

    def read(self, file: ColumnFile | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return axis (increasing) and values.

        Raises
        ------
        FileFormatError
            If the file is damaged, with the line.
        """
        file = file or read_columns(self.path, skip_rows=self.skip_rows)
        axis, *columns = file.read((0, *self.columns))
        if (bad := ~np.isfinite(axis)).any():
            line = file.line_of(int(np.argmax(bad)))
            raise FileFormatError(self.path, "the axis is not finite here.", line)
        self._refuse_repeated(axis)
        axis = axis * self.factor
        with np.errstate(divide="ignore", invalid="ignore"):
            combine = FORMULAS[self.formula][1] if self.formula else None
            values = combine(*columns) if combine else columns[0]
        values = np.where(np.isfinite(values), values, np.nan)
        if axis[0] > axis[-1]:
            axis, values = axis[::-1].copy(), values[::-1].copy()
        return axis, values

    def _refuse_repeated(self, axis: np.ndarray) -> None:
        """Raise where the axis is there several times, one after another."""
        again = np.flatnonzero(axis[1:] == axis[0])[:1] + 1
        length = int(again[0]) if again.size else 0
        if length < 2 or axis.size % length:
            return
        times = axis.size // length
        if np.array_equal(axis, np.tile(axis[:length], times)):
            raise FileFormatError(
                self.path,
                f"holds its {length} points {times} times, one after another: it was "
                "pasted or written twice. Keep one of them.",
            )

    def resampled(
        self, grid: np.ndarray, axis: np.ndarray, values: np.ndarray
    ) -> np.ndarray:
        """Return values on `grid`, linearly interpolated; NaN where it reaches out.

        Raises
        ------
        FileFormatError
            If the axis does not increase throughout.
        """
        steps = np.diff(axis)
        if (steps <= 0).any():
            row = int(np.argmax(steps <= 0)) + 1
            raise FileFormatError(
                self.path,
                f"the axis does not increase at row {row + 1} ({axis[row]:g} follows "
                f"{axis[row - 1]:g}), and differs from the other files: it cannot be "
                "interpolated. The file is damaged there; repair or remove it.",
            )
        return np.interp(grid, axis, values, left=np.nan, right=np.nan)


@dataclass(frozen=True)
class Scan:
    """One file, looked at: where it is, what it says, how far it reaches."""

    source: ScanSource
    header: Header
    axis: str
    quantity: str
    column: str
    ends: tuple[float, float]
    data: tuple[np.ndarray, np.ndarray] | None = None
    seems_cut: bool = False


def look(
    path: Path,
    *,
    axis: str | None,
    units: str | None,
    column: int | str | None,
    skip_rows: int,
    read: bool,
) -> Scan:
    """Read the header of one file and, if asked, its numbers.

    Raises
    ------
    ArgumentError
        If the axis or column cannot be told.
    FileFormatError
        If the file is damaged.
    """
    with named(path):
        file = read_columns(path, skip_rows=skip_rows)
        header = read_header(file)
        name = axis or header.axis(_suffix(path))
        if name is None:
            about = f" (first column: {header.first[0]!r})" if header.first[0] else ""
            raise ArgumentError(
                "axis",
                axis,
                f"one of {list(AXES)}",
                f"Neither header nor name of {path.name} tells what its axis is"
                f"{about}.",
            )
        columns, formula, quantity = _choose(file, header, name, column)
        told = units or header.first[1]
        source = ScanSource(
            path, columns, formula, _factor(name, told, path), skip_rows
        )
        data = source.read(file) if read else None
        ends = (
            np.multiply(file.ends(), source.factor)
            if data is None
            else data[0][[0, -1]]
        )
        if np.isnan(ends).any():
            source.read(file)  # raises, and names the line
        low, high = sorted(map(float, ends))
        chosen = formula or (header.names[columns[0]] if header.names else "")
        return Scan(
            source, header, name, quantity, chosen, (low, high), data, file.seems_cut
        )


def quantity_attributes(name: str) -> dict[str, Any]:
    """Return units and long name of what a series holds."""
    if name in QUANTITIES:
        return attributes(name)
    long_name = "Intensity" if name == "intensity" else name
    return attributes(name, units="1", long_name=long_name)


def same_axis(a: np.ndarray, b: np.ndarray) -> bool:
    """Tell whether two axes agree within the rounding of text."""
    if a.shape != b.shape:
        return False
    if np.array_equal(a, b):
        return True
    step = np.abs(np.diff(a)).min() if a.size > 1 else 0.0
    return bool(np.abs(a - b).max() <= _SAME * step)


def suspicious_energy(scan: Scan, units: str | None) -> bool:
    """Tell whether energies without units look like keV."""
    declared = units or scan.header.first[1]
    return scan.axis == "energy" and not declared and scan.ends[1] < _SOFTEST


def _suffix(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    return name[name.rfind(".") :]


def _factor(axis: str, units: str, path: Path) -> float:
    wanted = QUANTITIES[axis].units
    if not units:
        return 1.0
    try:
        factor, offset = affine(units, wanted)
    except UnitsError as error:
        raise ArgumentError(
            "axis",
            f"{axis} ({units})",
            f"units of {axis} ({DIMENSIONS[axis]}), such as {f'{axis} ({wanted})'!r}",
            f"If {path.name} names its units wrongly, pass the right ones.",
        ) from error
    if offset:
        raise ArgumentError("axis", f"{axis} ({units})", "units without an offset")
    return factor


def _choose(
    file: ColumnFile, header: Header, axis: str, column: int | str | None
) -> tuple[tuple[int, ...], str, str]:
    """Return columns, formula and the name of what they give."""
    names = [n.lower() for n in header.names]
    usual = {"r": "pdf", "energy": "absorption"}.get(axis, "intensity")
    if isinstance(column, int) and not isinstance(column, bool):
        if not 0 < column < file.n_columns:
            raise ArgumentError(
                "columns",
                column,
                f"1 to {file.n_columns - 1}, or a name",
                f"{file.path.name} has {file.n_columns} columns; 0 is the axis.",
            )
        counts = bool(names) and names[column] in _COUNTS
        return (column,), "", "intensity" if counts else usual
    if column is not None:
        return _named(file, header, str(column), usual)
    if axis == "energy":
        for ready in _READY:
            if ready in names[1:]:
                return (names.index(ready),), "", usual
        for formula, (needs, _) in list(FORMULAS.items())[:2]:
            if all(n in names for n in needs):
                return tuple(names.index(n) for n in needs), formula, usual
    return (1,), "", usual


def _named(
    file: ColumnFile, header: Header, column: str, usual: str
) -> tuple[tuple[int, ...], str, str]:
    names = [n.lower() for n in header.names]
    wanted = column.lower()
    if wanted in names[1:]:
        counts = wanted in _COUNTS
        return (names.index(wanted, 1),), "", "intensity" if counts else usual
    needs = FORMULAS[wanted][0] if wanted in FORMULAS else ()
    if needs and all(n in names for n in needs):
        return tuple(names.index(n) for n in needs), wanted, usual
    has = list(header.names[1:]) if header.names else "no column names"
    raise ArgumentError(
        "columns",
        column,
        f"a column's name or number, or one of {list(FORMULAS)}",
        f"{file.path.name} has {has}"
        + (f"; {wanted} needs {' and '.join(needs)}." if needs else "."),
    )
