"""Shifts that make signed patterns non-negative, and can be undone.

Where weights sum to one a curve L subtracted from every pattern is subtracted from
every component: ``X - L = W (C - L)``. The answer is shifted back and L leaves no
trace but the constraint ``C >= L``. The tighter L follows the data, the narrower
the range of answers that fit equally well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, DimensionError
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded
from batteryxr.nmf.layout import lay_out

if TYPE_CHECKING:
    from batteryxr.nmf.layout import Layout, Several, Shift

#: A share of the squared signal in negative values that noise may have.
_NOISE = 2e-3


def resolve_shift(layout: Layout, shift: Shift) -> np.ndarray:
    """Return the curve (points,) that is subtracted from every pattern.

    Reads once where the shift is taken from the data.

    Parameters
    ----------
    layout
        The data.
    shift
        None for none; ``"minimum"`` for the lowest value of all; ``"envelope"`` for
        that of `lower_envelope`; a number; or a curve along the signal, such as
        -4 pi rho0 r.

    Raises
    ------
    ArgumentError
        For another word.
    DimensionError
        For a curve that does not fit the data.
    """
    points = layout.n_points
    if shift is None:
        return np.zeros(points)
    if isinstance(shift, str):
        if shift not in ("minimum", "envelope"):
            raise ArgumentError(
                "shift", shift, "'minimum', 'envelope', a number or a curve"
            )
        if shift == "minimum":
            return np.full(points, float(layout.data.min()))
        return envelope(layout, None)
    if isinstance(shift, xr.DataArray):
        if shift.dims != (layout.signal,) or shift.size != points:
            raise DimensionError(
                f"shift has the dimensions {dict(shift.sizes)}; expected "
                f"{{{layout.signal!r}: {points}}}, one value for each point."
            )
        curve = shift.values.astype(np.float64)
        if not np.isfinite(curve).all():
            raise ArgumentError("shift", "a curve with NaN", "finite values")
        return curve
    if isinstance(shift, bool) or not isinstance(shift, int | float | np.number):
        raise ArgumentError(
            "shift",
            type(shift).__name__,
            "'minimum', 'envelope', a number or a DataArray",
            "A shift of each pattern by its own would change the ratios.",
        )
    return np.full(points, float(shift))


@recorded
def lower_envelope(
    data: Several, *, signal: str | None = None, window: float | None = None
) -> xr.DataArray:
    """Return the lowest value of the series at and around each point.

    Reads once. A phase that never occurs pure dips below the lowest pattern measured;
    where its neighbouring points go is how deep. Hence the lowest value within a
    window as wide as a peak, not at the point alone.

    Parameters
    ----------
    data
        As of `fit`.
    signal
        The dimension of a pattern, where it is not plain.
    window
        Full width, in units of the signal axis. None takes the width over which
        the mean pattern stays like itself (its autocorrelation falls to one half).

    Returns
    -------
    xarray.DataArray
        The curve, to be passed as ``shift=``; look at it beside the data.
    """
    layout = lay_out(data, signal, caller="lower_envelope")
    axis = layout.data[layout.signal]
    curve = xr.DataArray(
        envelope(layout, window), dims=layout.signal, coords={layout.signal: axis}
    )
    units = str(layout.data.attrs.get("units", "1"))
    return label(curve, "shift_curve", units=units, long_name="Lower envelope")


def envelope(layout: Layout, window: float | None) -> np.ndarray:
    """Return the running minimum of the lowest values, (points,)."""
    from scipy.ndimage import minimum_filter1d

    lowest = layout.data.min(layout.samples)
    mean = layout.data.mean(layout.samples)
    both = xr.Dataset({"lowest": lowest, "mean": mean}).compute()
    values = both["lowest"].values.astype(np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        raise ArgumentError("data", "no finite value", "some data")
    values = np.where(finite, values, values[finite].min())
    if window is None:
        width = _peak_width(np.nan_to_num(both["mean"].values.astype(np.float64)))
    else:
        axis = layout.data[layout.signal].values.astype(np.float64)
        if not window >= 0:
            raise ArgumentError("window", window, "0 or more")
        width = round(window / abs(float(np.median(np.diff(axis)))))
    return minimum_filter1d(values, 2 * (width // 2) + 1)


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
    """Raise where negative values are more than noise.

    Parameters
    ----------
    negative, total
        Sum of squares of negative values, and of all.
    shifted
        Whether a shift was subtracted already.
    """
    if total <= 0 or negative <= _NOISE * total:
        return
    share = negative / total
    if shifted:
        raise ArgumentError(
            "shift",
            f"a curve that leaves {share:.1%} of the squared signal below zero",
            "a lower bound of the data",
            "Use shift='envelope' or 'minimum', or lower the curve.",
        )
    raise ArgumentError(
        "data",
        f"signed values ({share:.1%} of the squared signal is negative)",
        "non-negative patterns",
        "Say how they become so: shift='envelope' (lowest value at each point, "
        "tightest), shift='minimum' (lowest value of all), or a curve such as "
        "-4 pi rho0 r for G(r). With closure=True the shift is undone exactly.",
    )
