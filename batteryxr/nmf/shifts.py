"""Shifts that make signed patterns non-negative and can be undone.

Where weights sum to one, a curve L subtracted from each pattern is also subtracted
from each component: ``X - L = W (C - L)``. The answer is shifted back, so that L acts
only through the constraint ``C >= L``. The tighter L follows the data, the narrower
the range of answers that fit equally well.
"""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import xarray as xr

from batteryxr.core import bounds
from batteryxr.core.blocks import stream
from batteryxr.core.errors import DataError, DimensionError, UnitsError, warn_quality
from batteryxr.core.labels import matched
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded
from batteryxr.core.units import affine, in_units_of
from batteryxr.nmf.data import lay_out, real
from batteryxr.nmf.joining import SIGNALS
from batteryxr.nmf.phases.candidates import crystals_of

if TYPE_CHECKING:
    from typing import TypeAlias

    from batteryxr.core.checks import Finite, NonNegative
    from batteryxr.nmf.data import Patterns
    from batteryxr.nmf.joining import Several
    from batteryxr.nmf.phases.candidates import Candidates

    Lowest: TypeAlias = Literal["physics", "fit"] | xr.DataArray
    Shift: TypeAlias = Literal["minimum", "envelope"] | Finite | xr.DataArray | None

#: Factor by which a phase may exceed the density of the densest scan.
_DENSER = 1.15
#: Distance below which noise and ripples outweigh the density (Angstrom).
_NEAR = 1.0
#: Patterns computed at once.
_AT_ONCE = 4096
#: Fraction of the squared signal in negative values that noise may explain.
NOISE = 2e-3


def subtract_shift(patterns: Patterns, shift: str | float | xr.DataArray) -> Patterns:
    """Return the patterns less one curve, the same for all.

    Reads once where the shift is taken from the data.

    Raises
    ------
    DataError, DimensionError
        If the curve does not fit the data.
    """
    points, signal = patterns.n_points, patterns.signal
    if isinstance(shift, xr.DataArray):
        shift = matched(
            patterns.data,
            in_units_of(patterns.data, real(shift, "shift")),
            argument="shift",
        )
        if shift.dims != (signal,) or shift.size != points:
            raise DimensionError(
                f"shift has the dimensions {dict(shift.sizes)}; expected "
                f"{{{signal!r}: {points}}}, one value for each point."
            )
        curve = shift.values.astype(np.float64)
        if not np.isfinite(curve).all():
            raise DataError("shift", "a curve with NaN; expected finite values")
    elif shift == "minimum":
        curve = np.full(points, float(patterns.data.min()))
    elif shift == "envelope":
        curve = envelope(patterns, None)
    else:
        curve = np.full(points, float(shift))
    data = patterns.data - xr.DataArray(curve, dims=signal)
    return replace(patterns, data=data, shift=curve)


@recorded
def lower_envelope(
    data: Several, *, signal: str | None = None, window: NonNegative | None = None
) -> xr.DataArray:
    """Return the lowest value of the series at and around each point.

    Reads once. A phase that never occurs pure dips below the lowest measured pattern,
    about as deep as the neighbouring points do. The minimum is therefore taken over a
    window as wide as a peak, not at one point.

    Parameters
    ----------
    data
        As in `fit`.
    signal
        The dimension of a pattern, where it is not plain from the data.
    window
        Full width, in units of the signal axis. By default the width at which the
        autocorrelation of the mean pattern falls to one half.

    Returns
    -------
    xarray.DataArray
        The curve, for use as ``shift=``; compare it with the data first.

    Examples
    --------
    >>> oxide = batteryxr.simulate.oxide_series(n_scans=20, step=0.02)
    >>> pdf = oxide["scans"].to_dataset()["pdf"]
    >>> pdf.nmf.lower_envelope(window=0.5).dims
    ('r',)
    """
    patterns = lay_out(data, signal)
    axis = patterns.data[patterns.signal]
    curve = xr.DataArray(
        envelope(patterns, window), dims=axis.dims, coords={patterns.signal: axis}
    )
    return label(curve, "shift_curve", units=patterns.units, long_name="Lower envelope")


