"""Read clock readings from cells: dates of any style, Unix times, Excel days."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, tzinfo
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import ArgumentError
from batteryxr.core.kernels.times import NAT
from batteryxr.io import clock

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DAY = 86_400 * 10**9
_EPOCH = datetime(1970, 1, 1)
_EXCEL_EPOCH = -25_569  # days from 1970 to day 0 of Excel and Access
#: Numbers that are clock readings: from, to, ns in one, ns at zero, whether UTC.
_NUMBERS = (
    (20_000.0, 80_000.0, DAY, _EXCEL_EPOCH * DAY, False),  # days, 1954 to 2119
    (3e8, 4.1e9, 10**9, 0, True),  # s since 1970, from 1979 to 2099
    (3e11, 4.1e12, 10**6, 0, True),
    (3e14, 4.1e15, 10**3, 0, True),
    (3e17, 4.1e18, 1, 0, True),
)
_NUMBER = re.compile(r"\d+(?:[.,]\d*)?(?:[eE][+-]?\d+)?")
_TIME_ONLY = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}(?:[.,]\d+)?))?\s*([AaPp][Mm])?")
_NUMERIC_DATE = re.compile(r"(\d{1,2})([-/. ])(\d{1,2})\2(\d{4}|\d{2})(?!\d)")
_PLAIN = re.compile(
    r"(?P<a>\d{4}|\d{1,2})(?P<s>[-/.])(?P<b>\d{1,2}|[A-Za-z]{3})(?P=s)"
    r"(?P<c>\d{4}|\d{1,2})(?P<gap>[T ]+)(?P<h>\d{1,2}):\d{2}"
    r"(?P<sec>:\d{2})?(?P<frac>[.,]\d{1,9})?(?P<half>\s*[AaPp][Mm])?"
)
#: Largest step back that counts as a clock set back; a larger one is a new day.
_SET_BACK = 3700.0  # s: summer time
_HALF_DAY = 43_200.0
_HOUR = 3600 * 10**9
_LOOKED_AT = 1000  # cells that are searched for AM or PM, or a reading at all
_MANY = 100_000  # cells, of which not all are tried if none of some can be read


@dataclass(frozen=True)
class Stamps:
    """Hold clock readings of the rows of a file.

    Parameters
    ----------
    ns
        (rows,) nanoseconds since 1970 on the clock, int64; `NAT` if a row has none.
    utc
        Whether readings are UTC; else they are local time of a zone not in the file.
    note
        Flag and message if some readings are ambiguous; empty otherwise.
    """

    ns: np.ndarray
    utc: bool = False
    note: tuple[str, str] | tuple[()] = ()

    @property
    def known(self) -> np.ndarray:
        """Return which rows have a reading."""
        return self.ns != NAT


@dataclass(frozen=True)
class Style:
    """Describe the style in which a column of dates is written.

    Parameters
    ----------
    asked
        Whether the day comes first according to the user; None if not given.
    usual
        Whether the day comes first by habit of the maker; None if that varies.
    zone
        Zone in the label; None if there is none.
    day
        Date of the first row, for cells that hold only the time of day.
    """

    asked: bool | None = None
    usual: bool | None = None
    zone: tzinfo | None = None
    day: date | None = None


def stamps_of(
    cells: Sequence[Any] | np.ndarray, style: Style, test_time: np.ndarray | None
) -> Stamps | None:
    """Return the clock readings of a column, or None if it holds none.

    Parameters
    ----------
    cells
        Text, datetimes, or numbers, as read; an empty cell is a missing reading.
    style
        How dates are written.
    test_time
        Seconds since the start (rows,). They help to find the order of day and month,
        and the days that are missing in cells with only the time of day.

    Raises
    ------
    ArgumentError
        If the order of day and month is ambiguous, or contradicts `style.asked`.
    """
    import pandas as pd

    if len(cells) and isinstance(cells[0], float | np.number):
        with contextlib.suppress(TypeError, ValueError):  # some cells are no numbers
            given = _of_numbers(np.asarray(cells, dtype=np.float64))
            if given is not None:
                return _in_zone(Stamps(given[0], utc=given[1] == "utc"), style)
    if len(cells) > _MANY:
        some = set[Any]()
        for cell in cells:
            some.add(cell)
            if len(some) > _LOOKED_AT:
                break
        if not tells_time(some):
            return None
    codes, different = pd.factorize(np.asarray(cells, dtype=object))
    unique = [_plain(cell) for cell in different]
    found = _numbers(unique)
    if found is None:
        found = _time_of_day(unique, style)
    if found is None:
        found = _dates(unique, codes, style, test_time)
    if found is None:
        return None
    values, kind = found
    if kind == "date" and not any(":" in cell for cell in unique):
        return Stamps(
            np.full(len(codes), NAT),
            note=(
                "clock_without_time",
                "the rows have dates without a time of day, so `time` is NaT",
            ),
        )
    ns = np.where(codes >= 0, np.append(values, NAT)[codes], NAT)
    if kind == "time":
        ns = _over_midnights(ns, test_time)
    stamps = Stamps(ns, utc=kind == "utc")
    if kind in ("date", "time") and _is_half_day(unique, stamps, test_time):
        return Stamps(
            np.full(len(ns), NAT),
            note=(
                "half_day_clock",
                "the rows' clock goes from 12:59 to 1:00 and says neither AM nor PM, "
                "so `time` is NaT. Export the file with a clock of 24 hours",
            ),
        )
    return _in_zone(stamps, style)


def tells_time(cells: Iterable[Any]) -> bool:
    """Tell whether a cell of some is a clock reading, or all are empty."""
    texts = [text for cell in cells if (text := _plain(cell))]
    forms = (_NUMBER.fullmatch, _TIME_ONLY.fullmatch)
    return not texts or any(
        any(form(text) for form in forms)
        or clock.reading(text, dayfirst=True) is not None
        or clock.reading(text, dayfirst=False) is not None
        for text in texts
    )


def _in_zone(stamps: Stamps, style: Style) -> Stamps:
    """Return readings in UTC if the zone of the clock is known."""
    if not stamps.utc and style.zone is not None:
        offset = clock.nanoseconds(
            style.zone.utcoffset(None) or datetime.min - datetime.min
        )
        return Stamps(np.where(stamps.known, stamps.ns - offset, NAT), utc=True)
    return stamps


def _plain(cell: Any) -> str:
    """Return a cell as text; an empty cell gives an empty string."""
    if isinstance(cell, int | float | np.number):
        return repr(float(cell))
    text = str(cell).strip().strip("'\"").strip()
    return text if text.strip("-") else ""


def _first(unique: Sequence[str]) -> str:
    return next((cell for cell in unique if cell), "")


def _numbers(unique: Sequence[str]) -> tuple[np.ndarray, str] | None:
    if not _NUMBER.fullmatch(_first(unique)):
        return None
    texts = [u.replace(",", ".") if _NUMBER.fullmatch(u) else "nan" for u in unique]
    return _of_numbers(np.array([float(text) for text in texts]))


def _of_numbers(values: np.ndarray) -> tuple[np.ndarray, str] | None:
    """Return readings that are days or seconds since a date; None if they are not."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    for low, high, unit, zero, utc in _NUMBERS:
        if ((finite >= low) & (finite < high)).all():
            whole = np.floor(values)
            part = np.rint((values - whole) * unit)
            sound = np.isfinite(values)
            ns = np.where(sound, whole, 0).astype(np.int64) * unit
            ns += np.where(sound, part, 0).astype(np.int64) + zero
            # Round to the precision of a float: 0.24 us in seconds, 15 digits in days.
            finest = {DAY: 10**5, 10**9: 1000}.get(unit, 1)
            ns = (ns + finest // 2) // finest * finest
            return np.where(sound, ns, NAT), "utc" if utc else "local"
    return None


def _time_of_day(unique: Sequence[str], style: Style) -> tuple[np.ndarray, str] | None:
    """Return readings of cells such as ``14:30:15``, on the day of the first row."""
    if style.day is None or not _TIME_ONLY.fullmatch(_first(unique)):
        return None
    midnight = clock.nanoseconds(datetime.combine(style.day, time()) - _EPOCH)
    ns = np.full(len(unique), NAT)
    for k, cell in enumerate(unique):
        if match := _TIME_ONLY.fullmatch(cell):
            hour, minute = int(match[1]), int(match[2])
            if match[4]:
                hour = hour % 12 + 12 * match[4].lower().startswith("p")
            seconds = float((match[3] or "0").replace(",", "."))
            if hour < 24 and minute < 60 and seconds < 61:
                ns[k] = midnight + round((hour * 3600 + minute * 60 + seconds) * 1e9)
    return ns, "time"


def _over_midnights(ns: np.ndarray, test_time: np.ndarray | None) -> np.ndarray:
    """Add the days that are missing in cells with only the time of day."""
    rows = np.flatnonzero(ns != NAT)
    steps = np.diff(ns[rows]) * 1e-9
    passed = np.zeros(steps.size) if test_time is None else np.diff(test_time[rows])
    passed = np.where(passed > 0, passed, 0.0)
    days = np.ceil((passed - _SET_BACK - steps) / 86_400)
    ns = ns.copy()
    ns[rows[1:]] += np.cumsum(np.maximum(days, 0)).astype(np.int64) * DAY
    return ns


def _is_half_day(
    unique: Sequence[str], stamps: Stamps, test_time: np.ndarray | None
) -> bool:
    """Tell whether the clock has 12 hours and no AM or PM."""
    rows = np.flatnonzero(stamps.known)
    hours = stamps.ns[rows] // _HOUR % 24
    if not rows.size or hours.max() > 12 or hours.min() < 1:
        return False
    if any(re.search(r"[AaPp]\.?[Mm]|[上下]午", cell) for cell in unique[:_LOOKED_AT]):
        return False
    passed = np.zeros(rows.size) if test_time is None else test_time[rows]
    late = np.diff(stamps.ns[rows] * 1e-9) - np.diff(passed)
    return bool((np.abs(late + _HALF_DAY) < 600).any())


def _dates(
    unique: Sequence[str], codes: np.ndarray, style: Style, test_time: np.ndarray | None
) -> tuple[np.ndarray, str] | None:
    order = _order(unique, style)
    if order is not None:
        read = _parsed(unique, order)
        return None if read is None else (read[0], "utc" if read[1] else "date")
    # If day and month are ambiguous, the test time may decide.
    both = [_parsed(unique, dayfirst) for dayfirst in (False, True)]
    fits = [r is not None and _fits(r[0][codes], test_time) for r in both]
    chosen = None
    if fits[0] != fits[1]:
        chosen = both[fits[1]]
    elif style.usual is not None:
        chosen = both[style.usual]
    if chosen is None:
        clock.reading(_first(unique))  # raises with the remedy
        return None
    return chosen[0], "utc" if chosen[1] else "date"


def _order(unique: Sequence[str], style: Style) -> bool | None:
    """Return whether the day comes first in all dates; None if they do not show it.

    Raises
    ------
    ArgumentError
        If the dates contradict the user.
    """
    days = dict.fromkeys(cell[:10] for cell in unique)
    found = {match[0]: match for day in days if (match := _NUMERIC_DATE.match(day))}
    pairs = [(int(m[1]), int(m[3])) for m in found.values() if m[2] != "."]
    if not pairs:
        return True
    day, month = (any(pair[k] > 12 for pair in pairs) for k in (0, 1))
    if day and month:
        raise ArgumentError(
            "dayfirst",
            style.asked,
            "a file whose dates are all written in one order",
            "Some dates of this one have the day first, some the month: export it "
            "again.",
        )
    if style.asked is not None:
        if (day and not style.asked) or (month and style.asked):
            shown = next(
                text for text, m in found.items() if int(m[1 + 2 * month]) > 12
            )
            raise ArgumentError(
                "dayfirst", style.asked, f"{day}, for {shown!r} says so"
            )
        return style.asked
    if day or month:
        return day
    return True if all(a == b for a, b in pairs) and len(pairs) == 1 else None


def _fits(ns: np.ndarray, test_time: np.ndarray | None) -> bool:
    """Tell whether dates advance with test time, to within a day and a half.

    Without it each row follows the one before as soon.
    """
    rows = np.flatnonzero(ns != NAT)
    if rows.size < 2:
        return True
    passed = 0.0 if test_time is None else np.diff(test_time[rows])
    late = np.diff(ns[rows]) * 1e-9 - passed
    return bool((np.abs(late) < 86_400 * 1.5).all())


def _parsed(unique: Sequence[str], dayfirst: bool) -> tuple[np.ndarray, bool] | None:
    """Return readings for one order of day and month, and whether they are UTC."""
    ns = _fast(unique, dayfirst)
    slow = np.flatnonzero(ns == NAT).tolist()
    zoned = 0
    for k in slow:
        moment = clock.reading(unique[k], dayfirst=dayfirst)
        if moment is None:
            continue
        if moment.tzinfo is not None:
            zoned += 1
            moment = moment.astimezone(UTC).replace(tzinfo=None)
        ns[k] = clock.nanoseconds(moment - _EPOCH)
    known = int((ns != NAT).sum())
    if not known or zoned not in (0, known):
        return None
    return ns, zoned > 0


def _fast(unique: Sequence[str], dayfirst: bool) -> np.ndarray:
    """Return readings of cells in the format of the first one; `NAT` for others."""
    import pandas as pd

    match = _PLAIN.fullmatch(_first(unique))
    if match is None:
        return np.full(len(unique), NAT)
    written = _strptime(match, dayfirst)
    read = pd.to_datetime(
        pd.Series(unique, dtype=str), format=written, errors="coerce"
    ).to_numpy(dtype="M8[ns]")
    return read.view(np.int64).copy()


def _strptime(match: re.Match[str], dayfirst: bool) -> str:
    s = match["s"]
    year = "%Y" if len(match["c"]) == 4 else "%y"
    if len(match["a"]) == 4:
        day = f"%Y{s}%m{s}%d"
    elif match["b"].isalpha():
        day = f"%d{s}%b{s}{year}"
    elif dayfirst or s == ".":
        day = f"%d{s}%m{s}{year}"
    else:
        day = f"%m{s}%d{s}{year}"
    half = match["half"] or ""
    blank = half[: len(half) - len(half.lstrip())]
    return (
        day
        + match["gap"]
        + ("%I" if half else "%H")
        + ":%M"
        + (":%S" if match["sec"] else "")
        + (f"{match['frac'][0]}%f" if match["frac"] else "")
        + (f"{blank}%p" if half else "")
    )
