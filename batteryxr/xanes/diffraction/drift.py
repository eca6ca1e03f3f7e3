"""An offset that scans of a series share: how far it drifts is told by itself."""

from __future__ import annotations

import numpy as np

#: Fewer scans in all share no offset.
_SHARED = 5
#: How far the offset moves from scan to scan, in errors of one, that is tried.
_STEPS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
#: How much less likely an offset that does not walk at all may be, and is taken.
_SIMPLER = 2.0
#: Standard deviations beyond which a scan is believed less.
_ODD = 3.0
#: And from which those before it and those after it disagree.
_AGREE = 1.5


def drifting(offset: np.ndarray, variance: np.ndarray, usual: float) -> np.ndarray:
    """Return the offset that the other scans expect in each, and its weight.

    A sample hardly moves during a series. Its offset is taken to walk at random from
    scan to scan, as far as makes what was found most likely; the scans before and
    after then tell it, without the scan itself, so that errors are not counted twice.

    Parameters
    ----------
    offset, variance
        (N,) as found in each scan by itself; NaN where it is not known.
    usual
        What variances were multiplied by: weights are given without.

    Returns
    -------
    numpy.ndarray
        (2, N).

    Notes
    -----
    Kalman, J. Basic Eng. 82, 35 (1960), forward and backward.
    """
    known = np.isfinite(offset) & (variance > 0)
    prior = np.zeros((2, offset.size))
    if known.sum() < _SHARED:
        return prior
    value = np.where(known, offset, 0.0)
    noise = np.where(known, variance, np.inf)
    typical = float(np.median(noise[known]))
    walks = [step**2 * typical for step in _STEPS]
    _, _, likely = _forward(value, noise, np.array(walks))
    likely[0] += _SIMPLER
    walk = np.array([walks[int(np.argmax(likely))]])
    before, before_var, _ = _forward(value, noise, walk)
    after, after_var, _ = _forward(value[::-1], noise[::-1], walk)
    one, other = 1 / before_var[:, 0], 1 / after_var[::-1, 0]
    total = one + other
    mean = before[:, 0] * one + after[::-1, 0] * other
    # Where those before and those after disagree, it has jumped: they tell less.
    apart = (
        (before[:, 0] - after[::-1, 0]) ** 2 * one * other / np.maximum(total, 1e-300)
    )
    jumped = np.maximum(apart / _AGREE**2, 1.0)
    prior[0] = np.where(total > 0, mean / np.where(total > 0, total, 1.0), 0.0)
    prior[1] = usual * total / jumped
    return prior


def _forward(
    value: np.ndarray, noise: np.ndarray, walk: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what is expected of each scan by those before, its variance, likelihood.

    (N, walks), (N, walks), (walks,): several random walks at once.
    """
    expected = np.zeros((value.size, walk.size))
    spread = np.full((value.size, walk.size), np.inf)
    likely = np.zeros(walk.size)
    mean, variance = np.zeros(walk.size), np.full(walk.size, np.inf)
    for k in range(value.size):
        expected[k], spread[k] = mean, variance
        if np.isfinite(noise[k]):
            if np.isinf(variance[0]):
                mean, variance = (
                    np.full(walk.size, value[k]),
                    np.full_like(walk, noise[k]),
                )
            else:
                whole = variance + noise[k]
                away = value[k] - mean
                odd = np.maximum(away**2 / whole / _ODD**2, 1.0)
                likely -= 0.5 * (np.log(whole) + away**2 / whole / odd + np.log(odd))
                gain = variance / (variance + noise[k] * odd)
                mean = mean + gain * away
                variance = (1 - gain) * variance
        variance = variance + walk
    return expected, spread, likely
