"""Read dates, durations and time zones; zones are declared, never guessed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, available_timezones

from batteryxr.core.errors import ArgumentError
from batteryxr.core.kernels.times import NAT

_OFFSET = re.compile(r"(?:UTC)?([+-])(\d{1,2}):?(\d{2})?")
_READING = re.compile(
    r"(\d{4}|\d{1,2})([-/. ])(\d{1,2}|[A-Za-z]{3,4})\.?\2(\d{4}|\d{1,2})"
    r"(?:[T ]+(上午|下午)?\s*(\d{1,2}):(\d{2})(?::(\d{2}(?:[.,]\d+)?))?"
    r"\s*([AaPp]\.?[Mm]\.?)?)?"
    r"\s*(Z|UTC|[+-]\d{2}:?\d{2})?"
)
_DURATION = re.compile(
    r"(?:(\d{1,6})\s*(?:d|days?)?[ ,]+)?(\d{1,7}):(\d{1,2}):(\d{1,2}(?:[.,]\d*)?)"
    r"(?::(\d{3}))?"  # thousandths, as Neware writes them
)
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun"]
_MONTHS += ["jul", "aug", "sep", "oct", "nov", "dec"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def zone(name: str | None) -> tzinfo | None:
    """Return the time zone of a name, or of a fixed offset such as ``"+02:00"``.

    Raises
    ------
    ArgumentError
        If there is no such zone.
    """
    if name is None:
        return None
    expected = "an IANA name such as 'Europe/Paris', or an offset such as '+02:00'"
    if not isinstance(name, str) or not name:
        raise ArgumentError("timezone", name, expected)
    if name in ("UTC", "Z"):
        return UTC
    if match := _OFFSET.fullmatch(name):
        sign, hours, minutes = match.groups()
        offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
        if offset < timedelta(hours=24):
            return timezone(-offset if sign == "-" else offset)
        raise ArgumentError("timezone", name, expected)
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        import difflib

        near = difflib.get_close_matches(name, sorted(available_timezones()), n=3)
        mend = f"Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ArgumentError("timezone", name, expected, mend) from error


def utc_nanoseconds(local: datetime, where: tzinfo) -> int:
    """Return a local clock reading in nanoseconds since 1970 (UTC).

    Raises
    ------
    ArgumentError
        If the clock was put forward over this reading, or put back so that it
        occurred twice.
    """
    first, second = (local.replace(tzinfo=where, fold=fold) for fold in (0, 1))
    back = first.astimezone(UTC).astimezone(where).replace(tzinfo=None, fold=0)
    if back != local.replace(fold=0):
        raise ArgumentError(
            "timezone",
            str(where),
            f"a zone in which the start {local.isoformat()} exists",
            "The clocks were put forward over it. If the cycler's computer does not "
            "follow summer time, pass its fixed offset, such as '+01:00'.",
        )
    offsets = (first.utcoffset(), second.utcoffset())
    if offsets[0] != offsets[1]:
        choices = " or ".join(repr(_offset_text(o)) for o in offsets if o is not None)
        raise ArgumentError(
            "timezone",
            str(where),
            f"a zone in which the start {local.isoformat()} is unique",
            f"The clocks were put back, so it came twice: pass {choices}.",
        )
    return nanoseconds(first - _EPOCH)


def stamp(start: datetime | None, where: tzinfo | None) -> int:
    """Return a start in nanoseconds since 1970 (UTC), or NaT if its zone is unknown.

    `start` is in the zone `where`, unless it has a zone of its own.
    """
    if start is None or (start.tzinfo is None and where is None):
        return NAT
    if start.tzinfo is None and where is not None:
        return utc_nanoseconds(start, where)
    return nanoseconds(start - _EPOCH)


def nanoseconds(delta: timedelta) -> int:
    """Return a time difference in nanoseconds, exactly."""
    return (delta.days * 86_400 + delta.seconds) * 10**9 + delta.microseconds * 1000


def _offset_text(offset: timedelta) -> str:
    minutes = round(offset.total_seconds() / 60)
    sign = "-" if minutes < 0 else "+"
    return f"{sign}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def reading(text: str, *, dayfirst: bool | None = None) -> datetime | None:
    """Return the date and time in a cycler's text, or None if it holds none.

    Parameters
    ----------
    text
        Text such as ``"07/26/2022 22:38:30.190"`` or ``"2022-07-26 22:38:30"``; the
        result has a zone only if the text gives one.
    dayfirst
        Whether the day comes first where the order is ambiguous; None refuses that.

    Raises
    ------
    ArgumentError
        If the order of day and month is ambiguous.
    """
    match = _READING.fullmatch(text.strip())
    if match is None:
        return None
    first, separator, second, third, early, *rest = match.groups()
    hours, minutes, seconds, half, zone_text = rest
    named = second[:3].lower()
    if second[0].isalpha() and named not in _MONTHS:
        return None
    if len(first) == 4:
        month = int(second) if second.isdigit() else _MONTHS.index(named) + 1
        year, day = int(first), int(third)
    elif named in _MONTHS:
        year, month, day = int(third), _MONTHS.index(named) + 1, int(first)
        year += 2000 if len(third) == 2 else 0
    else:
        a, b = int(first), int(second)
        year = int(third) + (2000 if len(third) == 2 else 0)
        day, month = (a, b) if _day_leads(text, separator, a, b, dayfirst) else (b, a)
    hour = int(hours or 0)
    if half or early:
        later = early == "下午" or (half or "").lower().startswith("p")
        hour = hour % 12 + (12 if later else 0)
    microseconds = round(float((seconds or "0").replace(",", ".")) * 1e6)
    try:
        moment = datetime(year, month, day, hour, int(minutes or 0))
        moment += timedelta(microseconds=microseconds)
        where = zone(zone_text) if zone_text else None
    except (ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=where)


def _day_leads(
    text: str, separator: str, a: int, b: int, dayfirst: bool | None
) -> bool:
    if separator == "." or a > 12:
        return True
    if b > 12 or a == b:
        return False
    if dayfirst is None:
        raise ArgumentError(
            "dayfirst",
            dayfirst,
            f"True or False, for {text.strip()!r} could be two dates",
            "This format does not tell which: pass dayfirst=.",
        )
    return dayfirst


def duration(text: str) -> float:
    """Return the seconds of a duration such as ``"26:03:12.5"`` or ``"1d 02:03:12"``.

    Raises
    ------
    ValueError
        If the text is not a duration.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration")
    days, hours, minutes, seconds, thousandths = match.groups()
    return (
        int(days or 0) * 86_400.0
        + int(hours) * 3600.0
        + int(minutes) * 60.0
        + float(seconds.replace(",", "."))
        + int(thousandths or 0) / 1000
    )
