from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batteryxr.core.errors import ArgumentError
from batteryxr.io import clock

MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1)).map(
    lambda m: m.replace(microsecond=m.microsecond // 1000 * 1000)
)


@given(MOMENTS)
def test_reads_back_what_cyclers_write(moment):
    text = f"{moment:%m/%d/%Y %H:%M:%S.%f}"
    assert clock.reading(text, dayfirst=False) == moment
    assert clock.reading(f"{moment:%d/%m/%Y %H:%M:%S.%f}", dayfirst=True) == moment
    assert clock.reading(f"{moment:%d.%m.%Y %H:%M:%S.%f}") == moment
    assert clock.reading(f"{moment:%Y-%m-%dT%H:%M:%S.%f}") == moment
    assert clock.reading(f"{moment:%Y/%m/%d %H:%M:%S,%f}") == moment
    whole = moment.replace(microsecond=0)
    assert clock.reading(f"{whole:%m/%d/%Y %I:%M:%S %p}", dayfirst=False) == whole


def test_reads_an_offset():
    moment = clock.reading("2024-03-05T14:30:15+02:00")
    assert moment == datetime(2024, 3, 5, 12, 30, 15, tzinfo=UTC)
    assert clock.reading("2024-03-05 14:30:15Z").tzinfo == UTC


def test_a_zone_of_its_own_goes_before_the_declared_one():
    paris = ZoneInfo("Europe/Paris")
    local = datetime(2024, 3, 5, 14, 30)
    utc = clock.nanoseconds(datetime(2024, 3, 5, 13, 30) - datetime(1970, 1, 1))
    assert clock.stamp(local, paris) == utc
    zoned = datetime(2024, 3, 5, 15, 30, tzinfo=clock.zone("+02:00"))
    assert clock.stamp(zoned, paris) == clock.stamp(zoned, None) == utc
    assert clock.stamp(local, None) == clock.stamp(None, paris) == -(2**63)


@pytest.mark.parametrize("text", ["", "yesterday", "31.02.2024", "1/2", "2024-13-01"])
def test_what_is_no_date_is_none(text):
    assert clock.reading(text, dayfirst=False) is None


def test_day_and_month_are_not_guessed():
    with pytest.raises(ArgumentError, match="dayfirst"):
        clock.reading("03/05/2024 14:30:15")
    assert clock.reading("03/25/2024").day == 25
    assert clock.reading("25/03/2024").day == 25
    assert clock.reading("05/05/2024").day == 5


@given(st.integers(0, 10**8), st.integers(0, 999))
def test_durations(seconds, milli):
    hours, rest = divmod(seconds, 3600)
    text = f"{hours}:{rest // 60:02d}:{rest % 60:02d}.{milli:03d}"
    assert clock.duration(text) == pytest.approx(seconds + milli / 1000, abs=1e-7)
    days, hours = divmod(hours, 24)
    text = f"{days}d {hours:02d}:{rest // 60:02d}:{rest % 60:02d}.{milli:03d}"
    assert clock.duration(text) == pytest.approx(seconds + milli / 1000, abs=1e-7)


@pytest.mark.parametrize("text", ["", "12", "1:2", "a:b:c", "1:00:00:00"])
def test_what_is_no_duration_raises(text):
    with pytest.raises(ValueError, match="not a duration"):
        clock.duration(text)


@given(MOMENTS, st.sampled_from(["Europe/Paris", "America/New_York", "Asia/Kolkata"]))
def test_localising_agrees_with_the_standard_library(moment, name):
    where = ZoneInfo(name)
    aware = moment.replace(tzinfo=where)
    try:
        found = clock.utc_nanoseconds(moment, where)
    except ArgumentError:
        offsets = {moment.replace(tzinfo=where, fold=f).utcoffset() for f in (0, 1)}
        assert len(offsets) == 2
        return
    expected = (aware - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)
    assert found == round(expected) * 1000


def test_summer_time_is_settled_not_guessed():
    paris = ZoneInfo("Europe/Paris")
    with pytest.raises(ArgumentError, match="put forward"):
        clock.utc_nanoseconds(datetime(2022, 3, 27, 2, 30), paris)
    with pytest.raises(ArgumentError, match=r"came twice.*'\+02:00' or '\+01:00'"):
        clock.utc_nanoseconds(datetime(2022, 10, 30, 2, 30), paris)
    summer = clock.utc_nanoseconds(datetime(2022, 10, 30, 2, 30), clock.zone("+02:00"))
    winter = clock.utc_nanoseconds(datetime(2022, 10, 30, 2, 30), clock.zone("+01:00"))
    assert winter - summer == 3600 * 10**9


def test_zones():
    assert clock.zone(None) is None
    assert clock.zone("UTC") is UTC
    assert clock.zone("-05:30").utcoffset(None) == timedelta(hours=-5.5)
    with pytest.raises(ArgumentError, match="Europe/Paris"):
        clock.zone("Europe/Pariss")
    for wrong in ("", "+99:00", "../etc/passwd", 3):
        with pytest.raises(ArgumentError, match="timezone"):
            clock.zone(wrong)
