"""Tell monitors that stand still, saturate or see no beam from their numbers alone."""

from __future__ import annotations

import numpy as np

#: Fewest readings, and fewest different ones, that are judged.
_FEWEST, _LEVELS = 8, 8
#: Least number of readings at the top of a monitor that saturates, and their least
#: ratio to those at each of the next levels.
_TOPS, _CROWDED = 3, 4
#: Full scales of converters and counters, where two readings are enough.
_FULL = tuple(2**n - 1 for n in (12, 14, 15, 16, 18, 20, 24, 31, 32))
#: Least number of equal readings in a row, of a monitor whose readings differ.
_STILL, _VARIED = 8, 0.25


def doubts(values: np.ndarray, *, beam: bool = True) -> dict[str, str]:
    """Return what is wrong with a monitor's readings: kind -> what is seen.

    Kinds are "is stuck", "saturates", "sees no beam" and "is inverted"; none for
    sound readings.

    Parameters
    ----------
    values : (m,)
        Readings, one after the other; those that are not finite are left out.
    beam
        Whether the monitor sees the beam itself, and zero is no reading.
    """
    seen = values[np.isfinite(values)]
    if seen.size < _FEWEST:
        return {}
    if seen.min() == seen.max():
        return {"is stuck": f"{seen[0]:g} everywhere"}
    found = {}
    if not beam and seen.max() < 0:
        found["is inverted"] = "all readings are below zero: their sign is turned"
    dark = int((seen * np.sign(np.median(seen)) <= 0).sum())
    if dark and beam:
        found["sees no beam"] = f"{dark} readings are zero or of the other sign"
    levels, counts = np.unique(np.abs(seen), return_counts=True)
    if levels.size >= _LEVELS:
        top, next_ones = int(counts[-1]), int(counts[-4:-1].max())
        crowded = top >= _TOPS and top > _CROWDED * next_ones
        if crowded or (top >= 2 and levels[-1] in _FULL):
            found["saturates"] = f"{top} readings of {levels[-1]:g}, its largest"
        length, still = _longest_run(seen)
        top_run = abs(still) == levels[-1] or still == 0
        if length >= _STILL and not top_run and levels.size > _VARIED * seen.size:
            found["is stuck"] = f"{still:g} over {length} readings in a row"
    return found


def lit(values: np.ndarray) -> np.ndarray:
    """Return the size of a monitor's readings; NaN where it saw no beam.

    The amplifier of some monitors inverts: the sign is that of most readings.
    """
    with np.errstate(invalid="ignore"):
        signed = values * np.sign(np.nanmedian(values)) if values.size else values
        return np.where(signed > 0, signed, np.nan)


def upright(values: np.ndarray) -> np.ndarray:
    """Return a signal whose amplifier inverts, all below zero, with its sign turned."""
    below = values.size and np.nanmax(values, initial=-np.inf) < 0
    return -values if below else values


def _longest_run(values: np.ndarray) -> tuple[int, float]:
    """Return the largest number of equal values in a row, and their value."""
    ends = np.flatnonzero(np.diff(values) != 0)
    edges = np.r_[-1, ends, values.size - 1]
    lengths = np.diff(edges)
    k = int(np.argmax(lengths))
    return int(lengths[k]), float(values[edges[k + 1]])
