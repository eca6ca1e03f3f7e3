"""Read tables of text strictly and fast, from bytes to columns."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from batteryxr.core.errors import FileFormatError
from batteryxr.core.kernels.parsing import parsed
from batteryxr.io import clock
from batteryxr.io.cycler.labels import NUMBER
from batteryxr.io.door.endings import CUT, ends_within_number
from batteryxr.io.door.words import of_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_COMMA = re.compile(rb"(?<![\d,.])[+-]?\d*,\d+(?:[eE][+-]?\d+)?(?![\d,.])")
_POINT = re.compile(rb"(?<![\d,.])[+-]?\d*\.\d+(?:[eE][+-]?\d+)?(?![\d,.])")
_IN_QUOTES = re.compile(rb'"([+-]?\d*,\d+(?:[eE][+-]?\d+)?)"')
_GROUP = re.compile(rb"[+-]?[1-9]\d{0,2}(?:,\d{3})+")
_GROUPED = r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?"
_LARGE = 8_000_000  # bytes of rows, of which the first are tried before all
_SAMPLE = 20_000  # bytes that are searched for the decimal sign
#: Rows that begin with a number, and lines of words below them; most of such lines.
_NUMBER_FIRST = re.compile(rb'\s*"?[-+]?[.,]?\d')
_WORDS_FIRST = re.compile(
    rb"""["'\s]*(?!nan\b|inf\b|n/a\b|null\b|none\b)([*#=%]|--|</|<\w|[^\W\d_]{2}|[\x80-\xff])""",
    re.I,
)
_FOOTERS = 1000
_PART = 1 << 17  # bytes of rows that are checked at a time
_TAIL = 65_536  # bytes at the end that are searched for empty lines
#: Encodings of computers in the East -> words that cyclers write in them.
_WORDS: dict[str, tuple[str, ...]] = {
    "gb18030": (
        "电压", "电流", "时间", "工步", "循环", "容量", "充电", "放电", "搁置", "静置",
    ),
    "cp949": ("전압", "전류", "시간", "용량", "충전", "방전", "휴지"),
    "cp932": ("電圧", "電流", "時間", "容量", "充電", "放電", "休止"),
    "big5": ("電壓", "電流", "時間", "容量", "充電", "放電", "靜置"),
    "cp1251": ("Напряжение", "Ток", "Время", "Заряд", "Разряд", "заряд", "разряд"),
}  # fmt: skip
_WORDS_WITHIN = 1_000_000  # bytes
_FORMULA = re.compile(rb'="([^"\r\n]*)"')
#: Line that is one quoted cell with several cells inside.
_QUOTED = re.compile(
    rb'^"((?:[^"\r\n]|"")*[,;\t](?:[^"\r\n]|"")*)"(?=\r?$)', re.MULTILINE
)
_MISSING = ("XXX", "-", "--", "---")  # missing values, beside pandas' own words


