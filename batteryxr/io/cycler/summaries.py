"""Leave out rows of sums, means and extremes that a spreadsheet adds to a table.

They are recognised by a word such as "Total" in any cell, or by their numbers: those
of a row out of line with its neighbours are what the rows above add up to.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from batteryxr.core.kernels.ranks import median
from batteryxr.io.cycler.table import filled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batteryxr.io.cycler.table import RawTable

FLAG = "summary_rows"
#: Words that fill a cell of a row that sums up others.
_WORDS = frozenset({
    "total", "totals", "subtotal", "subtotals", "sum", "sums", "average", "averages",
    "avg", "mean", "means", "median", "maximum", "max", "minimum", "min", "std",
    "stdev", "stddev", "summe", "summen", "gesamt", "gesamtsumme", "zwischensumme",
    "mittelwert", "mittel", "durchschnitt", "somme", "moyenne", "totale", "somma",
    "media", "suma", "promedio", "итого", "всего", "сумма", "среднее", "合计", "总计",
    "小计", "总和", "求和", "平均", "平均值", "均值", "最大值", "最小值",
    "最大", "最小", "合計", "総計", "小計",
    "總計", "합계", "총계", "소계", "평균", "최대", "최소",
})  # fmt: skip
#: One of them inside a cell: one pass, as quick as the body is read.
_ANYWHERE = re.compile(b"|".join(re.escape(word.encode()) for word in _WORDS))
#: Bytes of cells that hold numbers alone.
_NUMBERS = b'0123456789+-.,;:/ \t\r\n"eE'
_AROUND = " \t\"'.:=*-()#\r"  # letters around a word that do not count
_FEWEST = 3  # rows that are worth a sum
_MOST = 0.5  # of all rows; a word in more of them is no sum's
_OUT = 3.0  # times the largest value: a sum, not a measurement
_SAME = 1e-3  # relative agreement of sums of rounded numbers
_DIGITS = 6  # most decimals of a mean
_TAIL = 6  # rows at the end that may belong to no measurement
_COPIES = 1000  # most rows that are left out within a table
_FAR = 10.0  # times the usual interval: the time may be a sum
_USUALLY = 0.9  # of the steps from row to row are no longer than usual
_NO_CELL = 0.1  # V; a usual voltage above this is not zero
#: What a row holds, by its kind.
_HELD = ("", "sums", "means", "nothing", "extremes")


def is_word(cell: Any) -> bool:
    """Tell whether a cell holds only a word for a sum, mean or extreme."""
    return isinstance(cell, str) and cell.strip(_AROUND).casefold() in _WORDS


def lines_with_words(body: bytes, separator: bytes) -> np.ndarray:
    """Return the lines, from 0, of which a cell holds only a word for a sum.

    Parameters
    ----------
    body
        Lines of cells, in UTF-8.
    separator
        Separator between cells.
    """
    if not body.translate(None, _NUMBERS):
        return np.zeros(0, np.int64)
    lower = body.lower()  # of ASCII letters
    begins, end = [], 0
    while found := _ANYWHERE.search(lower, end):
        begin, end = (
            body.rfind(b"\n", 0, found.start()) + 1,
            body.find(b"\n", found.end()),
        )
        end = len(body) if end < 0 else end
        cells = body[begin:end].decode(errors="replace")
        if any(map(is_word, cells.split(separator.decode()))):
            begins.append(begin)
    if not begins:
        return np.zeros(0, np.int64)
    starts = np.flatnonzero(np.frombuffer(body, np.uint8) == ord("\n")) + 1
    lines = np.searchsorted(starts, begins, side="right")
    return lines if lines.size <= _MOST * starts.size else lines[:0]


def rows_with_words(rows: Sequence[Sequence[Any]]) -> list[int]:
    """Return the rows of a sheet of which a cell holds only a word for a sum."""
    found = [k for k, row in enumerate(rows) if any(map(is_word, row))]
    return found if len(found) <= _MOST * len(rows) else []


def by_words(rows: Sequence[int] | np.ndarray, first_line: int) -> dict[str, str]:
    """Return the note on rows that were left out for their words."""
    if not len(rows):
        return {}
    return {
        FLAG: f"{len(rows)} rows, the first on line {first_line}, are called a sum, "
        "mean or extreme of others, in a cell: left out"
    }


def without_summaries(table: RawTable) -> RawTable:
    """Return a table without the rows whose numbers sum up those above, and a note."""
    if table.rows <= _FEWEST:
        return table
    found = _found(
        *(table.columns[name] for name in ("test_time", "voltage", "current"))
    )
    if not found:
        return table
    kept = np.ones(table.rows, bool)
    kept[list(found)] = False
    row = min(found)
    said = (
        f"{len(found)} rows, the first row {row} (from 0), hold {found[row]} of the "
        "rows above and no measurement: left out"
    )
    notes = {
        **table.notes,
        FLAG: "; ".join(filter(None, [table.notes.get(FLAG), said])),
    }
    return replace(table.chosen(np.flatnonzero(kept)), notes=notes)


class _Above(NamedTuple):
    """Hold sums of time, voltage and current over the rows above some others."""

    sums: np.ndarray  # (3, others)
    rows: np.ndarray  # (others,)


def _found(t: np.ndarray, v: np.ndarray, i: np.ndarray) -> dict[int, str]:
    """Return the rows that sum up those above them, and what they hold."""
    step = np.diff(t)
    odd = np.flatnonzero((step <= 0) | (step > _FAR * _usual(step))) + 1
    odd = odd[odd >= _FEWEST]
    values = filled(np.stack([t, v, i]))
    # Sums of the rows above are needed beside odd rows alone, and at the last one.
    asked = np.unique(np.concatenate([[0, t.size - 1, t.size], odd, odd + 1]))
    total = np.cumsum(np.add.reduceat(values, asked[:-1], axis=1), axis=1)
    total = np.pad(total, [(0, 0), (1, 0)])
    found: dict[int, str] = {}
    begin, skipped = 0, np.zeros((3, 1))

    def above(rows: np.ndarray) -> tuple[_Above, _Above]:
        """Return the sums of all rows above, and of those since the last summary."""
        sums, first = (total[:, np.searchsorted(asked, k)] for k in (rows, [begin]))
        block = _Above(sums - first, rows - begin)
        return _Above(sums - skipped, rows - len(found)), block

    while odd.size and len(found) < _COPIES:
        kinds = np.maximum(*(_kinds(values, odd, one) for one in above(odd)))
        if not kinds.any():
            break
        at = int(np.argmax(kinds > 0))
        k = int(odd[at])
        found[k] = _HELD[kinds[at]]
        begin, skipped = k + 1, skipped + values[:, [k]]
        odd = odd[at + 1 :]
    kept = np.ones(t.size, bool)
    kept[list(found)] = False
    last = np.arange(_end(t, kept), t.size)
    if last.size:
        table = values[:, : last[0]][:, kept[: last[0]]]
        beside = next(reversed(found.values()), "") if not kept[last[0] - 1] else ""
        rows = _at_the_end(values[:, last], table, beside)
        return found | {
            int(k): held for k, held in zip(last, rows, strict=True) if held
        }
    last = np.array([t.size - 1])
    whole = _kinds(values, last, above(last)[0], anywhere=True)
    if whole != 2 or i[-1] == 0:
        return found
    jumps = np.abs(np.diff(values[1:]))  # a mean amid a plateau is a measurement
    far = (jumps[:, -1] > _OUT * np.quantile(jumps, _USUALLY, axis=1)).any()
    return found | ({int(last[0]): _HELD[2]} if far else {})


def _end(t: np.ndarray, kept: np.ndarray) -> int:
    """Return the first of some last rows whose time does not follow those before."""
    for k in range(max(t.size - _TAIL, _FEWEST), t.size):
        if kept[k:].all() and (t[k:] <= t[:k][kept[:k]].max()).all():
            return k
    return t.size


def _kinds(
    values: np.ndarray, rows: np.ndarray, above: _Above, *, anywhere: bool = False
) -> np.ndarray:
    """Return how rows sum up those above them: 0 not at all, else see `_HELD`."""
    own, before = values[:, rows], values[:, rows - 1]
    after = values[:, np.minimum(rows + 1, values.shape[1] - 1)]
    usual = np.array([[np.inf], *([_usual(x)] for x in values[1:])])
    sums = np.abs(own - above.sums) <= _SAME * np.abs(above.sums)
    late = anywhere | (own[0] <= before[0]) | sums[0]
    sums &= np.abs(above.sums) > _OUT * usual
    fit = np.abs(own - above.sums / np.maximum(above.rows, 1)) <= _rounding(own)
    news, ends = (
        (np.abs(own - beside) > _rounding(own))[1:].any(axis=0)
        for beside in (before, after)
    )
    news &= ends | (rows + 1 == values.shape[1])  # the first of rows alike is none
    late &= above.rows >= _FEWEST
    blank = (own[1:] == 0).all(axis=0) & (usual[1] > _NO_CELL)
    kinds = [sums.any(axis=0), fit[1] & fit[2] & news, blank]
    return np.select([late & kind for kind in kinds], [1, 2, 3])


def _at_the_end(own: np.ndarray, table: np.ndarray, beside: str) -> list[str]:
    """Return what each of the last rows holds; nothing unless one sums up the table.

    Parameters
    ----------
    own, table
        (3, rows) time, voltage and current of the last rows, and of those before.
    beside
        What the row just before them holds, if it sums up others.
    """
    news = (own[1:] != table[1:, -1:]).any(axis=0)
    means = np.abs(own[1] - table[1].mean()) <= _rounding(own[1])
    ends = [
        (own == extreme(axis=1)[:, None]).all(axis=0)
        for extreme in (table.max, table.min)
    ]
    kinds = np.select([news & (ends[0] | ends[1]), news & means], [4, 2])
    # Whatever stands among them, such as a deviation, is no measurement either.
    other = beside or _HELD[int(kinds[kinds > 0][0]) if kinds.any() else 0]
    return [_HELD[kind] or other for kind in kinds]


def _usual(values: np.ndarray) -> float:
    """Return the median magnitude of values that are not zero."""
    some = np.abs(values[values != 0])
    return float(median(some)) if some.size else np.inf


def _rounding(values: np.ndarray) -> np.ndarray:
    """Return half a unit of the last decimal that each value shows."""
    half = np.full(values.shape, 0.5 * 10.0**-_DIGITS)
    for digits in range(_DIGITS - 1, 1, -1):
        short = np.abs(values - np.round(values, digits)) < 1e-9
        half = np.where(short, 0.5 * 10.0**-digits, half)
    return half + 1e-9
