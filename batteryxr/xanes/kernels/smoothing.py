"""Smoothing on any grid, and means over bins of energy."""

from __future__ import annotations

import numpy as np


def smooth(data: np.ndarray, *, x: np.ndarray, width: float, method: str) -> np.ndarray:
    """Return spectra smoothed by a kernel; missing values are left out of each mean.

    Parameters
    ----------
    data : (..., m)
        Spectra.
    x : (m,)
        Energies.
    width
        In eV; see `xanes.smooth`.
    method
        "gaussian", "lorentzian" or "savitzky_golay".
    """
    rows = data.reshape(-1, data.shape[-1]).astype(float)
    there = np.isfinite(rows)
    weights = _parabolas(x, width) if method == "savitzky_golay" else None
    if weights is None:
        weights = _kernel(x, width, method)
    out = np.where(there, rows, 0.0) @ weights.T
    share = there.astype(float) @ weights.T
    with np.errstate(invalid="ignore", divide="ignore"):
        out = np.where(there, out / share, np.nan)
    kept = data.dtype if data.dtype.kind == "f" else np.dtype(float)
    return out.reshape(data.shape).astype(kept)


def _kernel(x: np.ndarray, width: float, method: str) -> np.ndarray:
    """Return the weight of each energy in the mean at each other, (m, m)."""
    apart = (x[:, None] - x[None]) / width
    heights = np.exp(-0.5 * apart**2) if method == "gaussian" else 1 / (1 + apart**2)
    weights = heights * np.gradient(x)[None]
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _parabolas(x: np.ndarray, width: float) -> np.ndarray:
    """Return the weights of parabolas fitted around each energy."""
    weights = np.zeros((x.size, x.size))
    for k, centre in enumerate(x):
        near = np.flatnonzero(np.abs(x - centre) <= width)
        degree = min(2, near.size - 1)
        powers = np.vander((x[near] - centre) / width, degree + 1, increasing=True)
        weights[k, near] = np.linalg.pinv(powers)[0]
    return weights


def in_bins(data: np.ndarray, *, x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return spectra at new energies: means over bins, or lines between points.

    A bin reaches half way to its neighbours. Where no measured energy lies in it, the
    line between the nearest is taken, so that a grid finer than the data adds nothing.

    Parameters
    ----------
    data : (..., m)
        Spectra; missing values are left out.
    x : (m,), centres : (k,)
        Energies measured and wanted.
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
        # What lies aside of the middle of a bin is carried there along the spectrum.
        slope = np.where(np.isfinite(slope), slope, 0.0)
        target[:] = np.where(count > 1, mean + off * slope, line)
    return out.reshape(*data.shape[:-1], centres.size)