@dataclass(frozen=True)
class TextTable:
    """Hold rows of text under a line of labels.

    Parameters
    ----------
    labels
        One label for each column; the last is empty if lines end with a separator.
    body
        Rows with line ends as in the file; no row is empty.
    separator
        Separator between cells.
    first_line
        Line number of the first row, from 1.
    lines
        Lines from the first row to each row; None if rows are on successive lines.
    """

    labels: tuple[str, ...]
    body: bytes
    separator: str
    first_line: int
    lines: np.ndarray | None = None

    def line(self, row: int) -> int:
        """Return the line number, from 1, of a row counted from 0."""
        return self.first_line + (row if self.lines is None else int(self.lines[row]))

    @property
    def named(self) -> int:
        """Return the number of columns that have a label."""
        return named(self.labels)

    @property
    def decimal(self) -> str:
        """Return the decimal sign, found from the first rows."""
        sample = self.body[:_SAMPLE]
        if self.separator == ",":
            # A comma within a cell is in quotes.
            within = _IN_QUOTES.findall(sample)
            grouped = all(_GROUP.fullmatch(cell) for cell in within)
            return "." if grouped or _POINT.search(sample) else ","
        commas, points = (len(p.findall(sample)) for p in (_COMMA, _POINT))
        return "," if commas > points else "."

    @property
    def doubt(self) -> dict[str, str]:
        """Return a note if a comma may separate thousands as well as decimals."""
        if self.separator == "," or self.decimal == ".":
            return {}
        found = _COMMA.finditer(self.body)
        if not all(_GROUP.fullmatch(match[0]) for match in found):
            return {}
        return {
            "decimal_sign": "every comma in the numbers has three digits behind it and "
            "none a zero before it: taken for the decimal sign, it may part thousands. "
            "Export the file without separators of thousands"
        }

    def parted(self, index: int) -> bool:
        """Tell whether the first cell of a column has colons, such as ``0:10:00``."""
        first = self.body[: self.body.find(b"\n") + 1 or None]
        cells = first.split(self.separator.encode())
        return b":" in cells[index]

    def read(
        self,
        numbers: Mapping[str, int],
        words: Mapping[str, int] | None = None,
        *,
        count: int | None = None,
    ) -> dict[str, np.ndarray]:
        """Return columns: float64 for `numbers`, text for `words`.

        A column of durations (``26:03:12.5``) becomes seconds. Empty cells are NaN.

        Parameters
        ----------
        numbers, words
            Name -> index of the column.
        count
            Index of a column that may number the rows: it is returned as `NUMBER` if
            it holds numbers alone.

        Raises
        ------
        FileFormatError
            If a cell does not hold what it should; the message names the first line,
            and `io.door.files.named` the file.
        """
        words = words or {}
        if len(self.body) > _LARGE and b'"' not in self.body:
            top = self.body[: self.body.rfind(b"\n", 0, _SAMPLE) + 1]
            # What cannot be read is told before all of it is.
            replace(self, body=top).read(numbers, words, count=count) if top else None
        places = [*numbers.values(), *words.values()]
        counted = [] if count is None else [count]
        frame = self._frame([*places, *counted], words.values())
        columns = {name: self._numeric(frame[i]) for name, i in numbers.items()}
        for index in counted:
            if frame[index].dtype.kind in "iuf":
                columns[NUMBER] = frame[index].to_numpy(dtype=np.float64)
        for name, index in words.items():
            cells = frame[index].fillna("").to_numpy(dtype=object)
            plain = {cell: decode(cell.encode("latin-1")) for cell in set(cells)}
            columns[name] = np.array([plain[cell] for cell in cells], dtype=object)
        return columns

    def _frame(self, indices: Sequence[int], text: Any) -> Any:
        import pandas as pd

        width, rows = self._check_shape()
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
                # Latin-1 accepts any byte; text without decoding reads twice as fast.
                encoding="utf-8" if self.body.isascii() else "latin-1",
                na_values=list(_MISSING),
                low_memory=False,
                skip_blank_lines=False,
                quoting=csv.QUOTE_MINIMAL if b'"' in self.body else csv.QUOTE_NONE,
                **_exact(pd.__version__),
            )
        except (pd.errors.ParserError, ValueError, OverflowError) as error:
            words, row = of_table(error)
            raise FileFormatError(
                None,
                f"the rows cannot be read: {words}. Export it again.",
                None if row is None else self.line(row),
            ) from error
        if rows and len(frame) != rows:
            raise FileFormatError(
                None,
                f"{len(frame)} of {rows} rows can be read. The file is damaged.",
            )
        return frame

    def _check_shape(self) -> tuple[int, int]:
        """Return the numbers of cells in each row, a trailing empty one too, and rows.

        Where cells are in quotes, rows are not counted.
        """
        if not self.body:
            raise FileFormatError(
                None, "no data rows below the labels. Has the test started?"
            )
        if b'"' in self.body:
            return self._check_quoted(), 0
        usual, rows, ended = -1, 0, False
        for start, stop in self._parts():  # each fits a processor's cache
            data = np.frombuffer(self.body, np.uint8, stop - start, start)
            ends = np.flatnonzero(data == ord("\n"))
            if data[-1] != ord("\n"):
                ends = np.append(ends, data.size)
            marks = np.flatnonzero(data == ord(self.separator))
            if usual < 0:
                usual = int(np.searchsorted(marks, ends[0]))
            per_line = np.full(ends.size, usual)
            table = (
                marks.reshape(ends.size, -1) if marks.size == per_line.sum() else marks
            )
            even = table.ndim == 2 and (table[:, -1:] < ends[:, None]).all()
            if not even or not (table[1:, :1] > ends[:-1, None]).all():
                per_line = np.diff(np.searchsorted(marks, ends), prepend=0)
            wrong = per_line != (usual if usual in (self.named - 1, self.named) else -1)
            if not wrong.any() and usual > 0:
                last = ends - 1 - marks[usual - 1 :: usual]
                last -= data[ends - 1] == ord("\r")
                ended |= bool(last.any())
                if usual == self.named:
                    wrong = last > 0
            if wrong.any() or usual == 0:
                row = int(np.argmax(wrong))
                self._refuse_width(rows + row, int(per_line[row]) + 1)
            rows += ends.size
        if usual < self.named < len(self.labels) and not ended:
            # Rows with the trailing separator of the labels lack a cell.
            self._refuse_width(0, usual)
        return usual + 1, rows

    def _parts(self) -> Iterator[tuple[int, int]]:
        """Yield first byte and end of parts that hold whole lines."""
        start, size = 0, len(self.body)
        while start < size:
            stop = self.body.rfind(b"\n", start, start + _PART) + 1
            if stop <= start:
                stop = self.body.find(b"\n", start + _PART) + 1
            stop = size if stop <= start else stop
            yield start, stop
            start = stop

    def _check_quoted(self) -> int:
        lines = (
            line
            for start, stop in self._parts()
            for line in self.body[start:stop].decode("latin-1").splitlines()
        )
        width = 0
        try:
            for number, row in enumerate(csv.reader(lines, delimiter=self.separator)):
                if len(row) != self.named and row[self.named :] != [""]:
                    self._refuse_width(number, len(row))
                width = max(width, len(row))
        except csv.Error as error:
            raise FileFormatError(
                None,
                "a row at or below this one has a quote that is not closed, or a cell "
                "that is too long. Export it again.",
                self.first_line,
            ) from error
        return width

    def _refuse_width(self, row: int, width: int) -> NoReturn:
        raise FileFormatError(
            None,
            f"{width} cells under {self.named} labels. The file is cut or "
            "damaged here: export it again.",
            self.line(row),
        )

    def _numeric(self, column: Any) -> np.ndarray:
        if column.dtype.kind in "iuf":
            return column.to_numpy(dtype=np.float64)
        text = column.astype(str).where(column.notna(), "").str.strip()
        filled = text[text != ""]
        if len(filled) and filled.iloc[0].count(":") >= 2:
            return self._durations(text)
        wrong = text.str.contains("[_:]")  # digits in Python, but not in cycler files
        if self.decimal == ",":
            wrong |= text.str.contains(".", regex=False)
            text = text.str.replace(",", ".", regex=False)
        elif _POINT.search(self.body[:_SAMPLE]):  # a comma then only groups digits
            grouped = text.str.fullmatch(_GROUPED)
            text = text.where(~grouped, text.str.replace(",", "", regex=False))
        values = parsed(text.where(text != "", "nan").to_numpy(dtype=object))
        wrong |= np.isnan(values) & (text != "")
        if wrong.any():
            row = int(np.argmax(wrong.to_numpy()))
            raise FileFormatError(
                None,
                f"{text.iloc[row][:40]!r} is not a number (decimal sign "
                f"{self.decimal!r}). The file is damaged here: export it again.",
                self.line(row),
            )
        return values

    def _durations(self, text: Any) -> np.ndarray:
        seconds = np.full(len(text), np.nan)
        for row, cell in enumerate(text):
            try:
                seconds[row] = clock.duration(cell)
            except ValueError as error:
                raise FileFormatError(None, f"{error}.", self.line(row)) from error
        return seconds


