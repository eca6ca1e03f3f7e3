"""Read the spectra or patterns of one file: their columns, axis and values."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import (
    ArgumentError,
    UnitsError,
)
from batteryxr.core.kernels import monitors
from batteryxr.core.model import DIMENSIONS, QUANTITIES, attributes, in_words
from batteryxr.core.units import affine
from batteryxr.io.door.files import named
from batteryxr.io.series.chambers import ALONG_BEAM
from batteryxr.io.series.choice import choose, made
from batteryxr.io.series.contents import (
    FORMULAS,
    Choice,
    FileColumns,
    Pick,
    Scale,
    Scan,
    ScanSource,
)
from batteryxr.io.series.headers import Header, read_header
from batteryxr.io.series.tables import (
    Table,
    read_tables,
    split,
)

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

#: Energies below this are probably keV, unless units say otherwise.
_SOFTEST = 50.0  # eV: the Li K edge is at 55 eV
#: Energies without units between these are keV, if monitors say that it is a beam that
#: went through a sample and the scan is one over an edge.
_KILO = (1.5, _SOFTEST)
_ONE_EDGE = 1.4
_THROUGH = ("transmission", "fluorescence")
#: Names of absorption of X-rays: light has an absorbance.
_OF_XRAYS = re.compile(r"(?i)^x?mu|xas|xanes|norm|flat")
#: Two columns of energies that differ by more are not one axis, read and set.
_APART = 0.3  # eV
#: Axes that differ by less than this fraction of a step are equal up to rounding.
_SAME = 1e-6
#: Headers of programs whose energies may be counted from the edge.
_FROM_EDGE = re.compile(r"E_edge|E0 *= *0\b|relative to|<xanes>", re.IGNORECASE)


@dataclass(frozen=True)
class Wanted:
    """Request of the user: axis, column and rows to read.

    Attributes
    ----------
    axis, units
        Name and units of the axis, if given.
    column
        Column to read, if given.
    skip_rows
        Lines at the top that belong to the header, whatever they contain.
    read
        Whether the numbers are read now.
    """

    axis: str | None = None
    units: str | None = None
    column: int | str | None = None
    skip_rows: int = 0
    read: bool = True


def look(path: Path, wanted: Wanted) -> list[Scan]:
    """Read the header of one file and, if asked, its numbers: one scan or several.

    Raises
    ------
    ArgumentError
        If the axis or column is ambiguous.
    FileFormatError
        If the file is damaged.
    """
    with named(path):
        tables = read_tables(path, wanted.skip_rows)
        scans: list[Scan] = []
        refused: list[tuple[str, ArgumentError]] = []
        for piece, table in enumerate(tables):
            try:
                scans += _scans(table, piece, path, wanted)
            except ArgumentError as error:
                if len(tables) == 1:
                    raise
                refused.append((table.label, error))
        if not scans:
            raise refused[0][1]
        if len(tables) > 1 and refused:
            left = "; ".join(name for name, _ in refused[:5])
            note = f"{path.name}: {len(refused)} scans of other kinds are left: {left}"
            scans[0] = replace(scans[0], notes=(*scans[0].notes, note))
        return scans


def described(path: Path, skip_rows: int) -> FileColumns:
    """Return the columns of the first table of a file, with its header."""
    with named(path):
        table = read_tables(path, skip_rows)[0]
        return _columns(table, path)


def _columns(table: Table, path: Path) -> FileColumns:
    header = read_header(table)
    text = "\n".join(table.header)
    return FileColumns(path, _suffix(path), table.n_columns, header, text)


def _scans(table: Table, piece: int, path: Path, wanted: Wanted) -> list[Scan]:
    columns = _columns(table, path)
    choice = choose(columns, wanted.axis, wanted.column)
    scale = _scale(choice, columns, wanted.units, path)
    _refuse_relative(table, columns, choice, wanted)
    scale, kilo = _kilo(table, columns, choice, scale, wanted.units)
    said = (choice.note, kilo, _other_energies(table, columns, choice, scale))
    found = []
    for pick in choice.picks:
        source = ScanSource(
            path, choice.position, pick.groups, pick.formula, scale, wanted.skip_rows
        )
        source = replace(source, piece=piece, energies=choice.axis == "energy")
        many = len(choice.picks) > 1
        first = Scan(
            source,
            columns.header,
            choice.axis,
            pick.quantity,
            "" if many else pick.column,
            (np.nan, np.nan),
            seems_cut=table.seems_cut,
            notes=tuple(filter(None, said)),
            label=pick.column if many else table.label,
            units=_percent(columns, pick),
        )
        if wanted.read:
            found += _whole(first, table, choice)
        else:
            asked = repr((pick.groups, pick.formula)).encode()
            digest = hashlib.blake2b(table.raw + asked, digest_size=16).digest()
            found.append(replace(_ends(first, table), digest=digest))
    told = wanted.units or choice.units or scale.spacing or kilo
    if choice.axis == "energy" and not told:
        found = [_doubted(scan) for scan in found]
    return found


def _other_energies(
    table: Table, columns: FileColumns, choice: Choice, scale: Scale
) -> str:
    """Return a note on columns of energies that differ from those of the axis."""
    if choice.axis != "energy" or scale.spacing:
        return ""
    mine = scale.apply(np.array(table.ends(choice.position)))
    for i, role in enumerate(columns.roles("energy")):
        if role.name != "energy" or i == choice.position:
            continue
        factor = _factor("energy", columns.units(i, "energy"), columns.path)
        theirs = factor * np.array(table.ends(i))
        if theirs[0] != theirs[1] and np.abs(theirs - mine).max() > _APART:
            return (
                f"{columns.names[i]!r} holds other energies than the axis, "
                f"{columns.names[choice.position]!r}: columns={columns.names[i]!r} "
                "gives them."
            )
    return ""


def _kilo(
    table: Table, columns: FileColumns, choice: Choice, scale: Scale, given: str | None
) -> tuple[Scale, str]:
    """Return the scale of energies without units that can only be keV, and a note.

    Beams that are measured on both sides of a sample have no energy of a few eV.
    """
    seen = any(pick.formula in _THROUGH for pick in choice.picks)
    seen = seen or "transmission" in made(columns, "energy")
    seen = seen or any(_OF_XRAYS.search(pick.column) for pick in choice.picks)
    if choice.axis != "energy" or given or choice.units or scale.spacing or not seen:
        return scale, ""
    low, high = sorted(table.ends(choice.position))
    if not (_KILO[0] <= low < high <= _KILO[1] and high < _ONE_EDGE * low):
        return scale, ""
    note = (
        f"energies without units run from {low:g} to {high:g}: taken as keV. If they "
        "are eV, pass axis='energy (eV)'."
    )
    return Scale(1000.0), note


def _refuse_relative(
    table: Table, columns: FileColumns, choice: Choice, wanted: Wanted
) -> None:
    """Raise if energies are none of photons: FDMNES counts them from the edge."""
    if choice.axis != "energy" or wanted.axis:
        return
    low = min(table.ends(choice.position))
    told = _FROM_EDGE.search("\n".join(table.header))
    if not (low <= 0 or (told and low < _SOFTEST)):
        return
    raise ArgumentError(
        "axis",
        wanted.axis,
        "'energy (eV)', to read the energies as they stand",
        f"Those of {columns.path.name} begin at {low:g} and seem to be counted from an "
        "edge. Read so, add the energy of the edge: "
        "spectra.assign_coords(energy=spectra.energy + 7112).",
    )


def _doubted(scan: Scan) -> Scan:
    if scan.ends[1] >= _SOFTEST:
        return scan
    note = (
        f"energies without units end at {scan.ends[1]:g} and are taken as eV. "
        "If they are keV, pass axis='energy (keV)'."
    )
    return replace(scan, notes=(*scan.notes, note))


def _ends(scan: Scan, table: Table) -> Scan:
    source = scan.source
    ends = source.scale.apply(np.array(table.ends(source.position)))
    if np.isnan(ends).any() or ends[0] == ends[1]:
        source.read(table)  # raises, and names the line
    low, high = sorted(map(float, ends))
    return replace(scan, ends=(low, high))


def _whole(scan: Scan, table: Table, choice: Choice) -> list[Scan]:
    """Return the scan with its numbers, split into several where its axis turns."""
    source = scan.source
    numbers = source.numbers(table)
    scan = replace(scan, doubts=_doubts(scan, numbers))
    names = list(choice.beside)
    spans = split(source.path, numbers)
    if len(spans) == 1:
        data = source.combined(numbers)
        if lost := numbers.shape[1] - data[0].size:
            note = f"{source.path.name}: {lost} energies stand there twice: averaged"
            scan = replace(scan, notes=(*scan.notes, note))
        ends = float(data[0][0]), float(data[0][-1])
        return [replace(scan, data=data, ends=ends)]
    beside = (
        table.read([choice.beside[n] for n in names]) if names else np.empty((0, 0))
    )
    parted = f"{source.path.name} is {len(spans)} scans, parted where its axis turns"
    found = []
    for number, (start, stop) in enumerate(spans, 1):
        part = replace(source, rows=(start, stop))
        data = part.combined(numbers)
        at = {
            name: (float(column[start]), _units_of(scan.header, choice.beside[name]))
            for name, column in zip(names, beside, strict=True)
            if np.ptp(column[start:stop]) == 0
        }
        notes = scan.notes if at else (*scan.notes, parted)
        label = " ".join(filter(None, (scan.label, str(number))))
        ends = float(data[0][0]), float(data[0][-1])
        found.append(
            replace(
                scan,
                source=part,
                data=data,
                ends=ends,
                label=label,
                beside=at,
                notes=notes,
            )
        )
    return found


def _doubts(scan: Scan, numbers: np.ndarray) -> dict[tuple[str, str], str]:
    """Return what is wrong with the monitors that absorption is computed from.

    Keys are a column's name and the kind, values what is seen.
    """
    source, names = scan.source, scan.header.names
    if source.formula in ("", "attenuated"):  # an attenuator may stand still
        return {}
    beams = FORMULAS[source.formula][0]
    roles = [r for r, g in zip(beams, source.groups, strict=True) for _ in g]
    return {
        (names[column], kind): seen
        for role, column, values in zip(
            roles, source.columns[1:], numbers[1:], strict=True
        )
        for kind, seen in monitors.doubts(values, beam=role in ALONG_BEAM).items()
    }


def _percent(columns: FileColumns, pick: Pick) -> str:
    """Return the units of the values: "percent" if the column's name says so."""
    if not columns.names:
        return "1"
    column = pick.groups[0][0]
    told = columns.names[column] + columns.header.units[column]
    return "percent" if "%" in told else "1"


