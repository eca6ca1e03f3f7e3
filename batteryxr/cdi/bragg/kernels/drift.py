"""How far one measured volume lies from another, in whole voxels."""

from __future__ import annotations

import numpy as np


def drift(
    first: np.ndarray, other: np.ndarray, *, move: bool
) -> tuple[tuple[int, ...], float]:
    """Return the shift that aligns `other` to `first`, and the correlation then.

    Parameters
    ----------
    first, other
        Intensities of one shape, without NaN.
    move
        False takes the shift as zero.

    Returns
    -------
    shift
        Whole voxels along each axis.
    correlation
        Pearson's, of the square roots: the bright peak alone does not decide.
    """
    import scipy.fft

    a, b = (np.sqrt(np.maximum(v, 0.0)).astype(np.float32) for v in (first, other))
    shift = (0,) * a.ndim
    if move:
        field = scipy.fft.rfftn(a) * np.conj(scipy.fft.rfftn(b))
        cross = scipy.fft.irfftn(field, a.shape)
        peak = np.unravel_index(int(cross.argmax()), a.shape)
        shift = tuple(
            int(p) - n if p > n // 2 else int(p)
            for p, n in zip(peak, a.shape, strict=True)
        )
        b = np.roll(b, shift, tuple(range(a.ndim)))
    a, b = a - a.mean(dtype=float), b - b.mean(dtype=float)
    power = np.sqrt(float(np.vdot(a, a)) * float(np.vdot(b, b)))
    return shift, float(np.vdot(a, b)) / power if power else 0.0
