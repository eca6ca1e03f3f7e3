"""Stacks of images that are kept mostly outside memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator


class Images(Protocol):
    """Hold a stack (energy, y, x) of complex images, kept mostly outside memory."""

    shape: tuple[int, int, int]

    def __len__(self) -> int:
        """Return the number of energies."""

    def read(self, k: int, rows: slice = slice(None)) -> np.ndarray:
        """Return the image of energy `k`, or rows of it."""

    def write(self, k: int, values: np.ndarray, start: int = 0) -> None:
        """Write rows from `start` on of the image of energy `k`."""

    def rows(self, rows: slice) -> np.ndarray:
        """Return rows (energy, r, x) of all energies."""

    def tiles(self) -> Iterator[slice]:
        """Yield row ranges that are small enough to hold for all energies at once."""


class Objects(Protocol):
    """Hold objects of all energies, each on its own grid, read on demand."""

    def __len__(self) -> int:
        """Return the number of energies."""

    def axes(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return y and x of energy `k` in nm."""

    def obj(self, k: int) -> np.ndarray:
        """Return the object of energy `k` (y, x)."""

    def light(self, k: int) -> np.ndarray:
        """Return the illumination of energy `k` (y, x)."""


def mean_of(fields: Images) -> np.ndarray:
    """Return the mean image."""
    total = np.zeros(fields.shape[1:], complex)
    for k in range(len(fields)):
        total += fields.read(k)
    return (total / len(fields)).astype(np.complex64)