def named(labels: Sequence[str]) -> int:
    """Return the number of columns; an empty last label only ends the line."""
    return len(labels) - (not labels[-1].strip())


def _exact(version: str) -> dict[str, Any]:
    """Return the option with which a version of pandas reads numbers to their end.

    Before 3.1 every third number was wrong in its last digit unless asked otherwise;
    from then on asking is deprecated.
    """
    known = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    return {"float_precision": "round_trip"} if known < (3, 1) else {}


def decode(text: bytes) -> str:
    """Return text decoded as UTF-8, or else as cp1252."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("cp1252", errors="replace")


def unified(raw: bytes) -> bytes:
    """Return text with line feeds as line ends, and letters in UTF-8.

    Computers in China, Korea, Japan, Taiwan and Russia write encodings of their own.
    They are recognised by words that cyclers write, since any bytes could be western
    text.
    """
    if b"\n" not in raw:
        raw = raw.replace(b"\r", b"\n")
    if b"\r\r\n" in raw:  # line ends that were translated twice
        raw = raw.replace(b"\r\r\n", b"\n")
    if raw.isascii():
        return _unquoted(raw)
    try:
        raw.decode()
    except UnicodeDecodeError:
        sample = raw[:_WORDS_WITHIN]
        counts = {name: _spoken(sample, name) for name in _WORDS}
        most = max(counts, key=lambda name: counts[name])
        if counts[most]:
            raw = raw.decode(most, errors="replace").encode()
    return _unquoted(raw)


def _spoken(sample: bytes, encoding: str) -> int:
    """Return how many of the words of an encoding occur in a text."""
    text = sample.decode(encoding, errors="ignore")
    return sum(word in text for word in _WORDS[encoding])


def _unquoted(raw: bytes) -> bytes:
    """Return text without the quotes around each whole line.

    Signs that protect a cell from a spreadsheet are removed too: ="0d 00:01:00".
    """
    end = raw.find(b"\n", _SAMPLE)
    head = raw if end < 0 else raw[:end]
    if b'="' in head:
        raw = _FORMULA.sub(rb"\1", raw)
    if b'"' not in head or 2 * len(_QUOTED.findall(head)) < head.count(b"\n"):
        return raw
    return _QUOTED.sub(lambda match: match[1].replace(b'""', b'"'), raw)


def _footer(body: bytes) -> tuple[int, str] | None:
    """Return where the lines of words below a table begin, and a note; or None."""
    if not _NUMBER_FIRST.match(body):
        return None
    tail = body[-_TAIL:].rstrip()
    end = len(body.rstrip()) if not tail else max(len(body) - _TAIL, 0) + len(tail)
    found = list[bytes]()
    start = end
    while len(found) < _FOOTERS:
        begin = body.rfind(b"\n", 0, end) + 1
        line = body[begin:end].strip()
        if not begin or (line and not _WORDS_FIRST.match(line)):
            break
        if line:
            found.append(line)
            start = begin
        end = max(begin - 1, 0)
    if not found:
        return None
    first = found[-1].decode("utf-8", "replace")[:60]
    lines = "lines" if len(found) > 1 else "line"
    return start, f"{len(found)} {lines} below the table, {first!r}, left out"


def finish(
    body: bytes, separators: int, separator: bytes
) -> tuple[bytes, dict[str, str]]:
    """Return the body without empty lines and unfinished row at its end, and notes.

    A file that was cut, or is still being written, ends within a row. The last row then
    has too few separators and no line end, or a last number that is too short. Lines of
    words below the numbers, such as "End of test", are left out too.
    """
    notes: dict[str, str] = {}
    if told := _footer(body):
        body, notes = body[: told[0]], {"footer": told[1]}
    if not body.endswith((b"\n", b"\r")):
        start = body.rfind(b"\n") + 1
        if start and body.count(separator, start) < separators:
            return body[:start], {
                "cut": "the last row was not finished and is left out"
            }
        if ends_within_number(body):
            return body, {"cut": CUT}
    tail = body[-_TAIL:]
    blank = len(tail) - len(tail.rstrip(b"\r\n \t"))
    newline = body.find(b"\n", len(body) - blank)
    return (body if newline < 0 else body[: newline + 1]), notes
