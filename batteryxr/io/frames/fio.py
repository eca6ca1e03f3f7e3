"""Read motors and columns of a scan from a .fio file, as PETRA III writes it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import FileFormatError
from batteryxr.io.door.files import text
from batteryxr.io.frames.spec import SpecScan
from batteryxr.io.series.headers import read_time

if TYPE_CHECKING:
    from pathlib import Path

_COLUMN = re.compile(r"\s*Col\s+(\d+)\s+(\S+)")
_STARTED = re.compile(r"(?i)(?:acquisition )?started at\s+(.+)")
_FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


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
    for line, raw in enumerate(text(path).decode("latin-1").splitlines(), 1):
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
            rows.append(_row(path, line, words, len(columns)))
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


def _row(path: Path, line: int, words: str, n: int) -> list[float]:
    try:
        values = [float(word) for word in words.split()]
    except ValueError:
        raise FileFormatError(path, f"{words[:30]!r} is no row.", line) from None
    if len(values) != n:
        raise FileFormatError(path, f"{len(values)} numbers in {n} columns.", line)
    return values
