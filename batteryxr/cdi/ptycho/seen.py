"""What was found in the frames of one energy before they are fitted."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np


class Seen(NamedTuple):
    """What was found in the frames of one energy.

    Parameters
    ----------
    counts, usable, negative, missing, largest : (j,)
        Of each frame: counts and pixels that count, and pixels whose number is below
        0, none, or the largest of the type.
    flat : (j,)
        Whether all pixels of a frame hold one number.
    marks : (j,)
        Equal for equal frames.
    mean, top : (n, n)
        Mean and largest count of each pixel, the beam in the middle; 0 and -1 where a
        pixel counts in no frame.
    piled : (3,)
        The largest count of all, and how many pixels have it, or nearly so.
    shadow : (3,)
        Width of the lit detector over how far shadows move per nm (nm), the
        correlation of shadows so moved, and of others.
    """

    counts: np.ndarray
    usable: np.ndarray
    negative: np.ndarray
    missing: np.ndarray
    largest: np.ndarray
    flat: np.ndarray
    marks: np.ndarray
    mean: np.ndarray
    top: np.ndarray
    piled: np.ndarray
    shadow: np.ndarray

    @property
    def left_out(self) -> np.ndarray:
        """Frames (j,) that tell nothing of the sample."""
        return (self.counts <= 0) | (self.usable == 0) | self.flat

    @property
    def repeated(self) -> np.ndarray:
        """Frames (j,) that are equal to one before."""
        _, first = np.unique(self.marks, return_index=True)
        again = np.ones(len(self.marks), bool)
        again[first] = False
        return again & ~self.left_out

    @property
    def digest(self) -> str:
        """Of all frames."""
        return hashlib.sha256(self.marks.tobytes()).hexdigest()[:16]
