"""Peaks of distributions of relaxation times, followed along a series."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

#: Further apart (in ln tau) peaks of neighbouring spectra are not one.
_APART = 1.5


class Peak(NamedTuple):
    """One peak: place and centre in ln(tau), area, height."""

    place: float
    centre: float
    area: float
    height: float


def peaks_of(gamma: np.ndarray, log_tau: np.ndarray, least: float) -> list[Peak]:
    """Return the peaks of one distribution, from fast to slow.

    Parameters
    ----------
    gamma
        (times,).
    log_tau
        (times,) even.
    least
        Share of the largest peak that one must stand above its valleys.
    """
    from scipy.signal import find_peaks

    if not np.isfinite(gamma).all() or gamma.max() <= 0:
        return []
    padded = np.concatenate([[0.0], gamma, [0.0]])
    tops, _ = find_peaks(padded, prominence=least * gamma.max())
    tops = tops - 1
    step = log_tau[1] - log_tau[0]
    edges = [0]
    for a, b in itertools.pairwise(tops):
        edges.append(int(a + np.argmin(gamma[a : b + 1])))
    edges.append(gamma.size - 1)
    found = []
    for k, top in enumerate(tops):
        part = slice(edges[k], edges[k + 1] + 1)
        weight = gamma[part].copy()
        # A valley belongs half to each side.
        if k:
            weight[0] *= 0.5
        if k < len(tops) - 1:
            weight[-1] *= 0.5
        area = float(weight.sum() * step)
        centre = float((weight * log_tau[part]).sum() / weight.sum())
        place = float(log_tau[top])
        if 0 < top < gamma.size - 1 and gamma[top - 1 : top + 2].min() > 0:
            below, at, above = np.log(gamma[top - 1 : top + 2])
            place += step * 0.5 * (below - above) / (below - 2 * at + above)
        found.append(Peak(place, centre, area, float(gamma[top])))
    return found


def followed(series: list[list[Peak]]) -> np.ndarray:
    """Return peaks (spectra, tracks, 4): each track is one peak along the series."""
    open_tracks: dict[int, float] = {}
    rows: list[dict[int, Peak]] = []
    for peaks in series:
        pairs = sorted(
            (abs(peak.place - at), k, track)
            for k, peak in enumerate(peaks)
            for track, at in open_tracks.items()
        )
        row: dict[int, Peak] = {}
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
    table = np.full((len(series), len(open_tracks), 4), np.nan)
    for k, row in enumerate(rows):
        for track, peak in row.items():
            table[k, track] = peak
    if not open_tracks:
        return table
    return table[:, np.argsort(np.nanmedian(table[:, :, 0], axis=0))]
