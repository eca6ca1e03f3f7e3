"""Read files of numeric columns under a free-form header, from any program."""

from __future__ import annotations

import functools
import itertools
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import FileFormatError
from batteryxr.io.door.endings import ends_within_number
from batteryxr.io.door.files import refuse_words, text
from batteryxr.io.door.words import refuse_many

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_COMMENT = (b"#", b"%", b"!", b";", b"*", b"//")
_DECIMAL_COMMA = re.compile(rb"[+-]?\d*(,\d+)?([eE][+-]?\d+)?")
#: More blanks in a row are as many as this.
_BLANK = 200
_BLANKS = re.compile(rb"[ \t]{%d,}" % _BLANK)
#: Most rows in a table of a scan's regions above its points.
_REGIONS = 20
#: Most lines above the numbers.
_HEADER = 20_000
#: In numbers with a decimal comma, a point is damage, not another spelling.
_COMMA_FOR_POINT = bytes.maketrans(b",.", b".?")
#: A clock time at the beginning of a line of numbers, after a date or without.
_CLOCK = re.compile(
    rb"(?m)^[ \t\"]*(?:(\d{4}[-/]\d\d[-/]\d\d)[T ])?(\d\d?):(\d\d):(\d\d(?:\.\d+)?)\"?"
    rb"(?=[ \t,;]+[-+]?[.\d])"
)
#: The exponent of a double in Fortran: 1.5D+03.
_FORTRAN = re.compile(rb"(?<=[\d.])[dD](?=[-+]\d{1,3}\b)")


@dataclass(frozen=True)
class ColumnFile:
    """Hold a file split into its header and its block of numbers, not yet parsed.

    Attributes
    ----------
    path
        Path of the file.
    header
        Lines before the numbers, with their comment signs.
    block
        Lines of numbers, as they are in the file.
    n_columns
        Number of columns of the first line of numbers.
    delimiter
        Byte between columns; empty for white space.
    decimal_comma
        Whether 3.7 is written 3,7.
    above
        Lines of the file before the header.
    label
        Name of this table, if the file holds several.
    """

    path: Path
    header: tuple[str, ...]
    block: bytes
    n_columns: int
    delimiter: bytes = b""
    decimal_comma: bool = False
    above: int = 0
    label: str = ""

    @property
    def first_line(self) -> int:
        """Return the line number (from 1) of the first row of numbers."""
        return self.above + len(self.header) + 1

    @property
    def raw(self) -> bytes:
        """Return the numbers as bytes, to recognise copies by."""
        return self.block

    @property
    def seems_cut(self) -> bool:
        """Tell whether the file seems to end within its last number."""
        return ends_within_number(self.block)

    def ends(self, column: int = 0) -> tuple[float, float]:
        """Return the first and last number of a column."""
        first = self.block[: self.block.find(b"\n") + 1 or None]
        tail = self.block[-max(4096, 4 * len(first)) :].splitlines()
        lines = [line for line in tail if line.strip() and not _is_comment(line)]
        return self._number(first, column), self._number(lines[-1], column)

    def read(self, columns: Sequence[int]) -> np.ndarray:
        """Return the chosen columns as float64, shape ``(column, row)``.

        Raises
        ------
        FileFormatError
            If a line does not hold `n_columns` numbers; the message names the line.
        """
        for column in columns:
            if not 0 <= column < self.n_columns:
                raise FileFormatError(
                    self.path,
                    f"has {self.n_columns} columns; column {column} was asked for "
                    "(they are counted from 0).",
                )
        words = self._spaced(self.block).split()
        rows = self.block.count(b"\n") + (not self.block.endswith(b"\n"))
        if len(words) == rows * self.n_columns and b"_" not in self.block:
            try:
                return self._numbers(words, columns)
            except ValueError:
                pass  # the slow way skips comments and names the bad line
        words = [word for line in self._checked_lines() for word in line]
        return self._numbers(words, columns)

    def _numbers(self, words: list[bytes], columns: Sequence[int]) -> np.ndarray:
        chosen = [words[column :: self.n_columns] for column in columns]
        return np.array(
            [
                _axis(b" ".join(column)) if number == columns[0] else _floats(column)
                for number, column in zip(columns, chosen, strict=True)
            ]
        )

    def _checked_lines(self) -> Iterator[list[bytes]]:
        for number, line in enumerate(self.block.splitlines(), self.first_line):
            if not line.strip() or _is_comment(line):
                continue
            words = self._spaced(line).split()
            if len(words) != self.n_columns:
                raise FileFormatError(
                    self.path,
                    f"{len(words)} columns where the lines before have "
                    f"{self.n_columns}: {_quote(line)}. The file is cut or damaged "
                    "here; repair or remove it.",
                    number,
                )
            if wrong := [word for word in words if not _is_number(word)]:
                raise FileFormatError(
                    self.path,
                    f"{_quote(wrong[0])} is not a number. The file is damaged here; "
                    "repair or remove it.",
                    number,
                )
            yield words

    def _spaced(self, text: bytes) -> bytes:
        if self.delimiter:
            text = text.replace(self.delimiter, b" ")
        return text.translate(_COMMA_FOR_POINT) if self.decimal_comma else text

    def _number(self, line: bytes, column: int) -> float:
        words = self._spaced(line).split()[column : column + 1]
        # A cut line is reported with its number when the columns are read.
        return float(words[0]) if words and _is_number(words[0]) else np.nan

    def line_of(self, row: int) -> int:
        """Return the line number of a row of numbers."""
        lines = (
            number
            for number, line in enumerate(self.block.splitlines(), self.first_line)
            if line.strip() and not _is_comment(line)
        )
        return next(itertools.islice(lines, row, None))


