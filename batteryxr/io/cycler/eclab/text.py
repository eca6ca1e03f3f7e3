"""Read text exports of EC-Lab and BT-Lab (``.mpt``)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import FileFormatError
from batteryxr.io import clock
from batteryxr.io.cycler.eclab.cycling import About, cycling
from batteryxr.io.cycler.labels import choose
from batteryxr.io.cycler.text import TextTable, decode, finish, named
from batteryxr.io.cycler.vendors import BIOLOGIC
from batteryxr.io.door import files
from batteryxr.io.door.words import refuse_count
from batteryxr.io.timing.cells import Style, stamps_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from batteryxr.io.cycler.eclab.cycling import LabelledTable
    from batteryxr.io.cycler.table import Options, RawTable

_COUNT = re.compile(rb"Nb header lines\s*:\s*(\d{1,6})")
#: A label in every line of labels, and the most bytes of that line.
_TIME = re.compile(rb"(?:^|[\t\n])(?:time/s|freq/Hz)\t")
_LABELS = 8000
_HEADER = 50_000  # most lines of a header
_PAIR = re.compile(r"([^:\t]+?) ?: *(.*)")
#: A date of EC-Lab, whose marks are those of the computer, and one in a file's name.
_DATE = re.compile(r"(?<![\d.])(\d{1,2})([-/.])(\d{1,2})\2(\d{4})(?![\d.])")
_NAMED = re.compile(r"(?<!\d)(?:20)?(\d\d)[-_.]?(\d\d)[-_.]?(\d\d)(?!\d)")


@dataclass(frozen=True)
class _Rows:
    """Hold rows of text, in which times exported as dates become seconds."""

    table: TextTable
    stamps: np.ndarray | None = None  # ns, from the column of dates
    dates: int | None = None  # index of that column

    @property
    def labels(self) -> Sequence[str]:
        return self.table.labels

    def read(self, wanted: Mapping[str, int]) -> dict[str, np.ndarray]:
        """Return columns as float64: name -> index among the labels."""
        if not self.table.body:
            return {name: np.empty(0) for name in wanted}
        columns: dict[str, np.ndarray] = {}
        numbers = dict(wanted)
        for name, index in wanted.items():
            if self.stamps is not None and index == self.dates:
                del numbers[name]
                columns[name] = (self.stamps - self.stamps[0]) * 1e-9
        return columns | (self.table.read(numbers) if numbers else {})


def read(path: Path, options: Options) -> RawTable:
    """Read a text export.

    Parameters
    ----------
    path
        The file, with its header or without, in any language of the cycler's computer:
        decimal commas are recognised from the rows.
    options
        `Options.dayfirst` overrides EC-Lab's month-first dates.

    Raises
    ------
    FileFormatError
        If the export is damaged; the message names the line.
    """
    return cycling(*contents(path, options), options)


def contents(path: Path, options: Options) -> tuple[LabelledTable, About]:
    """Return the columns of a text export, with its header.

    Parameters
    ----------
    path, options
        As in `read`.

    Raises
    ------
    FileFormatError
        If the export is damaged; the message names the line.
    """
    raw = files.text(path)
    lines, body = _split(raw, path)
    header = _header(lines[:-1])
    labels = tuple(label.strip() for label in lines[-1].split("\t"))
    if len(labels) < 2 and body.strip():
        raise FileFormatError(
            path, f"a line of labels was expected, found {lines[-1][:60]!r}", len(lines)
        )
    body, notes = finish(body, named(labels) - 1, b"\t")
    table = TextTable(labels, body, "\t", len(lines) + 1)
    rows = _Rows(table)
    head = "\n".join(lines)
    dayfirst, told = _day_leads(head, path.stem, options.dayfirst)
    dated = choose(labels, BIOLOGIC.columns, options.columns).get("test_time")
    if dated is not None and _absolute(table, dated.index):
        rows = _Rows(table, _stamps(table, dated.index, options, dayfirst), dated.index)
    about = About(
        path,
        technique=str(header.get("Technique", "")),
        header=header,
        start=None if rows.stamps is not None else _start(head, dayfirst),
        stamps=rows.stamps,
        instrument=str(header.get("Device", "")).strip() or BIOLOGIC.name,
        notes=notes | told,
        first_line=table.first_line,
    )
    return rows, about


def _split(raw: bytes, path: Path) -> tuple[list[str], bytes]:
    """Return the header lines, with the line of labels last, and the rows."""
    match = _COUNT.search(raw[:1000])
    if match is None and _TIME.search(first := raw[: raw.find(b"\n") + 1]):
        return decode(first).splitlines(), raw[len(first) :]
    if match is None:
        raise FileFormatError(
            path, "no line 'Nb header lines : ...'. Is it an EC-Lab text export?", 2
        )
    refuse_count(count := int(match[1]), "lines of header", _HEADER)
    end = 0
    for number in range(count):
        end = raw.find(b"\n", end) + 1
        if end == 0 and number == count - 1 and _TIME.search(raw[-_LABELS:]):
            end = len(raw)  # labels only: nothing was recorded
        elif end == 0:
            raise FileFormatError(
                path,
                f"the header has {number + 1} lines where it announces {count}. "
                "The file was cut: export it again.",
                number + 1,
            )
    return decode(raw[:end]).splitlines()[:count], raw[end:]


def _header(lines: list[str]) -> dict[str, Any]:
    """Return the header: pairs, technique, and settings as text."""
    header: dict[str, list[str]] = {}
    settings: list[str] = []
    for line in lines[2:]:
        text = line.rstrip()
        if not text:
            continue
        if settings or text.startswith("Ns "):  # a table, one column a sequence
            settings.append(text)
            continue
        match = _PAIR.fullmatch(text.strip())
        if match and len(match[1]) < 60:
            again = header.setdefault(match[1].strip(), [])
            again.append(match[2] if again else match[2].strip())
        elif not header:
            header["Technique"] = [text.strip()]
        else:
            said = header.setdefault("Remarks", [])
            said.append(text if said else text.strip())
    header["settings"] = settings
    return {key: "\n".join(parts) for key, parts in header.items()}


def _day_leads(head: str, name: str, asked: bool | None) -> tuple[bool, dict[str, str]]:
    """Return whether the day leads in dates, and a note if that is not EC-Lab's way.

    EC-Lab writes the month first on every computer, between the computer's own marks.
    Another date of the header, or the one in a file's name, may say otherwise.
    """
    if asked is not None:
        return asked, {}
    dates = [(int(d[1]), int(d[3])) for d in _DATE.finditer(head)]
    witness = next((f"{a}/{b} in its header" for a, b in dates if a > 12), None)
    sure = any(b > 12 for _, b in dates)
    start = re.search(BIOLOGIC.start, head)
    found = _DATE.match(start[1]) if start else None
    if found and witness is None and not sure:
        month, day, year = int(found[1]), int(found[3]), int(found[4]) % 100
        names = [name, *re.findall(r"^\s*File : (.*)", head, re.MULTILINE)]
        said = [m for text in names for m in _NAMED.finditer(text)]
        pairs = {(int(m[2]), int(m[3])): m[0] for m in said if int(m[1]) == year}
        sure = (month, day) in pairs or month == day
        if (day, month) in pairs and not sure:
            witness = f"{pairs[day, month]} in its name"
        elif found[2] != "/" and not sure:
            say = f"{found[0]} could be two dates: the month is read first, as EC-Lab "
            return False, {"date_order": say + "writes it. dayfirst= decides"}
    if witness is None or sure:
        return bool(BIOLOGIC.dayfirst), {}
    say = f"dates are read day first, for {witness} says so; EC-Lab writes the month "
    return True, {"date_order": say + "first. dayfirst= decides"}


def _start(head: str, dayfirst: bool) -> datetime | None:
    match = re.search(BIOLOGIC.start, head)
    return clock.reading(_slashed(match[1]), dayfirst=dayfirst) if match else None


def _slashed(words: str) -> str:
    """Return a date with the marks that stand for any order."""
    return _DATE.sub(r"\1/\3/\4", words)


def _absolute(table: TextTable, index: int) -> bool:
    """Tell whether times were exported as dates."""
    first = table.body[: table.body.find(b"\n")].split(b"\t")
    return (
        index < len(first) and _slashed(first[index].decode("latin-1")).count("/") == 2
    )


def _stamps(
    table: TextTable, index: int, options: Options, dayfirst: bool
) -> np.ndarray:
    words = table.read({}, {"time": index})["time"]
    if len(words) and "/" not in str(words[0]):
        words = np.array([_slashed(str(word)) for word in words], object)
    stamps = stamps_of(words, Style(options.dayfirst, dayfirst), None)
    missing = np.ones(len(words), bool) if stamps is None else ~stamps.known
    if stamps is None or missing.any():
        bad = int(np.argmax(missing))
        raise FileFormatError(
            None, f"{words[bad]!r} is not a date.", table.first_line + bad
        )
    return stamps.ns
