"""Smooth spectra on any grid, and average them over bins of energy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batteryxr.xanes.kernels.gaps import by_pattern
from batteryxr.xanes.kernels.whittaker import smooth_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Reach of averaging kernels, in widths.
_REACH = {"gaussian": 9.0, "lorentzian": np.inf}
#: Points whose weights are held at a time.
_BLOCK = 256


def smooth(
    data: np.ndarray, *, x: np.ndarray, width: float, method: str, degree: int
) -> np.ndarray:
    """Return smoothed spectra; missing values stay missing, and are not used.

    Parameters
    ----------
    data : (..., m)
        Spectra.
    x : (m,)
        Axis.
    width
        Width in units of the axis; see `xanes.smooth`.
    method
        "gaussian", "lorentzian", "savitzky_golay", "median" or "whittaker".
    degree
        Degree of the polynomials of "savitzky_golay".
    """
    rows = data.reshape(-1, data.shape[-1]).astype(float)
    if method in _REACH:
        out = _means(rows, x, width, method)
    else:
        out = np.full(rows.shape, np.nan)
        for chosen, there in by_pattern(rows):
            if there.sum() < 2:
                out[chosen] = rows[chosen]
            elif method == "whittaker":
                out[chosen] = smooth_rows(rows[chosen], x=x, width=width, there=there)
            else:
                y, fitted = rows[np.ix_(chosen, there)], method != "median"
                near = _around(y, x[there], width, degree if fitted else None)
                out[np.ix_(chosen, there)] = near
    out = np.where(np.isfinite(rows), out, np.nan)
    kept = data.dtype if data.dtype.kind == "f" else np.dtype(float)
    return out.reshape(data.shape).astype(kept)


def _means(rows: np.ndarray, x: np.ndarray, width: float, method: str) -> np.ndarray:
    """Return means around each point, each value weighted by its part of the axis."""
    there = np.isfinite(rows)
    present, values = there.astype(float), np.where(there, rows, 0.0)
    step, out = np.gradient(x), np.empty_like(rows)
    for part, near in _parts(x, _REACH[method] * width):
        apart = (x[part, None] - x[None, near]) / width
        gaussian = method == "gaussian"
        heights = np.exp(-0.5 * apart**2) if gaussian else 1 / (1 + apart**2)
        weights = (heights * step[near]).T
        with np.errstate(invalid="ignore", divide="ignore"):
            out[:, part] = values[:, near] @ weights / (present[:, near] @ weights)
    return out


def _parts(x: np.ndarray, reach: float) -> Iterator[tuple[slice, slice]]:
    """Yield groups of points, and those within reach of any of a group."""
    for first in range(0, x.size, _BLOCK):
        part = slice(first, min(first + _BLOCK, x.size))
        low = np.searchsorted(x, x[part.start] - reach)
        high = np.searchsorted(x, x[part.stop - 1] + reach, side="right")
        yield part, slice(int(low), int(high))


def _around(
    y: np.ndarray, x: np.ndarray, width: float, degree: int | None
) -> np.ndarray:
    """Return polynomials fitted around each point, or medians if `degree` is None."""
    reach = width * (1 + 1e-9)
    low = np.searchsorted(x, x - reach)
    high = np.searchsorted(x, x + reach, side="right")
    out = np.empty_like(y)
    for k, centre in enumerate(x):
        near = slice(low[k], high[k])
        if degree is None:
            out[:, k] = np.median(y[:, near], axis=1)
            continue
        most = min(degree, int(high[k] - low[k]) - 1)
        powers = np.vander((x[near] - centre) / width, most + 1, increasing=True)
        out[:, k] = y[:, near] @ np.linalg.pinv(powers)[0]
    return out


def in_bins(data: np.ndarray, *, x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return spectra at new energies: means over bins, or lines between points.

    A bin reaches half way to its neighbours. In a bin without a measured energy the
    line between the nearest ones is taken, so a grid finer than the data adds nothing.

    Parameters
    ----------
    data : (..., m)
        Spectra; missing values are left out.
    x : (m,), centres : (k,)
        Measured and new energies.
    """
    edges = np.concatenate([[-np.inf], 0.5 * (centres[1:] + centres[:-1]), [np.inf]])
    lower = np.concatenate([[2 * centres[0] - edges[1]], edges[1:-1]])
    upper = np.concatenate([edges[1:-1], [2 * centres[-1] - edges[-2]]])
    rows = data.reshape(-1, data.shape[-1]).astype(float)
    out = np.full((len(rows), centres.size), np.nan)
    place = np.searchsorted(upper, x, side="right")
    inside = (place < centres.size) & (x >= lower[0])
    member = np.zeros((centres.size, x.size))
    member[place[inside], np.flatnonzero(inside)] = 1.0
    for row, target in zip(rows, out, strict=True):
        there = np.isfinite(row)
        if not there.any():
            continue
        count = member @ there
        total = member @ np.where(there, row, 0.0)
        middle = member @ np.where(there, x, 0.0)
        line = np.interp(centres, x[there], row[there], left=np.nan, right=np.nan)
        slope = np.gradient(line, centres) if centres.size > 1 else line * 0
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = total / count
            off = centres - middle / count
        # Move the mean from the bin's mean energy to its centre, along the spectrum.
        slope = np.where(np.isfinite(slope), slope, 0.0)
        target[:] = np.where(count > 1, mean + off * slope, line)
    return out.reshape(*data.shape[:-1], centres.size)