def _units_of(header: Header, column: int) -> str:
    return header.units[column] if header.units else ""


def quantity_attributes(name: str, units: str = "1") -> dict[str, Any]:
    """Return units and long name of the quantity that a series holds."""
    if name in QUANTITIES:
        return attributes(name)
    return attributes(name, units=units, long_name=in_words(name))


def _suffix(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    return name[name.rfind(".") :]


def _scale(
    choice: Choice, columns: FileColumns, units: str | None, path: Path
) -> Scale:
    roles = columns.roles(choice.axis)
    role = roles[choice.position] if roles else None
    angle = role is not None and choice.axis == "energy"
    if angle and role is not None and role.name in ("angle", "two_theta"):
        told = choice.units or "deg"
        factor = _factor("two_theta", "deg" if told == "eV" else told, path)
        return Scale(factor, columns.header.spacing())
    return Scale(_factor(choice.axis, units or choice.units, path))


def _factor(axis: str, units: str, path: Path) -> float:
    wanted = QUANTITIES[axis].units
    if not units:
        return 1.0
    if units == "centideg":
        return 0.01
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


def same_axis(a: np.ndarray, b: np.ndarray) -> bool:
    """Tell whether two axes agree within the rounding of text."""
    if a.shape != b.shape:
        return False
    if np.array_equal(a, b):
        return True
    step = np.abs(np.diff(a)).min() if a.size > 1 else 0.0
    return bool(np.abs(a - b).max() <= _SAME * step)
