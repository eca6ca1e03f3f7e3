"""Read Gamry ``.DTA`` files: settings, then curves as tables, then more settings."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import FileFormatError
from batteryxr.io.cycler.labels import (
    NUMBER,
    STATE,
    Source,
    choose,
    refuse_incomplete,
    units_row,
)
from batteryxr.io.cycler.recognise import TableLayout, assemble
from batteryxr.io.cycler.text import TextTable, decode, finish, named, unified
from batteryxr.io.cycler.vendors import GAMRY
from batteryxr.io.door.files import text
from batteryxr.io.door.words import refuse_count, refuse_tables

if TYPE_CHECKING:
    from pathlib import Path

    from batteryxr.io.cycler.table import Options, RawTable

_BLOCK = re.compile(rb"^(\w*CURVE\w*)\tTABLE\b[^\n]*\n", re.MULTILINE)
_SETTING = re.compile(rb"^[A-Z]\w*\t[^\n]*", re.MULTILINE)
#: Most settings of a file.
_SETTINGS = 100_000
_CYCLING = re.compile(r"CURVE\d*")
_REST = "OCVCURVE"
#: Experiments without a current.
_CURRENTLESS = re.compile(r"CORPOT|PWR800_READVOLTAGE")
_WORDS = {"PWR800_CHARGE": "charge", "PWR800_DISCHARGE": "discharge"}


@dataclass(frozen=True)
class GamryTable:
    """Hold one table of a file.

    Parameters
    ----------
    name
        Name, such as ``"CURVE1"``.
    labels
        Labels with the units that are known here.
    body
        Rows as text.
    line
        Line of the first row, from 1.
    written
        Labels with all units of the file.
    """

    name: str
    labels: tuple[str, ...]
    body: bytes
    line: int
    written: tuple[str, ...] = ()


def read(path: Path, options: Options) -> RawTable:
    """Read the curves of one file, in order.

    Parameters
    ----------
    path
        The file.
    options
        `Options.columns` names labels that are unknown; `Options.dayfirst` gives the
        order of the date, since Gamry follows the computer.

    Raises
    ------
    FileFormatError
        Naming the damaged line, or what the file holds instead of cycling.
    """
    raw = unified(text(path))
    curves = curves_of(raw)
    header = settings_of(raw)
    tag = header.get("TAG", "")
    chosen = [c for c in curves if _CYCLING.fullmatch(c.name)]
    if not chosen:
        chosen = [c for c in curves if c.name == _REST]
    if not chosen:
        raise _no_cycling(path, [c.name for c in curves], tag)
    found = choose(chosen[0].labels, GAMRY.columns, options.columns)
    if any(curve.labels != chosen[0].labels for curve in chosen):
        raise FileFormatError(
            path, f"the curves {[c.name for c in chosen]} have different columns."
        )
    still = "current" not in found and (
        chosen[0].name == _REST or _CURRENTLESS.fullmatch(tag) is not None
    )
    line = chosen[0].line - 2
    refuse_incomplete([*found, *["current"] * still], chosen[0].labels[1:], path, line)
    layout = TableLayout(GAMRY, chosen[0].labels, line, line + 2, found)
    numbers, notes = _numbers(path, chosen, layout, last=curves[-1])
    rows, counts = len(numbers["voltage"]), numbers.pop(NUMBER, None)
    if still:
        numbers["current"] = np.zeros(rows)
        source = Source(-1, "none: open circuit", 1.0, 0.0, "mA")
        layout = replace(layout, found={**found, "current": source})
    word = _WORDS.get(tag)
    if word is not None:
        source = Source(-1, f"TAG {tag}", 1.0, 0.0, "")
        layout = replace(layout, found={**layout.found, STATE: source})
    table = assemble(
        layout,
        numbers,
        {STATE: np.full(rows, word, dtype=object)} if word is not None else {},
        options,
        head=f"Started: {header.get('DATE', '')} {header.get('TIME', '')}",
        header=header,
        first_line=chosen[0].line if len(chosen) == 1 else None,
    )
    return replace(table, numbers=counts, notes={**table.notes, **notes})


def curves_of(raw: bytes) -> list[GamryTable]:
    """Return the tables of a file whose names mark them as curves."""
    refuse_tables(raw, b"\tTABLE")
    found = []
    line, counted = 1, 0
    for block in _BLOCK.finditer(raw):
        start, rows = block.end(), []
        for _ in range(2):
            end = raw.find(b"\n", start)
            end = len(raw) if end < 0 else end + 1
            rows.append([c.strip() for c in decode(raw[start:end]).split("\t")])
            start = end
        end = start
        while raw[end : end + 1] == b"\t":
            after = raw.find(b"\n", end)
            end = len(raw) if after < 0 else after + 1
        line, counted = line + raw.count(b"\n", counted, start), start
        labels, cells = rows
        units = units_row(cells) or []
        pairs = zip(labels, units + [""] * len(labels), strict=False)
        named_units = tuple(f"{c} [{u}]" if u else c for c, u in pairs)
        written = tuple(
            f"{c} ({u})" if u and u != "#" else c
            for c, u in zip(labels, cells + [""] * len(labels), strict=False)
        )
        body = raw[start:end]
        found.append(GamryTable(decode(block[1]), named_units, body, line, written))
    return found


def _numbers(
    path: Path, curves: list[GamryTable], layout: TableLayout, last: GamryTable
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the columns of all curves, one after the other, and notes."""
    parts: list[dict[str, np.ndarray]] = []
    notes: dict[str, str] = {}
    for curve in curves:
        body = curve.body
        if curve is last:
            body, notes = finish(body, named(curve.labels) - 1, b"\t")
        table = TextTable(curve.labels, body, "\t", curve.line)
        place = next((k for k, c in enumerate(curve.labels) if c == "Pt"), None)
        parts.append(table.read(layout.numbers, count=place))
    if begun := _follow_on(parts):
        listed = ", ".join(curves[k].name for k in begun)
        notes["unknown_gap"] = (
            f"time begins anew in {listed}: read in the order of the file, each from "
            "the end of the curve before, without what may lie between them"
        )
    names = [n for n in parts[0] if all(n in part for part in parts)]
    return {n: np.concatenate([part[n] for part in parts]) for n in names}, notes