def read_columns(path: str | Path, *, skip_rows: int = 0) -> ColumnFile:
    """Read a text file, plain or gzipped, and find where its numbers begin.

    The numbers begin at the first line that holds at least two of them, if the next
    line holds as many. Columns may be separated by white space, commas, semicolons
    and tabs. Decimal commas are accepted where commas do not separate columns.

    Parameters
    ----------
    path
        Path of the file; a gzipped file is unpacked, whatever its name.
    skip_rows
        Lines at the top that belong to the header, whatever they contain.

    Raises
    ------
    FileFormatError
        If there is no block of numbers, or the file is binary or damaged.
    """
    path = Path(path)
    return columns_of(path, load(path), skip_rows=skip_rows)


def columns_of(
    path: Path, raw: bytes, *, skip_rows: int = 0, above: int = 0
) -> ColumnFile:
    """Find the numbers in a text that was loaded already; see `read_columns`.

    Parameters
    ----------
    path
        Path of the file, for messages.
    raw
        The text, or a part of it.
    skip_rows
        Lines at the top that belong to the header, whatever they contain.
    above
        Lines of the file before this part.
    """
    refuse_many(raw)
    lines = raw.splitlines(keepends=True)
    start = 0
    for number, line in enumerate(lines):
        no_numbers = number < skip_rows or _is_comment(line)
        layout = None if no_numbers else _layout(line)
        if layout is not None and _goes_on(lines, number, layout):
            if number < (below := _first_after_regions(lines, number)):
                return columns_of(path, raw, skip_rows=below, above=above)
            n_columns, delimiter, decimal_comma = layout
            block = raw[start:]
            if delimiter != b",":  # the first numbers may be integers
                decimal_comma |= b"," in block and b"." not in block
            header = tuple(_text(line) for line in lines[:number])
            return ColumnFile(
                path, header, block, n_columns, delimiter, decimal_comma, above
            )
        start += len(line)
        if number > _HEADER:
            raise FileFormatError(path, f"has no numbers in {_HEADER:,} lines.")
    if (plain := _FORTRAN.sub(b"E", raw)) != raw:
        return columns_of(path, plain, skip_rows=skip_rows, above=above)
    if (plain := _CLOCK.sub(_seconds, raw)) != raw:
        return columns_of(path, plain, skip_rows=skip_rows, above=above)
    refuse_words(path, raw)
    raise FileFormatError(
        path,
        "no block of numbers in at least two columns. Is it a pattern or spectrum? "
        "If its numbers hide below numeric header lines, pass skip_rows=.",
    )


