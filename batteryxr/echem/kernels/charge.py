"""Charge passed between the rows of a cycler record."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def increments(
    time: np.ndarray,
    time_before: np.ndarray,
    current: np.ndarray,
    current_before: np.ndarray,
    apart: np.ndarray,
    mean: bool,
    max_gap: float,
) -> np.ndarray:
    """Return the charge passed since the row before.

    Parameters
    ----------
    time, time_before
        (rows,) times of each row and of the one before (s).
    current, current_before
        (rows,) currents (mA).
    apart
        (rows,) whether nothing is known of the interval before the row.
    mean
        Whether each current is the mean since the row before. Else it is a line
        between rows of one direction; between two directions, or rest and current,
        nobody knows when it turned, and nothing is counted.
    max_gap
        Longest interval that counts (s).

    Returns
    -------
    numpy.ndarray
        (rows,) charge (mA h); NaN where time runs backward or a number is missing.
    """
    charge = np.zeros(time.size)
    for k in range(time.size):
        step = time[k] - time_before[k]
        if apart[k] or step > max_gap:
            continue
        if step < 0:
            charge[k] = np.nan
        elif mean:
            charge[k] = current[k] * step / 3600
        elif not current[k] * current_before[k] <= 0:
            charge[k] = (current[k] + current_before[k]) / 2 * step / 3600
    return charge
