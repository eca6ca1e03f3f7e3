"""Find the columns of ``.mpr`` files and their places in the rows.

Numbers, labels and types were found from files that EC-Lab wrote in binary and exported
as text. A number has the label at the same place; its type is the only one with which
both files agree.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Number -> label, lowest bit and number of bits in the byte that these share.
FLAGS: dict[int, tuple[str, int, int]] = {
    1: ("mode", 0, 2),
    2: ("ox/red", 2, 1),
    3: ("error", 3, 1),
    21: ("control changes", 4, 1),
    31: ("Ns changes", 5, 1),
    65: ("counter inc.", 7, 1),
}

#: Number -> label and type.
KNOWN: dict[int, tuple[str, str]] = {
    4: ("time/s", "<f8"),
    5: ("control/V/mA", "<f4"),
    6: ("Ewe/V", "<f4"),
    7: ("dq/mA.h", "<f8"),
    8: ("I/mA", "<f4"),
    9: ("Ece/V", "<f4"),
    11: ("<I>/mA", "<f8"),
    13: ("(Q-Qo)/mA.h", "<f8"),
    19: ("control/V", "<f4"),
    20: ("control/mA", "<f4"),
    24: ("cycle number", "<f8"),
    32: ("freq/Hz", "<f4"),
    33: ("|Ewe|/V", "<f4"),
    34: ("|I|/A", "<f4"),
    35: ("Phase(Z)/deg", "<f4"),
    36: ("|Z|/Ohm", "<f4"),
    37: ("Re(Z)/Ohm", "<f4"),
    38: ("-Im(Z)/Ohm", "<f4"),
    39: ("I Range", "<u2"),
    70: ("P/W", "<f4"),
    74: ("|Energy|/W.h", "<f8"),
    76: ("<I>/mA", "<f4"),
    77: ("<Ewe>/V", "<f4"),
    96: ("|Ece|/V", "<f4"),
    98: ("Phase(Zce)/deg", "<f4"),
    99: ("|Zce|/Ohm", "<f4"),
    100: ("Re(Zce)/Ohm", "<f4"),
    101: ("-Im(Zce)/Ohm", "<f4"),
    123: ("Energy charge/W.h", "<f8"),
    124: ("Energy discharge/W.h", "<f8"),
    125: ("Capacitance charge/µF", "<f8"),
    126: ("Capacitance discharge/µF", "<f8"),
    131: ("Ns", "<u2"),
    169: ("Cs/µF", "<f4"),
    172: ("Cp/µF", "<f4"),
    174: ("<Ewe>/V", "<f4"),
    430: ("Phase(Zwe-ce)/deg", "<f4"),
    431: ("|Zwe-ce|/Ohm", "<f4"),
    432: ("Re(Zwe-ce)/Ohm", "<f4"),
    433: ("-Im(Zwe-ce)/Ohm", "<f4"),
    434: ("(Q-Qo)/C", "<f4"),
    435: ("dQ/C", "<f4"),
    441: ("<Ece>/V", "<f4"),
    467: ("Q charge/discharge/mA.h", "<f8"),
    468: ("half cycle", "<u4"),
    469: ("z cycle", "<u4"),
    471: ("<Ece>/V", "<f4"),
}

#: Version of the data module -> byte of its first row.
ROWS_FROM = {2: 405, 3: 406}
#: End of the space for the list of columns; unused bytes are zero.
LIST_TO = 405

#: Number in the settings -> technique, as named in exported text.
TECHNIQUES: dict[int, str] = {
    4: "Galvanostatic Cycling with Potential Limitation",
    6: "Cyclic Voltammetry",
    11: "Open Circuit Voltage",
    24: "Chronoamperometry / Chronocoulometry",
    25: "Chronopotentiometry",
    28: "Wait",
    29: "Potentio Electrochemical Impedance Spectroscopy",
    30: "Galvano Electrochemical Impedance Spectroscopy",
    50: "IR compensation (PEIS)",
    127: "Modulo Bat",
}

#: Possible bytes of a column of unknown type, most likely first.
_WIDTHS = (4, 8, 2, 1)
#: Most runs of unknown columns between known ones that are tried.
_RUNS = 4
_SAMPLE = 1000  # rows on which a layout is tried
_SMALLEST, _LARGEST = 1e-30, 1e30  # range of measured numbers
_LATEST = 3e9  # s


class Field(NamedTuple):
    """Hold one column of the rows."""

    label: str
    type: str
    offset: int
    shift: int = 0  # lowest bit of a flag
    bits: int = 0  # number of bits of a flag


class RowLayout(NamedTuple):
    """Hold columns of the rows, and the numbers of unknown ones."""

    fields: tuple[Field, ...]
    unknown: tuple[int, ...]
    problem: str = ""  # what is unknown, as a clause


class _Run(NamedTuple):
    """Hold unknown columns side by side."""

    numbers: tuple[int, ...]
    least: int  # bytes


def known_width(numbers: Sequence[int]) -> int:
    """Return the bytes of a row that the known columns take."""
    flags = any(n in FLAGS for n in numbers)
    return flags + sum(np.dtype(KNOWN[n][1]).itemsize for n in numbers if n in KNOWN)


def least_width(numbers: Sequence[int]) -> int:
    """Return the bytes of a row if unknown columns have four each."""
    return known_width(numbers) + 4 * sum(not is_known(n) for n in numbers)


def is_known(number: int) -> bool:
    """Tell whether a column has a name."""
    return number in KNOWN or number in FLAGS


def find(numbers: Sequence[int], rows: np.ndarray) -> RowLayout | None:
    """Return the layout of rows, or None if none fits.

    Unknown columns get the widths with which all known ones make sense. If several
    layouts do, all columns after the first unknown one stay as bytes.

    Parameters
    ----------
    numbers
        Numbers of the columns.
    rows
        (rows, bytes) of the rows as stored.
    """
    width = rows.shape[1]
    unknown = tuple(n for n in numbers if not is_known(n))
    free = width - known_width(numbers)
    if not unknown:
        return (
            RowLayout(_fields(numbers, {}), ()) if free == 0 or not len(rows) else None
        )
    if not len(rows):
        return RowLayout(_fields(numbers, dict.fromkeys(unknown, 4)), unknown)
    runs = _runs(numbers)
    sample = rows[:: max(1, len(rows) // _SAMPLE)]
    fits = []
    for sums in _sums(runs[: _RUNS + 1], free):
        taken = {r.numbers[0]: n for r, n in zip(runs, sums, strict=True)}
        fields = _fields(numbers, dict.fromkeys(unknown, 0) | taken)
        if _makes_sense(fields, sample):
            fits.append((fields, taken))
    if len(fits) == 1:
        fields, vague = _split(*fits[0], runs, sample)
        words = (
            f"the types of {_words(vague)} could not be told, and they are left out"
            if vague
            else ""
        )
        return RowLayout(fields, unknown, words)
    if not fits and len(runs) <= _RUNS:
        return None
    return _up_to_unknown(numbers, width, unknown)


def _fields(numbers: Sequence[int], widths: dict[int, int]) -> tuple[Field, ...]:
    """Return the fields for given widths of unknown columns, which stay as bytes."""
    found: list[Field] = []
    offset, flags = 0, None
    for number in numbers:
        if number in FLAGS:
            if flags is None:
                flags, offset = offset, offset + 1
            label, shift, bits = FLAGS[number]
            found.append(Field(label, "u1", flags, shift, bits))
            continue
        bytes_only = f"column {number}", f"V{widths.get(number, 0)}"
        label, kind = KNOWN.get(number, bytes_only)
        found.append(Field(label, kind, offset))
        offset += np.dtype(kind).itemsize
    return tuple(f for f in found if f.type != "V0")


def _runs(numbers: Sequence[int]) -> list[_Run]:
    """Return runs of unknown columns; among flags, one may be a flag itself."""
    last_flag = max((k for k, n in enumerate(numbers) if n in FLAGS), default=-1)
    found = []
    for known, run in itertools.groupby(enumerate(numbers), lambda i: is_known(i[1])):
        if not known:
            places, of_run = zip(*run, strict=True)
            found.append(_Run(of_run, 0 if places[0] < last_flag else len(of_run)))
    return found


def _sums(runs: Sequence[_Run], free: int) -> Iterator[tuple[int, ...]]:
    """Yield the possible bytes of each run, `free` in total."""
    if len(runs) > _RUNS:
        return
    run, *others = runs
    for width in range(run.least, 8 * len(run.numbers) + 1):
        if others:
            yield from ((width, *rest) for rest in _sums(others, free - width))
        elif width == free:
            yield (width,)


def values(rows: np.ndarray, field: Field) -> np.ndarray:
    """Return one column from rows of bytes, as an aligned copy."""
    kind = np.dtype(field.type)
    part = np.ascontiguousarray(rows[:, field.offset : field.offset + kind.itemsize])
    column = part.view(kind)[:, 0]
    return (column >> field.shift) & ((1 << field.bits) - 1) if field.bits else column


def _makes_sense(fields: Sequence[Field], rows: np.ndarray) -> bool:
    """Tell whether all known columns hold plausible values."""
    return all(
        _may_be(field.label, values(rows, field))
        for field in fields
        if not field.type.startswith("V") and not field.bits
    )


def _may_be(label: str, column: np.ndarray) -> bool:
    """Tell whether a column may hold these values."""
    if label == "I Range":
        return bool((column <= 0xFF).all())
    if (
        label in ("time/s", "half cycle", "z cycle")
        and (column[1:] < column[:-1]).any()
    ):
        return False
    if label == "time/s":
        return bool(((column >= 0) & (column < _LATEST)).all())
    return column.dtype.kind != "f" or _is_measured(column)


def _is_measured(column: np.ndarray) -> bool:
    size = np.abs(column.astype(np.float64))
    return bool(((size == 0) | ((size > _SMALLEST) & (size < _LARGEST))).all())


def _split(
    fields: Sequence[Field],
    taken: dict[int, int],
    runs: Sequence[_Run],
    rows: np.ndarray,
) -> tuple[tuple[Field, ...], tuple[str, ...]]:
    """Return fields with runs of bytes split into columns, and unresolved numbers."""
    found = [f for f in fields if not f.type.startswith("V")]
    vague: list[str] = []
    offsets = {f.label: f.offset for f in fields}
    for run in runs:
        width, first = taken[run.numbers[0]], f"column {run.numbers[0]}"
        each, left = divmod(width, len(run.numbers))
        if left or (each and each not in _WIDTHS):
            vague += map(str, run.numbers)
            words = "column " if len(run.numbers) == 1 else "columns "
            label = words + _words(run.numbers)
            found.append(Field(label, f"V{width}", offsets[first]))
        elif each == 0:
            vague += map(str, run.numbers)
        else:
            for k, number in enumerate(run.numbers):
                place = offsets[first] + k * each
                found.append(_typed(Field(f"column {number}", f"V{each}", place), rows))
    return tuple(found), tuple(vague)


def _typed(field: Field, rows: np.ndarray) -> Field:
    """Return an unknown column as numbers, floating if all values could be."""
    width = int(field.type[1:])
    if width in (4, 8):
        floating = field._replace(type=f"<f{width}")
        if _is_measured(values(rows, floating)):
            return floating
    return field._replace(type=f"<u{width}")


def _up_to_unknown(
    numbers: Sequence[int], width: int, unknown: tuple[int, ...]
) -> RowLayout:
    """Return the columns before the first unknown one, and the rest as bytes."""
    first = next(k for k, n in enumerate(numbers) if not is_known(n))
    fields = _fields(numbers[:first], {})
    begin = known_width(numbers[:first])
    rest = Field(f"bytes from {begin}", f"V{width - begin}", begin)
    behind = [n for n in numbers[first:] if is_known(n) and n not in FLAGS]
    problem = "how many bytes they have could not be told"
    if behind:
        problem += f", so that {_words(KNOWN[n][0] for n in behind)} are not read"
    return RowLayout((*fields, rest), unknown, problem)


def _words(names: object) -> str:
    return ", ".join(map(str, names))  # type: ignore[call-overload]
