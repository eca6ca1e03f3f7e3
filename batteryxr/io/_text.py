"""Tables in text files: one strict, fast way from bytes to columns."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from batteryxr.core.errors import FileFormatError
from batteryxr.io import clock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_COMMA = re.compile(rb"(?<![\d,.])[+-]?\d*,\d+(?:[eE][+-]?\d+)?(?![\d,.])")
_POINT = re.compile(rb"(?<![\d,.])[+-]?\d*\.\d+(?:[eE][+-]?\d+)?(?![\d,.])")
_SAMPLE = 20_000  # bytes that tell the decimal sign
_MISSING = ("XXX", "-", "--", "---")  # no value, beside pandas' own words


@dataclass(frozen=True)
class TextTable:
    """Rows of text under a line of labels.

    Parameters
    ----------
    path
        The file.
    labels
        One for each column.
    body
        The rows, line ends as in the file, none of them empty.
    separator
        Between cells.
    first_line
        Line number of the first row, from 1.
    cut
        Whether a last, unfinished row was left out.
    """

    path: Path
    labels: tuple[str, ...]
    body: bytes
    separator: str
    first_line: int
    cut: bool = False

    @property
    def decimal(self) -> str:
        """The decimal sign, told from the first rows."""
        if self.separator == ",":
            return "."
        sample = self.body[:_SAMPLE]
        commas, points = (len(p.findall(sample)) for p in (_COMMA, _POINT))
        return "," if commas > points else "."

    def read(
        self, numbers: Mapping[str, int], words: Mapping[str, int] | None = None
    ) -> dict[str, np.ndarray]:
        """Return columns: float64 for `numbers`, text for `words`.

        A column of durations (``26:03:12.5``) becomes seconds. Empty cells are NaN.

        Parameters
        ----------
        numbers, words
            Name -> index of the column.

        Raises
        ------
        FileFormatError
            Naming the first line that does not hold what it should.
        """
        words = words or {}
        frame = self._frame([*numbers.values(), *words.values()], words.values())
        columns = {name: self._numeric(frame[i]) for name, i in numbers.items()}
        for name, index in words.items():
            columns[name] = frame[index].fillna("").to_numpy(dtype=object)
        return columns

    def _frame(self, indices: Sequence[int], text: Any) -> Any:
        import pandas as pd

        width = self._check_shape()
        try:
            frame = pd.read_csv(
                io.BytesIO(self.body),
                sep=self.separator,
                header=None,
                names=range(width),
                index_col=False,
                usecols=sorted(set(indices)),
                dtype=dict.fromkeys(text, str),
                decimal=self.decimal,
                encoding="latin-1",
                na_values=list(_MISSING),
                low_memory=False,
                skip_blank_lines=False,
                quoting=csv.QUOTE_MINIMAL if b'"' in self.body else csv.QUOTE_NONE,
            )
        except (pd.errors.ParserError, ValueError, OverflowError) as error:
            line = re.search(r"line (\d+)", str(error))
            number = int(line[1]) + self.first_line - 1 if line else None
            raise FileFormatError(
                self.path, f"the rows cannot be read: {error}.", number
            ) from error
        rows = self.body.count(b"\n") + (not self.body.endswith(b"\n"))
        if b'"' not in self.body and len(frame) != rows:
            raise FileFormatError(
                self.path,
                f"{len(frame)} of {rows} rows can be read. The file is damaged.",
            )
        return frame

    def _check_shape(self) -> int:
        """Return the number of cells of every row, a trailing empty one included."""
        if not self.body:
            raise FileFormatError(
                self.path, "no data rows below the labels. Has the test started?"
            )
        if b'"' in self.body:
            return self._check_quoted()
        data = np.frombuffer(self.body, np.uint8)
        ends = np.flatnonzero(data == ord("\n"))
        if not self.body.endswith(b"\n"):
            ends = np.append(ends, data.size)
        marks = np.flatnonzero(data == ord(self.separator))
        each = int(np.searchsorted(marks, ends[0]))
        if marks.size == each * ends.size and each > 0:
            table = marks.reshape(-1, each)
            even = (table[:, -1] < ends).all() and (table[1:, 0] > ends[:-1]).all()
            if even and each + 1 == len(self.labels):
                return each + 1
            # One cell more is fine where it is empty: EC-Lab ends rows with a tab.
            tails = ends - table[:, -1]
            if even and each == len(self.labels) and tails.max() <= 2:
                return each + 1
        per_line = np.diff(np.searchsorted(marks, ends), prepend=0)
        usual = len(self.labels) - 1
        wrong = ~np.isin(per_line, (usual, each if each == usual + 1 else usual))
        row = int(np.argmax(wrong))
        self._refuse_width(row, int(per_line[row]) + 1)

    def _check_quoted(self) -> int:
        rows = csv.reader(
            self.body.decode("latin-1").splitlines(), delimiter=self.separator
        )
        try:
            widths = [len(row) for row in rows]
        except csv.Error as error:
            raise FileFormatError(self.path, f"{error}.", self.first_line) from error
        allowed = {len(self.labels), len(self.labels) + 1}
        for number, width in enumerate(widths):
            if width not in allowed:
                self._refuse_width(number, width)
        return max(widths)

    def _refuse_width(self, row: int, width: int) -> NoReturn:
        raise FileFormatError(
            self.path,
            f"{width} cells under {len(self.labels)} labels. The file is cut or "
            "damaged here: export it again.",
            self.first_line + row,
        )

    def _numeric(self, column: Any) -> np.ndarray:
        import pandas as pd

        if column.dtype.kind in "iuf":
            return column.to_numpy(dtype=np.float64)
        text = column.astype(str).where(column.notna(), "").str.strip()
        filled = text[text != ""]
        if len(filled) and filled.iloc[0].count(":") >= 2:
            return self._durations(text)
        wrong = text.str.contains("[_:]")  # digits to Python, not to a cycler
        if self.decimal == ",":
            wrong |= text.str.contains(".", regex=False)
            text = text.str.replace(",", ".", regex=False)
        values = pd.to_numeric(text, errors="coerce").astype(np.float64)
        wrong |= values.isna() & (text != "")
        if wrong.any():
            row = int(np.argmax(wrong.to_numpy()))
            raise FileFormatError(
                self.path,
                f"{text.iloc[row][:40]!r} is not a number (decimal sign "
                f"{self.decimal!r}). The file is damaged here: export it again.",
                self.first_line + row,
            )
        return values.to_numpy(dtype=np.float64)

    def _durations(self, text: Any) -> np.ndarray:
        seconds = np.full(len(text), np.nan)
        for row, cell in enumerate(text):
            try:
                seconds[row] = clock.duration(cell)
            except ValueError as error:
                raise FileFormatError(
                    self.path, f"{error}.", self.first_line + row
                ) from error
        return seconds


def load(path: Path) -> bytes:
    """Return the bytes of a text file: UTF-8 or one byte a letter, no NUL.

    Raises
    ------
    FileFormatError
        If it cannot be opened, is empty, or is not text.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise FileFormatError(path, f"cannot be read: {error.strerror}.") from error
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            raw = raw.decode("utf-16").encode()
        except UnicodeDecodeError as error:
            raise FileFormatError(path, f"broken UTF-16 text: {error}.") from error
    if not raw.strip():
        raise FileFormatError(path, "the file is empty.")
    if b"\0" in raw:
        line = raw.count(b"\n", 0, raw.index(b"\0")) + 1
        raise FileFormatError(
            path,
            "holds NUL bytes: it is binary, or was never written to the end. "
            "Copy or export it again.",
            line,
        )
    return raw.removeprefix(b"\xef\xbb\xbf")


def decode(text: bytes) -> str:
    """Return text in UTF-8, or else as Windows writes it in western Europe."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("cp1252", errors="replace")


def finish(body: bytes, separators: int, separator: bytes) -> tuple[bytes, bool]:
    """Return the body without empty lines at its end and without an unfinished row.

    A file that is still being written, or was cut, ends within a row: one with fewer
    separators than the others and no line end.
    """
    if not body.endswith((b"\n", b"\r")):
        start = body.rfind(b"\n") + 1
        if start and body.count(separator, start) < separators:
            return body[:start], True
    end = len(body.rstrip(b"\r\n \t"))
    newline = body.find(b"\n", end)
    return (body if newline < 0 else body[: newline + 1]), False
