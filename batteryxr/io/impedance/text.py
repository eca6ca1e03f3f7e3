"""Read impedance from text: Gamry ``.DTA``, and tables under a line of labels."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import ArgumentError, FileFormatError
from batteryxr.io import clock
from batteryxr.io.cycler.layouts import gamry
from batteryxr.io.cycler.text import TextTable, decode, finish, named, unified
from batteryxr.io.door import files
from batteryxr.io.door.words import refuse_many
from batteryxr.io.impedance import labels
from batteryxr.io.impedance.rows import Readings, complex_columns

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from batteryxr.io.cycler.table import Options

#: Most lines above the labels of a table.
_HEAD = 200
_SEPARATORS = ("\t", ";", ",")
#: Pattern of the start of the measurement in a header.
_START = re.compile(
    r"(?:date(?:\s{0,3}(?:and|/)?\s{0,3}time)?|start(?:ed)?|acquired)[^\n:=]{0,20}[:=]\s*"
    r"(\d[^\n\t;]{0,60}?\d{1,2}:\d{2}[^\n\t;]{0,60})",
    re.IGNORECASE,
)
#: Name of a table of a spectrum as it was measured.
_CURVE = re.compile(r"ZCURVE\d*")
#: Word in a header -> maker.
_MAKERS = (("zahner", "Zahner"), ("thales", "Zahner"), ("ivium", "Ivium"))


def read_gamry(path: Path, options: Options) -> Readings:
    """Read the ``ZCURVE`` tables of a Gamry file, each of which is one spectrum."""
    raw = unified(files.text(path))
    header = gamry.settings_of(raw)
    curves = [c for c in gamry.curves_of(raw) if c.name.startswith("ZCURVE")]
    tag = header.get("TAG", "")
    if not curves:
        return _nothing("Gamry", tag)
    parts: list[dict[str, np.ndarray]] = []
    notes: dict[str, str] = {}
    for number, curve in enumerate(curves):
        body, said = finish(curve.body, named(curve.written) - 1, b"\t")
        notes |= said
        table = TextTable(curve.written, body, "\t", curve.line)
        part = _columns(table, options, curve.line - 2)
        if part is None:
            raise FileFormatError(
                path, f"no impedance among {list(curve.written)}.", curve.line - 2
            )
        parts.append(part | {"spectrum": np.full(part["frequency"].size, number)})
    if any(part.keys() != parts[0].keys() for part in parts):
        raise FileFormatError(path, "its tables ZCURVE have different columns.")
    others = [c.name for c in curves if not _CURVE.fullmatch(c.name)]
    if others and len(others) < len(curves):
        notes["other_tables"] = (
            f"the tables {others} are spectra of their own, behind those of ZCURVE: "
            "they may hold the same sweep, corrected. Take those that are meant: "
            ".isel(spectrum=...)"
        )
    columns = {n: np.concatenate([part[n] for part in parts]) for n in parts[0]}
    words = f"{header.get('DATE', '')} {header.get('TIME', '')}"
    rows = Readings(columns, "Gamry", technique=tag, notes=notes)
    return _started(rows, words, options)


def read_table(path: Path, options: Options) -> Readings:
    """Read a text table as exported by Zahner, Ivium and many programs."""
    raw = unified(files.text(path, "gzip"))
    refuse_many(raw)
    lines = raw.split(b"\n", _HEAD)[:_HEAD]
    for number, line in enumerate(lines, 1):
        text = decode(line).rstrip("\r")
        if (separator := _separator(text)) is None:
            continue
        cells = tuple(_cells(_uncommented(text), separator))
        further = _comments(lines[number:])
        if lines[number:] and not further:
            below = _cells(decode(lines[number]), separator)
            if (united := labels.with_units(cells, below)) is not None:
                cells, further = united, 1
        if number > 1:
            above = _cells(decode(lines[number - 2]).rstrip("\r"), separator)
            cells = labels.with_units(cells, above) or cells
        if options.columns and not labels.named_here(cells, options.columns):
            continue  # a line above the labels
        found = labels.find(cells, options.columns, number)
        if found is None:
            continue
        head = "\n".join(decode(one) for one in lines[: number - 1])
        body, first = _body(raw, number + further)
        body, titles = _joined(body, line.rstrip(), separator.encode())
        if separator == " ":
            body = re.sub(rb",[ \t]", b" ", body) if further else body
            body, separator = re.sub(rb"(?m)^[ \t]+|[ \t]+$", b"", body), "\t"
            body = re.sub(rb"[ \t]+", b"\t", body)
        body, notes = finish(body, named(cells) - 1, separator.encode())
        notes |= titles
        table = TextTable(cells, body, separator, first)
        low = head.lower()
        maker = next((name for word, name in _MAKERS if word in low), "unknown")
        start = _START.search(head)
        read = table.read({name: source.column for name, source in found.items()})
        rows = Readings(complex_columns(read, found), maker, notes=notes)
        return _started(rows, start[1] if start else "", options)
    if options.columns:
        raise ArgumentError(
            "columns", dict(options.columns), f"labels of a line of {path.name}"
        )
    files.refuse_words(path, raw)
    return _nothing("unknown", _words(lines))


def _joined(
    body: bytes, labels: bytes, separator: bytes
) -> tuple[bytes, dict[str, str]]:
    """Return rows without the labels that begin another spectrum, and a note of titles.

    Frequencies turn back there. Empty lines and titles may be above the labels.
    """
    between = b"" if separator == b" " else b"[^" + re.escape(separator) + b"\n]*"
    above = rb"(?m)((?:^" + between + rb"\r?\n){0,6})"
    again = re.compile(above + rb"^" + re.escape(labels) + rb"[ \t\r]*(\n|\Z)")
    titles = [
        decode(title).strip()
        for found in again.finditer(body)
        for title in found[1].splitlines()
        if title.strip()
    ]
    notes = {}
    if titles:
        words = f"{len(titles)} lines of words above labels were left out"
        notes["titles"] = f"{words}, the first is {titles[0]!r}"
    return again.sub(b"", body), notes


def _words(lines: list[bytes]) -> str:
    """Return the first line of words in columns, which may be labels, as text."""
    for line in map(decode, lines):
        cells = _cells(line, separator) if (separator := _separator(line)) else []
        if len(cells) >= 3 and all(any(map(str.isalpha, cell)) for cell in cells):
            return f"the labels {cells}"
    return ""


def _nothing(instrument: str, technique: str) -> Readings:
    return Readings(
        {"frequency": np.empty(0), "impedance": np.empty(0, complex)},
        instrument,
        technique=technique,
    )


def _separator(line: str) -> str | None:
    for separator in _SEPARATORS:
        if line.count(separator) >= 2:
            return separator
    return " " if len(line.split()) >= 3 else None


def _uncommented(line: str) -> str:
    """Return a line of labels without the sign of a comment before it."""
    bare = line.lstrip("#% ")
    return bare if any(map(str.isalpha, bare[:2])) else line


def _cells(line: str, separator: str) -> list[str]:
    """Return the cells of a line; single blanks separate only if needed."""
    if separator != " ":
        stripped = [cell.strip() for cell in line.split(separator)]
        return [
            cell.strip('"') if '""' in cell else re.sub(r'^"(.+)"$', r"\1", cell)
            for cell in stripped
        ]
    # "freq. / Hz   Z1 / Ohm" is split at two or more blanks, other lines at one.
    wide = re.split(r"\s{2,}", line.strip())
    return wide if len(wide) >= 3 else line.split()


def _comments(lines: list[bytes]) -> int:
    """Return the number of lines between the labels and the rows, as of ZView."""
    ends = [k for k, line in enumerate(lines[:5], 1) if line.strip() == b"End Comments"]
    return ends[0] if ends else 0


def _body(raw: bytes, number: int) -> tuple[bytes, int]:
    """Return the rows below a line, and the number of their first line."""
    end = -1
    for _ in range(number):
        end = raw.find(b"\n", end + 1)
        if end < 0:
            return b"", number + 1
    body, first = raw[end + 1 :], number + 1
    while body[:1] in (b"\n", b"\r"):
        cut = body.find(b"\n") + 1
        body, first = body[cut:], first + 1
    return body, first


def _columns(
    table: TextTable, options: Options, line: int
) -> dict[str, np.ndarray] | None:
    found = labels.find(table.labels, options.columns, line)
    if found is None:
        return None
    read = table.read({name: source.column for name, source in found.items()})
    return complex_columns(read, found)


def _started(rows: Readings, words: str, options: Options) -> Readings:
    start: datetime | None = None
    try:
        start = (
            clock.reading(words, dayfirst=options.dayfirst) if words.strip() else None
        )
    except ArgumentError as error:
        return replace(rows, notes={**rows.notes, "ambiguous_date": str(error)})
    return replace(rows, start=start)
