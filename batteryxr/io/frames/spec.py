"""Read motors, columns and commands of scans in SPEC files, and in .fio files.

PETRA III writes .fio files: one scan each.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import ArgumentError, FileFormatError
from batteryxr.io.door.files import named, opened, refuse_other
from batteryxr.io.door.files import text as text_of
from batteryxr.io.door.words import refuse_count, refuse_many
from batteryxr.io.series.headers import read_time

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from datetime import datetime

#: Separator of names: two blanks or a tab; one blank is part of a name.
_NAMES = re.compile(r"\s{2,}|\t")
_MOTORS = re.compile(r"#([OP])(\d+)\s(.*)")
_LONGEST = 1_000_000  # most letters of a line
#: Most scans of a file, lines of it, and lines of the scans that are asked for.
_SCANS, _LINES, _KEPT = 100_000, 4_000_000, 1_000_000
#: Lines of .fio files.
_COLUMN = re.compile(r"\s*Col\s+(\d+)\s+(\S+)")
_STARTED = re.compile(r"(?i)(?:acquisition )?started at\s+(.+)")
_FLOAT = re.compile(r"[-+]?(\d+(?:\.\d*)?|\.\d+)([eE][-+]?\d+)?")


@dataclass(frozen=True)
class SpecScan:
    """Hold one scan of a SPEC file.

    Parameters
    ----------
    number
        Number of the scan in the file.
    command
        Command as typed, such as ``"ascan th -0.28 0.72 200 0.25"``.
    motors
        Position of every motor at the start of the scan, by its name.
    columns
        Measured columns by name, all of the same length.
    start
        Start as written: local unless it has a zone; None if there is none.
    """

    number: int
    command: str
    motors: dict[str, float]
    columns: dict[str, np.ndarray]
    start: datetime | None


def read_spec(path: str | os.PathLike[str], scan: int | str | None = None) -> SpecScan:
    """Read one scan of a SPEC file.

    Reads the file once, line by line.

    Parameters
    ----------
    path
        The file.
    scan
        Number of the scan. SPEC counts anew after a restart: if a number occurs
        several times, ``"54.2"`` is the second. None: the only scan in the file.

    Returns
    -------
    SpecScan

    Raises
    ------
    ArgumentError
        If the file has no scan of this number, or several.
    FileFormatError
        If the scan is damaged; the message names the line.
    """
    path = Path(path)
    number, order = _asked(scan)
    with named(path):
        found: list[tuple[int, int, list[tuple[int, str]]]] = []
        numbers: list[int] = []
        header: dict[int, list[str]] = {}
        names: dict[int, dict[int, list[str]]] = {}
        kept = 0
        for at, start, lines in _blocks(path):
            if start is None:
                header = {}
                for line, text in lines:
                    _motor_line(path, line, text, header, None)
                continue
            numbers.append(start)
            refuse_count(len(numbers), "scans", _SCANS)
            if number is None or start == number:
                found.append((at, start, lines))
                names[at] = header
                refuse_count(kept := kept + len(lines), "lines in its scans", _KEPT)
        at, start, lines = _choose(path, scan, number, order, found, numbers)
        return _parse(path, start, lines, names[at])


def _asked(scan: int | str | None) -> tuple[int | None, int | None]:
    if scan is None:
        return None, None
    match = re.fullmatch(r"(\d+)(?:\.(\d+))?", str(scan))
    if isinstance(scan, bool) or match is None:
        raise ArgumentError("scan", scan, "a number such as 54, or '54.2'")
    return int(match[1]), int(match[2]) if match[2] else None


def _blocks(path: Path) -> Iterator[tuple[int, int | None, list[tuple[int, str]]]]:
    """Yield (line, scan number or None for a header, its lines)."""
    number: int | None = None
    at, lines = 1, list[tuple[int, str]]()
    with opened(path) as file:
        refuse_other(path, file.read(4096))
        file.seek(0)
        reader = io.TextIOWrapper(file, encoding="utf-8", errors="replace")
        for line, text in enumerate(iter(lambda: reader.readline(_LONGEST), ""), 1):
            if len(text) >= _LONGEST:
                raise FileFormatError(path, "is no SPEC file: a line has no end.", line)
            if not line % 4096:
                refuse_count(line, "lines", _LINES)
                refuse_count(len(lines), "lines in one scan", _KEPT)
            if text.startswith(("#S ", "#F ")):
                yield at, number, lines
                at, lines = line, []
                number = None
                if text.startswith("#S "):
                    match = re.match(r"#S\s+(\d{1,9})", text)
                    if match is None:
                        raise FileFormatError(path, "a scan has no number.", line)
                    number = int(match[1])
            lines.append((line, text.rstrip("\r\n")))
    yield at, number, lines


def _choose(
    path: Path,
    scan: int | str | None,
    number: int | None,
    order: int | None,
    found: list[tuple[int, int, list[tuple[int, str]]]],
    numbers: list[int],
) -> tuple[int, int, list[tuple[int, str]]]:
    if not numbers:
        raise FileFormatError(path, "no scan in it (no line begins with '#S').")
    if not found or (order is not None and order > len(found)):
        have = f"{min(numbers)} to {max(numbers)}"
        if found:
            have = f"scan {number} {len(found)} times"
        raise ArgumentError("scan", scan, f"a scan of {path.name}: it has {have}")
    if order is not None:
        return found[max(order, 1) - 1]
    if len(found) > 1:
        if number is None:
            expected = f"one of the {len(found)} scans of {path.name}"
            raise ArgumentError("scan", scan, expected, f"Pass scan={numbers[-1]}.")
        starts = ", ".join(f"'{number}.{k + 1}'" for k in range(len(found)))
        raise ArgumentError(
            "scan", scan, f"one of {starts}", "The number comes several times."
        )
    return found[0]


def _motor_line(
    path: Path,
    line: int,
    text: str,
    names: dict[int, list[str]],
    motors: dict[str, float] | None,
) -> None:
    """Store the names of a ``#O`` line, or the positions of a ``#P`` line."""
    match = _MOTORS.match(text)
    if match is None:
        return
    kind, row, rest = match[1], int(match[2]), match[3].strip()
    if kind == "O":
        names[row] = [n for n in _NAMES.split(rest) if n]
    elif motors is not None:
        values = [_number(path, line, v) for v in rest.split()]
        known = names.get(row, [])
        if len(values) != len(known):
            raise FileFormatError(
                path,
                f"{len(values)} positions for the {len(known)} motors of '#O{row}'.",
                line,
            )
        motors.update(zip(known, values, strict=True))


