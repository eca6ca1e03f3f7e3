"""The 48 ways in which a box of voxels can be laid on its axes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Orientation:
    """Axes exchanged and reversed; a pattern and its object turn alike.

    Parameters
    ----------
    axes
        The axis of the original that each new axis takes.
    reversed_axes
        New axes that run backwards.
    """

    axes: tuple[int, ...]
    reversed_axes: tuple[int, ...]

    def turn(self, array: np.ndarray) -> np.ndarray:
        """Return a turned array, origin in the corner."""
        return _reversed(array.transpose(self.axes), self.reversed_axes)

    def undo(self, array: np.ndarray) -> np.ndarray:
        """Return what `turn` was given."""
        back = tuple(int(a) for a in np.argsort(self.axes))
        return _reversed(array, self.reversed_axes).transpose(back)


def orientations() -> list[Orientation]:
    """Return all 48; the first is the original, each of the next few unlike the last.

    Reversing all axes gives the conjugate twin's pattern, which is as good as any.
    """
    axes = list(itertools.permutations(range(3)))
    signs = [s for k in range(4) for s in itertools.combinations(range(3), k)]
    pairs = [(axes[k % 6], signs[(k + k // 6) % 8]) for k in range(48)]
    return [Orientation(a, s) for a, s in pairs]


def _reversed(array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    # About index 0, which is the origin.
    return np.roll(np.flip(array, axes), (1,) * len(axes), axes)
