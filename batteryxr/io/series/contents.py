"""What a file holds: its columns, which of them are read, and the scans they make."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import FileFormatError, warn_quality
from batteryxr.core.kernels.monitors import lit, upright
from batteryxr.io.door.marks import marks_in
from batteryxr.io.series.chambers import by_units, in_order, mapped
from batteryxr.io.series.roles import LAYOUTS, layout_of, role_of
from batteryxr.io.series.tables import (
    Table,
    average_repeated,
    read_tables,
    refuse_unsorted,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batteryxr.io.series.headers import Header
    from batteryxr.io.series.roles import Dialect, Role

#: Axes that a series may have.
AXES = ("energy", "r", "q", "two_theta", "shift")
#: Values computed from several columns: their roles, and the function.
FORMULAS: dict[str, tuple[tuple[str, ...], Callable[..., np.ndarray]]] = {
    "transmission": (("i0", "it"), lambda i0, it: np.log(lit(i0) / lit(it))),
    "fluorescence": (("i0", "fluo"), lambda i0, fl: upright(fl) / lit(i0)),
    "electron_yield": (("i0", "tey"), lambda i0, ey: upright(ey) / lit(i0)),
    "reference": (("it", "ir"), lambda it, ir: np.log(lit(it) / lit(ir))),
    "attenuated": (("intensity", "attenuation"), lambda i, factor: i * factor),
}
#: Photon energy times wavelength (eV Angstrom).
_HC = 12398.419843320026


@dataclass(frozen=True)
class Pick:
    """Hold one spectrum of a file: column groups, their formula, quantity and name."""

    groups: tuple[tuple[int, ...], ...]
    formula: str
    quantity: str
    column: str


@dataclass(frozen=True)
class Choice:
    """Hold the columns that are read from a file.

    Attributes
    ----------
    axis, position, units
        The axis, its column, and its units if the names or the layout give them.
    picks
        The spectra to read.
    beside
        Coordinates that have columns of their own: name -> column.
    note
        Message for the user.
    """

    axis: str
    position: int
    units: str
    picks: tuple[Pick, ...]
    beside: dict[str, int]
    note: str = ""


@dataclass(frozen=True)
class FileColumns:
    """Hold the columns of one file, and the header that describes them."""

    path: Path
    suffix: str
    n: int
    header: Header
    text: str

    @property
    def names(self) -> tuple[str, ...]:
        """Return column names as written, or nothing if the file gives none."""
        return self.header.names

    @functools.cached_property
    def layout(self) -> Dialect | None:
        """Return the layout whose sign the header holds, if any."""
        return layout_of(self.text)

    def roles(self, axis: str = "") -> tuple[Role, ...]:
        """Return the role of each column: by the layout, else by its name."""
        known = _roles(self.names, self.layout.name if self.layout else "", axis)
        if axis not in ("", "energy"):
            return known
        told = self.counted | self.mapped
        told |= by_units(self.names, known, self.header.units) if known else {}
        return tuple(told.get(i, role) for i, role in enumerate(known))

    @functools.cached_property
    def mapped(self) -> dict[int, Role]:
        """Return the roles of channels that other lines of the header describe."""
        known = _roles(self.names, self.layout.name if self.layout else "", "energy")
        return mapped(self.names, known, self.text.splitlines())

    @functools.cached_property
    def counted(self) -> dict[int, Role]:
        """Return the roles of ion chambers that are told by their order alone."""
        known = _roles(self.names, self.layout.name if self.layout else "", "energy")
        return {} if self.mapped else in_order(self.names, known)

    def units(self, column: int, axis: str) -> str:
        """Return the units of the axis, from its column, the layout or the header."""
        told = self.header.units[column] if self.names else self.header.first[1]
        layout = self.layout
        if not told and axis == "energy":
            name = self.names[column].lower() if self.names else ""
            if name in ("kev", "ev"):
                return {"kev": "keV", "ev": "eV"}[name]
            return layout.energy_units if layout else ""
        return told or self.header.axis_units(axis)

    def listed(self) -> str:
        """Return the list of columns as text."""
        if self.names:
            return ", ".join(f"{i}: {name!r}" for i, name in enumerate(self.names))
        return f"{self.n} columns without names, 0 to {self.n - 1}"


@functools.lru_cache(maxsize=1024)
def _roles(names: tuple[str, ...], layout: str, axis: str) -> tuple[Role, ...]:
    called = next((row.roles for row in LAYOUTS if row.name == layout), {})
    found = []
    for name in names:
        role, known = role_of(name, axis), called.get(name.lower())
        if known:  # a column that is plainly called energy goes before it
            role = dataclasses.replace(role, name=known, rank=int(known in AXES))
        found.append(role)
    return tuple(found)


@dataclass(frozen=True)
class Scale:
    """Describe the conversion of the numbers of an axis to the units of the data model.

    Attributes
    ----------
    factor
        Size of the file's unit in units of the data model.
    spacing
        Lattice spacing of the monochromator (Angstrom) if the axis is its angle, or 0.
    """

    factor: float = 1.0
    spacing: float = 0.0

    def apply(self, axis: np.ndarray) -> np.ndarray:
        """Return the axis in units of the data model."""
        scaled = axis * self.factor
        if not self.spacing:
            return scaled
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            return _HC / (2 * self.spacing * np.sin(np.deg2rad(scaled)))


@dataclass(frozen=True)
class ScanSource:
    """Place and columns of one scan, to read it again on any thread or process."""

    path: Path
    position: int
    groups: tuple[tuple[int, ...], ...]
    formula: str
    scale: Scale
    skip_rows: int
    piece: int = 0
    rows: tuple[int, int] | None = None
    energies: bool = False

    @property
    def columns(self) -> tuple[int, ...]:
        """Return all columns that are read, the axis first."""
        return (self.position, *(c for group in self.groups for c in group))

    def numbers(self, table: Table | None = None) -> np.ndarray:
        """Return the columns as stored in the file, with the axis scaled.

        Raises
        ------
        FileFormatError
            If the file is damaged; the message names the line.
        """
        table = table or read_tables(self.path, self.skip_rows)[self.piece]
        numbers = table.read(self.columns)
        if (bad := ~np.isfinite(numbers[0])).any():
            line = table.line_of(int(np.argmax(bad)))
            raise FileFormatError(self.path, "the axis is not finite here.", line)
        if self.scale != Scale():
            numbers[0] = self.scale.apply(numbers[0])
        for column in numbers[1:]:
            if (marked := marks_in(column)).any():
                warn_quality(
                    f"{self.path.name}: {int(marked.sum())} points hold "
                    f"{column[marked][0]:.10g} or such: no reading, but the mark of a "
                    "missing one. NaN"
                )
                column[marked] = np.nan
        return numbers

    def read(self, table: Table | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return axis (increasing) and values.

        Raises
        ------
        FileFormatError
            If the file is damaged or its axis goes back; the message names the line.
        """
        return self.combined(self.numbers(table))

    def combined(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return axis (increasing) and values from columns that were read."""
        if self.rows is not None:
            numbers = numbers[:, slice(*self.rows)]
        axis, *columns = numbers
        parts, start = [], 0
        for group in self.groups:
            chosen = columns[start : start + len(group)]
            parts.append(chosen[0] if len(chosen) == 1 else np.sum(chosen, axis=0))
            start += len(group)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            combine = FORMULAS[self.formula][1] if self.formula else None
            values = combine(*parts) if combine else parts[0]
        values = np.where(np.isfinite(values), values, np.nan)
        if axis[0] > axis[-1]:
            axis, values = axis[::-1].copy(), values[::-1].copy()
        if self.energies:
            axis, values = average_repeated(axis, values)
        refuse_unsorted(self.path, axis)
        return axis, values

    def resampled(
        self, grid: np.ndarray, axis: np.ndarray, values: np.ndarray
    ) -> np.ndarray:
        """Return values interpolated linearly on `grid`; NaN outside the axis."""
        return np.interp(grid, axis, values, left=np.nan, right=np.nan)


@dataclass(frozen=True)
class Scan:
    """Hold one spectrum whose header was read: source, labels, range of its axis."""

    source: ScanSource
    header: Header
    axis: str
    quantity: str
    column: str
    ends: tuple[float, float]
    data: tuple[np.ndarray, np.ndarray] | None = None
    seems_cut: bool = False
    notes: tuple[str, ...] = ()
    label: str = ""
    beside: dict[str, tuple[float, str]] = field(default_factory=dict)
    units: str = "1"
    doubts: dict[tuple[str, str], str] = field(default_factory=dict)
    digest: bytes = b""  # of numbers that are not read yet
