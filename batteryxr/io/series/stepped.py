"""Read patterns whose axis is given as start, step and stop, by a table of programs."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import FileFormatError, warn_quality
from batteryxr.io.door.words import in_numbers
from batteryxr.io.series.decoded import Decoded, decoded

if TYPE_CHECKING:
    from pathlib import Path

_N = r"([-+]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?)"


@dataclass(frozen=True)
class Stepped:
    """Describe the layout of one program that writes patterns without their angles.

    Attributes
    ----------
    name
        Name of the program.
    sign
        Pattern near the top that identifies its files.
    parts
        Pattern at which each scan of the file begins; None: there is only one.
    start, step
        Patterns that find the first angle and the step.
    data
        Pattern of the text before the numbers.
    end
        Pattern of the text after the numbers.
    column
        Name of the numbers, with units.
    last
        Pattern that finds the last angle, or the number of points (``n``).
    closed
        Whether the program always writes something after the numbers.
    """

    name: str
    sign: str
    parts: str | None
    start: str
    step: str
    data: str
    end: str
    column: str = "intensity counts"
    last: str = r"(?!)"
    closed: bool = False


PROGRAMS = (
    Stepped(
        "Bruker .uxd",
        r"(?m)^_FILEVERSION|^_COUNTS|^_CPS",
        r"(?mi)^; ?\(?Data for range|^_DRIVE\s*=",
        rf"(?m)^_(?:START|2THETA)\s*=\s*{_N}",
        rf"(?m)^_STEPSIZE\s*=\s*{_N}",
        r"(?m)^_(?:COUNTS|CPS)[^\n]*\n",
        r"(?m)^[_;]",
        last=r"(?m)^_STEPCOUNT\s*=\s*(?P<n>\d+)",
    ),
    Stepped(
        "Rigaku .asc",
        r"(?m)^\*TYPE\s*=|^\*BEGIN",
        r"(?m)^\*BEGIN",
        rf"(?m)^\*START\s*=\s*{_N}",
        rf"(?m)^\*STEP\s*=\s*{_N}",
        r"(?m)^\*COUNT\s*=\s*(?P<n>\d+)[^\n]*\n",
        r"(?m)^\*",
        last=r"(?m)^\*STOP\s*=\s*(?P<angle>[-+.\d]+)",
        closed=True,
    ),
    Stepped(
        "Philips .udf",
        r"(?m)^DataAngleRange",
        None,
        rf"DataAngleRange,\s*{_N}",
        rf"ScanStepSize,\s*{_N}",
        r"(?m)^RawScan[^\n]*\n",
        r"/",
        last=rf"DataAngleRange,\s*{_N},\s*(?P<angle>[-+.\d]+)",
        closed=True,
    ),
    Stepped(
        "Sietronics .cpi",
        r"^SIETRONICS XRD SCAN",
        None,
        rf"SIETRONICS XRD SCAN\s*\n\s*{_N}",
        rf"SIETRONICS XRD SCAN\s*\n[^\n]*\n[^\n]*\n\s*{_N}",
        r"(?m)^SCANDATA\s*\n",
        r"$(?!\n)",
        last=rf"SIETRONICS XRD SCAN\s*\n\s*{_N}[^\n]*\n\s*(?P<angle>[-+.\d]+)",
    ),
)
#: Points beyond those between start and stop: both ends, and rounding.
_SPARE = 2.5
#: Steps from start to stop are a whole number within this.
_WHOLE = 0.01
#: Points that are not alike by chance, with as many different counts among them.
_ALIKE, _LEVELS = 8, 6
#: Lengths of copies that are tried.
_LENGTHS = 1000
_BANK = re.compile(
    r"(?m)^BANK\s+(?P<bank>\d+)\s+(?P<n>\d{1,18})\s+\d+\s+(?P<bin>\w+)"
    r"(?P<rest>(?:[ \t]+[-+.\d][-+.\deE]*)*+)[ \t]*(?P<kind>[A-Z]+)?[^\n]*\n"
)
_TRIPLE = re.compile(rf"[ \t]*{_N}[ \t,]+{_N}[ \t,]+{_N}(?=\s)[^\n]*\n")


def read(path: Path, text: str) -> list[Decoded]:
    """Return the patterns of a file without angles; an empty list for other kinds."""
    if _BANK.search(text[:20_000]):
        return _gsas(path, text)
    for row in PROGRAMS:
        if re.search(row.sign, text[:4000]) and re.search(row.data, text):
            return _of(row, path, text)
    return _three_numbers(path, text)


def _of(row: Stepped, path: Path, text: str) -> list[Decoded]:
    begins = [m.start() for m in re.finditer(row.parts, text)] if row.parts else []
    # If a scan has two marks, it begins at the second.
    ends = [*begins[1:], len(text)][: len(begins)]
    begins = [a for a, b in zip(begins, ends, strict=True) if _holds(row, text[a:b])]
    edges = [*(begins if len(begins) > 1 else [0]), len(text)]
    above = text[: edges[0]].splitlines()
    if (blocks := len(re.findall(row.data, text))) > len(edges) - 1:
        raise FileFormatError(
            path,
            f"holds {blocks} blocks of counts, and tells where {len(edges) - 1} scans "
            "begin: some have no mark of their own. Keep one scan a file.",
        )
    tables = []
    for number, (a, b) in enumerate(itertools.pairwise(edges), 1):
        part = text[a:b]
        data = re.search(row.data, part)
        start, step = re.search(row.start, part), re.search(row.step, part)
        if data is None or start is None or step is None:
            raise FileFormatError(
                path, f"is {row.name} without start, step or numbers of a pattern."
            )
        rest = part[data.end() :]
        end = re.search(row.end, rest)
        counts = _numbers(path, rest[: end.start()] if end else rest)
        _refuse_repeated(path, counts)
        told = data.groupdict().get("n")
        if told and int(told) != counts.size:
            raise FileFormatError(
                path, f"promises {told} points and holds {counts.size}: it is cut."
            )
        axis = float(start[1]) + float(step[1]) * np.arange(counts.size)
        lines = [*above, *part[: data.start()].splitlines()]
        header = [ln.lstrip("*_; ") for ln in lines]
        label = str(number) if len(edges) > 2 else ""
        columns = {"two_theta deg": axis, row.column: counts}
        table = decoded(path, columns, header, label)
        ended = end is not None if row.closed else part.endswith("\n")
        few = counts.size < _promised(row, path, part, axis)
        tables.append(replace(table, seems_cut=few or not ended))
    return tables


def _promised(row: Stepped, path: Path, part: str, axis: np.ndarray) -> float:
    """Return how many points a scan promises, to one less; 0 if it does not."""
    told = re.search(row.last, part)
    if told is None:
        return 0.0
    if (points := told.groupdict().get("n")) is not None:
        return float(points)
    steps = float((float(told["angle"]) - axis[0]) / (axis[1] - axis[0]))
    if axis.size > steps + _SPARE:
        raise FileFormatError(
            path,
            f"{axis.size} points by its step end at {axis[-1]:g}, and it says that it "
            f"stops at {told['angle']}: one of start, step and stop is wrong.",
        )
    if axis.size > round(steps) + 1 and abs(steps - round(steps)) < _WHOLE:
        warn_quality(
            f"{path.name}: {axis.size} points, one more than from start to stop "
            f"{told['angle']}: if one is there twice, all behind it are a step off."
        )
    return steps


def _refuse_repeated(path: Path, counts: np.ndarray) -> None:
    """Raise if a stretch of counts stands there again right behind itself.

    Nothing but the numbers can tell: all points behind a copy are at wrong angles.
    """
    if counts.size < 2 * _ALIKE:
        return
    pieces = np.lib.stride_tricks.sliding_window_view(counts, _ALIKE)
    telling = (np.diff(np.sort(pieces, axis=1), axis=1) != 0).sum(axis=1) >= _LEVELS - 1
    places = np.flatnonzero(telling)
    _, kind = np.unique(pieces[places], axis=0, return_inverse=True)
    order = np.argsort(kind.ravel(), kind="stable")
    same = np.diff(kind.ravel()[order]) == 0
    here, there = places[order[:-1][same]], places[order[1:][same]]
    for length in np.unique(there - here)[:_LENGTHS]:
        other = np.flatnonzero(counts[:-length] != counts[length:])
        edges = np.concatenate([[-1], other, [counts.size - length]])
        runs = np.diff(edges) - 1
        k = int(runs.argmax())
        if length >= _ALIKE and runs[k] >= length:
            first = int(edges[k]) + 2
            raise FileFormatError(
                path,
                f"holds its points {first} to {first + length - 1} twice, one after "
                "another: they were pasted or written twice. Remove the copy.",
            )


def _holds(row: Stepped, part: str) -> bool:
    return re.search(row.data, part) is not None


def _numbers(path: Path, text: str) -> np.ndarray:
    found = in_numbers(path, filter(None, re.split(r"[\s,;]+", text)), "the pattern")
    if found.size < 2:
        raise FileFormatError(path, "holds no numbers of a pattern: it is cut.")
    return found


def _gsas(path: Path, text: str) -> list[Decoded]:
    """Return the banks of a GSAS file: angles in hundredths of a degree."""
    banks = list(_BANK.finditer(text))
    header = [ln for ln in text[: banks[0].start()].splitlines() if ln.strip()]
    stops = [*(b.start() for b in banks[1:]), len(text)]
    tables = []
    for bank, stop in zip(banks, stops, strict=True):
        if bank["bin"] not in ("CONS", "CONST"):
            raise FileFormatError(
                path,
                f"bank {bank['bank']} is binned by {bank['bin']}: time of flight, "
                "which is not read. Export it from GSAS against d or Q.",
            )
        body = text[bank.end() : stop]
        if int(bank["n"]) > len(body):
            raise FileFormatError(
                path, f"promises {bank['n']} points in {len(body):,} bytes: it is cut."
            )
        columns = _bank(path, bank, body)
        n = columns[0].size
        if n != int(bank["n"]):
            raise FileFormatError(
                path, f"promises {bank['n']} points and holds {n}: it is cut."
            )
        names = ("two_theta centideg", "intensity", "sigma")[: len(columns)]
        label = f"bank {bank['bank']}" if len(banks) > 1 else ""
        named = dict(zip(names, columns, strict=True))
        tables.append(decoded(path, named, header, label))
    return tables


def _bank(path: Path, bank: re.Match[str], body: str) -> list[np.ndarray]:
    kind = bank["kind"] or "STD"
    n = int(bank["n"])
    lines = [ln for ln in body.splitlines() if ln.strip() and ln[0] != "#"]
    if kind in ("FXYE", "FXY", "XYE"):
        rows = [[float(w) for w in ln.replace(",", " ").split()] for ln in lines]
        return list(np.array(rows).T)
    edges = bank["rest"].split()
    axis = float(edges[0]) + float(edges[1]) * np.arange(n)
    if kind == "ESD":
        cells = [ln[i : i + 8] for ln in lines for i in range(0, len(ln.rstrip()), 8)]
        values = np.array([float(c) for c in cells])
        return [axis[: values.size // 2], values[::2][:n], values[1::2][:n]]
    if kind == "STD":
        cells = [ln[i : i + 8] for ln in lines for i in range(0, len(ln.rstrip()), 8)]
        counts = np.array([float(c[2:]) for c in cells])[:n]
        counters = np.array([float(c[:2].strip() or 1) for c in cells])[:n]
        with np.errstate(invalid="ignore"):
            sigma = np.sqrt(np.maximum(counts, 0) / np.maximum(counters, 1))
        return [axis[: counts.size], counts, sigma]
    raise FileFormatError(path, f"holds a bank of type {kind}, which is not read.")


def _three_numbers(path: Path, text: str) -> list[Decoded]:
    """Return a pattern under one line of start, step and stop, if the count agrees.

    DBWS and FullProf write this layout. The count guards against other layouts.
    """
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines[:8]):
        match = _TRIPLE.match(line)
        if match is None:
            continue
        start, step, stop = (float(match[i]) for i in (1, 2, 3))
        if not (step > 0 and stop > start and step < stop - start):
            continue
        count = round((stop - start) / step) + 1
        words = " ".join(lines[number + 1 :]).split()
        first = lines[number + 1].split() if number + 1 < len(lines) else []
        if count < 10 or abs(len(words) - count) > 0 or len(first) == 3:
            continue
        counts = _numbers(path, " ".join(words))
        axis = start + step * np.arange(count)
        header = [ln for ln in lines[:number] if ln.strip()]
        columns = {"two_theta deg": axis, "intensity counts": counts}
        return [decoded(path, columns, header)]
    return []