def _seconds(clock: re.Match[bytes]) -> bytes:
    """Return a clock time as seconds: of its day, or of 1970 if it has a date."""
    days = 0
    if clock[1]:
        try:
            date = datetime.fromisoformat(clock[1].decode().replace("/", "-"))
        except ValueError:  # no such day
            return clock[0]
        days = date.toordinal() - datetime(1970, 1, 1).toordinal()
    hours, minutes, seconds = map(float, clock.group(2, 3, 4))
    return b"%.6f" % (86400 * days + 3600 * hours + 60 * minutes + seconds)


@functools.lru_cache(maxsize=4)
def _axis(text: bytes) -> np.ndarray:
    # The files of a series share their first column, so it is converted only once.
    return _floats(text.split())


def _floats(words: list[bytes]) -> np.ndarray:
    return np.fromiter(map(float, words), np.float64, len(words))


def load(path: Path, *takes: str) -> bytes:
    """Return the text of a file with plain line ends; see `door.files.text`."""
    raw = text(path, "gzip", *takes)
    if b"\r" in raw:
        raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return raw


def _layout(line: bytes) -> tuple[int, bytes, bool] | None:
    """Return number of columns, delimiter and decimal comma; None if not numbers."""
    words = line.split()
    if len(words) >= 2 and all(map(_is_number, words)):
        return len(words), b"", False
    words = line.replace(b";", b" ").split()
    if len(words) >= 2 and all(map(_is_comma_number, words)):
        return len(words), b";" if b";" in line else b"", b"," in line
    for delimiter in (b",", b";", b"|"):
        words = line.replace(delimiter, b" ").split()
        if len(words) >= 2 and all(map(_is_number, words)):
            return len(words), delimiter, False
    return None


def _first_after_regions(lines: list[bytes], first: int) -> int:
    """Return the line below a table of a scan's regions, or `first` if there is none.

    Its rows are few, and lines of words, then more rows of numbers follow.
    """
    rows = 0
    for line in lines[first : first + _REGIONS + 1]:
        if _layout(line) is None:
            break
        rows += 1
    words, at = 0, first + rows
    while at < len(lines) and (_layout(lines[at]) is None or _is_comment(lines[at])):
        words += any(map(bytes.isalpha, lines[at].split()))
        at += 1
    if not 0 < rows <= _REGIONS or words < 2:
        return first
    after = sum(_layout(line) is not None for line in lines[at : at + 3 * rows + 3])
    return at if after == 3 * rows + 3 else first


def _goes_on(lines: list[bytes], number: int, layout: tuple[int, bytes, bool]) -> bool:
    following = (lines[k] for k in range(number + 1, len(lines)) if lines[k].strip())
    after = next(following, None)
    if after is None or _is_comment(after):
        return True
    found = _layout(after)
    if found is not None:
        return found[0] == layout[0]
    # A damaged second line is reported with its number on reading. A second line of
    # words means that the numbers above belong to the header.
    words = after.replace(b",", b" ").replace(b";", b" ").split()
    return 2 * sum(map(_is_number, words)) >= len(words)


def _is_number(word: bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return b"_" not in word


def _is_comma_number(word: bytes) -> bool:
    return bool(_DECIMAL_COMMA.fullmatch(word)) and word[-1:].isdigit()


def _is_comment(line: bytes) -> bool:
    return line.lstrip().startswith(_COMMENT)


def _text(line: bytes) -> str:
    line = _BLANKS.sub(b" " * _BLANK, line.rstrip(b"\n"))
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _quote(text: bytes) -> str:
    shown = text.strip().decode("latin-1")
    return repr(shown if len(shown) <= 60 else shown[:60] + "...")
