"""Clocks: time zones are declared, never guessed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, available_timezones

from batteryxr.core.errors import ArgumentError

_OFFSET = re.compile(r"(?:UTC)?([+-])(\d{1,2}):?(\d{2})?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def zone(name: str | None) -> tzinfo | None:
    """Return the time zone of that name, or of a fixed offset such as ``"+02:00"``.

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
    """Return nanoseconds since 1970 (UTC) of a local clock reading.

    Raises
    ------
    ArgumentError
        If the clock was put forward over this reading, or back so that it was
        shown twice.
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


def nanoseconds(delta: timedelta) -> int:
    """Return a time difference in nanoseconds, exactly."""
    return (delta.days * 86_400 + delta.seconds) * 10**9 + delta.microseconds * 1000


def _offset_text(offset: timedelta) -> str:
    minutes = round(offset.total_seconds() / 60)
    sign = "-" if minutes < 0 else "+"
    return f"{sign}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
