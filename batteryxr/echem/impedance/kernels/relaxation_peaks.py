"""Find peaks of distributions of relaxation times, and follow them along a series."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: Largest distance (ln tau) of one peak in neighbouring spectra.
_APART = 1.5
#: Steps of the shape fit; points beside a top to compare; largest relative deviation.
_STEPS, _HALF, _ALIKE = 60, 6, 0.2


class RelaxationPeak(NamedTuple):
    """Hold one peak: place and centre in ln(tau), area, height, errors, and form.

    Errors of place and area are NaN where they are unknown. The form is 0 for a peak of
    the distribution itself.
    """

    place: float
    centre: float
    area: float
    height: float
    place_error: float = np.nan
    area_error: float = np.nan
    form: float = 0.0


def peaks_of(
    gamma: np.ndarray, log_tau: np.ndarray, least: float
) -> list[RelaxationPeak]:
    """Return the peaks of one distribution, from fast to slow.

    Parameters
    ----------
    gamma
        (times,) distribution.
    log_tau
        (times,) evenly spaced.
    least
        Height above its valleys, as a fraction of the largest peak, at least.
    """
    tops = tops_of(gamma, least)
    if not tops.size:
        return []
    step = log_tau[1] - log_tau[0]
    places, shapes = _shapes(gamma, log_tau, tops)
    shares = shapes / np.maximum(shapes.sum(axis=0), 1e-300)
    found = []
    for k, top in enumerate(tops.tolist()):
        weight = shares[k] * gamma
        area = float(weight.sum() * step)
        centre = float((weight * log_tau).sum() / weight.sum())
        near = gamma > 0.5 * gamma[top]
        near &= np.abs(np.arange(gamma.size) - top) <= _HALF
        off = np.abs(shapes.sum(axis=0) - gamma)[near].max()
        alike = off < _ALIKE * gamma[top]
        place = float(places[k]) if alike else _top(gamma, log_tau, top)
        found.append(RelaxationPeak(place, centre, area, float(gamma[top])))
    return found


def tops_of(gamma: np.ndarray, least: float) -> np.ndarray:
    """Return the indices of the tops of a distribution; `least` as in `peaks_of`."""
    from scipy.signal import find_peaks

    if not np.isfinite(gamma).all() or gamma.max() <= 0:
        return np.empty(0, np.int64)
    padded = np.concatenate([[0.0], gamma, [0.0]])
    found: np.ndarray = find_peaks(padded, prominence=least * gamma.max())[0] - 1
    return found


def _shapes(
    gamma: np.ndarray, log_tau: np.ndarray, tops: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return places and shapes (peaks, times) of the peaks in a distribution.

    Each has the shape of a depressed arc with free width and roundness. Where peaks
    overlap, the shapes determine the shares.
    """
    from scipy.optimize import least_squares

    step = log_tau[1] - log_tau[0]
    start = np.column_stack(
        [
            np.log(gamma[tops]),
            log_tau[tops],
            np.full(tops.size, 0.9),
            np.full(tops.size, 0.8),
        ]
    )
    low, high = np.full(start.shape, -np.inf), np.full(start.shape, np.inf)
    low[:, 1], high[:, 1] = start[:, 1] - 3 * step, start[:, 1] + 3 * step
    low[:, 2:], high[:, 2:] = (0.15, -0.5), (3.0, 0.9999)

    def peaks(p: np.ndarray) -> np.ndarray:
        height, place, rate, round_ = np.asarray(p).reshape(-1, 4).T[:, :, None]
        across = np.clip(rate * (log_tau - place), -60, 60)
        found: np.ndarray = np.exp(height) * (1 - round_) / (np.cosh(across) - round_)
        return found

    fit = least_squares(
        lambda p: peaks(p).sum(axis=0) - gamma,
        start.ravel(),
        bounds=(low.ravel(), high.ravel()),
        max_nfev=_STEPS,
    )
    return fit.x[1::4], peaks(fit.x)


def _top(gamma: np.ndarray, log_tau: np.ndarray, top: int) -> float:
    """Return the place of a top, by a parabola through three logarithms."""
    place, step = float(log_tau[top]), log_tau[1] - log_tau[0]
    if 0 < top < gamma.size - 1 and gamma[top - 1 : top + 2].min() > 0:
        below, at, above = np.log(gamma[top - 1 : top + 2])
        place += step * 0.5 * (below - above) / (below - 2 * at + above)
    return place


def followed(series: list[list[RelaxationPeak]]) -> np.ndarray:
    """Return peaks (spectra, tracks, fields), matched from spectrum to spectrum."""
    open_tracks: dict[int, float] = {}
    rows: list[dict[int, RelaxationPeak]] = []
    for peaks in series:
        pairs = sorted(
            (abs(peak.place - at), k, track)
            for k, peak in enumerate(peaks)
            for track, at in open_tracks.items()
        )
        row: dict[int, RelaxationPeak] = {}
        used: set[int] = set()
        for apart, k, track in pairs:
            if apart <= _APART and k not in used and track not in row:
                row[track] = peaks[k]
                used.add(k)
        for k, peak in enumerate(peaks):
            if k not in used:
                row[len(open_tracks)] = peak
                open_tracks[len(open_tracks)] = peak.place
        for track, peak in row.items():
            open_tracks[track] = peak.place
        rows.append(row)
    fields = len(RelaxationPeak._fields)
    table = np.full((len(series), len(open_tracks), fields), np.nan)
    for k, row in enumerate(rows):
        for track, peak in row.items():
            table[k, track] = peak
    if not open_tracks:
        return table
    return table[:, np.argsort(np.nanmedian(table[:, :, 0], axis=0))]
