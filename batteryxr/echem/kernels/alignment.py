"""Offset and drift between two recordings of one signal, by robust least squares."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: Samples that the coarse search looks at.
_COARSE = 400
#: Interleaved parts of the samples whose fits tell the errors.
_PARTS = 8
#: Least share of the samples that must fall on the record.
_OVERLAP = 0.5


class Signal(NamedTuple):
    """A signal as straight lines between rows; not a number across a gap."""

    t: np.ndarray  # s, increasing
    v: np.ndarray
    gap: np.ndarray  # bool, for each interval between rows

    def at(self, t: np.ndarray) -> np.ndarray:
        """Return the signal at times `t`, NaN outside and in gaps."""
        value = np.interp(t, self.t, self.v, left=np.nan, right=np.nan)
        if self.gap.any():
            row = np.clip(np.searchsorted(self.t, t) - 1, 0, self.gap.size - 1)
            value[self.gap[row]] = np.nan
        return value


class ClockFit(NamedTuple):
    """The best offset and drift, their errors, and how well the signals agree."""

    offset: float  # s
    drift: float  # s/s
    offset_error: float
    drift_error: float
    unlike: float  # mean deviation relative to that of the signal itself


def misfit(signal: Signal, t: np.ndarray, v: np.ndarray) -> float:
    """Return the mean deviation after removal of a constant; inf without overlap."""
    difference = v - signal.at(t)
    seen = np.isfinite(difference)
    if seen.sum() < max(_OVERLAP * t.size, 5):
        return np.inf
    difference = difference[seen]
    return float(np.abs(difference - np.median(difference)).mean())


def thinned(t: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return evenly chosen samples for a coarse search."""
    step = max(1, t.size // _COARSE)
    return t[::step], v[::step]


def misfits(
    signal: Signal, t: np.ndarray, v: np.ndarray, offsets: np.ndarray
) -> np.ndarray:
    """Return the misfit at each offset, by a part of the samples."""
    t, v = thinned(t, v)
    return np.array([misfit(signal, t + offset, v) for offset in offsets])


def refine(
    signal: Signal,
    t: np.ndarray,
    v: np.ndarray,
    *,
    offset: float,
    reach: float,
    max_drift: float,
) -> ClockFit:
    """Refine a coarse offset, together with drift and a constant of the voltmeter.

    Parameters
    ----------
    signal
        The reference.
    t, v
        Samples on the other clock; `t` counts from where the offset is wanted.
    offset
        Coarse offset (s), good to `reach`.
    reach
        How far around `offset` to look for a start.
    max_drift
        Largest drift (s/s).
    """
    start, drift = _start(signal, t, v, offset, reach, max_drift)
    # Unknowns of order one: seconds in the middle, seconds at the ends, millivolts.
    scale = np.array([1.0, 2.0 / max(float(np.ptp(t)), 1.0), 1e-3])
    first = v - signal.at(t + start + drift * t)
    bias = float(np.nanmedian(first)) if np.isfinite(first).any() else 0.0
    p = np.array([start, drift, bias]) / scale
    for size in (reach, 2.0, 2.0):
        p = _fit(signal, t, v, p, scale, size)
    parts = int(np.clip(t.size // 10, 2, _PARTS))
    each = [_fit(signal, t[k::parts], v[k::parts], p, scale, 4.0) for k in range(parts)]
    errors = np.std(each, axis=0, ddof=1) / np.sqrt(parts) * scale
    r = np.abs(_deviation(signal, t, v, p * scale))
    r = r[np.isfinite(r)]
    spread = float(np.abs(v - np.median(v)).mean())
    unlike = float(r.mean()) / spread if r.size and spread > 0 else np.inf
    o, d, _ = p * scale
    return ClockFit(float(o), float(d), float(errors[0]), float(errors[1]), unlike)


def _deviation(
    signal: Signal, t: np.ndarray, v: np.ndarray, p: np.ndarray
) -> np.ndarray:
    return v - p[2] - signal.at(t + p[0] + p[1] * t)


def _fit(
    signal: Signal,
    t: np.ndarray,
    v: np.ndarray,
    p: np.ndarray,
    scale: np.ndarray,
    size: float,
) -> np.ndarray:
    """Return the unknowns of least soft-L1 cost, from a simplex of `size` seconds.

    A reversal is a jump of the signal, so that slopes mislead: no gradients.
    """
    from scipy.optimize import minimize

    typical = np.nanmedian(np.abs(_deviation(signal, t, v, p * scale)))
    noise = max(1.4826 * float(typical), 1e-6) if np.isfinite(typical) else 1.0

    def cost(p: np.ndarray) -> float:
        r = _deviation(signal, t, v, p * scale) / noise
        # Samples off the signal cost as much as bad ones: nothing is won there.
        return float(np.sqrt(1 + np.where(np.isfinite(r), r, 3.0) ** 2).sum())

    corners = p + np.vstack([np.zeros(3), np.diag([size, size, 2.0])])
    options = {"initial_simplex": corners, "xatol": 1e-2, "fatol": 1e-2}
    return minimize(cost, p, method="Nelder-Mead", options=options).x


def _start(
    signal: Signal,
    t: np.ndarray,
    v: np.ndarray,
    offset: float,
    reach: float,
    max_drift: float,
) -> tuple[float, float]:
    """Return the best of a small grid of offsets and drifts."""
    few, values = thinned(t, v)
    best = (np.inf, offset, 0.0)
    for drift in np.linspace(-max_drift, max_drift, 9):
        for o in np.linspace(offset - reach, offset + reach, 13):
            best = min(best, (misfit(signal, few * (1 + drift) + o, values), o, drift))
    return best[1], best[2]