def _parse(
    path: Path,
    number: int,
    lines: list[tuple[int, str]],
    header: dict[int, list[str]],
) -> SpecScan:
    motors: dict[str, float] = {}
    names = dict(header)
    columns: list[str] = []
    rows: list[list[float]] = []
    start: datetime | None = None
    in_spectrum = False  # "@A 1 2 3\" goes on in the next line
    for line, text in lines:
        if text.startswith(("#O", "#P")):
            _motor_line(path, line, text, names, motors)
        elif text.startswith("#L "):
            columns = [n for n in _NAMES.split(text[3:].strip()) if n]
        elif text.startswith("#D ") and start is None:
            start = read_time(text[3:])
        elif text.startswith("@") or in_spectrum:
            in_spectrum = text.endswith("\\")
        elif text.strip() and not text.startswith("#"):
            rows.append([_number(path, line, v) for v in text.split()])
            if len(rows[-1]) != len(columns):
                raise FileFormatError(
                    path,
                    f"{len(rows[-1])} numbers for the {len(columns)} columns of scan "
                    f"{number}: {', '.join(columns[:4])}...",
                    line,
                )
    table = np.array(rows, dtype=float).reshape(len(rows), len(columns))
    command = re.sub(r"^#S\s+\d+\s*", "", lines[0][1]).strip()
    return SpecScan(
        number, command, motors, dict(zip(columns, table.T, strict=True)), start
    )


def _number(path: Path, line: int, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise FileFormatError(path, f"{text[:20]!r} is no number.", line) from None


def read_fio(path: Path) -> SpecScan:
    """Read the scan of a .fio file: comments, parameters, then a table.

    Parameters that are no numbers are left out.

    Raises
    ------
    FileFormatError
        If there is no table, or a row has other numbers than columns.
    """
    comments: list[str] = []
    motors: dict[str, float] = {}
    columns: list[str] = []
    rows: list[list[float]] = []
    part = ""
    whole = text_of(path)
    refuse_many(whole, lines=_KEPT)
    for line, raw in enumerate(whole.decode("latin-1").splitlines(), 1):
        words = raw.strip()
        if words.startswith("%"):
            part = words[1:2].lower()
        elif not words or words.startswith("!"):
            continue
        elif part == "c":
            comments.append(words)
        elif part == "p":
            name, _, value = (w.strip() for w in words.partition("="))
            if _FLOAT.fullmatch(value):
                motors[name] = float(value)
        elif part == "d" and (match := _COLUMN.match(raw)):
            columns.append(match[2])
        elif part == "d":
            rows.append(_fio_row(path, line, words, len(columns)))
    if not columns or not rows:
        raise FileFormatError(path, "holds no table of a scan (%d, Col 1 ...).")
    table = np.array(rows, dtype=float)
    began = [match[1] for c in comments if (match := _STARTED.search(c))]
    number = re.search(r"_(\d+)$", path.stem)
    return SpecScan(
        int(number[1]) if number else 0,
        comments[0] if comments else "",
        motors,
        dict(zip(columns, table.T, strict=True)),
        read_time(began[0]) if began else None,
    )


def _fio_row(path: Path, line: int, words: str, n: int) -> list[float]:
    try:
        values = [float(word) for word in words.split()]
    except ValueError:
        raise FileFormatError(path, f"{words[:30]!r} is no row.", line) from None
    if len(values) != n:
        raise FileFormatError(path, f"{len(values)} numbers in {n} columns.", line)
    return values
