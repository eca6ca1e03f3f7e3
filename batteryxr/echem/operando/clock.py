"""Convert the clock of a series of scans to the clock of the cycler."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from batteryxr.core import bounds
from batteryxr.core.checks import check_fields
from batteryxr.core.errors import ArgumentError, DataError, warn_quality
from batteryxr.core.kernels.times import NAT
from batteryxr.core.provenance import replayable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batteryxr.core.checks import NonNegative

_NS = 1_000_000_000
#: s: time zones differ by so much, clocks in them by so little; longer offsets are odd.
_ZONE, _ASTRAY, _LONG = 1800.0, 240.0, 7200.0


@replayable
@dataclass(frozen=True)
class Clock:
    """Convert a scan's time to the cycler's time.

    ``cycler = scan + offset_s + drift_ppm * 1e-6 * (scan - reference)``

    Parameters
    ----------
    offset_s
        Seconds to add to a scan's time; positive if the cycler's clock is ahead.
    drift_ppm
        Seconds per million seconds by which the cycler's clock runs faster.
    reference
        Time at which the offset holds: ISO text, UTC. Needed if there is a drift.
    timezone
        Time zone of the scans' times. UTC by the data model; a name such as
        "Europe/Paris" for times left in local time.
    method
        "declared" by the experimenter, or "fitted" to a common signal.
    offset_error, drift_error
        One standard deviation, s and ppm; None if unknown.
    """

    offset_s: float = 0.0
    drift_ppm: float = 0.0
    reference: str = ""
    timezone: str = "UTC"
    method: Literal["declared", "fitted"] = "declared"
    offset_error: NonNegative | None = None
    drift_error: NonNegative | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("offset_s", "drift_ppm"):
            if not np.isfinite(getattr(self, name)):
                raise ArgumentError(name, getattr(self, name), "a finite number")
        if self.drift_ppm and not self.reference:
            raise ArgumentError(
                "reference",
                self.reference,
                "the time at which the offset holds, since there is a drift",
                "For example reference='2022-07-27T12:00'.",
            )
        if self.method == "declared":
            self._tell_slips()
        if self.reference:
            try:
                np.datetime64(self.reference, "ns")
            except ValueError as error:
                raise ArgumentError(
                    "reference", self.reference, "ISO text such as '2022-07-27T12:00'"
                ) from error
        _zone(self.timezone)

    def _tell_slips(self) -> None:
        """Warn of offsets of days, of odd hours, and of drifts that nobody declares."""
        for quantity, name in (
            ("declared clock offset", "offset_s"),
            ("declared clock drift", "drift_ppm"),
        ):
            if size := abs(getattr(self, name)):
                bounds.check(quantity, size, argument=name)
        size = abs(self.offset_s)
        beside = abs(size - _ZONE * round(size / _ZONE))
        if _LONG < size <= bounds.BOUNDS["declared clock offset"].likely[1] and (
            beside > _ASTRAY
        ):
            warn_quality(
                f"offset_s={self.offset_s:g} is {size / 3600:.2g} hours and no whole "
                "time zone, as clocks in a laboratory hardly are apart. Was it ms? "
                f"Pass {1e-3 * self.offset_s:g}."
            )

    def to_cycler(self, times: np.ndarray) -> np.ndarray:
        """Return the cycler's time (datetime64, UTC) of scan times; NaT stays NaT.

        Raises
        ------
        ArgumentError
            If a local time does not exist in the zone, or exists twice.
        """
        times = np.asarray(times).astype("M8[ns]")
        utc = _to_utc(times, self.timezone)
        shift = np.full(utc.shape, self.offset_s)
        if self.drift_ppm:
            shift += self.drift_ppm * 1e-6 * self._since_reference(utc)
        missing = np.isnat(utc)
        # Add integers: the sum of an integer and a float would lose nanoseconds.
        steps = np.rint(np.where(missing, 0.0, shift) * _NS).astype(np.int64)
        moved = utc.view(np.int64) + steps
        return np.where(missing, NAT, moved).view("M8[ns]")

    def error_at(self, times: np.ndarray) -> np.ndarray:
        """Return the standard deviation (s) of the cycler's time; NaN if unknown."""
        times = np.asarray(times).astype("M8[ns]")
        if self.offset_error is None:
            return np.full(times.shape, np.nan)
        error = np.full(times.shape, float(self.offset_error))
        if self.drift_error and self.reference:
            drift = self.drift_error * 1e-6 * self._since_reference(times)
            error = np.hypot(error, drift)
        return error

    def to_attrs(self) -> dict[str, str]:
        """Return ``{"clock": JSON}`` for the attributes of a result."""
        return {"clock": json.dumps(dataclasses.asdict(self))}

    @classmethod
    def from_attrs(cls, attrs: Mapping[str, Any]) -> Clock:
        """Return the clock stored with a joined series.

        Raises
        ------
        DataError
            If none is stored.
        """
        text = attrs.get("clock")
        if not isinstance(text, str):
            raise DataError("attrs", "hold no 'clock'", "Join the scans first.")
        return cls(**json.loads(text))

    def _since_reference(self, times: np.ndarray) -> np.ndarray:
        seconds = (times - np.datetime64(self.reference, "ns")) / np.timedelta64(1, "s")
        return np.where(np.isnat(times), np.nan, seconds)


def _zone(name: str) -> Any:
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError) as error:
        raise ArgumentError(
            "timezone", name, "an IANA name such as 'Europe/Paris'"
        ) from error


def _to_utc(times: np.ndarray, zone: str) -> np.ndarray:
    if zone == "UTC":
        return times
    import pandas as pd

    local = pd.DatetimeIndex(times.ravel()).tz_localize(
        _zone(zone), ambiguous="NaT", nonexistent="NaT"
    )
    utc = np.asarray(local.tz_convert("UTC").tz_localize(None), dtype="M8[ns]")
    if (lost := np.isnat(utc) & ~np.isnat(times.ravel())).any():
        raise ArgumentError(
            "timezone",
            zone,
            "a zone in which every scan's local time exists once",
            f"{times.ravel()[lost][0]} and {lost.sum() - 1} more fall where the clocks "
            "were changed. Convert the times to UTC yourself.",
        )
    return utc.reshape(times.shape)