def _follow_on(parts: list[dict[str, np.ndarray]]) -> list[int]:
    """Let each curve begin where the one before ended, if its time begins anew.

    The times are exchanged in place; returned are the numbers of such curves.
    """
    begun: list[int] = []
    before, end = np.zeros(0), 0.0
    for k, part in enumerate(parts):
        time = part.get("test_time", np.zeros(0))
        if not time.size:
            continue
        if before.size > 1 and time[0] < 0.5 * (before[0] + before[-1]):
            part["test_time"] = time + (end - min(0.0, time[0]))
            begun.append(k)
        before, end = time, float(part["test_time"][-1])
    return begun


def settings_of(raw: bytes) -> dict[str, str]:
    """Return the settings before and after the curves: name -> value."""
    found: dict[str, str] = {}
    for number, match in enumerate(_SETTING.finditer(raw)):
        refuse_count(number, "settings", _SETTINGS)
        name, *cells = (cell.strip() for cell in decode(match[0]).split("\t"))
        if cells[0] != "TABLE":  # cells are kind, value, words; or only the value
            found.setdefault(name, cells[1] if len(cells) > 1 else cells[0])
    return found


def _no_cycling(path: Path, names: list[str], tag: str) -> FileFormatError:
    if any(name.startswith("ZCURVE") for name in names):
        return FileFormatError(
            path,
            f"holds an impedance spectrum ({tag}, table ZCURVE) and no cycling: "
            "read_impedance reads it.",
        )
    held = f"the tables {names}" if names else "no curve"
    return FileFormatError(
        path, f"holds {held} ({tag or 'no TAG'}), where 'CURVE' was expected."
    )