def envelope(patterns: Patterns, window: float | None) -> np.ndarray:
    """Return the running minimum of the lowest values, (points,)."""
    from scipy.ndimage import minimum_filter1d

    lowest = patterns.data.min(patterns.samples)
    mean = patterns.data.mean(patterns.samples)
    both = xr.Dataset({"lowest": lowest, "mean": mean}).compute()
    values = both["lowest"].values.astype(np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        raise DataError(
            "data", "no finite value", "Look whether the files were read whole."
        )
    values = np.where(finite, values, values[finite].min())
    if window is None:
        width = _peak_width(np.nan_to_num(both["mean"].values.astype(np.float64)))
    else:
        axis = patterns.data[patterns.signal].values.astype(np.float64)
        bounds.within_span(
            window,
            float(np.ptp(axis)),
            argument="window",
            units=str(patterns.data[patterns.signal].attrs.get("units", "")),
            slips={"pm": 1e-2, "a thousandth of the unit": 1e-3},
        )
        width = round(window / abs(float(np.median(np.diff(axis)))))
    for part in _parts(patterns):
        values[part] = minimum_filter1d(values[part], 2 * (width // 2) + 1)
    return values


def _parts(patterns: Patterns) -> list[slice]:
    """Return the points of each signal, where several were joined."""
    points, runs = patterns.n_points, patterns.data.coords.get("run")
    if runs is None or runs.dims != (patterns.signal,):
        return [slice(0, points)]
    edges = np.flatnonzero(runs.values[1:] != runs.values[:-1]) + 1
    return [slice(a, b) for a, b in itertools.pairwise([0, *edges, points])]


def _peak_width(pattern: np.ndarray) -> int:
    """Return the lag, in points, at which the autocorrelation falls to one half."""
    centred = pattern - pattern.mean()
    size = 2 * centred.size
    power = np.abs(np.fft.rfft(centred, size)) ** 2
    correlation = np.fft.irfft(power, size)[: centred.size]
    if correlation[0] <= 0:
        return 1
    below = np.flatnonzero(correlation < 0.5 * correlation[0])
    return int(below[0]) if below.size else centred.size // 10


def refuse_negative(negative: float, total: float, shifted: bool) -> None:
    """Raise if negative values are more than noise.

    Parameters
    ----------
    negative, total
        Sum of squares of negative values, and of all.
    shifted
        Whether a shift was already subtracted.
    """
    if total <= 0 or negative <= NOISE * total:
        return
    share = negative / total
    if shifted:
        raise DataError(
            "shift",
            f"leaves {share:.1%} of the squared signal below zero; expected a lower "
            "bound of the data",
            "Use shift='envelope' or 'minimum', or lower the curve.",
        )
    raise DataError(
        "data",
        f"signed values ({share:.1%} of the squared signal is negative); expected "
        "non-negative patterns",
        "Say how they become so, constraints=nmf.Constraints(shift=...): 'envelope' "
        "(lowest value at each point, tightest), 'minimum' (lowest value of all), or "
        "a curve such as -4 pi rho0 r for G(r). With closure=True the shift is undone "
        "exactly.",
    )


def lowest(
    result: xr.Dataset, shift: Lowest, candidates: Candidates | None
) -> np.ndarray:
    """Return the lower bound (points,) of any true component.

    The bound is zero where the fit was not shifted. For G(r) it is ``-4 pi rho0 r``:
    no pair distribution function lies below its value where there are no pairs. The
    density is that of the densest candidate, or 1.15 times that of the densest scan.
    The scan is also used where it dips far below the candidates, because then their
    scale differs. For other signed patterns the bound is the lowest value of the shift.
    Signals that were joined have a bound each.
    """
    used = result["shift_curve"].values.astype(np.float64)
    (signal,) = result["shift_curve"].dims
    if isinstance(shift, xr.DataArray):
        known = result["components"]
        shift = in_units_of(known, real(shift, "shift"))
        shift = matched(known, shift, argument="shift")
        if shift.dims != (signal,):
            raise DimensionError(f"shift has {shift.dims}; expected {(signal,)}.")
        if not np.isfinite(shift.values).all():
            raise DataError("shift", "a curve with NaN; expected finite values")
        return shift.values.astype(np.float64)
    if shift == "fit" or not used.any():
        return used
    if signal == "channel" and "run" in result.coords:
        return _of_parts(result, candidates)
    if signal != "r" or not _signed(result):
        return np.minimum(used, min(float(used.min()), 0.0))
    near, unit = _units_of(result)
    r = result[signal].values.astype(np.float64) * near
    seen = _densest(result, r) / unit
    density = _DENSER * seen
    if candidates is not None:
        crystals = crystals_of(candidates).values()
        density = max(float(c.occupancy.sum()) / c.volume for c in crystals)
        if seen > _DENSER * density:
            warn_quality(
                f"the patterns dip as if there were {seen:.3g} atoms per cubic "
                f"Angstrom, the densest candidate has {density:.3g}: their scale is "
                "another. The bound is that of the patterns."
            )
            density = _DENSER * seen
    return np.minimum(-4 * np.pi * density * r * unit, used)


def _of_parts(result: xr.Dataset, candidates: Candidates | None) -> np.ndarray:
    """Return the bound of signals that were joined, each as of its own kind."""
    runs = result["run"].values
    level = result["level"].values.astype(np.float64)
    bound = np.zeros(runs.size)
    factors = result[["components", "weights", "shift_curve"]]
    for name in dict.fromkeys(runs.tolist()):
        here = runs == name
        part = factors.isel(channel=here)
        axis = next(d for d in SIGNALS if d in part and part[d].notnull().any())
        for kind in ("components", "shift_curve"):
            part[kind] = part[kind] * part["level"]
        part = part.swap_dims(channel=axis).drop_vars(["run", "level"])
        bound[here] = lowest(part, "physics", candidates) / level[here]
    return bound


def _units_of(result: xr.Dataset) -> tuple[float, float]:
    """Return the factors of r to Angstrom, and of 1/Angstrom2 to the unit of G(r).

    Without units, r is in Angstrom and G(r) in 1/Angstrom2.
    """
    found = [1.0, 1.0]
    r, g = (str(result[name].attrs.get("units", "1")) for name in ("r", "components"))
    for i, (units, to) in enumerate(((r, "Angstrom"), ("1/Angstrom2", g))):
        with contextlib.suppress(UnitsError):
            found[i] = affine(units, to)[0]
    return found[0], found[1]


def _signed(result: xr.Dataset) -> bool:
    values = np.nan_to_num(result["components"].values)
    below = float((np.minimum(values, 0.0) ** 2).sum())
    return below > 2e-3 * float((values**2).sum())


def _densest(result: xr.Dataset, r: np.ndarray) -> float:
    """Return the highest density that any fitted scan implies."""
    far = r >= _NEAR
    if not far.any():
        raise DataError(
            "r",
            f"no distance of {_NEAR} Angstrom and more",
            "Pass data that reach further.",
        )
    rows = result["components"].transpose("component", "r").values[:, far]
    rows = -np.nan_to_num(rows) / (4 * np.pi * r[far])
    weights = result["weights"].transpose(..., "component")
    highest = largest = 0.0
    for (block,) in stream(weights, dim=str(weights.dims[0])):
        flat = np.nan_to_num(block.reshape(-1, len(rows)))
        for start in range(0, len(flat), _AT_ONCE):
            slope = flat[start : start + _AT_ONCE] @ rows
            highest = max(highest, float(slope.max()))
            largest = max(largest, float(np.abs(slope).max()))
    return max(highest, 1e-3 * largest)
