"""Test time that runs as no seconds do, held against the clock and the charge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import warn_quality

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

#: Units that are taken for seconds, by their length in s.
_UNITS = {60.0: "min", 3600.0: "h", 1e-3: "ms", 1e-6: "us", 86400.0: "days"}
#: Relative difference of two clocks that is none; rows that are looked at.
_SAME, _ROWS, _FEW = 0.02, 2000, 20


def tell_other_units(arrays: Mapping[str, xr.DataArray], *, caller: str) -> None:
    """Warn where test time seems to be in minutes, hours or milliseconds.

    Looks at the first rows: at the clock of each row where there is one, else at the
    charge that the cycler counted. Lazy records are not looked at.

    Parameters
    ----------
    arrays
        ``test_time`` (s), ``current`` (mA), and what there is of ``time`` (UTC) and
        ``counter`` (mA h).
    caller
        Name of the public function, for the message.

    Warns
    -----
    DataQualityWarning
        Naming the units.
    """
    names = ("test_time", "current", "time", "counter")
    there = {n: arrays[n] for n in names if n in arrays}
    if any(a.chunks is not None for a in there.values()):
        return
    rows = {n: a.values[:_ROWS] for n, a in there.items()}
    passed = np.diff(rows["test_time"])
    ratio = np.nan
    if "time" in rows:
        clock = np.diff(rows["time"].astype("M8[ns]")) / np.timedelta64(1, "s")
        clock[np.isnat(np.diff(rows["time"]))] = np.nan
        ratio = _ratio(clock, passed)
    if np.isnan(ratio) and "counter" in rows:
        middle = 0.5 * (rows["current"][1:] + rows["current"][:-1])
        charge = np.abs(np.diff(rows["counter"])) * 3600.0
        ratio = _ratio(charge, np.abs(middle) * passed)
    for length, units in _UNITS.items():
        if abs(ratio / length - 1) < _SAME:
            warn_quality(
                f"{caller}: test_time runs {ratio:.4g} times as fast as seconds do, by "
                f"{'the clock' if 'time' in rows else 'the charge'}. Was it {units}? "
                f"Multiply it by {length:g}."
            )


def _ratio(true: np.ndarray, found: np.ndarray) -> float:
    """Return how much is true of what was found, where most rows agree on it."""
    known = (true > 0) & (found > 0)
    if known.sum() < _FEW:
        return float("nan")
    ratios = true[known] / found[known]
    middle = float(np.median(ratios))
    agree = np.abs(ratios / middle - 1) < _SAME
    return middle if agree.mean() > 0.5 else float("nan")
